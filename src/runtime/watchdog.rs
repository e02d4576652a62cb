//! Tells the service manager that every shard takes its turns, for as long as every one does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Counted;
use super::mailbox::{Letter, Mailbox};
use crate::sys::ServiceManager;

/// Looks within one timeout of the watchdog: a shard may be late by half of it and be forgiven.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// Starts the thread that feeds the watchdog, if the manager has one.
pub(super) fn start(manager: &Arc<ServiceManager>, mailboxes: &Arc<Vec<Mailbox>>) {
    let Some(timeout) = manager.watchdog() else { return };
    let (manager, mailboxes) = (Arc::clone(manager), Arc::clone(mailboxes));
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || feed(&manager, &mailboxes, timeout / LOOKS_PER_TIMEOUT))
        .expect("a thread can be made when the shards' have just been");
}

/// A shard that hangs leaves its question open, and the manager hears nothing any more.
fn feed(manager: &ServiceManager, mailboxes: &[Mailbox], pause: Duration) {
    let mut question = Question::ask(mailboxes);
    loop {
        std::thread::sleep(pause);
        // Shards that have ended do not answer; how long a stop may take is decided elsewhere.
        if manager.is_stopping() {
            manager.alive();
        } else if question.is_answered() {
            manager.alive();
            question = Question::ask(mailboxes);
        }
    }
}

/// What each shard was asked once.
struct Question {
    answers: UnboundedReceiver<Counted>,
    open: usize,
}

impl Question {
    fn ask(mailboxes: &[Mailbox]) -> Question {
        let (answer, answers) = unbounded_channel();
        for mailbox in mailboxes {
            mailbox.send(Letter::Count(answer.clone()));
        }
        Question { open: mailboxes.len(), answers }
    }

    fn is_answered(&mut self) -> bool {
        while self.answers.try_recv().is_ok() {
            self.open -= 1;
        }
        self.open == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_stays_open_while_a_shard_does_not_turn() {
        let mailboxes = [Mailbox::new().expect("a descriptor")];
        let mut question = Question::ask(&mailboxes);
        assert!(!question.is_answered());
        assert!(!question.is_answered());
    }
}

//! Tells the service manager that every shard takes its turns, for as long as every one does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Counted, Counter};
use crate::sys::ServiceManager;

/// Looks within one timeout of the watchdog: a shard may be late by half of it and be forgiven.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// Starts the thread that feeds the watchdog, if the manager has one.
pub(super) fn start(manager: &Arc<ServiceManager>, counter: Counter) {
    let Some(timeout) = manager.watchdog() else { return };
    let manager = Arc::clone(manager);
    std::thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || feed(&manager, &counter, timeout / LOOKS_PER_TIMEOUT))
        .expect("a thread can be made when the shards' have just been");
}

/// A shard that hangs leaves its question open, and the manager hears nothing any more.
fn feed(manager: &ServiceManager, counter: &Counter, pause: Duration) {
    let mut question = Question::ask(counter);
    loop {
        std::thread::sleep(pause);
        // Shards that have ended do not answer; how long a stop may take is decided elsewhere.
        if manager.is_stopping() {
            manager.alive();
        } else if question.is_answered() {
            manager.alive();
            question = Question::ask(counter);
        }
    }
}

/// What each shard was asked once.
struct Question {
    answers: UnboundedReceiver<Counted>,
    open: usize,
}

impl Question {
    fn ask(counter: &Counter) -> Question {
        let (answer, answers) = unbounded_channel();
        Question { open: counter.ask(&answer), answers }
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
    use super::super::mailbox::Mailbox;
    use super::*;

    #[test]
    fn a_question_stays_open_while_a_shard_does_not_turn() {
        let mailboxes = Arc::new(vec![Mailbox::new().expect("a descriptor")]);
        let mut question = Question::ask(&Counter { mailboxes, log_damages: 0 });
        assert!(!question.is_answered());
        assert!(!question.is_answered());
    }
}

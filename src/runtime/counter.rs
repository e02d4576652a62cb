//! What is counted, for whoever asks: the shards are asked, the rest is known here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::in_force::InForce;
use super::mailbox::{Counted, Letter, Mailbox};

/// Asks the shards what they have counted, and knows what concerns all of them.
#[derive(Clone)]
pub(crate) struct Counter {
    pub(super) mailboxes: Arc<Vec<Mailbox>>,
    /// What an acknowledgement promises, in a word.
    pub(crate) durability: &'static str,
    /// When the broker was ready for clients, since 1970.
    pub(crate) ready_at: Duration,
    pub(crate) in_force: Arc<InForce>,
    /// Damaged places of the log that were left out at the start.
    pub(crate) log_damages: u64,
}

impl Counter {
    /// Every shard answers once.
    pub(crate) fn ask(&self, answer: &UnboundedSender<Counted>) -> usize {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(Letter::Count(answer.clone()));
        }
        self.mailboxes.len()
    }
}

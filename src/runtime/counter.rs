//! What is counted, for whoever asks: the shards are asked, the rest is known here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::backup::Book;
use super::clock;
use super::in_force::InForce;
use super::mailbox::{Counted, Letter, Mailbox};
use super::visitors::Visitors;
use crate::config::{Config, ListenerConfig};
use crate::sys;

/// Asks the shards what they have counted, and knows what concerns all of them.
#[derive(Clone)]
pub(crate) struct Counter {
    pub(super) mailboxes: Arc<Vec<Mailbox>>,
    /// What an acknowledgement promises, in a word.
    pub(crate) durability: &'static str,
    /// When the broker was ready for clients, since 1970.
    pub(crate) ready_at: Duration,
    pub(crate) in_force: Arc<InForce>,
    pub(super) visitors: Arc<Visitors>,
    /// Their names, in the order of the configuration.
    pub(super) listeners: Vec<String>,
    /// See [`connections_max`].
    pub(crate) connections_max: Option<u64>,
    pub(crate) backups: Arc<Book>,
    /// Absent if everything is in memory.
    pub(crate) log: Option<LogFacts>,
}

/// What does not change of the log while the broker runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFacts {
    /// Of all shards together.
    pub(crate) bytes_max: u64,
    pub(crate) segment_bytes: u32,
    /// Damaged places that were left out at the start.
    pub(crate) damages: usize,
    /// How long the start took to read it.
    pub(crate) read_in: Duration,
}

/// Connections there can be: as many as descriptors, or as the listeners take if that is less and
/// each has a limit. Absent if there is no limit.
pub(super) fn connections_max(config: &Config, shards: usize) -> Option<u64> {
    let limit = |listener: &ListenerConfig| match listener.terms.connections_max {
        0 => None,
        limit => Some(u64::from(limit)),
    };
    let of_listeners: Option<u64> = config.listeners.iter().map(limit).sum();
    of_listeners.into_iter().chain(sys::connections_max(shards)).min()
}

impl Counter {
    /// Every shard answers once.
    pub(crate) fn ask(&self, answer: &UnboundedSender<Counted>) -> usize {
        Mailbox::send_all(&self.mailboxes, || Letter::Count(answer.clone()));
        self.mailboxes.len()
    }

    /// Each listener with the connections that it has now.
    pub(crate) fn connections_by_listener(&self) -> Vec<(&str, u32)> {
        let names = self.listeners.iter().map(String::as_str);
        names.zip(self.visitors.connections()).collect()
    }

    /// Addresses that are banned now.
    pub(crate) fn banned_addresses(&self) -> usize {
        self.visitors.banned(clock::wall())
    }
}

//! What must be durable before it is acknowledged.

use std::collections::VecDeque;

use super::effect::{Sequence, ShardId};
use super::{Key, Shard};
use crate::time::Time;

/// The order of appends and who waits for them. The log itself is the driver's.
///
/// Invariant: `durable <= requested <= appended`.
#[derive(Debug)]
pub struct Journal {
    enabled: bool,
    appended: Sequence,
    requested: Sequence,
    durable: Sequence,
    waiters: VecDeque<(Sequence, Waiter)>,
}

/// Who is told that everything up to a sequence is durable.
#[derive(Clone, Copy, Debug)]
pub enum Waiter {
    /// A publisher of this shard.
    Publish(Key),
    /// A publisher of another shard.
    Forward(ShardId, Key),
}

impl Journal {
    pub fn new(enabled: bool) -> Journal {
        let zero = Sequence(0);
        let waiters = VecDeque::new();
        Journal { enabled, appended: zero, requested: zero, durable: zero, waiters }
    }

    /// Appends a change; whoever acknowledges it waits for the sequence. Nothing to wait for if
    /// the broker keeps everything in memory.
    pub fn append(&mut self) -> Option<Sequence> {
        self.enabled.then(|| {
            self.appended.0 += 1;
            self.appended
        })
    }

    pub fn wait(&mut self, sequence: Sequence, waiter: Waiter) {
        debug_assert!(self.durable < sequence && sequence <= self.appended);
        debug_assert!(self.waiters.back().is_none_or(|(last, _)| *last <= sequence));
        self.waiters.push_back((sequence, waiter));
    }

    /// What to ask the driver for: one sync for everything appended since the last.
    pub fn poll_sync(&mut self) -> Option<Sequence> {
        if self.requested == self.appended {
            return None;
        }
        self.requested = self.appended;
        Some(self.requested)
    }

    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    fn synced(&mut self, sequence: Sequence) {
        assert!(sequence <= self.requested, "the driver syncs what it was asked to");
        self.durable = self.durable.max(sequence);
    }

    fn pop_durable(&mut self) -> Option<Waiter> {
        let (sequence, _) = self.waiters.front()?;
        if *sequence > self.durable {
            return None;
        }
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }
}

impl Shard {
    pub(super) fn handle_synced(&mut self, now: Time, sequence: Sequence) {
        self.journal.synced(sequence);
        while let Some(waiter) = self.journal.pop_durable() {
            match waiter {
                Waiter::Publish(ticket) => self.settle_publish(now, ticket),
                Waiter::Forward(to, ticket) => {
                    self.send(to, super::ShardMessage::Accepted { ticket });
                }
            }
        }
    }
}

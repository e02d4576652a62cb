//! The lane from one shard to another: in order, some time later.

use std::collections::VecDeque;

use super::random::Random;
use crate::shard::ShardMessage;

/// Messages on their way between an ordered pair of shards.
#[derive(Default)]
pub(super) struct Lane {
    messages: VecDeque<ShardMessage>,
    last_arrival: u64,
    told_full: bool,
}

/// What the sender is to be told of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    Full,
    Ready,
}

impl Lane {
    /// Takes a message; the answer is when it arrives.
    pub(super) fn send(
        &mut self,
        message: ShardMessage,
        now: u64,
        delay_max: u64,
        random: &mut Random,
    ) -> u64 {
        self.messages.push_back(message);
        self.last_arrival = self.last_arrival.max(now + random.below(delay_max + 1));
        self.last_arrival
    }

    /// The next message arrives.
    pub(super) fn arrive(&mut self) -> Option<ShardMessage> {
        self.messages.pop_front()
    }

    /// Whether the sender is to be told of a change.
    pub(super) fn pressure(&mut self, full_at: usize) -> Option<Pressure> {
        let length = self.messages.len();
        if !self.told_full && length > full_at {
            self.told_full = true;
            return Some(Pressure::Full);
        }
        if self.told_full && length <= full_at / 2 {
            self.told_full = false;
            return Some(Pressure::Ready);
        }
        None
    }

    /// Everything on its way is lost.
    pub(super) fn lose_all(&mut self) {
        self.messages.clear();
        self.told_full = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A deliberate fault: the last two messages change places.
    pub(super) fn swap_last(&mut self) {
        let length = self.messages.len();
        if length >= 2 {
            self.messages.swap(length - 1, length - 2);
        }
    }

    /// A deliberate fault: the last message is lost.
    pub(super) fn drop_last(&mut self) {
        self.messages.pop_back();
    }
}

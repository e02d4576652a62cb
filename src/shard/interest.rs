//! Which shards want which filters: the table that spares publishers from asking.
//!
//! A shard with a first subscriber for a filter announces its interest to every other shard, and
//! whoever subscribed is answered once all have confirmed: a message published after a SUBACK is
//! never missed, on whichever shard it is published.

use std::collections::HashMap;
use std::sync::Arc;

use super::effect::ShardId;
use super::{Key, Shard, ShardMessage};
use crate::time::Time;

/// Announcements that are not confirmed by every shard.
#[derive(Debug)]
pub struct Interests {
    pending: HashMap<Arc<str>, Announcement, ahash::RandomState>,
    serial: u64,
}

#[derive(Debug)]
struct Announcement {
    serial: u64,
    missing: usize,
    waiters: Vec<Waiter>,
}

/// Who waits for an announcement to be confirmed.
#[derive(Clone, Copy, Debug)]
pub enum Waiter {
    /// A SUBSCRIBE of this shard.
    Subscribe(Key),
    /// A shared group of this shard; the join came from there.
    Join(ShardId, Key),
}

impl Interests {
    pub fn new(hasher: ahash::RandomState) -> Interests {
        Interests { pending: HashMap::with_hasher(hasher), serial: 0 }
    }

    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Shard {
    /// Tells the other shards of the first subscriber for a filter.
    pub(super) fn announce_interest(&mut self, filter: &Arc<str>) {
        if self.count == 1 {
            return;
        }
        self.interests.serial += 1;
        let serial = self.interests.serial;
        let announcement = self
            .interests
            .pending
            .entry(Arc::clone(filter))
            .or_insert_with(|| Announcement { serial, missing: 0, waiters: Vec::new() });
        // An earlier announcement was withdrawn before it was confirmed: who still waits for
        // it waits for this one instead.
        announcement.serial = serial;
        announcement.missing = self.count - 1;
        for to in self.others() {
            let filter = Arc::clone(filter);
            self.send(to, ShardMessage::InterestAdd { filter, serial });
        }
    }

    /// Tells the other shards that the last subscriber for a filter is gone.
    pub(super) fn withdraw_interest(&mut self, filter: &Arc<str>) {
        for to in self.others() {
            self.send(to, ShardMessage::InterestRemove { filter: Arc::clone(filter) });
        }
    }

    /// Lets `waiter` know when every shard has the interest; false if it has already.
    pub(super) fn wait_for_interest(&mut self, filter: &Arc<str>, waiter: Waiter) -> bool {
        match self.interests.pending.get_mut(filter) {
            Some(announcement) => {
                announcement.waiters.push(waiter);
                true
            }
            None => false,
        }
    }

    pub(super) fn handle_interest_added(&mut self, now: Time, filter: &Arc<str>, serial: u64) {
        let Some(announcement) = self.interests.pending.get_mut(filter) else { return };
        if announcement.serial != serial {
            return;
        }
        announcement.missing -= 1;
        if announcement.missing > 0 {
            return;
        }
        let Some(announcement) = self.interests.pending.remove(filter) else { return };
        for waiter in announcement.waiters {
            match waiter {
                Waiter::Subscribe(ticket) => self.settle_subscribe(now, ticket),
                Waiter::Join(to, ticket) => self.send(to, ShardMessage::ShareJoined { ticket }),
            }
        }
    }
}

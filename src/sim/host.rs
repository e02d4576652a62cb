//! One shard and its driver's bookkeeping: what is ready for it, and which connection is whose.

use std::collections::VecDeque;
use std::sync::Arc;

use super::disk::{Disk, log_options};
use super::plan::Plan;
use super::random::{Purpose, Random};
use crate::shard::{
    Census, ConnectionId, Policy, Restored, Seed, Shard, ShardId, ShardMessage, ShardOptions,
    WriteBatch,
};
use crate::storage::{self, Log};
use crate::time::Time;

/// A shard with its driver.
pub(super) struct Host {
    pub(super) shard: Shard,
    /// What happened and was not handed in yet, in order.
    pub(super) inbox: VecDeque<News>,
    /// Whether the shard will look at it without further ado.
    pub(super) turn_planned: bool,
    /// The earliest timer that is planned.
    pub(super) timer_at: Option<u64>,
    pub(super) disk: Disk,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    link: Option<usize>,
}

/// Something a shard is to be told.
pub(super) enum News {
    Accept(usize),
    Readable(usize),
    Sent(usize, ConnectionId, WriteBatch),
    Closed(usize),
    Lane(ShardId, ShardMessage),
    LaneFull(ShardId),
    LaneReady(ShardId),
    Log(storage::News),
    Timeout,
    Reconfigure(Arc<Policy>),
    Stop,
}

impl Host {
    pub(super) fn new(plan: &Plan, index: usize, now: u64) -> Host {
        let log = plan.journal.then(|| (Log::new(log_options(index)), Restored::default()));
        Host::with(plan, index, now, log, Disk::default())
    }

    /// A shard that goes on with what an earlier life left on its disk.
    pub(super) fn with(
        plan: &Plan,
        index: usize,
        now: u64,
        log: Option<(Log, Restored)>,
        disk: Disk,
    ) -> Host {
        let mut keys = Random::new(plan.seed, Purpose::Keys, 0);
        let placement = std::array::from_fn(|_| keys.next());
        let mut keys = Random::new(plan.seed, Purpose::Keys, 1 + index as u64);
        let private = std::array::from_fn(|_| keys.next());
        let policy = Policy { mqtt: plan.mqtt.clone(), ..Policy::default() };
        let shard = Shard::new(ShardOptions {
            id: ShardId(index as u8),
            count: plan.shards,
            policy: Arc::new(policy),
            log,
            seed: Seed { placement, private },
            now: Time::from_micros(now),
        });
        Host {
            shard,
            inbox: VecDeque::new(),
            turn_planned: false,
            timer_at: None,
            disk,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// A connection identity for a link; slots are reused at once, generations never.
    pub(super) fn open(&mut self, link: usize) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, link: None });
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        entry.generation += 1;
        entry.link = Some(link);
        ConnectionId { slot, generation: entry.generation }
    }

    /// The connection's slot may be used for another.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        let entry = &mut self.slots[connection.slot as usize];
        if entry.generation == connection.generation && entry.link.take().is_some() {
            self.free.push(connection.slot);
        }
    }

    /// Whose connection it is, if it is still there.
    pub(super) fn link(&self, connection: ConnectionId) -> Option<usize> {
        let entry = self.slots.get(connection.slot as usize)?;
        entry.link.filter(|_| entry.generation == connection.generation)
    }

    pub(super) fn census(&self) -> Census {
        self.shard.census()
    }
}

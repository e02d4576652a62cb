//! How much of everything a shard holds: for leak checks and gauges.

use super::Shard;
use crate::storage::{Sequence, Snapshot};

/// Counts of what a shard holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections, with or without a session.
    pub connections: usize,
    /// Sessions, connected or away.
    pub sessions: usize,
    /// Subscriptions of all sessions, shared ones included.
    pub subscriptions: usize,
    /// Filters in the tree: of this shard's sessions and groups, and of others' interest.
    pub filters: usize,
    /// Retained messages that live here.
    pub retained: usize,
    /// Messages waiting in sessions' queues.
    pub queued: usize,
    /// Messages in flight to clients.
    pub inflight: usize,
    /// QoS 2 messages taken and not released.
    pub unreleased: usize,
    /// Publications whose acknowledgement waits.
    pub pending_publishes: usize,
    /// SUBSCRIBEs whose SUBACK waits.
    pub pending_subscribes: usize,
    /// Announcements of interest not confirmed everywhere.
    pub pending_interests: usize,
    /// Reads of retained messages that wait for other shards.
    pub retained_reads: usize,
    /// Shared groups that live here.
    pub groups: usize,
    /// Their members.
    pub group_members: usize,
    /// Messages waiting in their queues.
    pub group_queued: usize,
    /// Connections not read from because of a full lane.
    pub paused: usize,
    /// Publications waiting for the log.
    pub journal_waiters: usize,
    /// Messages in the log that somebody is owed or that are retained.
    pub kept: usize,
}

/// How large a shard's log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSize {
    /// Segments in use, the one prepared in advance included.
    pub segments: u64,
    /// Bytes from its oldest record to its end.
    pub bytes: u64,
    /// Bytes of it that are of use: messages that are owed or retained, sessions and groups.
    pub live_bytes: u64,
    /// Those messages.
    pub messages: u64,
    /// Whether what can be refused is refused for want of room.
    pub is_full: bool,
    /// Records that were found damaged since the start.
    pub damages: u64,
}

/// What a shard holds, as it keeps count of: nothing is walked to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Subscriptions of all sessions, shared ones included.
    pub subscriptions: usize,
    /// Retained messages that live here.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Messages waiting in queues, of sessions and of shared groups.
    pub queued_messages: usize,
    /// The memory they take.
    pub queued_bytes: u64,
    /// Messages in flight to clients.
    pub inflight_messages: usize,
    /// Bytes of packets of clients that are not let in yet.
    pub stranger_bytes: u64,
}

impl Shard {
    /// Connections, with or without a session.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Sessions, connected or away.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How large the log is; zeros without one.
    pub fn log_size(&self) -> LogSize {
        self.journal.size()
    }

    /// Where the log ends and up to where it is durable; nothing without one.
    pub fn log_ends(&self) -> Option<(Sequence, Sequence)> {
        Some((self.journal.end()?, self.journal.durable()?))
    }

    /// All of the log that is durable now; nothing without one.
    pub fn log_snapshot(&self) -> Option<Snapshot> {
        self.journal.snapshot()
    }

    /// What it holds, by the counts that it keeps.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            subscriptions: self.subscription_count,
            retained_messages: self.retention.len(),
            retained_bytes: self.retention.bytes(),
            queued_messages: self.queue_memory.messages(),
            queued_bytes: self.queue_memory.bytes(),
            inflight_messages: self.inflight_count,
            stranger_bytes: self.strangers.bytes(),
        }
    }

    /// Counts what the shard holds; walks all sessions.
    ///
    /// # Panics
    ///
    /// If it does not find what [`Shard::holdings`] says.
    pub fn census(&self) -> Census {
        let mut census = Census {
            connections: self.connections.len(),
            sessions: self.sessions.len(),
            filters: self.tree.len(),
            retained: self.retention.len(),
            pending_publishes: self.publishes.len(),
            pending_subscribes: self.subscribes.len(),
            pending_interests: self.interests.pending(),
            retained_reads: self.reads.len() + self.retention.questions(),
            groups: self.groups.len(),
            group_members: self.groups.members(),
            group_queued: self.groups.queued(),
            paused: self.paused.len(),
            journal_waiters: self.journal.waiting(),
            kept: self.journal.kept(),
            ..Census::default()
        };
        for (_, seat) in self.sessions.iter() {
            census.subscriptions += seat.session.subscriptions.len();
            census.queued += seat.session.outbox.queued();
            census.inflight += seat.session.outbox.inflight.len();
            census.unreleased += seat.session.inbound.len();
        }
        let holdings = self.holdings();
        assert_eq!(holdings.subscriptions, census.subscriptions, "subscriptions are counted");
        assert_eq!(holdings.inflight_messages, census.inflight, "messages in flight are counted");
        let queued = census.queued + census.group_queued;
        assert_eq!(holdings.queued_messages, queued, "messages in queues are counted");
        census
    }
}

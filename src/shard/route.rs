//! Who wants a message: this shard's sessions and groups, and which other shards.

use super::effect::{Sequence, ShardId};
use super::{Key, Shard};
use crate::message::Publication;
use crate::proto::QoS;
use crate::router::SubscriberSet;
use crate::time::Time;

/// What a shard knows of one topic filter.
#[derive(Debug, Default)]
pub struct Entry {
    /// This shard's sessions.
    pub subscribers: SubscriberSet,
    /// Shared groups that live on this shard.
    pub groups: Vec<Key>,
    /// Bit set of the other shards that have subscribers or groups for it.
    pub remote: u64,
}

impl Entry {
    /// Whether this shard has to be told of publications.
    pub fn is_wanted_here(&self) -> bool {
        !self.subscribers.is_empty() || !self.groups.is_empty()
    }

    /// Whether nobody is interested any more.
    pub fn is_empty(&self) -> bool {
        !self.is_wanted_here() && self.remote == 0
    }
}

/// Where a publication comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The publisher's session, if it lives on this shard: for no-local.
    pub session: Option<u32>,
    /// Hash of its client id, for groups that choose by it; 0 if none does.
    pub hash: u64,
}

/// Where a publication went.
#[derive(Clone, Copy, Debug)]
pub struct Routed {
    /// Whether anybody on this shard got it.
    pub matched: bool,
    /// Bit set of the shards it must be forwarded to.
    pub remote: u64,
    /// What its acknowledgement waits for in this shard's log.
    pub appended: Option<Sequence>,
}

/// Memory of the last routing, used again by the next.
#[derive(Debug, Default)]
pub struct Scratch {
    matches: Vec<Match>,
    groups: Vec<Key>,
    ids: Vec<u32>,
    /// By session index: the routing it was last matched in, and where in `matches`.
    marks: Vec<(u32, u32)>,
    round: u32,
}

/// A session that gets the message, for one or more of its subscriptions.
#[derive(Clone, Copy, Debug)]
struct Match {
    session: u32,
    qos: QoS,
    retain_as_published: bool,
    /// Whether an earlier match of the same session speaks for this one too.
    merged: bool,
    subscription_id: u32,
    /// Position of the session's next match; 0 if there is none.
    next: u32,
}

impl Shard {
    /// Delivers a publication to this shard's subscribers and groups.
    pub(super) fn route(
        &mut self,
        now: Time,
        publication: &Publication<'_>,
        origin: Origin,
    ) -> Routed {
        let mut scratch = std::mem::take(&mut self.scratch);
        let (mut remote, mut filters) = (0, 0);
        scratch.matches.clear();
        scratch.groups.clear();
        self.tree.for_each_match(publication.topic, |entry| {
            remote |= entry.remote;
            filters += usize::from(!entry.subscribers.is_empty());
            scratch.collect(entry, origin);
        });
        if filters > 1 {
            scratch.merge();
        }
        let matched = !scratch.matches.is_empty() || !scratch.groups.is_empty();
        let mut appended = None;
        for index in 0..scratch.matches.len() {
            let Match { session, qos, retain_as_published, merged, .. } = scratch.matches[index];
            if merged {
                continue;
            }
            scratch.gather_ids(index);
            let retain = publication.retain && retain_as_published;
            let Some(key) = self.sessions.key_at(session) else { continue };
            if publication.retain {
                self.reads.see_live(key, publication);
            }
            let sequence = self.deliver(now, key, publication, qos, retain, &scratch.ids);
            appended = appended.max(sequence);
        }
        for group in &scratch.groups {
            self.publish_to_group(now, *group, publication, origin);
        }
        self.scratch = scratch;
        Routed { matched, remote: remote & !super::bit(self.id), appended }
    }

    /// The entry of a filter, made if need be.
    pub(super) fn entry(&mut self, filter: &std::sync::Arc<str>) -> &mut Entry {
        self.tree.entry_or_insert_with(filter, Entry::default)
    }

    /// Another shard has, or has no longer, subscribers for a filter.
    pub(super) fn set_remote(&mut self, filter: &std::sync::Arc<str>, from: ShardId, wants: bool) {
        let entry = self.entry(filter);
        match wants {
            true => entry.remote |= super::bit(from),
            false => entry.remote &= !super::bit(from),
        }
        if entry.is_empty() {
            self.tree.remove(filter);
        }
    }
}

impl Scratch {
    fn collect(&mut self, entry: &Entry, origin: Origin) {
        self.groups.extend_from_slice(&entry.groups);
        for subscriber in entry.subscribers.iter() {
            // [MQTT-3.8.3-3]
            if subscriber.no_local() && origin.session == Some(subscriber.session().0) {
                continue;
            }
            self.matches.push(Match {
                session: subscriber.session().0,
                qos: subscriber.qos(),
                retain_as_published: subscriber.retain_as_published(),
                merged: false,
                subscription_id: subscriber.subscription_id(),
                next: 0,
            });
        }
    }

    /// A session gets one copy at the highest QoS of its subscriptions, with all their
    /// identifiers. [MQTT-3.3.4-2, -4, 3.3.5-1 of 3.1.1]
    fn merge(&mut self) {
        self.round = self.round.wrapping_add(1);
        for index in 0..self.matches.len() {
            let current = self.matches[index];
            let session = current.session as usize;
            if session >= self.marks.len() {
                self.marks.resize(session + 1, (self.round.wrapping_sub(1), 0));
            }
            let (round, first) = self.marks[session];
            if round != self.round {
                self.marks[session] = (self.round, index as u32);
                continue;
            }
            self.matches[index].merged = true;
            let first = &mut self.matches[first as usize];
            first.qos = first.qos.max(current.qos);
            first.retain_as_published |= current.retain_as_published;
            let next = std::mem::replace(&mut first.next, index as u32);
            self.matches[index].next = next;
        }
    }

    fn gather_ids(&mut self, mut index: usize) {
        self.ids.clear();
        loop {
            let Match { subscription_id, next, .. } = self.matches[index];
            if subscription_id != 0 {
                self.ids.push(subscription_id);
            }
            if next == 0 {
                return;
            }
            index = next as usize;
        }
    }
}

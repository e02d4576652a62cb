//! Who wants a message: this shard's sessions and groups, and which other shards.

use super::announce::is_own;
use super::deliver::Granted;
use super::effect::ShardId;
use super::record::{MessageHead, QueueNumber, Taken, Target};
use super::retained::RetainedVerdict;
use super::spread::DELIVERY_BYTES;
use super::witness::Why;
use super::{Key, Shard};
use crate::config::QueuePolicy;
use crate::message::Publication;
use crate::proto::{PacketId, QoS};
use crate::router::SubscriberSet;
use crate::session::{Body, KeptId};
use crate::storage::{Full, Sequence, Urgency};
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

/// What else is to be done with a publication where it is routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Intake {
    /// Whether it is to be its topic's retained message here.
    pub store: bool,
    /// Its publisher's session and packet identifier, if that may send it again after a crash.
    pub taken: Option<(QueueNumber, PacketId)>,
    /// Other shards that are to get it beside those with subscribers.
    pub receivers: u64,
    /// The record of another shard it is forwarded from.
    pub origin: Option<(ShardId, Sequence)>,
}

/// Where a publication went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Routed {
    /// Subscriptions and groups of this shard that match.
    pub matches: usize,
    /// Bit set of the shards it must be forwarded to.
    pub remote: u64,
    /// What its acknowledgement waits for in this shard's log.
    pub appended: Option<Sequence>,
    /// Its record, if other shards must not get it before that is durable.
    pub spread_after: Option<(KeptId, Sequence)>,
    /// Whether it waits in a group for room in a lane.
    pub waits_for_lane: bool,
}

/// Why nobody on this shard gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log has no room for it.
    Log,
    /// Somebody's queue has none, and the publisher is to know.
    Queue,
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Why {
        match refusal {
            Refusal::Log => Why::LogFull,
            Refusal::Queue => Why::ReceiverFull,
        }
    }
}

impl From<Full> for Refusal {
    fn from(Full: Full) -> Refusal {
        Refusal::Log
    }
}

/// Memory of the last routing, used again by the next.
#[derive(Debug, Default)]
pub struct Scratch {
    matches: Vec<Match>,
    groups: Vec<GroupMatch>,
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
    /// Its ordinal, if it is kept for the session.
    ordinal: Option<u64>,
}

/// A shared group that gets the message.
#[derive(Clone, Copy, Debug)]
struct GroupMatch {
    group: Key,
    /// The message's number there.
    number: u64,
    is_kept: bool,
}

impl Shard {
    /// Delivers a publication to this shard's subscribers and groups. What must outlive the broker
    /// is one record of the log, however many are owed it; if there is no room for that, nobody
    /// gets it.
    pub(super) fn route(
        &mut self,
        now: Time,
        publication: &Publication<'_>,
        origin: Origin,
        intake: Intake,
    ) -> Result<Routed, Refusal> {
        let mut scratch = self.scratch.take().unwrap_or_default();
        let remote = self.find_matches(&mut scratch, publication, origin);
        if self.mqtt().queue_policy == QueuePolicy::RefusePublisher
            && self.is_refused(&scratch, publication)
        {
            self.scratch = Some(scratch);
            return Err(Refusal::Queue);
        }
        self.number_groups(&mut scratch);
        let mut routed = self.keep_routed(now, &mut scratch, publication, intake, remote);
        if let Ok((routed, kept)) = &mut routed {
            routed.waits_for_lane = self.hand_out(now, &mut scratch, publication, origin, *kept);
        }
        self.scratch = Some(scratch);
        Ok(routed?.0)
    }

    /// Whether somebody who would get a message has no room for it.
    fn is_refused(&self, scratch: &Scratch, publication: &Publication<'_>) -> bool {
        let bytes = publication.bytes() as u64;
        publication.qos > QoS::AtMostOnce
            && (scratch.matches.iter().any(|matching| {
                let key = self.sessions.key_at(matching.session);
                matching.qos > QoS::AtMostOnce
                    && key.is_some_and(|key| self.is_refused_by(key, bytes))
            }) || scratch
                .groups
                .iter()
                .any(|GroupMatch { group, .. }| self.group_is_full(*group, bytes, publication.qos)))
    }

    /// Takes a publication in that has no subscribers here: only to retain it.
    pub(super) fn route_nowhere(
        &mut self,
        now: Time,
        publication: &Publication<'_>,
        intake: Intake,
    ) -> Result<Routed, Refusal> {
        let mut scratch = self.scratch.take().unwrap_or_default();
        scratch.matches.clear();
        scratch.groups.clear();
        let routed = self.keep_routed(now, &mut scratch, publication, intake, 0);
        self.scratch = Some(scratch);
        Ok(routed?.0)
    }

    fn find_matches(
        &mut self,
        scratch: &mut Scratch,
        publication: &Publication<'_>,
        origin: Origin,
    ) -> u64 {
        let (mut remote, mut filters) = (0, 0);
        scratch.matches.clear();
        scratch.groups.clear();
        self.tree.for_each_match(publication.topic, |entry| {
            remote |= entry.remote;
            filters += usize::from(!entry.subscribers.is_empty());
            scratch.collect(entry, origin);
        });
        if self.policy.forward.is_some() {
            scratch.matches.retain(|found| self.may_get(found.session, publication));
        }
        if filters > 1 {
            scratch.merge();
        }
        remote & !super::bit(self.id)
    }

    /// Writes the record of a publication, if there is anything in it to keep.
    fn keep_routed(
        &mut self,
        now: Time,
        scratch: &mut Scratch,
        publication: &Publication<'_>,
        intake: Intake,
        remote: u64,
    ) -> Result<(Routed, Option<KeptId>), Full> {
        let matches = scratch.matches.len() + scratch.groups.len();
        let verdict = match intake.store {
            true => self.judge_retained(publication),
            false => RetainedVerdict::Ignore,
        };
        let mut routed = Routed { matches, remote, ..Routed::default() };
        let mut kept = None;
        if self.journal.is_enabled() {
            let mut head = MessageHead::of(publication);
            head.stored = verdict == RetainedVerdict::Keep && !is_own(publication.topic);
            head.origin = intake.origin;
            let receivers = remote | intake.receivers;
            // What may be sent again is refused by all or none: who got it would get it again.
            if intake.taken.is_some() && receivers & self.full_logs != 0 {
                return Err(Full);
            }
            head.taken = intake
                .taken
                .filter(|_| matches > 0 || receivers != 0)
                .map(|(session, packet_id)| Taken { session, packet_id, remote: receivers });
            self.number_targets(scratch, publication, &mut head);
            let spreads = head.taken.is_some() && receivers != 0;
            let references = head.targets.len() + usize::from(head.stored) + usize::from(spreads);
            let urgency = match intake.origin {
                Some(_) => Urgency::Needed,
                None => Urgency::Refusable,
            };
            if references > 0 || head.taken.is_some() {
                let references_min = references.max(1) as u32;
                let (id, sequence) =
                    self.journal.keep(now, &head, publication, references_min, urgency)?;
                if references == 0 {
                    self.journal.release(&Body::Kept(id));
                }
                if let Some(origin) = intake.origin {
                    self.note_received(origin, sequence);
                }
                routed.appended = Some(sequence);
                routed.spread_after = spreads.then_some((id, sequence));
                kept = Some(id);
            }
        }
        let cleared = self.store_retained(now, publication, verdict, kept);
        routed.appended = routed.appended.max(cleared);
        if intake.store && verdict == RetainedVerdict::Ignore {
            // A newer one came before it: that must not be lost either.
            routed.appended = routed.appended.max(self.journal.undurable());
        }
        Ok((routed, kept))
    }

    /// Gives the message a place in the queue of everyone it is kept for.
    fn number_targets(
        &mut self,
        scratch: &mut Scratch,
        publication: &Publication<'_>,
        head: &mut MessageHead,
    ) {
        for index in 0..scratch.matches.len() {
            let Match { session, qos, retain_as_published, merged, .. } = scratch.matches[index];
            let qos = publication.qos.min(qos);
            if merged || qos == QoS::AtMostOnce {
                continue;
            }
            let Some(key) = self.sessions.key_at(session) else { continue };
            let Some(seat) = self.sessions.get_mut(key).filter(|seat| seat.is_kept()) else {
                continue;
            };
            let ordinal = seat.session.outbox.next_ordinal();
            scratch.matches[index].ordinal = Some(ordinal);
            let queue = seat.number;
            head.targets.push(Target {
                queue,
                ordinal,
                qos,
                retain: publication.retain && retain_as_published,
                subscription_ids: scratch.subscription_ids(index).to_vec(),
            });
        }
        for group in &mut scratch.groups {
            if let Some(target) = self.group_target(group.group, group.number, publication) {
                head.targets.push(target);
                group.is_kept = true;
            }
        }
    }

    fn number_groups(&mut self, scratch: &mut Scratch) {
        for group in &mut scratch.groups {
            group.number = self.groups.next_number();
        }
    }

    /// Hands a publication to whom it matches; whether it waits in a group for room in a lane.
    fn hand_out(
        &mut self,
        now: Time,
        scratch: &mut Scratch,
        publication: &Publication<'_>,
        origin: Origin,
        kept: Option<KeptId>,
    ) -> bool {
        self.witness.publisher = origin.session;
        self.spread += scratch.matches.len() * (publication.bytes() + DELIVERY_BYTES);
        for index in 0..scratch.matches.len() {
            let Match { session, qos, retain_as_published, merged, ordinal, .. } =
                scratch.matches[index];
            if merged {
                continue;
            }
            let retain = publication.retain && retain_as_published;
            let Some(key) = self.sessions.key_at(session) else { continue };
            if publication.retain {
                self.reads.see_live(key, publication);
            }
            let qos = publication.qos.min(qos); // [MQTT-3.8.4-8]
            let kept = kept.zip(ordinal);
            let subscription_ids = scratch.subscription_ids(index);
            self.deliver(now, key, publication, Granted { qos, retain }, subscription_ids, kept);
        }
        self.witness.publisher = None;
        let mut waits_for_lane = false;
        for GroupMatch { group, number, is_kept } in scratch.groups.drain(..) {
            let kept = kept.filter(|_| is_kept);
            self.publish_to_group(now, group, publication, origin, number, kept);
            waits_for_lane |= self.waits_for_lane(group);
        }
        waits_for_lane
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
        let groups = entry.groups.iter();
        let groups = groups.map(|group| GroupMatch { group: *group, number: 0, is_kept: false });
        self.groups.extend(groups);
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
                ordinal: None,
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

    /// The subscription identifiers of a match and of those it speaks for.
    fn subscription_ids(&mut self, mut index: usize) -> &[u32] {
        let Match { subscription_id, next, .. } = self.matches[index];
        // Not the emptied vector: reading back the length that was just written waits for all
        // stores before it, which in a fan-out took a tenth of the CPU.
        if subscription_id == 0 && next == 0 {
            return &[];
        }
        self.ids.clear();
        loop {
            let Match { subscription_id, next, .. } = self.matches[index];
            if subscription_id != 0 {
                self.ids.push(subscription_id);
            }
            if next == 0 {
                return &self.ids;
            }
            index = next as usize;
        }
    }
}

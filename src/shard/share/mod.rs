//! Shared subscriptions: each message of a group to one of its members.
//!
//! A group lives on the shard its name hashes to. That shard subscribes to the filter in the
//! group's stead, holds the queue, and hands each message to a member with room in its window,
//! on whichever shard the member's session lives. The member's shard reports when the message is
//! done, or gives it back if the client leaves before acknowledging it. [MQTT-4.8.2-3 to -6]

mod kept;
mod member;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::config::{QueuePolicy, ShareStrategy};
use crate::message::{Message, Publication};
use crate::proto::QoS;
use crate::session::{Body, KeptId, QueueLimits, QueueMemory};
use crate::shard::arena::Arena;
use crate::shard::consult::{Forward, Name};
use crate::shard::effect::ShardId;
use crate::shard::interest::Waiter;
use crate::shard::journal::Told;
use crate::shard::limit::Limit;
use crate::shard::message::{Handed, Member, MemberId};
use crate::shard::record::{QueueNumber, Step, Target};
use crate::shard::route::Origin;
use crate::shard::witness::{Lost, Why};
use crate::shard::{Key, Random, Shard, ShardMessage, Subscribed, bit};
use crate::time::Time;

/// The groups that live on this shard.
#[derive(Debug)]
pub struct Groups {
    groups: Arena<Group>,
    by_name: HashMap<Arc<str>, Key, ahash::RandomState>,
    /// Of the last message of any group. No number comes twice: what a member says of a message of
    /// a group that ended must not be taken for one of the group that has its name now.
    last_number: u64,
    /// Those whose next message waits for room in a lane.
    behind_lanes: Vec<Key>,
}

/// A shared group.
///
/// Invariant: `queue` is ordered by number; `queue_bytes` is the sum of its messages' bytes.
#[derive(Debug)]
struct Group {
    name: Arc<str>,
    filter: Arc<str>,
    members: Vec<Seat>,
    queue: VecDeque<Waiting>,
    queue_bytes: u64,
    /// Its number in the log, once a member's session outlives the broker; 0 before.
    log_number: QueueNumber,
    told: Option<Told>,
    /// Messages in the log that were handed to a member and are not done, by number.
    handed: BTreeMap<u64, KeptId>,
    /// Where the next round-robin search begins.
    turn: usize,
    favourite: Option<MemberId>,
    /// Its next message waits for room in a lane.
    waits_for_lane: bool,
}

#[derive(Debug)]
struct Seat {
    member: Member,
    /// Who that is, while it is connected and somebody is asked about receivers.
    client: Option<Arc<Name>>,
    /// Messages handed to it and neither done nor returned.
    outstanding: u32,
}

impl Seat {
    /// Whether its client is there and takes a message of this QoS now. Of QoS 0 it takes what the
    /// lane to it has room for.
    fn can_take(&self, qos: QoS, full_lanes: u64) -> bool {
        let Member { id, window, options, .. } = self.member;
        window > 0
            && match qos.min(options.qos) {
                QoS::AtMostOnce => full_lanes & bit(id.shard) == 0,
                _ => self.outstanding < u32::from(window),
            }
    }
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    body: Body,
    bytes: u32,
    /// Hash of the publisher's client id.
    origin: u64,
}

impl Waiting {
    /// Bytes of memory it takes where it waits.
    fn memory_bytes(&self) -> u64 {
        size_of::<Waiting>() as u64 + self.body.held_bytes(self.bytes)
    }
}

/// Whether a subscription's filter names a shared group.
pub fn is_share(filter: &str) -> bool {
    filter.starts_with("$share/") || filter.starts_with("$queue/")
}

/// The group and the filter of a shared subscription; nothing if it is none. All that use `$queue/`
/// are one group without a name.
pub fn parts_of(name: &str) -> Option<(&str, &str)> {
    match name.strip_prefix("$queue/") {
        Some(filter) => Some(("", filter)),
        None => name.strip_prefix("$share/")?.split_once('/'),
    }
}

/// The filter within a shared group's name; nothing if it is none.
pub fn filter_of(name: &str) -> Option<&str> {
    parts_of(name).map(|(_, filter)| filter)
}

impl Groups {
    pub fn new(hasher: ahash::RandomState) -> Groups {
        let by_name = HashMap::with_hasher(hasher);
        Groups { groups: Arena::new(), by_name, last_number: 0, behind_lanes: Vec::new() }
    }

    /// The number of a message in a group: numbers follow the order of routing.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Messages get numbers above `number`.
    pub fn skip_numbers(&mut self, number: u64) {
        self.last_number = self.last_number.max(number);
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn members(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.members.len()).sum()
    }

    pub fn queued(&self) -> usize {
        self.groups.iter().map(|(_, group)| group.queue.len()).sum()
    }
}

impl Shard {
    /// Who is in a group, `count_max` members at most, and what waits.
    pub(in crate::shard) fn look_at_group(
        &self,
        group: Key,
        count_max: usize,
    ) -> Option<Subscribed> {
        let group = self.groups.groups.get(group)?;
        let members = group.members.iter().take(count_max);
        let members =
            members.map(|Seat { member, .. }| (member.id, member.options.qos, member.window > 0));
        let (name, queued) = (Arc::clone(&group.name), group.queue.len());
        Some(Subscribed::Group { name, members: members.collect(), queued })
    }
}

impl Group {
    fn seat_mut(&mut self, member: MemberId) -> Option<&mut Seat> {
        self.members.iter_mut().find(|seat| seat.member.id == member)
    }

    /// Puts a message where its number belongs: new ones at the end, returned ones before those
    /// that have never been handed out.
    fn insert(&mut self, waiting: Waiting, memory: &mut QueueMemory) {
        memory.take(waiting.memory_bytes());
        self.queue_bytes += u64::from(waiting.bytes);
        let at = match self.queue.back() {
            Some(last) if last.number > waiting.number => {
                self.queue.partition_point(|other| other.number < waiting.number)
            }
            _ => self.queue.len(),
        };
        self.queue.insert(at, waiting);
    }

    /// Puts a new message at the end of the queue. What had to go for it, or itself, is returned.
    fn offer(
        &mut self,
        waiting: Waiting,
        qos: QoS,
        full_lanes: u64,
        limits: QueueLimits,
        memory: &mut QueueMemory,
    ) -> Vec<Waiting> {
        let (bytes, needed) = (u64::from(waiting.bytes), waiting.memory_bytes());
        let (mut dropped, mut freed) = (Vec::new(), 0);
        while self.is_full(bytes, qos, full_lanes, limits)
            || (freed < needed && memory.bytes() + needed > limits.memory_bytes_max)
        {
            let oldest = match limits.policy {
                QueuePolicy::DropOldest => self.pop(memory),
                QueuePolicy::DropNewest | QueuePolicy::RefusePublisher => None,
            };
            let Some(oldest) = oldest else {
                dropped.push(waiting);
                return dropped;
            };
            freed += oldest.memory_bytes();
            dropped.push(oldest);
        }
        self.insert(waiting, memory);
        dropped
    }

    /// Whether the queue has no room for a message that does not only pass through.
    fn is_full(&self, bytes: u64, qos: QoS, full_lanes: u64, limits: QueueLimits) -> bool {
        let can_take = |seat: &Seat| seat.can_take(qos, full_lanes);
        let passes = || self.queue.is_empty() && self.members.iter().any(can_take);
        let is_over =
            self.queue.len() >= limits.messages_max || self.queue_bytes + bytes > limits.bytes_max;
        is_over && !passes()
    }

    fn pop(&mut self, memory: &mut QueueMemory) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        memory.give_back(waiting.memory_bytes());
        self.queue_bytes -= u64::from(waiting.bytes);
        Some(waiting)
    }

    /// The member for a message, if one can take it now: at QoS 1 and 2 one with room in its window,
    /// at QoS 0, which has none, one whose lane has room. `hash` is what it is chosen by where the
    /// strategy asks for that.
    fn pick(
        &mut self,
        strategy: ShareStrategy,
        hash: u64,
        message: &Message,
        full_lanes: u64,
        random: &mut Random,
        may_get: impl Fn(&Seat) -> bool,
    ) -> Option<usize> {
        let is_there = |seat: &Seat| seat.member.window > 0 && may_get(seat);
        let can_take = |seat: &Seat| seat.can_take(message.qos, full_lanes) && may_get(seat);
        let count = self.members.len();
        match strategy {
            ShareStrategy::RoundRobin => {
                let turn = self.turn;
                let mut order = (0..count).map(|step| (turn + step) % count);
                let index = order.find(|index| can_take(&self.members[*index]))?;
                self.turn = index + 1;
                Some(index)
            }
            ShareStrategy::Random => {
                let able: Vec<usize> =
                    (0..count).filter(|index| can_take(&self.members[*index])).collect();
                able.get(random.below(able.len())).copied()
            }
            ShareStrategy::Sticky => {
                let favourite = self.favourite;
                let is_favourite = |seat: &Seat| Some(seat.member.id) == favourite;
                let index = self
                    .members
                    .iter()
                    .position(|seat| is_favourite(seat) && can_take(seat))
                    .or_else(|| self.members.iter().position(can_take))?;
                self.favourite = Some(self.members[index].member.id);
                Some(index)
            }
            // Order is what these are chosen for: a member whose window is full is waited for.
            ShareStrategy::HashClient | ShareStrategy::HashTopic => {
                let there: Vec<usize> =
                    (0..count).filter(|index| is_there(&self.members[*index])).collect();
                let index = *there.get((hash % there.len().max(1) as u64) as usize)?;
                can_take(&self.members[index]).then_some(index)
            }
        }
    }
}

/// The group's side.
impl Shard {
    pub(in crate::shard) fn handle_share_join(
        &mut self,
        now: Time,
        from: ShardId,
        name: Arc<str>,
        filter: Arc<str>,
        (member, client): (Member, Option<Arc<Name>>),
        ticket: Key,
    ) {
        let key = match self.groups.by_name.get(&name) {
            Some(key) => *key,
            None => self.create_group(name, &filter),
        };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        match group.seat_mut(member.id) {
            Some(seat) => (seat.member, seat.client) = (member, client),
            None => group.members.push(Seat { member, client, outstanding: 0 }),
        }
        if member.is_kept {
            self.keep_group(now, key);
        }
        if !self.wait_for_interest(&filter, Waiter::Join(from, ticket)) {
            self.send(from, ShardMessage::ShareJoined { ticket });
        }
        self.dispatch(now, key);
    }

    fn create_group(&mut self, name: Arc<str>, filter: &Arc<str>) -> Key {
        let key = self.insert_group(name, filter);
        let entry = self.entry(filter);
        let was_wanted = entry.is_wanted_here();
        entry.groups.push(key);
        if !was_wanted {
            self.announce_interest(filter);
        }
        key
    }

    fn insert_group(&mut self, name: Arc<str>, filter: &Arc<str>) -> Key {
        let key = self.groups.groups.insert(Group {
            name: Arc::clone(&name),
            filter: Arc::clone(filter),
            members: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            log_number: 0,
            told: None,
            handed: BTreeMap::new(),
            turn: 0,
            favourite: None,
            waits_for_lane: false,
        });
        self.groups.by_name.insert(name, key);
        key
    }

    pub(in crate::shard) fn handle_share_leave(&mut self, now: Time, name: &str, member: MemberId) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        group.members.retain(|seat| seat.member.id != member);
        if group.members.is_empty() {
            self.end_group(now, key);
        } else {
            self.dispatch(now, key);
        }
    }

    fn end_group(&mut self, now: Time, key: Key) {
        let Some(group) = self.groups.groups.remove(key) else { return };
        self.forget_group(now, &group);
        self.groups.by_name.remove(&group.name);
        let Some(entry) = self.tree.get_mut(&group.filter) else { return };
        entry.groups.retain(|other| *other != key);
        let (unwanted, empty) = (!entry.is_wanted_here(), entry.is_empty());
        if unwanted {
            self.withdraw_interest(&group.filter);
        }
        if empty {
            self.tree.remove(&group.filter);
        }
    }

    pub(in crate::shard) fn handle_share_presence(
        &mut self,
        now: Time,
        name: &str,
        member: MemberId,
        window: u16,
        client: Option<Arc<Name>>,
    ) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        if let Some(seat) = group.seat_mut(member) {
            (seat.member.window, seat.client) = (window, client);
            self.dispatch(now, key);
        }
    }

    pub(in crate::shard) fn handle_share_done(
        &mut self,
        now: Time,
        name: &str,
        member: MemberId,
        number: u64,
    ) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        if let Some(id) = group.handed.remove(&number) {
            self.journal.progress(group.log_number, number, Step::Done);
            self.journal.release(&Body::Kept(id));
        }
        if let Some(seat) = group.seat_mut(member) {
            seat.outstanding = seat.outstanding.saturating_sub(1);
            self.dispatch(now, key);
        }
    }

    pub(in crate::shard) fn handle_share_return(
        &mut self,
        now: Time,
        name: &str,
        member: MemberId,
        message: Arc<Message>,
        number: u64,
    ) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        if let Some(seat) = group.seat_mut(member) {
            seat.outstanding = seat.outstanding.saturating_sub(1);
        }
        let bytes = message.bytes() as u32;
        let body = match group.handed.remove(&number) {
            Some(id) => Body::Kept(id),
            None => Body::Held(message),
        };
        // Which publisher it was is forgotten; the order within the group is not.
        group.insert(Waiting { number, body, bytes, origin: 0 }, &mut self.queue_memory);
        self.dispatch(now, key);
    }

    /// The group as one that a publication is kept for; none of its members may outlive the broker
    /// if it is not.
    pub(in crate::shard) fn group_target(
        &self,
        key: Key,
        number: u64,
        publication: &Publication<'_>,
    ) -> Option<Target> {
        let group = self.groups.groups.get(key)?;
        let is_kept = group.log_number != 0 && publication.qos > QoS::AtMostOnce;
        is_kept.then(|| Target {
            queue: group.log_number,
            ordinal: number,
            qos: publication.qos,
            retain: publication.retain,
            subscription_ids: Vec::new(),
        })
    }

    pub(in crate::shard) fn publish_to_group(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        origin: Origin,
        number: u64,
        kept: Option<KeptId>,
    ) {
        let limits = self.queue_limits();
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        let bytes = publication.bytes() as u32;
        let body = match kept {
            Some(id) => Body::Kept(id),
            None => Body::Held(Arc::clone(publication.keep())),
        };
        let waiting = Waiting { number, body, bytes, origin: origin.hash };
        let (qos, full_lanes) = (publication.qos, self.full_lanes);
        let dropped = group.offer(waiting, qos, full_lanes, limits, &mut self.queue_memory);
        if !dropped.is_empty() {
            let (name, log_number) = (Arc::clone(&group.name), group.log_number);
            self.metrics.dropped_share_queue_full_total += dropped.len() as u64;
            for waiting in &dropped {
                let message = self.journal.in_memory(&waiting.body).cloned();
                let topic = message.as_ref().map_or("", |message| message.topic());
                let lost = Lost { topic, qos: publication.qos, bytes: waiting.bytes as usize };
                self.lose_all(None, lost, Why::GroupFull, Some((*name).into()));
                self.waiting_over(log_number, waiting);
            }
            self.reached(Limit::Queue, format_args!("messages of shared group {name} are dropped"));
        }
        self.dispatch(now, key);
    }

    /// No member of a group gets a message.
    fn lose_in_group(&mut self, message: &Message, name: &Arc<str>, why: Why) {
        self.lose_all(None, message.into(), why, Some((**name).into()));
    }

    /// Whether a group's queue has no room for a message of so many bytes.
    pub(in crate::shard) fn group_is_full(&self, key: Key, bytes: u64, qos: QoS) -> bool {
        let limits = self.queue_limits();
        let group = self.groups.groups.get(key);
        group.is_some_and(|group| group.is_full(bytes, qos, self.full_lanes, limits))
    }

    /// A message leaves a group's queue without a member.
    fn waiting_over(&mut self, log_number: QueueNumber, waiting: &Waiting) {
        if let Body::Kept(_) = waiting.body {
            self.journal.progress(log_number, waiting.number, Step::Done);
            self.journal.release(&waiting.body);
        }
    }

    /// Hands out what can be handed out, in order.
    fn dispatch(&mut self, now: Time, key: Key) {
        let strategy = self.policy.mqtt.share_strategy;
        let forward = self.policy.forward.clone();
        loop {
            let Some(group) = self.groups.groups.get_mut(key) else { return };
            let Some(Waiting { body, origin, .. }) = group.queue.front() else { return };
            let (loaded, origin) = (self.journal.load(body), *origin);
            let log_number = group.log_number;
            let message = match loaded {
                Ok(message) => message,
                Err(damaged) => {
                    let lost = group.pop(&mut self.queue_memory).expect("the queue has a front");
                    self.found_damage(damaged);
                    self.waiting_over(log_number, &lost);
                    continue;
                }
            };
            if message.expires <= now {
                self.metrics.dropped_expired_total += 1;
                let name = Arc::clone(&group.name);
                let expired = group.pop(&mut self.queue_memory).expect("the queue has a front");
                self.waiting_over(log_number, &expired);
                self.lose_in_group(&message, &name, Why::Expired);
                continue;
            }
            let may_get = |seat: &Seat| {
                let asked = |forward: &Forward| {
                    forward.allows(seat.client.as_deref(), &Publication::of(&message))
                };
                forward.as_ref().is_none_or(asked)
            };
            let hash = match strategy {
                ShareStrategy::HashClient => origin,
                ShareStrategy::HashTopic => self.placement.hash_one(message.topic()),
                _ => 0,
            };
            let (random, full_lanes) = (&mut self.random, self.full_lanes);
            let picked = group.pick(strategy, hash, &message, full_lanes, random, may_get);
            let Some(index) = picked else {
                let mut there = group.members.iter().filter(|seat| seat.member.window > 0);
                let is_somebody = there.clone().next().is_some();
                // Whom it may go to nobody is: what is behind it does not wait for that.
                if forward.is_some() && is_somebody && !there.clone().any(may_get) {
                    let refused = group.pop(&mut self.queue_memory);
                    let refused = refused.expect("the queue has a front");
                    self.waiting_over(log_number, &refused);
                    continue;
                }
                // QoS 0 waits for nobody, but for room in the lane to who is there.
                if message.qos == QoS::AtMostOnce && !is_somebody {
                    self.metrics.dropped_away_total += 1;
                    let name = Arc::clone(&group.name);
                    group.pop(&mut self.queue_memory);
                    self.lose_in_group(&message, &name, Why::Away);
                    continue;
                }
                let waits_for_lane = |seat: &Seat| {
                    message.qos.min(seat.member.options.qos) == QoS::AtMostOnce
                        && full_lanes & bit(seat.member.id.shard) != 0
                };
                if there.any(waits_for_lane) && !std::mem::replace(&mut group.waits_for_lane, true)
                {
                    self.groups.behind_lanes.push(key);
                }
                return;
            };
            let taken = group.pop(&mut self.queue_memory);
            let Waiting { number, body, .. } = taken.expect("the queue has a front");
            let seat = &mut group.members[index];
            let Member { id, options, subscription_id, .. } = seat.member;
            let is_tracked = message.qos.min(options.qos) > QoS::AtMostOnce;
            seat.outstanding += u32::from(is_tracked);
            let name = Arc::clone(&group.name);
            match body {
                Body::Kept(kept) if is_tracked => {
                    group.handed.insert(number, kept);
                }
                Body::Kept(_) => {
                    self.journal.progress(log_number, number, Step::Done);
                    self.journal.release(&body);
                }
                Body::Held(_) | Body::Written => {}
            }
            let handed = Handed { group: name, message, number, options, subscription_id };
            self.send(id.shard, ShardMessage::ShareDeliver { session: id.session, handed });
        }
    }

    /// Whether a group's next message waits for room in a lane.
    pub(in crate::shard) fn waits_for_lane(&self, key: Key) -> bool {
        self.groups.groups.get(key).is_some_and(|group| group.waits_for_lane)
    }

    /// A lane has room again: the groups that waited for one go on.
    pub(in crate::shard) fn dispatch_waiting(&mut self, now: Time) {
        for key in std::mem::take(&mut self.groups.behind_lanes) {
            if let Some(group) = self.groups.groups.get_mut(key) {
                group.waits_for_lane = false;
                self.dispatch(now, key);
            }
        }
    }
}

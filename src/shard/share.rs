//! Shared subscriptions: each message of a group to one of its members.
//!
//! A group lives on the shard its name hashes to. That shard subscribes to the filter in the
//! group's stead, holds the queue, and hands each message to a member with room in its window,
//! on whichever shard the member's session lives. The member's shard reports when the message is
//! done, or gives it back if the client leaves before acknowledging it. [MQTT-4.8.2-3 to -6]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::arena::Arena;
use super::effect::ShardId;
use super::interest::Waiter;
use super::message::{Handed, Member, MemberId};
use super::route::Origin;
use super::{Key, Random, Shard, ShardMessage};
use crate::config::{QueuePolicy, ShareStrategy};
use crate::message::{Message, Publication};
use crate::proto::QoS;
use crate::session::{Delivery, ShareTicket, SubscriptionIdSet};
use crate::time::Time;

/// The groups that live on this shard.
#[derive(Debug)]
pub struct Groups {
    groups: Arena<Group>,
    by_name: HashMap<Arc<str>, Key, ahash::RandomState>,
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
    next_number: u64,
    /// Where the next round-robin search begins.
    turn: usize,
    favourite: Option<MemberId>,
}

#[derive(Debug)]
struct Seat {
    member: Member,
    /// Messages handed to it and neither done nor returned.
    outstanding: u32,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    message: Arc<Message>,
    /// Hash of the publisher's client id.
    origin: u64,
}

/// Whether a subscription's filter names a shared group.
pub fn is_share(filter: &str) -> bool {
    filter.starts_with("$share/") || filter.starts_with("$queue/")
}

impl Groups {
    pub fn new(hasher: ahash::RandomState) -> Groups {
        Groups { groups: Arena::new(), by_name: HashMap::with_hasher(hasher) }
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

impl Group {
    fn seat_mut(&mut self, member: MemberId) -> Option<&mut Seat> {
        self.members.iter_mut().find(|seat| seat.member.id == member)
    }

    /// Puts a message where its number belongs: new ones at the end, returned ones before those
    /// that have never been handed out.
    fn insert(&mut self, waiting: Waiting) {
        self.queue_bytes += waiting.message.bytes() as u64;
        let at = match self.queue.back() {
            Some(last) if last.number > waiting.number => {
                self.queue.partition_point(|other| other.number < waiting.number)
            }
            _ => self.queue.len(),
        };
        self.queue.insert(at, waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        self.queue_bytes -= waiting.message.bytes() as u64;
        Some(waiting)
    }

    /// The member for a message, if one can take it now.
    fn pick(
        &mut self,
        strategy: ShareStrategy,
        message: &Message,
        origin: u64,
        placement: &ahash::RandomState,
        random: &mut Random,
    ) -> Option<usize> {
        let can_take = |seat: &Seat| {
            let qos = message.qos.min(seat.member.options.qos);
            seat.member.window > 0
                && (qos == QoS::AtMostOnce || seat.outstanding < u32::from(seat.member.window))
        };
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
                let hash = match strategy {
                    ShareStrategy::HashClient => origin,
                    _ => placement.hash_one(message.topic()),
                };
                let there: Vec<usize> =
                    (0..count).filter(|index| self.members[*index].member.window > 0).collect();
                let index = *there.get((hash % there.len().max(1) as u64) as usize)?;
                can_take(&self.members[index]).then_some(index)
            }
        }
    }
}

/// The group's side.
impl Shard {
    pub(super) fn handle_share_join(
        &mut self,
        now: Time,
        from: ShardId,
        name: Arc<str>,
        filter: Arc<str>,
        member: Member,
        ticket: Key,
    ) {
        let key = match self.groups.by_name.get(&name) {
            Some(key) => *key,
            None => self.create_group(name, &filter),
        };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        match group.seat_mut(member.id) {
            Some(seat) => seat.member = member,
            None => group.members.push(Seat { member, outstanding: 0 }),
        }
        if !self.wait_for_interest(&filter, Waiter::Join(from, ticket)) {
            self.send(from, ShardMessage::ShareJoined { ticket });
        }
        self.dispatch(now, key);
    }

    fn create_group(&mut self, name: Arc<str>, filter: &Arc<str>) -> Key {
        let key = self.groups.groups.insert(Group {
            name: Arc::clone(&name),
            filter: Arc::clone(filter),
            members: Vec::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            next_number: 0,
            turn: 0,
            favourite: None,
        });
        self.groups.by_name.insert(name, key);
        let entry = self.entry(filter);
        let was_wanted = entry.is_wanted_here();
        entry.groups.push(key);
        if !was_wanted {
            self.announce_interest(filter);
        }
        key
    }

    pub(super) fn handle_share_leave(&mut self, now: Time, name: &str, member: MemberId) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        group.members.retain(|seat| seat.member.id != member);
        if group.members.is_empty() {
            self.end_group(key);
        } else {
            self.dispatch(now, key);
        }
    }

    fn end_group(&mut self, key: Key) {
        let Some(group) = self.groups.groups.remove(key) else { return };
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

    pub(super) fn handle_share_presence(
        &mut self,
        now: Time,
        name: &str,
        member: MemberId,
        window: u16,
    ) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        if let Some(seat) = group.seat_mut(member) {
            seat.member.window = window;
            self.dispatch(now, key);
        }
    }

    pub(super) fn handle_share_done(&mut self, now: Time, name: &str, member: MemberId) {
        let Some(key) = self.groups.by_name.get(name).copied() else { return };
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        if let Some(seat) = group.seat_mut(member) {
            seat.outstanding = seat.outstanding.saturating_sub(1);
            self.dispatch(now, key);
        }
    }

    pub(super) fn handle_share_return(
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
        // Which publisher it was is forgotten; the order within the group is not.
        group.insert(Waiting { number, message, origin: 0 });
        self.dispatch(now, key);
    }

    pub(super) fn publish_to_group(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        origin: Origin,
    ) {
        let mqtt = &self.policy.mqtt;
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        let message = Arc::clone(publication.keep());
        let full = group.queue.len() >= mqtt.queue_messages_max as usize
            || group.queue_bytes + message.bytes() as u64 > mqtt.queue_bytes_max;
        if full {
            self.metrics.dropped_share_queue_full_total += 1;
            if mqtt.queue_policy == QueuePolicy::DropNewest || group.pop().is_none() {
                return;
            }
        }
        let number = group.next_number;
        group.next_number += 1;
        group.insert(Waiting { number, message, origin: origin.hash });
        self.dispatch(now, key);
    }

    /// Hands out what can be handed out, in order.
    fn dispatch(&mut self, now: Time, key: Key) {
        let strategy = self.policy.mqtt.share_strategy;
        loop {
            let Some(group) = self.groups.groups.get_mut(key) else { return };
            let Some(Waiting { message, origin, .. }) = group.queue.front() else { return };
            if message.expires <= now {
                self.metrics.dropped_expired_total += 1;
                group.pop();
                continue;
            }
            let (message, origin) = (Arc::clone(message), *origin);
            let picked = group.pick(strategy, &message, origin, &self.placement, &mut self.random);
            let Some(index) = picked else {
                // QoS 0 waits for nobody.
                if message.qos == QoS::AtMostOnce {
                    self.metrics.dropped_away_total += 1;
                    group.pop();
                    continue;
                }
                return;
            };
            let number = group.pop().expect("the queue has a front").number;
            let seat = &mut group.members[index];
            let Member { id, options, subscription_id, .. } = seat.member;
            seat.outstanding += u32::from(message.qos.min(options.qos) > QoS::AtMostOnce);
            let (group, session) = (Arc::clone(&group.name), id.session);
            self.send(
                id.shard,
                ShardMessage::ShareDeliver {
                    session,
                    handed: Handed { group, message, number, options, subscription_id },
                },
            );
        }
    }
}

/// The member's side.
impl Shard {
    pub(super) fn member_id(&self, session: Key) -> MemberId {
        MemberId { shard: self.id, session }
    }

    pub(super) fn handle_share_deliver(&mut self, now: Time, session: Key, handed: Handed) {
        let Handed { group, message, number, options, subscription_id } = handed;
        let takes = self.sessions.get(session).is_some_and(|seat| {
            seat.connection.is_some() && seat.session.subscriptions.contains_key(&*group)
        });
        // [MQTT-4.8.2-3]: for whoever takes it in the end.
        let qos = if takes { message.qos.min(options.qos) } else { message.qos };
        let delivery = Delivery {
            retain: message.retain && options.retain_as_published,
            message,
            qos,
            subscription_ids: SubscriptionIdSet::from_slice(match &subscription_id {
                0 => &[],
                id => std::slice::from_ref(id),
            }),
            share: (qos > QoS::AtMostOnce)
                .then(|| Box::new(ShareTicket { group: Arc::clone(&group), number })),
        };
        match takes {
            true if qos == QoS::AtMostOnce => {
                let publication = Publication::of(&delivery.message);
                let ids = delivery.subscription_ids.as_slice();
                self.deliver_at_most_once(now, session, &publication, delivery.retain, ids);
            }
            true => self.offer(now, session, delivery),
            false if qos == QoS::AtMostOnce => self.metrics.dropped_away_total += 1,
            false => self.return_share(session, delivery),
        }
    }

    /// A message of a group is over for this member.
    pub(super) fn share_done(&mut self, session: Key, share: Option<&ShareTicket>) {
        if let Some(ShareTicket { group, .. }) = share {
            let member = self.member_id(session);
            let to = self.place(group);
            self.send(to, ShardMessage::ShareDone { group: Arc::clone(group), member });
        }
    }

    /// Somebody else shall have it.
    pub(super) fn return_share(&mut self, session: Key, delivery: Delivery) {
        let Some(share) = delivery.share else { return };
        let ShareTicket { group, number } = *share;
        let member = self.member_id(session);
        let to = self.place(&group);
        let message = delivery.message;
        self.send(to, ShardMessage::ShareReturn { group, member, message, number });
    }

    /// The subscription ended: what was not sent goes back, what was sent is completed.
    /// [MQTT-3.10.4-3]
    pub(super) fn leave_group(&mut self, session: Key, group: Arc<str>) {
        let member = self.member_id(session);
        let to = self.place(&group);
        self.send(to, ShardMessage::ShareLeave { group: Arc::clone(&group), member });
        let Some(seat) = self.sessions.get_mut(session) else { return };
        let queued = seat
            .session
            .outbox
            .take_back(|d| d.share.as_ref().is_some_and(|share| share.group == group));
        for delivery in queued {
            self.return_share(session, delivery);
        }
    }
}

//! What of a shard outlives the broker, and how it comes back.
//!
//! A session that may outlive its connection gets a number in the log. The log tells of it as a
//! whole once (`told`), then of each change; what it is owed are the records of the messages
//! themselves. As long as a session lives, the segment that tells of it as a whole stays, and with
//! it everything behind; compaction tells of it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deliver::Granted;
use super::effect::{ConnectionId, ShardId};
use super::image::{Image, MessagePlace, Owed, SessionImage};
use super::journal::{Item, Journal, Told, Waiter};
use super::message::{Member, MemberId};
use super::record::{
    Change, MessageHead, QueueNumber, SessionState, Step, SubscriptionState, Target, WillState,
};
use super::retained::Retained;
use super::{Key, Seat, Shard, bit};
use crate::message::{Message, Publication};
use crate::proto::{PacketId, QoS, SubscriptionOptions, Version};
use crate::router::{Subscriber, SubscriberKey};
use crate::session::{Body, Delivery, KeptId, Session, Subscription, SubscriptionIdSet, Will};
use crate::storage::{SegmentNumber, Sequence, Urgency};
use crate::time::Time;

/// Sessions.
impl Shard {
    /// A client connected: its session is kept from now on if it may outlive the connection, and
    /// nothing is written to the client before that is durable.
    pub(super) fn keep_session(&mut self, now: Time, key: Key, id: ConnectionId) {
        if !self.journal.is_enabled() {
            return;
        }
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let appended = if seat.number != 0 {
            let session = &seat.session;
            let attach = Change::Attach {
                session: seat.number,
                expiry_interval: session.expiry_interval,
                will: session.will.as_deref().map(WillState::of),
            };
            self.journal.append(now, &attach).is_some()
        } else if seat.session.is_persistent() {
            seat.number = self.journal.next_number();
            self.session_by_number.insert(seat.number, key);
            self.tell_session(now, key).is_some()
        } else {
            return;
        };
        if appended {
            self.hold_output(id);
        }
    }

    /// Nothing is written to the client before what was told the log so far is durable.
    pub(super) fn hold_output(&mut self, id: ConnectionId) {
        if let Some(sequence) = self.journal.undurable()
            && let Some(connection) = self.connections.get_mut(id)
            && !connection.is_held
        {
            connection.is_held = true;
            self.journal.wait(sequence, Waiter::Output(id));
        }
    }

    /// Tells the log of a session as a whole.
    fn tell_session(&mut self, now: Time, key: Key) -> Option<Told> {
        let seat = self.sessions.get_mut(key)?;
        let changes = SessionState::of(seat).into_changes(self.journal.segment_bytes()?);
        let told = self.journal.append_item(now, &changes, Item::Session(key))?;
        // Not before all of it is told: the segment of the earlier one can go once that is durable.
        if let Some(earlier) = seat.told.replace(told) {
            self.journal.release_item(earlier);
        }
        Some(told)
    }

    pub(super) fn move_session(&mut self, now: Time, key: Key, segment: SegmentNumber) {
        let told = self.sessions.get(key).and_then(|seat| seat.told);
        if told.is_some_and(|told| self.journal.is_in(told.at, segment)) {
            self.tell_session(now, key);
        }
    }

    /// A session is over.
    pub(super) fn forget_session(&mut self, now: Time, seat: &Seat) {
        if seat.number == 0 {
            return;
        }
        self.session_by_number.remove(&seat.number);
        self.journal.end_session(now, seat.number, &seat.session.client_id);
        if let Some(told) = seat.told {
            self.journal.release_item(told);
        }
    }

    pub(super) fn keep_subscription(
        &mut self,
        now: Time,
        key: Key,
        filter: &str,
        subscription: Subscription,
    ) {
        let Some(seat) = self.sessions.get(key).filter(|seat| seat.is_kept()) else { return };
        let subscription = SubscriptionState::of(filter, subscription);
        self.journal.append(now, &Change::Subscribe { session: seat.number, subscription });
    }

    pub(super) fn forget_subscription(&mut self, now: Time, key: Key, filter: String) {
        let Some(seat) = self.sessions.get(key).filter(|seat| seat.is_kept()) else { return };
        self.journal.append(now, &Change::Unsubscribe { session: seat.number, filter });
    }

    pub(super) fn note_will_published(&mut self, now: Time, key: Key) {
        let Some(seat) = self.sessions.get(key).filter(|seat| seat.is_kept()) else { return };
        self.journal.append(now, &Change::WillPublished { session: seat.number });
    }

    /// Keeps a message that one session alone is owed; its record and ordinal. If there is no room,
    /// it is owed as long as the broker runs.
    pub(super) fn keep_for_one(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        granted: Granted,
        subscription_ids: &[u32],
    ) -> Option<(KeptId, u64)> {
        if granted.qos == QoS::AtMostOnce || !self.journal.is_enabled() {
            return None;
        }
        let seat = self.sessions.get_mut(key).filter(|seat| seat.is_kept())?;
        let ordinal = seat.session.outbox.next_ordinal();
        let mut head = MessageHead::of(publication);
        head.targets.push(Target {
            queue: seat.number,
            ordinal,
            qos: granted.qos,
            retain: granted.retain,
            subscription_ids: subscription_ids.to_vec(),
        });
        let (id, _) = self.journal.keep(now, &head, publication, 1, Urgency::Refusable).ok()?;
        Some((id, ordinal))
    }

    /// Writes a message of the oldest segment again, for those who are still owed it.
    pub(super) fn move_message(&mut self, now: Time, id: KeptId, segment: SegmentNumber) {
        let Some(read) = self.journal.read_in(id, segment) else { return };
        let (mut head, message) = match read {
            Ok(read) => read,
            // Its segment stays until those who are owed it have come.
            Err(damaged) => return self.found_damage(damaged),
        };
        head.targets.retain(|target| self.owes(target));
        head.stored &= self.is_retained(message.topic(), id);
        // Which session took it is told of by the session.
        head.taken = None;
        self.journal.rewrite(now, id, &head, message);
    }

    /// Whether other shards are still to get a message of this one's log.
    pub(super) fn is_spreading(&self, id: KeptId) -> bool {
        self.spreads.iter().any(|(_, pending)| pending.spreads(id))
            || self.publishes.iter().any(|(_, pending)| pending.spreads(id))
    }

    /// SUBACK waits for what the session's subscriptions changed in the log.
    pub(super) fn wait_for_subscriptions(&mut self, key: Key, subscribe: Key) {
        let is_kept = self.sessions.get(key).is_some_and(|seat| seat.is_kept());
        if let Some(sequence) = self.journal.last().filter(|_| is_kept)
            && !self.journal.is_durable(sequence)
        {
            self.subscribe_waits(subscribe);
            self.journal.wait(sequence, Waiter::Subscribe(subscribe));
        }
    }

    fn owes(&self, target: &Target) -> bool {
        match self.session_by_number.get(&target.queue) {
            Some(key) => {
                self.sessions.get(*key).is_some_and(|seat| seat.session.outbox.owes(target.ordinal))
            }
            None => self
                .group_numbered(target.queue)
                .is_some_and(|group| self.group_owes(group, target.ordinal)),
        }
    }
}

impl Journal {
    /// A session is on its own; what its client was sent is told of before.
    pub(super) fn note_detached(&mut self, now: Time, seat: &Seat) {
        self.flush(now);
        let detach = Change::Detach {
            session: seat.number,
            at_micros: seat.session.detached_at.unwrap_or(now).as_micros(),
            expiry_interval: seat.session.expiry_interval,
            has_will: seat.session.will.is_some(),
        };
        self.append(now, &detach);
    }
}

impl SessionState {
    pub(super) fn of(seat: &Seat) -> SessionState {
        let Session { client_id, expiry_interval, subscriptions, outbox, inbound, will, .. } =
            &seat.session;
        let mut subscriptions: Vec<_> = subscriptions
            .iter()
            .map(|(filter, subscription)| SubscriptionState::of(filter, *subscription))
            .collect();
        subscriptions.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
        SessionState {
            number: seat.number,
            client_id: client_id.to_string(),
            expiry_interval: *expiry_interval,
            detached_at_micros: seat.session.detached_at.map(Time::as_micros),
            will: will.as_deref().map(WillState::of),
            last_ordinal: outbox.last_ordinal(),
            sent_through: seat.sent_through,
            subscriptions,
            taken: inbound.iter().map(PacketId::get).collect(),
            received: outbox.inflight.released().collect(),
        }
    }
}

impl SubscriptionState {
    fn of(filter: &str, subscription: Subscription) -> SubscriptionState {
        let Subscription { options, subscription_id } = subscription;
        SubscriptionState {
            filter: filter.to_owned(),
            options: options.to_byte(Version::V5),
            id: subscription_id,
        }
    }

    fn subscription(&self) -> Option<Subscription> {
        let options = SubscriptionOptions::from_byte(Version::V5, self.options).ok()?;
        Some(Subscription { options, subscription_id: self.id })
    }
}

impl WillState {
    fn of(will: &Will) -> WillState {
        let message = &will.message;
        let mut properties = Vec::new();
        message.properties().write_to(&mut properties);
        WillState {
            topic: message.topic().to_owned(),
            properties,
            payload: message.payload().to_vec(),
            qos: message.qos as u8,
            retain: message.retain,
            message_expiry_interval: will.message_expiry_interval,
            delay_interval: will.delay_interval,
        }
    }

    fn will(&self) -> Option<Will> {
        let message = Message::from_parts(
            &self.topic,
            &self.properties,
            &self.payload,
            QoS::from_bits(self.qos)?,
            self.retain,
        );
        Some(Will {
            message: Arc::new(message),
            message_expiry_interval: self.message_expiry_interval,
            delay_interval: self.delay_interval,
        })
    }
}

/// What one shard takes over from an earlier life.
#[derive(Debug, Default)]
pub struct Restored {
    image: Image,
    /// Sessions that were to end with their connections.
    ended: Vec<QueueNumber>,
    /// Filters that other shards want, and which: a bit set.
    interests: BTreeMap<String, u64>,
    /// Members of the shared groups that live here, by group and filter.
    members: BTreeMap<String, Vec<Member>>,
}

/// Puts together what each shard of a broker must know of the others, from what their logs say;
/// `place` is the home of a shared group.
pub fn restore(mut images: Vec<Image>, place: impl Fn(&str) -> ShardId) -> Vec<Restored> {
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    let mut ended = Vec::new();
    let mut members: Vec<BTreeMap<String, Vec<Member>>> =
        images.iter().map(|_| BTreeMap::new()).collect();
    for (shard, image) in images.iter_mut().enumerate() {
        // A session that was to end with its connection has ended.
        let is_over = |session: &SessionImage| session.rest().expiry_interval == 0;
        let over = image.sessions.iter().filter(|(_, session)| is_over(session));
        ended.push(over.map(|(number, _)| *number).collect::<Vec<_>>());
        image.sessions.retain(|_, session| !is_over(session));
        for (index, session) in image.sessions.values().enumerate() {
            let id = MemberId { shard: ShardId(shard as u8), session: Key::nth(index as u32) };
            for subscription in &session.state().subscriptions {
                let filter = &subscription.filter;
                let Some(Subscription { options, subscription_id }) = subscription.subscription()
                else {
                    continue;
                };
                let home = match super::share::filter_of(filter) {
                    None => ShardId(shard as u8),
                    Some(_) => place(filter),
                };
                let plain = super::share::filter_of(filter).unwrap_or(filter);
                *wanted.entry(plain.to_owned()).or_default() |= bit(home);
                if plain != filter {
                    let member = Member { id, options, subscription_id, window: 0, is_kept: true };
                    members[home.index()].entry(filter.clone()).or_default().push(member);
                }
            }
        }
    }
    let restored = images.into_iter().zip(members).zip(ended).enumerate();
    let restored = restored.map(|(shard, ((image, members), ended))| {
        let others = |mask: u64| mask & !bit(ShardId(shard as u8));
        let interests = wanted.iter().map(|(filter, mask)| (filter.clone(), others(*mask)));
        let interests = interests.filter(|(_, mask)| *mask != 0).collect();
        Restored { image, ended, interests, members }
    });
    restored.collect()
}

/// Coming back.
impl Shard {
    pub(super) fn restore(&mut self, now: Time, restored: Restored) {
        let Restored { image, ended, interests, members } = restored;
        for session in ended {
            self.journal.append(now, &Change::SessionEnd { session });
        }
        self.journal.skip_numbers(image.last_number);
        self.groups.skip_numbers(image.last_group_number);
        self.see_stamp(image.last_stamp);
        let mut places = BTreeMap::new();
        for (filter, mask) in interests {
            self.entry(&filter.into()).remote |= mask;
        }
        for (index, session) in image.sessions.into_values().enumerate() {
            let key = Key::nth(index as u32);
            self.restore_session(now, key, session, &mut places);
        }
        for (name, members) in members {
            self.restore_group(name.into(), members);
        }
        for (number, group) in image.groups {
            if !self.restore_group_queue(number, group, &mut places) {
                self.journal.append(now, &Change::GroupEnd { group: number });
            }
        }
        self.keep_groups(now);
        for (_, retained) in image.retained {
            let id = self.adopt(retained.message, &mut places);
            match self.journal.load(&Body::Kept(id)) {
                Ok(message) => self.insert_retained(Retained { message, kept: Some(id) }),
                Err(damaged) => {
                    self.found_damage(damaged);
                    self.journal.release(&Body::Kept(id));
                }
            }
        }
        for (from, received) in image.received {
            self.note_received((from, received.through), received.told_at);
        }
        for (sequence, remote) in image.unspread {
            self.restore_spread(sequence, remote);
        }
        for key in self.session_by_number.values().copied().collect::<Vec<_>>() {
            self.check_session(now, key);
        }
    }

    fn restore_session(
        &mut self,
        now: Time,
        key: Key,
        image: SessionImage,
        places: &mut BTreeMap<Sequence, KeptId>,
    ) {
        let state = image.state();
        let SessionImage { told, queue, .. } = image;
        let client_id: Arc<str> = state.client_id.as_str().into();
        let mut session =
            Session::new(Arc::clone(&client_id), state.expiry_interval, self.hasher.clone());
        // Who was connected when the broker crashed could not come back before now.
        session.detached_at = Some(state.detached_at_micros.map_or(now, Time::from_micros));
        session.will = state.will.as_ref().and_then(WillState::will).map(Box::new);
        for packet_id in state.taken.iter().copied().filter_map(PacketId::new) {
            session.inbound.insert(packet_id);
        }
        let mut received: Vec<u64> = state.received.clone();
        received.sort_unstable();
        let mut received = received.into_iter().peekable();
        // Notes of what was sent last are lost in a crash: what a connected client can have been
        // sent is taken as sent, so that it comes again with DUP. [MQTT-3.3.1-1]
        let was_connected = state.detached_at_micros.is_none();
        for (ordinal, owed) in queue {
            while let Some(released) = received.next_if(|released| *released < ordinal) {
                session.outbox.restore_released(released);
            }
            let delivery = self.restore_delivery(ordinal, owed, places);
            let was_sent = was_connected || ordinal <= state.sent_through;
            session.outbox.restore(delivery, was_sent, &mut self.queue_memory);
        }
        for released in received {
            session.outbox.restore_released(released);
        }
        session.outbox.skip_ordinals(state.last_ordinal);
        self.inflight_count += session.outbox.inflight.len();
        let mut seat = Box::new(Seat::new(session));
        seat.number = state.number;
        seat.told = Some(told);
        seat.sent_through = seat.session.outbox.inflight.last_ordinal().max(state.sent_through);
        for subscription in &state.subscriptions {
            let Some(wanted) = subscription.subscription() else { continue };
            let filter: Arc<str> = subscription.filter.as_str().into();
            if seat.session.subscribe(Arc::clone(&filter), wanted).is_none() {
                self.subscription_count += 1;
            }
            if super::share::is_share(&filter) {
                seat.shares += 1;
            } else {
                self.restore_subscription(key, &filter, wanted);
            }
        }
        self.journal.hold_item(told, Item::Session(key));
        self.session_by_client_id.insert(client_id, key);
        self.session_by_number.insert(state.number, key);
        if was_connected {
            self.journal.progress(seat.number, seat.sent_through, Step::Sent);
            self.journal.note_detached(now, &seat);
        }
        let inserted = self.sessions.insert(seat);
        assert_eq!(inserted, key, "sessions come back in the order in which they were counted");
    }

    fn restore_delivery(
        &mut self,
        ordinal: u64,
        owed: Owed,
        places: &mut BTreeMap<Sequence, KeptId>,
    ) -> Delivery {
        let id = self.adopt(owed.message, places);
        Delivery {
            body: Body::Kept(id),
            bytes: owed.message.bytes,
            ordinal,
            qos: owed.qos,
            retain: owed.retain,
            subscription_ids: SubscriptionIdSet::from_slice(&owed.subscription_ids),
            share: None,
        }
    }

    /// One more reference to a message of an earlier life.
    pub(super) fn adopt(
        &mut self,
        place: MessagePlace,
        places: &mut BTreeMap<Sequence, KeptId>,
    ) -> KeptId {
        let id = *places
            .entry(place.sequence)
            .or_insert_with(|| self.journal.adopt(place.sequence, place.record_bytes));
        self.journal.refer(id);
        id
    }

    fn restore_subscription(&mut self, key: Key, filter: &Arc<str>, subscription: Subscription) {
        let Subscription { options, subscription_id } = subscription;
        let subscriber = Subscriber::new(SubscriberKey(key.index), options, subscription_id);
        self.entry(filter).subscribers.insert(subscriber);
    }

    /// Hands a QoS 2 message to the other shards that may not have got it.
    fn restore_spread(&mut self, sequence: Sequence, remote: u64) {
        let id = self.journal.adopt(sequence, 0);
        self.journal.refer(id);
        let (head, message) = match self.journal.read(sequence) {
            Ok(read) => read,
            Err(damaged) => {
                self.journal.release(&Body::Kept(id));
                return self.found_damage(damaged);
            }
        };
        let taken = head.taken.and_then(|taken| {
            Some((*self.session_by_number.get(&taken.session)?, taken.packet_id))
        });
        let remote = remote & ((1 << self.count) - 1) & !bit(self.id);
        let is_taken = head.stored || !head.targets.is_empty();
        self.spread_again(&message, taken, is_taken, remote, (id, sequence));
    }
}

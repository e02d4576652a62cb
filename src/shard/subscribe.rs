//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::Pause;
use super::consult::{Consulting, Event};
use super::deliver::Granted;
use super::effect::ConnectionId;
use super::interest::Waiter as InterestWaiter;
use super::journal::Waiter;
use super::limit::Limit;
use super::ruling::{Act, May};
use super::spread::SPREAD_MAX;
use super::witness::{Lost, Why};
use super::{Key, Shard, ShardMessage};
use crate::auth::Action;
use crate::message::Publication;
use crate::proto::{
    FilterAndOptions, Packet, PacketId, QoS, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscriptionFilter, SubscriptionOptions, UnsubAck, Unsubscribe, Version,
};
use crate::router::{Subscriber, SubscriberKey};
use crate::session::{self, Session, Subscription};
use crate::time::Time;

/// A SUBSCRIBE: its SUBACK waits until every shard forwards what it asks for, then its retained
/// messages until every shard has been asked for them.
#[derive(Debug)]
pub struct PendingSubscribe {
    connection: ConnectionId,
    session: Key,
    packet_id: PacketId,
    reasons: Vec<u8>,
    /// What it counts for towards [`SUBSCRIBING_MAX`].
    filters: usize,
    /// Others of its packet come before or after it.
    is_part: bool,
    /// Answers that are still to come before its next step.
    missing: usize,
    /// Whether SUBACK is sent.
    is_answered: bool,
    /// Subscriptions whose retained messages are not asked for yet.
    retained: VecDeque<Arc<str>>,
}

/// Subscriptions of one SUBSCRIBE whose retained messages are read in a turn: one with wildcards is
/// a walk over many of them, on every shard.
const READS_MAX: usize = 16;

/// Subscriptions one connection may have in the making, those included whose end is not durable yet;
/// beyond them nothing is read from it. What each costs, here and on the other shards, is bounded by
/// that.
const SUBSCRIBING_MAX: usize = 256;

impl Shard {
    /// Makes the subscriptions of a SUBSCRIBE, or of a part of one, once all who are to be asked
    /// have answered.
    pub(super) fn ask_to_subscribe(
        &mut self,
        now: Time,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
    ) {
        let asks_hook = self.is_consulted(id, |consults| consults.subscribe);
        if !asks_hook && self.policy.rule_service.is_none() {
            return self.subscribe_all(now, id, subscribe, &[], None);
        }
        let (mut acts, mut ruled) = (Vec::new(), Vec::new());
        for FilterAndOptions { filter, options } in subscribe.filters.iter() {
            let (topic, qos) = (filter.within_group().as_str(), options.qos);
            let may = self.may_subscribe(id, filter, qos);
            ruled.push(!matches!(may, May::Ask | May::Not));
            if may == May::Ask {
                let topic = topic.into();
                acts.push(Act { action: Action::Subscribe, topic, qos, retain: false });
            }
        }
        if acts.is_empty() && !asks_hook {
            return self.subscribe_all(now, id, subscribe, &ruled, None);
        }
        let filters = subscribe.filters.iter();
        let filters = filters.map(|entry| (entry.filter.to_string().into(), entry.options));
        let (packet_id, subscription_id) = (subscribe.packet_id, subscribe.subscription_id);
        let filters = filters.collect();
        let waits = Consulting::Subscribe { packet_id, subscription_id, filters, ruled };
        match acts.is_empty() {
            true => self.consult(id, waits),
            false => self.ask_service(id, acts, waits),
        }
    }

    /// Makes the subscriptions: as `ruled` where rules leave it open, and as advised
    /// if a hook was asked.
    pub(super) fn subscribe_all(
        &mut self,
        now: Time,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        ruled: &[bool],
        advice: Option<&[Result<QoS, ReasonCode>]>,
    ) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let session = active.session;
        let filters = subscribe.filters.len();
        active.subscribing += filters;
        let is_part = active.parted.is_some();
        let ticket = self.subscribes.insert(PendingSubscribe {
            connection: id,
            session,
            packet_id: subscribe.packet_id,
            reasons: Vec::with_capacity(filters),
            filters,
            is_part,
            // Held by this function until every filter has been looked at.
            missing: 1,
            is_answered: false,
            retained: VecDeque::new(),
        });
        let v5 = self.speaks_v5(id);
        for (index, entry) in subscribe.filters.iter().enumerate() {
            let FilterAndOptions { filter, mut options } = entry;
            let may = self.may_subscribe(id, filter, options.qos);
            let allowed = match may {
                May::Do(qos_max) | May::DoPart(qos_max) => Ok(qos_max),
                May::Ask if ruled.get(index).copied().unwrap_or(false) => Ok(QoS::ExactlyOnce),
                May::Ask | May::Not => Err(ReasonCode::NotAuthorized),
            };
            let advised = advice.map_or(Ok(QoS::ExactlyOnce), |advice| {
                advice.get(index).copied().unwrap_or(Err(ReasonCode::NotAuthorized))
            });
            let granted = match allowed.and_then(|qos| Ok(qos.min(advised?))) {
                Err(reason) => {
                    self.metrics.subscriptions_refused_total += 1;
                    Err(reason)
                }
                Ok(qos_max) => {
                    options.qos = options.qos.min(qos_max);
                    let subscription_id = subscribe.subscription_id.unwrap_or(0);
                    let subscription = Subscription { options, subscription_id };
                    self.subscribe(now, session, filter, subscription, ticket)
                }
            };
            if granted.is_ok() {
                if matches!(may, May::DoPart(_)) {
                    self.sift(id);
                }
                let filter = || filter.to_string().into();
                self.tell(id, |client| Event::Subscribed(client, filter(), options.qos));
            }
            if let Err(reason) = granted {
                let (filter, qos) = (filter.to_string(), options.qos);
                let rule = self.rule_against_subscription(id, &filter);
                let why = rule.unwrap_or_else(|| reason.to_string().into());
                let lost = Lost { topic: &filter, qos, bytes: 0 };
                self.lose_all(Some(session), lost, Why::NotSubscribed, Some(why));
            }
            let Some(pending) = self.subscribes.get_mut(ticket) else { return };
            pending.reasons.push(match granted {
                Ok(()) => options.qos as u8, // [MQTT-3.9.3-1]
                Err(reason) if v5 => reason.as_u8(),
                Err(_) => ReasonCode::UnspecifiedError.as_u8(),
            });
        }
        self.wait_for_subscriptions(session, ticket);
        self.settle_subscribe(now, ticket);
        self.bound_subscribing(id);
    }

    fn bound_subscribing(&mut self, id: ConnectionId) {
        let active = self.connections.get(id).and_then(|connection| connection.active());
        if active.is_some_and(|active| active.subscribing >= SUBSCRIBING_MAX) {
            self.pause(id, Pause::Subscribing);
        }
    }

    /// Makes or replaces one subscription. [MQTT-3.8.4-3]
    fn subscribe(
        &mut self,
        now: Time,
        session: Key,
        filter: SubscriptionFilter<'_>,
        subscription: Subscription,
        ticket: Key,
    ) -> Result<(), ReasonCode> {
        let (plain, group) = match filter {
            SubscriptionFilter::Plain(filter) => (filter, None),
            SubscriptionFilter::Shared { group, filter } => (filter, Some(group)),
        };
        let name: Arc<str> = match group {
            None => plain.as_str().into(),
            Some(_) => filter.to_string().into(),
        };
        self.check_filter(session, plain.as_str(), &name)?;
        let is_full = self.journal.is_full();
        let seat = self.sessions.get_mut(session).ok_or(ReasonCode::UnspecifiedError)?;
        let earlier = seat.session.subscriptions.get(&name).copied();
        if earlier != Some(subscription) && is_full && seat.is_kept() {
            self.reached(Limit::Log, "subscriptions are refused");
            return Err(ReasonCode::QuotaExceeded);
        }
        let is_new = earlier.is_none();
        seat.session.subscribe(Arc::clone(&name), subscription);
        seat.shares += u32::from(is_new && group.is_some());
        self.subscription_count += usize::from(is_new);
        if earlier != Some(subscription) {
            self.keep_subscription(now, session, &name, subscription);
        }
        match group {
            None => self.subscribe_plain(session, &name, subscription, is_new, ticket),
            Some(_) => {
                let filter = plain.as_str().into();
                self.join_group(session, name, filter, subscription, ticket);
            }
        }
        Ok(())
    }

    fn check_filter(&self, session: Key, filter: &str, name: &str) -> Result<(), ReasonCode> {
        let mqtt = self.mqtt();
        let separators = filter.bytes().filter(|byte| *byte == b'/').count();
        if separators >= usize::from(mqtt.topic_levels_max) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let Some(seat) = self.sessions.get(session) else { return Ok(()) };
        let active = self.connections.of(seat).and_then(|connection| connection.active());
        let limits = active.and_then(|active| active.limits.as_deref());
        if limits.is_some_and(|limits| !limits.allows_topic(filter)) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let most = limits.map_or(u32::MAX, |limits| limits.subscriptions_max);
        let most = mqtt.subscriptions_max.min(most);
        let Session { subscriptions, subscription_bytes, .. } = &seat.session;
        let bytes = subscription_bytes + session::subscription_bytes(name);
        let is_full = subscriptions.len() >= most as usize || bytes > mqtt.subscription_bytes_max;
        if is_full && !subscriptions.contains_key(name) {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    fn subscribe_plain(
        &mut self,
        session: Key,
        filter: &Arc<str>,
        subscription: Subscription,
        is_new: bool,
        ticket: Key,
    ) {
        let entry = self.entry(filter);
        let was_wanted = entry.is_wanted_here();
        let Subscription { options, subscription_id } = subscription;
        let key = SubscriberKey(session.index);
        entry.subscribers.insert(Subscriber::new(key, options, subscription_id));
        if !was_wanted {
            self.announce_interest(filter);
        }
        if self.wait_for_interest(filter, InterestWaiter::Subscribe(ticket)) {
            self.subscribe_waits(ticket);
        }
        // [MQTT-3.3.1-9, -10, -11]
        let sends = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if sends && let Some(pending) = self.subscribes.get_mut(ticket) {
            pending.retained.push_back(Arc::clone(filter));
        }
    }

    fn join_group(
        &mut self,
        session: Key,
        group: Arc<str>,
        filter: Arc<str>,
        subscription: Subscription,
        ticket: Key,
    ) {
        let connection = self.sessions.get(session).and_then(|seat| seat.connection);
        let window = connection.map_or(0, |id| self.share_window(id));
        let member = super::Member {
            id: self.member_id(session),
            options: subscription.options,
            subscription_id: subscription.subscription_id,
            window,
            is_kept: self.sessions.get(session).is_some_and(|seat| seat.is_kept()),
        };
        let to = self.place(&group);
        self.subscribe_waits(ticket);
        let name = self.name_of(session);
        self.send(to, ShardMessage::ShareJoin { group, filter, member, name, ticket });
    }

    pub(super) fn subscribe_waits(&mut self, ticket: Key) {
        if let Some(pending) = self.subscribes.get_mut(ticket) {
            pending.missing += 1;
        }
    }

    /// One of the answers a SUBSCRIBE waits for has come. After the last of the first step SUBACK
    /// goes out and the retained messages are asked for; after the last of the second it is over.
    /// [MQTT-3.8.4-1]
    pub(super) fn settle_subscribe(&mut self, now: Time, ticket: Key) {
        let Some(pending) = self.subscribes.get_mut(ticket) else { return };
        pending.missing -= 1;
        if pending.missing > 0 {
            return;
        }
        match (pending.is_answered, pending.retained.is_empty()) {
            (false, _) => self.answer_subscribe(now, ticket),
            (true, true) => self.finish_subscribe(now, ticket),
            (true, false) => self.unread.push_back(ticket),
        }
    }

    fn answer_subscribe(&mut self, now: Time, ticket: Key) {
        let Some(pending) = self.subscribes.get_mut(ticket) else { return };
        pending.is_answered = true;
        let (connection, session, packet_id) =
            (pending.connection, pending.session, pending.packet_id);
        let (reasons, is_part) = (std::mem::take(&mut pending.reasons), pending.is_part);
        let is_there = self.session_of(connection) == Some(session);
        let all = if is_part { self.join_parts(connection, reasons) } else { Some(reasons) };
        if let Some(reasons) = all.filter(|_| is_there) {
            let suback = Packet::SubAck(SubAck::new(packet_id, &reasons));
            self.write_answer(now, connection, &suback);
        }
        self.read_for_subscribe(now, ticket);
    }

    /// Asks for the retained messages of the next subscriptions, at least of one.
    fn read_for_subscribe(&mut self, now: Time, ticket: Key) {
        let Some(pending) = self.subscribes.get_mut(ticket) else { return };
        let session = pending.session;
        // Held by this function until all are asked for.
        pending.missing = 1;
        if self.sessions.get(session).is_none() {
            pending.retained.clear();
        }
        for _ in 0..READS_MAX {
            let Some(pending) = self.subscribes.get_mut(ticket) else { return };
            let Some(filter) = pending.retained.pop_front() else { break };
            pending.missing += 1;
            self.read_retained(now, session, filter, ticket);
            if self.spread >= SPREAD_MAX {
                break;
            }
        }
        self.settle_subscribe(now, ticket);
    }

    /// Goes on with the retained messages that are still to be asked for.
    pub(super) fn read_on_retained(&mut self, now: Time) {
        for _ in 0..self.unread.len() {
            let Some(ticket) = self.unread.pop_front() else { return };
            self.read_for_subscribe(now, ticket);
            if self.spread >= SPREAD_MAX {
                return;
            }
        }
    }

    fn finish_subscribe(&mut self, now: Time, ticket: Key) {
        let Some(pending) = self.subscribes.remove(ticket) else { return };
        self.end_subscribing(now, pending.connection, pending.filters);
        if pending.is_part {
            self.part_done(pending.connection);
        }
    }

    /// So many filters that a connection has sent are dealt with.
    fn end_subscribing(&mut self, now: Time, id: ConnectionId, filters: usize) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        active.subscribing -= filters;
        if active.subscribing <= SUBSCRIBING_MAX / 2 {
            self.unpause(now, id, Pause::Subscribing);
        }
    }

    /// Ends the subscriptions of an UNSUBSCRIBE, or of a part of one.
    pub(super) fn unsubscribe_all(
        &mut self,
        now: Time,
        id: ConnectionId,
        unsubscribe: &Unsubscribe<'_>,
    ) {
        let Some(session) = self.session_of(id) else { return };
        let mut reasons = Vec::new();
        for filter in unsubscribe.filters.iter() {
            let reason = match self.remove_subscription(session, &filter.to_string()) {
                true => ReasonCode::Success,
                false => ReasonCode::NoSubscriptionExisted,
            };
            reasons.push(reason.as_u8());
            if reason == ReasonCode::Success {
                self.tell(id, |client| Event::Unsubscribed(client, filter.to_string().into()));
                self.forget_subscription(now, session, filter.to_string());
            }
        }
        if let Some(reasons) = self.join_parts(id, reasons) {
            self.answer_unsubscribe(now, id, session, unsubscribe.packet_id, reasons);
        }
        self.part_done(id);
    }

    fn answer_unsubscribe(
        &mut self,
        now: Time,
        id: ConnectionId,
        session: Key,
        packet_id: PacketId,
        mut reasons: Vec<u8>,
    ) {
        let filters = reasons.len();
        let version = self.connections.get(id).and_then(|connection| connection.version());
        // Only 5.0 has room for them. [MQTT-3.11.3-1]
        if version != Some(Version::V5) {
            reasons.clear();
        }
        let unsuback = Packet::UnsubAck(UnsubAck::new(packet_id, &reasons));
        let is_kept = self.sessions.get(session).is_some_and(|seat| seat.is_kept());
        let Some(sequence) =
            self.journal.last().filter(|last| is_kept && !self.journal.is_durable(*last))
        else {
            return self.write_answer(now, id, &unsuback);
        };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let (version, bytes_max) = (connection.version(), connection.packet_bytes_max());
        let mut packet = Vec::new();
        if !unsuback.encode_within(version.unwrap_or(Version::V311), bytes_max, &mut packet) {
            return self.disconnect(now, id, ReasonCode::PacketTooLarge);
        }
        if let Some(active) = connection.active_mut() {
            active.subscribing += filters;
        }
        self.journal.wait(sequence, Waiter::Unsubscribe(id, filters as u32, packet));
        self.bound_subscribing(id);
    }

    /// The end of so many subscriptions is durable: here is the UNSUBACK.
    pub(super) fn finish_unsubscribe(
        &mut self,
        now: Time,
        id: ConnectionId,
        filters: u32,
        unsuback: &[u8],
    ) {
        self.write_encoded(id, unsuback);
        self.end_subscribing(now, id, filters as usize);
    }

    /// Ends one subscription; false if there is none. [MQTT-3.10.4-1, -2]
    pub(super) fn remove_subscription(&mut self, session: Key, filter: &str) -> bool {
        let Some(seat) = self.sessions.get_mut(session) else { return false };
        let Some(filter) = seat.session.unsubscribe(filter) else { return false };
        self.subscription_count -= 1;
        if super::share::is_share(&filter) {
            seat.shares -= 1;
            self.leave_group(session, filter);
            return true;
        }
        if let Some(entry) = self.tree.get_mut(&filter) {
            entry.subscribers.remove(SubscriberKey(session.index));
            let (unwanted, empty) = (!entry.is_wanted_here(), entry.is_empty());
            if unwanted {
                self.withdraw_interest(&filter);
            }
            if empty {
                self.tree.remove(&filter);
            }
        }
        true
    }

    /// Sends one retained message to a new subscription.
    pub(super) fn deliver_retained(
        &mut self,
        now: Time,
        session: Key,
        subscription: Subscription,
        message: &Arc<crate::message::Message>,
    ) {
        let Subscription { options: SubscriptionOptions { qos, .. }, subscription_id } =
            subscription;
        let publication = Publication::of(message);
        if !self.may_get(session.index, &publication) {
            return;
        }
        let ids: &[u32] = if subscription_id == 0 { &[] } else { &[subscription_id] };
        let qos = publication.qos.min(qos);
        let kept =
            self.keep_for_one(now, session, &publication, Granted { qos, retain: true }, ids);
        // [MQTT-3.3.1-8]
        self.deliver(now, session, &publication, Granted { qos, retain: true }, ids, kept);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::Connect;
    use crate::shard::fixture::{self, NOW};
    use crate::shard::{Input, Output, Restored};
    use crate::storage::{Log, LogOptions, News, Order};

    const CLIENT: ConnectionId = ConnectionId { slot: 0, generation: 1 };
    const SEGMENT_BYTES: u32 = 16 << 10;

    /// What came of a shard's orders: whether it reads from the client, and what is not done yet.
    #[derive(Default)]
    struct Seen {
        is_paused: bool,
        sent_bytes: usize,
        orders: Vec<Order>,
    }

    impl Seen {
        fn look(&mut self, shard: &mut Shard) {
            while let Some(output) = shard.poll() {
                match output {
                    Output::PauseReading(CLIENT) => self.is_paused = true,
                    Output::ResumeReading(CLIENT) => self.is_paused = false,
                    Output::Log(order) => self.orders.push(order),
                    Output::Write { connection, batch } => {
                        self.sent_bytes += batch.len();
                        shard.handle(NOW, Input::Sent { connection, batch });
                    }
                    _ => {}
                }
            }
        }

        /// The disk does what it was asked to, until nothing more is.
        fn carry_out(&mut self, shard: &mut Shard) {
            while !self.orders.is_empty() {
                for order in std::mem::take(&mut self.orders) {
                    let news = match order {
                        Order::Prepare { segment, .. } => {
                            let pages = Bytes::from(vec![0; SEGMENT_BYTES as usize]);
                            News::Prepared { segment, pages }
                        }
                        Order::Commit(commit) => News::Committed(commit),
                        Order::Recycle(_) => continue,
                    };
                    shard.handle(NOW, Input::Log(news));
                }
                self.look(shard);
            }
        }
    }

    #[test]
    fn who_ends_subscriptions_waits_for_the_disk_to_keep_up() {
        let log = LogOptions { shard: 0, segment_bytes: SEGMENT_BYTES, segments_max: 4 };
        let log = Some((Log::new(log), Restored::default()));
        let (mut shard, mut seen) = (fixture::shard(1, log), Seen::default());
        let connect = Connect::new(Version::V5, "client");
        let connect = Connect { session_expiry_interval: Some(1000), ..connect };
        // SUBSCRIBE to "a".
        let subscribe = [0x82, 7, 0, 1, 0, 0, 1, b'a', 0];
        fixture::connect(&mut shard, CLIENT, &connect, &subscribe);
        seen.look(&mut shard);
        seen.carry_out(&mut shard);
        assert!(!seen.is_paused);
        let before = seen.sent_bytes;
        const COUNT: usize = 10 * SUBSCRIBING_MAX;
        let unsubscribe = [0xA2, 6, 0, 2, 0, 0, 1, b'a'];
        shard
            .handle(NOW, Input::Received { connection: CLIENT, bytes: &unsubscribe.repeat(COUNT) });
        seen.look(&mut shard);
        assert!(seen.is_paused);
        let waits = shard.connections.get(CLIENT).and_then(|client| client.active());
        assert_eq!(waits.map(|active| active.subscribing), Some(SUBSCRIBING_MAX));
        seen.carry_out(&mut shard);
        assert!(!seen.is_paused);
        assert_eq!(seen.sent_bytes - before, 6 * COUNT, "each is answered");
    }
}

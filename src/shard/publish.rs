//! PUBLISH: a message is taken, spread, and its acknowledgement owed.

use std::sync::Arc;

use super::announce::is_own;
use super::connection::{Acknowledgement, Pause};
use super::consult::{Consulting, Event, Question};
use super::effect::{ConnectionId, Output};
use super::journal::Waiter;
use super::limit::Limit;
use super::message::Forwarded;
use super::record::Change;
use super::route::{Intake, Origin, Refusal, Routed};
use super::ruling::{Act, May};
use super::witness::{Lost, Why};
use super::{Key, Shard, ShardMessage, bit};
use crate::config::RefusedPublish;
use crate::message::{Message, Publication};
use crate::proto::{
    Ack, ForwardProperties, PacketId, PacketType, Property, Publish, QoS, ReasonCode, encode_ack,
};
use crate::session::{Body, KeptId};
use crate::storage::Sequence;
use crate::time::Time;

/// A QoS 1 or 2 message whose acknowledgement waits: for other shards, for the log.
#[derive(Debug)]
pub struct PendingPublish {
    connection: ConnectionId,
    /// When it came.
    since: Time,
    /// Which of the connection's acknowledgements.
    number: u64,
    /// Answers that are still to come.
    missing: u32,
    /// Whether somebody has it: a session, a group, or a topic that retains it.
    is_taken: bool,
    /// Why another shard has not.
    refusal: Option<Refusal>,
    /// Whose message it is, and which: a client that lost its connection asks again by another.
    session: Key,
    packet_type: PacketType,
    packet_id: PacketId,
    /// Its record here, which says that other shards are still to get it.
    record: Option<(KeptId, Sequence)>,
}

/// A QoS 2 message that other shards get once its record is durable.
#[derive(Debug)]
pub struct PendingSpread {
    message: Arc<Message>,
    /// Absent if it only waits for others before it.
    record: Option<(KeptId, Sequence)>,
    spread: Spread,
}

impl PendingPublish {
    /// Whether other shards are still to get this message.
    pub fn spreads(&self, id: KeptId) -> bool {
        self.record.is_some_and(|(other, _)| other == id)
    }
}

impl PendingSpread {
    /// Whether this is the message.
    pub fn spreads(&self, id: KeptId) -> bool {
        self.record.is_some_and(|(other, _)| other == id)
    }
}

/// What other shards are to do with a message.
#[derive(Clone, Copy, Debug)]
struct Spread {
    /// Bit set of those with subscribers.
    deliver: u64,
    /// Bit set of the one that retains it.
    store: u64,
    /// Hash of the publisher's client id.
    hash: u64,
    ticket: Option<Key>,
}

/// The acknowledgement a publication waits with.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    connection: ConnectionId,
    packet_type: PacketType,
    packet_id: PacketId,
}

impl Owed {
    /// That of a packet; none at QoS 0.
    fn of(connection: ConnectionId, publish: &Publish<'_>) -> Option<Owed> {
        let packet_type = match publish.qos {
            QoS::ExactlyOnce => PacketType::PubRec,
            _ => PacketType::PubAck,
        };
        publish.packet_id.map(|packet_id| Owed { connection, packet_type, packet_id })
    }
}

/// What one turn spreads before others have theirs: bytes of messages times those who get them. What
/// is read of a connection in a turn is bounded, and not how many it goes to.
pub(super) const SPREAD_MAX: usize = 16 << 20;

/// What a delivery counts for beside its bytes.
pub(super) const DELIVERY_BYTES: usize = 512;

impl Shard {
    /// A connection is read from again when others had their turn.
    #[cold]
    pub(super) fn give_way(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some() {
            self.pause(id, Pause::Spread);
            self.spent.push_back(id);
        }
    }

    /// Goes on with those who gave way.
    pub(super) fn publish_on(&mut self, now: Time) {
        self.spread = 0;
        for _ in 0..self.spent.len() {
            if self.spread >= SPREAD_MAX {
                return;
            }
            let Some(id) = self.spent.pop_front() else { return };
            self.unpause(now, id, Pause::Spread);
        }
    }

    pub(super) fn handle_publish(&mut self, now: Time, id: ConnectionId, publish: &Publish<'_>) {
        let alias_topic = match self.resolve_alias(id, publish) {
            Ok(topic) => topic,
            Err(reason) => return self.protocol_error(now, id, reason),
        };
        let topic = alias_topic.as_deref().unwrap_or(publish.topic.as_str());
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        // Most clients have neither limits nor rules of their own: they are looked up once.
        let (is_limited, is_ruled) = (active.limits.is_some(), active.grants.is_some());
        let session = active.session;
        if publish.qos > QoS::AtMostOnce && !self.has_quota(id, session, publish) {
            // [MQTT-3.3.4-8]
            return self.protocol_error(now, id, ReasonCode::ReceiveMaximumExceeded);
        }
        if let Err(reason) =
            self.check_publication(topic, &publish.properties.forward, publish.payload)
        {
            let why = Some(reason.to_string().into());
            self.lose_publish(session, topic, publish, Why::Refused, why);
            return self.refuse_publish(now, id, Owed::of(id, publish), reason);
        }
        if is_limited && let Err(reason) = self.keeps_limits(id, topic, publish.retain) {
            return self.refuse_beyond_limits(now, id, publish, reason);
        }
        let may = match is_ruled || self.policy.rule_service.is_some() || is_own(topic) {
            true => self.may_publish(id, topic, publish),
            false => May::Do(publish.qos),
        };
        if may == May::Not {
            self.metrics.publishes_not_allowed_total += 1;
            let rule = Some(self.rule_against(id, topic, publish));
            self.lose_publish(session, topic, publish, Why::NotAllowed, rule);
            let owed = Owed::of(id, publish);
            return self.refuse_publish(now, id, owed, ReasonCode::NotAuthorized);
        }
        let expires = self.expires(now, publish.properties.message_expiry_interval);
        let mut publication = Publication::new(
            topic,
            publish.properties.forward,
            publish.payload,
            publish.qos,
            expires,
        );
        publication.retain = publish.retain;
        let owed = Owed::of(id, publish);
        if may == May::Ask && !self.was_taken(session, owed) {
            let message = Arc::clone(publication.keep());
            let acts = vec![Act::publish(&message)];
            return self.ask_service(id, acts, Consulting::Publish(message, owed));
        }
        if self.is_consulted(id, |consults| consults.publish) && !self.was_taken(session, owed) {
            return self.consult(id, Consulting::Publish(Arc::clone(publication.keep()), owed));
        }
        self.take_publish(now, id, &mut publication, owed);
    }

    /// A client's message is not within the limits of that client.
    #[cold]
    fn refuse_beyond_limits(
        &mut self,
        now: Time,
        id: ConnectionId,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) {
        let owed = Owed::of(id, publish);
        match reason {
            // [MQTT-3.2.2-14]: it was told.
            ReasonCode::RetainNotSupported if self.speaks_v5(id) => {
                self.protocol_error(now, id, reason);
            }
            ReasonCode::RetainNotSupported => {
                self.metrics.publishes_not_allowed_total += 1;
                self.refuse_publish(now, id, owed, ReasonCode::NotAuthorized);
            }
            _ => self.refuse_publish(now, id, owed, reason),
        }
    }

    /// Notes a client's message that nobody gets.
    #[cold]
    fn lose_publish(
        &mut self,
        session: Key,
        topic: &str,
        publish: &Publish<'_>,
        why: Why,
        detail: Option<Box<str>>,
    ) {
        let bytes = topic.len() + publish.properties.forward.len() + publish.payload.len();
        self.lose_all(Some(session), Lost { topic, qos: publish.qos, bytes }, why, detail);
    }

    /// Whether a QoS 2 message was taken before.
    fn was_taken(&self, session: Key, owed: Option<Owed>) -> bool {
        let owed = owed.filter(|owed| owed.packet_type == PacketType::PubRec);
        let inbound = self.sessions.get(session).map(|seat| &seat.session.inbound);
        owed.zip(inbound).is_some_and(|(owed, inbound)| inbound.contains(owed.packet_id))
    }

    /// Publishes a client's message, unless that was done before.
    pub(super) fn take_publish(
        &mut self,
        now: Time,
        id: ConnectionId,
        publication: &mut Publication<'_>,
        owed: Option<Owed>,
    ) {
        let Some(session) = self.session_of(id) else { return };
        match owed {
            None => self.metrics.publishes_received_qos0_total += 1,
            Some(Owed { packet_type: PacketType::PubRec, packet_id, .. }) => {
                let Some(seat) = self.sessions.get_mut(session) else { return };
                if !seat.session.inbound.insert(packet_id) {
                    // Taken before; only the acknowledgement was lost. [MQTT-4.3.3-10]
                    return self.acknowledge_again(now, id, session, packet_id);
                }
                self.metrics.publishes_received_qos2_total += 1;
            }
            Some(_) => self.metrics.publishes_received_qos1_total += 1,
        }
        self.metrics.publish_received_bytes_total += publication.payload.len() as u64;
        let origin = self.origin(session);
        self.publish(now, publication, origin, owed);
        if self.policy.consults.events {
            let message = Arc::clone(publication.keep());
            self.tell(id, |client| Event::Published(client, message));
        }
    }

    /// Whose message it is, if its publisher may send it again after a crash: QoS 2 of a session
    /// that is kept.
    fn taken_from(&self, session: Option<u32>, owed: Option<Owed>) -> Option<(u64, PacketId)> {
        let owed = owed.filter(|owed| owed.packet_type == PacketType::PubRec)?;
        let seat = self.sessions.get(self.sessions.key_at(session?)?)?;
        seat.is_kept().then_some((seat.number, owed.packet_id))
    }

    /// The topic an alias stands for, if the packet has only that. [MQTT-3.3.2-8 to -12]
    fn resolve_alias(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Result<Option<Arc<str>>, ReasonCode> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(None);
        };
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return Ok(None);
        };
        if alias == 0 || alias > active.topic_alias_maximum {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        if publish.topic.is_empty() {
            return active.aliases.inbound(alias).map(Some).ok_or(ReasonCode::ProtocolError);
        }
        active.aliases.set_inbound(alias, publish.topic.as_str());
        Ok(None)
    }

    /// Whether a 5.0 client keeps to the receive maximum it was told. [MQTT-3.3.4-7]
    fn has_quota(&mut self, id: ConnectionId, session: Key, publish: &Publish<'_>) -> bool {
        if !self.speaks_v5(id) {
            return true;
        }
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return true;
        };
        let maximum = usize::from(active.receive_maximum);
        let waiting = active.acknowledgements.waiting_for_puback();
        let Some(seat) = self.sessions.get(session) else { return true };
        let inbound = &seat.session.inbound;
        let repeated = publish.qos == QoS::ExactlyOnce
            && publish.packet_id.is_some_and(|packet_id| inbound.contains(packet_id));
        repeated || waiting + inbound.len() < maximum
    }

    /// What is wrong with a message, whoever publishes it.
    pub(super) fn check_publication(
        &self,
        topic: &str,
        properties: &ForwardProperties<'_>,
        payload: &[u8],
    ) -> Result<(), ReasonCode> {
        let mqtt = self.mqtt();
        let levels_max = usize::from(mqtt.topic_levels_max);
        // Most topics are shorter than that many separators.
        if topic.len() >= levels_max
            && topic.bytes().filter(|byte| *byte == b'/').count() >= levels_max
        {
            return Err(ReasonCode::TopicNameInvalid);
        }
        if mqtt.payload_utf8_validated
            && properties.iter().any(|p| matches!(p, Property::PayloadFormatIndicator(true)))
            && std::str::from_utf8(payload).is_err()
        {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        Ok(())
    }

    /// Refuses one message: its acknowledgement says why in 5.0; earlier versions, which cannot
    /// say it, are disconnected at QoS 1 and 2, or acknowledged in vain. [MQTT-3.3.5-2 of 3.1.1]
    pub(super) fn refuse_publish(
        &mut self,
        now: Time,
        id: ConnectionId,
        owed: Option<Owed>,
        reason: ReasonCode,
    ) {
        let Some(owed) = owed else { return };
        if !self.speaks_v5(id) {
            let is_dropped = reason == ReasonCode::NotAuthorized
                && self.policy.refused_publish == RefusedPublish::Drop;
            if !is_dropped {
                return self.disconnect(now, id, reason);
            }
            return self.acknowledge_in_turn(now, owed, ReasonCode::Success);
        }
        self.acknowledge_in_turn(now, owed, reason);
    }

    /// Spreads a message to its subscribers on every shard and to the retained messages, and
    /// acknowledges it once all of them have it.
    pub(super) fn publish(
        &mut self,
        now: Time,
        publication: &mut Publication<'_>,
        origin: Origin,
        owed: Option<Owed>,
    ) {
        if publication.retain {
            publication.stamp = self.next_stamp(now);
        }
        let owner = publication.retain.then(|| self.place(publication.topic));
        let remote_store = owner.map_or(0, bit) & !bit(self.id);
        let intake = Intake {
            store: owner == Some(self.id),
            taken: self.taken_from(origin.session, owed),
            receivers: remote_store,
            origin: None,
        };
        let local = match self.route(now, publication, origin, intake) {
            Ok(routed) => routed,
            Err(refusal) => {
                return self.refuse_for_space(now, publication, origin, owed, refusal);
            }
        };
        if self.witness.traces.is_on() {
            let remote = local.remote;
            self.trace_routed(now, origin.session, publication, local.matches, remote);
        }
        let receivers = local.remote | remote_store;
        if local.matches == 0 && receivers == 0 && !is_own(publication.topic) {
            self.metrics.publishes_unmatched_total += 1;
        }
        let ticket = owed.and_then(|owed| {
            let is_taken = local.matches > 0 || intake.store;
            let ticket = self.owe(now, owed, receivers, is_taken, &local)?;
            if self.is_consulted(owed.connection, |consults| consults.published)
                && let Some(client) = self.client(owed.connection)
            {
                let question = Question::Published(Arc::clone(publication.keep()), ticket);
                let connection = owed.connection;
                self.outputs.push_back(Output::Consult { connection, client, question });
            }
            (receivers != 0).then_some(ticket)
        });
        let spread =
            Spread { deliver: local.remote, store: remote_store, hash: origin.hash, ticket };
        // What is forwarded at once must not overtake what waits.
        let is_behind = publication.qos == QoS::ExactlyOnce && self.spreads.len() > 0;
        match local.spread_after {
            Some((id, sequence)) => {
                self.last_spread = sequence;
                self.spread_later(publication, Some(id), spread);
            }
            None if is_behind && receivers != 0 => self.spread_later(publication, None, spread),
            None => self.forward(publication, spread, None),
        }
        if receivers & self.full_lanes != 0 || local.waits_for_lane {
            self.pause_publisher(origin);
        }
    }

    /// A message goes over a lane that is full: at any QoS its publisher is not read from until
    /// there is room. A will, or what the broker says of itself, has nobody who could say more.
    #[cold]
    fn pause_publisher(&mut self, origin: Origin) {
        let key = origin.session.and_then(|index| self.sessions.key_at(index));
        if let Some(seat) = key.and_then(|key| self.sessions.get(key))
            && let Some(id) = seat.connection
        {
            self.pause(id, Pause::Lane);
        }
    }

    /// There is no room for a message: nobody gets it. 5.0 is told so. Of earlier versions, a
    /// full log is met by silence, which says that it is not acknowledged; for a full queue the
    /// connection ends, so that its client sends again later.
    fn refuse_for_space(
        &mut self,
        now: Time,
        publication: &Publication<'_>,
        origin: Origin,
        owed: Option<Owed>,
        refusal: Refusal,
    ) {
        self.count_refusal(refusal);
        let publisher = origin.session.and_then(|index| self.sessions.key_at(index));
        self.lose_all(publisher, publication.into(), refusal.into(), None);
        let Some(owed) = owed else { return };
        if owed.packet_type == PacketType::PubRec
            && let Some(key) = origin.session.and_then(|index| self.sessions.key_at(index))
            && let Some(seat) = self.sessions.get_mut(key)
        {
            seat.session.inbound.remove(owed.packet_id);
        }
        if self.speaks_v5(owed.connection) {
            self.acknowledge_in_turn(now, owed, ReasonCode::QuotaExceeded);
        } else if refusal == Refusal::Queue {
            self.disconnect(now, owed.connection, ReasonCode::QuotaExceeded);
        }
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Log => {
                self.metrics.dropped_log_full_total += 1;
                self.reached(Limit::Log, "messages that must be kept are refused");
            }
            Refusal::Queue => {
                self.metrics.refused_queue_full_total += 1;
                self.reached(Limit::Queue, "messages for clients with full queues are refused");
            }
        }
    }

    fn forward(&mut self, publication: &Publication<'_>, spread: Spread, record: Option<Sequence>) {
        let Spread { deliver, store, hash: origin, ticket } = spread;
        let mut receivers = deliver | store;
        while receivers != 0 {
            let to = super::ShardId(receivers.trailing_zeros() as u8);
            receivers &= receivers - 1;
            let message = Arc::clone(publication.keep());
            let (deliver, store) = (deliver & bit(to) != 0, store & bit(to) != 0);
            let forwarded = Forwarded { message, deliver, store, origin, record };
            self.send(to, ShardMessage::Forward { forwarded, ticket });
        }
    }

    /// Other shards get a QoS 2 message once this one will know it when its publisher sends it
    /// again: else they could get it twice.
    fn spread_later(&mut self, publication: &Publication<'_>, id: Option<KeptId>, spread: Spread) {
        let message = Arc::clone(publication.keep());
        let record = id.map(|id| (id, self.last_spread));
        let ticket = self.spreads.insert(PendingSpread { message, record, spread });
        self.journal.wait(self.last_spread, Waiter::Spread(ticket));
    }

    /// Sends to another shard behind every publication that it is to get from this one.
    pub(super) fn send_behind_spreads(&mut self, to: super::ShardId, message: ShardMessage) {
        if self.spreads.len() == 0 {
            return self.send(to, message);
        }
        self.journal.wait(self.last_spread, Waiter::Lane(to, Box::new(message)));
    }

    pub(super) fn spread_taken(&mut self, ticket: Key) {
        let Some(pending) = self.spreads.remove(ticket) else { return };
        let PendingSpread { message, record, spread } = pending;
        let publish = spread.ticket.and_then(|ticket| self.publishes.get_mut(ticket));
        if let Some(publish) = publish {
            publish.record = record;
        }
        let sequence = record.map(|(_, sequence)| sequence);
        self.forward(&Publication::of(&message), spread, sequence);
    }

    /// Forwards a QoS 2 message of an earlier life, whose publisher may send it again.
    pub(super) fn spread_again(
        &mut self,
        message: &Arc<Message>,
        taken: Option<(Key, PacketId)>,
        is_taken: bool,
        remote: u64,
        record: (KeptId, Sequence),
    ) {
        let (session, packet_id) = taken.unzip();
        let ticket = self.publishes.insert(PendingPublish {
            connection: ConnectionId::NOBODY,
            since: self.now,
            number: 0,
            missing: remote.count_ones(),
            is_taken,
            refusal: None,
            session: session.unwrap_or(Key::LAST),
            packet_type: PacketType::PubRec,
            packet_id: packet_id.unwrap_or(PacketId::FIRST),
            record: Some(record),
        });
        let store = if message.retain { bit(self.place(message.topic())) & remote } else { 0 };
        let spread = Spread { deliver: remote, store, hash: 0, ticket: Some(ticket) };
        self.forward(&Publication::of(message), spread, Some(record.1));
    }

    /// Acknowledges with `reason`, behind what was taken before.
    fn acknowledge_in_turn(&mut self, now: Time, owed: Owed, reason: ReasonCode) {
        let Owed { connection, packet_type, packet_id } = owed;
        let entry = Acknowledgement::new(packet_type, packet_id, reason, true);
        if let Some(active) = self.connections.get_mut(connection).and_then(|c| c.active_mut()) {
            active.acknowledgements.push(entry);
            self.send_acknowledgements(now, connection);
        }
    }

    /// Acknowledges a message at once if nothing has to be waited for, or remembers to.
    fn owe(
        &mut self,
        now: Time,
        owed: Owed,
        receivers: u64,
        is_taken: bool,
        local: &Routed,
    ) -> Option<Key> {
        let Routed { matches, remote, appended, .. } = *local;
        let v5 = self.speaks_v5(owed.connection);
        let reason = match matches > 0 || remote != 0 {
            false if v5 => ReasonCode::NoMatchingSubscribers,
            _ => ReasonCode::Success,
        };
        let is_consulted = self.is_consulted(owed.connection, |consults| consults.published);
        let answers = receivers.count_ones();
        let missing = answers + u32::from(appended.is_some()) + u32::from(is_consulted);
        let active = self.connections.get_mut(owed.connection)?.active_mut()?;
        let session = active.session;
        let Owed { connection, packet_type, packet_id } = owed;
        let ready = missing == 0;
        if ready && active.acknowledgements.is_empty() {
            self.write_acknowledgement(connection, packet_type, packet_id, reason);
            return None;
        }
        let number = active.acknowledgements.push(Acknowledgement::new(
            packet_type,
            packet_id,
            reason,
            ready,
        ));
        if active.acknowledgements.len() >= usize::from(active.receive_maximum) {
            self.pause(connection, Pause::Acknowledgements);
        }
        if ready {
            self.send_acknowledgements(now, connection);
            return None;
        }
        let ticket = self.publishes.insert(PendingPublish {
            connection,
            since: now,
            number,
            missing,
            is_taken,
            refusal: None,
            session,
            packet_type,
            packet_id,
            record: None,
        });
        if let Some(sequence) = appended {
            self.journal.wait(sequence, Waiter::Publish(ticket));
        }
        Some(ticket)
    }

    /// One of the answers a message waits for has come.
    pub(super) fn settle_publish(&mut self, now: Time, ticket: Key) {
        let Some(pending) = self.publishes.get_mut(ticket) else { return };
        pending.missing -= 1;
        if pending.missing > 0 {
            return;
        }
        let Some(pending) = self.publishes.remove(ticket) else { return };
        if let Some((id, sequence)) = pending.record {
            self.journal.append(now, &Change::Spread { message: sequence.0 });
            self.journal.release(&Body::Kept(id));
        }
        if let Some(refusal) = pending.refusal {
            self.refuse_pending(now, &pending, refusal);
        }
        let id = pending.connection;
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        active.acknowledgements.ready(pending.number);
        let waited = now.since(pending.since);
        self.metrics.publish_acknowledge_seconds.observe(waited.as_micros() as u64);
        self.send_acknowledgements(now, id);
    }

    /// Another shard has a message.
    pub(super) fn handle_publish_accepted(&mut self, now: Time, ticket: Key) {
        if let Some(pending) = self.publishes.get_mut(ticket) {
            pending.is_taken = true;
        }
        self.settle_publish(now, ticket);
    }

    /// Another shard has no room for a message.
    pub(super) fn handle_publish_refused(&mut self, now: Time, ticket: Key, refusal: Refusal) {
        if let Some(pending) = self.publishes.get_mut(ticket) {
            // That it is not kept outweighs that it is not queued.
            let earlier = pending.refusal.filter(|earlier| *earlier == Refusal::Log);
            pending.refusal = earlier.or(Some(refusal));
        }
        self.settle_publish(now, ticket);
    }

    /// A shard had no room for a message: it is not acknowledged, or with a refusal. Not so a QoS 2
    /// message that others have: sent again, they would get it twice. [MQTT-4.3.3-10]
    fn refuse_pending(&mut self, now: Time, pending: &PendingPublish, refusal: Refusal) {
        let (id, session, packet_id) = (pending.connection, pending.session, pending.packet_id);
        let is_qos_2 = pending.packet_type == PacketType::PubRec;
        if is_qos_2 && pending.is_taken && refusal == Refusal::Queue {
            self.metrics.dropped_queue_full_total += 1;
            return self.reached(Limit::Queue, "messages for clients with full queues are dropped");
        }
        if is_qos_2 && let Some(seat) = self.sessions.get_mut(session) {
            seat.session.inbound.remove(packet_id);
            if seat.is_kept() {
                let (session, packet_id) = (seat.number, packet_id.get());
                self.journal.append(now, &Change::Release { session, packet_id });
            }
        }
        self.count_refusal(refusal);
        let v5 = self.speaks_v5(id);
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            active.acknowledgements.refuse(pending.number, v5.then_some(ReasonCode::QuotaExceeded));
            if refusal == Refusal::Queue && !v5 {
                self.disconnect(now, id, ReasonCode::QuotaExceeded);
            }
        }
    }

    /// Sends the acknowledgements at the front that are ready.
    fn send_acknowledgements(&mut self, now: Time, id: ConnectionId) {
        loop {
            let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
                return;
            };
            let Some(next) = active.acknowledgements.pop_ready() else { break };
            if !next.withheld {
                self.write_acknowledgement(id, next.packet_type, next.packet_id, next.reason);
            }
        }
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        if active.acknowledgements.len() <= usize::from(active.receive_maximum) / 2 {
            self.unpause(now, id, Pause::Acknowledgements);
        }
    }

    /// The answer to a repeated QoS 2 PUBLISH, in its turn. If the first one still waits for other
    /// shards or the log, its acknowledgement goes to the connection that asked last, and not
    /// before it is true. [MQTT-4.6.0-3]
    fn acknowledge_again(
        &mut self,
        now: Time,
        id: ConnectionId,
        session: Key,
        packet_id: PacketId,
    ) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        if active.acknowledgements.is_waiting(packet_id) {
            return;
        }
        let pending = self.publishes.iter_mut().find(|pending| {
            pending.session == session
                && pending.packet_type == PacketType::PubRec
                && pending.packet_id == packet_id
        });
        let number = active.acknowledgements.push(Acknowledgement::new(
            PacketType::PubRec,
            packet_id,
            ReasonCode::Success,
            pending.is_none(),
        ));
        if let Some(pending) = pending {
            (pending.connection, pending.number) = (id, number);
        }
        self.send_acknowledgements(now, id);
    }

    pub(super) fn write_acknowledgement(
        &mut self,
        id: ConnectionId,
        packet_type: PacketType,
        packet_id: PacketId,
        reason: ReasonCode,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(version) = connection.version() else { return };
        encode_ack(packet_type, version, packet_id, reason, connection.out.tail(&mut self.pool));
        self.mark_dirty(id);
        if self.witness.traces.is_on() {
            self.trace_acknowledgement(self.now, id, packet_type, packet_id, reason);
        }
    }

    /// PUBREL: the client forgets the message and so do we. [MQTT-4.3.3-11]
    pub(super) fn handle_pubrel(&mut self, now: Time, id: ConnectionId, ack: &Ack<'_>) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let Some(seat) = self.sessions.get_mut(active.session) else { return };
        let known = seat.session.inbound.remove(ack.packet_id);
        let reason = match known {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        };
        let packet_type = PacketType::PubComp;
        if known && seat.is_kept() {
            // The client may use the identifier again once it has PUBCOMP.
            let release = Change::Release { session: seat.number, packet_id: ack.packet_id.get() };
            if let Some(sequence) = self.journal.append(now, &release) {
                let waiter = Waiter::Acknowledge(id, packet_type, ack.packet_id, reason);
                return self.journal.wait(sequence, waiter);
            }
        }
        self.write_acknowledgement(id, packet_type, ack.packet_id, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Connect, Version};
    use crate::shard::Input;
    use crate::shard::fixture::{self, NOW};

    fn connection(number: usize) -> ConnectionId {
        ConnectionId { slot: number as u32, generation: 1 }
    }

    /// How often the publisher is paused and read from again.
    fn pauses(shard: &mut Shard) -> [usize; 2] {
        let mut pauses = [0; 2];
        while let Some(output) = shard.poll() {
            match output {
                Output::PauseReading(id) if id == connection(0) => pauses[0] += 1,
                Output::ResumeReading(id) if id == connection(0) => pauses[1] += 1,
                _ => {}
            }
        }
        pauses
    }

    #[test]
    fn who_publishes_to_many_gives_way_to_others_and_goes_on() {
        const RECEIVERS: usize = 40;
        const MESSAGES: usize = 200;
        let mut shard = fixture::shard(1, None);
        for number in 0..=RECEIVERS {
            let client_id = format!("c{number}");
            let connect = Connect::new(Version::V311, &client_id);
            fixture::connect(&mut shard, connection(number), &connect, &[]);
        }
        let subscribe = [0x82, 6, 0, 1, 0, 1, b't', 0];
        for number in 1..=RECEIVERS {
            shard
                .handle(NOW, Input::Received { connection: connection(number), bytes: &subscribe });
        }
        assert_eq!(pauses(&mut shard), [0, 0]);

        let payload = [0; 4096];
        let message = [&[0x30, 0x83, 0x20, 0, 1, b't'], &payload[..]].concat();
        let bytes = message.repeat(MESSAGES);
        shard.handle(NOW, Input::Received { connection: connection(0), bytes: &bytes });
        let sent = |shard: &Shard| shard.metrics().publishes_sent_qos0_total as usize;
        assert_eq!(pauses(&mut shard), [1, 0]);
        let first = sent(&shard);
        let spread = first * (payload.len() + 1 + DELIVERY_BYTES);
        assert!((SPREAD_MAX..SPREAD_MAX + SPREAD_MAX / 10).contains(&spread), "{spread}");
        let mut turns = 1;
        while shard.poll_timeout().is_some_and(|at| at <= NOW) {
            let before = sent(&shard);
            shard.handle(NOW, Input::Timeout);
            assert!((before + 1..=before + first).contains(&sent(&shard)));
            turns += 1;
            if turns == 2 {
                assert_eq!(pauses(&mut shard), [1, 0], "it gives way again");
            }
        }
        assert_eq!((sent(&shard), turns), (MESSAGES * RECEIVERS, 3));
        assert_eq!(pauses(&mut shard), [0, 1], "all of it is read");
    }
}

//! PUBLISH: a message is taken, spread, and its acknowledgement owed.

use std::sync::Arc;

use super::connection::{Acknowledgement, Pause};
use super::effect::{ConnectionId, Sequence};
use super::journal::Waiter;
use super::route::Origin;
use super::{Key, Shard, ShardMessage, bit};
use crate::message::Publication;
use crate::proto::{
    Ack, ForwardProperties, PacketId, PacketType, Property, Publish, QoS, ReasonCode, encode_ack,
};
use crate::time::Time;

/// A QoS 1 or 2 message whose acknowledgement waits: for other shards, for the log.
#[derive(Debug)]
pub struct PendingPublish {
    connection: ConnectionId,
    /// Which of the connection's acknowledgements.
    number: u64,
    /// Answers that are still to come.
    missing: u32,
    /// Whose message it is, and which: a client that lost its connection asks again by another.
    session: Key,
    packet_type: PacketType,
    packet_id: PacketId,
}

/// The acknowledgement a publication waits with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    connection: ConnectionId,
    packet_type: PacketType,
    packet_id: PacketId,
}

impl Shard {
    pub(super) fn handle_publish(&mut self, now: Time, id: ConnectionId, publish: &Publish<'_>) {
        let alias_topic = match self.resolve_alias(id, publish) {
            Ok(topic) => topic,
            Err(reason) => return self.protocol_error(now, id, reason),
        };
        let topic = alias_topic.as_deref().unwrap_or(publish.topic.as_str());
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let session = active.session;
        if publish.qos > QoS::AtMostOnce && !self.has_quota(id, session, publish) {
            // [MQTT-3.3.4-8]
            return self.protocol_error(now, id, ReasonCode::ReceiveMaximumExceeded);
        }
        if let Err(reason) =
            self.check_publication(topic, &publish.properties.forward, publish.payload)
        {
            return self.refuse_publish(now, id, publish, reason);
        }
        match publish.qos {
            QoS::AtMostOnce => self.metrics.publishes_received_qos0_total += 1,
            QoS::AtLeastOnce => self.metrics.publishes_received_qos1_total += 1,
            QoS::ExactlyOnce => {
                let packet_id = publish.packet_id.expect("decoded with its QoS");
                let Some(seat) = self.sessions.get_mut(session) else { return };
                if !seat.session.inbound.insert(packet_id) {
                    // Taken before; only the acknowledgement was lost. [MQTT-4.3.3-10]
                    return self.acknowledge_again(now, id, session, packet_id);
                }
                self.metrics.publishes_received_qos2_total += 1;
            }
        }
        let interval = publish.properties.message_expiry_interval;
        let expires = interval.map_or(Time::NEVER, |seconds| now.after_seconds(seconds));
        let mut publication = Publication::new(
            topic,
            publish.properties.forward,
            publish.payload,
            publish.qos,
            expires,
        );
        publication.retain = publish.retain;
        let owed = publish.packet_id.map(|packet_id| Owed {
            connection: id,
            packet_type: match publish.qos {
                QoS::ExactlyOnce => PacketType::PubRec,
                _ => PacketType::PubAck,
            },
            packet_id,
        });
        let origin = self.origin(session);
        self.publish(now, &mut publication, origin, owed);
    }

    /// The topic an alias stands for, if the packet has only that. [MQTT-3.3.2-8 to -12]
    fn resolve_alias(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Result<Option<Arc<str>>, ReasonCode> {
        let maximum = self.mqtt().topic_alias_maximum;
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(None);
        };
        if alias == 0 || alias > maximum {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return Ok(None);
        };
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
        let maximum = usize::from(self.mqtt().receive_maximum);
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return true;
        };
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
        if topic.bytes().filter(|byte| *byte == b'/').count() >= usize::from(mqtt.topic_levels_max)
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
    /// say it, are disconnected at QoS 1 and 2. [MQTT-3.3.5-2 of 3.1.1]
    fn refuse_publish(
        &mut self,
        now: Time,
        id: ConnectionId,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) {
        let packet_type = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => PacketType::PubAck,
            QoS::ExactlyOnce => PacketType::PubRec,
        };
        if !self.speaks_v5(id) {
            return self.disconnect(now, id, reason);
        }
        let packet_id = publish.packet_id.expect("decoded with its QoS");
        let entry = Acknowledgement { packet_type, packet_id, reason, ready: true };
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            active.acknowledgements.push(entry);
            self.send_acknowledgements(now, id);
        }
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
        let local = self.route(now, publication, origin);
        let owner = publication.retain.then(|| self.place(publication.topic));
        let mut appended = local.appended;
        if owner == Some(self.id) {
            appended = appended.max(self.store_retained(now, publication));
        }
        let remote_store = owner.map_or(0, bit) & !bit(self.id);
        let receivers = local.remote | remote_store;
        if !local.matched && receivers == 0 {
            self.metrics.publishes_unmatched_total += 1;
        }
        let ticket = owed.and_then(|owed| {
            let matched = local.matched || local.remote != 0;
            self.owe(now, owed, receivers.count_ones(), appended, matched)
        });
        self.forward(publication, local.remote, remote_store, origin, ticket);
        if receivers & self.full_lanes != 0
            && let Some(owed) = owed
        {
            self.pause(owed.connection, Pause::Lane);
        }
    }

    fn forward(
        &mut self,
        publication: &Publication<'_>,
        deliver: u64,
        store: u64,
        origin: Origin,
        ticket: Option<Key>,
    ) {
        let mut receivers = deliver | store;
        while receivers != 0 {
            let to = super::ShardId(receivers.trailing_zeros() as u8);
            receivers &= receivers - 1;
            let message = Arc::clone(publication.keep());
            let (deliver, store) = (deliver & bit(to) != 0, store & bit(to) != 0);
            let origin = origin.hash;
            self.send(to, ShardMessage::Forward { message, ticket, deliver, store, origin });
        }
    }

    /// Acknowledges a message at once if nothing has to be waited for, or remembers to.
    fn owe(
        &mut self,
        now: Time,
        owed: Owed,
        answers: u32,
        appended: Option<Sequence>,
        matched: bool,
    ) -> Option<Key> {
        let v5 = self.speaks_v5(owed.connection);
        let active = self.connections.get_mut(owed.connection)?.active_mut()?;
        let session = active.session;
        let reason = match matched {
            false if v5 => ReasonCode::NoMatchingSubscribers,
            _ => ReasonCode::Success,
        };
        let missing = answers + u32::from(appended.is_some());
        let Owed { connection, packet_type, packet_id } = owed;
        let ready = missing == 0;
        if ready && active.acknowledgements.is_empty() {
            self.write_acknowledgement(connection, packet_type, packet_id, reason);
            return None;
        }
        let number =
            active.acknowledgements.push(Acknowledgement { packet_type, packet_id, reason, ready });
        if active.acknowledgements.len() >= usize::from(self.policy.mqtt.receive_maximum) {
            self.pause(connection, Pause::Acknowledgements);
        }
        if ready {
            self.send_acknowledgements(now, connection);
            return None;
        }
        let ticket = self.publishes.insert(PendingPublish {
            connection,
            number,
            missing,
            session,
            packet_type,
            packet_id,
        });
        if let Some(sequence) = appended {
            self.journal.wait(sequence, Waiter::Publish(ticket));
        }
        (answers > 0).then_some(ticket)
    }

    /// One of the answers a message waits for has come.
    pub(super) fn settle_publish(&mut self, now: Time, ticket: Key) {
        let Some(pending) = self.publishes.get_mut(ticket) else { return };
        pending.missing -= 1;
        if pending.missing > 0 {
            return;
        }
        let Some(pending) = self.publishes.remove(ticket) else { return };
        let id = pending.connection;
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        active.acknowledgements.ready(pending.number);
        self.send_acknowledgements(now, id);
    }

    /// Sends the acknowledgements at the front that are ready.
    fn send_acknowledgements(&mut self, now: Time, id: ConnectionId) {
        let limit = usize::from(self.mqtt().receive_maximum);
        loop {
            let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
                return;
            };
            let Some(next) = active.acknowledgements.pop_ready() else { break };
            self.write_acknowledgement(id, next.packet_type, next.packet_id, next.reason);
        }
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        if active.acknowledgements.len() <= limit / 2 {
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
        let number = active.acknowledgements.push(Acknowledgement {
            packet_type: PacketType::PubRec,
            packet_id,
            reason: ReasonCode::Success,
            ready: pending.is_none(),
        });
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
    }

    /// PUBREL: the client forgets the message and so do we. [MQTT-4.3.3-11]
    pub(super) fn handle_pubrel(&mut self, _now: Time, id: ConnectionId, ack: &Ack<'_>) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let Some(seat) = self.sessions.get_mut(active.session) else { return };
        let reason = match seat.session.inbound.remove(ack.packet_id) {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        };
        self.write_acknowledgement(id, PacketType::PubComp, ack.packet_id, reason);
    }
}

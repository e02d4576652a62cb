//! What clients say of the messages they were sent: PUBACK, PUBREC and PUBCOMP.

use super::connection::Connection;
use super::consult::Event;
use super::effect::ConnectionId;
use super::journal::Waiter;
use super::record::Step;
use super::write::BufferPool;
use super::{Key, Shard};
use crate::proto::{Ack, PacketId, PacketType, ReasonCode, encode_ack};
use crate::session::{AckError, Body, Delivery, Finished};
use crate::time::Time;

impl Shard {
    pub(super) fn handle_puback(&mut self, now: Time, id: ConnectionId, ack: &Ack<'_>) {
        let Some(key) = self.session_of(id) else { return };
        let Some(seat) = self.sessions.get_mut(key) else { return };
        match seat.session.outbox.inflight.acknowledge(ack.packet_id) {
            Ok(delivery) => {
                self.tell_delivered(now, id, ack.packet_id, &delivery);
                self.completed(key, &delivery);
            }
            Err(AckError::Unknown) => {}
            Err(AckError::Mismatch) => self.protocol_error(now, id, ReasonCode::ProtocolError),
        }
    }

    fn tell_delivered(
        &mut self,
        now: Time,
        id: ConnectionId,
        packet_id: PacketId,
        delivery: &Delivery,
    ) {
        let body = &delivery.body;
        if self.witness.traces.follows_topics()
            && let Some(message) = self.journal.in_memory(body).cloned()
        {
            self.trace_delivered(now, id, packet_id, delivery.qos, &message);
        }
        if self.policy.consults.events && !matches!(body, Body::Written) {
            match self.journal.load(body) {
                Ok(message) => self.tell(id, |client| Event::Delivered(client, message)),
                Err(damaged) => self.found_damage(damaged),
            }
        }
    }

    /// PUBREC is answered by PUBREL whatever is known of the message. [MQTT-4.3.3-4]
    pub(super) fn handle_pubrec(&mut self, now: Time, id: ConnectionId, ack: &Ack<'_>) {
        let Some(key) = self.session_of(id) else { return };
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let inflight = &mut seat.session.outbox.inflight;
        if ack.reason.is_error() {
            match inflight.refuse(ack.packet_id) {
                Ok(delivery) => self.completed(key, &delivery),
                Err(AckError::Unknown) => {}
                Err(AckError::Mismatch) => self.protocol_error(now, id, ReasonCode::ProtocolError),
            }
            return;
        }
        let reason = match inflight.receive(ack.packet_id) {
            Ok(Some(delivery)) => {
                self.tell_delivered(now, id, ack.packet_id, &delivery);
                if matches!(delivery.body, Body::Kept(_)) {
                    return self.received_kept(id, key, ack.packet_id, &delivery);
                }
                ReasonCode::Success
            }
            Ok(None) => ReasonCode::Success,
            Err(AckError::Unknown) => ReasonCode::PacketIdentifierNotFound,
            Err(AckError::Mismatch) => {
                return self.protocol_error(now, id, ReasonCode::ProtocolError);
            }
        };
        self.write_acknowledgement(id, PacketType::PubRel, ack.packet_id, reason);
    }

    pub(super) fn handle_pubcomp(&mut self, now: Time, id: ConnectionId, ack: &Ack<'_>) {
        let Some(key) = self.session_of(id) else { return };
        let Some(seat) = self.sessions.get_mut(key) else { return };
        match seat.session.outbox.inflight.finish(ack.packet_id) {
            Ok(Finished { ordinal, share }) => {
                self.inflight_count -= 1;
                self.journal.progress(seat.number, ordinal, Step::Done);
                self.share_done(key, share.as_deref());
                self.has_room = Some(key);
            }
            Err(AckError::Unknown) => {}
            Err(AckError::Mismatch) => self.protocol_error(now, id, ReasonCode::ProtocolError),
        }
    }

    /// PUBREL goes out once it will not be forgotten that PUBREC came: the client forgets the
    /// message then, and must not be sent it again.
    fn received_kept(&mut self, id: ConnectionId, key: Key, packet_id: PacketId, owed: &Delivery) {
        if let Some(seat) = self.sessions.get(key) {
            self.journal.progress(seat.number, owed.ordinal, Step::Received);
        }
        self.journal.release(&owed.body);
        let packet_type = PacketType::PubRel;
        let waiter = Waiter::Acknowledge(id, packet_type, packet_id, ReasonCode::Success);
        self.journal.wait_for_progress(waiter);
    }

    /// A message is complete: there is room for another.
    fn completed(&mut self, key: Key, delivery: &Delivery) {
        self.inflight_count -= 1;
        self.delivery_over(key, delivery);
        self.has_room = Some(key);
    }

    pub(super) fn session_of(&mut self, id: ConnectionId) -> Option<Key> {
        Some(self.connections.get_mut(id)?.active_mut()?.session)
    }
}

/// PUBREL of a session that is resumed. [MQTT-4.4.0-1]
pub fn write_pubrel(connection: &mut Connection, pool: &mut BufferPool, packet_id: PacketId) {
    let Some(version) = connection.version() else { return };
    let tail = connection.out.tail(pool);
    encode_ack(PacketType::PubRel, version, packet_id, ReasonCode::Success, tail);
}

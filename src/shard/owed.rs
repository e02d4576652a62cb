//! Acknowledgements that publishers are owed: each in its turn, and not before it is true.

use super::connection::{Acknowledgement, Pause};
use super::effect::ConnectionId;
use super::journal::Waiter;
use super::limit::Limit;
use super::record::Change;
use super::route::{Refusal, Routed};
use super::{Key, Shard};
use crate::proto::{Ack, PacketId, PacketType, Publish, QoS, ReasonCode, encode_ack};
use crate::session::{Body, KeptId};
use crate::storage::Sequence;
use crate::time::Time;

/// A QoS 1 or 2 message whose acknowledgement waits: for other shards, for the log.
#[derive(Debug)]
pub struct PendingPublish {
    pub(super) connection: ConnectionId,
    /// When it came.
    pub(super) since: Time,
    /// Which of the connection's acknowledgements.
    pub(super) number: u64,
    /// Answers that are still to come.
    pub(super) missing: u32,
    /// Whether somebody has it: a session, a group, or a topic that retains it.
    pub(super) is_taken: bool,
    /// Why another shard has not.
    pub(super) refusal: Option<Refusal>,
    /// Whose message it is, and which: a client that lost its connection asks again by another.
    pub(super) session: Key,
    pub(super) packet_type: PacketType,
    pub(super) packet_id: PacketId,
    /// Its record here, which says that other shards are still to get it.
    pub(super) record: Option<(KeptId, Sequence)>,
}

impl PendingPublish {
    /// Whether other shards are still to get this message.
    pub fn spreads(&self, id: KeptId) -> bool {
        self.record.is_some_and(|(other, _)| other == id)
    }
}

/// The acknowledgement a publication waits with.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    pub(super) connection: ConnectionId,
    pub(super) packet_type: PacketType,
    pub(super) packet_id: PacketId,
}

impl Owed {
    /// That of a packet; none at QoS 0.
    pub(super) fn of(connection: ConnectionId, publish: &Publish<'_>) -> Option<Owed> {
        let packet_type = match publish.qos {
            QoS::ExactlyOnce => PacketType::PubRec,
            _ => PacketType::PubAck,
        };
        publish.packet_id.map(|packet_id| Owed { connection, packet_type, packet_id })
    }
}

impl Shard {
    /// Acknowledges with `reason`, behind what was taken before.
    pub(super) fn acknowledge_in_turn(&mut self, now: Time, owed: Owed, reason: ReasonCode) {
        let Owed { connection, packet_type, packet_id } = owed;
        let entry = Acknowledgement::new(packet_type, packet_id, reason, true);
        if let Some(active) = self.connections.get_mut(connection).and_then(|c| c.active_mut()) {
            active.acknowledgements.push(entry);
            self.send_acknowledgements(now, connection);
        }
    }

    /// Acknowledges a message at once if nothing has to be waited for, or remembers to.
    pub(super) fn owe(
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
    pub(super) fn acknowledge_again(
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

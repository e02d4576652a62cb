//! Bytes from clients: packets are cut out of the stream and handed to whoever acts on them.

use zeroize::Zeroize as _;

use super::Shard;
use super::connect::Admission;
use super::connection::{Connection, Pause, Phase};
use super::consult::Event;
use super::effect::{ConnectionId, Output, Peer, ShardId, WriteBatch};
use super::spread::SPREAD_MAX;
use super::witness::Decision;
use crate::auth::CertificateNames;
use crate::proto::{Cut, DecodeError, Disconnect, Frame, Packet, PacketType, ReasonCode, Version};
use crate::time::Time;

/// What a packet means for those behind it in the stream.
pub(super) enum Next {
    /// Go on.
    Packet,
    /// The connection is gone, or must not be read for now.
    Stop,
    /// The connection belongs to another shard, this packet included.
    Move(ShardId),
}

/// Largest packet of a client that has not been let in: thousands of them may be on their way at
/// once, each with all but the last byte of a packet. A CONNECT whose every field is as long as it
/// can be has 320 KiB without its properties.
const STRANGERS_PACKET_BYTES_MAX: u32 = 384 << 10;

impl Shard {
    pub(super) fn handle_accepted(
        &mut self,
        now: Time,
        id: ConnectionId,
        peer: Peer,
        certificate: Option<Box<CertificateNames>>,
    ) {
        self.metrics.connections_accepted_total += 1;
        let traced = self.witness.traces.of_client(None, Some(peer.address.ip()));
        let connection = Connection::new(id, peer, now);
        self.connections.insert(Connection { certificate, traced, ..connection });
        if self.stopping {
            self.close(now, id);
        } else {
            self.arm_connection(id);
        }
    }

    pub(super) fn handle_received(&mut self, now: Time, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else {
            return self.append_to_move(id, bytes);
        };
        // Until its client's home is known, `consume` counts: what moves is counted there.
        if !matches!(connection.phase, Phase::AwaitConnect) {
            self.metrics.received_bytes_total += bytes.len() as u64;
        }
        let is_stranger = !matches!(connection.phase, Phase::Active(_));
        connection.last_received = now;
        if connection.paused == 0 && connection.partial.is_empty() {
            let consumed = self.consume(now, id, bytes);
            if let Some(connection) = self.connections.get_mut(id) {
                connection.partial.extend_from_slice(&bytes[consumed..]);
            }
        } else {
            connection.partial.extend_from_slice(bytes);
            if connection.paused == 0 && connection.partial.len() >= connection.needed {
                self.read_on(now, id);
            }
        }
        if is_stranger {
            self.weigh_stranger(now, id);
        }
    }

    /// Bytes that arrive between the decision to move a connection and the driver's doing it go
    /// with it.
    fn append_to_move(&mut self, id: ConnectionId, bytes: &[u8]) {
        for output in &mut self.outputs {
            if let Output::Move { connection, unread, .. } = output
                && *connection == id
            {
                unread.extend_from_slice(bytes);
            }
        }
    }

    /// Acts on what has arrived and was not acted on.
    pub(super) fn read_on(&mut self, now: Time, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut partial = std::mem::take(&mut connection.partial);
        let is_first = self.awaits_first_packet(id);
        let consumed = self.consume(now, id, &partial);
        if is_first {
            // There is a password in a CONNECT.
            partial[..consumed].zeroize();
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        debug_assert!(connection.partial.is_empty(), "nothing arrives while packets are read");
        if consumed < partial.len() {
            partial.drain(..consumed);
            connection.partial = partial;
        }
    }

    /// Acts on the whole packets at the front; returns how many bytes they had.
    fn consume(&mut self, now: Time, id: ConnectionId, bytes: &[u8]) -> usize {
        let mut packet_bytes_max = self.taken_bytes_max(id);
        let is_first = self.awaits_first_packet(id);
        let mut consumed = 0;
        while consumed < bytes.len() {
            let unread = &bytes[consumed..];
            let next = match Frame::cut(unread, packet_bytes_max) {
                Ok(Cut::Whole { frame, size }) => {
                    let next = self.handle_frame(now, id, frame, &unread[..size]);
                    if !matches!(next, Next::Move(_)) {
                        consumed += size;
                    }
                    if is_first {
                        packet_bytes_max = self.taken_bytes_max(id);
                    }
                    next
                }
                Ok(Cut::Partial { needed }) => {
                    if let Some(connection) = self.connections.get_mut(id) {
                        connection.needed = needed;
                    }
                    break;
                }
                Err(error) => self.reject(now, id, &error),
            };
            match next {
                Next::Packet if self.spread < SPREAD_MAX => {}
                Next::Packet => {
                    self.give_way(id);
                    break;
                }
                Next::Stop => break,
                Next::Move(to) => {
                    if let Some(mut connection) = self.connections.remove(id) {
                        self.strangers.forget(&mut connection);
                    }
                    self.metrics.packets_received_total -= 1;
                    let unread = bytes[consumed..].to_vec();
                    self.outputs.push_back(Output::Move { connection: id, to, unread });
                    return bytes.len();
                }
            }
        }
        if is_first && !self.awaits_first_packet(id) {
            self.metrics.received_bytes_total += bytes.len() as u64;
        }
        if let Some(key) = self.has_room.take() {
            self.pump(now, key);
        }
        consumed
    }

    /// The largest packet taken from a connection.
    fn taken_bytes_max(&self, id: ConnectionId) -> u32 {
        let active = self.connections.get(id).and_then(|connection| connection.active());
        let of_strangers = || self.mqtt().packet_bytes_max.min(STRANGERS_PACKET_BYTES_MAX);
        active.map_or_else(of_strangers, |active| active.taken_bytes_max)
    }

    /// Whether nothing but CONNECT may come.
    pub fn awaits_first_packet(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id);
        connection.is_some_and(|connection| matches!(connection.phase, Phase::AwaitConnect))
    }

    fn handle_frame(
        &mut self,
        now: Time,
        id: ConnectionId,
        frame: Frame<'_>,
        packet: &[u8],
    ) -> Next {
        let Some(connection) = self.connections.get_mut(id) else { return Next::Stop };
        self.metrics.packets_received_total += 1;
        match &connection.phase {
            Phase::AwaitConnect => self.handle_first_frame(now, id, frame, packet),
            Phase::Authenticating(_) => {
                match Packet::decode_from_client(Version::V5, frame) {
                    Ok(Packet::Auth(auth)) => self.continue_authentication(now, id, &auth),
                    // [MQTT-4.12.0-..]: nothing but AUTH or DISCONNECT before CONNACK.
                    Ok(Packet::Disconnect(_)) => self.close(now, id),
                    Ok(_) => self.refuse_unproved(now, id, ReasonCode::ProtocolError),
                    Err(error) => self.refuse_unproved(now, id, error.reason()),
                }
                self.next_after(id)
            }
            // What arrives waits.
            Phase::Verifying(_) => Next::Stop,
            Phase::Active(active) => {
                let version = active.version;
                match &Packet::decode_from_client(version, frame) {
                    Ok(decoded) => {
                        let is_paced = active.pacer.is_some();
                        let messages = u64::from(matches!(decoded, Packet::Publish(_)));
                        if self.witness.traces.is_on() {
                            self.trace_received(now, id, decoded);
                        }
                        self.handle_packet(now, id, decoded);
                        if is_paced {
                            self.count_packet(now, id, messages, packet.len());
                        }
                        self.bound_replies(id);
                    }
                    Err(error) => return self.reject(now, id, error),
                }
                self.next_after(id)
            }
        }
    }

    /// Deliveries stop at the outbox's limit by themselves; only answers go beyond it.
    fn bound_replies(&mut self, id: ConnectionId) {
        let limit = self.replies_bytes_max();
        if self.connections.get(id).is_some_and(|connection| connection.out.bytes() >= limit) {
            self.pause(id, Pause::Replies);
        }
    }

    /// Bytes that wait for one connection beyond which nothing is read from it.
    fn replies_bytes_max(&self) -> usize {
        const REPLIES_BYTES_MAX: usize = 256 << 10;
        let outbox_bytes_max = self.mqtt().outbox_bytes_max as usize;
        outbox_bytes_max + outbox_bytes_max.min(REPLIES_BYTES_MAX)
    }

    fn next_after(&self, id: ConnectionId) -> Next {
        match self.connections.get(id) {
            Some(connection) if connection.paused == 0 => Next::Packet,
            _ => Next::Stop,
        }
    }

    /// The first packet must be a CONNECT. [MQTT-3.1.0-1]
    fn handle_first_frame(
        &mut self,
        now: Time,
        id: ConnectionId,
        frame: Frame<'_>,
        packet: &[u8],
    ) -> Next {
        if frame.packet_type() != PacketType::Connect {
            self.log_rejection(id, "the first packet is not CONNECT");
            self.close(now, id);
            return Next::Stop;
        }
        match Packet::decode_from_client(Version::V311, frame) {
            Ok(Packet::Connect(connect)) => match self.handle_connect(now, id, &connect, packet) {
                Admission::Elsewhere(home) => return Next::Move(home),
                Admission::Decided => {}
            },
            Ok(_) => unreachable!("a CONNECT frame decodes to a CONNECT packet"),
            Err(error) => self.reject_connect(now, id, frame, &error),
        }
        self.next_after(id)
    }

    fn handle_packet(&mut self, now: Time, id: ConnectionId, packet: &Packet<'_>) {
        match packet {
            Packet::Publish(publish) => self.handle_publish(now, id, publish),
            Packet::PubAck(ack) => self.handle_puback(now, id, ack),
            Packet::PubRec(ack) => self.handle_pubrec(now, id, ack),
            Packet::PubRel(ack) => self.handle_pubrel(now, id, ack),
            Packet::PubComp(ack) => self.handle_pubcomp(now, id, ack),
            Packet::Subscribe(subscribe) => self.handle_subscribe(now, id, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(now, id, unsubscribe),
            Packet::PingReq => {
                self.write_packet(id, &Packet::PingResp); // [MQTT-3.12.4-1]
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(now, id, disconnect),
            Packet::Auth(auth) => self.handle_auth(now, id, auth),
            // A second CONNECT [MQTT-3.1.0-2], or a packet only servers send.
            _ => self.protocol_error(now, id, ReasonCode::ProtocolError),
        }
    }

    /// Ends a connection whose bytes are no MQTT. [MQTT-4.13.1-1]
    fn reject(&mut self, now: Time, id: ConnectionId, error: &DecodeError) -> Next {
        self.log_rejection(id, error);
        if self.witness.traces.is_on() {
            let detail = error.to_string();
            self.trace_decision(now, id, Decision::Refused, Some(error.reason()), &detail);
        }
        self.protocol_error(now, id, error.reason());
        Next::Stop
    }

    fn log_rejection(&self, id: ConnectionId, error: impl std::fmt::Display) {
        if let Some(connection) = self.connections.get(id) {
            tracing::info!(peer = %connection.peer.address, "closed: {error}");
        }
    }

    /// Ends a connection that broke the protocol.
    pub(super) fn protocol_error(&mut self, now: Time, id: ConnectionId, reason: ReasonCode) {
        self.metrics.protocol_errors_total += 1;
        self.disconnect(now, id, reason);
    }

    /// Ends a connection from this side: DISCONNECT where the version has it, then close.
    /// [MQTT-3.14.4-1]
    pub(super) fn disconnect(&mut self, now: Time, id: ConnectionId, reason: ReasonCode) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if matches!(connection.phase, Phase::Active(_)) && connection.version() == Some(Version::V5)
        {
            let disconnect = Disconnect::new(reason);
            self.write_packet(id, &Packet::Disconnect(disconnect));
        }
        self.end_connection(now, id, Some(reason));
    }

    /// Closes a connection without a word.
    pub(super) fn close(&mut self, now: Time, id: ConnectionId) {
        self.end_connection(now, id, None);
    }

    pub(super) fn end_connection(&mut self, now: Time, id: ConnectionId, why: Option<ReasonCode>) {
        self.tell(id, |client| Event::Disconnected(client, why));
        if self.witness.traces.is_on() {
            let detail = if why.is_none() { "without a DISCONNECT" } else { "" };
            self.trace_decision(now, id, Decision::Closed, why, detail);
        }
        let Some(mut connection) = self.connections.remove(id) else { return };
        self.strangers.forget(&mut connection);
        // What is held back is not true yet, and nothing was written before it.
        let last = match connection.is_held {
            true => WriteBatch::Empty,
            false => connection.out.take_last(),
        };
        self.metrics.sent_bytes_total += last.len() as u64;
        self.outputs.push_back(Output::Close { connection: id, last });
        self.connection_gone(now, &mut connection, why);
    }

    /// The peer or the network ended a connection. What had arrived before is acted on first, in
    /// its own time if reading is paused: a DISCONNECT among it withdraws the will.
    pub(super) fn handle_closed(&mut self, now: Time, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.ended = true;
        if connection.paused == 0 {
            self.close(now, id);
        }
    }

    pub(super) fn handle_sent(&mut self, now: Time, id: ConnectionId, batch: WriteBatch) {
        self.pool.recycle(batch);
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.out.confirm();
        // Who is not read from for not reading shows by reading that it is there.
        if connection.paused != 0 {
            connection.last_received = now;
        }
        if connection.out.is_ready() {
            self.mark_dirty(id);
        }
        self.pump_connection(now, id);
        let limit = self.replies_bytes_max();
        if self.connections.get(id).is_some_and(|connection| connection.out.bytes() < limit) {
            self.unpause(now, id, Pause::Replies);
        }
    }

    /// Writes a packet that was encoded for this connection before.
    pub(super) fn write_encoded(&mut self, id: ConnectionId, packet: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let version = connection.version().unwrap_or(Version::V311);
        connection.out.tail(&mut self.pool).extend_from_slice(packet);
        self.mark_dirty(id);
        if self.witness.traces.is_on()
            && let Ok(Cut::Whole { frame, .. }) = Frame::cut(packet, u32::MAX)
            && let Ok(decoded) = Packet::decode_from_server(version, frame)
        {
            self.trace_sent(self.now, id, &decoded);
        }
    }

    /// Answers a SUBSCRIBE or UNSUBSCRIBE. An answer that is too long for its client, which would
    /// wait for it, ends the connection. [MQTT-3.1.2-24]
    pub(super) fn write_answer(&mut self, now: Time, id: ConnectionId, packet: &Packet<'_>) {
        if !self.write_packet(id, packet) {
            self.disconnect(now, id, ReasonCode::PacketTooLarge);
        }
    }

    /// Encodes a packet for a connection; too long for its client, it is not sent. Tells whether
    /// it is. [MQTT-3.1.2-24]
    pub(super) fn write_packet(&mut self, id: ConnectionId, packet: &Packet<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let version = connection.version().unwrap_or(Version::V311);
        let packet_bytes_max = connection.packet_bytes_max();
        let tail = connection.out.tail(&mut self.pool);
        let written = packet.encode_within(version, packet_bytes_max, tail);
        if written {
            self.mark_dirty(id);
            if self.witness.traces.is_on() {
                self.trace_sent(self.now, id, packet);
            }
        }
        written
    }
}

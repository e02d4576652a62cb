//! What traces are told of packets, and of what is decided about connections and messages.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Decision, Passage, Step, TraceEvent, TracedMessage, told};
use crate::auth::meets;
use crate::message::{Message, Publication};
use crate::proto::{
    Connect, Packet, PacketId, PacketType, Publish, QoS, ReasonCode, SubscriptionFilter,
};
use crate::shard::effect::ConnectionId;
use crate::shard::{Key, Shard};
use crate::time::Time;

/// What the rest of the shard tells of packets.
impl Shard {
    /// A connection says whose it is: from now on it is followed if that is.
    #[cold]
    pub(in crate::shard) fn mark_traced(&mut self, id: ConnectionId, client_id: &str) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let address = connection.peer.address.ip();
        connection.traced = self.witness.traces.of_client(Some(client_id), Some(address));
    }

    /// A CONNECT came whose client belongs here, or to nobody.
    #[cold]
    pub(in crate::shard) fn trace_connect(
        &mut self,
        now: Time,
        id: ConnectionId,
        connect: &Connect<'_>,
    ) {
        self.mark_traced(id, connect.client_id);
        let Some(connection) = self.connections.get(id) else { return };
        let bits = connection.traced;
        self.witness.traces.note(bits, |_| {
            let mut detail = format!(
                "MQTT {}, clean start {}, keep-alive {} s",
                connect.version,
                if connect.clean_start { "yes" } else { "no" },
                connect.keep_alive
            );
            if let Some(seconds) = connect.session_expiry_interval {
                let _ = write!(detail, ", session expiry {seconds} s");
            }
            if let Some(user) = connect.credentials.user_name {
                let _ = write!(detail, ", user {user:?}");
            }
            if connect.credentials.password.is_some() {
                detail.push_str(", with a password");
            }
            if let Some(method) = connect.authentication_method {
                let _ = write!(detail, ", method {method:?}");
            }
            if let Some(will) = &connect.will {
                let _ =
                    write!(detail, ", will to {:?} at QoS {}", will.topic.as_str(), will.qos as u8);
            }
            TraceEvent {
                client_id: Some(connect.client_id.into()),
                address: Some(connection.peer.address),
                detail: Some(told(&detail)),
                ..TraceEvent::new(now, Step::Received(PacketType::Connect))
            }
        });
    }

    /// A packet came from a client that was let in.
    #[cold]
    pub(in crate::shard) fn trace_received(
        &mut self,
        now: Time,
        id: ConnectionId,
        packet: &Packet<'_>,
    ) {
        if let Packet::Publish(publish) = packet {
            return self.trace_publish(now, id, publish);
        }
        let bits = self.live_marks(id) | self.bits_of_filters(packet);
        self.note_packet(now, id, bits, Step::Received(packet.packet_type()), packet);
    }

    fn trace_publish(&mut self, now: Time, id: ConnectionId, publish: &Publish<'_>) {
        let Some(connection) = self.connections.get(id) else { return };
        let Some(active) = connection.active() else { return };
        let alias = publish.properties.topic_alias.filter(|_| publish.topic.is_empty());
        let meant = alias.and_then(|alias| active.aliases.inbound(alias));
        let topic = meant.as_deref().unwrap_or(publish.topic.as_str());
        let Some(seat) = self.sessions.get(active.session) else { return };
        let properties = publish.properties.forward;
        let publication =
            Publication::new(topic, properties, publish.payload, publish.qos, Time::NEVER);
        let passage = Passage {
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            detail: None,
        };
        let (step, client_id) = (Step::Received(PacketType::Publish), &seat.session.client_id);
        self.witness.passes(now, step, client_id, Some(connection), &publication, passage);
    }

    /// A packet goes to a client.
    #[cold]
    pub(in crate::shard) fn trace_sent(
        &mut self,
        now: Time,
        id: ConnectionId,
        packet: &Packet<'_>,
    ) {
        let bits = self.live_marks(id);
        self.note_packet(now, id, bits, Step::Sent(packet.packet_type()), packet);
    }

    /// An acknowledgement goes to a client.
    #[cold]
    pub(in crate::shard) fn trace_acknowledgement(
        &mut self,
        now: Time,
        id: ConnectionId,
        packet_type: PacketType,
        packet_id: PacketId,
        reason: ReasonCode,
    ) {
        self.note_of(id, self.live_marks(id), || TraceEvent {
            packet_id: Some(packet_id),
            reason: Some(reason),
            ..TraceEvent::new(now, Step::Sent(packet_type))
        });
    }

    /// Something is decided about a connection.
    #[cold]
    pub(in crate::shard) fn trace_decision(
        &mut self,
        now: Time,
        id: ConnectionId,
        decision: Decision,
        reason: Option<ReasonCode>,
        detail: &str,
    ) {
        self.note_of(id, self.live_marks(id), || TraceEvent {
            reason,
            detail: (!detail.is_empty()).then(|| told(detail)),
            ..TraceEvent::new(now, Step::Decided(decision))
        });
    }

    /// Something is decided about a session, whether its client is there or not.
    #[cold]
    pub(in crate::shard) fn trace_session(
        &mut self,
        now: Time,
        key: Key,
        decision: Decision,
        detail: &str,
    ) {
        let Some(seat) = self.sessions.get(key) else { return };
        let client_id = &seat.session.client_id;
        let bits = self.witness.traces.of_client(Some(client_id), None);
        self.witness.traces.note(bits, |_| TraceEvent {
            client_id: Some(Arc::clone(client_id)),
            detail: (!detail.is_empty()).then(|| told(detail)),
            ..TraceEvent::new(now, Step::Decided(decision))
        });
    }

    /// A message of a session was routed, to so many here and to the shards of a bit set.
    #[cold]
    pub(in crate::shard) fn trace_routed(
        &mut self,
        now: Time,
        publisher: Option<u32>,
        publication: &Publication<'_>,
        matches: usize,
        remote: u64,
    ) {
        let key = publisher.and_then(|index| self.sessions.key_at(index));
        let Some(seat) = key.and_then(|key| self.sessions.get(key)) else { return };
        let mut detail = match (matches, remote) {
            (0, 0) => "nobody is subscribed to it".to_owned(),
            (count, _) => format!("{count} subscriptions and groups match on its own shard"),
        };
        if remote != 0 {
            let shards = (0..64).filter(|shard| remote >> shard & 1 == 1);
            let shards: Vec<String> = shards.map(|shard| shard.to_string()).collect();
            let _ = write!(detail, ", handed on to shards {}", shards.join(", "));
        }
        let passage = Passage {
            qos: publication.qos,
            retain: publication.retain,
            dup: false,
            packet_id: None,
            detail: Some(&detail),
        };
        let connection = self.connections.of(seat);
        let (step, client_id) = (Step::Decided(Decision::Routed), &seat.session.client_id);
        self.witness.passes(now, step, client_id, connection, publication, passage);
    }

    /// A message waits in the queue of a session.
    #[cold]
    pub(in crate::shard) fn trace_queued(
        &mut self,
        now: Time,
        key: Key,
        message: &Arc<Message>,
        qos: QoS,
    ) {
        let Some(seat) = self.sessions.get(key) else { return };
        let connection = self.connections.of(seat);
        let queued = seat.session.outbox.queued();
        let detail = match connection.is_some() {
            true => format!("{queued} wait for it"),
            false => format!("{queued} wait for it, which is away"),
        };
        let detail = Some(&*detail);
        let passage = Passage { qos, retain: message.retain, dup: false, packet_id: None, detail };
        let (step, client_id) = (Step::Decided(Decision::Queued), &seat.session.client_id);
        let publication = Publication::of(message);
        self.witness.passes(now, step, client_id, connection, &publication, passage);
    }

    /// A client acknowledged a message, whose topic may be followed.
    #[cold]
    pub(in crate::shard) fn trace_delivered(
        &mut self,
        now: Time,
        id: ConnectionId,
        packet_id: PacketId,
        qos: QoS,
        message: &Arc<Message>,
    ) {
        let bits = self.witness.traces.of_topic(message.topic());
        self.note_of(id, bits, || TraceEvent {
            packet_id: Some(packet_id),
            message: Some(TracedMessage {
                topic: message.topic().into(),
                qos,
                retain: message.retain,
                dup: false,
                bytes: message.bytes(),
                payload: Box::default(),
            }),
            ..TraceEvent::new(now, Step::Decided(Decision::Delivered))
        });
    }

    fn note_packet(
        &mut self,
        now: Time,
        id: ConnectionId,
        bits: u8,
        step: Step,
        packet: &Packet<'_>,
    ) {
        self.note_of(id, bits, || {
            let (packet_id, reason) = marks_of(packet);
            TraceEvent {
                packet_id,
                reason,
                detail: described(packet),
                ..TraceEvent::new(now, step)
            }
        });
    }

    /// Notes something about a connection and its client.
    fn note_of(&mut self, id: ConnectionId, bits: u8, event: impl Fn() -> TraceEvent) {
        let client_id = self.client_id_of(id);
        let address = self.connections.get(id).map(|connection| connection.peer.address);
        self.witness.traces.note(bits, |_| TraceEvent {
            client_id: client_id.clone(),
            address,
            ..event()
        });
    }

    /// Bits of the traces that follow a connection.
    fn live_marks(&self, id: ConnectionId) -> u8 {
        let connection = self.connections.get(id);
        connection.map_or(0, |connection| self.witness.traces.live(connection.traced))
    }

    /// Traces of topics that subscriptions of a packet are about.
    fn bits_of_filters(&self, packet: &Packet<'_>) -> u8 {
        let about = |filter: SubscriptionFilter<'_>| {
            self.witness.traces.of_topics(|followed| meets(followed, plain(filter)))
        };
        match packet {
            Packet::Subscribe(subscribe) => {
                subscribe.filters.iter().fold(0, |bits, entry| bits | about(entry.filter))
            }
            Packet::Unsubscribe(unsubscribe) => {
                unsubscribe.filters.iter().fold(0, |bits, filter| bits | about(filter))
            }
            _ => 0,
        }
    }
}

/// The filter within a shared one.
fn plain<'a>(filter: SubscriptionFilter<'a>) -> &'a str {
    match filter {
        SubscriptionFilter::Plain(filter) | SubscriptionFilter::Shared { filter, .. } => {
            filter.as_str()
        }
    }
}

/// Packet identifier and reason code of a packet that has them.
fn marks_of(packet: &Packet<'_>) -> (Option<PacketId>, Option<ReasonCode>) {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            (Some(ack.packet_id), Some(ack.reason))
        }
        Packet::Subscribe(subscribe) => (Some(subscribe.packet_id), None),
        Packet::SubAck(suback) => (Some(suback.packet_id), None),
        Packet::Unsubscribe(unsubscribe) => (Some(unsubscribe.packet_id), None),
        Packet::UnsubAck(unsuback) => (Some(unsuback.packet_id), None),
        Packet::ConnAck(connack) => (None, Some(connack.reason)),
        Packet::Disconnect(disconnect) => (None, Some(disconnect.reason)),
        Packet::Auth(auth) => (None, Some(auth.reason)),
        Packet::Publish(publish) => (publish.packet_id, None),
        Packet::Connect(_) | Packet::PingReq | Packet::PingResp => (None, None),
    }
}

/// What else a packet says, in words.
fn described(packet: &Packet<'_>) -> Option<Box<str>> {
    let text = match packet {
        Packet::Subscribe(subscribe) => {
            let one = |entry: crate::proto::FilterAndOptions<'_>| {
                let no_local = if entry.options.no_local { ", no local" } else { "" };
                format!("{} at QoS {}{no_local}", entry.filter, entry.options.qos as u8)
            };
            listed(subscribe.filters.iter().map(one))
        }
        Packet::Unsubscribe(unsubscribe) => {
            listed(unsubscribe.filters.iter().map(|filter| filter.to_string()))
        }
        Packet::SubAck(suback) => listed(suback.reasons.iter().map(|byte| match byte {
            0..=2 => format!("granted QoS {byte}"),
            code => format!("refused 0x{code:02x}"),
        })),
        Packet::ConnAck(connack) => {
            let session = if connack.session_present { "resumed" } else { "new" };
            let mut text = format!("session {session}");
            if let Some(client_id) = connack.assigned_client_id {
                let _ = write!(text, ", client id {client_id}");
            }
            if let Some(seconds) = connack.server_keep_alive {
                let _ = write!(text, ", keep-alive {seconds} s");
            }
            if let Some(seconds) = connack.session_expiry_interval {
                let _ = write!(text, ", session expiry {seconds} s");
            }
            text
        }
        Packet::Disconnect(disconnect) => match disconnect.session_expiry_interval {
            Some(seconds) => format!("session expiry {seconds} s"),
            None => return None,
        },
        _ => return None,
    };
    Some(told(text))
}

/// As many of a list as there is room for.
fn listed(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for part in parts {
        if text.len() > super::DETAIL_BYTES_MAX {
            break;
        }
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{part}");
    }
    text
}

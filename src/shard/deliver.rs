//! Messages into sessions, and out of them into connections.

use std::sync::Arc;

use super::connection::Connection;
use super::effect::{ConnectionId, Sequence};
use super::{Key, Seat, Shard};
use crate::config::Mqtt;
use crate::message::Publication;
use crate::metrics::ShardMetrics;
use crate::proto::{
    PacketId, Publish, PublishProperties, QoS, SubscriptionIds, TopicName, Version,
};
use crate::session::{Delivery, QueueLimits, ShareTicket, SubscriptionIdSet, Transmit};
use crate::time::Time;

/// Payloads from this size on are written from where they are instead of being copied.
const SHARED_PAYLOAD_BYTES_MIN: usize = 8 << 10;

/// How a PUBLISH leaves, beside what its message says.
#[derive(Clone, Copy, Debug)]
struct Manner<'a> {
    qos: QoS,
    retain: bool,
    dup: bool,
    packet_id: Option<PacketId>,
    subscription_ids: &'a [u32],
}

/// Whether a PUBLISH could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// It is longer than its client accepts. [MQTT-3.1.2-25]
    TooLarge,
}

impl Shard {
    /// Delivers a publication to one session, at the lower of its QoS and the granted one.
    pub(super) fn deliver(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        granted: QoS,
        retain: bool,
        subscription_ids: &[u32],
    ) -> Option<Sequence> {
        // [MQTT-3.8.4-8]
        let qos = publication.qos.min(granted);
        if qos == QoS::AtMostOnce {
            self.deliver_at_most_once(now, key, publication, retain, subscription_ids);
            return None;
        }
        let seat = self.sessions.get_mut(key)?;
        let appended = if seat.session.is_persistent() { self.journal.append() } else { None };
        let delivery = Delivery {
            message: Arc::clone(publication.keep()),
            qos,
            retain,
            subscription_ids: SubscriptionIdSet::from_slice(subscription_ids),
            share: None,
        };
        self.offer(now, key, delivery);
        appended
    }

    /// QoS 0: written at once, or dropped.
    pub(super) fn deliver_at_most_once(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        retain: bool,
        subscription_ids: &[u32],
    ) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        // A session that may not outlive its connection waits like any other while it has one: it
        // may have been resumed with QoS 0 messages in its queue, which come before this one.
        let queues = self.policy.mqtt.queue_qos0;
        let waits = seat.connection.is_none() || !seat.session.outbox.is_caught_up();
        if queues && waits {
            let delivery = Delivery {
                message: Arc::clone(publication.keep()),
                qos: QoS::AtMostOnce,
                retain,
                subscription_ids: SubscriptionIdSet::from_slice(subscription_ids),
                share: None,
            };
            return self.offer(now, key, delivery);
        }
        let Some(id) = seat.connection else {
            self.metrics.dropped_away_total += 1;
            return;
        };
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.out.bytes() >= self.policy.mqtt.outbox_bytes_max as usize {
            self.metrics.dropped_outbox_full_total += 1;
            return;
        }
        let manner =
            Manner { qos: QoS::AtMostOnce, retain, dup: false, packet_id: None, subscription_ids };
        match write_publish(connection, &mut self.pool, now, publication, manner) {
            Written::Yes => {
                self.metrics.publishes_sent_qos0_total += 1;
                self.mark_dirty(id);
            }
            Written::TooLarge => self.metrics.dropped_too_large_total += 1,
        }
    }

    /// Puts a message into a session's queue and sends what may be sent.
    pub(super) fn offer(&mut self, now: Time, key: Key, delivery: Delivery) {
        let limits = queue_limits(self.mqtt());
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let dropped = seat.session.outbox.offer(delivery, limits);
        let connection = seat.connection;
        for delivery in dropped {
            self.metrics.dropped_queue_full_total += 1;
            self.share_done(key, delivery.share.as_deref());
        }
        if connection.is_some() {
            self.pump(now, key);
        }
    }

    /// Sends what a connection's session may send.
    pub(super) fn pump_connection(&mut self, now: Time, id: ConnectionId) {
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            let key = active.session;
            self.pump(now, key);
        }
    }

    /// Sends what a session may send: within its client's window, and no more than its
    /// connection should hold.
    pub(super) fn pump(&mut self, now: Time, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        if seat.session.outbox.is_caught_up() {
            return;
        }
        let Some(id) = seat.connection else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let outbox_bytes_max = self.policy.mqtt.outbox_bytes_max as usize;
        let pumped =
            pump_into(now, seat, connection, &mut self.pool, outbox_bytes_max, &mut self.metrics);
        if pumped.wrote {
            self.mark_dirty(id);
        }
        for share in pumped.shares_done {
            self.share_done(key, Some(&share));
        }
    }
}

/// What a pump did.
#[derive(Debug, Default)]
struct Pumped {
    wrote: bool,
    /// Shared groups' messages that are over: sent at QoS 0, expired, or too large.
    shares_done: Vec<ShareTicket>,
}

fn pump_into(
    now: Time,
    seat: &mut Seat,
    connection: &mut Connection,
    pool: &mut super::BufferPool,
    outbox_bytes_max: usize,
    metrics: &mut ShardMetrics,
) -> Pumped {
    let mut pumped = Pumped::default();
    let mut expired = Vec::new();
    let Some(window) = connection.active_mut().map(|active| active.window) else { return pumped };
    while connection.out.bytes() < outbox_bytes_max {
        let outbox = &mut seat.session.outbox;
        let Some(transmit) = outbox.poll_transmit(now, window, &mut expired) else { break };
        let (delivery, packet_id, dup) = match transmit {
            Transmit::AtMostOnce(delivery) => (delivery, None, false),
            Transmit::Tracked { packet_id, delivery, dup } => (delivery, Some(packet_id), dup),
            Transmit::PubRel(packet_id) => {
                super::acknowledge::write_pubrel(connection, pool, packet_id);
                pumped.wrote = true;
                continue;
            }
        };
        let manner = Manner {
            qos: delivery.qos,
            retain: delivery.retain,
            dup,
            packet_id,
            subscription_ids: delivery.subscription_ids.as_slice(),
        };
        let publication = Publication::of(&delivery.message);
        match write_publish(connection, pool, now, &publication, manner) {
            Written::Yes => {
                pumped.wrote = true;
                count_sent(metrics, delivery.qos, dup);
                if delivery.qos == QoS::AtMostOnce {
                    pumped.shares_done.extend(delivery.share.map(|share| *share));
                }
            }
            // The client is treated as if it had completed the message. [MQTT-3.1.2-25]
            Written::TooLarge => {
                metrics.dropped_too_large_total += 1;
                if let Some(packet_id) = packet_id {
                    seat.session.outbox.inflight.abandon(packet_id);
                }
                pumped.shares_done.extend(delivery.share.map(|share| *share));
            }
        }
    }
    metrics.dropped_expired_total += expired.len() as u64;
    pumped.shares_done.extend(expired.into_iter().filter_map(|d| d.share.map(|share| *share)));
    pumped
}

fn count_sent(metrics: &mut ShardMetrics, qos: QoS, dup: bool) {
    match (dup, qos) {
        (true, _) => metrics.publishes_resent_total += 1,
        (false, QoS::AtMostOnce) => metrics.publishes_sent_qos0_total += 1,
        (false, QoS::AtLeastOnce) => metrics.publishes_sent_qos1_total += 1,
        (false, QoS::ExactlyOnce) => metrics.publishes_sent_qos2_total += 1,
    }
}

/// Encodes a PUBLISH for one connection.
fn write_publish(
    connection: &mut Connection,
    pool: &mut super::BufferPool,
    now: Time,
    publication: &Publication<'_>,
    manner: Manner<'_>,
) -> Written {
    let Some(active) = connection.active_mut() else { return Written::Yes };
    let version = active.version;
    let packet_bytes_max = active.packet_bytes_max;
    let mut publish = Publish {
        dup: manner.dup,
        qos: manner.qos,
        retain: manner.retain,
        topic: TopicName::from_checked(publication.topic),
        packet_id: manner.packet_id,
        properties: PublishProperties::default(),
        payload: publication.payload,
    };
    if version == Version::V5 {
        publish.properties.forward = publication.properties;
        publish.properties.subscription_ids = SubscriptionIds::Plain(manner.subscription_ids);
        // [MQTT-3.3.2-6]
        if publication.expires != Time::NEVER {
            let left = publication.expires.since(now).as_micros().div_ceil(1_000_000);
            publish.properties.message_expiry_interval = u32::try_from(left).ok();
        }
    }
    let fits = |publish: &Publish<'_>| {
        packet_bytes_max == u32::MAX || publish.encoded_len(version) <= packet_bytes_max as usize
    };
    if !fits(&publish) {
        return Written::TooLarge;
    }
    if version == Version::V5
        && let Some((alias, known)) = active.aliases.outbound(publication.topic)
    {
        publish.properties.topic_alias = Some(alias);
        if known {
            publish.topic = TopicName::empty();
        } else if fits(&publish) {
            active.aliases.set_outbound(alias, publication.topic);
        } else {
            publish.properties.topic_alias = None;
        }
    }
    if publication.payload.len() >= SHARED_PAYLOAD_BYTES_MIN {
        publish.encode_head(version, connection.out.tail(pool));
        connection.out.push_shared(publication.keep().payload_bytes());
    } else {
        publish.encode(version, connection.out.tail(pool));
    }
    Written::Yes
}

fn queue_limits(mqtt: &Mqtt) -> QueueLimits {
    QueueLimits {
        messages_max: mqtt.queue_messages_max as usize,
        bytes_max: mqtt.queue_bytes_max,
        policy: mqtt.queue_policy,
    }
}

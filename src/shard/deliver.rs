//! Messages into sessions, and out of them into connections.

use std::sync::Arc;

use super::connection::{Active, Connection};
use super::effect::ConnectionId;
use super::journal::{Damaged, Journal, Waiter};
use super::limit::Limit;
use super::record::Step;
use super::witness::{Decision, Loss, Lost, Passage, Step as TraceStep, Why, Witness};
use super::{Key, Seat, Shard};
use crate::message::{Message, Publication};
use crate::metrics::ShardMetrics;
use crate::proto::{
    PacketId, PacketType, Publish, PublishProperties, QoS, SubscriptionIds, TopicName, Version,
};
use crate::session::{
    Body, Delivery, KeptId, QueueLimits, QueueMemory, SubscriptionIdSet, Transmit, packet_id,
};
use crate::storage::Sequence;
use crate::time::Time;

/// Payloads from this size on are written from where they are instead of being copied.
const SHARED_PAYLOAD_BYTES_MIN: usize = 8 << 10;

/// Bytes written out of queues before other things have their turn.
const PUMPED_BYTES_MAX: usize = 512 << 10;

/// How a session's subscriptions let it have a publication.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// The lower of the QoS published and granted. [MQTT-3.8.4-8]
    pub qos: QoS,
    /// The retain flag as it shall see it.
    pub retain: bool,
}

/// How a PUBLISH leaves, beside what its message says.
#[derive(Clone, Copy, Debug)]
struct Manner<'a> {
    qos: QoS,
    retain: bool,
    dup: bool,
    packet_id: Option<PacketId>,
    subscription_ids: &'a [u32],
}

impl From<&Manner<'_>> for Passage<'_> {
    fn from(manner: &Manner<'_>) -> Self {
        let Manner { qos, retain, dup, packet_id, .. } = *manner;
        Passage { qos, retain, dup, packet_id, detail: None }
    }
}

/// What a trace is told of a PUBLISH that was written.
const SENT: TraceStep = TraceStep::Sent(PacketType::Publish);

/// Whether a PUBLISH could be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Yes,
    /// It is longer than its client accepts. [MQTT-3.1.2-25]
    TooLarge,
    /// Its client may not read it, whose subscription reaches further.
    MayNot,
}

impl Shard {
    /// Delivers a publication to one session; `kept` is its record and its ordinal there, if the
    /// session may outlive the broker.
    pub(super) fn deliver(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        granted: Granted,
        subscription_ids: &[u32],
        kept: Option<(KeptId, u64)>,
    ) {
        let Granted { qos, retain } = granted;
        if qos == QoS::AtMostOnce {
            return self.deliver_at_most_once(now, key, publication, retain, subscription_ids);
        }
        if self.send_at_once(now, key, publication, granted, subscription_ids, kept) {
            return;
        }
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let (body, ordinal) = match kept {
            Some((id, ordinal)) => (Body::Kept(id), ordinal),
            None => {
                let ordinal = seat.session.outbox.next_ordinal();
                (Body::Held(Arc::clone(publication.keep())), ordinal)
            }
        };
        let delivery = Delivery {
            body,
            bytes: publication.bytes() as u32,
            ordinal,
            qos,
            retain,
            subscription_ids: SubscriptionIdSet::from_slice(subscription_ids),
            share: None,
        };
        self.offer(now, key, delivery);
    }

    /// Writes a QoS 1 or 2 message for a client that waits for nothing before it, without a stay
    /// in its queue; false if it has to wait after all.
    fn send_at_once(
        &mut self,
        now: Time,
        key: Key,
        publication: &Publication<'_>,
        granted: Granted,
        subscription_ids: &[u32],
        kept: Option<(KeptId, u64)>,
    ) -> bool {
        let Granted { qos, retain } = granted;
        let Some(seat) = self.sessions.get_mut(key) else { return false };
        let outbox = &mut seat.session.outbox;
        let Some(id) = seat.connection.filter(|_| outbox.is_caught_up()) else { return false };
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let Some(window) = connection.active_mut().map(|active| active.window) else {
            return false;
        };
        let ordinal = kept.map_or(outbox.last_ordinal() + 1, |(_, ordinal)| ordinal);
        if connection.out.bytes() >= self.policy.mqtt.outbox_bytes_max as usize
            || !outbox.inflight.has_room(window, ordinal)
            || publication.expires <= now
            // It is not durable yet.
            || (qos == QoS::ExactlyOnce && kept.is_some())
        {
            return false;
        }
        let packet_id = Some(packet_id(ordinal));
        let manner = Manner { qos, retain, dup: false, packet_id, subscription_ids };
        if write_publish(connection, &mut self.pool, now, publication, manner) != Written::Yes {
            return false;
        }
        if self.witness.traces.is_on() {
            let (client_id, passage) = (&seat.session.client_id, Passage::from(&manner));
            self.witness.passes(now, SENT, client_id, Some(connection), publication, passage);
        }
        outbox.skip_ordinals(ordinal);
        let body = match kept {
            Some((kept, _)) => Body::Kept(kept),
            None if seat.session.is_persistent()
                || self.policy.consults.events
                || self.witness.traces.follows_topics() =>
            {
                Body::Held(Arc::clone(publication.keep()))
            }
            None => Body::Written,
        };
        self.inflight_count += 1;
        seat.session.outbox.inflight.push(Delivery {
            body,
            bytes: publication.bytes() as u32,
            ordinal,
            qos,
            retain,
            subscription_ids: SubscriptionIdSet::from_slice(subscription_ids),
            share: None,
        });
        if kept.is_some() {
            seat.sent_through = ordinal;
            self.journal.progress(seat.number, ordinal, Step::Sent);
        }
        count_sent(&mut self.metrics, qos, false, publication.payload.len());
        self.mark_dirty(id);
        true
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
                body: Body::Held(Arc::clone(publication.keep())),
                bytes: publication.bytes() as u32,
                ordinal: seat.session.outbox.last_ordinal(),
                qos: QoS::AtMostOnce,
                retain,
                subscription_ids: SubscriptionIdSet::from_slice(subscription_ids),
                share: None,
            };
            return self.offer(now, key, delivery);
        }
        let Some(id) = seat.connection else {
            self.metrics.dropped_away_total += 1;
            return self.lose_at_most_once(key, publication, Why::Away);
        };
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.out.bytes() >= self.policy.mqtt.outbox_bytes_max as usize {
            self.metrics.dropped_outbox_full_total += 1;
            return self.lose_at_most_once(key, publication, Why::OutboxFull);
        }
        let manner =
            Manner { qos: QoS::AtMostOnce, retain, dup: false, packet_id: None, subscription_ids };
        match write_publish(connection, &mut self.pool, now, publication, manner) {
            Written::Yes => {
                let bytes = publication.payload.len();
                count_sent(&mut self.metrics, QoS::AtMostOnce, false, bytes);
                if self.witness.traces.is_on() {
                    let (client_id, passage) = (&seat.session.client_id, Passage::from(&manner));
                    let connection = Some(&*connection);
                    self.witness.passes(now, SENT, client_id, connection, publication, passage);
                }
                self.mark_dirty(id);
            }
            // As if it had not subscribed to it.
            Written::MayNot => {}
            Written::TooLarge => {
                self.metrics.dropped_too_large_total += 1;
                self.lose_at_most_once(key, publication, Why::TooLarge);
            }
        }
    }

    /// Put together here, so that those who get a message do not pay for it.
    #[cold]
    fn lose_at_most_once(&mut self, key: Key, publication: &Publication<'_>, why: Why) {
        self.lose(key, Lost::from(publication).at(QoS::AtMostOnce), why);
    }

    /// Puts a message into a session's queue and sends what may be sent.
    pub(super) fn offer(&mut self, now: Time, key: Key, delivery: Delivery) {
        let is_traced = self.witness.traces.is_on();
        let traced = match is_traced {
            true => self.journal.in_memory(&delivery.body).cloned(),
            false => None,
        };
        let qos = delivery.qos;
        let Some(seat) = self.sessions.get(key) else { return };
        let limits = self.queue_limits_of(seat, u64::from(delivery.bytes));
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let dropped = seat.session.outbox.offer(delivery, limits, &mut self.queue_memory);
        // Who waits behind others is sent when they are.
        let is_next = seat.connection.is_some() && seat.session.outbox.queued() <= 1;
        if !dropped.is_empty() {
            self.queue_was_full(key, &dropped);
        }
        match traced {
            Some(message) => self.trace_queued(now, key, &message, qos),
            None if is_traced => self.trace_session(
                now,
                key,
                Decision::Queued,
                "a message that lies in the log alone: it is not read to be told of",
            ),
            None => {}
        }
        if is_next {
            self.pump(now, key);
        }
    }

    #[cold]
    fn queue_was_full(&mut self, key: Key, dropped: &[Delivery]) {
        let Some(seat) = self.sessions.get(key) else { return };
        let client_id = Arc::clone(&seat.session.client_id);
        let limit = match self.queue_memory.bytes() * 2 > self.queue_limits().memory_bytes_max {
            true => Limit::QueueMemory,
            false => Limit::Queue,
        };
        self.reached(limit, format_args!("messages for client {client_id:?} are dropped"));
        for delivery in dropped {
            self.metrics.dropped_queue_full_total += 1;
            // What lies in the log alone is not read to be told of.
            let message = self.journal.in_memory(&delivery.body).cloned();
            let topic = message.as_ref().map_or("", |message| message.topic());
            let lost = Lost { topic, qos: delivery.qos, bytes: delivery.bytes as usize };
            self.lose(key, lost, Why::QueueFull);
            self.delivery_over(key, delivery);
        }
    }

    /// Whether somebody who is to get a message of so many bytes has no room for it, and its
    /// publisher is to be told.
    pub(super) fn is_refused_by(&self, key: Key, bytes: u64) -> bool {
        self.sessions.get(key).is_some_and(|seat| {
            seat.session.outbox.is_full(bytes, self.queue_limits_of(seat, bytes))
        })
    }

    /// The limits of a session's queue for a message of so many bytes. One that only passes through
    /// is held to the memory of all queues alone.
    fn queue_limits_of(&self, seat: &Seat, bytes: u64) -> QueueLimits {
        let mut limits = self.queue_limits();
        limits.messages_max = limits.messages_max.min(seat.queue_messages_max as usize);
        if seat.session.outbox.is_full(bytes, limits) && self.has_window(seat) {
            (limits.messages_max, limits.bytes_max) = (usize::MAX, u64::MAX);
        }
        limits
    }

    /// Whether a client is there and its window has room behind all that waits for it: nothing but
    /// this shard's log, or its turn, keeps that from being sent.
    fn has_window(&self, seat: &Seat) -> bool {
        let outbox = &seat.session.outbox;
        let connection = self.connections.of(seat);
        connection.is_some_and(|connection| {
            let window = connection.active().map_or(0, |active| usize::from(active.window));
            connection.out.bytes() < self.mqtt().outbox_bytes_max as usize
                && outbox.inflight.len() + outbox.queued() < window
        })
    }

    pub(super) fn queue_limits(&self) -> QueueLimits {
        let mqtt = self.mqtt();
        QueueLimits {
            messages_max: mqtt.queue_messages_max as usize,
            bytes_max: mqtt.queue_bytes_max,
            memory_bytes_max: mqtt.queue_memory_bytes_max / self.count as u64,
            policy: mqtt.queue_policy,
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
        if self.pumped_bytes >= PUMPED_BYTES_MAX {
            if !seat.waits_to_pump {
                seat.waits_to_pump = true;
                self.unpumped.push_back(key);
            }
            return;
        }
        let before = connection.out.bytes();
        let budget = before + PUMPED_BYTES_MAX - self.pumped_bytes;
        let outbox_bytes_max = budget.min(self.policy.mqtt.outbox_bytes_max as usize);
        let mut pumped = Pumped::default();
        let journal = &self.journal;
        let inflight = seat.session.outbox.inflight.len();
        pump_into(
            Pump {
                now,
                outbox_bytes_max,
                journal,
                metrics: &mut self.metrics,
                memory: &mut self.queue_memory,
                witness: &mut self.witness,
            },
            seat,
            connection,
            &mut self.pool,
            &mut pumped,
        );
        self.inflight_count += seat.session.outbox.inflight.len();
        self.inflight_count -= inflight;
        if seat.session.outbox.is_caught_up()
            && let Some(active) = connection.active_mut()
        {
            active.sifts = active.sifts_on;
        }
        self.pumped_bytes += connection.out.bytes() - before;
        let is_over = self.pumped_bytes >= PUMPED_BYTES_MAX;
        if pumped.wrote {
            self.mark_dirty(id);
        }
        for damaged in std::mem::take(&mut pumped.damaged) {
            self.found_damage(damaged);
        }
        self.note_pumped(key, pumped);
        if is_over {
            // Stands in line for what is left.
            self.pump(now, key);
        }
    }

    /// Goes on with the sessions whose turn was over before their queues were.
    pub(super) fn pump_on(&mut self, now: Time) {
        self.pumped_bytes = 0;
        for _ in 0..self.unpumped.len() {
            let Some(key) = self.unpumped.pop_front() else { return };
            if let Some(seat) = self.sessions.get_mut(key) {
                seat.waits_to_pump = false;
                self.pump(now, key);
            }
        }
    }

    /// Remembers what a pump did, as far as it must outlive the broker.
    fn note_pumped(&mut self, key: Key, pumped: Pumped) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        if pumped.sent_through > seat.sent_through {
            seat.sent_through = pumped.sent_through;
            self.journal.progress(seat.number, pumped.sent_through, Step::Sent);
        }
        if let Some(sequence) = pumped.waits_for
            && !seat.waits_for_log
        {
            seat.waits_for_log = true;
            self.journal.wait(sequence, Waiter::Session(key));
        }
        for delivery in pumped.over {
            self.delivery_over(key, &delivery);
        }
    }

    /// A message is over for a session: delivered, dropped or expired.
    pub(super) fn delivery_over(&mut self, key: Key, delivery: &Delivery) {
        if let Body::Kept(_) = delivery.body {
            if let Some(seat) = self.sessions.get(key) {
                self.journal.progress(seat.number, delivery.ordinal, Step::Done);
            }
            self.journal.release(&delivery.body);
        }
        self.share_done(key, delivery.share.as_deref());
    }
}

/// What a pump did.
#[derive(Debug, Default)]
struct Pumped {
    wrote: bool,
    /// Messages that are over: shared ones sent at QoS 0, expired ones, those too large, those
    /// that are damaged.
    over: Vec<Delivery>,
    damaged: Vec<Damaged>,
    /// The last message it sent.
    sent_through: u64,
    /// The queue waits for this to be durable.
    waits_for: Option<Sequence>,
}

/// What a pump needs to know.
struct Pump<'a> {
    now: Time,
    outbox_bytes_max: usize,
    journal: &'a Journal,
    metrics: &'a mut ShardMetrics,
    memory: &'a mut QueueMemory,
    witness: &'a mut Witness,
}

impl Pump<'_> {
    /// A message that is not sent after all.
    #[cold]
    fn lose(&mut self, seat: &Seat, connection: &Connection, message: &Message, why: Why) {
        let loss = Loss {
            publisher: None,
            receiver: Some(&seat.session.client_id),
            connection: Some(connection),
            lost: message.into(),
            why,
            detail: None,
        };
        self.witness.lost(self.now, loss);
    }
}

/// A QoS 2 message that outlives the broker must not be sent before it does: it could be sent
/// again under another packet identifier. Expired ones go at once.
fn may_send(journal: &Journal, delivery: &Delivery) -> bool {
    delivery.qos < QoS::ExactlyOnce || journal.is_kept_durably(&delivery.body)
}

fn pump_into(
    mut pump: Pump<'_>,
    seat: &mut Seat,
    connection: &mut Connection,
    pool: &mut super::BufferPool,
    pumped: &mut Pumped,
) {
    let Some(window) = connection.active_mut().map(|active| active.window) else { return };
    while connection.out.bytes() < pump.outbox_bytes_max {
        let outbox = &mut seat.session.outbox;
        let journal = pump.journal;
        let Some(transmit) = outbox.poll_transmit(window, pump.memory, |delivery| {
            let may = may_send(journal, delivery);
            if !may {
                pumped.waits_for = journal.sequence_of(&delivery.body);
            }
            may
        }) else {
            return;
        };
        let (untracked, packet_id, dup) = match transmit {
            Transmit::AtMostOnce(delivery) => (Some(delivery), None, false),
            Transmit::Tracked { packet_id, dup } => (None, Some(packet_id), dup),
            Transmit::PubRel(packet_id) => {
                super::acknowledge::write_pubrel(connection, pool, packet_id);
                if pump.witness.traces.is_on() {
                    let client_id = &seat.session.client_id;
                    pump.witness.releases(pump.now, client_id, connection, packet_id);
                }
                pumped.wrote = true;
                continue;
            }
        };
        let session = &seat.session;
        let tracked = packet_id.and_then(|packet_id| session.outbox.inflight.sent(packet_id));
        let Some(delivery) = untracked.as_ref().or(tracked) else { return };
        let read;
        let message = match journal.in_memory(&delivery.body) {
            Some(message) => message,
            None => {
                match journal.load(&delivery.body) {
                    Ok(message) => read = message,
                    Err(damaged) => {
                        pumped.damaged.push(damaged);
                        pumped.over.extend(untracked.or_else(|| abandon(seat, packet_id)));
                        continue;
                    }
                }
                &read
            }
        };
        // [MQTT-3.3.2-5]: what was sent before is sent again, however old.
        if message.expires <= pump.now && !dup {
            pump.metrics.dropped_expired_total += 1;
            pump.lose(seat, connection, message, Why::Expired);
            pumped.over.extend(untracked.or_else(|| abandon(seat, packet_id)));
            continue;
        }
        let manner = Manner {
            qos: delivery.qos,
            retain: delivery.retain,
            dup,
            packet_id,
            subscription_ids: delivery.subscription_ids.as_slice(),
        };
        let publication = Publication::of(message);
        match write_publish(connection, pool, pump.now, &publication, manner) {
            Written::Yes => {
                pumped.wrote = true;
                count_sent(pump.metrics, delivery.qos, dup, publication.payload.len());
                if pump.witness.traces.is_on() {
                    let (client_id, passage) = (&session.client_id, Passage::from(&manner));
                    let (now, connection) = (pump.now, Some(&*connection));
                    pump.witness.passes(now, SENT, client_id, connection, &publication, passage);
                }
                if matches!(delivery.body, Body::Kept(_)) && packet_id.is_some() {
                    pumped.sent_through = delivery.ordinal;
                }
                pumped.over.extend(untracked);
            }
            // As if it had not subscribed to it.
            Written::MayNot => {
                pumped.over.extend(untracked.or_else(|| abandon(seat, packet_id)));
            }
            // The client is treated as if it had completed the message. [MQTT-3.1.2-25]
            Written::TooLarge => {
                pump.metrics.dropped_too_large_total += 1;
                pump.lose(seat, connection, message, Why::TooLarge);
                pumped.over.extend(untracked.or_else(|| abandon(seat, packet_id)));
            }
        }
    }
}

fn abandon(seat: &mut Seat, packet_id: Option<PacketId>) -> Option<Delivery> {
    seat.session.outbox.inflight.abandon(packet_id?)
}

fn count_sent(metrics: &mut ShardMetrics, qos: QoS, dup: bool, payload_bytes: usize) {
    metrics.publish_sent_bytes_total += payload_bytes as u64;
    match (dup, qos) {
        (true, _) => metrics.publishes_resent_total += 1,
        (false, QoS::AtMostOnce) => metrics.publishes_sent_qos0_total += 1,
        (false, QoS::AtLeastOnce) => metrics.publishes_sent_qos1_total += 1,
        (false, QoS::ExactlyOnce) => metrics.publishes_sent_qos2_total += 1,
    }
}

/// Whether a client may read a message of a subscription that reaches further.
#[cold]
fn may_read(active: &Active, topic: &str) -> bool {
    active.grants.as_deref().is_none_or(|grants| grants.may_read(topic))
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
    if active.sifts && !may_read(active, publication.topic) {
        return Written::MayNot;
    }
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
        // [MQTT-3.3.2-6]: to the nearest second, as clocks of shards are not quite the same.
        if publication.expires != Time::NEVER {
            let left = (publication.expires.since(now).as_micros() + 500_000) / 1_000_000;
            publish.properties.message_expiry_interval = u32::try_from(left.max(1)).ok();
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
        }
        // An alias takes more room than a topic of two bytes. [MQTT-3.1.2-24]
        if !fits(&publish) {
            publish.topic = TopicName::from_checked(publication.topic);
            publish.properties.topic_alias = None;
        } else if !known {
            active.aliases.set_outbound(alias, publication.topic);
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

//! PUBLISH: a message is taken or refused, and handed to whom it is for.

use std::sync::Arc;

use super::announce::is_own;
use super::connection::Pause;
use super::consult::{Consulting, Event, Question};
use super::effect::{ConnectionId, Output};
use super::limit::Limit;
use super::owed::Owed;
use super::route::{Intake, Origin, Refusal};
use super::ruling::{Act, May};
use super::spread::Spread;
use super::witness::{Lost, Why};
use super::{Key, Shard, bit};
use crate::config::RefusedPublish;
use crate::message::Publication;
use crate::proto::{ForwardProperties, PacketId, PacketType, Property, Publish, QoS, ReasonCode};
use crate::time::Time;

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

    pub(super) fn count_refusal(&mut self, refusal: Refusal) {
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
}

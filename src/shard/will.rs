//! Wills: published at once, or once whoever is asked about messages has allowed it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::consult::{Client, Question, Replacement};
use super::effect::{ConnectionId, Output};
use super::route::Origin;
use super::ruling::{Act, RuleQuestion};
use super::witness::{Decision, Why};
use super::{Key, Shard};
use crate::auth::Grants;
use crate::message::{Message, Publication};
use crate::proto::{Connect, ReasonCode, TopicName};
use crate::time::Time;

/// Who left a will.
#[derive(Debug, Default)]
pub(super) enum WillAuthor {
    /// A client of an earlier life of the broker: its client id is known alone.
    #[default]
    Unknown,
    /// Somebody about whom nobody is asked.
    Trusted,
    /// This client; what is asked is empty where rules have decided.
    Known(Box<RuleQuestion>),
    /// Somebody who is gone: it is asked about.
    Asked(Key),
}

/// A will that somebody is asked about.
#[derive(Debug)]
pub struct PendingWill {
    session: Key,
    origin: Origin,
    client: Client,
    message: Arc<Message>,
    message_expiry_interval: Option<u32>,
}

impl Shard {
    /// Notes who leaves a will, if somebody is to be asked about it when it is due.
    pub(super) fn note_will(&mut self, id: ConnectionId, key: Key, connect: &Connect<'_>) {
        let is_asked = self.policy.consults.publish || self.policy.rule_service.is_some();
        let author = match &connect.will {
            Some(will) if is_asked && !self.is_local(id) => {
                let active = self.connections.get(id).and_then(|c| c.active());
                let grants = active.and_then(|active| active.grants.as_deref());
                let topic = will.topic.as_str();
                let may_publish =
                    |grants: &Grants| grants.may_publish(topic, will.qos, will.retain);
                let seat = self.sessions.get(key);
                let left = seat.and_then(|seat| seat.session.will.as_ref());
                let acts = match (left, grants.is_some_and(may_publish)) {
                    (Some(left), false) => vec![Act::publish(&left.message)],
                    _ => Vec::new(),
                };
                self.rule_question(id, acts).map(|question| WillAuthor::Known(Box::new(question)))
            }
            _ => None,
        };
        if let Some(seat) = self.sessions.get_mut(key) {
            seat.will_author = author.unwrap_or(WillAuthor::Trusted);
        }
    }

    /// Publishes the will of a session, if there is one. Returns whether somebody is asked about it
    /// first: until there is an answer the session has it, and so has the log.
    pub(super) fn publish_will(&mut self, now: Time, key: Key) -> bool {
        let Some(seat) = self.sessions.get_mut(key) else { return false };
        if matches!(seat.will_author, WillAuthor::Asked(_)) {
            return true;
        }
        let Some(will) = &seat.session.will else { return false };
        let message_expiry_interval = will.message_expiry_interval;
        let message = Arc::clone(&will.message);
        let origin = self.origin(key);
        let Some(question) = self.will_question(key, &message) else {
            if let Some(seat) = self.sessions.get_mut(key) {
                seat.session.will = None;
            }
            let publication = Publication::of(&message);
            self.send_will(now, key, publication, message_expiry_interval, origin);
            self.note_will_published(now, key);
            return false;
        };
        let client = question.client.clone();
        let pending =
            PendingWill { session: key, origin, client, message, message_expiry_interval };
        let ticket = self.wills.insert(pending);
        if let Some(seat) = self.sessions.get_mut(key) {
            seat.will_author = WillAuthor::Asked(ticket);
        }
        let connection = ConnectionId::NOBODY;
        if question.acts.is_empty() {
            self.consult_will(ticket);
        } else {
            let question = Box::new(RuleQuestion { will: Some(ticket), ..question });
            self.outputs.push_back(Output::AskRules { connection, question });
        }
        true
    }

    /// What is asked about a will before it is published; nothing if nobody is asked.
    fn will_question(&mut self, key: Key, message: &Message) -> Option<RuleQuestion> {
        let asks_service = self.policy.rule_service.is_some();
        let asks_hook = self.policy.consults.publish;
        if !asks_service && !asks_hook {
            return None;
        }
        let seat = self.sessions.get_mut(key)?;
        let mut question = match std::mem::take(&mut seat.will_author) {
            WillAuthor::Trusted => return None,
            WillAuthor::Known(question) => *question,
            WillAuthor::Unknown | WillAuthor::Asked(_) => RuleQuestion {
                client: Client {
                    client_id: Arc::clone(&seat.session.client_id),
                    user: None,
                    address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                },
                listener: "".into(),
                common_name: None,
                acts: Arc::new([Act::publish(message)]),
                will: None,
            },
        };
        if !asks_service {
            question.acts = Arc::default();
        }
        (asks_hook || !question.acts.is_empty()).then_some(question)
    }

    /// Lets a hook be asked about a will.
    fn consult_will(&mut self, ticket: Key) {
        let Some(pending) = self.wills.get_mut(ticket) else { return };
        let (client, message) = (pending.client.clone(), Arc::clone(&pending.message));
        let question = Question::Will(message, ticket);
        self.outputs.push_back(Output::Consult {
            connection: ConnectionId::NOBODY,
            client,
            question,
        });
    }

    /// The service has answered about a will.
    pub(super) fn handle_will_ruling(&mut self, now: Time, ticket: Key, is_allowed: bool) {
        match is_allowed {
            true if self.policy.consults.publish => self.consult_will(ticket),
            true => self.handle_will_advice(now, ticket, Ok(None)),
            false => self.handle_will_advice(now, ticket, Err(ReasonCode::NotAuthorized)),
        }
    }

    /// A will is published as it is, as another message, or not at all, and its session ends if it
    /// waited for that alone.
    pub(super) fn handle_will_advice(
        &mut self,
        now: Time,
        ticket: Key,
        advice: Result<Option<Replacement>, ReasonCode>,
    ) {
        let Some(pending) = self.wills.remove(ticket) else { return };
        let key = pending.session;
        // A client that came back meanwhile may have left another, which is not published by this,
        // asked about or not.
        let is_last =
            |author: &WillAuthor| matches!(author, WillAuthor::Asked(it) if *it == ticket);
        let seat = self.sessions.get_mut(key).filter(|seat| is_last(&seat.will_author));
        let is_last = seat.is_some();
        if let Some(seat) = seat {
            (seat.session.will, seat.will_author) = (None, WillAuthor::default());
            self.note_will_published(now, key);
        }
        self.publish_advised(now, pending, advice);
        if is_last {
            self.check_session(now, key);
        }
    }

    fn publish_advised(
        &mut self,
        now: Time,
        pending: PendingWill,
        advice: Result<Option<Replacement>, ReasonCode>,
    ) {
        let PendingWill { session, mut origin, client, message, message_expiry_interval } = pending;
        if self.sessions.get(session).is_none() {
            // Its place may be another session's by now.
            origin.session = None;
        }
        let refused = match &advice {
            Err(reason) => Some(*reason),
            Ok(Some(other)) if TopicName::new(&other.topic).is_err() => {
                Some(ReasonCode::TopicNameInvalid)
            }
            Ok(_) => None,
        };
        if let Some(reason) = refused {
            self.metrics.publishes_not_allowed_total += 1;
            tracing::info!(client_id = %client.client_id, %reason, "a will is not published");
            let why = Some(reason.to_string().into());
            self.lose_all(Some(session), (&*message).into(), Why::Refused, why);
            return;
        }
        match &advice {
            Ok(Some(Replacement { topic, payload, qos })) => {
                let properties = message.properties();
                let mut publication =
                    Publication::new(topic, properties, payload, *qos, Time::NEVER);
                publication.retain = message.retain;
                self.send_will(now, session, publication, message_expiry_interval, origin);
            }
            _ => {
                let publication = Publication::of(&message);
                self.send_will(now, session, publication, message_expiry_interval, origin);
            }
        }
    }

    fn send_will(
        &mut self,
        now: Time,
        session: Key,
        will: Publication<'_>,
        expiry_interval: Option<u32>,
        origin: Origin,
    ) {
        self.metrics.wills_published_total += 1;
        if self.witness.traces.is_on() {
            self.trace_session(now, session, Decision::WillPublished, will.topic);
        }
        let expires = self.expires(now, expiry_interval);
        let mut publication =
            Publication::new(will.topic, will.properties, will.payload, will.qos, expires);
        publication.retain = will.retain;
        self.publish(now, &mut publication, origin, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Connect, QoS, Version, Will};
    use crate::shard::consult::{Advice, Consults};
    use crate::shard::fixture::{self, NOW};
    use crate::shard::{Input, Policy};

    /// The tickets of wills that are asked about, and the CONNACKs.
    fn told(shard: &mut Shard) -> (Vec<Key>, Vec<Vec<u8>>) {
        let (mut tickets, mut connacks) = (Vec::new(), Vec::new());
        while let Some(output) = shard.poll() {
            match output {
                Output::Consult { question: Question::Will(_, ticket), .. } => tickets.push(ticket),
                Output::Write { batch, .. } | Output::Close { last: batch, .. } => {
                    connacks.extend(batch.slices().map(<[u8]>::to_vec));
                }
                _ => {}
            }
        }
        (tickets, connacks)
    }

    #[test]
    fn a_session_whose_will_is_asked_about_ends_with_the_answer() {
        let mut shard = fixture::shard(1, None);
        let consults = Consults { publish: true, ..Consults::default() };
        shard.policy = Arc::new(Policy { consults, ..Policy::default() });
        let will = Will {
            topic: TopicName::new("gone").expect("a topic"),
            qos: QoS::AtMostOnce,
            retain: false,
            delay_interval: 0,
            properties: Default::default(),
            payload: b"w",
        };
        let mut connect = Connect::new(Version::V5, "ann");
        connect.clean_start = false;
        connect.session_expiry_interval = Some(10);
        connect.will = Some(will);
        let later = NOW.after_seconds(20);
        let mut generation = 0;
        let mut leave = |shard: &mut Shard, disconnect: &[u8]| {
            generation += 1;
            let connection = ConnectionId { slot: 0, generation };
            fixture::connect(shard, connection, &connect, disconnect);
            let (mut tickets, connacks) = told(shard);
            if disconnect.is_empty() {
                shard.handle(NOW, Input::Closed { connection });
                tickets = told(shard).0;
            }
            assert_eq!(tickets.len(), 1, "it is asked about once");
            (tickets[0], connacks[0][2])
        };
        let published = |shard: &Shard| shard.metrics().wills_published_total;

        let (ticket, _) = leave(&mut shard, &[]);
        shard.handle(later, Input::Timeout);
        assert_eq!(shard.session_count(), 1, "the log has the will as long as the session");
        assert_eq!(shard.poll_timeout().filter(|at| *at <= later), None);
        let advice = Advice::Will(ticket, Ok(None));
        shard.handle(later, Input::Advice { connection: ConnectionId::NOBODY, advice });
        assert_eq!((published(&shard), shard.session_count()), (1, 0));

        // Who comes back meanwhile finds no session that is over.
        let end_session = [0xE0, 7, 4, 5, 17, 0, 0, 0, 0];
        let (ticket, _) = leave(&mut shard, &end_session);
        assert_eq!(shard.session_count(), 1);
        let (_, session_present) = leave(&mut shard, &end_session);
        assert_eq!((session_present, shard.session_count()), (0, 1));
        let advice = Advice::Will(ticket, Ok(None));
        shard.handle(NOW, Input::Advice { connection: ConnectionId::NOBODY, advice });
        assert_eq!((published(&shard), shard.session_count()), (2, 1), "the other is asked about");
    }
}

//! Wills: judged by the rules in force when they are due, and published at once, or once whoever is
//! asked about messages has allowed it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::consult::{Client, Question, Replacement};
use super::effect::{ConnectionId, Output, Peer};
use super::route::Origin;
use super::ruling::{Act, RuleQuestion};
use super::witness::{Decision, Why};
use super::{Key, Shard};
use crate::auth::Identity;
use crate::message::{Message, Publication};
use crate::proto::{ReasonCode, TopicName, Version};
use crate::time::Time;

/// Who left a will.
#[derive(Debug, Default)]
pub(super) enum WillAuthor {
    /// A client of an earlier life of the broker: its client id is known, and maybe its user.
    #[default]
    Unknown,
    /// Somebody within the process, who may do everything.
    Trusted,
    /// This client.
    Known(Box<Author>),
    /// Somebody who is gone: it is asked about.
    Asked(Key),
}

/// What the rules and whoever is asked have to know of a client that is gone.
#[derive(Debug)]
pub(super) struct Author {
    identity: Option<Arc<Identity>>,
    peer: Peer,
    common_name: Option<Box<str>>,
    version: Version,
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
    /// Notes who leaves a will: it is judged again when it is due.
    pub(super) fn note_will(&mut self, id: ConnectionId, key: Key) {
        let is_local = self.is_local(id);
        let Some(connection) = self.connections.get(id) else { return };
        let Some(active) = connection.active() else { return };
        let Some(seat) = self.sessions.get_mut(key) else { return };
        seat.will_author = match seat.session.will {
            Some(_) if !is_local => WillAuthor::Known(Box::new(Author {
                identity: active.identity.clone(),
                peer: connection.peer,
                common_name: connection.common_name().map(Box::from),
                version: active.version,
            })),
            _ => WillAuthor::Trusted,
        };
    }

    /// Publishes the will of a session, if there is one and the rules still allow it. Returns
    /// whether somebody is asked about it first: until there is an answer the session has it, and
    /// so has the log.
    pub(super) fn publish_will(&mut self, now: Time, key: Key) -> bool {
        let Some(seat) = self.sessions.get_mut(key) else { return false };
        if matches!(seat.will_author, WillAuthor::Asked(_)) {
            return true;
        }
        let Some(will) = &seat.session.will else { return false };
        let message_expiry_interval = will.message_expiry_interval;
        let message = Arc::clone(&will.message);
        let author = std::mem::take(&mut seat.will_author);
        let client = self.will_client(key, &author);
        let origin = self.origin(key);
        let judged = self.judge_due_will(&author, &client, key, &message);
        let pending = PendingWill {
            session: key,
            origin,
            client: client.clone(),
            message,
            message_expiry_interval,
        };
        let acts = match judged {
            Ok(acts) if self.is_asked_about_will(&author, &acts) => acts,
            judged => {
                if let Some(seat) = self.sessions.get_mut(key) {
                    seat.session.will = None;
                }
                self.publish_advised(now, pending, judged.map(|_| None));
                self.note_will_published(now, key);
                return false;
            }
        };
        let ticket = self.wills.insert(pending);
        if let Some(seat) = self.sessions.get_mut(key) {
            seat.will_author = WillAuthor::Asked(ticket);
        }
        if acts.is_empty() {
            self.consult_will(ticket);
            return true;
        }
        let (listener, common_name) = match author {
            WillAuthor::Known(author) => {
                (self.policy.listener_name(author.peer.listener).into(), author.common_name)
            }
            _ => ("".into(), None),
        };
        let will = Some(ticket);
        let question = RuleQuestion { client, listener, common_name, acts: acts.into(), will };
        let question = Box::new(question);
        self.outputs.push_back(Output::AskRules { connection: ConnectionId::NOBODY, question });
        true
    }

    /// Who left a will, for those who are asked and for the log.
    fn will_client(&self, key: Key, author: &WillAuthor) -> Client {
        let seat = self.sessions.get(key);
        let client_id = seat.map_or_else(|| "".into(), |seat| Arc::clone(&seat.session.client_id));
        match author {
            WillAuthor::Known(author) => {
                let user = author.identity.as_ref().and_then(|identity| identity.user.clone());
                Client { client_id, user, address: author.peer.address }
            }
            _ => {
                let user = seat.and_then(|seat| seat.last_user.clone()).flatten();
                Client { client_id, user, address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) }
            }
        }
    }

    /// Whether the rules in force let a will be published that is due, and what of it they leave to
    /// the service. Of a client of an earlier life nobody knows where it came from, in which groups
    /// it was or what was allowed to it alone: what surely is denied to it is denied.
    fn judge_due_will(
        &self,
        author: &WillAuthor,
        client: &Client,
        key: Key,
        message: &Message,
    ) -> Result<Vec<Act>, ReasonCode> {
        let (topic, qos, retain) = (message.topic(), message.qos, message.retain);
        let is_granted = match author {
            WillAuthor::Trusted => true,
            WillAuthor::Known(author) => {
                let Author { identity, peer, common_name, version } = &**author;
                let (identity, common_name) = (identity.as_deref(), common_name.as_deref());
                let standing =
                    self.standing_of(*peer, common_name, *version, identity, &client.client_id);
                self.judge_will(false, &standing, (topic, qos, retain))?;
                standing.grants.is_some_and(|grants| grants.may_publish(topic, qos, retain))
            }
            WillAuthor::Unknown | WillAuthor::Asked(_) => {
                let user = self.sessions.get(key).and_then(|seat| seat.last_user.as_ref());
                let user = user.map(|user| user.as_deref());
                let denied = self.policy.rules.sure_denials(user, &client.client_id);
                if denied.denies_publish(topic) {
                    return Err(ReasonCode::NotAuthorized);
                }
                false
            }
        };
        let is_open = self.policy.rule_service.is_some() && !is_granted;
        Ok(if is_open { vec![Act::publish(message)] } else { Vec::new() })
    }

    /// Whether somebody is asked about a will, the service about these acts.
    fn is_asked_about_will(&self, author: &WillAuthor, acts: &[Act]) -> bool {
        let is_trusted = matches!(author, WillAuthor::Trusted);
        !acts.is_empty() || (self.policy.consults.publish && !is_trusted)
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
    use crate::proto::{Connect, QoS, Will};
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

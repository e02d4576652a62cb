//! What a program that embeds the broker is asked before a packet is acted on, and told after.
//!
//! Whoever is asked takes its time: the connection it is asked about is not read from meanwhile,
//! so its order is kept, and nobody else waits. A client that hangs up meanwhile had said what it
//! said: it is acted on before the end. A connection that the broker ends, for a newer one of the
//! same client say, takes its question along; its message is not acknowledged, and is sent again.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection::Pause;
use super::effect::{ConnectionId, Listener, Output};
use super::owed::Owed;
use super::witness::Why;
use super::{Key, Shard};
use crate::message::{Message, Publication};
use crate::proto::{
    PacketId, QoS, ReasonCode, Subscribe, SubscribeFilters, SubscriptionOptions, TopicName,
    UserProperties, Version,
};
use crate::time::Time;

/// What is asked and told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consults {
    /// Before a message is taken.
    pub publish: bool,
    /// Before subscriptions are made.
    pub subscribe: bool,
    /// Before the acknowledgement of a message that was taken.
    pub published: bool,
    /// Afterwards, of everything.
    pub events: bool,
}

/// Who may get a message, as a program that embeds the broker sees it.
#[derive(Clone)]
pub struct Forward(pub Arc<MayGet>);

/// Says of a receiver whether it may get a message.
pub type MayGet = dyn Fn(Receiver<'_>, &Publication<'_>) -> bool + Send + Sync;

impl Forward {
    /// Whether a member of a shared group may get a message.
    pub(super) fn allows(&self, name: Option<&Name>, publication: &Publication<'_>) -> bool {
        let Some(Name { client_id, user, is_local }) = name else { return false };
        *is_local || (self.0)(Receiver { client_id, user: user.as_deref() }, publication)
    }
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forward(..)")
    }
}

/// A session that a message is for, connected or away.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// The user its client proved to be, while it is connected.
    pub user: Option<&'a str>,
}

/// Who a session is for, told to the shards of its shared groups where somebody is asked about
/// receivers.
#[derive(Clone, Debug)]
pub struct Name {
    /// Its client id.
    pub client_id: Arc<str>,
    /// The user its client proved to be.
    pub user: Option<Box<str>>,
    /// Whether it is a client within the process, which gets everything.
    pub is_local: bool,
}

/// A client that something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its client id.
    pub client_id: Arc<str>,
    /// The user it proved to be.
    pub user: Option<Box<str>>,
    /// Where it comes from.
    pub address: SocketAddr,
}

/// A question about a client.
#[derive(Clone, Debug)]
pub enum Question {
    /// It publishes this message.
    Publish(Arc<Message>),
    /// It subscribes to these filters, `$share/...` included, at these QoS.
    Subscribe(Vec<(Box<str>, QoS)>),
    /// It published this message; the acknowledgement waits.
    Published(Arc<Message>, Key),
    /// It left this will, which is due.
    Will(Arc<Message>, Key),
}

/// What is said to a [`Question`], or to a [`super::RuleQuestion`].
#[derive(Clone, Debug)]
pub enum Advice {
    /// The message goes on, or another in its place, or it is refused.
    Publish(Result<Option<Replacement>, ReasonCode>),
    /// The QoS of each filter, or why it is refused; one that is missing is refused.
    Subscribe(Vec<Result<QoS, ReasonCode>>),
    /// The acknowledgement may be sent.
    Published(Key),
    /// The will is published, or another message in its place, or none.
    Will(Key, Result<Option<Replacement>, ReasonCode>),
    /// Which acts are allowed of a packet, or of a will.
    Ruled {
        /// The will, if it is one.
        will: Option<Key>,
        /// In the order of the question; what is missing is not.
        allowed: Vec<bool>,
    },
}

/// What is published in place of a message; its other properties stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: bytes::Bytes,
    /// The QoS it is handed on with; its publisher is acknowledged as it asked to be.
    pub qos: QoS,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client is let in.
    Connected(Client),
    /// Its connection is over; the reason if one was given.
    Disconnected(Client, Option<ReasonCode>),
    /// It subscribed to a filter, at this QoS.
    Subscribed(Client, Box<str>, QoS),
    /// It ended a subscription.
    Unsubscribed(Client, Box<str>),
    /// It published a message, which was taken.
    Published(Client, Arc<Message>),
    /// It acknowledged a message of QoS 1 or 2.
    Delivered(Client, Arc<Message>),
}

/// A packet that waits for advice.
#[derive(Debug)]
pub enum Consulting {
    /// A message, and its acknowledgement.
    Publish(Arc<Message>, Option<Owed>),
    /// Subscriptions.
    Subscribe {
        packet_id: PacketId,
        subscription_id: Option<u32>,
        filters: Vec<(Box<str>, SubscriptionOptions)>,
        /// Of each filter, whether the service that knows rules allows it.
        ruled: Vec<bool>,
    },
}

/// The filters of a SUBSCRIBE that waited, as 5.0 writes them.
fn encoded(filters: &[(Box<str>, SubscriptionOptions)]) -> Vec<u8> {
    let plain: Vec<(&str, SubscriptionOptions)> =
        filters.iter().map(|(filter, options)| (&**filter, *options)).collect();
    SubscribeFilters::encode_list(Version::V5, &plain)
}

/// The SUBSCRIBE again.
fn decoded(packet_id: PacketId, subscription_id: Option<u32>, encoded: &[u8]) -> Subscribe<'_> {
    let filters = SubscribeFilters::from_encoded(Version::V5, encoded);
    let filters = filters.expect("they were decoded before");
    Subscribe { packet_id, subscription_id, user_properties: UserProperties::NONE, filters }
}

impl Shard {
    /// Whether clients of this connection are asked about.
    pub(super) fn is_consulted(&self, id: ConnectionId, about: fn(&Consults) -> bool) -> bool {
        about(&self.policy.consults) && !self.is_local(id)
    }

    /// Asks; what arrives meanwhile waits.
    pub(super) fn consult(&mut self, id: ConnectionId, consulting: Consulting) {
        let Some(client) = self.client(id) else { return };
        let question = match &consulting {
            Consulting::Publish(message, _) => Question::Publish(Arc::clone(message)),
            Consulting::Subscribe { filters, .. } => Question::Subscribe(
                filters.iter().map(|(filter, options)| (filter.clone(), options.qos)).collect(),
            ),
        };
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            active.consulting = Some(Box::new(consulting));
        }
        self.pause(id, Pause::Verdict);
        self.outputs.push_back(Output::Consult { connection: id, client, question });
    }

    pub(super) fn handle_advice(&mut self, now: Time, id: ConnectionId, advice: Advice) {
        let advice = match advice {
            Advice::Published(ticket) => return self.settle_publish(now, ticket),
            Advice::Will(ticket, advice) => return self.handle_will_advice(now, ticket, advice),
            Advice::Ruled { will: Some(ticket), allowed } => {
                let is_allowed = allowed.first().copied().unwrap_or(false);
                return self.handle_will_ruling(now, ticket, is_allowed);
            }
            Advice::Ruled { will: None, allowed } => return self.handle_ruling(now, id, &allowed),
            advice => advice,
        };
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(consulting) = active.and_then(|active| active.consulting.take()) else { return };
        match (*consulting, advice) {
            (Consulting::Publish(message, owed), Advice::Publish(advice)) => {
                self.publish_as_advised(now, id, &message, owed, advice);
            }
            (
                Consulting::Subscribe { packet_id, subscription_id, filters, ruled },
                Advice::Subscribe(advice),
            ) => {
                let encoded = encoded(&filters);
                let subscribe = decoded(packet_id, subscription_id, &encoded);
                self.subscribe_all(now, id, &subscribe, &ruled, Some(&advice));
            }
            _ => unreachable!("advice is about what was asked"),
        }
        self.advised(now, id);
    }

    /// The service has said whether a message is allowed: a hook may have its say, too.
    pub(super) fn publish_as_ruled(
        &mut self,
        now: Time,
        id: ConnectionId,
        message: &Arc<Message>,
        owed: Option<Owed>,
        is_allowed: bool,
    ) {
        if !is_allowed {
            self.metrics.publishes_not_allowed_total += 1;
            let (publisher, why) = (self.session_of(id), Some("the service for rules".into()));
            self.lose_all(publisher, (&**message).into(), Why::NotAllowed, why);
            return self.refuse_publish(now, id, owed, ReasonCode::NotAuthorized);
        }
        if self.is_consulted(id, |consults| consults.publish) {
            return self.consult(id, Consulting::Publish(Arc::clone(message), owed));
        }
        self.take_publish(now, id, &mut Publication::of(message), owed);
    }

    /// The service has said which subscriptions are allowed: a hook may have its say, too.
    pub(super) fn subscribe_as_ruled(&mut self, now: Time, id: ConnectionId, waits: Consulting) {
        if self.is_consulted(id, |consults| consults.subscribe) {
            return self.consult(id, waits);
        }
        let Consulting::Subscribe { packet_id, subscription_id, filters, ruled } = waits else {
            unreachable!("it is a SUBSCRIBE that waits");
        };
        let encoded = encoded(&filters);
        let subscribe = decoded(packet_id, subscription_id, &encoded);
        self.subscribe_all(now, id, &subscribe, &ruled, None);
    }

    /// Whether a session may get a message, which the rules allow.
    pub(super) fn may_get(&self, session: u32, publication: &Publication<'_>) -> bool {
        let Some(Forward(may_get)) = &self.policy.forward else { return true };
        let seat = self.sessions.key_at(session).and_then(|key| self.sessions.get(key));
        let Some(seat) = seat else { return true };
        let connection = self.connections.of(seat);
        if connection.is_some_and(|connection| connection.peer.listener == Listener::LOCAL) {
            return true;
        }
        let identity = connection.and_then(|connection| connection.identity());
        let user = identity.and_then(|identity| identity.user.as_deref());
        may_get(Receiver { client_id: &seat.session.client_id, user }, publication)
    }

    /// Who a connected session is for, if somebody is asked about receivers.
    pub(super) fn name_of(&self, session: Key) -> Option<Arc<Name>> {
        self.policy.forward.as_ref()?;
        let seat = self.sessions.get(session)?;
        let connection = self.connections.get(seat.connection?)?;
        let user = connection.identity().and_then(|identity| identity.user.clone());
        let is_local = connection.peer.listener == Listener::LOCAL;
        Some(Arc::new(Name { client_id: Arc::clone(&seat.session.client_id), user, is_local }))
    }

    fn publish_as_advised(
        &mut self,
        now: Time,
        id: ConnectionId,
        message: &Arc<Message>,
        owed: Option<Owed>,
        advice: Result<Option<Replacement>, ReasonCode>,
    ) {
        let replacement = match advice {
            Ok(None) => return self.take_publish(now, id, &mut Publication::of(message), owed),
            Ok(Some(replacement)) => replacement,
            Err(reason) => {
                let (publisher, why) = (self.session_of(id), Some(reason.to_string().into()));
                self.lose_all(publisher, (&**message).into(), Why::Refused, why);
                return self.refuse_publish(now, id, owed, reason);
            }
        };
        let Replacement { topic, payload, qos } = replacement;
        if TopicName::new(&topic).is_err() {
            return self.refuse_publish(now, id, owed, ReasonCode::TopicNameInvalid);
        }
        let properties = message.properties();
        let mut publication = Publication::new(&topic, properties, &payload, qos, message.expires);
        publication.retain = message.retain;
        self.take_publish(now, id, &mut publication, owed);
    }

    /// Tells of something, if anybody listens.
    pub(super) fn tell(&mut self, id: ConnectionId, event: impl FnOnce(Client) -> Event) {
        if self.is_consulted(id, |consults| consults.events)
            && let Some(client) = self.client(id)
        {
            self.outputs.push_back(Output::Event(event(client)));
        }
    }

    pub(super) fn client(&mut self, id: ConnectionId) -> Option<Client> {
        let connection = self.connections.get_mut(id)?;
        let address = connection.peer.address;
        let active = connection.active_mut()?;
        let user = active.identity.as_ref().and_then(|identity| identity.user.clone());
        let seat = self.sessions.get(active.session)?;
        Some(Client { client_id: Arc::clone(&seat.session.client_id), user, address })
    }
}

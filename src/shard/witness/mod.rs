//! What a shard has seen, for operators who ask what happened: the traces that run, and the last
//! messages that were lost.
//!
//! The rest of the shard says what happens where it happens; what becomes of that is decided here.

mod drops;
mod packets;
mod trace;

pub use drops::{Dropped, Drops, Why};
pub use trace::{
    Decision, Step, Subject, TRACES_MAX, Trace, TraceEvent, TraceId, TraceOrder, Traced,
    TracedMessage, Traces,
};

use std::fmt;
use std::sync::Arc;

use super::connection::Connection;
use super::effect::ConnectionId;
use super::{Key, Shard};
use crate::auth::Grants;
use crate::message::{Message, Publication};
use crate::proto::{PacketId, PacketType, Publish, QoS};
use crate::time::Time;

/// Bytes of what is told in words.
const DETAIL_BYTES_MAX: usize = 4096;

/// What was seen.
#[derive(Debug, Default)]
pub struct Witness {
    /// What is followed now.
    pub traces: Traces,
    /// What was lost last.
    pub drops: Drops,
    /// The session whose message is handed out, for whoever does not get it.
    pub publisher: Option<u32>,
}

/// What is lost, as far as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    pub topic: &'a str,
    pub qos: QoS,
    pub bytes: usize,
}

impl Lost<'_> {
    /// As its receiver would have got it.
    pub fn at(self, qos: QoS) -> Self {
        Lost { qos, ..self }
    }
}

impl<'a> From<&'a Message> for Lost<'a> {
    fn from(message: &'a Message) -> Lost<'a> {
        Lost { topic: message.topic(), qos: message.qos, bytes: message.bytes() }
    }
}

impl<'a> From<&Publication<'a>> for Lost<'a> {
    fn from(publication: &Publication<'a>) -> Lost<'a> {
        Lost { topic: publication.topic, qos: publication.qos, bytes: publication.bytes() }
    }
}

/// A message that somebody does not get.
pub struct Loss<'a> {
    pub publisher: Option<&'a Arc<str>>,
    pub receiver: Option<&'a Arc<str>>,
    /// The receiver's, or that of the publisher who is refused.
    pub connection: Option<&'a Connection>,
    pub lost: Lost<'a>,
    pub why: Why,
    pub detail: Option<Box<str>>,
}

/// How a message comes or goes, as a trace tells it.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: Option<PacketId>,
    /// More of it, in words.
    pub detail: Option<&'a str>,
}

impl Witness {
    /// Notes a loss, and tells the traces that follow it.
    #[cold]
    pub fn lost(&mut self, now: Time, loss: Loss<'_>) {
        let Loss { publisher, receiver, connection, lost, why, detail } = loss;
        let Lost { topic, qos, bytes } = lost;
        if self.traces.is_on() {
            let name = |name: Option<&Arc<str>>| self.traces.of_client(name.map(|n| &**n), None);
            let marks = connection.map_or(0, |connection| connection.traced);
            let bits = name(publisher)
                | name(receiver)
                | self.traces.live(marks)
                | self.traces.of_topic(topic);
            self.traces.note(bits, |_| TraceEvent {
                client_id: receiver.or(publisher).cloned(),
                address: connection.map(|connection| connection.peer.address),
                message: Some(TracedMessage {
                    topic: topic.into(),
                    qos,
                    retain: false,
                    dup: false,
                    bytes,
                    payload: Box::default(),
                }),
                detail: Some(told(format_args!(
                    "{}: {}{}{}",
                    why.name(),
                    why.meaning(),
                    if detail.is_some() { "; " } else { "" },
                    detail.as_deref().unwrap_or_default(),
                ))),
                ..TraceEvent::new(now, Step::Decided(Decision::Dropped))
            });
        }
        self.drops.note(Dropped {
            number: 0,
            at: now,
            publisher: publisher.cloned(),
            receiver: receiver.cloned(),
            topic: self.drops.topic(topic),
            qos,
            bytes,
            why,
            detail,
        });
    }

    /// PUBREL goes to a client whose session is resumed.
    #[cold]
    pub fn releases(
        &mut self,
        now: Time,
        client_id: &Arc<str>,
        connection: &Connection,
        packet_id: PacketId,
    ) {
        let bits = self.traces.live(connection.traced);
        self.traces.note(bits, |_| TraceEvent {
            client_id: Some(Arc::clone(client_id)),
            address: Some(connection.peer.address),
            packet_id: Some(packet_id),
            ..TraceEvent::new(now, Step::Sent(PacketType::PubRel))
        });
    }

    /// A message that is stored or on its way to a client.
    #[cold]
    pub fn passes(
        &mut self,
        now: Time,
        step: Step,
        client_id: &Arc<str>,
        connection: Option<&Connection>,
        publication: &Publication<'_>,
        passage: Passage<'_>,
    ) {
        let marks = match connection {
            Some(connection) => self.traces.live(connection.traced),
            None => self.traces.of_client(Some(client_id), None),
        };
        let bits = marks | self.traces.of_topic(publication.topic);
        self.traces.note(bits, |payload_bytes_max| TraceEvent {
            client_id: Some(Arc::clone(client_id)),
            address: connection.map(|connection| connection.peer.address),
            packet_id: passage.packet_id,
            message: Some(TracedMessage {
                topic: publication.topic.into(),
                qos: passage.qos,
                retain: passage.retain,
                dup: passage.dup,
                bytes: publication.bytes(),
                payload: publication.payload[..publication.payload.len().min(payload_bytes_max)]
                    .into(),
            }),
            detail: passage.detail.map(Box::from),
            ..TraceEvent::new(now, step)
        });
    }
}

/// What operators order and ask.
impl Shard {
    /// A trace begins or ends.
    pub(in crate::shard) fn handle_trace(&mut self, order: TraceOrder) {
        let trace = match order {
            TraceOrder::Start(trace) => trace,
            TraceOrder::Stop(id) => return self.witness.traces.stop(id),
        };
        let Some(bit) = self.witness.traces.start(trace) else { return };
        for id in self.connections.ids() {
            let client_id = self.client_id_of(id);
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let address = connection.peer.address.ip();
            let bits = self.witness.traces.of_client(client_id.as_deref(), Some(address));
            connection.traced = connection.traced & !bit | bits & bit;
        }
    }

    /// What was noted of a trace since the last time; nothing if it does not run here.
    pub fn take_traced(&mut self, id: TraceId) -> Option<Traced> {
        self.witness.traces.take(id)
    }

    fn client_id_of(&self, id: ConnectionId) -> Option<Arc<str>> {
        let active = self.connections.get(id)?.active()?;
        Some(Arc::clone(&self.sessions.get(active.session)?.session.client_id))
    }
}

/// What the rest of the shard tells of losses.
impl Shard {
    /// A session does not get a message.
    #[cold]
    pub(in crate::shard) fn lose(&mut self, key: Key, lost: Lost<'_>, why: Why) {
        let publisher = self.witness.publisher.and_then(|index| self.sessions.key_at(index));
        let publisher = publisher.and_then(|key| self.sessions.get(key));
        let Some(seat) = self.sessions.get(key) else { return };
        let connection = self.connections.of(seat);
        self.witness.lost(
            self.now,
            Loss {
                publisher: publisher.map(|seat| &seat.session.client_id),
                receiver: Some(&seat.session.client_id),
                connection,
                lost,
                why,
                detail: None,
            },
        );
    }

    /// A session ends before what it was owed was delivered.
    #[cold]
    pub(in crate::shard) fn lose_owed(&mut self, key: Key, bytes: usize, detail: Option<Box<str>>) {
        let Some(seat) = self.sessions.get(key) else { return };
        self.witness.lost(
            self.now,
            Loss {
                publisher: None,
                receiver: Some(&seat.session.client_id),
                connection: None,
                lost: Lost { topic: "", qos: QoS::AtMostOnce, bytes },
                why: Why::SessionEnded,
                detail,
            },
        );
    }

    /// Nobody gets a message of a session, or a subscription of it is not made.
    #[cold]
    pub(in crate::shard) fn lose_all(
        &mut self,
        publisher: Option<Key>,
        lost: Lost<'_>,
        why: Why,
        detail: Option<Box<str>>,
    ) {
        let seat = publisher.and_then(|key| self.sessions.get(key));
        let connection = seat.and_then(|seat| self.connections.of(seat));
        self.witness.lost(
            self.now,
            Loss {
                publisher: seat.map(|seat| &seat.session.client_id),
                receiver: None,
                connection,
                lost,
                why,
                detail,
            },
        );
    }

    /// By which rule a connection may not publish a message.
    #[cold]
    pub(in crate::shard) fn rule_against(
        &self,
        id: ConnectionId,
        topic: &str,
        publish: &Publish<'_>,
    ) -> Box<str> {
        match self.grants(id) {
            _ if super::is_own_topic(topic) => "topics below $SYS are the broker's own".into(),
            Some(grants) => grants.explain_publish(topic, publish.qos, publish.retain).1.into(),
            None => Box::default(),
        }
    }

    /// By which rule a connection may not subscribe to a filter, `$share/...` included; nothing if
    /// none is against it.
    #[cold]
    pub(in crate::shard) fn rule_against_subscription(
        &self,
        id: ConnectionId,
        filter: &str,
    ) -> Option<Box<str>> {
        let plain = super::share::filter_of(filter).unwrap_or(filter);
        let grants = self.grants(id).filter(|grants| grants.may_subscribe(plain).is_none())?;
        Some(grants.explain_refused(plain).into())
    }

    fn grants(&self, id: ConnectionId) -> Option<&Grants> {
        self.connections.get(id)?.active()?.grants.as_deref()
    }
}

/// The beginning of what is told in words: names that clients choose are part of it.
fn told(text: impl fmt::Display) -> Box<str> {
    let mut text = text.to_string();
    let end = (0..=DETAIL_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text.into()
}

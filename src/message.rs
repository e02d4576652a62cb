//! An application message as the broker holds it once the publisher's packet is gone.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;

use crate::proto::{ForwardProperties, QoS};
use crate::time::Time;

/// A message that outlives the packet it came in: waiting for an acknowledgement, in a queue,
/// retained, or on its way to another shard.
///
/// One allocation holds topic, properties and payload in that order; sharing it is a count.
#[derive(Debug)]
pub struct Message {
    body: Bytes,
    topic_bytes: u16,
    property_bytes: u32,
    /// The QoS it was published with.
    pub qos: QoS,
    /// Whether it was published to be retained.
    pub retain: bool,
    /// When it is of no use any more.
    pub expires: Time,
    /// Orders retained messages of one topic; [`Stamp::NONE`] where `retain` is not set.
    pub stamp: Stamp,
}

/// The order of retained messages: later ones are greater, on every shard.
///
/// Microseconds in the upper 58 bits, the publisher's shard in the lower 6; a shard never hands
/// out a stamp that is not greater than every one it has handed out or seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Of messages that are not retained: less than every other.
    pub const NONE: Stamp = Stamp(0);
}

impl Message {
    /// The topic name.
    pub fn topic(&self) -> &str {
        let topic = &self.body[..usize::from(self.topic_bytes)];
        std::str::from_utf8(topic).expect("only topics that were strings are stored")
    }

    /// The properties every receiver gets.
    pub fn properties(&self) -> ForwardProperties<'_> {
        let start = usize::from(self.topic_bytes);
        ForwardProperties::from_encoded(&self.body[start..start + self.property_bytes as usize])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.payload_start()..]
    }

    /// Topic, properties and payload, as they are kept.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The payload, kept alive by the caller.
    pub fn payload_bytes(&self) -> Bytes {
        self.body.slice(self.payload_start()..)
    }

    /// Bytes of topic, properties and payload: what limits count.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// A message that was kept: `body` is what [`Message::body`] gave, its first parts `lengths`
    /// of topic and properties long. The caller checked both.
    pub fn from_body(
        body: Bytes,
        lengths: (u16, u32),
        qos: QoS,
        retain: bool,
        expires: Time,
        stamp: Stamp,
    ) -> Message {
        let (topic_bytes, property_bytes) = lengths;
        Message { body, topic_bytes, property_bytes, qos, retain, expires, stamp }
    }

    /// A message of these parts; properties as they are encoded.
    pub fn from_parts(
        topic: &str,
        properties: &[u8],
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Message {
        let lengths = (topic.len() as u16, properties.len() as u32);
        let body = Bytes::from([topic.as_bytes(), properties, payload].concat());
        Message::from_body(body, lengths, qos, retain, Time::NEVER, Stamp::NONE)
    }

    fn payload_start(&self) -> usize {
        usize::from(self.topic_bytes) + self.property_bytes as usize
    }
}

/// A message on its way through the router: borrowed from the packet it came in until somebody
/// has to keep it, then copied once for all who do.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The properties every receiver gets.
    pub properties: ForwardProperties<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it was published with.
    pub qos: QoS,
    /// Whether it was published to be retained.
    pub retain: bool,
    /// When it is of no use any more.
    pub expires: Time,
    /// See [`Message::stamp`].
    pub stamp: Stamp,
    kept: Kept<'a>,
}

/// The message that a publication becomes where it is kept.
#[derive(Debug)]
enum Kept<'a> {
    /// It was kept before it was published.
    Already(&'a Arc<Message>),
    /// Copied from the packet by the first who asks.
    OnDemand(OnceCell<Arc<Message>>),
}

impl<'a> Publication<'a> {
    /// A publication of what a packet says; `retain` and `stamp` are set by the publisher's shard.
    pub fn new(
        topic: &'a str,
        properties: ForwardProperties<'a>,
        payload: &'a [u8],
        qos: QoS,
        expires: Time,
    ) -> Publication<'a> {
        let (retain, stamp) = (false, Stamp::NONE);
        let kept = Kept::OnDemand(OnceCell::new());
        Publication { topic, properties, payload, qos, retain, expires, stamp, kept }
    }

    /// A publication of a message that is kept already.
    pub fn of(message: &'a Arc<Message>) -> Publication<'a> {
        Publication {
            topic: message.topic(),
            properties: message.properties(),
            payload: message.payload(),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            stamp: message.stamp,
            kept: Kept::Already(message),
        }
    }

    /// Bytes of topic, properties and payload.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// The message to keep; copied from the packet at the first call.
    pub fn keep(&self) -> &Arc<Message> {
        match &self.kept {
            Kept::Already(message) => message,
            Kept::OnDemand(kept) => kept.get_or_init(|| Arc::new(self.copy())),
        }
    }

    fn copy(&self) -> Message {
        let property_bytes = self.properties.len();
        let mut body = Vec::with_capacity(self.topic.len() + property_bytes + self.payload.len());
        body.extend_from_slice(self.topic.as_bytes());
        self.properties.write_to(&mut body);
        body.extend_from_slice(self.payload);
        Message {
            body: Bytes::from(body),
            topic_bytes: u16::try_from(self.topic.len()).expect("a topic has a 16-bit length"),
            property_bytes: u32::try_from(property_bytes).expect("a packet has a 28-bit length"),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            stamp: self.stamp,
        }
    }
}

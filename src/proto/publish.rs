//! PUBLISH and the four packets that acknowledge it.

use super::{PacketId, QoS, ReasonCode, TopicName, UserProperties};

/// A PUBLISH packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// Set on a QoS 1 or 2 message sent again. [MQTT-3.3.1-1]
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Inbound: keep as the topic's retained message. Outbound: is one, or was published so.
    pub retain: bool,
    /// The topic name; empty only in 5.0 and only beside a topic alias.
    pub topic: TopicName<'a>,
    /// Present if and only if QoS is 1 or 2. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// Properties; all absent in 3.1 and 3.1.1.
    pub properties: PublishProperties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH packet: what concerns this hop is read out, what every receiver
/// gets unaltered stays encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublishProperties<'a> {
    /// Topic alias, 1 to 65,535. [MQTT-3.3.2-8]
    pub topic_alias: Option<u16>,
    /// Seconds the message is of use.
    pub message_expiry_interval: Option<u32>,
    /// Subscription identifiers, server to client only. [MQTT-3.3.4-6]
    pub subscription_ids: SubscriptionIds<'a>,
    /// Payload format indicator, response topic, correlation data, user properties and content
    /// type, in the order they came. [MQTT-3.3.2-4, -15, -16, -17, -18, -20]
    pub forward: ForwardProperties<'a>,
}

/// The properties of a message that are handed on as they came.
///
/// Holds encoded properties; hop-by-hop ones among them (topic alias, message expiry interval,
/// subscription identifier) are left out when written.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardProperties<'a> {
    /// Encoded properties without the length before them.
    raw: &'a [u8],
    /// Bytes that remain when hop-by-hop properties are left out; `raw.len()` if there are none.
    len: usize,
}

/// Subscription identifiers of an outgoing PUBLISH.
#[derive(Clone, Copy, Debug)]
pub enum SubscriptionIds<'a> {
    /// To be written.
    Plain(&'a [u32]),
    /// As read: encoded properties in which identifiers (0x0B) are looked up.
    Encoded(&'a [u8]),
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The PUBLISH this is about.
    pub packet_id: PacketId,
    /// [`ReasonCode::Success`] in 3.1 and 3.1.1.
    pub reason: ReasonCode,
    /// For people; never parsed.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

//! The packets of MQTT 3.1, 3.1.1 and 5.0: bytes to packets and back.
//!
//! Knows nothing of connections, sessions, time or IO. A packet decoded from a stream borrows
//! from the bytes it was read from; whoever wants to keep it copies what it keeps. Decoding is
//! two steps: [`Frame::cut`] finds one whole packet at the front of what has arrived, then
//! [`Packet::decode_from_client`] reads it by the rules of the connection's [`Version`]. CONNECT
//! names its version itself.
//!
//! Both directions of every packet are here, so that clients (tests, the simulation) use the
//! same codec and every packet can be tested by a round trip.

mod ack;
mod auth;
mod connack;
mod connect;
mod decode;
mod disconnect;
mod encode;
mod error;
mod forward;
mod frame;
mod property;
mod publish;
mod reason;
mod subscribe;
mod topic;
mod unsubscribe;

pub use ack::{Ack, encode_ack};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Credentials, Will};
pub use disconnect::Disconnect;
pub use encode::{PACKET_SIZE_MAX, PINGREQ, PINGRESP};
pub use error::DecodeError;
pub use forward::ForwardProperties;
pub use frame::{Cut, Frame, PacketType};
pub use property::{Property, PropertyId, UserProperties, UserProperty};
pub use publish::{Publish, PublishProperties, SubscriptionIds};
pub use reason::ReasonCode;
pub use subscribe::{
    FilterAndOptions, RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscriptionOptions,
};
pub use topic::{SubscriptionFilter, TopicError, TopicFilter, TopicName};
pub use unsubscribe::{UnsubAck, Unsubscribe, UnsubscribeFilters};

use decode::Sender;
use std::fmt;
use std::num::NonZeroU16;

/// The protocol level a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`, level 3.
    V31 = 3,
    /// MQTT 3.1.1, level 4.
    V311 = 4,
    /// MQTT 5.0, level 5.
    V5 = 5,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        })
    }
}

/// Quality of service of a message or a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once, "fire and forget".
    #[default]
    AtMostOnce = 0,
    /// At least once, PUBLISH and PUBACK.
    AtLeastOnce = 1,
    /// Exactly once, PUBLISH, PUBREC, PUBREL and PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS of two bits of a packet; 3 is none. [MQTT-3.3.1-4]
    #[inline]
    pub fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier: 1 to 65,535. [MQTT-2.2.1-3]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The least.
    pub const FIRST: PacketId = PacketId(NonZeroU16::MIN);

    /// The identifier of this value, unless it is 0.
    #[inline]
    pub fn new(value: u16) -> Option<PacketId> {
        NonZeroU16::new(value).map(PacketId)
    }

    /// The value on the wire.
    #[inline]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// Any control packet, borrowed from the bytes it was read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// 1: a client asks to be let in.
    Connect(Connect<'a>),
    /// 2: the server's answer.
    ConnAck(ConnAck<'a>),
    /// 3: a message.
    Publish(Publish<'a>),
    /// 4: QoS 1 is done.
    PubAck(Ack<'a>),
    /// 5: QoS 2 message received.
    PubRec(Ack<'a>),
    /// 6: QoS 2 message may be released.
    PubRel(Ack<'a>),
    /// 7: QoS 2 is done.
    PubComp(Ack<'a>),
    /// 8: subscriptions asked for.
    Subscribe(Subscribe<'a>),
    /// 9: one reason code a filter.
    SubAck(SubAck<'a>),
    /// 10: subscriptions to end.
    Unsubscribe(Unsubscribe<'a>),
    /// 11: one reason code a filter (5.0 only).
    UnsubAck(UnsubAck<'a>),
    /// 12: are you there?
    PingReq,
    /// 13: I am.
    PingResp,
    /// 14: the connection ends on purpose.
    Disconnect(Disconnect<'a>),
    /// 15: enhanced authentication (5.0 only).
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Which kind it is.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::ConnAck(_) => PacketType::ConnAck,
            Packet::Publish(_) => PacketType::Publish,
            Packet::PubAck(_) => PacketType::PubAck,
            Packet::PubRec(_) => PacketType::PubRec,
            Packet::PubRel(_) => PacketType::PubRel,
            Packet::PubComp(_) => PacketType::PubComp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::SubAck(_) => PacketType::SubAck,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::UnsubAck(_) => PacketType::UnsubAck,
            Packet::PingReq => PacketType::PingReq,
            Packet::PingResp => PacketType::PingResp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }
}

#[cfg(test)]
mod tests;

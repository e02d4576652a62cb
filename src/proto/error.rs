//! What a peer can do wrong in a packet, and the reason code that tells it so.

use std::fmt;

use super::{PacketType, ReasonCode, TopicError, Version, property::PropertyId};

/// Why bytes are no packet. Always the peer's fault, and the end of its connection.
/// [MQTT-4.13.1-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Packet type 0, which no version defines.
    ReservedPacketType,
    /// A packet type that the connection's version lacks.
    PacketTypeOfOtherVersion(PacketType, Version),
    /// A packet that only the other side may send.
    PacketFromWrongSide(PacketType),
    /// The low four bits of the first byte. [MQTT-2.1.3-1]
    FixedHeaderFlags(PacketType, u8),
    /// A variable byte integer longer than four bytes, or longer than it needs to be.
    /// [MQTT-1.5.5-1]
    VariableByteInteger,
    /// The whole packet, fixed header included, is larger than agreed. [MQTT-3.2.2-15]
    PacketTooLarge {
        /// Bytes the packet has.
        size: usize,
        /// Bytes it may have.
        size_max: u32,
    },
    /// A field reaches beyond the end of the packet.
    Truncated,
    /// Bytes beyond the last field of the packet.
    TrailingBytes,
    /// A string that is not UTF-8. [MQTT-1.5.4-1]
    Utf8,
    /// A string with U+0000 in it. [MQTT-1.5.4-2]
    NullCharacter,
    /// Packet identifier 0. [MQTT-2.2.1-3]
    PacketIdZero,
    /// QoS 3 in a PUBLISH. [MQTT-3.3.1-4]
    QoS,
    /// DUP on a QoS 0 PUBLISH. [MQTT-3.3.1-2]
    DupAtMostOnce,
    /// An illegal topic name. [MQTT-3.3.2-2]
    TopicName(TopicError),
    /// Neither a topic name nor a topic alias.
    TopicMissing,
    /// An illegal response topic. [MQTT-3.3.2-14]
    ResponseTopic(TopicError),
    /// An illegal topic filter.
    TopicFilter(TopicError),
    /// A SUBSCRIBE or UNSUBSCRIBE without a topic filter. [MQTT-3.8.3-2, 3.10.3-2]
    NoTopicFilters,
    /// Reserved bits of a subscription's options. [MQTT-3.8.3-5]
    SubscriptionOptionsReserved(u8),
    /// QoS 3 or retain handling 3 in a subscription's options.
    SubscriptionOptions(u8),
    /// No Local on a shared subscription. [MQTT-3.8.3-4]
    NoLocalShared,
    /// A SUBACK or UNSUBACK without a reason code.
    NoReasonCodes,
    /// A reason code that this packet does not have, or that this side may not send.
    ReasonCode(PacketType, u8),
    /// A property identifier that does not exist.
    PropertyUnknown(u32),
    /// A property that does not belong to this packet.
    PropertyMisplaced(PropertyId),
    /// A property that only the other side may send in this packet.
    PropertyFromWrongSide(PropertyId),
    /// A property that may stand once stands twice.
    PropertyRepeated(PropertyId),
    /// A property's value is outside of what the property allows.
    PropertyValue(PropertyId),
    /// Topic alias 0. [MQTT-3.3.2-8]
    TopicAliasZero,
    /// Authentication data without an authentication method, or an AUTH packet without one.
    AuthenticationMethodMissing,
    /// A protocol name other than `MQTT` and `MQIsdp`. [MQTT-3.1.2-1]
    ProtocolName,
    /// A protocol level that this name does not have, or that is not spoken here.
    /// [MQTT-3.1.2-2]
    ProtocolLevel(u8),
    /// Connect flags that contradict each other or use the reserved bit.
    /// [MQTT-3.1.2-3, -11, -12, -13]
    ConnectFlags(u8),
    /// A password without a user name, before 5.0. [MQTT-3.1.2-22 of 3.1.1]
    PasswordWithoutUserName,
    /// Reserved connect acknowledge flags, or a session present at a refusal. [MQTT-3.2.2-1, -6]
    ConnectAcknowledgeFlags(u8),
}

impl DecodeError {
    /// The reason code to answer with, in the DISCONNECT or CONNACK that ends the connection.
    ///
    /// Malformed is what cannot be parsed; a protocol error was parsed and says what may not be
    /// said. Where the specification names a code for a rule, that one is used.
    pub fn reason(self) -> ReasonCode {
        use DecodeError as E;
        match self {
            E::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            E::ProtocolName | E::ProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            E::TopicName(TopicError::Null) | E::TopicFilter(TopicError::Null) => {
                ReasonCode::MalformedPacket
            }
            E::TopicName(_) => ReasonCode::TopicNameInvalid,
            E::TopicFilter(_) => ReasonCode::TopicFilterInvalid,
            E::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            E::ReservedPacketType
            | E::FixedHeaderFlags(..)
            | E::VariableByteInteger
            | E::Truncated
            | E::TrailingBytes
            | E::Utf8
            | E::NullCharacter
            | E::QoS
            | E::DupAtMostOnce
            | E::SubscriptionOptionsReserved(_)
            | E::PropertyUnknown(_)
            | E::PropertyMisplaced(_)
            | E::ConnectFlags(_)
            | E::ConnectAcknowledgeFlags(_) => ReasonCode::MalformedPacket,
            E::PacketTypeOfOtherVersion(..)
            | E::PacketFromWrongSide(_)
            | E::PacketIdZero
            | E::TopicMissing
            | E::ResponseTopic(_)
            | E::NoTopicFilters
            | E::SubscriptionOptions(_)
            | E::NoLocalShared
            | E::NoReasonCodes
            | E::ReasonCode(..)
            | E::PropertyFromWrongSide(_)
            | E::PropertyRepeated(_)
            | E::PropertyValue(_)
            | E::AuthenticationMethodMissing
            | E::PasswordWithoutUserName => ReasonCode::ProtocolError,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DecodeError as E;
        match self {
            E::ReservedPacketType => f.write_str("packet type 0 is reserved"),
            E::PacketTypeOfOtherVersion(packet, version) => {
                write!(f, "{packet} does not exist in MQTT {version}")
            }
            E::PacketFromWrongSide(packet) => write!(f, "{packet} from the wrong side"),
            E::FixedHeaderFlags(packet, flags) => {
                write!(f, "fixed header flags {flags:#06b} of {packet}")
            }
            E::VariableByteInteger => f.write_str("variable byte integer is too long"),
            E::PacketTooLarge { size, size_max } => {
                write!(f, "packet of {size} bytes, allowed are {size_max}")
            }
            E::Truncated => f.write_str("a field reaches beyond the end of the packet"),
            E::TrailingBytes => f.write_str("bytes beyond the last field of the packet"),
            E::Utf8 => f.write_str("string is not UTF-8"),
            E::NullCharacter => f.write_str("string contains U+0000"),
            E::PacketIdZero => f.write_str("packet identifier is 0"),
            E::QoS => f.write_str("qos is 3"),
            E::DupAtMostOnce => f.write_str("dup is set at qos 0"),
            E::TopicName(error) => write!(f, "topic name {error}"),
            E::TopicMissing => f.write_str("neither topic name nor topic alias"),
            E::ResponseTopic(error) => write!(f, "response topic {error}"),
            E::TopicFilter(error) => write!(f, "topic filter {error}"),
            E::NoTopicFilters => f.write_str("no topic filter"),
            E::SubscriptionOptionsReserved(options) => {
                write!(f, "reserved bits in subscription options {options:#010b}")
            }
            E::SubscriptionOptions(options) => {
                write!(f, "qos or retain handling is 3 in subscription options {options:#010b}")
            }
            E::NoLocalShared => f.write_str("no local on a shared subscription"),
            E::NoReasonCodes => f.write_str("no reason code"),
            E::ReasonCode(packet, code) => write!(f, "reason code {code:#04x} in {packet}"),
            E::PropertyUnknown(id) => write!(f, "property {id:#04x} does not exist"),
            E::PropertyMisplaced(id) => write!(f, "property {id} does not belong here"),
            E::PropertyFromWrongSide(id) => write!(f, "property {id} from the wrong side"),
            E::PropertyRepeated(id) => write!(f, "property {id} stands twice"),
            E::PropertyValue(id) => write!(f, "value of property {id} is not allowed"),
            E::TopicAliasZero => f.write_str("topic alias is 0"),
            E::AuthenticationMethodMissing => f.write_str("authentication method is missing"),
            E::ProtocolName => f.write_str("unknown protocol name"),
            E::ProtocolLevel(level) => write!(f, "unsupported protocol level {level}"),
            E::ConnectFlags(flags) => write!(f, "connect flags {flags:#010b}"),
            E::PasswordWithoutUserName => f.write_str("password without user name"),
            E::ConnectAcknowledgeFlags(flags) => {
                write!(f, "connect acknowledge flags {flags:#010b}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

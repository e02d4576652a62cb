//! What must be refused, with which error and which reason code. The bytes are written by hand,
//! so that no encoder has a say in them.

use super::From::{Client, Server};
use super::{From, VERSIONS};
use crate::proto::DecodeError as E;
use crate::proto::Version::{V5, V31, V311};
use crate::proto::{Cut, Frame, PacketType as P, PropertyId as I, TopicError as T};
use crate::proto::{DecodeError, ReasonCode, Version};

/// What is wrong by which rule, the bytes, and the answer.
struct Case {
    what: &'static str,
    bytes: &'static [u8],
    error: DecodeError,
    reason: ReasonCode,
}

fn refused(
    what: &'static str,
    bytes: &'static [u8],
    error: DecodeError,
    reason: ReasonCode,
) -> Case {
    Case { what, bytes, error, reason }
}

fn malformed(what: &'static str, bytes: &'static [u8], error: DecodeError) -> Case {
    refused(what, bytes, error, ReasonCode::MalformedPacket)
}

fn protocol(what: &'static str, bytes: &'static [u8], error: DecodeError) -> Case {
    refused(what, bytes, error, ReasonCode::ProtocolError)
}

/// One side of a connection.
struct Sender(From, Version);

fn sender(from: From, version: Version) -> Sender {
    Sender(from, version)
}

impl Sender {
    #[track_caller]
    fn is_refused(&self, cases: &[Case]) {
        for Case { what, bytes, error, reason } in cases {
            assert_eq!(self.0.read(self.1, bytes), Err(*error), "{what}: {bytes:02x?}");
            assert_eq!(error.reason(), *reason, "{what}");
            assert!(!error.to_string().is_empty(), "{what}");
        }
    }
}

#[test]
fn of_any_packet() {
    sender(Client, V5).is_refused(&[
        malformed("packet type 0", b"\x00\x00", E::ReservedPacketType),
        malformed(
            "flags of CONNECT [MQTT-2.1.3-1]",
            b"\x11\x00",
            E::FixedHeaderFlags(P::Connect, 1),
        ),
        malformed(
            "flags of DISCONNECT [MQTT-3.14.1-1]",
            b"\xE1\x00",
            E::FixedHeaderFlags(P::Disconnect, 1),
        ),
        malformed("flags of AUTH [MQTT-3.15.1-1]", b"\xF2\x00", E::FixedHeaderFlags(P::Auth, 2)),
        malformed(
            "flags of PUBREL [MQTT-3.6.1-1]",
            b"\x60\x02\0\x01",
            E::FixedHeaderFlags(P::PubRel, 0),
        ),
        malformed(
            "flags of SUBSCRIBE [MQTT-3.8.1-1]",
            b"\x80\x00",
            E::FixedHeaderFlags(P::Subscribe, 0),
        ),
        malformed(
            "flags of UNSUBSCRIBE [MQTT-3.10.1-1]",
            b"\xA3\x00",
            E::FixedHeaderFlags(P::Unsubscribe, 3),
        ),
        malformed(
            "length in more bytes than it needs [MQTT-1.5.5-1]",
            b"\xC0\x80\x00",
            E::VariableByteInteger,
        ),
        malformed("length of five bytes", b"\xC0\xFF\xFF\xFF\xFF\x01", E::VariableByteInteger),
        malformed("PINGREQ with a body", b"\xC0\x01\0", E::TrailingBytes),
        protocol("packet identifier 0 [MQTT-2.2.1-3]", b"\x40\x02\0\0", E::PacketIdZero),
    ]);
    sender(Client, V311).is_refused(&[
        malformed("flags of PINGREQ", b"\xC8\x00", E::FixedHeaderFlags(P::PingReq, 8)),
        malformed("DUP on PUBREL", b"\x6A\x02\0\x01", E::FixedHeaderFlags(P::PubRel, 10)),
        protocol("AUTH before 5.0", b"\xF0\x00", E::PacketTypeOfOtherVersion(P::Auth, V311)),
    ]);
    sender(Server, V5).is_refused(&[malformed(
        "PINGRESP with a body",
        b"\xD0\x01\0",
        E::TrailingBytes,
    )]);
}

#[test]
fn what_only_the_other_side_may_send() {
    for version in VERSIONS {
        for (from, packet, bytes) in [
            (Client, P::ConnAck, &b"\x20\x02\0\0"[..]),
            (Client, P::SubAck, b"\x90\x03\0\x01\0"),
            (Client, P::UnsubAck, b"\xB0\x02\0\x01"),
            (Client, P::PingResp, b"\xD0\0"),
            (Server, P::Connect, b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01c"),
            (Server, P::Subscribe, b"\x82\x06\0\x01\0\x01a\0"),
            (Server, P::Unsubscribe, b"\xA2\x05\0\x01\0\x01a"),
            (Server, P::PingReq, b"\xC0\0"),
        ] {
            let error = DecodeError::PacketFromWrongSide(packet);
            sender(from, version).is_refused(&[protocol("other side", bytes, error)]);
        }
    }
    let error = DecodeError::PacketFromWrongSide(P::Disconnect);
    sender(Server, V311).is_refused(&[protocol("before 5.0", b"\xE0\0", error)]);
}

#[test]
fn connect() {
    sender(Client, V5).is_refused(&[
        refused(
            "protocol name [MQTT-3.1.2-1]",
            b"\x10\x0D\0\x04MQTt\x04\x02\0\0\0\x01c",
            E::ProtocolName,
            ReasonCode::UnsupportedProtocolVersion,
        ),
        refused(
            "protocol level 6 [MQTT-3.1.2-2]",
            b"\x10\x0D\0\x04MQTT\x06\x02\0\0\0\x01c",
            E::ProtocolLevel(6),
            ReasonCode::UnsupportedProtocolVersion,
        ),
        refused(
            "bridge bit in 5.0",
            b"\x10\x0E\0\x04MQTT\x85\x02\0\0\0\0\x01c",
            E::ProtocolLevel(0x85),
            ReasonCode::UnsupportedProtocolVersion,
        ),
        refused(
            "level 4 under the old name",
            b"\x10\x0F\0\x06MQIsdp\x04\x02\0\0\0\x01c",
            E::ProtocolLevel(4),
            ReasonCode::UnsupportedProtocolVersion,
        ),
        malformed(
            "reserved flag [MQTT-3.1.2-3]",
            b"\x10\x0E\0\x04MQTT\x05\x03\0\0\0\0\x01c",
            E::ConnectFlags(3),
        ),
        malformed(
            "will QoS without a will [MQTT-3.1.2-11]",
            b"\x10\x0E\0\x04MQTT\x05\x0A\0\0\0\0\x01c",
            E::ConnectFlags(0x0A),
        ),
        refused(
            "will topic of no characters",
            b"\x10\x13\0\x04MQTT\x05\x06\0\0\0\0\x01c\0\0\0\0\0",
            E::TopicName(T::Empty),
            ReasonCode::TopicNameInvalid,
        ),
    ]);
    sender(Client, V311).is_refused(&[
        malformed(
            "will retain without a will [MQTT-3.1.2-13]",
            b"\x10\x0D\0\x04MQTT\x04\x22\0\0\0\x01c",
            E::ConnectFlags(0x22),
        ),
        malformed(
            "will QoS 3 [MQTT-3.1.2-12]",
            b"\x10\x11\0\x04MQTT\x04\x1E\0\0\0\x01c\0\x01w\0",
            E::ConnectFlags(0x1E),
        ),
        protocol(
            "password without user name [MQTT-3.1.2-22 of 3.1.1]",
            b"\x10\x10\0\x04MQTT\x04\x42\0\0\0\x01c\0\x01p",
            E::PasswordWithoutUserName,
        ),
        malformed(
            "user name flag without one [MQTT-3.1.2-17]",
            b"\x10\x0D\0\x04MQTT\x04\x82\0\0\0\x01c",
            E::Truncated,
        ),
        malformed(
            "password flag without one [MQTT-3.1.2-19]",
            b"\x10\x10\0\x04MQTT\x04\xC2\0\0\0\x01c\0\x01u",
            E::Truncated,
        ),
        malformed(
            "user name without its flag [MQTT-3.1.2-16, -18]",
            b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x01c\0\x01u",
            E::TrailingBytes,
        ),
        malformed(
            "will flag without a will [MQTT-3.1.2-9]",
            b"\x10\x0D\0\x04MQTT\x04\x06\0\0\0\x01c",
            E::Truncated,
        ),
        malformed("no client id [MQTT-3.1.3-3]", b"\x10\x0A\0\x04MQTT\x04\x02\0\0", E::Truncated),
        malformed(
            "client id not UTF-8 [MQTT-3.1.3-4]",
            b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01\xFF",
            E::Utf8,
        ),
        malformed(
            "will topic not UTF-8 [MQTT-3.1.3-11]",
            b"\x10\x12\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01\xFF\0\0",
            E::Utf8,
        ),
        refused(
            "will topic with a wildcard",
            b"\x10\x12\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01#\0\0",
            E::TopicName(T::Wildcard),
            ReasonCode::TopicNameInvalid,
        ),
        malformed(
            "user name not UTF-8 [MQTT-3.1.3-12]",
            b"\x10\x10\0\x04MQTT\x04\x82\0\0\0\x01c\0\x01\xFF",
            E::Utf8,
        ),
    ]);
}

#[test]
fn connect_properties() {
    sender(Client, V5).is_refused(&[
        protocol(
            "receive maximum 0",
            b"\x10\x11\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01c",
            E::PropertyValue(I::ReceiveMaximum),
        ),
        protocol(
            "maximum packet size 0",
            b"\x10\x13\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\0\0\x01c",
            E::PropertyValue(I::MaximumPacketSize),
        ),
        protocol(
            "request problem information 2",
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\x02\x17\x02\0\x01c",
            E::PropertyValue(I::RequestProblemInformation),
        ),
        protocol(
            "request response information 2",
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\x02\x19\x02\0\x01c",
            E::PropertyValue(I::RequestResponseInformation),
        ),
        protocol(
            "session expiry interval twice",
            b"\x10\x18\0\x04MQTT\x05\x02\0\0\x0A\x11\0\0\0\x01\x11\0\0\0\x01\0\x01c",
            E::PropertyRepeated(I::SessionExpiryInterval),
        ),
        protocol(
            "authentication data without method",
            b"\x10\x11\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\x01c",
            E::AuthenticationMethodMissing,
        ),
        malformed(
            "a property of PUBLISH",
            b"\x10\x11\0\x04MQTT\x05\x02\0\0\x03\x23\0\x01\0\x01c",
            E::PropertyMisplaced(I::TopicAlias),
        ),
        malformed(
            "a property nobody knows",
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\x02\x04\0\0\x01c",
            E::PropertyUnknown(4),
        ),
        malformed(
            "a property beyond one byte",
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\x02\x81\x02\0\x01c",
            E::PropertyUnknown(257),
        ),
        malformed(
            "a property that ends early",
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\x02\x21\0\0\x01c",
            E::Truncated,
        ),
        malformed(
            "no properties at all [MQTT-2.2.2-1]",
            b"\x10\x0A\0\x04MQTT\x05\x02\0\0",
            E::Truncated,
        ),
        malformed(
            "more properties than packet",
            b"\x10\x0E\0\x04MQTT\x05\x02\0\0\x04\0\x01c",
            E::Truncated,
        ),
        protocol(
            "will delay interval twice",
            b"\x10\x1E\0\x04MQTT\x05\x06\0\0\0\0\x01c\x0A\x18\0\0\0\x01\x18\0\0\0\x01\0\x01w\0\0",
            E::PropertyRepeated(I::WillDelayInterval),
        ),
        malformed(
            "topic alias in a will",
            b"\x10\x17\0\x04MQTT\x05\x06\0\0\0\0\x01c\x03\x23\0\x01\0\x01w\0\0",
            E::PropertyMisplaced(I::TopicAlias),
        ),
        malformed(
            "user property not UTF-8 [MQTT-1.5.7-1]",
            b"\x10\x15\0\x04MQTT\x05\x02\0\0\x07\x26\0\x01k\0\x01\xFF\0\x01c",
            E::Utf8,
        ),
    ]);
}

#[test]
fn publish() {
    sender(Client, V5).is_refused(&[
        malformed("QoS 3 [MQTT-3.3.1-4]", b"\x36\x06\0\x01t\0\x01\0", E::QoS),
        refused(
            "wildcard + [MQTT-3.3.2-2, 4.7.0-1]",
            b"\x30\x04\0\x01+\0",
            E::TopicName(T::Wildcard),
            ReasonCode::TopicNameInvalid,
        ),
        malformed(
            "U+0000 in the topic [MQTT-1.5.4-2, 4.7.3-2]",
            b"\x30\x05\0\x02t\0\0",
            E::TopicName(T::Null),
        ),
        malformed(
            "a surrogate in the topic [MQTT-1.5.4-1, 3.3.2-1]",
            b"\x30\x06\0\x03\xED\xA0\x80\0",
            E::Utf8,
        ),
        protocol("no topic, no alias", b"\x30\x03\0\0\0", E::TopicMissing),
        malformed("topic cut off", b"\x30\x03\0\x02t", E::Truncated),
        malformed("no property length", b"\x30\x03\0\x01t", E::Truncated),
        refused(
            "topic alias 0 [MQTT-3.3.2-8]",
            b"\x30\x07\0\x01t\x03\x23\0\0",
            E::TopicAliasZero,
            ReasonCode::TopicAliasInvalid,
        ),
        protocol(
            "topic alias twice",
            b"\x30\x0A\0\x01t\x06\x23\0\x01\x23\0\x01",
            E::PropertyRepeated(I::TopicAlias),
        ),
        protocol(
            "payload format indicator 2",
            b"\x30\x06\0\x01t\x02\x01\x02",
            E::PropertyValue(I::PayloadFormatIndicator),
        ),
        protocol(
            "payload format indicator twice",
            b"\x30\x08\0\x01t\x04\x01\x01\x01\x01",
            E::PropertyRepeated(I::PayloadFormatIndicator),
        ),
        protocol(
            "subscription identifier from a client [MQTT-3.3.4-6]",
            b"\x30\x06\0\x01t\x02\x0B\x01",
            E::PropertyFromWrongSide(I::SubscriptionIdentifier),
        ),
        protocol(
            "response topic with a wildcard [MQTT-3.3.2-14]",
            b"\x30\x08\0\x01t\x04\x08\0\x01#",
            E::ResponseTopic(T::Wildcard),
        ),
        malformed(
            "response topic not UTF-8 [MQTT-3.3.2-13]",
            b"\x30\x08\0\x01t\x04\x08\0\x01\xFF",
            E::Utf8,
        ),
        malformed(
            "U+0000 in the content type [MQTT-3.3.2-19]",
            b"\x30\x08\0\x01t\x04\x03\0\x01\0",
            E::NullCharacter,
        ),
        malformed(
            "reason string",
            b"\x30\x08\0\x01t\x04\x1F\0\x01x",
            E::PropertyMisplaced(I::ReasonString),
        ),
    ]);
    sender(Client, V311).is_refused(&[
        malformed("DUP at QoS 0 [MQTT-3.3.1-2]", b"\x38\x03\0\x01t", E::DupAtMostOnce),
        protocol("packet identifier 0 [MQTT-2.2.1-3]", b"\x32\x05\0\x01t\0\0", E::PacketIdZero),
        refused(
            "wildcard #",
            b"\x30\x05\0\x03a/#",
            E::TopicName(T::Wildcard),
            ReasonCode::TopicNameInvalid,
        ),
        protocol("no topic [MQTT-4.7.3-1]", b"\x30\x02\0\0", E::TopicMissing),
        malformed("no packet identifier", b"\x32\x03\0\x01t", E::Truncated),
    ]);
    sender(Server, V5).is_refused(&[protocol(
        "subscription identifier 0",
        b"\x30\x06\0\x01t\x02\x0B\0",
        E::PropertyValue(I::SubscriptionIdentifier),
    )]);
}

#[test]
fn acknowledgements() {
    sender(Client, V5).is_refused(&[
        protocol(
            "a reason code of SUBACK in PUBACK [MQTT-3.4.2-1]",
            b"\x40\x03\0\x01\x8F",
            E::ReasonCode(P::PubAck, 0x8F),
        ),
        protocol(
            "a reason code nobody knows in PUBREC [MQTT-3.5.2-1]",
            b"\x50\x03\0\x01\x03",
            E::ReasonCode(P::PubRec, 3),
        ),
        protocol(
            "an error in PUBREL [MQTT-3.6.2-1]",
            b"\x62\x03\0\x01\x80",
            E::ReasonCode(P::PubRel, 0x80),
        ),
        protocol(
            "an error in PUBCOMP [MQTT-3.7.2-1]",
            b"\x70\x03\0\x01\x80",
            E::ReasonCode(P::PubComp, 0x80),
        ),
        protocol(
            "reason string twice",
            b"\x40\x0A\0\x01\0\x06\x1F\0\0\x1F\0\0",
            E::PropertyRepeated(I::ReasonString),
        ),
        malformed("half a packet identifier", b"\x40\x01\x01", E::Truncated),
        malformed("bytes after the properties", b"\x40\x05\0\x01\0\0\0", E::TrailingBytes),
    ]);
    sender(Client, V311).is_refused(&[malformed(
        "a reason code before 5.0",
        b"\x40\x03\0\x01\0",
        E::TrailingBytes,
    )]);
}

#[test]
fn subscribe() {
    sender(Client, V5).is_refused(&[
        protocol("packet identifier 0 [MQTT-2.2.1-3]", b"\x82\x07\0\0\0\0\x01a\0", E::PacketIdZero),
        protocol(
            "no filter [MQTT-3.8.3-2, 3.8.3-3 of 3.1.1]",
            b"\x82\x03\0\x01\0",
            E::NoTopicFilters,
        ),
        protocol("QoS 3", b"\x82\x07\0\x01\0\0\x01a\x03", E::SubscriptionOptions(3)),
        protocol("retain handling 3", b"\x82\x07\0\x01\0\0\x01a\x30", E::SubscriptionOptions(0x30)),
        malformed(
            "reserved options [MQTT-3.8.3-5]",
            b"\x82\x07\0\x01\0\0\x01a\x40",
            E::SubscriptionOptionsReserved(0x40),
        ),
        protocol(
            "no local on a shared subscription [MQTT-3.8.3-4]",
            b"\x82\x10\0\x01\0\0\x0A$share/g/a\x04",
            E::NoLocalShared,
        ),
        refused(
            "share name without filter [MQTT-4.8.2-2]",
            b"\x82\x0E\0\x01\0\0\x08$share/g\0",
            E::TopicFilter(T::ShareName),
            ReasonCode::TopicFilterInvalid,
        ),
        refused(
            "empty share name [MQTT-4.8.2-1]",
            b"\x82\x0F\0\x01\0\0\x09$share//a\0",
            E::TopicFilter(T::ShareName),
            ReasonCode::TopicFilterInvalid,
        ),
        refused(
            "# before the end [MQTT-4.7.1-1]",
            b"\x82\x09\0\x01\0\0\x03#/a\0",
            E::TopicFilter(T::Wildcard),
            ReasonCode::TopicFilterInvalid,
        ),
        refused(
            "empty filter [MQTT-4.7.3-1]",
            b"\x82\x06\0\x01\0\0\0\0",
            E::TopicFilter(T::Empty),
            ReasonCode::TopicFilterInvalid,
        ),
        malformed("filter not UTF-8 [MQTT-3.8.3-1]", b"\x82\x07\0\x01\0\0\x01\xFF\0", E::Utf8),
        malformed(
            "U+0000 in the filter [MQTT-1.5.4-2]",
            b"\x82\x07\0\x01\0\0\x01\0\0",
            E::NullCharacter,
        ),
        protocol(
            "subscription identifier 0",
            b"\x82\x09\0\x01\x02\x0B\0\0\x01a\0",
            E::PropertyValue(I::SubscriptionIdentifier),
        ),
        protocol(
            "subscription identifier twice",
            b"\x82\x0B\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0",
            E::PropertyRepeated(I::SubscriptionIdentifier),
        ),
        malformed(
            "subscription identifier of five bytes",
            b"\x82\x0D\0\x01\x06\x0B\xFF\xFF\xFF\xFF\x01\0\x01a\0",
            E::VariableByteInteger,
        ),
    ]);
    sender(Client, V311).is_refused(&[
        protocol("no filter", b"\x82\x02\0\x01", E::NoTopicFilters),
        malformed("no options", b"\x82\x05\0\x01\0\x01a", E::Truncated),
        protocol("QoS 3", b"\x82\x06\0\x01\0\x01a\x03", E::SubscriptionOptions(3)),
        malformed(
            "options of 5.0 before",
            b"\x82\x06\0\x01\0\x01a\x04",
            E::SubscriptionOptionsReserved(4),
        ),
        refused(
            "+ in a level [MQTT-4.7.1-2]",
            b"\x82\x07\0\x01\0\x02a+\0",
            E::TopicFilter(T::Wildcard),
            ReasonCode::TopicFilterInvalid,
        ),
        protocol(
            "second filter wrong",
            b"\x82\x0A\0\x01\0\x01a\0\0\x01+\x03",
            E::SubscriptionOptions(3),
        ),
    ]);
}

#[test]
fn unsubscribe() {
    sender(Client, V5).is_refused(&[
        protocol("no filter [MQTT-3.10.3-2]", b"\xA2\x03\0\x01\0", E::NoTopicFilters),
        malformed(
            "subscription identifier",
            b"\xA2\x08\0\x01\x02\x0B\x01\0\x01a",
            E::PropertyMisplaced(I::SubscriptionIdentifier),
        ),
    ]);
    sender(Client, V311).is_refused(&[
        protocol("no filter", b"\xA2\x02\0\x01", E::NoTopicFilters),
        malformed("filter not UTF-8 [MQTT-3.10.3-1]", b"\xA2\x05\0\x01\0\x01\xFF", E::Utf8),
        malformed("half a filter", b"\xA2\x06\0\x01\0\x01a\0", E::Truncated),
        protocol("packet identifier 0", b"\xA2\x05\0\0\0\x01a", E::PacketIdZero),
    ]);
}

#[test]
fn answers_of_a_server() {
    sender(Server, V311).is_refused(&[
        malformed(
            "flags of CONNACK [MQTT-3.2.2-1]",
            b"\x20\x02\x02\0",
            E::ConnectAcknowledgeFlags(2),
        ),
        protocol("return code 6", b"\x20\x02\0\x06", E::ReasonCode(P::ConnAck, 6)),
        protocol(
            "SUBACK of 3.1.1 [MQTT-3.9.3-2]",
            b"\x90\x03\0\x01\x87",
            E::ReasonCode(P::SubAck, 0x87),
        ),
        malformed("UNSUBACK of 3.1.1", b"\xB0\x03\0\x01\0", E::TrailingBytes),
    ]);
    sender(Server, V5).is_refused(&[
        malformed(
            "session present at a refusal [MQTT-3.2.2-6]",
            b"\x20\x03\x01\x87\0",
            E::ConnectAcknowledgeFlags(1),
        ),
        protocol(
            "a reason code of DISCONNECT [MQTT-3.2.2-8]",
            b"\x20\x03\0\x8E\0",
            E::ReasonCode(P::ConnAck, 0x8E),
        ),
        protocol("maximum QoS 2", b"\x20\x05\0\0\x02\x24\x02", E::PropertyValue(I::MaximumQoS)),
        protocol("SUBACK of 5.0", b"\x90\x04\0\x01\0\x11", E::ReasonCode(P::SubAck, 0x11)),
        protocol("SUBACK of nothing", b"\x90\x03\0\x01\0", E::NoReasonCodes),
        protocol(
            "UNSUBACK of 5.0 [MQTT-3.11.3-2]",
            b"\xB0\x04\0\x01\0\x01",
            E::ReasonCode(P::UnsubAck, 1),
        ),
    ]);
}

#[test]
fn disconnect_and_auth() {
    sender(Client, V5).is_refused(&[
        protocol(
            "a reason code of CONNACK [MQTT-3.14.2-1]",
            b"\xE0\x01\x85",
            E::ReasonCode(P::Disconnect, 0x85),
        ),
        protocol(
            "a client that takes a session over",
            b"\xE0\x01\x8E",
            E::ReasonCode(P::Disconnect, 0x8E),
        ),
        protocol(
            "server reference from a client",
            b"\xE0\x06\0\x04\x1C\0\x01s",
            E::PropertyFromWrongSide(I::ServerReference),
        ),
        malformed("bytes after the properties", b"\xE0\x03\0\0\0", E::TrailingBytes),
        protocol(
            "a client that says success [MQTT-3.15.2-1]",
            b"\xF0\x06\0\x04\x15\0\x01m",
            E::ReasonCode(P::Auth, 0),
        ),
        protocol("the same, in short", b"\xF0\0", E::ReasonCode(P::Auth, 0)),
        protocol(
            "no authentication method [MQTT-4.12.0-5]",
            b"\xF0\x02\x18\0",
            E::AuthenticationMethodMissing,
        ),
        malformed("no properties", b"\xF0\x01\x18", E::Truncated),
        protocol(
            "authentication method twice",
            b"\xF0\x0A\x18\x08\x15\0\x01m\x15\0\x01m",
            E::PropertyRepeated(I::AuthenticationMethod),
        ),
    ]);
    sender(Server, V5).is_refused(&[
        protocol("a server with a will", b"\xE0\x01\x04", E::ReasonCode(P::Disconnect, 4)),
        protocol(
            "session expiry interval from a server [MQTT-3.14.2-2]",
            b"\xE0\x07\0\x05\x11\0\0\0\x01",
            E::PropertyFromWrongSide(I::SessionExpiryInterval),
        ),
    ]);
    sender(Client, V311).is_refused(&[malformed(
        "a body before 5.0",
        b"\xE0\x01\0",
        E::TrailingBytes,
    )]);
}

/// [MQTT-3.2.2-15]: as soon as the fixed header tells.
#[test]
fn a_packet_too_large_is_refused_before_it_has_arrived() {
    let error = DecodeError::PacketTooLarge { size: 101, size_max: 100 };
    assert_eq!(Frame::cut(&[0x30, 99], 100), Err(error));
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    assert_eq!(Frame::cut(&[0x30, 98], 100), Ok(Cut::Partial { needed: 100 }));
    assert!(Frame::cut(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1 << 20).is_err());
}

#[test]
fn bits_that_3_1_does_not_use_are_not_looked_at() {
    for bytes in [
        &b"\x10\x0F\0\x06MQIsdp\x03\x03\0\0\0\x01c"[..],
        b"\x10\x0F\0\x06MQIsdp\x03\x3A\0\0\0\x01c",
        b"\x82\x06\0\x01\0\x01a\xFC",
    ] {
        assert!(Client.read(V31, bytes).is_ok(), "{bytes:02x?}");
    }
    assert!(Server.read(V31, b"\x20\x02\xFF\0").is_ok());
}

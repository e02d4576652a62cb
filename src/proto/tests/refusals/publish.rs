//! PUBLISH and its acknowledgements.

use super::super::From::{Client, Server};
use super::{malformed, protocol, refused, sender};
use crate::proto::DecodeError as E;
use crate::proto::Version::{V5, V311};
use crate::proto::{PacketType as P, PropertyId as I, ReasonCode, TopicError as T};

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

//! CONNECT.

use super::super::From::Client;
use super::{malformed, protocol, refused, sender};
use crate::proto::DecodeError as E;
use crate::proto::Version::{V5, V311};
use crate::proto::{PropertyId as I, ReasonCode, TopicError as T};

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

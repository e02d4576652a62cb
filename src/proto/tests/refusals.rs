//! What must be refused, with which error and which reason code. The bytes are written by hand,
//! so that no encoder has a say in them.

mod connect;
mod publish;
mod subscribe;

use super::From::{Client, Server};
use super::{From, VERSIONS};
use crate::proto::DecodeError as E;
use crate::proto::Version::{V5, V31, V311};
use crate::proto::{Cut, Frame, PacketType as P, PropertyId as I};
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

//! Bytes to packets: the fields every packet is made of, and the way to the packet's own file.

use super::ack::Ack;
use super::auth::Auth;
use super::connack::ConnAck;
use super::connect::Connect;
use super::disconnect::Disconnect;
use super::frame::{DUP, variable_byte_integer};
use super::property::PropertyReader;
use super::publish::Publish;
use super::subscribe::{SubAck, Subscribe};
use super::unsubscribe::{UnsubAck, Unsubscribe};
use super::{DecodeError, Frame, Packet, PacketId, PacketType, ReasonCode, Version};

/// Who sent a packet: some packets, properties and reason codes belong to one side alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

impl<'a> Packet<'a> {
    /// Reads what a client sent, as a server does.
    ///
    /// A CONNECT names its version itself and ignores `version`. Packets, properties and reason
    /// codes that are the server's to send are refused.
    #[inline]
    pub fn decode_from_client(
        version: Version,
        frame: Frame<'a>,
    ) -> Result<Packet<'a>, DecodeError> {
        match frame.packet_type() {
            PacketType::Publish => {
                Publish::decode(Sender::Client, version, frame).map(Packet::Publish)
            }
            PacketType::Connect => Connect::decode(frame.body()).map(Packet::Connect),
            PacketType::Subscribe => {
                Subscribe::decode(version, checked_flags(version, frame)?).map(Packet::Subscribe)
            }
            PacketType::Unsubscribe => Unsubscribe::decode(version, checked_flags(version, frame)?)
                .map(Packet::Unsubscribe),
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
                decode_ack(version, frame)
            }
            PacketType::PingReq => empty(frame).map(|()| Packet::PingReq),
            other @ (PacketType::ConnAck
            | PacketType::SubAck
            | PacketType::UnsubAck
            | PacketType::PingResp) => Err(DecodeError::PacketFromWrongSide(other)),
            PacketType::Disconnect => {
                Disconnect::decode(Sender::Client, version, frame.body()).map(Packet::Disconnect)
            }
            PacketType::Auth => {
                Auth::decode(Sender::Client, version, frame.body()).map(Packet::Auth)
            }
        }
    }

    /// Reads what a server sent, as a client does.
    pub fn decode_from_server(
        version: Version,
        frame: Frame<'a>,
    ) -> Result<Packet<'a>, DecodeError> {
        match frame.packet_type() {
            PacketType::Publish => {
                Publish::decode(Sender::Server, version, frame).map(Packet::Publish)
            }
            PacketType::ConnAck => ConnAck::decode(version, frame.body()).map(Packet::ConnAck),
            PacketType::SubAck => SubAck::decode(version, frame.body()).map(Packet::SubAck),
            PacketType::UnsubAck => UnsubAck::decode(version, frame.body()).map(Packet::UnsubAck),
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
                decode_ack(version, frame)
            }
            PacketType::PingResp => empty(frame).map(|()| Packet::PingResp),
            other @ (PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq) => Err(DecodeError::PacketFromWrongSide(other)),
            PacketType::Disconnect if version != Version::V5 => {
                Err(DecodeError::PacketFromWrongSide(PacketType::Disconnect))
            }
            PacketType::Disconnect => {
                Disconnect::decode(Sender::Server, version, frame.body()).map(Packet::Disconnect)
            }
            PacketType::Auth => {
                Auth::decode(Sender::Server, version, frame.body()).map(Packet::Auth)
            }
        }
    }
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, from either side.
#[inline]
fn decode_ack(version: Version, frame: Frame<'_>) -> Result<Packet<'_>, DecodeError> {
    let packet_type = frame.packet_type();
    let body = checked_flags(version, frame)?;
    // Most are no longer: success, which needs no more to be said.
    if let [high, low] = *body
        && let Some(packet_id) = PacketId::new(u16::from_be_bytes([high, low]))
    {
        return Ok(of_type(packet_type, Ack::new(packet_id, ReasonCode::Success)));
    }
    Ok(of_type(packet_type, Ack::decode(packet_type, version, body)?))
}

#[inline]
fn of_type(packet_type: PacketType, ack: Ack<'_>) -> Packet<'_> {
    match packet_type {
        PacketType::PubAck => Packet::PubAck(ack),
        PacketType::PubRec => Packet::PubRec(ack),
        PacketType::PubRel => Packet::PubRel(ack),
        _ => Packet::PubComp(ack),
    }
}

/// The body, if the flags suit the version: DUP beside the reserved flags is of 3.1 alone.
/// [MQTT-2.1.3-1]
#[inline]
fn checked_flags<'a>(version: Version, frame: Frame<'a>) -> Result<&'a [u8], DecodeError> {
    if frame.flags() & DUP != 0 && version != Version::V31 {
        return Err(DecodeError::FixedHeaderFlags(frame.packet_type(), frame.flags()));
    }
    Ok(frame.body())
}

/// A packet that is nothing but its fixed header.
fn empty(frame: Frame<'_>) -> Result<(), DecodeError> {
    Reader::new(frame.body()).end()
}

/// Takes field after field off the front of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    #[inline]
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    #[inline]
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn two_byte_integer(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn four_byte_integer(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let (value, rest) = variable_byte_integer(self.rest)?.ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(value)
    }

    /// Binary data: a length of two bytes, then as many bytes.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.two_byte_integer()?;
        self.bytes(usize::from(length))
    }

    /// A string: UTF-8 without surrogates or U+0000; anything else, a byte order mark too, is
    /// kept as it is. [MQTT-1.5.4-1, -2, -3, 1.5.3-1, -2, -3 of 3.1.1]
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| DecodeError::Utf8)?;
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::NullCharacter);
        }
        Ok(text)
    }

    /// A packet identifier. [MQTT-2.2.1-3]
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.two_byte_integer()?).ok_or(DecodeError::PacketIdZero)
    }

    /// The reason code of a 5.0 packet.
    pub(super) fn reason(
        &mut self,
        packet: PacketType,
        sender: Sender,
    ) -> Result<ReasonCode, DecodeError> {
        let code = self.byte()?;
        ReasonCode::from_u8(code)
            .filter(|reason| reason.belongs_to(packet, sender))
            .ok_or(DecodeError::ReasonCode(packet, code))
    }

    /// The properties: a length, then as many bytes of them. None before 5.0.
    #[inline]
    pub(super) fn properties(
        &mut self,
        version: Version,
    ) -> Result<PropertyReader<'a>, DecodeError> {
        if version != Version::V5 {
            return Ok(PropertyReader::new(&[]));
        }
        let length = self.variable_byte_integer()?;
        self.bytes(length as usize).map(PropertyReader::new)
    }
}

//! Packets a broker sends, borrowed from the receive buffer.

use std::fmt;

use super::{Qos, Version};

/// One whole packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Packet type and flags.
    pub first: u8,
    /// Everything after the remaining length.
    pub body: &'a [u8],
    /// Bytes the packet took, header included.
    pub size: usize,
}

/// A packet from a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to CONNECT.
    Connack(Connack),
    /// A message.
    Publish(Publish<'a>),
    /// QoS 1 is done for this packet identifier.
    Puback(Answer),
    /// QoS 2, first half.
    Pubrec(Answer),
    /// QoS 2, the broker releases a message it sent.
    Pubrel(Answer),
    /// QoS 2 is done for this packet identifier.
    Pubcomp(Answer),
    /// The answer to SUBSCRIBE: one code a filter.
    Suback(&'a [u8]),
    /// The answer to PINGREQ.
    Pingresp,
    /// The broker says goodbye, with its reason code (v5 only).
    Disconnect(u8),
}

/// What the harness wants to know of a CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The broker still had the session.
    pub session_present: bool,
    /// Return code (3.1.1) or reason code (v5); zero is success.
    pub code: u8,
    /// How many QoS 1 and 2 messages may be unacknowledged.
    pub receive_maximum: u16,
    /// The keep-alive the broker asks for instead of ours.
    pub server_keep_alive_s: Option<u16>,
}

/// A message from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The level it was sent with.
    pub qos: Qos,
    /// It may have been sent before.
    pub duplicate: bool,
    /// It is, or was, a retained message.
    pub retain: bool,
    /// The topic name.
    pub topic: &'a [u8],
    /// The packet identifier; zero at QoS 0.
    pub packet_id: u16,
    /// The payload.
    pub payload: &'a [u8],
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The packet identifier it answers.
    pub packet_id: u16,
    /// Reason code; zero where the packet carries none.
    pub reason: u8,
}

impl Answer {
    /// The broker refused the message.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.reason >= 0x80
    }
}

/// Why bytes from the broker are not a packet the harness can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A remaining length of more than four digits.
    LengthTooLong,
    /// A packet larger than any that this run can produce.
    TooLarge {
        /// Its size.
        size: usize,
        /// The largest the harness accepts.
        size_max: usize,
    },
    /// A packet that ends before a field it must have.
    Truncated,
    /// A type or flags that a broker never sends.
    Unexpected {
        /// The first byte.
        first: u8,
    },
    /// A property identifier that does not exist.
    UnknownProperty {
        /// The identifier.
        identifier: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthTooLong => write!(f, "remaining length of more than four bytes"),
            Self::TooLarge { size, size_max } => {
                write!(f, "packet of {size} bytes, more than the {size_max} possible in this run")
            }
            Self::Truncated => write!(f, "packet ends before its last field"),
            Self::Unexpected { first } => {
                write!(f, "packet starts with {first:#04x}, which no broker sends")
            }
            Self::UnknownProperty { identifier } => write!(f, "unknown property {identifier:#04x}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The first whole packet in `bytes`, or `None` while it is incomplete.
#[inline]
pub fn split(bytes: &[u8], size_max: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let mut remaining = 0usize;
    for digit_index in 0..4 {
        let Some(&digit) = bytes.get(1 + digit_index) else { return Ok(None) };
        remaining |= usize::from(digit & 0x7F) << (7 * digit_index);
        if digit & 0x80 == 0 {
            let start = 2 + digit_index;
            let size = start + remaining;
            if size > size_max {
                return Err(DecodeError::TooLarge { size, size_max });
            }
            return Ok(bytes.get(start..size).map(|body| Frame { first, body, size }));
        }
    }
    Err(DecodeError::LengthTooLong)
}

/// Reads one packet.
#[inline]
pub fn packet<'a>(version: Version, frame: &Frame<'a>) -> Result<Packet<'a>, DecodeError> {
    let mut body = Reader(frame.body);
    if frame.first >> 4 == 3 {
        return publish(version, frame.first, body).map(Packet::Publish);
    }
    match frame.first {
        0x20 => connack(version, body).map(Packet::Connack),
        0x40 => answer(body).map(Packet::Puback),
        0x50 => answer(body).map(Packet::Pubrec),
        0x62 => answer(body).map(Packet::Pubrel),
        0x70 => answer(body).map(Packet::Pubcomp),
        0x90 => {
            body.u16()?;
            body.skip_properties(version)?;
            Ok(Packet::Suback(body.0))
        }
        0xD0 => Ok(Packet::Pingresp),
        0xE0 if version == Version::V5 => Ok(Packet::Disconnect(body.u8().unwrap_or(0))),
        first => Err(DecodeError::Unexpected { first }),
    }
}

#[inline]
fn publish(version: Version, first: u8, mut body: Reader<'_>) -> Result<Publish<'_>, DecodeError> {
    let qos = Qos::from_bits(first >> 1 & 3).ok_or(DecodeError::Unexpected { first })?;
    let topic_size = body.u16()?;
    let topic = body.take(usize::from(topic_size))?;
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { body.u16()? };
    body.skip_properties(version)?;
    let duplicate = first & 0x08 != 0;
    Ok(Publish { qos, duplicate, retain: first & 1 != 0, topic, packet_id, payload: body.0 })
}

fn connack(version: Version, mut body: Reader<'_>) -> Result<Connack, DecodeError> {
    let session_present = body.u8()? & 1 != 0;
    let code = body.u8()?;
    let mut connack =
        Connack { session_present, code, receive_maximum: u16::MAX, server_keep_alive_s: None };
    if version == Version::V5 && !body.0.is_empty() {
        let size = body.length()?;
        let mut properties = Reader(body.take(size)?);
        while !properties.0.is_empty() {
            match properties.u8()? {
                0x21 => connack.receive_maximum = properties.u16()?.max(1),
                0x13 => connack.server_keep_alive_s = Some(properties.u16()?),
                identifier => properties.skip_value(identifier)?,
            }
        }
    }
    Ok(connack)
}

fn answer(mut body: Reader<'_>) -> Result<Answer, DecodeError> {
    let packet_id = body.u16()?;
    Ok(Answer { packet_id, reason: body.u8().unwrap_or(0) })
}

/// The unread rest of a packet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, DecodeError> {
        let (&bytes, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    /// A variable byte integer.
    #[inline]
    fn length(&mut self) -> Result<usize, DecodeError> {
        let mut value = 0usize;
        for digit_index in 0..4 {
            let digit = self.u8()?;
            value |= usize::from(digit & 0x7F) << (7 * digit_index);
            if digit & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::LengthTooLong)
    }

    #[inline]
    fn skip_properties(&mut self, version: Version) -> Result<(), DecodeError> {
        if version == Version::V5 {
            let size = self.length()?;
            self.take(size)?;
        }
        Ok(())
    }

    /// Passes over the value of a property, by the types of section 2.2.2.2.
    fn skip_value(&mut self, identifier: u8) -> Result<(), DecodeError> {
        match identifier {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => self.take(1)?,
            0x13 | 0x21 | 0x22 | 0x23 => self.take(2)?,
            0x02 | 0x11 | 0x18 | 0x27 => self.take(4)?,
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => self.string()?,
            0x26 => {
                self.string()?;
                self.string()?
            }
            0x0B => {
                self.length()?;
                &[]
            }
            _ => return Err(DecodeError::UnknownProperty { identifier }),
        };
        Ok(())
    }

    fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    const SIZE_MAX: usize = 1 << 20;

    fn one(version: Version, bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
        let frame = split(bytes, SIZE_MAX)?.expect("a whole packet");
        assert_eq!(frame.size, bytes.len());
        packet(version, &frame)
    }

    fn message(version: Version, qos: Qos) -> Vec<u8> {
        let mut bytes = encode::publish_prefix(version, "a/b", qos, false, 300);
        if qos != Qos::AtMostOnce {
            bytes.extend_from_slice(&[0x12, 0x34]);
        }
        if version == Version::V5 {
            bytes.push(0);
        }
        bytes.extend_from_slice(&[7; 300]);
        bytes
    }

    #[test]
    fn a_publish_reads_back_in_both_versions_and_all_levels() {
        for version in [Version::V311, Version::V5] {
            for bits in 0..3 {
                let qos = Qos::from_bits(bits).expect("a level");
                let bytes = message(version, qos);
                let Packet::Publish(publish) = one(version, &bytes).expect("decodes") else {
                    panic!("not a publish");
                };
                assert_eq!((publish.qos, publish.topic), (qos, &b"a/b"[..]));
                assert_eq!(publish.packet_id, if bits == 0 { 0 } else { 0x1234 });
                assert_eq!(publish.payload, [7; 300]);
            }
        }
    }

    #[test]
    fn every_cut_of_a_packet_is_incomplete() {
        let bytes = message(Version::V5, Qos::ExactlyOnce);
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut], SIZE_MAX), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn a_shortened_body_is_truncated_and_never_a_panic() {
        let connack = b"\x20\x0b\x00\x00\x08\x21\x00\x14\x12\x00\x02ab";
        for end in 2..connack.len() {
            let frame = Frame { first: 0x20, body: &connack[2..end], size: end };
            let result = packet(Version::V5, &frame);
            let is_whole_without_properties = end == 4;
            assert_eq!(result.is_ok(), is_whole_without_properties, "end {end}: {result:?}");
        }
    }

    #[test]
    fn a_connack_yields_the_receive_maximum_among_other_properties() {
        let bytes =
            b"\x20\x13\x01\x00\x10\x22\x00\x0a\x21\x00\x14\x26\x00\x01k\x00\x01v\x13\x00\x1e";
        let expected = Connack {
            session_present: true,
            code: 0,
            receive_maximum: 20,
            server_keep_alive_s: Some(30),
        };
        assert_eq!(one(Version::V5, bytes), Ok(Packet::Connack(expected)));
    }

    #[test]
    fn answers_carry_a_reason_only_when_it_is_there() {
        let short = Answer { packet_id: 5, reason: 0 };
        assert_eq!(one(Version::V5, b"\x40\x02\x00\x05"), Ok(Packet::Puback(short)));
        let long = Answer { packet_id: 5, reason: 0x97 };
        assert_eq!(one(Version::V5, b"\x50\x03\x00\x05\x97"), Ok(Packet::Pubrec(long)));
        assert!(long.is_refusal());
    }

    #[test]
    fn what_no_broker_sends_is_refused() {
        for first in [0x00, 0x10, 0x36, 0x60, 0x82, 0xC0, 0xF1] {
            let bytes = [first, 2, 0, 1];
            let refused = Err(DecodeError::Unexpected { first });
            assert_eq!(one(Version::V311, &bytes), refused, "{first:#04x}");
        }
        assert_eq!(
            split(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], SIZE_MAX),
            Err(DecodeError::LengthTooLong)
        );
        let too_large = DecodeError::TooLarge { size: 2_097_155, size_max: SIZE_MAX };
        assert_eq!(split(&[0x30, 0xFF, 0xFF, 0x7F], SIZE_MAX), Err(too_large));
    }
}

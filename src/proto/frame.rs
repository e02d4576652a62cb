//! The fixed header: where one packet ends and the next begins.

use std::fmt;

use super::DecodeError;

/// The largest value of a variable byte integer, and so of a remaining length.
pub(super) const VARIABLE_BYTE_INTEGER_MAX: u32 = 268_435_455;

/// One whole packet, not yet understood: what the fixed header says and the bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    packet_type: PacketType,
    flags: u8,
    body: &'a [u8],
}

/// What is at the front of the bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole packet.
    Whole {
        /// It.
        frame: Frame<'a>,
        /// Its bytes, fixed header included; the next packet begins after them.
        size: usize,
    },
    /// The beginning of one.
    Partial {
        /// Bytes to wait for, counted from the front: the size of the packet if its length is
        /// known, else at least one more than there are.
        needed: usize,
    },
}

/// The control packets by their number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// CONNECT.
    Connect = 1,
    /// CONNACK.
    ConnAck = 2,
    /// PUBLISH.
    Publish = 3,
    /// PUBACK.
    PubAck = 4,
    /// PUBREC.
    PubRec = 5,
    /// PUBREL.
    PubRel = 6,
    /// PUBCOMP.
    PubComp = 7,
    /// SUBSCRIBE.
    Subscribe = 8,
    /// SUBACK.
    SubAck = 9,
    /// UNSUBSCRIBE.
    Unsubscribe = 10,
    /// UNSUBACK.
    UnsubAck = 11,
    /// PINGREQ.
    PingReq = 12,
    /// PINGRESP.
    PingResp = 13,
    /// DISCONNECT.
    Disconnect = 14,
    /// AUTH.
    Auth = 15,
}

impl<'a> Frame<'a> {
    /// Finds the packet at the front of `bytes`.
    ///
    /// Whatever the fixed header alone shows to be wrong is refused here, before the rest of the
    /// packet has arrived: a packet larger than `size_max` bytes is never waited for.
    #[inline]
    pub fn cut(bytes: &'a [u8], size_max: u32) -> Result<Cut<'a>, DecodeError> {
        let Some((&first, after_first)) = bytes.split_first() else {
            return Ok(Cut::Partial { needed: 2 });
        };
        let packet_type =
            PacketType::from_bits(first >> 4).ok_or(DecodeError::ReservedPacketType)?;
        let flags = first & 0x0F;
        if !packet_type.allows(flags) {
            return Err(DecodeError::FixedHeaderFlags(packet_type, flags));
        }
        let Some((remaining_length, after_length)) = remaining_length(after_first)? else {
            return Ok(Cut::Partial { needed: bytes.len() + 1 });
        };
        let size = bytes.len() - after_length.len() + remaining_length;
        if size > size_max as usize {
            return Err(DecodeError::PacketTooLarge { size, size_max });
        }
        match after_length.get(..remaining_length) {
            Some(body) => Ok(Cut::Whole { frame: Frame { packet_type, flags, body }, size }),
            None => Ok(Cut::Partial { needed: size }),
        }
    }

    /// Which packet it is.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    /// The low four bits of its first byte.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// What follows the fixed header.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

impl PacketType {
    /// The type of four bits; 0 is none.
    #[inline]
    pub fn from_bits(bits: u8) -> Option<PacketType> {
        Some(match bits {
            1 => PacketType::Connect,
            2 => PacketType::ConnAck,
            3 => PacketType::Publish,
            4 => PacketType::PubAck,
            5 => PacketType::PubRec,
            6 => PacketType::PubRel,
            7 => PacketType::PubComp,
            8 => PacketType::Subscribe,
            9 => PacketType::SubAck,
            10 => PacketType::Unsubscribe,
            11 => PacketType::UnsubAck,
            12 => PacketType::PingReq,
            13 => PacketType::PingResp,
            14 => PacketType::Disconnect,
            15 => PacketType::Auth,
            _ => return None,
        })
    }

    /// The reserved flags of the type, which every sender must set so. Those of PUBLISH carry
    /// DUP, QoS and RETAIN instead. [MQTT-2.1.3-1, 3.6.1-1, 3.8.1-1, 3.10.1-1]
    #[inline]
    pub(super) const fn reserved_flags(self) -> u8 {
        match self {
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// Whether some version allows these flags. 3.1 lets PUBREL, SUBSCRIBE and UNSUBSCRIBE carry
    /// DUP; the version is not known here, so decoding checks that one again.
    #[inline]
    fn allows(self, flags: u8) -> bool {
        match self {
            PacketType::Publish => true,
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => {
                flags & !DUP == 0b0010
            }
            _ => flags == 0,
        }
    }

    /// The first byte of a packet of this type, other than PUBLISH.
    #[inline]
    pub(super) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.reserved_flags()
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PacketType::Connect => "CONNECT",
            PacketType::ConnAck => "CONNACK",
            PacketType::Publish => "PUBLISH",
            PacketType::PubAck => "PUBACK",
            PacketType::PubRec => "PUBREC",
            PacketType::PubRel => "PUBREL",
            PacketType::PubComp => "PUBCOMP",
            PacketType::Subscribe => "SUBSCRIBE",
            PacketType::SubAck => "SUBACK",
            PacketType::Unsubscribe => "UNSUBSCRIBE",
            PacketType::UnsubAck => "UNSUBACK",
            PacketType::PingReq => "PINGREQ",
            PacketType::PingResp => "PINGRESP",
            PacketType::Disconnect => "DISCONNECT",
            PacketType::Auth => "AUTH",
        })
    }
}

/// The DUP bit of the first byte.
pub(super) const DUP: u8 = 0b1000;

/// A variable byte integer and what follows it; `None` if its end has not arrived.
///
/// A value in more bytes than it needs is refused. [MQTT-1.5.5-1]
#[inline]
pub(super) fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, &[u8])>, DecodeError> {
    let mut value = 0;
    for index in 0..4 {
        let Some(&byte) = bytes.get(index) else { return Ok(None) };
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(DecodeError::VariableByteInteger);
            }
            return Ok(Some((value, &bytes[index + 1..])));
        }
    }
    Err(DecodeError::VariableByteInteger)
}

#[inline]
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, DecodeError> {
    Ok(variable_byte_integer(bytes)?.map(|(value, rest)| (value as usize, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of variable byte integers in the specification: the first and the last value of
    /// each length.
    const BOUNDS: [(u32, &[u8]); 8] = [
        (0, &[0x00]),
        (127, &[0x7F]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 0x01]),
        (2_097_151, &[0xFF, 0xFF, 0x7F]),
        (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        (VARIABLE_BYTE_INTEGER_MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
    ];

    #[test]
    fn a_variable_byte_integer_is_read_up_to_its_bounds() {
        for (value, bytes) in BOUNDS {
            assert_eq!(variable_byte_integer(bytes), Ok(Some((value, &[][..]))));
            for len in 0..bytes.len() {
                assert_eq!(variable_byte_integer(&bytes[..len]), Ok(None));
            }
        }
    }

    #[test]
    fn a_variable_byte_integer_is_written_as_short_as_can_be() {
        // [MQTT-1.5.5-1]
        for (value, bytes) in BOUNDS {
            let mut out = Vec::new();
            super::super::encode::put_variable_byte_integer(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(super::super::encode::variable_byte_integer_len(value), bytes.len());
        }
    }

    #[test]
    fn a_variable_byte_integer_is_four_bytes_at_most_and_not_padded() {
        for bytes in [
            &[0x80, 0x80, 0x80, 0x80, 0x01][..],
            &[0xFF, 0xFF, 0xFF, 0xFF],
            &[0x80, 0x00],
            &[0xFF, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(variable_byte_integer(bytes), Err(DecodeError::VariableByteInteger));
        }
    }

    #[test]
    fn nothing_yet_is_the_beginning_of_the_smallest_packet() {
        assert_eq!(Frame::cut(&[], 100), Ok(Cut::Partial { needed: 2 }));
        assert_eq!(Frame::cut(&[0x30], 100), Ok(Cut::Partial { needed: 2 }));
        assert_eq!(Frame::cut(&[0x30, 0x80], 100), Ok(Cut::Partial { needed: 3 }));
    }

    #[test]
    fn the_size_of_a_packet_counts_its_fixed_header() {
        let bytes = [&[0x30, 0x80, 0x01][..], &[0; 128]].concat();
        assert!(matches!(Frame::cut(&bytes, 131), Ok(Cut::Whole { size: 131, .. })));
        assert_eq!(
            Frame::cut(&bytes, 130),
            Err(DecodeError::PacketTooLarge { size: 131, size_max: 130 }),
        );
    }

    #[test]
    fn every_first_byte_is_a_packet_or_refused() {
        let legal = (0..=u8::MAX).filter(|first| Frame::cut(&[*first, 0], 100).is_ok());
        // 16 of PUBLISH, 2 each of PUBREL, SUBSCRIBE and UNSUBSCRIBE, 1 of the other eleven.
        assert_eq!(legal.count(), 16 + 2 * 3 + 11);
        for first in 0..=0x0F {
            assert_eq!(Frame::cut(&[first], 100), Err(DecodeError::ReservedPacketType));
        }
    }
}

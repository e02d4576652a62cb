//! What servers send, and nothing that they may not.

use std::fmt;

use super::{AckKind, Packet, Property, Protocol, Publish, Value, property};

/// Why a server's bytes are not MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// The length of the first whole packet of `bytes`, if there is one, and where its body starts.
pub(in crate::sim) fn cut(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0_usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else { return Ok(None) };
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && byte == 0 {
                return malformed("a remaining length in more bytes than it needs");
            }
            let start = 2 + index;
            return Ok((bytes.len() >= start + length).then_some((start + length, start)));
        }
    }
    malformed("a remaining length of more than four bytes")
}

/// Reads one whole packet, of which `start` is the first byte of the body.
pub(in crate::sim) fn decode(
    protocol: Protocol,
    packet: &[u8],
    start: usize,
) -> Result<Packet, Malformed> {
    let (kind, flags) = (packet[0] >> 4, packet[0] & 0xF);
    let mut reader = Reader { bytes: &packet[start..], protocol };
    let wanted_flags = match kind {
        3 => flags,
        6 => 2,
        _ => 0,
    };
    if flags != wanted_flags {
        return malformed(format!("flags {flags:#x} on packet type {kind}"));
    }
    let packet = match kind {
        2 => reader.connack()?,
        3 => reader.publish(flags)?,
        4 => reader.ack(AckKind::Ack)?,
        5 => reader.ack(AckKind::Rec)?,
        6 => reader.ack(AckKind::Rel)?,
        7 => reader.ack(AckKind::Comp)?,
        9 => reader.suback()?,
        11 => reader.unsuback()?,
        13 => Packet::PingResp,
        14 if protocol == Protocol::V5 => reader.disconnect()?,
        _ => return malformed(format!("packet type {kind} from a server")),
    };
    match reader.bytes.len() {
        0 => Ok(packet),
        left => malformed(format!("{left} bytes after the end of packet type {kind}")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    protocol: Protocol,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return malformed(format!("{count} bytes wanted, {} left", self.bytes.len()));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn two(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn four(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn variable(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        malformed("a variable byte integer of more than four bytes")
    }

    fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(self.two()?);
        self.take(length)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        match std::str::from_utf8(self.binary()?) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            _ => malformed("a string that is not UTF-8 or holds U+0000"),
        }
    }

    fn packet_id(&mut self) -> Result<u16, Malformed> {
        match self.two()? {
            0 => malformed("packet identifier 0"),
            id => Ok(id),
        }
    }

    fn properties(&mut self, allowed: &[u8]) -> Result<Vec<Property>, Malformed> {
        if self.protocol != Protocol::V5 {
            return Ok(Vec::new());
        }
        let length = self.variable()? as usize;
        let mut inner = Reader { bytes: self.take(length)?, protocol: self.protocol };
        let mut properties: Vec<Property> = Vec::new();
        while !inner.bytes.is_empty() {
            let id = inner.byte()?;
            let repeated = properties.iter().any(|property| property.id == id);
            if !allowed.contains(&id) {
                return malformed(format!("property {id:#x} where it does not belong"));
            }
            if repeated && id != property::USER && id != property::SUBSCRIPTION_ID {
                return malformed(format!("property {id:#x} twice"));
            }
            properties.push(Property { id, value: inner.value(id)? });
        }
        Ok(properties)
    }

    fn value(&mut self, id: u8) -> Result<Value, Malformed> {
        Ok(match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => match self.byte()? {
                value @ (0 | 1) => Value::Byte(value),
                value => return malformed(format!("{value} for property {id:#x}")),
            },
            0x13 | 0x21 | 0x22 | 0x23 => Value::Two(self.two()?),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Four(self.four()?),
            0x0B => Value::Variable(self.variable()?),
            0x09 | 0x16 => Value::Binary(self.binary()?.to_vec()),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(self.text()?),
            0x26 => Value::Pair(self.text()?, self.text()?),
            _ => return malformed(format!("unknown property {id:#x}")),
        })
    }

    fn connack(&mut self) -> Result<Packet, Malformed> {
        let flags = self.byte()?;
        let code = self.byte()?;
        if flags > 1 {
            return malformed(format!("connect acknowledge flags {flags:#x}"));
        }
        let session_present = flags == 1;
        if session_present && (code != 0 || self.protocol == Protocol::V31) {
            return malformed("session present where it cannot be");
        }
        let properties = self.properties(&CONNACK_PROPERTIES)?;
        Ok(Packet::ConnAck { session_present, code, properties })
    }

    fn publish(&mut self, flags: u8) -> Result<Packet, Malformed> {
        let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
        if qos == 3 || (qos == 0 && dup) {
            return malformed(format!("PUBLISH with flags {flags:#x}"));
        }
        let topic = self.text()?;
        if topic.contains(['+', '#']) {
            return malformed(format!("a wildcard in topic name {topic}"));
        }
        let packet_id = if qos > 0 { self.packet_id()? } else { 0 };
        let properties = self.properties(&PUBLISH_PROPERTIES)?;
        let payload = self.take(self.bytes.len())?.to_vec();
        Ok(Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload }))
    }

    fn ack(&mut self, kind: AckKind) -> Result<Packet, Malformed> {
        let packet_id = self.packet_id()?;
        let code = self.code_and_properties()?;
        Ok(Packet::Ack { kind, packet_id, code })
    }

    /// The end of acknowledgements and DISCONNECT: both may be left out in 5.0.
    fn code_and_properties(&mut self) -> Result<u8, Malformed> {
        if self.protocol != Protocol::V5 || self.bytes.is_empty() {
            return Ok(0);
        }
        let code = self.byte()?;
        if !self.bytes.is_empty() {
            self.properties(&[0x11, 0x1C, 0x1F, 0x26])?;
        }
        Ok(code)
    }

    fn suback(&mut self) -> Result<Packet, Malformed> {
        let packet_id = self.packet_id()?;
        self.properties(&[0x1F, 0x26])?;
        let codes = self.take(self.bytes.len())?.to_vec();
        Ok(Packet::SubAck { packet_id, codes })
    }

    fn unsuback(&mut self) -> Result<Packet, Malformed> {
        let packet_id = self.packet_id()?;
        self.properties(&[0x1F, 0x26])?;
        let codes = self.take(self.bytes.len())?.to_vec();
        if self.protocol != Protocol::V5 && !codes.is_empty() {
            return malformed("reason codes in an UNSUBACK before 5.0");
        }
        Ok(Packet::UnsubAck { packet_id, codes })
    }

    fn disconnect(&mut self) -> Result<Packet, Malformed> {
        Ok(Packet::Disconnect { code: self.code_and_properties()? })
    }
}

const CONNACK_PROPERTIES: [u8; 17] = [
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2A,
];
const PUBLISH_PROPERTIES: [u8; 8] = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];

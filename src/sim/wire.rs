//! MQTT as the simulated clients speak it: a second, small codec that shares nothing with
//! `crate::proto`, so that a mistake there is not repeated by those who judge it.
//!
//! Only what clients send is encoded and only what servers send is decoded; decoding is strict
//! about everything the specification fixes, for the server is the defendant.

use std::fmt;

/// The protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V31,
    V311,
    V5,
}

/// A property: identifier and value, MQTT 5.0 section 2.2.2.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) id: u8,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Binary(Vec<u8>),
    Text(String),
    Pair(String, String),
}

pub(super) mod property {
    pub(in super::super) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(in super::super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(in super::super) const CONTENT_TYPE: u8 = 0x03;
    pub(in super::super) const CORRELATION_DATA: u8 = 0x09;
    pub(in super::super) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(in super::super) const SESSION_EXPIRY: u8 = 0x11;
    pub(in super::super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in super::super) const WILL_DELAY: u8 = 0x18;
    pub(in super::super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in super::super) const ALIAS_MAXIMUM: u8 = 0x22;
    pub(in super::super) const TOPIC_ALIAS: u8 = 0x23;
    pub(in super::super) const USER: u8 = 0x26;
    pub(in super::super) const MAXIMUM_PACKET: u8 = 0x27;
}

impl Property {
    pub(super) fn four(id: u8, value: u32) -> Property {
        Property { id, value: Value::Four(value) }
    }

    pub(super) fn two(id: u8, value: u16) -> Property {
        Property { id, value: Value::Two(value) }
    }
}

/// A CONNECT as a client means it.
#[derive(Clone, Debug)]
pub(super) struct Connect {
    pub(super) protocol: Protocol,
    pub(super) clean_start: bool,
    pub(super) keep_alive: u16,
    pub(super) client_id: String,
    pub(super) will: Option<Will>,
    /// Left out before 5.0.
    pub(super) properties: Vec<Property>,
}

#[derive(Clone, Debug)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Vec<Property>,
}

/// A PUBLISH, in either direction.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    pub(super) dup: bool,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) topic: String,
    /// 0 at QoS 0.
    pub(super) packet_id: u16,
    pub(super) properties: Vec<Property>,
    pub(super) payload: Vec<u8>,
}

/// One filter of a SUBSCRIBE and its options byte.
#[derive(Clone, Debug)]
pub(super) struct FilterOptions {
    pub(super) filter: String,
    pub(super) options: u8,
}

/// The four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum AckKind {
    Ack = 4,
    Rec = 5,
    Rel = 6,
    Comp = 7,
}

/// What a server may send.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    ConnAck { session_present: bool, code: u8, properties: Vec<Property> },
    Publish(Publish),
    Ack { kind: AckKind, packet_id: u16, code: u8 },
    SubAck { packet_id: u16, codes: Vec<u8> },
    UnsubAck { packet_id: u16, codes: Vec<u8> },
    PingResp,
    Disconnect { code: u8 },
}

pub(super) fn encode_connect(connect: &Connect) -> Vec<u8> {
    let mut body = Writer::default();
    let (name, level) = match connect.protocol {
        Protocol::V31 => ("MQIsdp", 3),
        Protocol::V311 => ("MQTT", 4),
        Protocol::V5 => ("MQTT", 5),
    };
    body.text(name);
    body.byte(level);
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
    }
    body.byte(flags);
    body.two(connect.keep_alive);
    body.properties(connect.protocol, &connect.properties);
    body.text(&connect.client_id);
    if let Some(will) = &connect.will {
        body.properties(connect.protocol, &will.properties);
        body.text(&will.topic);
        body.binary(&will.payload);
    }
    body.packet(0x10)
}

pub(super) fn encode_publish(protocol: Protocol, publish: &Publish) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(&publish.topic);
    if publish.qos > 0 {
        body.two(publish.packet_id);
    }
    body.properties(protocol, &publish.properties);
    body.0.extend_from_slice(&publish.payload);
    let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    body.packet(0x30 | flags)
}

pub(super) fn encode_ack(kind: AckKind, packet_id: u16) -> Vec<u8> {
    let mut body = Writer::default();
    body.two(packet_id);
    let flags = if kind == AckKind::Rel { 2 } else { 0 };
    body.packet((kind as u8) << 4 | flags)
}

pub(super) fn encode_subscribe(
    protocol: Protocol,
    packet_id: u16,
    properties: &[Property],
    filters: &[FilterOptions],
) -> Vec<u8> {
    let mut body = Writer::default();
    body.two(packet_id);
    body.properties(protocol, properties);
    for asked in filters {
        body.text(&asked.filter);
        body.byte(asked.options);
    }
    body.packet(0x82)
}

pub(super) fn encode_unsubscribe(
    protocol: Protocol,
    packet_id: u16,
    filters: &[String],
) -> Vec<u8> {
    let mut body = Writer::default();
    body.two(packet_id);
    body.properties(protocol, &[]);
    for filter in filters {
        body.text(filter);
    }
    body.packet(0xA2)
}

pub(super) fn encode_ping() -> Vec<u8> {
    vec![0xC0, 0]
}

pub(super) fn encode_disconnect(protocol: Protocol, code: u8, properties: &[Property]) -> Vec<u8> {
    let mut body = Writer::default();
    if protocol == Protocol::V5 && (code != 0 || !properties.is_empty()) {
        body.byte(code);
        body.properties(protocol, properties);
    }
    body.packet(0xE0)
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn two(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn binary(&mut self, value: &[u8]) {
        self.two(value.len() as u16);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, value: &str) {
        self.binary(value.as_bytes());
    }

    fn variable(&mut self, mut value: u32) {
        loop {
            let low = (value % 128) as u8;
            value /= 128;
            self.byte(if value > 0 { low | 0x80 } else { low });
            if value == 0 {
                return;
            }
        }
    }

    fn properties(&mut self, protocol: Protocol, properties: &[Property]) {
        if protocol != Protocol::V5 {
            return;
        }
        let mut encoded = Writer::default();
        for property in properties {
            encoded.byte(property.id);
            match &property.value {
                Value::Byte(value) => encoded.byte(*value),
                Value::Two(value) => encoded.two(*value),
                Value::Four(value) => encoded.0.extend_from_slice(&value.to_be_bytes()),
                Value::Variable(value) => encoded.variable(*value),
                Value::Binary(value) => encoded.binary(value),
                Value::Text(value) => encoded.text(value),
                Value::Pair(name, value) => {
                    encoded.text(name);
                    encoded.text(value);
                }
            }
        }
        self.variable(encoded.0.len() as u32);
        self.0.extend_from_slice(&encoded.0);
    }

    fn packet(self, first: u8) -> Vec<u8> {
        let mut packet = Writer(vec![first]);
        packet.variable(self.0.len() as u32);
        packet.0.extend_from_slice(&self.0);
        packet.0
    }
}

/// Why a server's bytes are not MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// The length of the first whole packet of `bytes`, if there is one, and where its body starts.
pub(super) fn cut(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
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
pub(super) fn decode(protocol: Protocol, packet: &[u8], start: usize) -> Result<Packet, Malformed> {
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

/// The packets of a run of bytes, for people.
pub(super) fn describe(protocol: Protocol, mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    while let Ok(Some((end, start))) = cut(bytes) {
        let (packet, rest) = bytes.split_at(end);
        words.push(describe_packet(protocol, packet, start));
        bytes = rest;
    }
    if !bytes.is_empty() {
        words.push(format!("and {} bytes", bytes.len()));
    }
    words.join(", ")
}

fn describe_packet(protocol: Protocol, packet: &[u8], start: usize) -> String {
    const NAMES: [&str; 16] = [
        "0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    let name = NAMES[usize::from(packet[0] >> 4)];
    match decode(protocol, packet, start) {
        Ok(Packet::Publish(publish)) => {
            let Publish { dup, qos, retain, topic, packet_id, properties, payload } = publish;
            let payload = String::from_utf8_lossy(&payload[..payload.len().min(6)]).into_owned();
            let flags =
                format!("{}{}", if dup { " dup" } else { "" }, if retain { " retain" } else { "" });
            let alias = properties.iter().find(|p| p.id == property::TOPIC_ALIAS);
            let alias = alias.map_or(String::new(), |alias| format!(" alias {:?}", alias.value));
            format!("PUBLISH {packet_id} qos {qos}{flags} {topic:?}{alias} {payload:?}")
        }
        _ => format!("{name} {:02x?}", &packet[start..packet.len().min(start + 8)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_reads_as_it_was_written_in_each_protocol() {
        for protocol in [Protocol::V31, Protocol::V311, Protocol::V5] {
            let publish = Publish {
                dup: true,
                qos: 1,
                retain: true,
                topic: "a/b".to_owned(),
                packet_id: 7,
                properties: match protocol {
                    Protocol::V5 => vec![Property::four(property::MESSAGE_EXPIRY, 9)],
                    _ => Vec::new(),
                },
                payload: vec![b'x'; 200],
            };
            let bytes = encode_publish(protocol, &publish);
            let (end, start) = cut(&bytes).unwrap().unwrap();
            assert_eq!(end, bytes.len());
            let Packet::Publish(read) = decode(protocol, &bytes, start).unwrap() else {
                panic!("a PUBLISH was written")
            };
            assert_eq!(format!("{read:?}"), format!("{publish:?}"));
        }
    }

    #[test]
    fn every_prefix_of_a_packet_is_not_yet_one() {
        let bytes = encode_ack(AckKind::Rel, 258);
        assert!((0..bytes.len()).all(|length| cut(&bytes[..length]) == Ok(None)));
        assert_eq!(cut(&bytes), Ok(Some((4, 2))));
    }

    #[test]
    fn a_packet_with_wrong_flags_or_a_tail_is_refused() {
        assert!(decode(Protocol::V311, &[0x41, 2, 0, 1], 2).is_err());
        assert!(decode(Protocol::V311, &[0x40, 3, 0, 1, 0], 2).is_err());
        assert!(decode(Protocol::V311, &[0x40, 2, 0, 0], 2).is_err());
        assert!(decode(Protocol::V311, &[0x40, 2, 0, 1], 2).is_ok());
    }
}

//! Packets as a server may write them, read strictly.
//!
//! Whatever the specification forbids in a packet from a server is an [`Err`] here, and every
//! test reads through here, so each of them also shows that what the broker sends is legal.

use super::wire::Version::{self, V5};
use super::wire::{first, id};

/// A packet from a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, by its first byte.
    Ack(u8, Ack),
    SubAck(Reasons),
    UnsubAck(Reasons),
    PingResp,
    Disconnect(Reason),
    Auth(Reason),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck {
    pub session_present: bool,
    /// The return code before 5.0.
    pub reason: u8,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    /// 0 for QoS 0.
    pub packet_id: u16,
    pub properties: Properties,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    pub packet_id: u16,
    pub reason: u8,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reasons {
    pub packet_id: u16,
    pub properties: Properties,
    pub reasons: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    pub reason: u8,
    pub properties: Properties,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u32),
    Text(String),
    Data(Vec<u8>),
    Pair(String, String),
}

/// Properties in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(pub Vec<(u8, Value)>);

impl Properties {
    /// The number behind an identifier.
    pub fn number(&self, id: u8) -> Option<u32> {
        self.all(id).find_map(|value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        })
    }

    /// The string behind an identifier.
    pub fn text(&self, id: u8) -> Option<&str> {
        self.all(id).find_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The binary data behind an identifier.
    pub fn data(&self, id: u8) -> Option<&[u8]> {
        self.all(id).find_map(|value| match value {
            Value::Data(data) => Some(data.as_slice()),
            _ => None,
        })
    }

    /// The User Properties.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.all(id::USER_PROPERTY)
            .filter_map(|value| match value {
                Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
                _ => None,
            })
            .collect()
    }

    /// The Subscription Identifiers, sorted: their order means nothing.
    pub fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .all(id::SUBSCRIPTION_ID)
            .filter_map(|value| match value {
                Value::Number(number) => Some(*number),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    pub fn has(&self, id: u8) -> bool {
        self.all(id).next().is_some()
    }

    fn all(&self, id: u8) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |(found, _)| *found == id).map(|(_, value)| value)
    }
}

/// Cuts one packet from the front of `bytes`: its length, or nothing if more must come.
pub fn cut(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for index in 0..4 {
        let Some(byte) = bytes.get(1 + index) else { return Ok(None) };
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && *byte == 0 {
                return Err("a remaining length in more bytes than it needs".into());
            }
            let header = 2 + index;
            return Ok((bytes.len() >= header + length).then_some((header, header + length)));
        }
    }
    Err("a remaining length of more than four bytes".into())
}

/// Reads the packet that `first_byte` and `body` make.
pub fn read(version: Version, first_byte: u8, body: &[u8]) -> Result<Packet, String> {
    let mut reader = Reader { version, rest: body };
    let packet = match first_byte {
        first::CONNACK => Packet::ConnAck(reader.connack()?),
        0x30..=0x3F => Packet::Publish(reader.publish(first_byte)?),
        first::PUBACK | first::PUBREC => Packet::Ack(first_byte, reader.ack(PUBACK_REASONS)?),
        first::PUBREL | first::PUBCOMP => Packet::Ack(first_byte, reader.ack(PUBREL_REASONS)?),
        first::SUBACK => Packet::SubAck(reader.suback()?),
        first::UNSUBACK => Packet::UnsubAck(reader.unsuback()?),
        first::PINGRESP => Packet::PingResp,
        first::DISCONNECT if version == V5 => {
            let known = &[id::REASON_STRING, id::USER_PROPERTY, id::SERVER_REFERENCE];
            Packet::Disconnect(reader.reason(DISCONNECT_REASONS, known)?)
        }
        first::AUTH if version == V5 => {
            let known = &[id::AUTH_METHOD, id::AUTH_DATA, id::REASON_STRING, id::USER_PROPERTY];
            Packet::Auth(reader.reason(AUTH_REASONS, known)?)
        }
        other => return Err(format!("no server sends a packet that starts with {other:#04x}")),
    };
    match reader.rest {
        [] => Ok(packet),
        rest => Err(format!("{} bytes after the end of {packet:?}", rest.len())),
    }
}

struct Reader<'a> {
    version: Version,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn connack(&mut self) -> Result<ConnAck, String> {
        // [MQTT-3.2.2-1]: bits 7 to 1 are reserved.
        let flags = self.u8()?;
        if flags > 1 {
            return Err(format!("CONNACK flags {flags:#04x}"));
        }
        let reason = self.u8()?;
        let known = if self.version == V5 { CONNACK_REASONS } else { &[0, 1, 2, 3, 4, 5] };
        one_of("CONNACK", reason, known)?;
        if flags == 1 && reason != 0 {
            return Err(format!("session present beside reason {reason:#04x}"));
        }
        let properties = self.properties(CONNACK_PROPERTIES)?;
        for flag in [id::MAXIMUM_QOS, id::RETAIN_AVAILABLE, id::WILDCARD_AVAILABLE]
            .into_iter()
            .chain([id::SUBSCRIPTION_IDS_AVAILABLE, id::SHARED_AVAILABLE])
        {
            if properties.number(flag).is_some_and(|value| value > 1) {
                return Err(format!("CONNACK property {flag:#04x} above 1"));
            }
        }
        for size in [id::RECEIVE_MAXIMUM, id::MAXIMUM_PACKET_SIZE] {
            if properties.number(size) == Some(0) {
                return Err(format!("CONNACK property {size:#04x} is 0"));
            }
        }
        Ok(ConnAck { session_present: flags == 1, reason, properties })
    }

    fn publish(&mut self, first_byte: u8) -> Result<Publish, String> {
        let (dup, qos, retain) = (first_byte & 8 != 0, (first_byte >> 1) & 3, first_byte & 1 != 0);
        if qos == 3 || (qos == 0 && dup) {
            return Err(format!("PUBLISH with first byte {first_byte:#04x}"));
        }
        let topic = self.text()?;
        if topic.contains(['+', '#']) {
            return Err(format!("a wildcard in the topic name {topic:?}"));
        }
        let packet_id = if qos > 0 { self.packet_id()? } else { 0 };
        let properties = self.properties(PUBLISH_PROPERTIES)?;
        let alias = properties.number(id::TOPIC_ALIAS);
        if alias == Some(0) || (topic.is_empty() && alias.is_none()) {
            return Err(format!("PUBLISH to {topic:?} with topic alias {alias:?}"));
        }
        if properties.number(id::PAYLOAD_FORMAT).is_some_and(|format| format > 1) {
            return Err("a payload format indicator above 1".into());
        }
        let payload = std::mem::take(&mut self.rest).to_vec();
        Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload })
    }

    fn ack(&mut self, reasons: &[u8]) -> Result<Ack, String> {
        let packet_id = self.packet_id()?;
        if self.version != V5 || self.rest.is_empty() {
            return Ok(Ack { packet_id, reason: 0, properties: Properties::default() });
        }
        let reason = self.u8()?;
        one_of("acknowledgement", reason, reasons)?;
        let properties = self.last_properties(&[id::REASON_STRING, id::USER_PROPERTY])?;
        Ok(Ack { packet_id, reason, properties })
    }

    fn suback(&mut self) -> Result<Reasons, String> {
        let known = if self.version == V5 { SUBACK_REASONS } else { &[0, 1, 2, 0x80] };
        let found = self.reasons(known)?;
        if found.reasons.is_empty() {
            return Err("SUBACK without a reason code".into());
        }
        Ok(found)
    }

    fn unsuback(&mut self) -> Result<Reasons, String> {
        self.reasons(if self.version == V5 { UNSUBACK_REASONS } else { &[] })
    }

    fn reasons(&mut self, known: &[u8]) -> Result<Reasons, String> {
        let packet_id = self.packet_id()?;
        let properties = self.properties(&[id::REASON_STRING, id::USER_PROPERTY])?;
        let reasons = std::mem::take(&mut self.rest).to_vec();
        for reason in &reasons {
            one_of("SUBACK or UNSUBACK", *reason, known)?;
        }
        Ok(Reasons { packet_id, properties, reasons })
    }

    fn reason(&mut self, reasons: &[u8], known: &[u8]) -> Result<Reason, String> {
        let reason = if self.rest.is_empty() { 0 } else { self.u8()? };
        one_of("DISCONNECT or AUTH", reason, reasons)?;
        Ok(Reason { reason, properties: self.last_properties(known)? })
    }

    /// Properties that may be left out altogether because the packet ends before them.
    fn last_properties(&mut self, known: &[u8]) -> Result<Properties, String> {
        if self.rest.is_empty() { Ok(Properties::default()) } else { self.properties(known) }
    }

    fn properties(&mut self, known: &[u8]) -> Result<Properties, String> {
        if self.version != V5 {
            return Ok(Properties::default());
        }
        let length = self.varint()? as usize;
        let mut inner = Reader { version: self.version, rest: self.take(length)? };
        let mut found = Properties::default();
        while !inner.rest.is_empty() {
            let name = inner.u8()?;
            one_of("property", name, known)?;
            let repeats = matches!(name, id::USER_PROPERTY | id::SUBSCRIPTION_ID);
            if !repeats && found.has(name) {
                return Err(format!("property {name:#04x} twice"));
            }
            let value = inner.value(name)?;
            found.0.push((name, value));
        }
        Ok(found)
    }

    fn value(&mut self, name: u8) -> Result<Value, String> {
        Ok(match name {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
                Value::Number(u32::from(self.u8()?))
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(u32::from(self.u16()?)),
            0x02 | 0x11 | 0x18 | 0x27 => {
                Value::Number(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
            }
            0x0B => match self.varint()? {
                0 => return Err("a subscription identifier of 0".into()),
                number => Value::Number(number),
            },
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(self.text()?),
            0x09 | 0x16 => Value::Data(self.field()?.to_vec()),
            0x26 => Value::Pair(self.text()?, self.text()?),
            other => return Err(format!("no property has the identifier {other:#04x}")),
        })
    }

    fn packet_id(&mut self) -> Result<u16, String> {
        match self.u16()? {
            0 => Err("a packet identifier of 0".into()),
            id => Ok(id),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let bytes = self.field()?;
        let text = std::str::from_utf8(bytes).map_err(|error| format!("{bytes:?}: {error}"))?;
        if text.contains('\0') { Err(format!("U+0000 in {text:?}")) } else { Ok(text.into()) }
    }

    fn field(&mut self) -> Result<&'a [u8], String> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                let minimal = index == 0 || byte != 0;
                return if minimal { Ok(value) } else { Err("a varint too long".into()) };
            }
        }
        Err("a varint of more than four bytes".into())
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| format!("{count} bytes wanted, {} there", self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }
}

fn one_of(what: &str, value: u8, known: &[u8]) -> Result<(), String> {
    if known.contains(&value) {
        Ok(())
    } else {
        Err(format!("{what}: {value:#04x} is not among those a server may send"))
    }
}

const CONNACK_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const PUBACK_REASONS: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL_REASONS: &[u8] = &[0x00, 0x92];
const SUBACK_REASONS: &[u8] =
    &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUBACK_REASONS: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
const AUTH_REASONS: &[u8] = &[0x00, 0x18];
const CONNACK_PROPERTIES: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2A,
];
const PUBLISH_PROPERTIES: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];

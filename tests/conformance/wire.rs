//! Bytes of MQTT as a client writes them, legal or not.
//!
//! Nothing here is shared with the broker under test, and nothing refuses to be wrong: every
//! part of a packet is a byte string that a test may cut, repeat or bend.

/// The protocol level a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V31,
    V311,
    V5,
}

use Version::{V5, V31, V311};

/// First byte of each packet type, with the flags that Table 2-2 demands.
pub mod first {
    pub const CONNECT: u8 = 0x10;
    pub const CONNACK: u8 = 0x20;
    pub const PUBLISH: u8 = 0x30;
    pub const PUBACK: u8 = 0x40;
    pub const PUBREC: u8 = 0x50;
    pub const PUBREL: u8 = 0x62;
    pub const PUBCOMP: u8 = 0x70;
    pub const SUBSCRIBE: u8 = 0x82;
    pub const SUBACK: u8 = 0x90;
    pub const UNSUBSCRIBE: u8 = 0xA2;
    pub const UNSUBACK: u8 = 0xB0;
    pub const PINGREQ: u8 = 0xC0;
    pub const PINGRESP: u8 = 0xD0;
    pub const DISCONNECT: u8 = 0xE0;
    pub const AUTH: u8 = 0xF0;
}

/// Property identifiers of Table 2-4.
pub mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTH_METHOD: u8 = 0x15;
    pub const AUTH_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub const SHARED_AVAILABLE: u8 = 0x2A;
}

pub const PINGREQ: &[u8] = &[first::PINGREQ, 0];

impl Version {
    pub const ALL: [Version; 3] = [V31, V311, V5];

    pub fn level(self) -> u8 {
        match self {
            V31 => 3,
            V311 => 4,
            V5 => 5,
        }
    }

    pub fn protocol_name(self) -> &'static str {
        if self == V31 { "MQIsdp" } else { "MQTT" }
    }
}

/// A packet with a right remaining length.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a test's packet is small");
    [&[first], varint(length).as_slice(), body].concat()
}

/// A Variable Byte Integer in the fewest bytes.
pub fn varint(value: u32) -> Vec<u8> {
    let mut rest = value;
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(rest & 0x7F).expect("seven bits fit");
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A length in two bytes and what it counts: a string or binary data, well-formed or not.
pub fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a field has at most 65,535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// One property, from its identifier and its encoded value.
pub fn property(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[id], value.as_ref()].concat()
}

/// A property whose value is one byte.
pub fn byte(id: u8, value: u8) -> Vec<u8> {
    property(id, [value])
}

/// A property whose value is a Two Byte Integer.
pub fn two(id: u8, value: u16) -> Vec<u8> {
    property(id, value.to_be_bytes())
}

/// A property whose value is a Four Byte Integer.
pub fn four(id: u8, value: u32) -> Vec<u8> {
    property(id, value.to_be_bytes())
}

/// A property whose value is a string or binary data.
pub fn text(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    property(id, field(value))
}

/// A User Property.
pub fn user(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    property(id::USER_PROPERTY, [field(name), field(value)].concat())
}

/// Properties with the length before them.
pub fn block(properties: &[Vec<u8>]) -> Vec<u8> {
    let all = properties.concat();
    let length = u32::try_from(all.len()).expect("a test's properties are few");
    [varint(length), all].concat()
}

/// Properties with the length before them in 5.0, nothing before.
fn block_of(version: Version, properties: &[Vec<u8>]) -> Vec<u8> {
    if version == V5 { block(properties) } else { Vec::new() }
}

/// A CONNECT packet.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: Version,
    pub protocol_name: Vec<u8>,
    pub level: u8,
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Vec<Vec<u8>>,
    pub client_id: Vec<u8>,
    pub will: Option<Will>,
    pub user_name: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// Bits of the connect flags to turn around: how a flag comes to lie about the payload.
    pub flags_flipped: u8,
}

/// The will in a CONNECT packet.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<Vec<u8>>,
}

impl Connect {
    /// A clean start without keep alive.
    pub fn new(version: Version, client_id: impl AsRef<[u8]>) -> Connect {
        Connect {
            version,
            protocol_name: version.protocol_name().into(),
            level: version.level(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            client_id: client_id.as_ref().to_vec(),
            will: None,
            user_name: None,
            password: None,
            flags_flipped: 0,
        }
    }

    /// Asks for the session of before.
    pub fn resume(mut self) -> Connect {
        self.clean = false;
        self
    }

    /// A session that outlives its connection, by whatever means the version has; kept as it is
    /// if there is one.
    pub fn persistent(self) -> Connect {
        let version = self.version;
        let resumed = self.resume();
        if version == V5 { resumed.property(four(id::SESSION_EXPIRY, 3600)) } else { resumed }
    }

    pub fn keep_alive(mut self, seconds: u16) -> Connect {
        self.keep_alive = seconds;
        self
    }

    pub fn property(mut self, property: Vec<u8>) -> Connect {
        self.properties.push(property);
        self
    }

    pub fn will(mut self, will: Will) -> Connect {
        self.will = Some(will);
        self
    }

    pub fn user_name(mut self, name: impl AsRef<[u8]>) -> Connect {
        self.user_name = Some(name.as_ref().to_vec());
        self
    }

    pub fn password(mut self, password: impl AsRef<[u8]>) -> Connect {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    pub fn flip_flags(mut self, bits: u8) -> Connect {
        self.flags_flipped ^= bits;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        packet(first::CONNECT, &self.body())
    }

    /// The packet after its fixed header.
    pub fn body(&self) -> Vec<u8> {
        let mut body = field(&self.protocol_name);
        body.extend([self.level, self.flags()]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(block_of(self.version, &self.properties));
        body.extend(field(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(block_of(self.version, &will.properties));
            body.extend(field(&will.topic));
            body.extend(field(&will.payload));
        }
        for credential in [&self.user_name, &self.password].into_iter().flatten() {
            body.extend(field(credential));
        }
        body
    }

    fn flags(&self) -> u8 {
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| 0x04 | (will.qos << 3) | if will.retain { 0x20 } else { 0 });
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        (will
            | flag(self.clean, 0x02)
            | flag(self.password.is_some(), 0x40)
            | flag(self.user_name.is_some(), 0x80))
            ^ self.flags_flipped
    }
}

impl Will {
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Will {
        Will {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }

    pub fn qos(mut self, qos: u8) -> Will {
        self.qos = qos;
        self
    }

    pub fn retain(mut self) -> Will {
        self.retain = true;
        self
    }

    pub fn property(mut self, property: Vec<u8>) -> Will {
        self.properties.push(property);
        self
    }
}

/// A PUBLISH packet.
#[derive(Clone, Debug)]
pub struct Publish {
    pub version: Version,
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: Vec<u8>,
    pub packet_id: u16,
    pub properties: Vec<Vec<u8>>,
    pub payload: Vec<u8>,
}

impl Publish {
    /// QoS 0, not retained.
    pub fn new(version: Version, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Publish {
        Publish {
            version,
            dup: false,
            qos: 0,
            retain: false,
            topic: topic.as_ref().to_vec(),
            packet_id: 0,
            properties: Vec::new(),
            payload: payload.as_ref().to_vec(),
        }
    }

    /// The QoS and the packet identifier, which is written for QoS 1 and above.
    pub fn qos(mut self, qos: u8, packet_id: u16) -> Publish {
        self.qos = qos;
        self.packet_id = packet_id;
        self
    }

    pub fn dup(mut self) -> Publish {
        self.dup = true;
        self
    }

    pub fn retain(mut self) -> Publish {
        self.retain = true;
        self
    }

    pub fn property(mut self, property: Vec<u8>) -> Publish {
        self.properties.push(property);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let flags = (u8::from(self.dup) << 3) | (self.qos << 1) | u8::from(self.retain);
        packet(first::PUBLISH | flags, &self.body())
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = field(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        body.extend(block_of(self.version, &self.properties));
        body.extend(&self.payload);
        body
    }
}

/// A SUBSCRIBE packet; each filter comes with its options byte.
pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, packet_id, &[], filters)
}

/// A SUBSCRIBE packet with properties.
pub fn subscribe_with(
    version: Version,
    packet_id: u16,
    properties: &[Vec<u8>],
    filters: &[(impl AsRef<[u8]>, u8)],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(block_of(version, properties));
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    packet(first::SUBSCRIBE, &body)
}

/// An UNSUBSCRIBE packet.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(block_of(version, &[]));
    for filter in filters {
        body.extend(field(filter));
    }
    packet(first::UNSUBSCRIBE, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its short form, which every version knows.
pub fn ack(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of 5.0 with a reason code and properties.
pub fn ack_with(first: u8, packet_id: u16, reason: u8, properties: &[Vec<u8>]) -> Vec<u8> {
    packet(first, &[&packet_id.to_be_bytes()[..], &[reason], &block(properties)].concat())
}

/// The DISCONNECT packet every version knows: a normal end.
pub fn disconnect() -> Vec<u8> {
    packet(first::DISCONNECT, &[])
}

/// DISCONNECT or AUTH of 5.0.
pub fn reason_with(first: u8, reason: u8, properties: &[Vec<u8>]) -> Vec<u8> {
    packet(first, &[&[reason], block(properties).as_slice()].concat())
}

/// Ill-formed UTF-8 and the code points that no string may hold: [MQTT-1.5.4-1],
/// [MQTT-1.5.4-2].
pub const BAD_TEXTS: &[&[u8]] = &[
    b"a\0b",                 // U+0000
    b"\0",                   // U+0000 alone
    b"a\xED\xA0\x80",        // U+D800, first surrogate
    b"a\xED\xBF\xBF",        // U+DFFF, last surrogate
    b"\xFF",                 // no such byte
    b"a\x80",                // continuation without start
    b"a\xC3",                // start without continuation
    b"\xC0\x80",             // U+0000 in two bytes
    b"\xC1\xBF",             // U+007F in two bytes
    b"\xE0\x80\xAF",         // U+002F in three bytes
    b"\xF0\x80\x80\xAF",     // U+002F in four bytes
    b"\xF4\x90\x80\x80",     // U+110000, past the last one
    b"\xF8\x88\x80\x80\x80", // five bytes
];

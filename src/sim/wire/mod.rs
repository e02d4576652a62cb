//! MQTT as the simulated clients speak it: a second, small codec that shares nothing with
//! `crate::proto`, so that a mistake there is not repeated by those who judge it.
//!
//! Only what clients send is encoded and only what servers send is decoded; decoding is strict
//! about everything the specification fixes, for the server is the defendant.

mod decode;
mod encode;

pub(super) use decode::{cut, decode};
pub(super) use encode::{
    encode_ack, encode_connect, encode_disconnect, encode_ping, encode_publish, encode_subscribe,
    encode_unsubscribe,
};

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

/// The four acknowledgements of a PUBLISH: PUBACK, PUBREC, PUBREL and PUBCOMP.
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

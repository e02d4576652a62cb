//! Packets a client sends, appended to a buffer.

use super::{Qos, Version};

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    /// The protocol level.
    pub version: Version,
    /// The client identifier.
    pub client_id: &'a str,
    /// Clean Start, in 3.1.1 Clean Session.
    pub clean_start: bool,
    /// Keep Alive in seconds; zero turns it off.
    pub keep_alive_s: u16,
    /// Session Expiry Interval in seconds; sent in v5 when it is not zero.
    pub session_expiry_s: u32,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The will message.
    pub will: Option<Will<'a>>,
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub struct Will<'a> {
    /// The will topic.
    pub topic: &'a str,
    /// The will payload.
    pub payload: &'a [u8],
    /// The will QoS.
    pub qos: Qos,
    /// The will retain flag.
    pub retain: bool,
}

/// A packet of four bytes that answers a packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// QoS 1, to the sender.
    Puback = 0x40,
    /// QoS 2, first answer.
    Pubrec = 0x50,
    /// QoS 2, the sender's release; its flags are 0010.
    Pubrel = 0x62,
    /// QoS 2, last answer.
    Pubcomp = 0x70,
}

/// Appends a CONNECT.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let mut body = Vec::with_capacity(64);
    string(&mut body, "MQTT");
    body.push(match connect.version {
        Version::V311 => 4,
        Version::V5 => 5,
    });
    body.push(connect_flags(connect));
    body.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
    if connect.version == Version::V5 {
        if connect.session_expiry_s > 0 {
            body.extend_from_slice(&[5, 0x11]);
            body.extend_from_slice(&connect.session_expiry_s.to_be_bytes());
        } else {
            body.push(0);
        }
    }
    string(&mut body, connect.client_id);
    if let Some(will) = &connect.will {
        if connect.version == Version::V5 {
            body.push(0);
        }
        string(&mut body, will.topic);
        binary(&mut body, will.payload);
    }
    if let Some(username) = connect.username {
        string(&mut body, username);
    }
    if let Some(password) = connect.password {
        string(&mut body, password);
    }
    frame(out, 0x10, &body);
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6;
    flags | u8::from(connect.username.is_some()) << 7
}

/// Appends a SUBSCRIBE for all `filters` at one QoS.
pub fn subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    filters: &[String],
    qos: Qos,
) {
    let mut body = Vec::with_capacity(32);
    body.extend_from_slice(&packet_id.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter);
        body.push(qos as u8);
    }
    frame(out, 0x82, &body);
}

/// The part of a PUBLISH before its packet identifier, for a message whose size never changes.
///
/// A stream of messages differs only in packet identifier and payload, so this prefix is built
/// once and copied for each message.
#[must_use]
pub fn publish_prefix(
    version: Version,
    topic: &str,
    qos: Qos,
    retain: bool,
    payload_size: usize,
) -> Vec<u8> {
    let packet_id_size = if qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties_size = usize::from(version == Version::V5);
    let remaining = 2 + topic.len() + packet_id_size + properties_size + payload_size;
    let mut prefix = Vec::with_capacity(topic.len() + 7);
    prefix.push(0x30 | (qos as u8) << 1 | u8::from(retain));
    length(&mut prefix, remaining);
    string(&mut prefix, topic);
    prefix
}

/// Appends an acknowledgement.
pub fn ack(out: &mut Vec<u8>, ack: Ack, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[ack as u8, 2, high, low]);
}

/// Appends a PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xC0, 0]);
}

/// Appends a DISCONNECT that discards the will.
pub fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xE0, 0]);
}

fn frame(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    length(out, body.len());
    out.extend_from_slice(body);
}

/// Appends a variable byte integer.
fn length(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let digit = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(digit);
            return;
        }
        out.push(digit | 0x80);
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    binary(out, text.as_bytes());
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    // Callers hand in names the harness made, or payloads bounded by the plan: both below 64 KiB.
    let size = u16::try_from(bytes.len()).expect("a name of the harness is below 64 KiB");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(version: Version) -> Connect<'static> {
        Connect {
            version,
            client_id: "c",
            clean_start: true,
            keep_alive_s: 60,
            session_expiry_s: 0,
            username: None,
            password: None,
            will: None,
        }
    }

    #[test]
    fn a_bare_connect_is_the_example_of_the_specification() {
        let mut out = Vec::new();
        connect(&mut out, &bare(Version::V311));
        assert_eq!(out, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c");
    }

    #[test]
    fn a_full_connect_orders_will_name_and_password() {
        let mut out = Vec::new();
        let will = Will { topic: "w", payload: b"x", qos: Qos::AtLeastOnce, retain: true };
        let full = Connect {
            clean_start: false,
            session_expiry_s: 7,
            username: Some("u"),
            password: Some("p"),
            will: Some(will),
            ..bare(Version::V5)
        };
        connect(&mut out, &full);
        assert_eq!(
            out,
            b"\x10\x20\x00\x04MQTT\x05\xec\x00\x3c\x05\x11\x00\x00\x00\x07\x00\x01c\
              \x00\x00\x01w\x00\x01x\x00\x01u\x00\x01p"
        );
    }

    #[test]
    fn a_subscribe_carries_every_filter() {
        let mut out = Vec::new();
        let filters = ["a/+".to_string(), "#".to_string()];
        subscribe(&mut out, Version::V5, 9, &filters, Qos::ExactlyOnce);
        assert_eq!(out, b"\x82\x0d\x00\x09\x00\x00\x03a/+\x02\x00\x01#\x02");
    }

    #[test]
    fn a_publish_prefix_counts_identifier_properties_and_payload() {
        let qos0 = publish_prefix(Version::V311, "t", Qos::AtMostOnce, false, 16);
        assert_eq!(qos0, b"\x30\x13\x00\x01t");
        let qos1 = publish_prefix(Version::V5, "t", Qos::AtLeastOnce, true, 200);
        assert_eq!(qos1, b"\x33\xce\x01\x00\x01t");
    }

    #[test]
    fn lengths_take_one_to_four_digits() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, digits) in cases {
            let mut out = Vec::new();
            length(&mut out, value);
            assert_eq!(out, digits, "{value}");
        }
    }
}

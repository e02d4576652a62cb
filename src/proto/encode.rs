//! Packets to bytes: the fields every packet is made of, and the way to the packet's own file.
//!
//! What is written can always be read: lengths that the format cannot express are cut to what it
//! can, see [`put_string`]. Whole packets beyond [`PACKET_SIZE_MAX`] are not written.

use super::frame::VARIABLE_BYTE_INTEGER_MAX;
use super::property::PropertyId;
use super::{Packet, PacketId, PacketType, QoS, UserProperties, Version};

/// The largest packet that the format can express, in bytes.
pub const PACKET_SIZE_MAX: usize = 5 + VARIABLE_BYTE_INTEGER_MAX as usize;

/// A PINGRESP packet, the same in every version.
pub const PINGRESP: [u8; 2] = [PacketType::PingResp.first_byte(), 0];

/// A PINGREQ packet, the same in every version.
pub const PINGREQ: [u8; 2] = [PacketType::PingReq.first_byte(), 0];

impl Packet<'_> {
    /// Appends the packet as the version writes it. What the version lacks is left out; an AUTH,
    /// or an UNSUBACK's reason codes, before 5.0 are nothing at all. CONNECT goes by its own
    /// version.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Packet::Connect(connect) => connect.encode(out),
            Packet::ConnAck(connack) => connack.encode(version, out),
            Packet::Publish(publish) => publish.encode(version, out),
            Packet::PubAck(ack) => ack.encode(PacketType::PubAck, version, out),
            Packet::PubRec(ack) => ack.encode(PacketType::PubRec, version, out),
            Packet::PubRel(ack) => ack.encode(PacketType::PubRel, version, out),
            Packet::PubComp(ack) => ack.encode(PacketType::PubComp, version, out),
            Packet::Subscribe(subscribe) => subscribe.encode(version, out),
            Packet::SubAck(suback) => suback.encode(version, out),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Packet::UnsubAck(unsuback) => unsuback.encode(version, out),
            Packet::PingReq => out.extend_from_slice(&PINGREQ),
            Packet::PingResp => out.extend_from_slice(&PINGRESP),
            Packet::Disconnect(disconnect) => disconnect.encode(version, out),
            Packet::Auth(auth) => auth.encode(version, out),
        }
    }

    /// Appends the packet if it has at most `size_max` bytes, without its user properties if it
    /// has so only then, or else without its reason string too. Tells whether it did.
    /// [MQTT-3.1.2-24, 3.2.2-19, -20, 3.4.2-2, -3, 3.9.2-1, -2, 3.14.2-3, -4]
    pub fn encode_within(&self, version: Version, size_max: u32, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let fits = |packet: &Packet<'_>, out: &mut Vec<u8>| {
            packet.encode(version, out);
            let fits = out.len() - start <= size_max as usize;
            if !fits {
                out.truncate(start);
            }
            fits
        };
        if fits(self, out) {
            return true;
        }
        let mut smaller = self.clone();
        smaller.drop_user_properties();
        if fits(&smaller, out) {
            return true;
        }
        smaller.drop_reason_string();
        fits(&smaller, out)
    }

    fn drop_user_properties(&mut self) {
        match self {
            Packet::ConnAck(connack) => connack.user_properties = UserProperties::NONE,
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => ack.user_properties = UserProperties::NONE,
            Packet::SubAck(suback) => suback.user_properties = UserProperties::NONE,
            Packet::UnsubAck(unsuback) => unsuback.user_properties = UserProperties::NONE,
            Packet::Disconnect(disconnect) => disconnect.user_properties = UserProperties::NONE,
            Packet::Auth(auth) => auth.user_properties = UserProperties::NONE,
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::PingResp => {}
        }
    }

    fn drop_reason_string(&mut self) {
        match self {
            Packet::ConnAck(connack) => connack.reason_string = None,
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => ack.reason_string = None,
            Packet::SubAck(suback) => suback.reason_string = None,
            Packet::UnsubAck(unsuback) => unsuback.reason_string = None,
            Packet::Disconnect(disconnect) => disconnect.reason_string = None,
            Packet::Auth(auth) => auth.reason_string = None,
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::PingResp => {}
        }
    }
}

/// Appends a packet: its fixed header, then what `body` writes.
pub(super) fn put_packet(out: &mut Vec<u8>, first_byte: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(first_byte);
    if !put_with_length(out, body) {
        out.truncate(start);
    }
}

/// Appends properties, their length first: what `properties` writes. Nothing before 5.0.
pub(super) fn put_properties(
    out: &mut Vec<u8>,
    version: Version,
    properties: impl FnOnce(&mut Vec<u8>),
) {
    if version == Version::V5 {
        put_with_length(out, properties);
    }
}

/// Appends what `content` writes, its length first; nothing if the length cannot be expressed.
fn put_with_length(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = out.len();
    // Room for the usual length of one byte; a longer one moves the content.
    out.push(0);
    content(out);
    let length = out.len() - start - 1;
    let Some(length) = u32::try_from(length).ok().filter(|l| *l <= VARIABLE_BYTE_INTEGER_MAX)
    else {
        out.truncate(start);
        return false;
    };
    let (bytes, count) = variable_byte_integer(length);
    out.splice(start..=start, bytes[..count].iter().copied());
    true
}

/// A variable byte integer: its bytes and how many of them. [MQTT-1.5.5-1]
#[inline]
fn variable_byte_integer(value: u32) -> ([u8; 4], usize) {
    debug_assert!(value <= VARIABLE_BYTE_INTEGER_MAX);
    let mut bytes = [0; 4];
    let count = variable_byte_integer_len(value);
    for (index, byte) in bytes[..count].iter_mut().enumerate() {
        let more = if index + 1 < count { 0x80 } else { 0 };
        *byte = (value >> (7 * index)) as u8 & 0x7F | more;
    }
    (bytes, count)
}

/// Bytes of a variable byte integer.
#[inline]
pub(super) fn variable_byte_integer_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends a variable byte integer.
#[inline]
pub(super) fn put_variable_byte_integer(out: &mut Vec<u8>, value: u32) {
    if value <= 0x7F {
        return out.push(value as u8);
    }
    let (bytes, count) = variable_byte_integer(value);
    out.extend_from_slice(&bytes[..count]);
}

/// Appends a two byte integer.
#[inline]
pub(super) fn put_two_bytes(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a packet identifier.
#[inline]
pub(super) fn put_packet_id(out: &mut Vec<u8>, packet_id: PacketId) {
    put_two_bytes(out, packet_id.get());
}

/// Appends binary data; what is beyond 65,535 bytes is cut off.
#[inline]
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    put_two_bytes(out, bytes.len() as u16);
    out.extend_from_slice(bytes);
}

/// Appends a string; characters that do not fit into 65,535 bytes are cut off.
#[inline]
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    put_binary(out, &text.as_bytes()[..len]);
}

/// A value of a property, as it is written.
pub(super) trait PropertyValue {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
}

impl PropertyValue for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl PropertyValue for QoS {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl PropertyValue for u16 {
    fn put(&self, out: &mut Vec<u8>) {
        put_two_bytes(out, *self);
    }
}

impl PropertyValue for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl PropertyValue for &str {
    fn put(&self, out: &mut Vec<u8>) {
        put_string(out, self);
    }
}

impl PropertyValue for &[u8] {
    fn put(&self, out: &mut Vec<u8>) {
        put_binary(out, self);
    }
}

/// Appends a property if there is one.
pub(super) fn put_property(out: &mut Vec<u8>, id: PropertyId, value: Option<impl PropertyValue>) {
    if let Some(value) = value {
        out.push(id as u8);
        value.put(out);
    }
}

/// Appends a subscription identifier.
pub(super) fn put_subscription_id(out: &mut Vec<u8>, subscription_id: u32) {
    out.push(PropertyId::SubscriptionIdentifier as u8);
    put_variable_byte_integer(out, subscription_id);
}

/// Appends user properties; one whose name or value has more than 65,535 bytes is left out, as
/// half of it would mean something else.
pub(super) fn put_user_properties(out: &mut Vec<u8>, user_properties: UserProperties<'_>) {
    let fits = |text: &str| text.len() <= usize::from(u16::MAX);
    for (name, value) in user_properties.iter().filter(|(name, value)| fits(name) && fits(value)) {
        out.push(PropertyId::UserProperty as u8);
        put_string(out, name);
        put_string(out, value);
    }
}

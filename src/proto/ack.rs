//! PUBACK, PUBREC, PUBREL and PUBCOMP: how a message of QoS 1 or 2 is seen through.

use super::decode::{Reader, Sender};
use super::encode::{put_packet, put_packet_id, put_properties, put_property, put_user_properties};
use super::property::{Property, PropertyId, PropertyReader};
use super::{DecodeError, PacketId, PacketType, ReasonCode, UserProperties, Version};

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The PUBLISH this is about.
    pub packet_id: PacketId,
    /// [`ReasonCode::Success`] in 3.1 and 3.1.1.
    pub reason: ReasonCode,
    /// For people; never parsed.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement that says nothing but this.
    #[inline]
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Ack<'a> {
        Ack { packet_id, reason, reason_string: None, user_properties: UserProperties::NONE }
    }

    #[inline]
    pub(super) fn decode(
        packet_type: PacketType,
        version: Version,
        body: &'a [u8],
    ) -> Result<Ack<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ack = Ack::new(reader.packet_id()?, ReasonCode::Success);
        // What is left out at the end has its default.
        if version == Version::V5 && !reader.is_empty() {
            ack.reason = reader.reason(packet_type, Sender::Client)?;
            if !reader.is_empty() {
                ack.decode_properties(reader.properties(version)?)?;
            }
        }
        reader.end()?;
        Ok(ack)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>) -> Result<(), DecodeError> {
        self.user_properties = UserProperties::Encoded(properties.all());
        while let Some(property) = properties.next()? {
            match property {
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::UserProperty(_) => {}
                other => return Err(DecodeError::PropertyMisplaced(other.id())),
            }
        }
        Ok(())
    }

    /// Appends the packet as a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn encode(&self, packet_type: PacketType, version: Version, out: &mut Vec<u8>) {
        if version != Version::V5 || self.reason_string.is_none() && self.user_properties.is_empty()
        {
            return encode_ack(packet_type, version, self.packet_id, self.reason, out);
        }
        put_packet(out, packet_type.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            out.push(self.reason.as_u8());
            put_properties(out, version, |out| {
                put_property(out, PropertyId::ReasonString, self.reason_string);
                put_user_properties(out, self.user_properties);
            });
        });
    }
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP without properties: four bytes if it says success
/// or is of a version that cannot say more, else five.
#[inline]
pub fn encode_ack(
    packet_type: PacketType,
    version: Version,
    packet_id: PacketId,
    reason: ReasonCode,
    out: &mut Vec<u8>,
) {
    debug_assert!(matches!(
        packet_type,
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp
    ));
    let [high, low] = packet_id.get().to_be_bytes();
    let first_byte = packet_type.first_byte();
    if reason == ReasonCode::Success || version != Version::V5 {
        out.extend_from_slice(&[first_byte, 2, high, low]);
    } else {
        out.extend_from_slice(&[first_byte, 3, high, low, reason.as_u8()]);
    }
}

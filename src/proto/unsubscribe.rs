//! UNSUBSCRIBE and UNSUBACK.

use super::decode::Reader;
use super::encode::{put_packet, put_packet_id, put_properties, put_string, put_user_properties};
use super::property::PropertyId;
use super::subscribe::{
    check_reasons, decode_filter, decode_reason_properties, front_bytes, put_reason_properties,
    reason_belongs_to,
};
use super::{DecodeError, PacketId, PacketType, SubscriptionFilter, UserProperties, Version};

/// An UNSUBSCRIBE packet: at least one filter. [MQTT-3.10.3-2]
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Answered by the UNSUBACK of the same identifier. [MQTT-3.10.4-4]
    pub packet_id: PacketId,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The filters in the order of the packet; every one is legal.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnsubscribeFilters<'a> {
    encoded: &'a [u8],
}

/// An UNSUBACK packet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsubAck<'a> {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// A reason code a filter in 5.0; empty before.
    pub reasons: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Unsubscribe<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut properties = reader.properties(version)?;
        while let Some(property) = properties.next()? {
            if property.id() != PropertyId::UserProperty {
                return Err(DecodeError::PropertyMisplaced(property.id()));
            }
        }
        let user_properties = UserProperties::Encoded(properties.all());
        let filters = UnsubscribeFilters::from_encoded(reader.rest())?;
        Ok(Unsubscribe { packet_id, user_properties, filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Unsubscribe.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            put_properties(out, version, |out| put_user_properties(out, self.user_properties));
            out.extend_from_slice(self.filters.encoded);
        });
    }
}

impl<'a> UnsubscribeFilters<'a> {
    /// Checks encoded filters. At least one. [MQTT-3.10.3-2]
    pub fn from_encoded(encoded: &'a [u8]) -> Result<UnsubscribeFilters<'a>, DecodeError> {
        let mut reader = Reader::new(encoded);
        if reader.is_empty() {
            return Err(DecodeError::NoTopicFilters);
        }
        while !reader.is_empty() {
            decode_filter(&mut reader)?;
        }
        Ok(UnsubscribeFilters { encoded })
    }

    /// Encodes filters, for clients; [`UnsubscribeFilters::from_encoded`] takes the bytes.
    pub fn encode_list(filters: &[&str]) -> Vec<u8> {
        let mut encoded = Vec::new();
        for filter in filters {
            put_string(&mut encoded, filter);
        }
        encoded
    }

    /// Filters that were checked before.
    pub fn of_checked(encoded: &'a [u8]) -> UnsubscribeFilters<'a> {
        UnsubscribeFilters { encoded }
    }

    /// The filters as they came.
    pub fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// How many bytes checked filters at the front have that are no longer than `bytes_max`
    /// together; at least those of one.
    pub fn front_bytes(encoded: &[u8], bytes_max: usize) -> usize {
        front_bytes(encoded, 0, bytes_max)
    }

    /// Each filter, in order.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionFilter<'a>> + use<'a> {
        let mut reader = Reader::new(self.encoded);
        std::iter::from_fn(move || decode_filter(&mut reader).ok())
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

impl<'a> UnsubAck<'a> {
    /// An UNSUBACK that says nothing but this.
    pub fn new(packet_id: PacketId, reasons: &'a [u8]) -> UnsubAck<'a> {
        let user_properties = UserProperties::NONE;
        UnsubAck { packet_id, reason_string: None, user_properties, reasons }
    }

    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<UnsubAck<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut unsuback = UnsubAck::new(reader.packet_id()?, &[]);
        if version != Version::V5 {
            reader.end()?;
            return Ok(unsuback);
        }
        let properties = reader.properties(version)?;
        (unsuback.reason_string, unsuback.user_properties) = decode_reason_properties(properties)?;
        unsuback.reasons = reader.rest();
        check_reasons(unsuback.reasons, |code| reason_belongs_to(PacketType::UnsubAck, code))
            .map_err(|code| DecodeError::ReasonCode(PacketType::UnsubAck, code))?;
        if unsuback.reasons.is_empty() {
            return Err(DecodeError::NoReasonCodes);
        }
        Ok(unsuback)
    }

    /// Appends the packet; before 5.0 it names its packet identifier and nothing else.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::UnsubAck.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            put_reason_properties(out, version, self.reason_string, self.user_properties);
            if version == Version::V5 {
                out.extend_from_slice(self.reasons);
            }
        });
    }
}

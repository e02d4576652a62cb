//! SUBSCRIBE and SUBACK.

use super::decode::{Reader, Sender};
use super::encode::{
    put_packet, put_packet_id, put_properties, put_property, put_string, put_subscription_id,
    put_user_properties,
};
use super::property::{Property, PropertyId, PropertyReader};
use super::{
    DecodeError, PacketId, PacketType, QoS, ReasonCode, SubscriptionFilter, UserProperties, Version,
};

/// A SUBSCRIBE packet: at least one filter. [MQTT-3.8.3-2]
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Answered by the SUBACK of the same identifier. [MQTT-3.8.4-2]
    pub packet_id: PacketId,
    /// 1 to 268,435,455; sent along with every message of these subscriptions.
    pub subscription_id: Option<u32>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The filters with their options, in the order of the packet; every one is legal.
    pub filters: SubscribeFilters<'a>,
}

/// The filters of a SUBSCRIBE packet: checked once when decoded, then read again on iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubscribeFilters<'a> {
    encoded: &'a [u8],
    version: Version,
}

/// One filter of a SUBSCRIBE packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterAndOptions<'a> {
    /// What to match, and in which shared group.
    pub filter: SubscriptionFilter<'a>,
    /// How to deliver.
    pub options: SubscriptionOptions,
}

/// The options byte of a subscription; only the QoS in 3.1 and 3.1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Messages of the same client are not sent back to it. [MQTT-3.8.3-3]
    pub no_local: bool,
    /// Keep the retain flag as published. [MQTT-3.3.1-13]
    pub retain_as_published: bool,
    /// Whether retained messages are sent now.
    pub retain_handling: RetainHandling,
}

/// When a subscription gets retained messages. [MQTT-3.3.1-9, -10, -11]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only if the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// A SUBACK packet.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// A byte a filter: the granted QoS or a reason code as the version writes it.
    pub reasons: &'a [u8],
}

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const RETAIN_HANDLING: u8 = 0b11 << RETAIN_HANDLING_SHIFT;
const RESERVED: u8 = 0b1100_0000;

impl<'a> Subscribe<'a> {
    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<Subscribe<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut properties = reader.properties(version)?;
        let user_properties = UserProperties::Encoded(properties.all());
        let subscription_id = decode_subscription_id(&mut properties)?;
        let filters = SubscribeFilters::from_encoded(version, reader.rest())?;
        Ok(Subscribe { packet_id, subscription_id, user_properties, filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Subscribe.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            put_properties(out, version, |out| {
                if let Some(subscription_id) = self.subscription_id {
                    put_subscription_id(out, subscription_id);
                }
                put_user_properties(out, self.user_properties);
            });
            if version == self.filters.version {
                out.extend_from_slice(self.filters.encoded);
            } else {
                for FilterAndOptions { filter, options } in self.filters.iter() {
                    put_string(out, &filter.to_string());
                    out.push(options.to_byte(version));
                }
            }
        });
    }
}

fn decode_subscription_id(properties: &mut PropertyReader<'_>) -> Result<Option<u32>, DecodeError> {
    let mut subscription_id = None;
    while let Some(property) = properties.next()? {
        match property {
            Property::SubscriptionIdentifier(id) => subscription_id = Some(id),
            Property::UserProperty(_) => {}
            other => return Err(DecodeError::PropertyMisplaced(other.id())),
        }
    }
    Ok(subscription_id)
}

impl<'a> SubscribeFilters<'a> {
    /// Checks encoded filters with their options. At least one. [MQTT-3.8.3-2]
    pub fn from_encoded(
        version: Version,
        encoded: &'a [u8],
    ) -> Result<SubscribeFilters<'a>, DecodeError> {
        let mut reader = Reader::new(encoded);
        if reader.is_empty() {
            return Err(DecodeError::NoTopicFilters);
        }
        while !reader.is_empty() {
            FilterAndOptions::decode(version, &mut reader)?;
        }
        Ok(SubscribeFilters { encoded, version })
    }

    /// Encodes filters with their options, for clients; [`SubscribeFilters::from_encoded`] takes
    /// the bytes.
    pub fn encode_list(version: Version, filters: &[(&str, SubscriptionOptions)]) -> Vec<u8> {
        let mut encoded = Vec::new();
        for (filter, options) in filters {
            put_string(&mut encoded, filter);
            encoded.push(options.to_byte(version));
        }
        encoded
    }

    /// Filters that were checked before.
    pub fn of_checked(version: Version, encoded: &'a [u8]) -> SubscribeFilters<'a> {
        SubscribeFilters { encoded, version }
    }

    /// The filters as they came.
    pub fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// How many bytes checked filters at the front have that are no longer than `bytes_max`
    /// together; at least those of one.
    pub fn front_bytes(encoded: &[u8], bytes_max: usize) -> usize {
        front_bytes(encoded, size_of::<u8>(), bytes_max)
    }

    /// Each filter with its options, in order.
    pub fn iter(&self) -> impl Iterator<Item = FilterAndOptions<'a>> + use<'a> {
        let (mut reader, version) = (Reader::new(self.encoded), self.version);
        std::iter::from_fn(move || FilterAndOptions::decode(version, &mut reader).ok())
    }

    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

impl<'a> FilterAndOptions<'a> {
    fn decode(
        version: Version,
        reader: &mut Reader<'a>,
    ) -> Result<FilterAndOptions<'a>, DecodeError> {
        let filter = decode_filter(reader)?;
        let options = SubscriptionOptions::from_byte(version, reader.byte()?)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.is_shared() {
            return Err(DecodeError::NoLocalShared);
        }
        Ok(FilterAndOptions { filter, options })
    }
}

/// A topic filter, shared or not. [MQTT-3.8.3-1, 3.10.3-1]
pub(super) fn decode_filter<'a>(
    reader: &mut Reader<'a>,
) -> Result<SubscriptionFilter<'a>, DecodeError> {
    SubscriptionFilter::parse(reader.string()?).map_err(DecodeError::TopicFilter)
}

/// As [`SubscribeFilters::front_bytes`], of filters with so many bytes behind each.
pub(super) fn front_bytes(encoded: &[u8], behind: usize, bytes_max: usize) -> usize {
    if encoded.len() <= bytes_max {
        return encoded.len();
    }
    let mut front = 0;
    while let Some(&[high, low, ..]) = encoded.get(front..) {
        let filter = usize::from(u16::from_be_bytes([high, low]));
        let next = front + size_of::<u16>() + filter + behind;
        if front > 0 && next > bytes_max {
            break;
        }
        front = next;
    }
    front
}

impl SubscriptionOptions {
    /// The options of a QoS alone, as 3.1 and 3.1.1 have them.
    pub fn at(qos: QoS) -> SubscriptionOptions {
        SubscriptionOptions { qos, ..SubscriptionOptions::default() }
    }

    /// The options in a byte as the version writes it.
    pub fn from_byte(version: Version, byte: u8) -> Result<SubscriptionOptions, DecodeError> {
        let used = match version {
            Version::V31 | Version::V311 => QOS,
            Version::V5 => !RESERVED,
        };
        // 3.1 did not use the upper bits and said nothing of their value. [MQTT-3.8.3-5]
        if byte & !used != 0 && version != Version::V31 {
            return Err(DecodeError::SubscriptionOptionsReserved(byte));
        }
        let bits = byte & used;
        let qos = QoS::from_bits(bits & QOS).ok_or(DecodeError::SubscriptionOptions(byte))?;
        let retain_handling = match (bits & RETAIN_HANDLING) >> RETAIN_HANDLING_SHIFT {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::SubscriptionOptions(byte)),
        };
        let no_local = bits & NO_LOCAL != 0;
        let retain_as_published = bits & RETAIN_AS_PUBLISHED != 0;
        Ok(SubscriptionOptions { qos, no_local, retain_as_published, retain_handling })
    }

    /// The byte as the version writes it.
    pub fn to_byte(self, version: Version) -> u8 {
        let mut byte = self.qos as u8;
        if version != Version::V5 {
            return byte;
        }
        if self.no_local {
            byte |= NO_LOCAL;
        }
        if self.retain_as_published {
            byte |= RETAIN_AS_PUBLISHED;
        }
        byte | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }
}

impl<'a> SubAck<'a> {
    /// A SUBACK that says nothing but this.
    pub fn new(packet_id: PacketId, reasons: &'a [u8]) -> SubAck<'a> {
        let user_properties = UserProperties::NONE;
        SubAck { packet_id, reason_string: None, user_properties, reasons }
    }

    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<SubAck<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut suback = SubAck::new(reader.packet_id()?, &[]);
        let properties = reader.properties(version)?;
        (suback.reason_string, suback.user_properties) = decode_reason_properties(properties)?;
        suback.reasons = reader.rest();
        check_reasons(suback.reasons, |code| match version {
            Version::V31 | Version::V311 => matches!(code, 0..=2 | 0x80), // [MQTT-3.9.3-2]
            Version::V5 => reason_belongs_to(PacketType::SubAck, code),
        })
        .map_err(|code| DecodeError::ReasonCode(PacketType::SubAck, code))?;
        if suback.reasons.is_empty() {
            return Err(DecodeError::NoReasonCodes);
        }
        Ok(suback)
    }

    /// Appends the packet; before 5.0 every failure is 0x80.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::SubAck.first_byte(), |out| {
            put_packet_id(out, self.packet_id);
            put_reason_properties(out, version, self.reason_string, self.user_properties);
            match version {
                Version::V31 | Version::V311 => {
                    out.extend(self.reasons.iter().map(|code| (*code).min(0x80)));
                }
                Version::V5 => out.extend_from_slice(self.reasons),
            }
        });
    }
}

/// The properties of SUBACK and UNSUBACK.
pub(super) fn decode_reason_properties<'a>(
    mut properties: PropertyReader<'a>,
) -> Result<(Option<&'a str>, UserProperties<'a>), DecodeError> {
    let mut reason_string = None;
    while let Some(property) = properties.next()? {
        match property {
            Property::ReasonString(text) => reason_string = Some(text),
            Property::UserProperty(_) => {}
            other => return Err(DecodeError::PropertyMisplaced(other.id())),
        }
    }
    Ok((reason_string, UserProperties::Encoded(properties.all())))
}

pub(super) fn put_reason_properties(
    out: &mut Vec<u8>,
    version: Version,
    reason_string: Option<&str>,
    user_properties: UserProperties<'_>,
) {
    put_properties(out, version, |out| {
        put_property(out, PropertyId::ReasonString, reason_string);
        put_user_properties(out, user_properties);
    });
}

/// The first code that is not legal, if there is one.
pub(super) fn check_reasons(reasons: &[u8], legal: impl Fn(u8) -> bool) -> Result<(), u8> {
    reasons.iter().find(|code| !legal(**code)).map_or(Ok(()), |code| Err(*code))
}

pub(super) fn reason_belongs_to(packet: PacketType, code: u8) -> bool {
    ReasonCode::from_u8(code).is_some_and(|reason| reason.belongs_to(packet, Sender::Server))
}

//! PUBLISH: an application message on its way.

use super::decode::{Reader, Sender};
use super::encode::{
    put_packet_id, put_property, put_subscription_id, put_two_bytes, put_variable_byte_integer,
    variable_byte_integer_len,
};
use super::forward::ForwardProperties;
use super::frame::{DUP, VARIABLE_BYTE_INTEGER_MAX};
use super::property::{Properties, Property, PropertyId, PropertyReader};
use super::{DecodeError, Frame, PacketId, PacketType, QoS, TopicName, Version};

/// A PUBLISH packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// Set on a QoS 1 or 2 message sent again. [MQTT-3.3.1-1]
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Inbound: keep as the topic's retained message. Outbound: is one, or was published so.
    pub retain: bool,
    /// The topic name; empty only in 5.0 and only beside a topic alias.
    pub topic: TopicName<'a>,
    /// Present if and only if QoS is 1 or 2. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// Properties; all absent in 3.1 and 3.1.1.
    pub properties: PublishProperties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH packet: what concerns this hop is read out, what every receiver
/// gets unaltered stays encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublishProperties<'a> {
    /// Topic alias, 1 to 65,535. [MQTT-3.3.2-8]
    pub topic_alias: Option<u16>,
    /// Seconds the message is of use.
    pub message_expiry_interval: Option<u32>,
    /// Subscription identifiers, server to client only. [MQTT-3.3.4-6]
    pub subscription_ids: SubscriptionIds<'a>,
    /// Payload format indicator, response topic, correlation data, user properties and content
    /// type, in the order they came. [MQTT-3.3.2-4, -15, -16, -17, -18, -20]
    pub forward: ForwardProperties<'a>,
}

/// Subscription identifiers of an outgoing PUBLISH.
#[derive(Clone, Copy, Debug)]
pub enum SubscriptionIds<'a> {
    /// To be written.
    Plain(&'a [u32]),
    /// As read: encoded properties in which identifiers (0x0B) are looked up.
    Encoded(&'a [u8]),
}

const RETAIN: u8 = 0b0001;
const QOS_SHIFT: u8 = 1;

/// Lengths of a packet's parts, so that they are counted once.
#[derive(Clone, Copy)]
struct Lengths {
    /// Of the properties, without the length before them.
    properties: usize,
    /// Of all after the fixed header.
    remaining: usize,
}

/// Bytes of a length; what the format cannot express is not written anyway.
#[inline]
fn length_len(length: usize) -> usize {
    variable_byte_integer_len(u32::try_from(length).unwrap_or(u32::MAX))
}

impl<'a> Publish<'a> {
    #[inline]
    pub(super) fn decode(
        sender: Sender,
        version: Version,
        frame: Frame<'a>,
    ) -> Result<Publish<'a>, DecodeError> {
        let flags = frame.flags();
        let qos = QoS::from_bits(flags >> QOS_SHIFT & 0b11).ok_or(DecodeError::QoS)?;
        let dup = flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::DupAtMostOnce); // [MQTT-3.3.1-2]
        }
        let mut reader = Reader::new(frame.body());
        let topic = TopicName::from_field(reader.binary()?)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None, // [MQTT-2.2.1-2]
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let encoded = reader.properties(version)?;
        let properties = if encoded.remaining() == 0 {
            PublishProperties::default()
        } else {
            PublishProperties::decode(sender, encoded)?
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(DecodeError::TopicMissing);
        }
        let retain = flags & RETAIN != 0;
        Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    /// Bytes that [`Publish::encode`] appends.
    #[inline]
    pub fn encoded_len(&self, version: Version) -> usize {
        let remaining_length = self.lengths(version).remaining;
        1 + length_len(remaining_length) + remaining_length
    }

    /// Appends the packet; nothing if it is larger than [`PACKET_SIZE_MAX`](super::PACKET_SIZE_MAX).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let lengths = self.lengths(version);
        if lengths.remaining <= VARIABLE_BYTE_INTEGER_MAX as usize {
            out.reserve(5 + lengths.remaining);
            self.put_head(version, lengths, out);
            out.extend_from_slice(self.payload);
        }
    }

    /// Appends everything before the payload; the remaining length counts the payload. Nothing,
    /// and false, if the packet is larger than [`PACKET_SIZE_MAX`](super::PACKET_SIZE_MAX).
    pub fn encode_head(&self, version: Version, out: &mut Vec<u8>) -> bool {
        let lengths = self.lengths(version);
        let expressible = lengths.remaining <= VARIABLE_BYTE_INTEGER_MAX as usize;
        if expressible {
            out.reserve(5 + lengths.remaining - self.payload.len());
            self.put_head(version, lengths, out);
        }
        expressible
    }

    #[inline]
    fn put_head(&self, version: Version, lengths: Lengths, out: &mut Vec<u8>) {
        out.push(self.first_byte());
        put_variable_byte_integer(out, lengths.remaining as u32);
        let topic = self.topic.as_str().as_bytes();
        put_two_bytes(out, topic.len() as u16);
        out.extend_from_slice(topic);
        if let Some(packet_id) = self.packet_id_written() {
            put_packet_id(out, packet_id);
        }
        if version == Version::V5 {
            put_variable_byte_integer(out, lengths.properties as u32);
            if lengths.properties > 0 {
                self.properties.encode(out);
            }
        }
    }

    #[inline]
    fn lengths(&self, version: Version) -> Lengths {
        let packet_id = if self.packet_id_written().is_some() { 2 } else { 0 };
        let before_5 = 2 + self.topic.as_str().len() + packet_id + self.payload.len();
        match version {
            Version::V31 | Version::V311 => Lengths { properties: 0, remaining: before_5 },
            Version::V5 => {
                let properties = self.properties.encoded_len();
                Lengths { properties, remaining: before_5 + length_len(properties) + properties }
            }
        }
    }

    fn first_byte(&self) -> u8 {
        let mut flags = (self.qos as u8) << QOS_SHIFT;
        // [MQTT-3.3.1-2]
        if self.dup && self.qos != QoS::AtMostOnce {
            flags |= DUP;
        }
        if self.retain {
            flags |= RETAIN;
        }
        (PacketType::Publish as u8) << 4 | flags
    }

    /// [MQTT-2.2.1-2]
    fn packet_id_written(&self) -> Option<PacketId> {
        self.packet_id.filter(|_| self.qos != QoS::AtMostOnce)
    }
}

impl<'a> PublishProperties<'a> {
    /// No property.
    pub const NONE: PublishProperties<'static> = PublishProperties {
        topic_alias: None,
        message_expiry_interval: None,
        subscription_ids: SubscriptionIds::NONE,
        forward: ForwardProperties::NONE,
    };

    fn decode(
        sender: Sender,
        mut properties: PropertyReader<'a>,
    ) -> Result<PublishProperties<'a>, DecodeError> {
        let mut publish = PublishProperties::NONE;
        let mut forwarded = 0;
        let mut remaining = properties.remaining();
        while let Some(property) = properties.next_repeatable()? {
            match property {
                Property::SubscriptionIdentifier(_) => {
                    // [MQTT-3.3.4-6]
                    if sender == Sender::Client {
                        return Err(DecodeError::PropertyFromWrongSide(property.id()));
                    }
                    publish.subscription_ids = SubscriptionIds::Encoded(properties.all());
                    remaining = properties.remaining();
                    continue;
                }
                Property::TopicAlias(0) => return Err(DecodeError::TopicAliasZero),
                Property::TopicAlias(alias) => publish.topic_alias = Some(alias),
                Property::MessageExpiryInterval(s) => publish.message_expiry_interval = Some(s),
                property if property.is_forwarded() => {
                    forwarded += remaining - properties.remaining();
                }
                other => return Err(DecodeError::PropertyMisplaced(other.id())),
            }
            properties.only_once(property.id())?;
            remaining = properties.remaining();
        }
        publish.forward = ForwardProperties::new(properties.all(), forwarded);
        Ok(publish)
    }

    /// Bytes without the length before them.
    #[inline]
    fn encoded_len(&self) -> usize {
        let topic_alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry_interval.is_some() { 5 } else { 0 };
        topic_alias + expiry + self.subscription_ids.encoded_len() + self.forward.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_property(out, PropertyId::TopicAlias, self.topic_alias);
        put_property(out, PropertyId::MessageExpiryInterval, self.message_expiry_interval);
        for subscription_id in self.subscription_ids.iter() {
            put_subscription_id(out, subscription_id);
        }
        self.forward.write_to(out);
    }
}

impl<'a> SubscriptionIds<'a> {
    /// No subscription identifier.
    pub const NONE: SubscriptionIds<'static> = SubscriptionIds::Plain(&[]);

    /// Each identifier; their order means nothing. [MQTT-3.3.4-4]
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (plain, encoded): (&'a [u32], &'a [u8]) = match *self {
            SubscriptionIds::Plain(plain) => (plain, &[]),
            SubscriptionIds::Encoded(encoded) => (&[], encoded),
        };
        plain.iter().copied().chain(Properties::of_checked(encoded).filter_map(|property| {
            match property {
                Property::SubscriptionIdentifier(id) => Some(id),
                _ => None,
            }
        }))
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    #[inline]
    fn encoded_len(&self) -> usize {
        match self {
            SubscriptionIds::Plain([]) => 0,
            _ => self.iter().map(|id| 1 + variable_byte_integer_len(id)).sum(),
        }
    }
}

impl Default for SubscriptionIds<'_> {
    fn default() -> Self {
        SubscriptionIds::NONE
    }
}

/// By content, written or read.
impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &SubscriptionIds<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

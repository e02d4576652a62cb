//! The properties of MQTT 5.0: identifiers, types, values.
//!
//! Which property may stand in which packet is said where the packet is decoded.

use std::fmt;

use super::decode::Reader;
use super::{DecodeError, QoS, TopicName};

/// One user property: a name and a value.
pub type UserProperty<'a> = (&'a str, &'a str);

/// User properties in the order they stand. [MQTT-3.3.2-18]
#[derive(Clone, Copy, Debug)]
pub enum UserProperties<'a> {
    /// To be written.
    Plain(&'a [UserProperty<'a>]),
    /// As read: checked, encoded properties in which user properties (0x26) are looked up.
    Encoded(&'a [u8]),
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident($type:ty) = $id:literal, $text:literal, $reader:ident;)*) => {
        /// The identifiers of all properties.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $($(#[$doc])* $name = $id,)*
        }

        /// A property with its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $($(#[$doc])* $name($type),)*
        }

        impl PropertyId {
            /// The identifier of this value, if there is one.
            pub fn from_u8(value: u8) -> Option<PropertyId> {
                match value {
                    $($id => Some(PropertyId::$name),)*
                    _ => None,
                }
            }

            /// Its name in the specification, in lower case.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(PropertyId::$name => $text,)*
                }
            }
        }

        impl<'a> Property<'a> {
            /// Which one it is.
            pub fn id(&self) -> PropertyId {
                match self {
                    $(Property::$name(_) => PropertyId::$name,)*
                }
            }

            /// Reads the value that follows an identifier.
            #[inline]
            fn read_value(
                id: PropertyId,
                reader: &mut Reader<'a>,
            ) -> Result<Property<'a>, DecodeError> {
                match id {
                    $(PropertyId::$name => value::$reader(id, reader).map(Property::$name),)*
                }
            }
        }
    };
}

properties! {
    /// Whether the payload is UTF-8 text.
    PayloadFormatIndicator(bool) = 0x01, "payload format indicator", boolean;
    /// Seconds the message is of use.
    MessageExpiryInterval(u32) = 0x02, "message expiry interval", four_bytes;
    /// What the payload is.
    ContentType(&'a str) = 0x03, "content type", string;
    /// Where an answer is expected.
    ResponseTopic(TopicName<'a>) = 0x08, "response topic", response_topic;
    /// What the answer should repeat.
    CorrelationData(&'a [u8]) = 0x09, "correlation data", binary;
    /// 1 to 268,435,455.
    SubscriptionIdentifier(u32) = 0x0B, "subscription identifier", variable_nonzero;
    /// Seconds a session outlives its connection.
    SessionExpiryInterval(u32) = 0x11, "session expiry interval", four_bytes;
    /// The client id the server chose.
    AssignedClientIdentifier(&'a str) = 0x12, "assigned client identifier", string;
    /// Seconds.
    ServerKeepAlive(u16) = 0x13, "server keep alive", two_bytes;
    /// The name of a method of extended authentication.
    AuthenticationMethod(&'a str) = 0x15, "authentication method", string;
    /// What the method says.
    AuthenticationData(&'a [u8]) = 0x16, "authentication data", binary;
    /// Whether reason strings are wanted.
    RequestProblemInformation(bool) = 0x17, "request problem information", boolean;
    /// Seconds from the end of the connection to the will.
    WillDelayInterval(u32) = 0x18, "will delay interval", four_bytes;
    /// Whether response information is wanted.
    RequestResponseInformation(bool) = 0x19, "request response information", boolean;
    /// Where response topics may be built.
    ResponseInformation(&'a str) = 0x1A, "response information", string;
    /// Another server.
    ServerReference(&'a str) = 0x1C, "server reference", string;
    /// For people.
    ReasonString(&'a str) = 0x1F, "reason string", string;
    /// Unacknowledged QoS 1 and 2 messages the sender takes; not 0.
    ReceiveMaximum(u16) = 0x21, "receive maximum", two_bytes_nonzero;
    /// The largest topic alias the sender takes.
    TopicAliasMaximum(u16) = 0x22, "topic alias maximum", two_bytes;
    /// In the place of a topic name.
    TopicAlias(u16) = 0x23, "topic alias", two_bytes;
    /// The highest QoS the server takes.
    MaximumQoS(QoS) = 0x24, "maximum qos", maximum_qos;
    /// Whether the server keeps retained messages.
    RetainAvailable(bool) = 0x25, "retain available", boolean;
    /// A name and a value.
    UserProperty(UserProperty<'a>) = 0x26, "user property", string_pair;
    /// Bytes of the largest packet the sender takes; not 0.
    MaximumPacketSize(u32) = 0x27, "maximum packet size", four_bytes_nonzero;
    /// Whether filters may have wildcards.
    WildcardSubscriptionAvailable(bool) = 0x28, "wildcard subscription available", boolean;
    /// Whether subscriptions may have identifiers.
    SubscriptionIdentifierAvailable(bool) = 0x29, "subscription identifier available", boolean;
    /// Whether there are shared subscriptions.
    SharedSubscriptionAvailable(bool) = 0x2A, "shared subscription available", boolean;
}

/// Reads values and refuses those that a property does not allow.
mod value {
    use super::*;

    type Result<T> = std::result::Result<T, DecodeError>;

    pub(super) fn boolean(id: PropertyId, reader: &mut Reader<'_>) -> Result<bool> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    pub(super) fn maximum_qos(id: PropertyId, reader: &mut Reader<'_>) -> Result<QoS> {
        match reader.byte()? {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    pub(super) fn two_bytes(_: PropertyId, reader: &mut Reader<'_>) -> Result<u16> {
        reader.two_byte_integer()
    }

    pub(super) fn two_bytes_nonzero(id: PropertyId, reader: &mut Reader<'_>) -> Result<u16> {
        nonzero(id, reader.two_byte_integer()?)
    }

    pub(super) fn four_bytes(_: PropertyId, reader: &mut Reader<'_>) -> Result<u32> {
        reader.four_byte_integer()
    }

    pub(super) fn four_bytes_nonzero(id: PropertyId, reader: &mut Reader<'_>) -> Result<u32> {
        nonzero(id, reader.four_byte_integer()?)
    }

    pub(super) fn variable_nonzero(id: PropertyId, reader: &mut Reader<'_>) -> Result<u32> {
        nonzero(id, reader.variable_byte_integer()?)
    }

    pub(super) fn string<'a>(_: PropertyId, reader: &mut Reader<'a>) -> Result<&'a str> {
        reader.string()
    }

    pub(super) fn string_pair<'a>(
        _: PropertyId,
        reader: &mut Reader<'a>,
    ) -> Result<UserProperty<'a>> {
        Ok((reader.string()?, reader.string()?)) // [MQTT-1.5.7-1]
    }

    pub(super) fn binary<'a>(_: PropertyId, reader: &mut Reader<'a>) -> Result<&'a [u8]> {
        reader.binary()
    }

    /// [MQTT-3.3.2-13, -14]
    pub(super) fn response_topic<'a>(
        _: PropertyId,
        reader: &mut Reader<'a>,
    ) -> Result<TopicName<'a>> {
        let text = reader.string()?;
        TopicName::new(text).map_err(DecodeError::ResponseTopic)
    }

    fn nonzero<T: Default + PartialEq>(id: PropertyId, value: T) -> Result<T> {
        if value == T::default() { Err(DecodeError::PropertyValue(id)) } else { Ok(value) }
    }
}

impl Property<'_> {
    /// Whether a message keeps it on its way through the server. [MQTT-3.3.2-4, -15, -16, -17, -20]
    pub(super) fn is_forwarded(&self) -> bool {
        matches!(
            self,
            Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(_)
        )
    }
}

/// Takes property after property off a packet's properties.
#[derive(Clone, Copy, Debug)]
pub(super) struct PropertyReader<'a> {
    all: &'a [u8],
    reader: Reader<'a>,
    /// A bit for each identifier that was there.
    seen: u64,
}

impl<'a> PropertyReader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> PropertyReader<'a> {
        PropertyReader { all: bytes, reader: Reader::new(bytes), seen: 0 }
    }

    /// All bytes, read or not.
    #[inline]
    pub(super) fn all(&self) -> &'a [u8] {
        self.all
    }

    /// How many bytes have not been read.
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.reader.rest().len()
    }

    /// The next property, once each: repeated are user properties, and subscription identifiers
    /// where the packet asks for it by [`PropertyReader::next_repeatable`].
    pub(super) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        let property = self.next_repeatable()?;
        if let Some(property) = property {
            self.only_once(property.id())?;
        }
        Ok(property)
    }

    /// The next property, wherever it stands.
    pub(super) fn next_repeatable(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let value = self.reader.variable_byte_integer()?;
        let id = u8::try_from(value)
            .ok()
            .and_then(PropertyId::from_u8)
            .ok_or(DecodeError::PropertyUnknown(value))?;
        Property::read_value(id, &mut self.reader).map(Some)
    }

    /// Refuses a property that stood before, unless it is a user property.
    #[inline]
    pub(super) fn only_once(&mut self, id: PropertyId) -> Result<(), DecodeError> {
        let bit = 1 << id as u8;
        if self.seen & bit != 0 && id != PropertyId::UserProperty {
            return Err(DecodeError::PropertyRepeated(id));
        }
        self.seen |= bit;
        Ok(())
    }
}

/// Checked properties once more; ends at the first that would be refused.
#[derive(Clone, Debug)]
pub(super) struct Properties<'a>(PropertyReader<'a>);

impl<'a> Properties<'a> {
    pub(super) fn of_checked(encoded: &'a [u8]) -> Properties<'a> {
        Properties(PropertyReader::new(encoded))
    }

    /// The next property with the bytes it stands in.
    pub(super) fn next_encoded(&mut self) -> Option<(Property<'a>, &'a [u8])> {
        let start = self.0.all.len() - self.0.remaining();
        let property = self.0.next_repeatable().ok().flatten()?;
        let end = self.0.all.len() - self.0.remaining();
        Some((property, &self.0.all[start..end]))
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        self.0.next_repeatable().ok().flatten()
    }
}

impl<'a> UserProperties<'a> {
    /// No user property.
    pub const NONE: UserProperties<'static> = UserProperties::Plain(&[]);

    /// Each name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = UserProperty<'a>> + use<'a> {
        let (plain, encoded): (&'a [UserProperty<'a>], &'a [u8]) = match *self {
            UserProperties::Plain(plain) => (plain, &[]),
            UserProperties::Encoded(encoded) => (&[], encoded),
        };
        plain.iter().copied().chain(Properties::of_checked(encoded).filter_map(|property| {
            match property {
                Property::UserProperty(pair) => Some(pair),
                _ => None,
            }
        }))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        UserProperties::NONE
    }
}

/// By content, written or read.
impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &UserProperties<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Authentication data needs a method. [MQTT-3.1.2, 3.2.2]
pub(super) fn authentication_checked(
    method: Option<&str>,
    data: Option<&[u8]>,
) -> Result<(), DecodeError> {
    match (method, data) {
        (None, Some(_)) => Err(DecodeError::AuthenticationMethodMissing),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_27_properties() {
        let ids: Vec<PropertyId> = (0..=u8::MAX).filter_map(PropertyId::from_u8).collect();
        assert_eq!(ids.len(), 27);
        // The set of those seen has a bit for each.
        assert!(ids.iter().all(|id| (*id as u8) < 64));
    }

    #[test]
    fn user_properties_are_found_among_others_in_their_order() {
        // [MQTT-3.3.2-18]
        let encoded = b"\x26\0\x01b\0\x011\x1F\0\x01x\x26\0\x01a\0\0";
        let read = UserProperties::Encoded(encoded);
        assert_eq!(read, UserProperties::Plain(&[("b", "1"), ("a", "")]));
        assert_ne!(read, UserProperties::Plain(&[("a", ""), ("b", "1")]));
        assert!(!read.is_empty());
        assert!(UserProperties::Encoded(b"\x1F\0\x01x").is_empty());
        assert_eq!(UserProperties::default(), UserProperties::NONE);
    }

    #[test]
    fn a_property_may_stand_once_and_a_user_property_as_often_as_it_likes() {
        let mut reader = PropertyReader::new(b"\x26\0\0\0\0\x26\0\0\0\0\x13\0\x01\x13\0\x01");
        assert!(matches!(reader.next(), Ok(Some(Property::UserProperty(("", ""))))));
        assert!(matches!(reader.next(), Ok(Some(Property::UserProperty(("", ""))))));
        assert_eq!(reader.next(), Ok(Some(Property::ServerKeepAlive(1))));
        let repeated = DecodeError::PropertyRepeated(PropertyId::ServerKeepAlive);
        assert_eq!(reader.next(), Err(repeated));
    }

    #[test]
    fn booleans_are_0_or_1() {
        for id in [0x01, 0x17, 0x19, 0x25, 0x28, 0x29, 0x2A] {
            for value in 0..=u8::MAX {
                let bytes = [id, value];
                let read = PropertyReader::new(&bytes).next();
                assert_eq!(read.is_ok(), value <= 1, "{id:#x} {value}");
            }
        }
    }
}

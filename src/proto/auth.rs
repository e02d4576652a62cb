//! AUTH: how client and server prove themselves to each other in more than one step. 5.0 only.

use super::decode::{Reader, Sender};
use super::encode::{put_packet, put_properties, put_property, put_user_properties};
use super::property::{Property, PropertyId, PropertyReader};
use super::{DecodeError, PacketType, ReasonCode, UserProperties, Version};

/// An AUTH packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, continue authentication or re-authenticate.
    pub reason: ReasonCode,
    /// The method; must be the CONNECT packet's. [MQTT-4.12.0-5]
    pub authentication_method: Option<&'a str>,
    /// Its next data.
    pub authentication_data: Option<&'a [u8]>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// An AUTH that goes on with a method.
    pub fn new(reason: ReasonCode, method: &'a str, data: Option<&'a [u8]>) -> Auth<'a> {
        Auth {
            reason,
            authentication_method: Some(method),
            authentication_data: data,
            reason_string: None,
            user_properties: UserProperties::NONE,
        }
    }

    pub(super) fn decode(
        sender: Sender,
        version: Version,
        body: &'a [u8],
    ) -> Result<Auth<'a>, DecodeError> {
        if version != Version::V5 {
            return Err(DecodeError::PacketTypeOfOtherVersion(PacketType::Auth, version));
        }
        let mut reader = Reader::new(body);
        let mut auth = Auth {
            reason: ReasonCode::Success,
            authentication_method: None,
            authentication_data: None,
            reason_string: None,
            user_properties: UserProperties::NONE,
        };
        if reader.is_empty() {
            // Stands for success, which is the server's to say. [MQTT-3.15.2-1]
            return match sender {
                Sender::Server => Ok(auth),
                Sender::Client => Err(DecodeError::ReasonCode(PacketType::Auth, 0)),
            };
        }
        auth.reason = reader.reason(PacketType::Auth, sender)?;
        auth.decode_properties(reader.properties(version)?)?;
        reader.end()?;
        Ok(auth)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>) -> Result<(), DecodeError> {
        self.user_properties = UserProperties::Encoded(properties.all());
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(method) => {
                    self.authentication_method = Some(method);
                }
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::UserProperty(_) => {}
                other => return Err(DecodeError::PropertyMisplaced(other.id())),
            }
        }
        match self.authentication_method {
            Some(_) => Ok(()),
            None => Err(DecodeError::AuthenticationMethodMissing), // [MQTT-4.12.0-5]
        }
    }

    /// Appends the packet; before 5.0 there is none.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if version != Version::V5 {
            return;
        }
        put_packet(out, PacketType::Auth.first_byte(), |out| {
            // Without a method only the bare success can be read again.
            if self.authentication_method.is_none() && self.reason == ReasonCode::Success {
                return;
            }
            out.push(self.reason.as_u8());
            put_properties(out, version, |out| {
                put_property(out, PropertyId::AuthenticationMethod, self.authentication_method);
                put_property(out, PropertyId::AuthenticationData, self.authentication_data);
                put_property(out, PropertyId::ReasonString, self.reason_string);
                put_user_properties(out, self.user_properties);
            });
        });
    }
}

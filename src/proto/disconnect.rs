//! DISCONNECT: how a connection ends on purpose.

use super::decode::{Reader, Sender};
use super::encode::{put_packet, put_properties, put_property, put_user_properties};
use super::property::{Property, PropertyId, PropertyReader};
use super::{DecodeError, PacketType, ReasonCode, UserProperties, Version};

/// A DISCONNECT packet. All but the client's bare one is 5.0 only.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// Why.
    pub reason: ReasonCode,
    /// Seconds, client to server: a new session expiry interval.
    pub session_expiry_interval: Option<u32>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Server to client: another server to use.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT that says nothing but why.
    pub fn new(reason: ReasonCode) -> Disconnect<'a> {
        Disconnect {
            reason,
            session_expiry_interval: None,
            reason_string: None,
            user_properties: UserProperties::NONE,
            server_reference: None,
        }
    }

    pub(super) fn decode(
        sender: Sender,
        version: Version,
        body: &'a [u8],
    ) -> Result<Disconnect<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        // What is left out at the end has its default.
        if version == Version::V5 && !reader.is_empty() {
            disconnect.reason = reader.reason(PacketType::Disconnect, sender)?;
            if !reader.is_empty() {
                disconnect.decode_properties(sender, reader.properties(version)?)?;
            }
        }
        reader.end()?;
        Ok(disconnect)
    }

    fn decode_properties(
        &mut self,
        sender: Sender,
        mut properties: PropertyReader<'a>,
    ) -> Result<(), DecodeError> {
        self.user_properties = UserProperties::Encoded(properties.all());
        while let Some(property) = properties.next()? {
            match (property, sender) {
                (Property::SessionExpiryInterval(s), Sender::Client) => {
                    self.session_expiry_interval = Some(s);
                }
                (Property::ServerReference(text), Sender::Server) => {
                    self.server_reference = Some(text);
                }
                // [MQTT-3.14.2-2]
                (Property::SessionExpiryInterval(_) | Property::ServerReference(_), _) => {
                    return Err(DecodeError::PropertyFromWrongSide(property.id()));
                }
                (Property::ReasonString(text), _) => self.reason_string = Some(text),
                (Property::UserProperty(_), _) => {}
                _ => return Err(DecodeError::PropertyMisplaced(property.id())),
            }
        }
        Ok(())
    }

    /// Appends the packet; before 5.0 it has nothing to say but itself.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Disconnect.first_byte(), |out| {
            if version != Version::V5 {
                return;
            }
            let has_properties = self.has_properties();
            if has_properties || self.reason != ReasonCode::Success {
                out.push(self.reason.as_u8());
            }
            if has_properties {
                put_properties(out, version, |out| self.encode_properties(out));
            }
        });
    }

    fn has_properties(&self) -> bool {
        self.session_expiry_interval.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        put_property(out, PropertyId::SessionExpiryInterval, self.session_expiry_interval);
        put_property(out, PropertyId::ReasonString, self.reason_string);
        put_property(out, PropertyId::ServerReference, self.server_reference);
        put_user_properties(out, self.user_properties);
    }
}

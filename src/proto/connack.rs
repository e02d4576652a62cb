//! CONNACK: how a server lets a client in, or not.

use super::decode::{Reader, Sender};
use super::encode::{put_packet, put_properties, put_property, put_user_properties};
use super::property::{Property, PropertyId, PropertyReader, authentication_checked};
use super::{DecodeError, PacketType, QoS, ReasonCode, UserProperties, Version};

/// A CONNACK packet. Every property but `session_present` and `reason` is 5.0 only.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// The server had a session and kept it. [MQTT-3.2.2-2]
    pub session_present: bool,
    /// In 3.1 and 3.1.1 written as its return code, see [`ReasonCode::connect_return_code`].
    pub reason: ReasonCode,
    /// Seconds; absent: as the client asked.
    pub session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages the server takes unacknowledged.
    pub receive_maximum: Option<u16>,
    /// Absent: QoS 2.
    pub maximum_qos: Option<QoS>,
    /// Absent: yes.
    pub retain_available: Option<bool>,
    /// Bytes; absent: no limit.
    pub maximum_packet_size: Option<u32>,
    /// The client id the server chose. [MQTT-3.1.3-7]
    pub assigned_client_id: Option<&'a str>,
    /// Aliases the server takes; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Absent: yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Absent: yes.
    pub subscription_ids_available: Option<bool>,
    /// Absent: yes.
    pub shared_subscription_available: Option<bool>,
    /// Seconds the client must use instead of its own. [MQTT-3.2.2-21]
    pub server_keep_alive: Option<u16>,
    /// Where the client may build response topics.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// Extended authentication method.
    pub authentication_method: Option<&'a str>,
    /// Its last data.
    pub authentication_data: Option<&'a [u8]>,
}

const SESSION_PRESENT: u8 = 1;

impl<'a> ConnAck<'a> {
    /// A CONNACK that says nothing but this.
    pub fn new(session_present: bool, reason: ReasonCode) -> ConnAck<'a> {
        ConnAck {
            session_present,
            reason,
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: None,
            reason_string: None,
            user_properties: UserProperties::NONE,
            wildcard_subscription_available: None,
            subscription_ids_available: None,
            shared_subscription_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }

    pub(super) fn decode(version: Version, body: &'a [u8]) -> Result<ConnAck<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        // 3.1 did not use the byte.
        let flags = reader.byte()? & if version == Version::V31 { 0 } else { 0xFF };
        let reason = decode_reason(version, &mut reader)?;
        // [MQTT-3.2.2-1, -6]
        if flags & !SESSION_PRESENT != 0 || flags != 0 && reason != ReasonCode::Success {
            return Err(DecodeError::ConnectAcknowledgeFlags(flags));
        }
        let mut connack = ConnAck::new(flags & SESSION_PRESENT != 0, reason);
        connack.decode_properties(reader.properties(version)?)?;
        reader.end()?;
        Ok(connack)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>) -> Result<(), DecodeError> {
        self.user_properties = UserProperties::Encoded(properties.all());
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(s) => self.session_expiry_interval = Some(s),
                Property::ReceiveMaximum(count) => self.receive_maximum = Some(count),
                Property::MaximumQoS(qos) => self.maximum_qos = Some(qos),
                Property::RetainAvailable(yes) => self.retain_available = Some(yes),
                Property::MaximumPacketSize(size) => self.maximum_packet_size = Some(size),
                Property::AssignedClientIdentifier(id) => self.assigned_client_id = Some(id),
                Property::TopicAliasMaximum(alias) => self.topic_alias_maximum = Some(alias),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::UserProperty(_) => {}
                Property::WildcardSubscriptionAvailable(yes) => {
                    self.wildcard_subscription_available = Some(yes);
                }
                Property::SubscriptionIdentifierAvailable(yes) => {
                    self.subscription_ids_available = Some(yes);
                }
                Property::SharedSubscriptionAvailable(yes) => {
                    self.shared_subscription_available = Some(yes);
                }
                Property::ServerKeepAlive(s) => self.server_keep_alive = Some(s),
                Property::ResponseInformation(text) => self.response_information = Some(text),
                Property::ServerReference(text) => self.server_reference = Some(text),
                Property::AuthenticationMethod(method) => {
                    self.authentication_method = Some(method);
                }
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                other => return Err(DecodeError::PropertyMisplaced(other.id())),
            }
        }
        authentication_checked(self.authentication_method, self.authentication_data)
    }

    /// Appends the packet. A session is never present at a refusal. [MQTT-3.2.2-6]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let session_present =
            self.session_present && self.reason == ReasonCode::Success && version != Version::V31;
        put_packet(out, PacketType::ConnAck.first_byte(), |out| {
            out.push(if session_present { SESSION_PRESENT } else { 0 });
            out.push(match version {
                Version::V31 | Version::V311 => self.reason.connect_return_code(),
                Version::V5 => self.reason.as_u8(),
            });
            put_properties(out, version, |out| self.encode_properties(out));
        });
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        put_property(out, PropertyId::SessionExpiryInterval, self.session_expiry_interval);
        put_property(out, PropertyId::ReceiveMaximum, self.receive_maximum);
        // QoS 2 is what absence says; it has no value of its own.
        let maximum_qos = self.maximum_qos.filter(|qos| *qos != QoS::ExactlyOnce);
        put_property(out, PropertyId::MaximumQoS, maximum_qos);
        put_property(out, PropertyId::RetainAvailable, self.retain_available);
        put_property(out, PropertyId::MaximumPacketSize, self.maximum_packet_size);
        put_property(out, PropertyId::AssignedClientIdentifier, self.assigned_client_id);
        put_property(out, PropertyId::TopicAliasMaximum, self.topic_alias_maximum);
        put_property(out, PropertyId::ReasonString, self.reason_string);
        put_property(
            out,
            PropertyId::WildcardSubscriptionAvailable,
            self.wildcard_subscription_available,
        );
        put_property(
            out,
            PropertyId::SubscriptionIdentifierAvailable,
            self.subscription_ids_available,
        );
        put_property(
            out,
            PropertyId::SharedSubscriptionAvailable,
            self.shared_subscription_available,
        );
        put_property(out, PropertyId::ServerKeepAlive, self.server_keep_alive);
        put_property(out, PropertyId::ResponseInformation, self.response_information);
        put_property(out, PropertyId::ServerReference, self.server_reference);
        put_property(out, PropertyId::AuthenticationMethod, self.authentication_method);
        put_property(out, PropertyId::AuthenticationData, self.authentication_data);
        put_user_properties(out, self.user_properties);
    }
}

/// The reason code, or the return code it was called before.
fn decode_reason(version: Version, reader: &mut Reader<'_>) -> Result<ReasonCode, DecodeError> {
    if version == Version::V5 {
        return reader.reason(PacketType::ConnAck, Sender::Server);
    }
    let code = reader.byte()?;
    ReasonCode::from_connect_return_code(code)
        .ok_or(DecodeError::ReasonCode(PacketType::ConnAck, code))
}

//! CONNECT, CONNACK, DISCONNECT and AUTH: how a connection begins, proves itself and ends.

use super::{PublishProperties, QoS, ReasonCode, TopicName, UserProperties, Version};

/// A CONNECT packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// Which protocol the rest of the connection speaks.
    pub version: Version,
    /// Set by bridges of Mosquitto and RSMB in bit 7 of the protocol level: loops are theirs to
    /// avoid. Accepted and otherwise ignored.
    pub bridge: bool,
    /// Clean session (3.1, 3.1.1) or clean start (5.0).
    pub clean_start: bool,
    /// Seconds; 0 turns the mechanism off.
    pub keep_alive: u16,
    /// Zero length asks for an assigned one.
    pub client_id: &'a str,
    /// User name and password; either may stand alone in 5.0.
    pub credentials: Credentials<'a>,
    /// Published for the client when its connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// Seconds; `u32::MAX` never expires. Absent is 0 in 5.0.
    pub session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages the client takes unacknowledged; absent is 65,535. Never 0.
    pub receive_maximum: Option<u16>,
    /// Bytes; absent is no limit. Never 0.
    pub maximum_packet_size: Option<u32>,
    /// Aliases the client takes; absent is 0.
    pub topic_alias_maximum: Option<u16>,
    /// The client asks for response information.
    pub request_response_information: bool,
    /// The client takes reason strings and user properties anywhere; absent is true.
    pub request_problem_information: bool,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Extended authentication method.
    pub authentication_method: Option<&'a str>,
    /// Its first data.
    pub authentication_data: Option<&'a [u8]>,
}

/// User name and password of a CONNECT packet.
#[derive(Clone, Copy, Default, PartialEq)]
pub struct Credentials<'a> {
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password; any bytes.
    pub password: Option<&'a [u8]>,
}

/// The will of a CONNECT packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Will<'a> {
    /// Where to publish.
    pub topic: TopicName<'a>,
    /// At which QoS.
    pub qos: QoS,
    /// As a retained message.
    pub retain: bool,
    /// Seconds to wait after the connection ended; absent is 0.
    pub delay_interval: u32,
    /// Of the message; no topic alias, no subscription identifiers.
    pub properties: PublishProperties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

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

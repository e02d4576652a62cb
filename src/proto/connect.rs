//! CONNECT: how a connection begins.

use std::fmt;

use super::decode::Reader;
use super::encode::{
    put_binary, put_packet, put_properties, put_property, put_string, put_two_bytes,
    put_user_properties,
};
use super::forward::ForwardProperties;
use super::property::{Property, PropertyId, PropertyReader, authentication_checked};
use super::{
    ConnAck, DecodeError, Frame, PacketType, PublishProperties, QoS, TopicName, UserProperties,
    Version,
};

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

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_QOS: u8 = 0b11 << WILL_QOS_SHIFT;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// Bit 7 of the protocol level, by which bridges of Mosquitto make themselves known.
const BRIDGE: u8 = 0x80;

impl<'a> Connect<'a> {
    /// A CONNECT with nothing in it but what every one has.
    pub fn new(version: Version, client_id: &'a str) -> Connect<'a> {
        Connect {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id,
            credentials: Credentials::default(),
            will: None,
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: false,
            request_problem_information: true,
            user_properties: UserProperties::NONE,
            authentication_method: None,
            authentication_data: None,
        }
    }

    /// The version to answer a CONNECT in that cannot be decoded: that of its protocol name and
    /// level, or the nearest one if the level is none of ours. `None` if the packet is no
    /// CONNECT or does not even say what it speaks; then there is nobody to answer.
    /// [MQTT-3.1.2-1, -2]
    ///
    /// [`Connect::refusal`] says what to answer.
    pub fn peek_version(frame: &Frame<'_>) -> Option<Version> {
        if frame.packet_type() != PacketType::Connect {
            return None;
        }
        let mut reader = Reader::new(frame.body());
        let name = reader.binary().ok()?;
        let level = reader.byte().ok()?;
        match name {
            b"MQIsdp" => Some(Version::V31),
            b"MQTT" if level & !BRIDGE < Version::V5 as u8 => Some(Version::V311),
            b"MQTT" => Some(Version::V5),
            _ => None,
        }
    }

    /// The answer to a CONNECT that cannot be decoded, and the version to write it in.
    ///
    /// 5.0 tells the reason code. 3.1 and 3.1.1 tell an unacceptable protocol level, and close
    /// without a word after anything else. [MQTT-3.1.4-1 of 3.1.1]
    pub fn refusal(frame: &Frame<'_>, error: DecodeError) -> Option<(Version, ConnAck<'static>)> {
        let version = Connect::peek_version(frame)?;
        let answered = version == Version::V5 || matches!(error, DecodeError::ProtocolLevel(_));
        answered.then(|| (version, ConnAck::new(false, error.reason())))
    }

    pub(super) fn decode(body: &'a [u8]) -> Result<Connect<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        let (version, bridge) = decode_version(&mut reader)?;
        let flags = decode_flags(version, reader.byte()?)?;
        let mut connect = Connect::new(version, "");
        connect.bridge = bridge;
        connect.clean_start = flags & CLEAN_START != 0;
        connect.keep_alive = reader.two_byte_integer()?;
        connect.decode_properties(reader.properties(version)?)?;
        connect.client_id = reader.string()?; // [MQTT-3.1.3-3, -4]
        if flags & WILL != 0 {
            connect.will = Some(Will::decode(version, flags, &mut reader)?); // [MQTT-3.1.2-9]
        }
        connect.credentials = Credentials::decode(version, flags, &mut reader)?;
        reader.end()?;
        Ok(connect)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>) -> Result<(), DecodeError> {
        self.user_properties = UserProperties::Encoded(properties.all());
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(s) => self.session_expiry_interval = Some(s),
                Property::ReceiveMaximum(count) => self.receive_maximum = Some(count),
                Property::MaximumPacketSize(size) => self.maximum_packet_size = Some(size),
                Property::TopicAliasMaximum(alias) => self.topic_alias_maximum = Some(alias),
                Property::RequestResponseInformation(wanted) => {
                    self.request_response_information = wanted;
                }
                Property::RequestProblemInformation(wanted) => {
                    self.request_problem_information = wanted;
                }
                Property::AuthenticationMethod(method) => {
                    self.authentication_method = Some(method);
                }
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                Property::UserProperty(_) => {}
                other => return Err(DecodeError::PropertyMisplaced(other.id())),
            }
        }
        authentication_checked(self.authentication_method, self.authentication_data)
    }

    /// Appends the packet in its own version.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Connect.first_byte(), |out| {
            let (name, bridge) = match self.version {
                Version::V31 => ("MQIsdp", self.bridge),
                Version::V311 => ("MQTT", self.bridge),
                Version::V5 => ("MQTT", false),
            };
            put_string(out, name);
            out.push(self.version as u8 | if bridge { BRIDGE } else { 0 });
            out.push(self.flags());
            put_two_bytes(out, self.keep_alive);
            put_properties(out, self.version, |out| self.encode_properties(out));
            put_string(out, self.client_id);
            if let Some(will) = &self.will {
                will.encode(self.version, out);
            }
            if let Some(user_name) = self.credentials.user_name {
                put_string(out, user_name);
            }
            if let Some(password) = self.credentials.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.credentials.password.is_some() {
            flags |= PASSWORD;
        }
        if self.credentials.user_name.is_some() {
            flags |= USER_NAME;
        }
        flags
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        put_property(out, PropertyId::SessionExpiryInterval, self.session_expiry_interval);
        put_property(out, PropertyId::ReceiveMaximum, self.receive_maximum);
        put_property(out, PropertyId::MaximumPacketSize, self.maximum_packet_size);
        put_property(out, PropertyId::TopicAliasMaximum, self.topic_alias_maximum);
        let response_information = self.request_response_information.then_some(true);
        put_property(out, PropertyId::RequestResponseInformation, response_information);
        let problem_information = (!self.request_problem_information).then_some(false);
        put_property(out, PropertyId::RequestProblemInformation, problem_information);
        put_property(out, PropertyId::AuthenticationMethod, self.authentication_method);
        put_property(out, PropertyId::AuthenticationData, self.authentication_data);
        put_user_properties(out, self.user_properties);
    }
}

impl<'a> Credentials<'a> {
    /// [MQTT-3.1.2-16, -17, -18, -19]
    fn decode(
        version: Version,
        flags: u8,
        reader: &mut Reader<'a>,
    ) -> Result<Credentials<'a>, DecodeError> {
        // In 3.1 the remaining length has the last word: old clients set the flags and leave
        // the strings out.
        let present = |flag: u8, reader: &Reader<'_>| {
            flags & flag != 0 && !(version == Version::V31 && reader.is_empty())
        };
        let mut credentials = Credentials::default();
        if present(USER_NAME, reader) {
            credentials.user_name = Some(reader.string()?); // [MQTT-3.1.3-12]
        }
        if present(PASSWORD, reader) {
            credentials.password = Some(reader.binary()?);
        }
        Ok(credentials)
    }
}

/// Passwords stay out of logs.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| "..."))
            .finish()
    }
}

impl<'a> Will<'a> {
    fn decode(
        version: Version,
        flags: u8,
        reader: &mut Reader<'a>,
    ) -> Result<Will<'a>, DecodeError> {
        let qos = QoS::from_bits((flags & WILL_QOS) >> WILL_QOS_SHIFT)
            .ok_or(DecodeError::ConnectFlags(flags))?; // [MQTT-3.1.2-12, -14 of 3.1.1]
        let mut will = Will {
            topic: TopicName::empty(),
            qos,
            retain: flags & WILL_RETAIN != 0,
            delay_interval: 0,
            properties: PublishProperties::default(),
            payload: &[],
        };
        will.decode_properties(reader.properties(version)?)?;
        let topic = reader.string()?; // [MQTT-3.1.3-11]
        will.topic = TopicName::new(topic).map_err(DecodeError::TopicName)?;
        will.payload = reader.binary()?;
        Ok(will)
    }

    fn decode_properties(&mut self, mut properties: PropertyReader<'a>) -> Result<(), DecodeError> {
        let mut forwarded = 0;
        let mut remaining = properties.remaining();
        while let Some(property) = properties.next()? {
            match property {
                Property::WillDelayInterval(s) => self.delay_interval = s,
                Property::MessageExpiryInterval(s) => {
                    self.properties.message_expiry_interval = Some(s);
                }
                property if property.is_forwarded() => {
                    forwarded += remaining - properties.remaining();
                }
                other => return Err(DecodeError::PropertyMisplaced(other.id())),
            }
            remaining = properties.remaining();
        }
        self.properties.forward = ForwardProperties::new(properties.all(), forwarded);
        Ok(())
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_properties(out, version, |out| {
            let delay_interval = (self.delay_interval != 0).then_some(self.delay_interval);
            put_property(out, PropertyId::WillDelayInterval, delay_interval);
            let expiry_interval = self.properties.message_expiry_interval;
            put_property(out, PropertyId::MessageExpiryInterval, expiry_interval);
            self.properties.forward.write_to(out);
        });
        put_string(out, self.topic.as_str());
        put_binary(out, self.payload);
    }
}

/// Protocol name and level. [MQTT-3.1.2-1, -2]
fn decode_version(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
    let name = reader.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.byte()?;
    let version = match (name, level) {
        (b"MQIsdp", level) if level & !BRIDGE == Version::V31 as u8 => Version::V31,
        (b"MQTT", level) if level & !BRIDGE == Version::V311 as u8 => Version::V311,
        (b"MQTT", level) if level == Version::V5 as u8 => Version::V5,
        _ => return Err(DecodeError::ProtocolLevel(level)),
    };
    Ok((version, level & BRIDGE != 0))
}

/// The connect flags, as far as they can be wrong without the rest.
fn decode_flags(version: Version, flags: u8) -> Result<u8, DecodeError> {
    // 3.1 did not use the reserved bit, nor the will's bits without a will, and said nothing of
    // their values. [MQTT-3.1.2-3]
    if flags & RESERVED != 0 && version != Version::V31 {
        return Err(DecodeError::ConnectFlags(flags));
    }
    // [MQTT-3.1.2-11, -13, -15 of 3.1.1]
    let will_bits_alone = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0;
    if will_bits_alone && version != Version::V31 {
        return Err(DecodeError::ConnectFlags(flags));
    }
    // [MQTT-3.1.2-22 of 3.1.1]
    if flags & (USER_NAME | PASSWORD) == PASSWORD && version != Version::V5 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(flags)
}

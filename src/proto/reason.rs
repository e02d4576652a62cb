//! Reason codes, and their older cousins, the return codes.

use std::fmt;

use super::{PacketType, Sender, Version};

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// The reason codes of 5.0. Values below 0x80 say that what was asked for was done.
        ///
        /// A value that several packets use under several names is named once: 0x00 is also
        /// "normal disconnection" and "granted QoS 0".
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl ReasonCode {
            /// Every reason code, ascending.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$name,)*];

            /// The reason code of this value, if there is one.
            pub fn from_u8(value: u8) -> Option<ReasonCode> {
                match value {
                    $($value => Some(ReasonCode::$name),)*
                    _ => None,
                }
            }

            /// Its name in the specification, in lower case.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ReasonCode::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    /// Done; a DISCONNECT without will; granted QoS 0.
    #[default]
    Success = 0x00, "success";
    /// The subscription delivers at QoS 1 at most.
    GrantedQoS1 = 0x01, "granted qos 1";
    /// The subscription delivers at QoS 2 at most.
    GrantedQoS2 = 0x02, "granted qos 2";
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// The message was taken and nobody wants it.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// There was nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// The exchange of AUTH packets goes on.
    ContinueAuthentication = 0x18, "continue authentication";
    /// The client proves itself anew.
    ReAuthenticate = 0x19, "re-authenticate";
    /// The sender does not say why.
    UnspecifiedError = 0x80, "unspecified error";
    /// The packet could not be parsed.
    MalformedPacket = 0x81, "malformed packet";
    /// The packet was parsed and says what may not be said, or not now.
    ProtocolError = 0x82, "protocol error";
    /// Legal, but not taken by this implementation.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// The protocol level is not spoken here.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// The client id is legal and not taken.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// User name and password do not fit.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// The client may not do this.
    NotAuthorized = 0x87, "not authorized";
    /// The server is not available.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server is busy; later it may be less so.
    ServerBusy = 0x89, "server busy";
    /// The client is kept out by an administrator.
    Banned = 0x8A, "banned";
    /// The server stops.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// The authentication method is not known, or not the one of the CONNECT.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// Nothing was heard for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection uses the client id now.
    SessionTakenOver = 0x8E, "session taken over";
    /// The topic filter is not taken.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// The topic name is not taken.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet identifier is not known; no error while a session recovers.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More QoS 1 and 2 messages were sent unacknowledged than the receiver takes.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// The topic alias is 0 or larger than agreed.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// The packet is larger than the receiver takes.
    PacketTooLarge = 0x95, "packet too large";
    /// The client sends too fast.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A limit of the server or its administrator is reached.
    QuotaExceeded = 0x97, "quota exceeded";
    /// An administrator ended the connection.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// The server keeps no retained messages.
    RetainNotSupported = 0x9A, "retain not supported";
    /// The QoS is above the server's maximum.
    QoSNotSupported = 0x9B, "qos not supported";
    /// The client should use another server for now.
    UseAnotherServer = 0x9C, "use another server";
    /// The client should use another server for good.
    ServerMoved = 0x9D, "server moved";
    /// The server has no shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// The connection lasted as long as one may.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// The server has no subscription identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// The server has no wildcard subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// The value on the wire of 5.0.
    #[inline]
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether what was asked for was not done.
    #[inline]
    pub fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The return code of a 3.1 or 3.1.1 CONNACK that comes nearest: 0 to 5. Those versions know
    /// five refusals; all that is not the client's doing becomes "server unavailable".
    /// [MQTT-3.2.2-6 of 3.1.1]
    pub fn connect_return_code(self) -> u8 {
        match self {
            _ if !self.is_error() => 0,
            ReasonCode::UnsupportedProtocolVersion => 1,
            ReasonCode::ClientIdentifierNotValid => 2,
            ReasonCode::BadUserNameOrPassword => 4,
            ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod => 5,
            _ => 3,
        }
    }

    /// The reason code of a 3.1 or 3.1.1 CONNACK's return code.
    pub(super) fn from_connect_return_code(code: u8) -> Option<ReasonCode> {
        match code {
            0 => Some(ReasonCode::Success),
            1 => Some(ReasonCode::UnsupportedProtocolVersion),
            2 => Some(ReasonCode::ClientIdentifierNotValid),
            3 => Some(ReasonCode::ServerUnavailable),
            4 => Some(ReasonCode::BadUserNameOrPassword),
            5 => Some(ReasonCode::NotAuthorized),
            _ => None,
        }
    }

    /// The byte of a SUBACK: as it is in 5.0, one failure for all before. [MQTT-3.9.3-2]
    #[inline]
    pub fn suback_code(self, version: Version) -> u8 {
        match version {
            Version::V31 | Version::V311 if self.is_error() => 0x80,
            _ => self.as_u8(),
        }
    }

    /// Whether `sender` may use the reason code in such a packet, by the tables of 5.0.
    /// [MQTT-3.2.2-8, 3.4.2-1, 3.5.2-1, 3.6.2-1, 3.7.2-1, 3.9.3-2, 3.11.3-2, 3.14.2-1, 3.15.2-1]
    pub(super) fn belongs_to(self, packet: PacketType, sender: Sender) -> bool {
        match packet {
            PacketType::ConnAck => self.belongs_to_connack(),
            PacketType::PubAck | PacketType::PubRec => self.belongs_to_puback(),
            PacketType::PubRel | PacketType::PubComp => {
                matches!(self, ReasonCode::Success | ReasonCode::PacketIdentifierNotFound)
            }
            PacketType::SubAck => self.belongs_to_suback(),
            PacketType::UnsubAck => self.belongs_to_unsuback(),
            PacketType::Disconnect => {
                self.belongs_to_any_disconnect()
                    || match sender {
                        Sender::Client => self == ReasonCode::DisconnectWithWill,
                        Sender::Server => self.belongs_to_server_disconnect(),
                    }
            }
            PacketType::Auth => match sender {
                Sender::Client => {
                    matches!(self, ReasonCode::ContinueAuthentication | ReasonCode::ReAuthenticate)
                }
                Sender::Server => {
                    matches!(self, ReasonCode::Success | ReasonCode::ContinueAuthentication)
                }
            },
            _ => false,
        }
    }

    fn belongs_to_connack(self) -> bool {
        matches!(
            self,
            ReasonCode::Success
                | ReasonCode::UnspecifiedError
                | ReasonCode::MalformedPacket
                | ReasonCode::ProtocolError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::UnsupportedProtocolVersion
                | ReasonCode::ClientIdentifierNotValid
                | ReasonCode::BadUserNameOrPassword
                | ReasonCode::NotAuthorized
                | ReasonCode::ServerUnavailable
                | ReasonCode::ServerBusy
                | ReasonCode::Banned
                | ReasonCode::BadAuthenticationMethod
                | ReasonCode::TopicNameInvalid
                | ReasonCode::PacketTooLarge
                | ReasonCode::QuotaExceeded
                | ReasonCode::PayloadFormatInvalid
                | ReasonCode::RetainNotSupported
                | ReasonCode::QoSNotSupported
                | ReasonCode::UseAnotherServer
                | ReasonCode::ServerMoved
                | ReasonCode::ConnectionRateExceeded
        )
    }

    fn belongs_to_puback(self) -> bool {
        matches!(
            self,
            ReasonCode::Success
                | ReasonCode::NoMatchingSubscribers
                | ReasonCode::UnspecifiedError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::NotAuthorized
                | ReasonCode::TopicNameInvalid
                | ReasonCode::PacketIdentifierInUse
                | ReasonCode::QuotaExceeded
                | ReasonCode::PayloadFormatInvalid
        )
    }

    fn belongs_to_suback(self) -> bool {
        matches!(
            self,
            ReasonCode::Success
                | ReasonCode::GrantedQoS1
                | ReasonCode::GrantedQoS2
                | ReasonCode::UnspecifiedError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::NotAuthorized
                | ReasonCode::TopicFilterInvalid
                | ReasonCode::PacketIdentifierInUse
                | ReasonCode::QuotaExceeded
                | ReasonCode::SharedSubscriptionsNotSupported
                | ReasonCode::SubscriptionIdentifiersNotSupported
                | ReasonCode::WildcardSubscriptionsNotSupported
        )
    }

    fn belongs_to_unsuback(self) -> bool {
        matches!(
            self,
            ReasonCode::Success
                | ReasonCode::NoSubscriptionExisted
                | ReasonCode::UnspecifiedError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::NotAuthorized
                | ReasonCode::TopicFilterInvalid
                | ReasonCode::PacketIdentifierInUse
        )
    }

    fn belongs_to_any_disconnect(self) -> bool {
        matches!(
            self,
            ReasonCode::Success
                | ReasonCode::UnspecifiedError
                | ReasonCode::MalformedPacket
                | ReasonCode::ProtocolError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::TopicNameInvalid
                | ReasonCode::ReceiveMaximumExceeded
                | ReasonCode::TopicAliasInvalid
                | ReasonCode::PacketTooLarge
                | ReasonCode::MessageRateTooHigh
                | ReasonCode::QuotaExceeded
                | ReasonCode::AdministrativeAction
                | ReasonCode::PayloadFormatInvalid
        )
    }

    fn belongs_to_server_disconnect(self) -> bool {
        matches!(
            self,
            ReasonCode::NotAuthorized
                | ReasonCode::ServerBusy
                | ReasonCode::ServerShuttingDown
                | ReasonCode::BadAuthenticationMethod
                | ReasonCode::KeepAliveTimeout
                | ReasonCode::SessionTakenOver
                | ReasonCode::TopicFilterInvalid
                | ReasonCode::RetainNotSupported
                | ReasonCode::QoSNotSupported
                | ReasonCode::UseAnotherServer
                | ReasonCode::ServerMoved
                | ReasonCode::SharedSubscriptionsNotSupported
                | ReasonCode::ConnectionRateExceeded
                | ReasonCode::MaximumConnectTime
                | ReasonCode::SubscriptionIdentifiersNotSupported
                | ReasonCode::WildcardSubscriptionsNotSupported
        )
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_its_own_reason_code_or_none() {
        for value in 0..=u8::MAX {
            match ReasonCode::from_u8(value) {
                Some(reason) => assert_eq!(reason.as_u8(), value),
                None => assert!(ReasonCode::ALL.iter().all(|reason| reason.as_u8() != value)),
            }
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
    }

    #[test]
    fn errors_begin_at_0x80() {
        let errors = ReasonCode::ALL.iter().filter(|reason| reason.is_error());
        assert_eq!(errors.count(), 0xA2 - 0x80 + 1);
        assert!(!ReasonCode::ReAuthenticate.is_error());
        assert!(ReasonCode::UnspecifiedError.is_error());
    }

    #[test]
    fn a_refusal_has_a_return_code_and_what_is_none_has_0() {
        for reason in ReasonCode::ALL {
            assert_eq!(reason.connect_return_code() == 0, !reason.is_error(), "{reason}");
            assert!(reason.connect_return_code() <= 5);
        }
        for code in 0..=5 {
            let reason = ReasonCode::from_connect_return_code(code).expect("0 to 5");
            assert_eq!(reason.connect_return_code(), code);
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
    }

    /// Counted in the tables of 5.0, so that no line of them is lost.
    #[test]
    fn each_packet_has_as_many_reason_codes_as_its_table() {
        let count = |packet, sender| {
            ReasonCode::ALL.iter().filter(|reason| reason.belongs_to(packet, sender)).count()
        };
        for (packet, client, server) in [
            (PacketType::ConnAck, 22, 22),
            (PacketType::PubAck, 9, 9),
            (PacketType::PubRec, 9, 9),
            (PacketType::PubRel, 2, 2),
            (PacketType::PubComp, 2, 2),
            (PacketType::SubAck, 12, 12),
            (PacketType::UnsubAck, 7, 7),
            // Table 3-10 and "bad authentication method", which table 2-6 adds for servers.
            (PacketType::Disconnect, 14, 29),
            (PacketType::Auth, 2, 2),
            (PacketType::Publish, 0, 0),
        ] {
            assert_eq!(count(packet, Sender::Client), client, "{packet}");
            assert_eq!(count(packet, Sender::Server), server, "{packet}");
        }
    }

    #[test]
    fn names_are_lower_case() {
        for reason in ReasonCode::ALL {
            assert_eq!(reason.to_string(), reason.as_str().to_lowercase());
        }
        assert_eq!(ReasonCode::QuotaExceeded.to_string(), "quota exceeded");
    }
}

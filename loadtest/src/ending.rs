//! Why a client itself ends a connection.

use std::fmt;

use crate::count::Count;
use crate::mqtt::decode::DecodeError;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The broker sent what is not MQTT.
    Undecodable(DecodeError),
    /// The broker sent a frame that breaks this rule of WebSocket.
    Unframed(&'static str),
    /// The broker sent a packet that has no place here.
    OutOfPlace,
    /// The broker refused the connection with this code.
    Refused(u8),
    /// The broker sent DISCONNECT with this reason.
    Goodbye(u8),
}

impl Ending {
    /// Where it is counted.
    #[must_use]
    pub fn count(self) -> Count {
        match self {
            Self::Undecodable(_) | Self::Unframed(_) | Self::OutOfPlace => Count::ProtocolErrors,
            Self::Refused(_) => Count::Refused,
            Self::Goodbye(_) => Count::Dropped,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable(error) => write!(f, "{error}"),
            Self::Unframed(rule) => write!(f, "WebSocket: {rule}"),
            Self::OutOfPlace => write!(f, "a packet that has no place here"),
            Self::Refused(code) => write!(f, "connection refused with {code:#04x}"),
            Self::Goodbye(reason) => write!(f, "DISCONNECT with {reason:#04x}"),
        }
    }
}

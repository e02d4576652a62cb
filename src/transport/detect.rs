//! Whoever speaks another protocol than the port's, recognised by the first bytes: the classic
//! first mistake.

use std::fmt;

use super::{http, proxy};

/// What a peer speaks instead of what the port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// TLS, where none is expected.
    Tls,
    /// HTTP, where none is expected.
    Http,
    /// MQTT as it is, where it is expected within TLS.
    MqttForTls,
    /// MQTT as it is, where it is expected within WebSocket.
    MqttForWebSocket,
    /// HTTP as it is, where it is expected within TLS.
    HttpForTls,
    /// The PROXY protocol, of somebody who is not to speak it.
    Proxy,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stray::Tls => "a TLS client at a port without TLS; tls:// or wss:// listeners take it",
            Stray::Http => {
                "an HTTP client at a port for MQTT; ws:// or wss:// listeners take WebSocket"
            }
            Stray::MqttForTls => {
                "an MQTT client without TLS at a port for TLS; tcp:// listeners take it"
            }
            Stray::MqttForWebSocket => {
                "an MQTT client without WebSocket at a port for it; tcp:// listeners take it"
            }
            Stray::HttpForTls => {
                "an HTTP client without TLS at a port for TLS; ws:// listeners take it"
            }
            Stray::Proxy => "a PROXY header from an address that is not of proxy_from",
        })
    }
}

impl Stray {
    /// What is said to a peer that understands words.
    pub fn answer(self) -> Vec<u8> {
        match self {
            Stray::Http => {
                http::plain_answer("400 Bad Request", "This port speaks MQTT, not HTTP.", &[])
            }
            Stray::HttpForTls => {
                http::plain_answer("400 Bad Request", "This port speaks TLS: use wss.", &[])
            }
            Stray::Tls | Stray::MqttForTls | Stray::MqttForWebSocket | Stray::Proxy => Vec::new(),
        }
    }
}

/// Who speaks something else where MQTT is to begin, as its first bytes have it.
pub fn stray(first: &[u8]) -> Option<Stray> {
    if is_tls(first) {
        Some(Stray::Tls)
    } else if is_http(first) {
        Some(Stray::Http)
    } else if proxy::is_header(first) {
        Some(Stray::Proxy)
    } else {
        None
    }
}

/// A TLS record of the handshake: 22, then version 3.x.
pub(super) fn is_tls(first: &[u8]) -> bool {
    matches!(first, [0x16, 3, ..] | [0x16])
}

/// A method of HTTP and what follows it. No MQTT packet that begins so is a CONNECT.
pub(super) fn is_http(first: &[u8]) -> bool {
    const METHODS: [&[u8]; 7] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ", b"DELETE ", b"CONNECT "];
    let begins = |method: &&[u8]| first.len() >= 3 && first.starts_with(&method[..3]);
    METHODS.iter().any(begins)
}

/// A CONNECT of MQTT.
pub(super) fn is_mqtt(first: &[u8]) -> bool {
    first.first() == Some(&0x10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_no_stray() {
        assert_eq!(stray(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4]), None);
        assert_eq!(stray(&[0x10]), None);
    }

    #[test]
    fn tls_and_http_are_known_by_their_first_bytes() {
        assert_eq!(stray(&[0x16, 3, 1, 2, 0, 1]), Some(Stray::Tls));
        assert_eq!(stray(b"GET / HTTP/1.1\r\n"), Some(Stray::Http));
        assert_eq!(stray(b"POST /x"), Some(Stray::Http));
        assert_eq!(stray(b"PROXY TCP4 1.2.3.4 "), Some(Stray::Proxy));
        assert_eq!(stray(b"\r\n\r\n\0\r\nQUIT\n\x21"), Some(Stray::Proxy));
        // A PUBLISH or a PINGREQ is a wrong first packet of MQTT, and told so.
        assert_eq!(stray(&[0x30, 3, 0]), None);
        assert_eq!(stray(&[0xC0, 0]), None);
    }
}

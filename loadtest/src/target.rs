//! Where a broker is, as the user writes it: `host:port`, or with a scheme before it.

use std::net::{SocketAddr, ToSocketAddrs};

/// The path of a WebSocket where none is given.
const PATH: &str = "/mqtt";

/// A broker's address, and what is spoken there below MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// TLS is spoken.
    pub is_tls: bool,
    /// The path of a WebSocket, if one is spoken.
    pub path: Option<String>,
    /// The host by name or address, without brackets.
    pub host: String,
    /// The host and the port as written.
    pub authority: String,
    /// What it resolves to.
    pub address: SocketAddr,
}

impl Location {
    /// Reads `host:port`, `tcp://host:port`, `tls://host:port`, `ws://host:port/path` or
    /// `wss://host:port/path`, and looks the host up.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let (is_tls, is_websocket) = match scheme {
            "tcp" => (false, false),
            "tls" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            other => return Err(format!("scheme '{other}' is none of tcp, tls, ws and wss")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !is_websocket && !path.is_empty() {
            return Err(format!("'{path}' is a path, which only ws:// and wss:// have"));
        }
        let path = if path.is_empty() { PATH } else { path };
        if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("the path has white space".to_string());
        }
        let mut found = authority.to_socket_addrs().map_err(|why| why.to_string())?;
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        Ok(Self {
            is_tls,
            path: is_websocket.then(|| path.to_string()),
            host: host.trim_start_matches('[').trim_end_matches(']').to_string(),
            authority: authority.to_string(),
            address: found.next().ok_or_else(|| "resolves to no address".to_string())?,
        })
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match (self.is_tls, self.path.is_some()) {
            (false, false) => "",
            (true, false) => "tls://",
            (false, true) => "ws://",
            (true, true) => "wss://",
        };
        write!(f, "{scheme}{}{}", self.address, self.path.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_is_read_and_shown() {
        let cases = [
            ("127.0.0.1:1883", "127.0.0.1:1883", "127.0.0.1"),
            ("tcp://127.0.0.1:1883", "127.0.0.1:1883", "127.0.0.1"),
            ("tls://[::1]:8883", "tls://[::1]:8883", "::1"),
            ("ws://127.0.0.1:8083", "ws://127.0.0.1:8083/mqtt", "127.0.0.1"),
            ("wss://127.0.0.1:8084/a/b", "wss://127.0.0.1:8084/a/b", "127.0.0.1"),
        ];
        for (text, shown, host) in cases {
            let location = Location::parse(text).expect(text);
            assert_eq!((location.to_string().as_str(), location.host.as_str()), (shown, host));
        }
    }

    #[test]
    fn what_is_no_location_is_named() {
        let cases = [
            ("http://127.0.0.1:80", "scheme 'http'"),
            ("tls://127.0.0.1:80/path", "'/path' is a path"),
            ("ws://127.0.0.1:80/a b", "white space"),
            ("127.0.0.1", ""),
        ];
        for (text, reason) in cases {
            let error = Location::parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}

//! What lies between the network and MQTT: TLS and WebSocket, as layers of bytes.
//!
//! ```text
//! network -> [tls] -> [websocket] -> packets
//! ```
//!
//! A [`Transport`] is handed bytes and hands out bytes; it knows no socket, no clock and no packet.
//! A connection by plain TCP has none.

mod detect;
mod http;
mod tls;
mod websocket;

use std::fmt;
use std::sync::Arc;

pub use detect::{Stray, stray};
pub use http::WebOptions;
pub use tls::{TlsError, TlsOptions, tls_server};

use tls::Tls;
use websocket::WebSocket;

/// What stands before MQTT at a listener.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// TLS, with these certificates.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// WebSocket.
    pub web: Option<Arc<WebOptions>>,
}

impl Door {
    /// Whether MQTT is spoken at once.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && self.web.is_none()
    }
}

/// The layers of one connection.
#[derive(Debug)]
pub struct Transport {
    tls: Option<Box<Tls>>,
    web: Option<Box<WebSocket>>,
}

/// Why a peer is not served, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// It speaks something else.
    Stray(Stray),
    /// The TLS handshake failed, or a record is damaged.
    Tls(String),
    /// Its HTTP request asks for no WebSocket with MQTT.
    Http(http::Refusal),
    /// It breaks a rule of WebSocket (RFC 6455).
    WebSocket(&'static str),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::Stray(stray) => stray.fmt(f),
            TransportError::Tls(error) => write!(f, "TLS: {error}"),
            TransportError::Http(refusal) => refusal.fmt(f),
            TransportError::WebSocket(rule) => write!(f, "WebSocket: {rule}"),
        }
    }
}

impl std::error::Error for TransportError {}

impl Transport {
    /// The layers of a new connection through `door`; nothing if MQTT is spoken at once.
    ///
    /// # Errors
    ///
    /// Those of the TLS library for a configuration it cannot use.
    pub fn new(door: &Door) -> Result<Option<Box<Transport>>, TransportError> {
        if door.is_plain() {
            return Ok(None);
        }
        let tls = door.tls.as_ref().map(|config| Tls::new(Arc::clone(config))).transpose()?;
        let web = door.web.as_ref().map(|options| Box::new(WebSocket::new(Arc::clone(options))));
        Ok(Some(Box::new(Transport { tls: tls.map(Box::new), web })))
    }

    /// Whether the peer has come so far that packets can follow.
    pub fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.is_open())
            && self.web.as_ref().is_none_or(|web| web.is_open())
    }

    /// Whether the peer has said that it sends no more.
    pub fn is_finished(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_finished())
            || self.web.as_ref().is_some_and(|web| web.is_finished())
    }

    /// Takes bytes from the network. What they hold of packets is added to `packets`, what is to
    /// be written to the network at once to `out`: an answer of the handshake, or the reason of an
    /// error.
    ///
    /// # Errors
    ///
    /// The connection is of no more use; what is in `out` is still worth sending.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        packets: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        let outcome = match (&mut self.tls, &mut self.web) {
            (None, None) => {
                packets.extend_from_slice(bytes);
                Ok(())
            }
            (Some(tls), None) => tls.receive(bytes, packets),
            (None, Some(web)) => web.receive(bytes, packets, out),
            (Some(tls), Some(web)) => {
                let (mut inner, mut answer) = (Vec::new(), Vec::new());
                let outcome = tls.receive(bytes, &mut inner);
                let outcome = outcome.and_then(|()| web.receive(&inner, packets, &mut answer));
                tls.send(&answer);
                outcome
            }
        };
        if let Some(tls) = &mut self.tls {
            tls.flush(out);
        }
        if let Err(TransportError::Stray(stray)) = &outcome {
            out.extend(stray.answer());
        }
        outcome
    }

    /// Wraps packets for the network.
    pub fn send<'a>(&mut self, packets: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
        let Transport { tls, web } = self;
        let mut put = |bytes: &[u8]| match tls {
            Some(tls) => tls.send(bytes),
            None => out.extend_from_slice(bytes),
        };
        match web {
            None => packets.for_each(put),
            Some(_) => websocket::frames(packets, &mut put),
        }
        if let Some(tls) = tls {
            tls.flush(out);
        }
    }

    /// Says goodbye in the words of each layer.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let Transport { tls, web } = self;
        let mut words = Vec::new();
        if let Some(web) = web {
            web.close(&mut words);
        }
        match tls {
            Some(tls) => {
                tls.send(&words);
                tls.close();
                tls.flush(out);
            }
            None => out.extend_from_slice(&words),
        }
    }
}

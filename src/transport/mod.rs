//! What lies between the network and MQTT: TLS and WebSocket, as layers of bytes.
//!
//! ```text
//! network -> [proxy header] -> [tls] -> [websocket] -> packets
//! ```
//!
//! A [`Transport`] is handed bytes and hands out bytes; it knows no socket, no clock and no packet.
//! A connection by plain TCP has none.

mod detect;
mod http;
mod proxy;
mod tls;
mod tlv;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use detect::{Stray, stray};
pub use http::WebOptions;
pub use tls::{TlsClients, TlsError, TlsPair, TlsShown, tls_pair, tls_server};
pub use tlv::{ProxiedTls, Told};

use proxy::Proxy;
use tls::Tls;
use websocket::WebSocket;

/// What stands before MQTT at a listener.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// TLS, with these certificates.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// WebSocket.
    pub web: Option<Arc<WebOptions>>,
    /// The first bytes decide which of them a peer speaks, if any.
    pub is_mux: bool,
    /// A proxy says first whose connection it is.
    pub is_behind_proxy: bool,
    /// A proxy says in the request for a WebSocket whose connection it is.
    pub is_forwarded: bool,
}

impl Door {
    /// Whether the client is not known by the address of its connection.
    pub fn learns_client(&self) -> bool {
        self.is_behind_proxy || (self.is_forwarded && self.web.is_some())
    }

    /// Whether MQTT is spoken at once.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && self.web.is_none() && !self.is_behind_proxy
    }
}

/// The layers of one connection.
#[derive(Debug)]
pub struct Transport {
    /// A header is awaited.
    proxy: Option<Proxy>,
    client: Option<SocketAddr>,
    /// What a proxy told beside.
    told: Box<Told>,
    is_forwarded: bool,
    /// The first bytes decide.
    undecided: Option<Door>,
    /// Within TLS they decide whether this is spoken.
    maybe_web: Option<Arc<WebOptions>>,
    tls: Option<Box<Tls>>,
    web: Option<Box<WebSocket>>,
    /// Nothing has come through all layers yet.
    is_fresh: bool,
}

/// What is known of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate<'a> {
    /// All of it, in DER.
    Der(&'a [u8]),
    /// Its common name, from a proxy.
    Named(&'a str),
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
    /// The proxy in front does not say whose connection it is.
    Proxy(&'static str),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::Stray(stray) => stray.fmt(f),
            TransportError::Tls(error) => write!(f, "TLS: {error}"),
            TransportError::Http(refusal) => refusal.fmt(f),
            TransportError::WebSocket(rule) => write!(f, "WebSocket: {rule}"),
            TransportError::Proxy(reason) => write!(f, "PROXY protocol: {reason}"),
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
        let mut transport = Transport {
            proxy: door.is_behind_proxy.then(Proxy::default),
            client: None,
            told: Box::default(),
            is_forwarded: door.is_forwarded,
            undecided: None,
            maybe_web: None,
            tls: None,
            web: None,
            is_fresh: true,
        };
        if door.is_mux {
            transport.undecided = Some(door.clone());
        } else {
            let tls = door.tls.as_ref().map(|config| Tls::new(Arc::clone(config))).transpose()?;
            transport.tls = tls.map(Box::new);
            let web = door.web.as_ref();
            let web = web.map(|options| WebSocket::new(Arc::clone(options), door.is_forwarded));
            transport.web = web.map(Box::new);
        }
        Ok(Some(Box::new(transport)))
    }

    /// Whether the peer has come so far that packets can follow.
    pub fn is_open(&self) -> bool {
        self.proxy.is_none()
            && self.undecided.is_none()
            && self.maybe_web.is_none()
            && self.tls.as_ref().is_none_or(|tls| tls.is_open())
            && self.web.as_ref().is_none_or(|web| web.is_open())
    }

    /// Whose connection it is, if a proxy said so.
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// What else a proxy said of the client.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The certificate that the client has shown and that was checked, here or by a proxy that
    /// ended its TLS. What such a proxy shows here itself is not the client's.
    pub fn client_certificate(&self) -> Option<ClientCertificate<'_>> {
        match &self.told.tls {
            Some(tls) => tls.common_name.as_deref().map(ClientCertificate::Named),
            None => self.tls.as_ref()?.peer_certificate().map(ClientCertificate::Der),
        }
    }

    /// The certificates that the peer has shown here, in DER: its own and those behind it.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.tls.iter().flat_map(|tls| tls.peer_certificates())
    }

    /// Whether the peer has said that it sends no more.
    pub fn is_finished(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_finished())
            || self.web.as_ref().is_some_and(|web| web.is_finished())
    }

    /// Takes bytes from the network. What they hold of packets is added to `packets`, what is to
    /// be written to the network at once to `out`: an answer of the handshake, or the reason of an
    /// error. That is bounded, however much a peer sends and does not read: there is one handshake
    /// and one end, TLS answers one request to renegotiate and ends at the second, and keeps one
    /// update of its keys for the next thing that is sent. For the rest see [`Transport::answer`].
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
        let outcome = self.take(bytes, packets, out);
        if let Some(tls) = &mut self.tls {
            tls.flush(out);
        }
        outcome
    }

    fn take(
        &mut self,
        bytes: &[u8],
        packets: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        let behind;
        let bytes = match &mut self.proxy {
            None => bytes,
            Some(proxy) => {
                let Some((client, rest)) = proxy.receive(bytes)? else { return Ok(()) };
                (self.client, self.proxy) = (client.address, None);
                *self.told = client.told;
                behind = rest;
                &behind
            }
        };
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(door) = self.undecided.take() {
            self.decide(door, bytes).map_err(|stray| turned_away(stray, out))?;
        }
        let Some(tls) = &mut self.tls else { return self.take_inner(bytes, packets, out) };
        let (mut inner, mut answer) = (Vec::new(), Vec::new());
        let outcome = tls.receive(bytes, &mut inner).map_err(|error| turned_away(error, out));
        let outcome = outcome.and_then(|()| self.take_inner(&inner, packets, &mut answer));
        if let Some(tls) = &mut self.tls {
            tls.send(&answer);
        }
        outcome
    }

    /// The first bytes tell what the peer speaks.
    fn decide(&mut self, door: Door, first: &[u8]) -> Result<(), TransportError> {
        if detect::is_tls(first) {
            let config = door.tls.ok_or(TransportError::Stray(Stray::Tls))?;
            self.tls = Some(Box::new(Tls::new(config)?));
            self.maybe_web = door.web;
        } else if first[0] == b'G' {
            let is_forwarded = self.is_forwarded;
            let web = door.web.map(|options| WebSocket::new(options, is_forwarded));
            self.web = web.map(Box::new);
        }
        Ok(())
    }

    /// Takes what is within TLS, if there is any.
    fn take_inner(
        &mut self,
        bytes: &[u8],
        packets: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(options) = self.maybe_web.take()
            && bytes[0] == b'G'
        {
            self.web = Some(Box::new(WebSocket::new(options, self.is_forwarded)));
        }
        match &mut self.web {
            Some(web) => {
                web.receive(bytes, packets, out).map_err(|error| turned_away(error, out))?;
                if let Some(client) = web.take_client() {
                    self.client = Some(client);
                }
                Ok(())
            }
            None => {
                if std::mem::take(&mut self.is_fresh)
                    && let Some(stray) = stray(bytes)
                {
                    return Err(turned_away(TransportError::Stray(stray), out));
                }
                packets.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Wraps packets for the network.
    pub fn send<'a>(&mut self, packets: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
        let Transport { tls, web, .. } = self;
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

    /// Adds to `out` what a layer owes the peer for what it asked last: to be called when something
    /// can be sent, so that who asks and does not read is owed one answer.
    pub fn answer(&mut self, out: &mut Vec<u8>) {
        let Transport { tls, web, .. } = self;
        let Some(web) = web else { return };
        match tls {
            Some(tls) => {
                let mut answer = Vec::new();
                web.answer(&mut answer);
                tls.send(&answer);
                tls.flush(out);
            }
            None => web.answer(out),
        }
    }

    /// Says goodbye in the words of each layer.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let Transport { tls, web, .. } = self;
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

/// An error, once a peer that speaks something else is told so, if it understands words.
fn turned_away(error: TransportError, out: &mut Vec<u8>) -> TransportError {
    if let TransportError::Stray(stray) = &error {
        out.extend(stray.answer());
    }
    error
}

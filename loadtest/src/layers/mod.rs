//! What lies between MQTT and TCP: TLS, WebSocket, or WebSocket within TLS.
//!
//! [`Layers`] knows no socket. The worker hands it what arrived ([`Layers::receive`]), hands it
//! packets to send once it is open ([`Layers::outgoing`]), and writes what that returns. A plain
//! connection has none of it.

pub mod tls;
pub mod websocket;

use std::fmt;
use std::sync::Arc;

use tls::{Tickets, Tls, TlsPlan};
use websocket::WebSocket;

/// What every connection of a run is wrapped in.
#[derive(Clone, Debug)]
pub struct Wrapping {
    /// TLS, and to whom.
    pub tls: Option<TlsPlan>,
    /// The request for a WebSocket.
    pub request: Option<Arc<str>>,
}

/// Why a connection that is wrapped must end.
#[derive(Debug)]
pub enum LayersError {
    /// TLS failed.
    Tls(rustls::Error),
    /// The WebSocket was refused.
    Refused(String),
    /// A frame breaks this rule of WebSocket.
    Frame(&'static str),
}

impl fmt::Display for LayersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Refused(answer) => write!(f, "WebSocket refused: {answer}"),
            Self::Frame(rule) => write!(f, "WebSocket: {rule}"),
        }
    }
}

impl std::error::Error for LayersError {}

/// One connection's layers.
#[derive(Debug)]
pub struct Layers {
    tls: Option<Tls>,
    websocket: Option<WebSocket>,
    /// The request for a WebSocket that waits for TLS.
    request: Option<Arc<str>>,
    /// Bytes for the network.
    sealed: Vec<u8>,
}

impl Layers {
    /// The layers of a connection that begins; `tickets` are what its earlier ones left.
    pub fn new(
        wrapping: &Wrapping,
        tickets: &mut Option<Arc<Tickets>>,
    ) -> Result<Self, LayersError> {
        let tls = match &wrapping.tls {
            Some(plan) => Some(Tls::new(plan, tickets).map_err(LayersError::Tls)?),
            None => None,
        };
        let websocket = wrapping.request.as_ref().map(|_| WebSocket::default());
        let request = wrapping.request.clone();
        let mut layers = Self { tls, websocket, request, sealed: Vec::new() };
        layers.advance();
        Ok(layers)
    }

    /// MQTT may be spoken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(Tls::is_open)
            && self.websocket.as_ref().is_none_or(WebSocket::is_open)
    }

    /// The broker said that it sends nothing more.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_finished)
            || self.websocket.as_ref().is_some_and(WebSocket::is_finished)
    }

    /// TLS went on from an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_resumed)
    }

    /// Bytes wait for the network, whether or not there are packets to send.
    #[must_use]
    pub fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Takes what arrived and appends the MQTT in it to `packets`.
    pub fn receive(&mut self, bytes: &[u8], packets: &mut Vec<u8>) -> Result<(), LayersError> {
        let start = packets.len();
        match &mut self.tls {
            Some(tls) => tls.receive(bytes, packets).map_err(LayersError::Tls)?,
            None => packets.extend_from_slice(bytes),
        }
        if let Some(websocket) = &mut self.websocket {
            websocket.receive(packets, start)?;
        }
        self.advance();
        Ok(())
    }

    /// What is to be written next. `packets` are taken into it when everything before them is
    /// written, so that a slow reader is noticed by whoever fills them; `frames` is room to work.
    pub fn outgoing(&mut self, packets: &mut Vec<u8>, frames: &mut Vec<u8>) -> &mut Vec<u8> {
        if self.sealed.is_empty() && !packets.is_empty() && self.is_open() {
            match (&mut self.websocket, &mut self.tls) {
                (None, None) => std::mem::swap(packets, &mut self.sealed),
                (Some(websocket), None) => websocket.frame(packets, &mut self.sealed),
                (None, Some(tls)) => tls.seal(packets, &mut self.sealed),
                (Some(websocket), Some(tls)) => {
                    frames.clear();
                    websocket.frame(packets, frames);
                    tls.seal(frames, &mut self.sealed);
                }
            }
            packets.clear();
        }
        &mut self.sealed
    }

    /// Says what the layers themselves have to say.
    fn advance(&mut self) {
        let mut own = self.websocket.as_mut().map(WebSocket::take_replies).unwrap_or_default();
        if self.tls.as_ref().is_none_or(Tls::is_open)
            && let Some(request) = self.request.take()
        {
            own.extend_from_slice(request.as_bytes());
        }
        match &mut self.tls {
            Some(tls) => tls.seal(&own, &mut self.sealed),
            None => self.sealed.extend_from_slice(&own),
        }
    }
}

//! WebSocket (RFC 6455) at the client's end, without extensions.
//!
//! The nonce of the request is always the one of the RFC's own example, so that the answer to it
//! is known without a hash. It protects from nothing that could happen to a load harness.

use super::LayersError;

/// The nonce, and the answer to it (section 1.3).
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest answer to the request.
const ANSWER_SIZE_MAX: usize = 16 * 1024;

/// Payload of one frame; more packets go into the next one.
const FRAME_PAYLOAD_MAX: usize = 64 * 1024;

/// Payload of a control frame (section 5.5).
const CONTROL_PAYLOAD_MAX: u64 = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What is said to get a WebSocket for MQTT at `path`.
#[must_use]
pub fn request(authority: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {NONCE}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

/// A WebSocket, from the answer to the request to its end.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    state: State,
    /// The answer, the head of a frame, or a control frame's payload, as far as it has come.
    partial: Vec<u8>,
    /// A data frame was not the last of its message.
    in_message: bool,
    /// Frames that answer the broker's.
    replies: Vec<u8>,
    /// What the next mask is made of.
    frame_count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The answer to the request is awaited.
    #[default]
    Answer,
    /// The head of a frame is awaited.
    Head,
    /// Payload of a data frame, of which so many bytes are left.
    Data(u64),
    /// Payload of a control frame.
    Control { opcode: u8, size: usize },
    /// The broker sent Close.
    Finished,
}

impl WebSocket {
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Answer)
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    pub(super) fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    /// Takes the frames away from around what they carry, in `bytes` from `start` on.
    pub(super) fn receive(&mut self, bytes: &mut Vec<u8>, start: usize) -> Result<(), LayersError> {
        let (mut from, mut to) = (start, start);
        while from < bytes.len() {
            if let State::Data(left) = self.state {
                let size = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - from);
                bytes.copy_within(from..from + size, to);
                (from, to) = (from + size, to + size);
                self.state = after(left - size as u64);
                continue;
            }
            match self.take(&bytes[from..]) {
                Ok(taken) => from += taken,
                Err(error) => {
                    bytes.truncate(to);
                    return Err(error);
                }
            }
        }
        bytes.truncate(to);
        Ok(())
    }

    /// Takes some of what is not payload of data, and returns how many bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, LayersError> {
        match self.state {
            State::Answer => self.take_answer(bytes),
            State::Head => {
                self.partial.push(bytes[0]);
                if self.partial.len() == head_size(&self.partial) {
                    self.begin()?;
                }
                Ok(1)
            }
            State::Control { opcode, size } => {
                let taken = bytes.len().min(size - self.partial.len());
                self.partial.extend_from_slice(&bytes[..taken]);
                if self.partial.len() == size {
                    self.heed(opcode);
                }
                Ok(taken)
            }
            // After Close nothing is listened to.
            State::Finished | State::Data(_) => Ok(bytes.len()),
        }
    }

    fn take_answer(&mut self, bytes: &[u8]) -> Result<usize, LayersError> {
        let seen = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.windows(4).position(|four| four == b"\r\n\r\n") else {
            if self.partial.len() > ANSWER_SIZE_MAX {
                return Err(LayersError::Refused("an answer without end".to_string()));
            }
            return Ok(bytes.len());
        };
        check_answer(&String::from_utf8_lossy(&self.partial[..end]))?;
        self.partial = Vec::new();
        self.state = State::Head;
        Ok(end + 4 - seen)
    }

    /// The head of a frame is whole.
    fn begin(&mut self) -> Result<(), LayersError> {
        let (first, second) = (self.partial[0], self.partial[1]);
        let payload_size = match self.partial[2..] {
            [] => u64::from(second),
            [a, b] => u64::from(u16::from_be_bytes([a, b])),
            ref long => long.iter().fold(0, |size, &byte| size << 8 | u64::from(byte)),
        };
        self.partial.clear();
        let (is_last, opcode) = (first & FIN != 0, first & 0x0f);
        let broken = match opcode {
            _ if first & 0x70 != 0 => Some("a reserved bit is set"),
            _ if second & MASKED != 0 => Some("a broker's frame is masked"),
            CONTINUATION if !self.in_message => Some("a continuation of nothing"),
            BINARY if self.in_message => Some("a message within a message"),
            CONTINUATION | BINARY => None,
            CLOSE | PING | PONG if !is_last || payload_size > CONTROL_PAYLOAD_MAX => {
                Some("a control frame is cut or too long")
            }
            CLOSE | PING | PONG => None,
            _ => Some("a frame is neither binary nor control"),
        };
        if let Some(rule) = broken {
            return Err(LayersError::Frame(rule));
        }
        if opcode < CLOSE {
            self.in_message = !is_last;
            self.state = after(payload_size);
        } else if payload_size == 0 {
            self.heed(opcode);
        } else {
            self.state = State::Control { opcode, size: payload_size as usize };
        }
        Ok(())
    }

    /// A control frame is whole.
    fn heed(&mut self, opcode: u8) {
        let payload = std::mem::take(&mut self.partial);
        self.state = if opcode == CLOSE { State::Finished } else { State::Head };
        let reply = match opcode {
            PING => PONG,
            CLOSE => CLOSE,
            _ => return,
        };
        let mut replies = std::mem::take(&mut self.replies);
        self.one_frame(reply, &payload, &mut replies);
        self.replies = replies;
    }

    /// Appends `packets` to `out` in frames.
    pub(super) fn frame(&mut self, packets: &[u8], out: &mut Vec<u8>) {
        for some in packets.chunks(FRAME_PAYLOAD_MAX) {
            self.one_frame(BINARY, some, out);
        }
    }

    fn one_frame(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(FIN | opcode);
        match payload.len() {
            size @ ..=125 => out.push(MASKED | size as u8),
            size @ ..=0xffff => {
                out.push(MASKED | 126);
                out.extend_from_slice(&(size as u16).to_be_bytes());
            }
            size => {
                out.push(MASKED | 127);
                out.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        self.frame_count = self.frame_count.wrapping_add(1);
        let mask = self.frame_count.wrapping_mul(0x9E37_79B1).to_be_bytes();
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(payload);
        apply(mask, &mut out[start..]);
    }
}

/// What follows when so many bytes of a data frame are left.
fn after(left: u64) -> State {
    if left == 0 { State::Head } else { State::Data(left) }
}

/// Bytes of a head that begins like this.
fn head_size(partial: &[u8]) -> usize {
    match partial.get(1).map(|second| second & 0x7f) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    }
}

/// Masks, or unmasks (section 5.3); four bytes at a time, which compilers widen.
fn apply(mask: [u8; 4], payload: &mut [u8]) {
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// The answer grants the WebSocket that was asked for.
fn check_answer(answer: &str) -> Result<(), LayersError> {
    let refused = |reason: &str| Err(LayersError::Refused(reason.to_string()));
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        return refused(status);
    }
    let (mut is_accepted, mut is_mqtt) = (false, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "sec-websocket-accept" => is_accepted = value == ACCEPT,
            "sec-websocket-protocol" => is_mqtt = value == "mqtt",
            "sec-websocket-extensions" => return refused("an extension nobody asked for"),
            _ => {}
        }
    }
    match (is_accepted, is_mqtt) {
        (true, true) => Ok(()),
        (false, _) => refused("Sec-WebSocket-Accept is not the answer to the key"),
        (true, false) => refused("the subprotocol is not mqtt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn open() -> WebSocket {
        WebSocket { state: State::Head, ..WebSocket::default() }
    }

    /// A frame as a broker sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            size @ ..=125 => bytes.push(size as u8),
            size => bytes.extend([126, (size >> 8) as u8, size as u8]),
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    fn received(websocket: &mut WebSocket, bytes: &[u8]) -> Result<Vec<u8>, LayersError> {
        let mut buffer = [b"kept", bytes].concat();
        websocket.receive(&mut buffer, 4)?;
        assert_eq!(&buffer[..4], b"kept");
        Ok(buffer[4..].to_vec())
    }

    #[test]
    fn the_answer_and_frames_are_taken_over_every_cut() {
        let long = vec![7; 300];
        let frames = [
            frame(FIN | BINARY, b"one"),
            frame(BINARY, b"two"),
            frame(FIN | PING, b"x"),
            frame(CONTINUATION, b""),
            frame(FIN | CONTINUATION, &long),
            frame(FIN | PONG, b""),
        ];
        let all = [GRANTED.as_bytes(), &frames.concat()].concat();
        let expected = [b"one", b"two", &long[..]].concat();
        for cut in 0..=all.len() {
            let mut websocket = WebSocket::default();
            let mut found = received(&mut websocket, &all[..cut]).expect("no rule is broken");
            found.extend(received(&mut websocket, &all[cut..]).expect("no rule is broken"));
            assert_eq!(found, expected, "cut at {cut}");
            assert!(websocket.is_open() && !websocket.is_finished());
            assert_eq!(websocket.take_replies()[..2], [FIN | PONG, MASKED | 1]);
        }
    }

    #[test]
    fn what_is_framed_is_masked_and_comes_back() {
        for size in [0, 1, 5, 125, 126, 65_535, 65_536, 200_000] {
            let packets: Vec<u8> = (0..size).map(|byte: u32| byte as u8).collect();
            let (mut out, mut found) = (Vec::new(), Vec::new());
            open().frame(&packets, &mut out);
            let mut rest = &out[..];
            while !rest.is_empty() {
                assert_eq!((rest[0], rest[1] & MASKED), (FIN | BINARY, MASKED));
                let head = head_size(rest);
                let payload_size = match rest[2..head] {
                    [] => usize::from(rest[1] & 0x7f),
                    [a, b] => usize::from(u16::from_be_bytes([a, b])),
                    ref long => long.iter().fold(0, |size, &byte| size << 8 | usize::from(byte)),
                };
                let mask = rest[head..head + 4].try_into().expect("four bytes");
                assert_ne!(mask, [0; 4]);
                let mut payload = rest[head + 4..head + 4 + payload_size].to_vec();
                apply(mask, &mut payload);
                found.extend(payload);
                rest = &rest[head + 4 + payload_size..];
            }
            assert_eq!(found, packets, "{size} bytes");
        }
    }

    #[test]
    fn close_is_answered_and_ends_it() {
        let mut websocket = open();
        let bytes = [frame(FIN | CLOSE, &[3, 232]), frame(FIN | BINARY, b"late")].concat();
        assert_eq!(received(&mut websocket, &bytes).expect("no rule is broken"), b"");
        assert!(websocket.is_finished());
        assert_eq!(websocket.take_replies()[..2], [FIN | CLOSE, MASKED | 2]);
    }

    #[test]
    fn frames_that_break_a_rule_are_found() {
        let cases: [(&[u8], &str); 7] = [
            (&[FIN | 0x40 | BINARY, 0], "reserved bit"),
            (&[FIN | BINARY, MASKED], "masked"),
            (&[FIN | CONTINUATION, 0], "continuation of nothing"),
            (&[BINARY, 0, BINARY, 0], "within a message"),
            (&[PING, 0], "control frame"),
            (&[FIN | PING, 126, 0, 126], "control frame"),
            (&[FIN | 1, 0], "neither binary nor control"),
        ];
        for (bytes, rule) in cases {
            let error = received(&mut open(), bytes).expect_err(rule).to_string();
            assert!(error.contains(rule), "{error}");
        }
    }

    #[test]
    fn an_answer_that_grants_something_else_is_refused() {
        let cases = [
            (GRANTED.replace("101 Switching Protocols", "404 Not Found"), "404 Not Found"),
            (GRANTED.replace("s3p", "x3p"), "Accept"),
            (GRANTED.replace("mqtt", "chat"), "subprotocol"),
            (GRANTED.replace("Upgrade: websocket", "Sec-WebSocket-Extensions: x"), "extension"),
        ];
        for (answer, reason) in cases {
            let mut bytes = answer.into_bytes();
            let error = WebSocket::default().receive(&mut bytes, 0);
            let error = error.expect_err(reason).to_string();
            assert!(bytes.is_empty(), "an answer is no MQTT");
            assert!(error.contains(reason), "{error}");
        }
    }
}

//! WebSocket frames (RFC 6455, section 5), at the server's end.

use std::net::SocketAddr;
use std::sync::Arc;

use super::TransportError;
use super::detect::{Stray, is_mqtt};
use super::http::{self, WebOptions};

/// A WebSocket, from the request for it to its end.
#[derive(Debug)]
pub(super) struct WebSocket {
    state: State,
    /// The request, or the head of a frame or a control frame's payload, as far as it has come.
    partial: Vec<u8>,
    /// A data frame was not the last of its message.
    in_message: bool,
    /// What a PING that is not answered yet said. Only the last one is answered, so that who sends
    /// them and does not read is owed one PONG (RFC 6455, section 5.5.3).
    pinged: Option<Vec<u8>>,
    /// Close was sent.
    closing: bool,
    /// Whether the request is believed whose connection it is.
    is_forwarded: bool,
    client: Option<SocketAddr>,
}

#[derive(Debug)]
enum State {
    /// The request is awaited.
    Request(Arc<WebOptions>),
    /// The head of a frame is awaited.
    Head,
    /// Payload of a data frame: bytes that are left, the mask, and where in it the next byte is.
    Data { left: u64, mask: [u8; 4], at: usize },
    /// Payload of a control frame of this length.
    Control { opcode: u8, bytes: usize, mask: [u8; 4] },
    /// The peer sent Close, or broke a rule.
    Finished,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Reasons of Close (RFC 6455, section 7.4.1).
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED: u16 = 1003;

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    last: bool,
    opcode: u8,
    bytes: u64,
    mask: [u8; 4],
}

/// A frame that breaks a rule: which, and the reason to close with.
type Broken = (u16, &'static str);

impl WebSocket {
    pub(super) fn new(options: Arc<WebOptions>, is_forwarded: bool) -> WebSocket {
        let state = State::Request(options);
        WebSocket {
            state,
            partial: Vec::new(),
            in_message: false,
            pinged: None,
            closing: false,
            is_forwarded,
            client: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Request(_))
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Whose connection the request said it is.
    pub(super) fn take_client(&mut self) -> Option<SocketAddr> {
        self.client.take()
    }

    /// See [`super::Transport::receive`].
    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        packets: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        if let State::Request(options) = &self.state {
            let options = Arc::clone(options);
            let seen = self.partial.len();
            self.partial.extend_from_slice(bytes);
            if is_mqtt(&self.partial) {
                return Err(TransportError::Stray(Stray::MqttForWebSocket));
            }
            let answered = http::answer(&self.partial, &options).map_err(|refusal| {
                out.extend(refusal.answer());
                TransportError::Http(refusal)
            })?;
            let Some(http::Answer { length, answer, forwarded_for }) = answered else {
                return Ok(());
            };
            out.extend(answer);
            self.client = forwarded_for.filter(|_| self.is_forwarded);
            self.state = State::Head;
            self.partial = Vec::new();
            bytes = &bytes[length - seen..];
        }
        while !bytes.is_empty() {
            bytes = self.take(bytes, packets, out).map_err(|(code, rule)| {
                self.state = State::Finished;
                self.say_close(code, out);
                TransportError::WebSocket(rule)
            })?;
        }
        Ok(())
    }

    /// Takes the first of some bytes; the rest is returned.
    fn take<'b>(
        &mut self,
        bytes: &'b [u8],
        packets: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<&'b [u8], Broken> {
        match &mut self.state {
            State::Request(_) => unreachable!("it was answered before"),
            // After Close nothing is listened to.
            State::Finished => Ok(&[]),
            State::Head => self.take_head(bytes, out),
            State::Data { left, mask, at } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, rest) = bytes.split_at(length);
                unmask(payload, *mask, at, packets);
                *left -= length as u64;
                if *left == 0 {
                    self.state = State::Head;
                }
                Ok(rest)
            }
            State::Control { opcode, bytes: wanted, mask } => {
                let length = (*wanted - self.partial.len()).min(bytes.len());
                let (payload, rest) = bytes.split_at(length);
                self.partial.extend_from_slice(payload);
                if self.partial.len() == *wanted {
                    let (opcode, mask) = (*opcode, *mask);
                    self.heed(opcode, mask, out)?;
                }
                Ok(rest)
            }
        }
    }

    fn take_head<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> Result<&'b [u8], Broken> {
        // Most heads come whole.
        if self.partial.is_empty()
            && let Some((head, length)) = Head::read(bytes)?
        {
            self.begin(head, out)?;
            return Ok(&bytes[length..]);
        }
        let (first, rest) = bytes.split_at(1);
        self.partial.extend_from_slice(first);
        if let Some((head, _)) = Head::read(&self.partial)? {
            self.partial.clear();
            self.begin(head, out)?;
        }
        Ok(rest)
    }

    /// The head of a frame is whole.
    fn begin(&mut self, head: Head, out: &mut Vec<u8>) -> Result<(), Broken> {
        let Head { last, opcode, bytes, mask } = head;
        match opcode {
            CONTINUATION if !self.in_message => {
                return Err((PROTOCOL_ERROR, "a continuation of nothing"));
            }
            BINARY if self.in_message => {
                return Err((PROTOCOL_ERROR, "a message begins before the last one's end"));
            }
            CONTINUATION | BINARY => {
                self.in_message = !last;
                if bytes > 0 {
                    self.state = State::Data { left: bytes, mask, at: 0 };
                }
            }
            // [MQTT-6.0.0-1]
            TEXT => return Err((UNSUPPORTED, "a text frame; MQTT comes in binary ones")),
            CLOSE | PING | PONG => {
                if !last || bytes > 125 {
                    return Err((PROTOCOL_ERROR, "a control frame that is long or in parts"));
                }
                self.state = State::Control { opcode, bytes: bytes as usize, mask };
                if bytes == 0 {
                    self.heed(opcode, mask, out)?;
                }
            }
            _ => return Err((PROTOCOL_ERROR, "a frame of an unknown kind")),
        }
        Ok(())
    }

    /// A control frame is whole.
    fn heed(&mut self, opcode: u8, mask: [u8; 4], out: &mut Vec<u8>) -> Result<(), Broken> {
        let mut payload = Vec::new();
        unmask(&self.partial, mask, &mut 0, &mut payload);
        self.partial.clear();
        self.state = State::Head;
        match opcode {
            PING => self.pinged = Some(payload),
            CLOSE => {
                let code = match payload[..] {
                    [] => NORMAL,
                    [high, low, ..] => u16::from_be_bytes([high, low]),
                    [_] => return Err((PROTOCOL_ERROR, "Close with half a reason")),
                };
                let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                if !legal || std::str::from_utf8(payload.get(2..).unwrap_or(&[])).is_err() {
                    return Err((PROTOCOL_ERROR, "Close with an illegal reason"));
                }
                self.state = State::Finished;
                self.say_close(code, out);
            }
            _ => {}
        }
        Ok(())
    }

    /// Says goodbye, unless that was said.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if self.is_open() {
            self.say_close(NORMAL, out);
        }
    }

    /// Answers the last PING, if that was not done.
    pub(super) fn answer(&mut self, out: &mut Vec<u8>) {
        if let Some(payload) = self.pinged.take() {
            frame(PONG, &payload, out);
        }
    }

    /// Nothing is said behind it, be it an answer.
    fn say_close(&mut self, code: u16, out: &mut Vec<u8>) {
        self.pinged = None;
        if !std::mem::replace(&mut self.closing, true) {
            frame(CLOSE, &code.to_be_bytes(), out);
        }
    }
}

impl Head {
    /// The head that bytes begin with and its length; nothing if it is not whole yet.
    fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
        let [first, second, rest @ ..] = bytes else {
            // Half a head can be wrong already.
            return match bytes {
                [first] if first & 0x70 != 0 => Err((PROTOCOL_ERROR, RESERVED)),
                _ => Ok(None),
            };
        };
        if first & 0x70 != 0 {
            return Err((PROTOCOL_ERROR, RESERVED));
        }
        if second & 0x80 == 0 {
            return Err((PROTOCOL_ERROR, "a frame without a mask"));
        }
        let (bytes, used) = match second & 0x7F {
            126 => match *rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 2),
                _ => return Ok(None),
            },
            127 => match *rest {
                [a, b, c, d, e, f, g, h, ..] => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
                _ => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        let [a, b, c, d, ..] = rest[used..] else { return Ok(None) };
        if bytes >> 63 != 0 {
            return Err((PROTOCOL_ERROR, "a frame of impossible length"));
        }
        let head =
            Head { last: first & 0x80 != 0, opcode: first & 0x0F, bytes, mask: [a, b, c, d] };
        Ok(Some((head, 2 + used + 4)))
    }
}

/// Bytes of packets in one frame: some clients take a frame in before they look at it.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// Hands packets to `put` in binary frames.
pub(super) fn frames<'a>(
    packets: impl Iterator<Item = &'a [u8]> + Clone,
    put: &mut impl FnMut(&[u8]),
) {
    let mut left: usize = packets.clone().map(<[u8]>::len).sum();
    let mut left_in_frame = 0;
    for mut piece in packets {
        while !piece.is_empty() {
            if left_in_frame == 0 {
                left_in_frame = left.min(FRAME_BYTES_MAX);
                left -= left_in_frame;
                put(&head(BINARY, left_in_frame));
            }
            let (now, rest) = piece.split_at(piece.len().min(left_in_frame));
            put(now);
            left_in_frame -= now.len();
            piece = rest;
        }
    }
}

const RESERVED: &str = "a frame with reserved bits; no extension was agreed on";

/// Adds `payload` to `to` without its mask, of which `at` says the place of the first byte.
fn unmask(payload: &[u8], mask: [u8; 4], at: &mut usize, to: &mut Vec<u8>) {
    let mut turned = mask;
    turned.rotate_left(*at % 4);
    let wide = u64::from_ne_bytes([
        turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3],
    ]);
    to.reserve(payload.len());
    let (words, tail) = payload.as_chunks::<8>();
    for word in words {
        to.extend_from_slice(&(u64::from_ne_bytes(*word) ^ wide).to_ne_bytes());
    }
    to.extend(tail.iter().zip(turned.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    *at = (*at + payload.len()) % 4;
}

fn head(opcode: u8, bytes: usize) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match bytes {
        0..=125 => head.push(bytes as u8),
        126..=0xFFFF => {
            head.push(126);
            head.extend((bytes as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((bytes as u64).to_be_bytes());
        }
    }
    head
}

/// A whole frame.
fn frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend(head(opcode, payload.len()));
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST_BYTES_MAX: usize = 1024;

    /// One that awaits its request.
    fn fresh() -> WebSocket {
        let (path, origins) = ("/mqtt".to_owned(), Vec::new());
        let options =
            WebOptions { path: Some(path), origins, request_bytes_max: REQUEST_BYTES_MAX };
        WebSocket::new(Arc::new(options), false)
    }

    fn open() -> WebSocket {
        let mut web = fresh();
        let request = b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        let (mut packets, mut out) = (Vec::new(), Vec::new());
        web.receive(request, &mut packets, &mut out).expect("a good request");
        assert!(web.is_open() && packets.is_empty() && out.starts_with(b"HTTP/1.1 101 "));
        web
    }

    /// A frame as a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut frame = head(first & 0x0F, payload.len());
        frame[0] = first;
        frame[1] |= 0x80;
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn hear(web: &mut WebSocket, bytes: &[u8]) -> (Result<(), TransportError>, Vec<u8>, Vec<u8>) {
        let (mut packets, mut out) = (Vec::new(), Vec::new());
        let outcome = web.receive(bytes, &mut packets, &mut out);
        (outcome, packets, out)
    }

    #[test]
    fn packets_behind_the_request_are_not_lost() {
        let mut web = fresh();
        let mut bytes = b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n"
            .to_vec();
        bytes.extend(masked(0x82, b"hello"));
        for cut in [0, 1, 50, bytes.len() - 9, bytes.len() - 1] {
            let options = match &web.state {
                State::Request(options) => Arc::clone(options),
                _ => unreachable!("nothing was received"),
            };
            let mut web_here = WebSocket::new(options, false);
            let (mut packets, mut out) = (Vec::new(), Vec::new());
            web_here.receive(&bytes[..cut], &mut packets, &mut out).expect("good");
            web_here.receive(&bytes[cut..], &mut packets, &mut out).expect("good");
            assert_eq!(packets, b"hello", "cut at {cut}");
        }
        assert!(matches!(
            hear(&mut web, &[0x10, 12, 0, 4]).0,
            Err(TransportError::Stray(Stray::MqttForWebSocket))
        ));
    }

    #[test]
    fn of_many_pings_the_last_is_answered() {
        let mut web = open();
        let pings = [masked(0x89, b"one"), masked(0x89, b"two"), masked(0x89, b"")].concat();
        let (outcome, _, mut out) = hear(&mut web, &pings);
        assert_eq!((outcome, out.len()), (Ok(()), 0));
        web.answer(&mut out);
        web.answer(&mut out);
        assert_eq!(out, [0x8A, 0]);
        let bytes = [masked(0x89, b"late"), masked(0x88, b"")].concat();
        let (_, _, mut out) = hear(&mut web, &bytes);
        web.answer(&mut out);
        assert_eq!(out, [0x88, 2, 0x03, 0xE8], "nothing follows Close");
    }

    #[test]
    fn a_ping_is_answered_amid_a_message() {
        let mut web = open();
        let mut bytes = masked(0x02, b"he");
        bytes.extend(masked(0x89, b"there?"));
        bytes.extend(masked(0x80, b"llo"));
        let (outcome, packets, mut out) = hear(&mut web, &bytes);
        assert_eq!((outcome, packets.as_slice()), (Ok(()), &b"hello"[..]));
        web.answer(&mut out);
        assert_eq!(out, [&[0x8A, 6][..], b"there?"].concat());
    }

    #[test]
    fn packets_leave_in_frames_that_are_not_long() {
        let pieces = [vec![1; 70_000], vec![2; 5], vec![3; 60_000]];
        let mut sent = Vec::new();
        frames(pieces.iter().map(Vec::as_slice), &mut |bytes| sent.extend_from_slice(bytes));
        let second = 10 + FRAME_BYTES_MAX;
        assert_eq!(sent[..10], head(BINARY, FRAME_BYTES_MAX));
        assert_eq!(sent[second..second + 4], head(BINARY, 130_005 - FRAME_BYTES_MAX));
        let payload = [&sent[10..second], &sent[second + 4..]].concat();
        assert_eq!(payload, pieces.concat());
    }

    #[test]
    fn close_is_answered_with_its_reason_and_ends_everything() {
        let mut web = open();
        let mut bytes = masked(0x88, &[0x0F, 0xA0, b'x']);
        bytes.extend(masked(0x82, b"late"));
        let (outcome, packets, out) = hear(&mut web, &bytes);
        assert_eq!((outcome, packets.len()), (Ok(()), 0));
        assert_eq!(out, [0x88, 2, 0x0F, 0xA0]);
        assert!(web.is_finished());
        let mut out = Vec::new();
        web.close(&mut out);
        assert!(out.is_empty(), "it was said");
    }

    /// [MQTT-6.0.0-1]
    #[test]
    fn broken_rules_are_named_and_close() {
        let cases: [(Vec<u8>, u16); 12] = [
            (masked(0x81, b"text"), UNSUPPORTED),
            (masked(0x80, b"of nothing"), PROTOCOL_ERROR),
            ([masked(0x02, b"a"), masked(0x82, b"b")].concat(), PROTOCOL_ERROR),
            (masked(0xC2, b"compressed"), PROTOCOL_ERROR),
            (vec![0xF2], PROTOCOL_ERROR),
            (masked(0x83, b"unknown"), PROTOCOL_ERROR),
            (masked(0x09, b"in parts"), PROTOCOL_ERROR),
            (masked(0x89, &[0; 126]), PROTOCOL_ERROR),
            (masked(0x88, &[3]), PROTOCOL_ERROR),
            (masked(0x88, &1005u16.to_be_bytes()), PROTOCOL_ERROR),
            (vec![0x82, 5], PROTOCOL_ERROR),
            (vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], PROTOCOL_ERROR),
        ];
        for (bytes, code) in cases {
            let mut web = open();
            let (outcome, _, out) = hear(&mut web, &bytes);
            assert!(matches!(outcome, Err(TransportError::WebSocket(_))), "{bytes:?}");
            let [high, low] = code.to_be_bytes();
            assert_eq!(out, [0x88, 2, high, low], "{bytes:?}");
        }
    }

    proptest! {
        /// However a stream of frames is cut, the same packets come out. [MQTT-6.0.0-2]
        #[test]
        fn frames_are_split_and_joined_anywhere(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70_000), 1..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for (index, payload) in payloads.iter().enumerate() {
                let first = u8::from(index == 0) * BINARY;
                let last = u8::from(index + 1 == payloads.len()) * 0x80;
                bytes.extend(masked(first | last, payload));
            }
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let (mut web, mut packets, mut out) = (open(), Vec::new(), Vec::new());
            for pair in places.windows(2) {
                web.receive(&bytes[pair[0]..pair[1]], &mut packets, &mut out).expect("good");
            }
            prop_assert_eq!(packets, payloads.concat());
            prop_assert!(out.is_empty());
        }

        /// No bytes make it panic, or hold more than a request.
        #[test]
        fn nothing_makes_it_panic(chunks in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..200), 0..10,
        )) {
            for mut web in [open(), fresh()] {
                for chunk in &chunks {
                    if hear(&mut web, chunk).0.is_err() {
                        break;
                    }
                    prop_assert!(web.partial.len() <= REQUEST_BYTES_MAX + 200);
                }
            }
        }
    }
}

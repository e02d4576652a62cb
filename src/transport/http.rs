//! The HTTP request that turns a connection into a WebSocket (RFC 6455, section 4.2).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// What a WebSocket listener asks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOptions {
    /// The only path, such as `/mqtt`; a query is not looked at.
    pub path: Option<String>,
    /// The origins of web pages that may connect, such as `https://example.org`; empty: all.
    pub origins: Vec<String>,
    /// Bytes of the longest request that is taken.
    pub request_bytes_max: usize,
}

/// Headers of the longest request that is taken.
const HEADERS_MAX: usize = 64;

/// Why a request is not answered with a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no HTTP/1.1 request, or too long a one.
    Malformed,
    /// Another method than GET.
    Method,
    /// Another path.
    Path(String),
    /// It asks for no WebSocket.
    NoUpgrade,
    /// Another version of WebSocket than 13.
    Version,
    /// No key, or none of 16 bytes.
    Key,
    /// No subprotocol that is MQTT. [MQTT-6.0.0-3]
    Subprotocol,
    /// The web page's origin is not allowed.
    Origin(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed => f.write_str("no HTTP/1.1 request for a WebSocket"),
            Refusal::Method => f.write_str("an HTTP method other than GET"),
            Refusal::Path(path) => write!(f, "a WebSocket at the path {path:?}"),
            Refusal::NoUpgrade => f.write_str("an HTTP request that asks for no WebSocket"),
            Refusal::Version => f.write_str("a version of WebSocket other than 13"),
            Refusal::Key => f.write_str("no Sec-WebSocket-Key of 16 bytes"),
            Refusal::Subprotocol => {
                f.write_str("a WebSocket that does not offer the subprotocol mqtt")
            }
            Refusal::Origin(origin) => write!(f, "a web page of the origin {origin:?}"),
        }
    }
}

impl Refusal {
    /// The answer to it.
    pub(super) fn answer(&self) -> Vec<u8> {
        let (status, headers): (&str, &[&str]) = match self {
            Refusal::Malformed | Refusal::Key | Refusal::Subprotocol => ("400 Bad Request", &[]),
            Refusal::Method => ("405 Method Not Allowed", &["Allow: GET"]),
            Refusal::Path(_) => ("404 Not Found", &[]),
            Refusal::NoUpgrade => ("426 Upgrade Required", &["Upgrade: websocket"]),
            Refusal::Version => ("426 Upgrade Required", &["Sec-WebSocket-Version: 13"]),
            Refusal::Origin(_) => ("403 Forbidden", &[]),
        };
        let words = match self {
            Refusal::NoUpgrade => "Here is MQTT over WebSocket, for MQTT clients.".to_owned(),
            other => format!("Not served: {other}."),
        };
        plain_answer(status, &words, headers)
    }
}

/// A whole answer of one line, after which the connection ends.
pub(super) fn plain_answer(status: &str, words: &str, headers: &[&str]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        answer.push_str(header);
        answer.push_str("\r\n");
    }
    answer.push_str(&format!(
        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{words}\n",
        words.len() + 1
    ));
    answer.into_bytes()
}

/// What comes of a request for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Bytes of the request.
    pub(super) length: usize,
    /// What makes the connection a WebSocket.
    pub(super) answer: Vec<u8>,
    /// Whose request it is, if a proxy says so: the last address of X-Forwarded-For, which it added
    /// itself. Port 0 where it says none.
    pub(super) forwarded_for: Option<SocketAddr>,
}

/// Answers a request once it is whole.
pub(super) fn answer(bytes: &[u8], options: &WebOptions) -> Result<Option<Answer>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= options.request_bytes_max => length,
        Ok(httparse::Status::Partial) if bytes.len() < options.request_bytes_max => {
            return Ok(None);
        }
        _ => return Err(Refusal::Malformed),
    };
    if request.version != Some(1) {
        return Err(Refusal::Malformed);
    }
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if options.path.as_ref().is_some_and(|only| path != only) {
        return Err(Refusal::Path(path.chars().take(80).collect()));
    }
    let request = Headers(request.headers);
    if !request.has_token("Upgrade", "websocket") || !request.has_token("Connection", "upgrade") {
        return Err(Refusal::NoUpgrade);
    }
    if request.only("Sec-WebSocket-Version") != Some("13") {
        return Err(Refusal::Version);
    }
    let key = request.only("Sec-WebSocket-Key").ok_or(Refusal::Key)?;
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Refusal::Key);
    }
    let is_allowed =
        |origin: &str| options.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    if !options.origins.is_empty()
        && let Some(origin) = request.values("Origin").find(|origin| !is_allowed(origin))
    {
        return Err(Refusal::Origin(origin.chars().take(80).collect()));
    }
    // [MQTT-6.0.0-4]: mqtt if it is offered; clients of 3.1 offer mqttv3.1.
    let offered = ["mqtt", "mqttv3.1"];
    let chosen = offered.iter().find(|name| request.has_token("Sec-WebSocket-Protocol", name));
    let chosen = chosen.ok_or(Refusal::Subprotocol)?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {chosen}\r\n\r\n",
        accept(key)
    );
    // What the client said before need be no text, and does not hide what the proxy added.
    let forwarded_for = request.bytes("X-Forwarded-For").last();
    let forwarded_for = forwarded_for.and_then(|list| list.rsplit(|byte| *byte == b',').next());
    let forwarded_for = forwarded_for.and_then(|last| str::from_utf8(last).ok()).and_then(address);
    Ok(Some(Answer { length, answer: answer.into_bytes(), forwarded_for }))
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn bytes(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let headers = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        headers.map(|header| header.value)
    }

    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.bytes(name).filter_map(|value| str::from_utf8(value).ok()).map(str::trim)
    }

    /// The value of a header that is there once.
    fn only(&self, name: &'a str) -> Option<&'a str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a list of tokens, in one header or several, has this one.
    fn has_token(&self, name: &'a str, token: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(',')).map(str::trim);
        tokens.any(|other| other.eq_ignore_ascii_case(token))
    }
}

/// An address with a port or without.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let alone = text.trim_start_matches('[').trim_end_matches(']').parse();
    let alone = alone.map(|address: IpAddr| SocketAddr::new(address, 0));
    alone.ok().or_else(|| text.parse().ok())
}

/// RFC 6455, section 4.2.2, step 5.4.
fn accept(key: &str) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> WebOptions {
        WebOptions { path: Some("/mqtt".to_owned()), origins: Vec::new(), request_bytes_max: 8192 }
    }

    fn request(lines: &[&str]) -> Vec<u8> {
        let lines = lines.iter().flat_map(|line| [line, "\r\n"]);
        lines.chain(["\r\n"]).collect::<String>().into_bytes()
    }

    const GOOD: [&str; 7] = [
        "GET /mqtt?x=1 HTTP/1.1",
        "Host: broker",
        "upgrade: WebSocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqttv3.1, mqtt",
    ];

    fn with(index: usize, line: &'static str) -> Result<Option<Answer>, Refusal> {
        let mut lines = GOOD;
        lines[index] = line;
        answer(&request(&lines), &options())
    }

    /// [MQTT-6.0.0-4]
    #[test]
    fn a_request_for_mqtt_is_granted_as_the_rfc_has_it() {
        let bytes = request(&GOOD);
        let whole = answer(&bytes, &options()).unwrap().expect("it is whole");
        assert_eq!((whole.length, whole.forwarded_for), (bytes.len(), None));
        let granted = String::from_utf8(whole.answer).unwrap();
        assert!(granted.starts_with("HTTP/1.1 101 "), "{granted}");
        assert!(granted.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(granted.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
    }

    #[test]
    fn one_path_is_granted_or_any() {
        let granted = |path: &str, options: &WebOptions| {
            let first = format!("GET {path} HTTP/1.1");
            let lines = [&[first.as_str()], &GOOD[1..]].concat();
            answer(&request(&lines), options)
        };
        for path in ["/", "/mqtt/", "/MQTT", "/ws?mqtt=/mqtt"] {
            let asked = path.split('?').next().unwrap_or_default().to_owned();
            assert_eq!(granted(path, &options()), Err(Refusal::Path(asked)));
            let any = WebOptions { path: None, ..options() };
            assert!(granted(path, &any).expect("any path").is_some());
        }
    }

    #[test]
    fn the_last_address_is_the_one_that_the_proxy_added() {
        let forwarded = |values: &[&str]| {
            let headers = values.iter().map(|value| format!("X-Forwarded-For: {value}"));
            let headers: Vec<String> = headers.collect();
            let lines: Vec<&str> =
                GOOD.iter().copied().chain(headers.iter().map(String::as_str)).collect();
            answer(&request(&lines), &options()).unwrap().expect("it is whole").forwarded_for
        };
        let address = |text: &str| Some(text.parse().expect("an address"));
        assert_eq!(forwarded(&["6.6.6.6, 10.1.2.3"]), address("10.1.2.3:0"));
        assert_eq!(forwarded(&["6.6.6.6", "10.1.2.3:99"]), address("10.1.2.3:99"));
        assert_eq!(forwarded(&["2001:db8::1"]), address("[2001:db8::1]:0"));
        assert_eq!(forwarded(&["[2001:db8::1]:5"]), address("[2001:db8::1]:5"));
        assert_eq!(forwarded(&["10.1.2.3, unknown"]), None);
        let mut bytes = request(&[&GOOD[..], &["X-Forwarded-For: ?, 10.1.2.3"]].concat());
        let place = bytes.iter().rposition(|byte| *byte == b'?').expect("it is there");
        bytes[place] = 0xFF;
        let granted = answer(&bytes, &options()).unwrap().expect("it is whole");
        assert_eq!(granted.forwarded_for, address("10.1.2.3:0"), "behind what is no text");
    }

    #[test]
    fn part_of_a_request_waits_for_the_rest() {
        let bytes = request(&GOOD);
        for length in 0..bytes.len() {
            assert_eq!(answer(&bytes[..length], &options()), Ok(None), "{length}");
        }
    }

    #[test]
    fn a_request_is_as_long_as_the_listener_takes() {
        let bytes = request(&GOOD);
        let within = |request_bytes_max, bytes: &[u8]| {
            answer(bytes, &WebOptions { request_bytes_max, ..options() })
        };
        assert!(within(bytes.len(), &bytes).is_ok_and(|answer| answer.is_some()));
        assert_eq!(within(bytes.len() - 1, &bytes), Err(Refusal::Malformed));
        assert_eq!(within(8192, &[b'G'; 8191]), Ok(None));
        assert_eq!(within(8192, &[b'G'; 8192]), Err(Refusal::Malformed));
    }

    #[test]
    fn what_is_no_request_for_mqtt_is_told_so() {
        assert_eq!(with(0, "POST /mqtt HTTP/1.1"), Err(Refusal::Method));
        assert_eq!(with(0, "GET / HTTP/1.1"), Err(Refusal::Path("/".to_owned())));
        assert_eq!(with(0, "GET /mqtt HTTP/1.0"), Err(Refusal::Malformed));
        assert_eq!(with(2, "X: y"), Err(Refusal::NoUpgrade));
        assert_eq!(with(3, "Connection: close"), Err(Refusal::NoUpgrade));
        assert_eq!(with(4, "Sec-WebSocket-Key: c2hvcnQ="), Err(Refusal::Key));
        assert_eq!(with(5, "Sec-WebSocket-Version: 8"), Err(Refusal::Version));
        assert_eq!(with(6, "Sec-WebSocket-Protocol: chat"), Err(Refusal::Subprotocol));
        let refused = Refusal::Subprotocol.answer();
        assert!(refused.starts_with(b"HTTP/1.1 400 ") && refused.ends_with(b"mqtt.\n"));
    }

    #[test]
    fn a_page_of_another_origin_is_kept_out() {
        let options = WebOptions { origins: vec!["https://good.example".to_owned()], ..options() };
        let from = |origin: &str| {
            let line = format!("Origin: {origin}");
            let lines: Vec<&str> = GOOD.into_iter().chain([line.as_str()]).collect();
            answer(&request(&lines), &options).map(|answer| answer.is_some())
        };
        assert_eq!(from("https://good.example"), Ok(true));
        let evil = "https://evil.example".to_owned();
        assert_eq!(from(&evil), Err(Refusal::Origin(evil.clone())));
        let both = format!("https://good.example\r\nOrigin: {evil}");
        assert_eq!(from(&both), Err(Refusal::Origin(evil)), "not because it names two");
    }
}

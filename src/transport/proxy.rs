//! The PROXY protocol, versions 1 and 2: a proxy in front says whose connection it is.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::TransportError;
use super::tlv::{self, Told};

/// A header that is awaited.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    partial: Vec<u8>,
}

/// Whose connection it is, as a header has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// Nothing if the proxy speaks for itself.
    pub(super) address: Option<SocketAddr>,
    /// What else it tells.
    pub(super) told: Told,
}

impl From<Option<SocketAddr>> for Client {
    fn from(address: Option<SocketAddr>) -> Client {
        Client { address, told: Told::default() }
    }
}

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of the longest header of version 1.
const V1_BYTES_MAX: usize = 107;

/// Bytes of the longest header of version 2 that is taken: addresses, and what TLS proxies tell.
const V2_BYTES_MAX: usize = 4096;

type Parsed = Result<Option<(Client, usize)>, &'static str>;

impl Proxy {
    /// Takes bytes; once the header is whole, the client and the bytes behind it.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(Client, Vec<u8>)>, TransportError> {
        self.partial.extend_from_slice(bytes);
        match parse(&self.partial) {
            Ok(None) => Ok(None),
            Ok(Some((client, length))) => Ok(Some((client, self.partial.split_off(length)))),
            Err(reason) => Err(TransportError::Proxy(reason)),
        }
    }
}

/// Whether bytes begin as a header does. No packet of MQTT that begins so is a CONNECT.
pub(super) fn is_header(first: &[u8]) -> bool {
    [&SIGNATURE_V1[..5], &SIGNATURE_V2[..5]].iter().any(|signature| first.starts_with(signature))
}

/// The header at the front and its length; nothing if it is not whole.
fn parse(bytes: &[u8]) -> Parsed {
    let begins = |signature: &[u8]| {
        let known = bytes.len().min(signature.len());
        bytes[..known] == signature[..known]
    };
    if begins(SIGNATURE_V2) {
        parse_v2(bytes)
    } else if begins(SIGNATURE_V1) {
        parse_v1(bytes)
    } else {
        Err("no PROXY header from an address that has to send one")
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err("a PROXY line without end") };
    };
    let wrong = "a PROXY line that cannot be read";
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, port, to_port] => {
            let source: IpAddr = source.parse().map_err(|_| wrong)?;
            let destination: IpAddr = destination.parse().map_err(|_| wrong)?;
            let v4 = family == "TCP4";
            if source.is_ipv4() != v4 || destination.is_ipv4() != v4 {
                return Err(wrong);
            }
            to_port.parse::<u16>().map_err(|_| wrong)?;
            Some(SocketAddr::new(source, port.parse().map_err(|_| wrong)?))
        }
        _ => return Err(wrong),
    };
    Ok(Some((client.into(), end + 2)))
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some(&[command, family, high, low]) = bytes.get(12..16).and_then(|head| head.first_chunk())
    else {
        return Ok(None);
    };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err("a PROXY header that is too long");
    }
    if command >> 4 != 2 || command & 0x0F > 1 {
        return Err("a PROXY header of an unknown version or command");
    }
    if bytes.len() < length {
        return Ok(None);
    }
    // The proxy itself, to see whether we are there.
    if command & 0x0F == 0 {
        return Ok(Some((Client::default(), length)));
    }
    let short = "a PROXY header too short for its addresses";
    let body = &bytes[16..length];
    let address = match family {
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *body.first_chunk().ok_or(short)?;
            let port = u16::from_be_bytes([high, low]);
            Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)))
        }
        0x21 => {
            let source: &[u8; 16] = body.first_chunk().ok_or(short)?;
            let [high, low] = *body.get(32..34).and_then(|port| port.first_chunk()).ok_or(short)?;
            let port = u16::from_be_bytes([high, low]);
            Some(SocketAddr::from((Ipv6Addr::from(*source), port)))
        }
        _ => None,
    };
    let addresses_bytes = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        // Of another family it is not known where what is told begins.
        _ => return Ok(Some((address.into(), length))),
    };
    if body.len() < addresses_bytes {
        return Err(short);
    }
    let told = tlv::told(&bytes[..length], 16 + addresses_bytes)?;
    Ok(Some((Client { address, told }, length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [SIGNATURE_V2, &[command, family], &length, body].concat()
    }

    #[test]
    fn both_versions_name_the_client() {
        let v1 = b"PROXY TCP4 10.1.2.3 10.0.0.1 4321 1883\r\nrest".to_vec();
        let four = v2(0x21, 0x11, &[10, 1, 2, 3, 10, 0, 0, 1, 0x10, 0xE1, 7, 0x5B, 4, 0, 1, 0]);
        let mut six = [0; 36];
        six[15] = 1;
        six[32..34].copy_from_slice(&4321u16.to_be_bytes());
        let six = v2(0x21, 0x21, &six);
        for (mut header, client) in
            [(v1, "10.1.2.3:4321"), (four, "10.1.2.3:4321"), (six, "[::1]:4321")]
        {
            let length = parse(&header).unwrap().expect("it is whole").1;
            header.truncate(length);
            for cut in 0..length {
                assert_eq!(parse(&header[..cut]), Ok(None), "{client} cut at {cut}");
            }
            header.extend(b"rest");
            let (found, rest) = Proxy::default().receive(&header).unwrap().expect("it is whole");
            assert_eq!(found.address, Some(client.parse().unwrap()));
            assert_eq!((found.told, rest), (Told::default(), b"rest".to_vec()));
        }
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((Client::default(), 15))));
        assert_eq!(parse(&v2(0x20, 0, &[])), Ok(Some((Client::default(), 16))));
        assert_eq!(parse(&v2(0x21, 0, &[1, 2])), Ok(Some((Client::default(), 18))));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            b"\x10\x0c\x00\x04MQTT".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 70000 2\r\n".to_vec(),
            b"PROXY TCP4 10.0.0.1\r\n".to_vec(),
            [b"PROXY ".as_slice(), &[b'x'; 120]].concat(),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 33]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x11, &[0; 14]),
            v2(0x21, 0x11, &[0; 5000]),
        ] {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            front in prop_oneof![Just(SIGNATURE_V1), Just(SIGNATURE_V2), Just(&b""[..])],
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = parse(&[front, &rest].concat());
        }
    }
}

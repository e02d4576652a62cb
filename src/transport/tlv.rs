//! What a PROXY header of version 2 tells behind the addresses: values with a type and a length,
//! of the TLS that the proxy ended among them. Section 2.2 of the protocol.

/// What a proxy tells of a client beside its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The TLS that the proxy ended, if the client came by it.
    pub tls: Option<ProxiedTls>,
    /// The name of the host that the client asked for.
    pub authority: Option<Box<str>>,
}

/// TLS between a client and a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxiedTls {
    /// Such as `TLSv1.3`.
    pub version: Option<Box<str>>,
    /// The common name of the certificate that the client has shown; absent unless the proxy says
    /// that it has verified it.
    pub common_name: Option<Box<str>>,
}

// Types of values, and of those within that of TLS.
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;

/// The client came by TLS.
const CLIENT_SSL: u8 = 0x01;
/// It has shown a certificate on this connection, or earlier in its TLS session.
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;

/// Bytes of the longest identity that a proxy gives a connection.
const UNIQUE_ID_BYTES_MAX: usize = 128;

/// Bytes of the longest name of a host.
const AUTHORITY_BYTES_MAX: usize = 255;

/// What `header` tells from `offset` on. Types that are not known here are passed over, as the
/// protocol wants it.
pub(super) fn told(header: &[u8], offset: usize) -> Result<Told, &'static str> {
    let mut told = Told::default();
    let mut rest = &header[offset..];
    let mut is_tls_told = false;
    while let Some((kind, value)) = next(&mut rest)? {
        match kind {
            AUTHORITY => {
                let wrong = "a PROXY header with an authority that is no name of a host";
                let name = text(value).filter(|name| name.len() <= AUTHORITY_BYTES_MAX);
                once(&mut told.authority, name.ok_or(wrong)?)?;
            }
            CRC32C => check_sum(header, header.len() - rest.len() - value.len(), value)?,
            UNIQUE_ID if value.len() > UNIQUE_ID_BYTES_MAX => {
                return Err("a PROXY header with a unique id of more than 128 bytes");
            }
            SSL if is_tls_told => return Err(TWICE),
            SSL => (told.tls, is_tls_told) = (tls(value)?, true),
            _ => {}
        }
    }
    Ok(told)
}

/// What is told of TLS; nothing if the client came without it.
fn tls(value: &[u8]) -> Result<Option<ProxiedTls>, &'static str> {
    let Some((&[client, verify @ ..], mut rest)) = value.split_first_chunk::<5>() else {
        return Err("a PROXY header with a TLV of TLS that is too short");
    };
    let mut tls = ProxiedTls::default();
    while let Some((kind, value)) = next(&mut rest)? {
        match kind {
            SSL_VERSION => {
                let wrong = "a PROXY header with a version of TLS that is no text";
                once(&mut tls.version, text(value).ok_or(wrong)?)?;
            }
            SSL_CN => {
                let wrong = "a PROXY header with a common name that is no name";
                once(&mut tls.common_name, text(value).ok_or(wrong)?)?;
            }
            _ => {}
        }
    }
    // Without a certificate the result of its verification is zero, too.
    if client & CLIENT_CERTIFICATE == 0 || u32::from_be_bytes(verify) != 0 {
        tls.common_name = None;
    }
    Ok((client & CLIENT_SSL != 0).then_some(tls))
}

/// The next value and its type; nothing at the end.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, &'static str> {
    if rest.is_empty() {
        return Ok(None);
    }
    let torn = "a PROXY header that ends within a TLV";
    let (&[kind, high, low], behind) = rest.split_first_chunk().ok_or(torn)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, behind) = behind.split_at_checked(length).ok_or(torn)?;
    *rest = behind;
    Ok(Some((kind, value)))
}

const TWICE: &str = "a PROXY header that tells something twice";

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    if place.replace(value).is_some() { Err(TWICE) } else { Ok(()) }
}

/// A text that is none without a character, or with one that no line of a log should have.
fn text(value: &[u8]) -> Option<Box<str>> {
    let text = str::from_utf8(value).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into())
}

/// The sum is that of the whole header with zeros in its own place.
fn check_sum(header: &[u8], offset: usize, value: &[u8]) -> Result<(), &'static str> {
    let wrong = "a PROXY header with a wrong checksum";
    let sum = u32::from_be_bytes(*value.first_chunk().filter(|_| value.len() == 4).ok_or(wrong)?);
    let before = crc32c::crc32c(&header[..offset]);
    let with_zeros = crc32c::crc32c_append(before, &[0; 4]);
    let found = crc32c::crc32c_append(with_zeros, &header[offset + 4..]);
    if found == sum { Ok(()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    fn ssl(client: u8, verify: u32, inner: &[Vec<u8>]) -> Vec<u8> {
        tlv(SSL, &[&[client][..], &verify.to_be_bytes(), &inner.concat()].concat())
    }

    fn common_name(client: u8, verify: u32) -> Option<Box<str>> {
        let inner = [tlv(SSL_VERSION, b"TLSv1.3"), tlv(0x23, b"cipher"), tlv(SSL_CN, b"ann")];
        let told = told(&ssl(client, verify, &inner), 0).expect("it is well made");
        told.tls.and_then(|tls| tls.common_name)
    }

    #[test]
    fn a_common_name_counts_once_it_is_verified() {
        assert_eq!(common_name(0x03, 0).as_deref(), Some("ann"), "on this connection");
        assert_eq!(common_name(0x05, 0).as_deref(), Some("ann"), "in this session");
        assert_eq!(common_name(0x01, 0), None, "no certificate was shown");
        assert_eq!(common_name(0x03, 1), None, "it was not verified");
        assert_eq!(common_name(0x02, 0), None, "there was no TLS");
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let values = [tlv(0x01, b"mqtt"), tlv(AUTHORITY, b"mqtt.example"), tlv(0xEA, &[0; 300])];
        let tls = ssl(1, 0, &[tlv(SSL_VERSION, b"TLSv1.2"), tlv(0x2F, b"?")]);
        let told = told(&[&values.concat()[..], &tls].concat(), 0).expect("it is well made");
        assert_eq!(told.authority.as_deref(), Some("mqtt.example"));
        let tls = ProxiedTls { version: Some("TLSv1.2".into()), common_name: None };
        assert_eq!(told.tls, Some(tls));
    }

    #[test]
    fn a_checksum_is_that_of_the_whole_header() {
        let header = |sum: u32| [b"front".to_vec(), tlv(CRC32C, &sum.to_be_bytes())].concat();
        let sum = crc32c::crc32c(&header(0));
        assert_eq!(told(&header(sum), 5), Ok(Told::default()));
        assert!(told(&header(sum ^ 1), 5).is_err());
        assert!(told(&tlv(CRC32C, &[0; 3]), 0).is_err());
    }

    #[test]
    fn what_is_badly_made_is_refused() {
        let name = tlv(SSL_CN, b"ann");
        for (values, said) in [
            (vec![SSL], "ends within"),
            (vec![SSL, 0, 1], "ends within"),
            (tlv(SSL, &[3, 0, 0, 0]), "too short"),
            (ssl(3, 0, &[vec![SSL_CN, 0, 9, b'a']]), "ends within"),
            (ssl(3, 0, &[tlv(SSL_CN, b"\xFFann")]), "common name"),
            (ssl(3, 0, &[tlv(SSL_CN, b"")]), "common name"),
            (ssl(3, 0, &[tlv(SSL_CN, b"a\0b")]), "common name"),
            (ssl(3, 0, &[name.clone(), name]), "twice"),
            (ssl(3, 0, &[tlv(SSL_VERSION, b"\x01")]), "version"),
            ([ssl(0, 0, &[]), ssl(3, 0, &[])].concat(), "twice"),
            (tlv(AUTHORITY, b"a\nb"), "authority"),
            (tlv(AUTHORITY, &[b'a'; 256]), "authority"),
            ([tlv(AUTHORITY, b"a"), tlv(AUTHORITY, b"b")].concat(), "twice"),
            (tlv(UNIQUE_ID, &[0; 129]), "unique id"),
        ] {
            let error = told(&values, 0).expect_err("it is badly made");
            assert!(error.contains(said), "{values:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(values in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = told(&values, 0);
            let _ = told(&[&[SSL, 0, values.len() as u8], &values[..]].concat(), 0);
        }
    }
}

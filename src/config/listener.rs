//! The `[[listeners]]` tables: where clients connect.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// One place where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// What logs and metrics call it; differs from that of every other listener.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddress,
    /// Whether the broker starts without it where this machine lacks the address.
    pub optional: bool,
}

impl ListenerConfig {
    /// The listeners of a broker that was told of none: this machine alone can reach them, and
    /// the second is skipped where there is no IPv6.
    pub fn defaults() -> Vec<ListenerConfig> {
        let local = |host: &str, optional| {
            let address = ListenAddress { host: host.to_owned(), port: 1883 };
            ListenerConfig { name: address.to_string(), address, optional }
        };
        vec![local("127.0.0.1", false), local("::1", true)]
    }
}

/// `tcp://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenAddress {
    /// An address or a name that is looked up when the broker starts; without brackets.
    pub host: String,
    /// 0 lets the kernel choose; the chosen one is logged.
    pub port: u16,
}

impl ListenAddress {
    /// The socket addresses it stands for; asks the resolver for a name, so not for a shard.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> =
            (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "tcp://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "tcp://{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no [`ListenAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddressError {
    /// Something other than `tcp://` in front.
    Scheme,
    /// No host, or one no name or address can look like.
    Host,
    /// No port, or not a number from 0 to 65535.
    Port,
    /// An IPv6 address without its brackets.
    Brackets,
}

impl fmt::Display for ListenAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListenAddressError::Scheme => "begin it with tcp://",
            ListenAddressError::Host => "the host is a name or an address, such as 0.0.0.0 or [::]",
            ListenAddressError::Port => "the port is a number from 0 to 65535",
            ListenAddressError::Brackets => "an IPv6 address stands in brackets, such as [::1]",
        })
    }
}

impl std::error::Error for ListenAddressError {}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        let rest = text.strip_prefix("tcp://").ok_or(ListenAddressError::Scheme)?;
        let (host, port) = rest.rsplit_once(':').ok_or(ListenAddressError::Port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => bracketed(rest)?,
            None => named(host)?,
        };
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ListenAddressError::Port);
        }
        let port = port.parse().map_err(|_| ListenAddressError::Port)?;
        Ok(ListenAddress { host: host.to_owned(), port })
    }
}

fn bracketed(rest: &str) -> Result<&str, ListenAddressError> {
    let host = rest.strip_suffix(']').ok_or(ListenAddressError::Brackets)?;
    let address: IpAddr = host.parse().map_err(|_| ListenAddressError::Host)?;
    if address.is_ipv6() { Ok(host) } else { Err(ListenAddressError::Host) }
}

fn named(host: &str) -> Result<&str, ListenAddressError> {
    if host.contains(':') {
        return Err(ListenAddressError::Brackets);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(legal) {
        return Err(ListenAddressError::Host);
    }
    Ok(host)
}

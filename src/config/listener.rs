//! The `[[listeners]]` tables: where clients connect.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::process::ListenerTable;
use super::tls::CertificatePair;

/// One place where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerConfig {
    /// What logs and metrics call it; differs from that of every other listener.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddress,
    /// The certificates of a listener with TLS, if it has its own: the first is for who names no
    /// host.
    pub certificates: Vec<CertificatePair>,
    /// Whose certificates clients show, if any are asked for.
    pub clients: Option<ClientCertificates>,
    /// As it was written; where that left out name or address, with them.
    pub terms: ListenerTable,
}

impl ListenerConfig {
    /// The listeners of a broker that was told of none: this machine alone can reach them, and
    /// the second is skipped where there is no IPv6.
    pub fn defaults() -> Vec<ListenerConfig> {
        let local = |host: &str, optional| {
            let address = ListenAddress { scheme: Scheme::Tcp, host: host.to_owned(), port: 1883 };
            ListenerConfig::plain(address, optional)
        };
        vec![local("127.0.0.1", false), local("::1", true)]
    }
}

impl ListenerConfig {
    /// In place of the path of a WebSocket: any.
    pub(crate) const ANY_PATH: &str = "*";

    /// By default: within TLS they take some 72 MiB of memory.
    pub(super) const HANDSHAKES_MAX: u32 = 8192;

    /// By default: what browsers send, cookies of their site included.
    pub(super) const REQUEST_BYTES_MAX: u32 = 8192;

    /// A listener without anything of its own.
    pub fn plain(address: ListenAddress, optional: bool) -> ListenerConfig {
        let name = address.to_string();
        let terms = ListenerTable {
            name: Some(name.clone()),
            address: Some(address.clone()),
            optional,
            ..ListenerTable::default()
        };
        ListenerConfig { name, address, certificates: Vec::new(), clients: None, terms }
    }
}

/// What a listener asks of its clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The certificates of those who issue them, in PEM.
    pub issuers: PathBuf,
    /// Lists of those that the issuers have revoked, in PEM.
    pub revoked: Option<PathBuf>,
    /// Whether clients without one are let in as far as their packets.
    pub optional: bool,
}

/// Which name in a client's certificate is the user it proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateUser {
    /// None: the user has to be proved otherwise.
    None,
    /// The common name of its subject.
    #[default]
    CommonName,
    /// The first of its alternative names.
    AlternativeName,
}

impl CertificateUser {
    pub(super) const WORDS: &[(&str, CertificateUser)] = &[
        ("common-name", CertificateUser::CommonName),
        ("alternative-name", CertificateUser::AlternativeName),
        ("none", CertificateUser::None),
    ];
}

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket within TLS.
    Wss,
    /// Any of them: the first bytes decide.
    Mux,
    /// A socket in the file system: programs of this machine alone.
    Unix,
}

impl Scheme {
    /// Those of the network.
    const ALL: [Scheme; 5] = [Scheme::Tcp, Scheme::Tls, Scheme::Ws, Scheme::Wss, Scheme::Mux];

    /// As it stands before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Mux => "mux",
            Scheme::Unix => "unix",
        }
    }

    /// As an address begins with it.
    pub(super) fn prefix(self) -> String {
        let slashes = if self == Scheme::Unix { "" } else { "//" };
        format!("{}:{slashes}", self.name())
    }

    /// Whether a certificate is of use.
    pub fn may_have_tls(self) -> bool {
        self.has_tls() || self == Scheme::Mux
    }

    /// Whether it needs a certificate.
    pub fn has_tls(self) -> bool {
        matches!(self, Scheme::Tls | Scheme::Wss)
    }

    /// Whether web pages can use it.
    pub fn has_web_socket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss | Scheme::Mux)
    }
}

/// `tcp://HOST:PORT`, or another scheme of the network in front; or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenAddress {
    /// What carries MQTT there.
    pub scheme: Scheme,
    /// An address or a name that is looked up when the broker starts, without brackets; the path
    /// of a socket in the file system.
    pub host: String,
    /// 0 lets the kernel choose; the chosen one is logged.
    pub port: u16,
}

impl ListenAddress {
    /// The path of a socket in the file system, if it is one.
    pub fn path(&self) -> Option<&Path> {
        (self.scheme == Scheme::Unix).then(|| Path::new(&self.host))
    }

    /// The socket addresses of the network it stands for; asks the resolver for a name, so not for a shard.
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
        let scheme = self.scheme.name();
        if self.scheme == Scheme::Unix {
            write!(f, "unix:{}", self.host)
        } else if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no [`ListenAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddressError {
    /// Nothing in front that MQTT is carried by.
    Scheme,
    /// No host, or one no name or address can look like.
    Host,
    /// No port, or not a number from 0 to 65535.
    Port,
    /// An IPv6 address without its brackets.
    Brackets,
    /// No path that the kernel takes.
    Path,
}

impl fmt::Display for ListenAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListenAddressError::Scheme => {
                "begin it with tcp://, tls://, ws://, wss://, mux:// or unix:"
            }
            ListenAddressError::Host => "the host is a name or an address, such as 0.0.0.0 or [::]",
            ListenAddressError::Port => "the port is a number from 0 to 65535",
            ListenAddressError::Path => "the path of a socket has 1 to 107 bytes",
            ListenAddressError::Brackets => "an IPv6 address stands in brackets, such as [::1]",
        })
    }
}

impl std::error::Error for ListenAddressError {}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // What sun_path holds.
            let fits = (1..=107).contains(&path.len()) && !path.contains('\0');
            let (scheme, host, port) = (Scheme::Unix, path.to_owned(), 0);
            let address = ListenAddress { scheme, host, port };
            return if fits { Ok(address) } else { Err(ListenAddressError::Path) };
        }
        let (scheme, rest) = text.split_once("://").ok_or(ListenAddressError::Scheme)?;
        let scheme = Scheme::ALL.into_iter().find(|known| known.name() == scheme);
        let scheme = scheme.ok_or(ListenAddressError::Scheme)?;
        let (host, port) = rest.rsplit_once(':').ok_or(ListenAddressError::Port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => bracketed(rest)?,
            None => named(host)?,
        };
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ListenAddressError::Port);
        }
        let port = port.parse().map_err(|_| ListenAddressError::Port)?;
        Ok(ListenAddress { scheme, host: host.to_owned(), port })
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

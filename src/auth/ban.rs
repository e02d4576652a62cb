//! Whom a ban is about.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::config::Network;

/// Who is kept out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Banned {
    /// Whoever comes from there.
    Network(Network),
    /// Whoever proves to be this user.
    User(Box<str>),
    /// Whoever comes by this client id.
    ClientId(Box<str>),
}

impl Banned {
    /// Whether a client is meant. Programs of this machine, a proxy among them, are never meant by
    /// their address.
    pub fn means(&self, client_id: &str, user: Option<&str>, address: IpAddr) -> bool {
        match self {
            Banned::Network(network) => {
                network.contains(address) && !address.to_canonical().is_loopback()
            }
            Banned::User(banned) => user == Some(&**banned),
            Banned::ClientId(banned) => **banned == *client_id,
        }
    }

    /// What it is by: `address`, `user` or `client_id`.
    pub fn kind(&self) -> &'static str {
        match self {
            Banned::Network(_) => "address",
            Banned::User(_) => "user",
            Banned::ClientId(_) => "client_id",
        }
    }

    /// Its name, or the network.
    pub fn name(&self) -> String {
        match self {
            Banned::Network(network) if network.address().is_ipv4() && network.bits() == 32 => {
                network.address().to_string()
            }
            Banned::Network(network) => network.to_string(),
            Banned::User(name) | Banned::ClientId(name) => name.to_string(),
        }
    }

    /// A ban by its kind and name; nothing if there is no such kind or network. A single address
    /// of IPv6 stands for its network of 64 bits, as one machine has all of it.
    pub fn new(kind: &str, name: &str) -> Option<Banned> {
        Some(match kind {
            "address" => match name.parse::<IpAddr>() {
                Ok(address) => Banned::address(address),
                Err(_) => {
                    let network: Network = name.parse().ok()?;
                    let (address, bits) = (network.address(), network.bits());
                    // IPv4 written as IPv6 is IPv4.
                    let (address, bits) = match address.to_canonical() {
                        IpAddr::V4(v4) if address.is_ipv6() => (v4.into(), bits.checked_sub(96)?),
                        address => (address, bits),
                    };
                    Banned::Network(Network::around(address, bits))
                }
            },
            "user" if !name.is_empty() => Banned::User(name.into()),
            "client_id" if !name.is_empty() => Banned::ClientId(name.into()),
            _ => return None,
        })
    }

    /// An address, of IPv6 with its network of 64 bits.
    pub fn address(address: IpAddr) -> Banned {
        let address = address.to_canonical();
        let bits = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(address) if address.is_loopback() => 128,
            IpAddr::V6(_) => 64,
        };
        Banned::Network(Network::around(address, bits))
    }
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// What counts as one address: an IPv6 address with its network of 64 bits, as one machine has all
/// of it.
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

//! Listening sockets: one a shard and address, so that the kernel spreads the clients.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::gate::Pause;
use crate::config::ListenerConfig;
use crate::shard::Listener;
use crate::sys::{interface_mend, patiently};

/// Connections the kernel keeps ready to be accepted; `net.core.somaxconn` lowers it.
const BACKLOG: i32 = 4096;

/// Why the broker cannot listen.
#[derive(Debug)]
pub struct ListenError {
    name: String,
    address: Option<SocketAddr>,
    interface: Option<String>,
    source: io::Error,
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listener {}", self.name)?;
        if let Some(address) = self.address {
            write!(f, " on {address}")?;
        }
        write!(f, ": {}", self.source)?;
        if let Some(mend) =
            self.interface.as_deref().and_then(|it| interface_mend(it, &self.source))
        {
            return write!(f, "; {mend}");
        }
        match (self.source.kind(), self.address) {
            (io::ErrorKind::AddrInUse, Some(address)) => write!(
                f,
                "; find who listens there with `ss -ltnp 'sport = :{}'`, or choose another port \
                 with --listen",
                address.port()
            ),
            (io::ErrorKind::PermissionDenied, Some(address)) if address.port() < 1024 => write!(
                f,
                "; ports below 1024 need the capability CAP_NET_BIND_SERVICE: \
                 `setcap cap_net_bind_service=+ep $(command -v hawker)`"
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {}

/// A listening socket of one shard.
pub(super) struct Listening {
    pub(super) socket: OwnedFd,
    pub(super) listener: Listener,
    /// Of clients that have none: those of a socket in the file system.
    pub(super) peer: Option<SocketAddr>,
    /// What logs call it.
    pub(super) name: Arc<str>,
    /// Accepts that are with the kernel.
    pub(super) accepts: usize,
    /// Why there are none.
    pub(super) pause: Option<Pause>,
}

impl Listening {
    fn new(config: &ListenerConfig, socket: OwnedFd, listener: Listener) -> Listening {
        let name = config.name.as_str().into();
        Listening { socket, listener, peer: None, name, accepts: 0, pause: None }
    }
}

/// Where clients can connect.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Position in the configuration.
    pub(super) listener: usize,
    /// As it was asked for, with the port that the kernel chose.
    pub(super) name: String,
    /// Of the network.
    pub(super) address: Option<SocketAddr>,
}

/// Opens every listener for every shard: a list a shard.
pub(super) fn open(
    configs: &[ListenerConfig],
    shards: usize,
) -> Result<(Vec<Vec<Listening>>, Vec<Bound>), ListenError> {
    let mut by_shard: Vec<Vec<Listening>> = (0..shards).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        match open_one(config, index, &mut by_shard) {
            Ok(places) => bound.extend(places),
            Err(error) if config.terms.optional && is_missing(&error.source) => {
                tracing::info!("{error}; skipped, as it is optional");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((by_shard, bound))
}

fn open_one(
    config: &ListenerConfig,
    index: usize,
    by_shard: &mut [Vec<Listening>],
) -> Result<Vec<Bound>, ListenError> {
    let interface = &config.terms.bind_interface;
    let error = |address, source| {
        let (name, interface) = (config.name.clone(), interface.clone());
        ListenError { name, address, interface, source }
    };
    if let Some(path) = config.address.path() {
        let listener = Listener { index: index as u16, loopback: true };
        open_path(path, config, listener, by_shard).map_err(|source| error(None, source))?;
        return Ok(vec![Bound {
            listener: index,
            name: config.address.to_string(),
            address: None,
        }]);
    }
    let resolved = config.address.resolve().map_err(|source| error(None, source))?;
    let mut bound = Vec::new();
    for address in resolved {
        let sockets = bind_all(address, interface.as_deref(), by_shard.len())
            .map_err(|source| error(Some(address), source))?;
        let loopback = address.ip().is_loopback();
        let listener = Listener { index: index as u16, loopback };
        for (shard, socket) in sockets.into_iter().enumerate() {
            if shard == 0 {
                let address = socket.local_addr().map_err(|source| error(Some(address), source))?;
                let name = format!("{}://{address}", config.address.scheme.name());
                bound.push(Bound { listener: index, name, address: Some(address) });
            }
            by_shard[shard].push(Listening::new(config, socket.into(), listener));
        }
    }
    Ok(bound)
}

/// One socket in the file system, which every shard accepts from.
fn open_path(
    path: &Path,
    config: &ListenerConfig,
    listener: Listener,
    by_shard: &mut [Vec<Listening>],
) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    patiently(|| {
        // What an earlier broker left is in the way, unless somebody listens there. Any other file is
        // somebody's, and connecting to it is refused, too.
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(path)?;
        }
        socket.bind(&address)
    })?;
    socket.listen(BACKLOG)?;
    for listening in by_shard {
        let socket = OwnedFd::from(socket.try_clone()?);
        let peer = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        listening.push(Listening { peer, ..Listening::new(config, socket, listener) });
    }
    Ok(())
}

/// Whether this machine lacks the address or the interface, rather than somebody else holding it.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::ENODEV))
}

fn bind_all(
    address: SocketAddr,
    interface: Option<&str>,
    count: usize,
) -> io::Result<Vec<TcpListener>> {
    // Sockets that share a port would share it with another broker of the same user, too: a
    // socket that does not share finds out.
    patiently(|| bind(address, interface, false))?;
    let first = bind(address, interface, true)?;
    let address = first.local_addr()?.as_socket().expect("an internet socket");
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, interface, true)?);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

fn bind(address: SocketAddr, interface: Option<&str>, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it: small packets are not held back.
    socket.set_tcp_nodelay(true)?;
    // Before the address: it is what tells two that share one apart.
    socket.bind_device(interface.map(str::as_bytes))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_comes_free_is_waited_for() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = holder.local_addr().expect("it is bound");
        let mut holder = Some(holder);
        let bound = patiently(|| {
            let outcome = bind(address, None, false);
            assert_eq!(outcome.is_err(), holder.take().is_some(), "in use while it is held");
            outcome
        });
        bound.expect("it is free at the second attempt");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = std::env::temp_dir().join(format!("hawker-no-socket-{}", std::process::id()));
        std::fs::write(&path, "somebody's").expect("a folder that can be written");
        let address = format!("unix:{}", path.display()).parse().expect("an address");
        let refused = open(&[ListenerConfig::plain(address, false)], 1).map(|(_, bound)| bound);
        let refused = refused.expect_err("something is in the way");
        assert_eq!(refused.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "somebody's");
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_port_that_stays_taken_is_given_up() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = holder.local_addr().expect("it is bound");
        let refused = bind_all(address, None, 2).expect_err("somebody listens there");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}

//! What the service manager is told: that the broker is ready, reloads, stops, and is alive.
//!
//! The protocol is that of sd_notify(3): a datagram of `KEY=VALUE` lines to the socket that
//! `NOTIFY_SOCKET` names. A broker that nobody manages has no such socket and tells nobody.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a manager that does not read its socket may hold up who tells it something.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Whoever started this process and wants to know how it is.
///
/// What cannot be told is no reason to stop serving clients: it is logged once and forgotten.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    is_stopping: AtomicBool,
    has_failed: AtomicBool,
}

impl ServiceManager {
    /// The one that the environment names, if any.
    pub fn from_environment() -> ServiceManager {
        let manager = ServiceManager {
            socket: None,
            watchdog: watchdog(
                env::var("WATCHDOG_USEC").ok().as_deref(),
                env::var("WATCHDOG_PID").ok().as_deref(),
                std::process::id(),
            ),
            is_stopping: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        };
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return manager;
        };
        match connect(&name) {
            Ok(socket) => ServiceManager { socket: Some(socket), ..manager },
            Err(error) => {
                manager.warn(&error);
                manager
            }
        }
    }

    /// How often it wants to hear [`alive`](Self::alive), at the latest; `None` for never.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    /// Clients are let in, or the configuration was read again.
    pub fn ready(&self) {
        self.tell("READY=1\n");
    }

    /// The configuration is read again from now on, `monotonic_micros` of `CLOCK_MONOTONIC`.
    pub fn reloading(&self, monotonic_micros: u64) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_micros}\n"));
    }

    /// The broker says goodbye to its clients.
    pub fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.tell("STOPPING=1\n");
    }

    /// Whether it was told of a stop.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Every shard takes its turns.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            self.warn(&error);
        }
    }

    fn warn(&self, error: &io::Error) {
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!("the service manager cannot be told how the broker is: {error}");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address(name)?)?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

/// A path, or behind an `@` a name that is in no file system.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("NOTIFY_SOCKET is {name:?}, neither a path nor an abstract name"),
        )),
    }
}

/// What `WATCHDOG_USEC` says, if it is meant for this process.
fn watchdog(micros: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let micros = micros?.parse().ok().filter(|&micros| micros > 0 && is_ours)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_path_or_an_abstract_name() {
        let path = address(OsStr::new("/run/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some("/run/notify".as_ref()));
        let name = address(OsStr::new("@hawker/notify")).expect("an abstract name");
        assert_eq!(name.as_abstract_name(), Some(b"hawker/notify".as_slice()));
        assert!(address(OsStr::new("vsock:2:1234")).is_err());
    }

    #[test]
    fn a_watchdog_waits_for_the_process_it_names() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("8"), 7), None);
        assert_eq!(watchdog(Some("0"), None, 7), None);
        assert_eq!(watchdog(Some("soon"), None, 7), None);
        assert_eq!(watchdog(None, Some("7"), 7), None);
    }
}

//! The kernel's queues for new connections, and whether the listeners can be had.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Finding, kernel_file};
use crate::config::ListenerConfig;

/// Connections that wait to be accepted; the kernel's own default since 5.4.
const ACCEPT_QUEUE_WANTED: u32 = 4096;
/// Connections in the middle of their handshake.
const HANDSHAKE_QUEUE_WANTED: u32 = 1024;

pub(super) fn accept_queue() -> Finding {
    let size = kernel_file("/proc/sys/net/core/somaxconn");
    judge_queue("backlog", "net.core.somaxconn", size.as_deref(), ACCEPT_QUEUE_WANTED)
}

pub(super) fn handshake_queue() -> Finding {
    let size = kernel_file("/proc/sys/net/ipv4/tcp_max_syn_backlog");
    judge_queue("backlog", "net.ipv4.tcp_max_syn_backlog", size.as_deref(), HANDSHAKE_QUEUE_WANTED)
}

fn judge_queue(subject: &'static str, key: &str, size: Option<&str>, wanted: u32) -> Finding {
    let mend = format!("sudo sysctl -w {key}={wanted}; docker run --sysctl {key}={wanted}");
    match size.and_then(|size| size.parse::<u32>().ok()) {
        Some(size) if size >= wanted => Finding::ok(subject, format!("{key} is {size}")),
        Some(size) => {
            let what = format!("{key} is {size}: where many clients return at once, some wait");
            Finding::warning(subject, what, mend)
        }
        // Network namespaces of old kernels hide it; what is hidden cannot be mended from here.
        None => Finding::ok(subject, format!("{key} cannot be read here")),
    }
}

pub(super) fn listeners(listeners: &[ListenerConfig]) -> Vec<Finding> {
    listeners.iter().map(listener).collect()
}

fn listener(listener: &ListenerConfig) -> Finding {
    if let Some(folder) = listener.address.path().map(|path| path.parent().unwrap_or(path)) {
        let exists = folder.as_os_str().is_empty() || folder.is_dir();
        let missing = io::Error::new(ErrorKind::NotFound, "there is no such folder");
        return judge_listener(listener, (!exists).then_some(missing).as_ref());
    }
    let interface = listener.terms.bind_interface.as_deref();
    let outcome = listener.address.resolve().and_then(|addresses| match addresses.is_empty() {
        true => Err(io::Error::new(ErrorKind::NotFound, "no address of that name")),
        false => addresses
            .into_iter()
            .try_for_each(|address| patiently(|| try_to_bind(address, interface))),
    });
    judge_listener(listener, outcome.err().as_ref())
}

/// What to do about an interface that a socket cannot be bound to, if that is what is wrong.
pub(crate) fn interface_mend(interface: &str, error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::ENODEV => {
            Some(format!("this machine has no interface {interface}: `ip link` shows those it has"))
        }
        libc::EPERM => Some(format!(
            "to take the packets of {interface} alone the broker needs the capability CAP_NET_RAW: \
             AmbientCapabilities of its service, --cap-add of its container"
        )),
        _ => None,
    }
}

/// Binds an address that may be in use for a moment yet: the kernel takes a broker's ring apart after
/// its process is gone, and lets go of the sockets in it only then.
pub(crate) fn patiently<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const ATTEMPTS: usize = 20;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 1..ATTEMPTS {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    bind()
}

/// Binds and lets go, without listening: no client can come to us by mistake.
fn try_to_bind(address: SocketAddr, interface: Option<&str>) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind_device(interface.map(str::as_bytes))?;
    socket.bind(&address.into())
}

fn judge_listener(listener: &ListenerConfig, error: Option<&io::Error>) -> Finding {
    const SUBJECT: &str = "listener";
    let address = &listener.address;
    let Some(error) = error else { return Finding::ok(SUBJECT, format!("{address} can be had")) };
    let port = address.port;
    if let Some(mend) =
        listener.terms.bind_interface.as_deref().and_then(|it| interface_mend(it, error))
    {
        return match listener.terms.optional {
            true => Finding::ok(SUBJECT, format!("{address} is skipped, as it may be: {error}")),
            false => Finding::problem(SUBJECT, format!("{address} cannot be had: {error}"), mend),
        };
    }
    match error.kind() {
        // The broker itself may be the one who runs; two of them is what the data folder prevents.
        ErrorKind::AddrInUse => Finding::warning(
            SUBJECT,
            format!("{address} is in use, by a running broker or by another program"),
            format!("sudo ss -ltnp sport = :{port} shows who; stop it, or choose another port"),
        ),
        ErrorKind::PermissionDenied => Finding::problem(
            SUBJECT,
            format!("{address}: ports this low are for the privileged"),
            format!("sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}"),
        ),
        _ if listener.terms.optional => {
            Finding::ok(SUBJECT, format!("{address} is skipped, as it may be: {error}"))
        }
        _ if let Some(path) = address.path() => Finding::problem(
            SUBJECT,
            format!("{address} cannot be had: {error}"),
            format!(
                "the folder of {} has to be there, and the broker's user may write in it",
                path.display()
            ),
        ),
        _ if address.host.parse::<IpAddr>().is_err() => Finding::problem(
            SUBJECT,
            format!("{address} cannot be had: {error}"),
            format!("getent ahosts {} shows what the name stands for", address.host),
        ),
        _ => Finding::problem(
            SUBJECT,
            format!("{address} cannot be had: {error}"),
            "ip address shows what this machine has; listen on one of these, or set optional = \
             true for this listener"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn a_short_queue_is_worth_a_warning() {
        let judge = |size| judge_queue("backlog", "net.core.somaxconn", size, 4096);
        assert_eq!(judge(Some("4096")).verdict, Verdict::Ok);
        assert_eq!(judge(None).verdict, Verdict::Ok);
        let short = judge(Some("128"));
        assert_eq!(short.verdict, Verdict::Warning);
        assert!(short.mend.expect("a remedy").contains("sudo sysctl -w net.core.somaxconn=4096"));
    }

    #[test]
    fn only_what_would_stop_the_broker_is_a_problem() {
        let verdict = |optional, kind: ErrorKind| {
            let address = "tcp://[::1]:80".parse().expect("an address");
            let listener = ListenerConfig::plain(address, optional);
            judge_listener(&listener, Some(&io::Error::from(kind))).verdict
        };
        assert_eq!(verdict(false, ErrorKind::AddrInUse), Verdict::Warning);
        assert_eq!(verdict(true, ErrorKind::PermissionDenied), Verdict::Problem);
        assert_eq!(verdict(true, ErrorKind::AddrNotAvailable), Verdict::Ok);
        assert_eq!(verdict(false, ErrorKind::AddrNotAvailable), Verdict::Problem);
    }

    #[test]
    fn an_interface_that_cannot_be_had_is_named_with_what_to_do() {
        let judge = |error| {
            let address = "tcp://0.0.0.0:1".parse().expect("an address");
            let mut listener = ListenerConfig::plain(address, false);
            listener.terms.bind_interface = Some("eth7".to_owned());
            judge_listener(&listener, Some(&io::Error::from_raw_os_error(error)))
        };
        for (error, mend) in [(libc::ENODEV, "`ip link`"), (libc::EPERM, "CAP_NET_RAW")] {
            let finding = judge(error);
            assert_eq!(finding.verdict, Verdict::Problem);
            let said = finding.mend.expect("a remedy");
            assert!(said.contains("eth7") && said.contains(mend), "{said}");
        }
    }

    #[test]
    fn a_port_that_an_ended_broker_has_for_a_moment_yet_can_be_had() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("it is bound").port();
        let address = format!("tcp://127.0.0.1:{port}").parse().expect("an address");
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(taken);
        });
        let finding = listener(&ListenerConfig::plain(address, false));
        ending.join().expect("it ends");
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }

    #[test]
    fn a_port_that_is_listened_on_is_seen_as_taken() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("it is bound");
        let error = try_to_bind(address, None).expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }
}

//! Listeners with TLS and WebSocket: who comes to the wrong one, who dawdles, how certificates
//! change. What is spoken behind them is driven by real clients in `clients`.

mod crowd;
mod hosts;
mod revoked;
#[path = "../support/mod.rs"]
mod support;
mod terms;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use support::{Setup, certificate};

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// What comes until the connection ends, however it does.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// What a broker that listens by `scheme` answers to bytes, and what it says of them.
fn stray(scheme: &'static str, bytes: &[u8], said: &str) -> String {
    let broker = Setup::shards(1).scheme(scheme).start();
    let mut stream = broker.connect();
    stream.write_all(bytes).expect("the broker accepts");
    let answer = rest(&mut stream);
    broker.await_log(said);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_comes_to_the_wrong_port_is_named_in_the_log() {
    const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const TLS: &[u8] = &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3];
    let answer = stray("tcp", HTTP, "an HTTP client at a port for MQTT");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks MQTT"), "{answer}");
    assert_eq!(stray("tcp", TLS, "a TLS client at a port without TLS"), "");
    let answer = stray("tls", HTTP, "an HTTP client without TLS");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss"), "{answer}");
    assert_eq!(stray("tls", CONNECT, "an MQTT client without TLS"), "");
    assert_eq!(stray("ws", CONNECT, "an MQTT client without WebSocket"), "");
    assert_eq!(stray("tcp", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "not of proxy_from"), "");
    let post = HTTP.strip_prefix(b"GET").expect("it begins so");
    let answer = stray("mux", &[b"POST", post].concat(), "an HTTP client at a port for MQTT");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = stray("ws", HTTP, "a WebSocket at the path");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
fn who_speaks_http_within_tls_is_told_so_within_it() {
    let broker = Setup::shards(1).scheme("tls").start();
    let name = ServerName::from(broker.address().ip());
    let connection = ClientConnection::new(client(&[&certificate()]), name).expect("a good name");
    let mut stream = StreamOwned::new(connection, broker.connect());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the broker reads");
    let answer = rest(&mut stream);
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    broker.await_log("an HTTP client at a port for MQTT");
}

#[test]
fn who_says_too_little_at_a_door_is_let_go() {
    for scheme in ["tls", "ws", "wss"] {
        let config = "[mqtt]\nconnect_timeout_ms = 300\n";
        let broker = Setup::shards(1).scheme(scheme).config(config).start();
        let mut stream = broker.connect();
        let half: &[u8] = if scheme == "ws" { b"GET /mqtt HTT" } else { &[0x16, 3, 1, 1] };
        stream.write_all(half).expect("the broker accepts");
        assert_eq!(rest(&mut stream), b"", "{scheme}");
    }
}

fn client(certificates: &[&Path]) -> Arc<ClientConfig> {
    client_showing(certificates, None)
}

/// A client that shows the certificate of this name below `support/tls`, if any.
fn client_showing(certificates: &[&Path], own: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for file in certificates {
        roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_root_certificates(roots);
    let Some(own) = own else { return Arc::new(config.with_no_client_auth()) };
    let file = |name: String| certificate().with_file_name(name);
    let shown = CertificateDer::from_pem_file(file(format!("{own}.pem"))).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file(format!("{own}-key.pem"))).expect("a key");
    Arc::new(config.with_client_auth_cert(vec![shown], key).expect("they belong together"))
}

/// An MQTT client by TLS, let in.
fn connected(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsStream {
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a good name");
    let stream = TcpStream::connect(address).expect("the broker accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket takes options");
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(CONNECT).expect("the broker reads");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a CONNACK");
    assert_eq!(head[0], 0x20);
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).expect("a whole CONNACK");
    stream
}

fn shown(stream: &TlsStream) -> Vec<u8> {
    stream.conn.peer_certificates().expect("it was shown")[0].to_vec()
}

fn is_alive(stream: &mut TlsStream) -> bool {
    let mut answer = [0; 2];
    stream.write_all(&[0xC0, 0]).is_ok() && stream.read_exact(&mut answer).is_ok()
}

#[test]
fn a_certificate_changes_without_ending_connections() {
    let own = certificate();
    let other = own.with_file_name("other-certificate.pem");
    let der = |file: &Path| CertificateDer::from_pem_file(file).expect("a certificate").to_vec();
    let broker = Setup::shards(2)
        .own_listeners()
        .config(
            "[tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n\
             [[listeners]]\naddress = 'tls://127.0.0.1:0'\n",
        )
        .file("certificate.pem", &own)
        .file("key.pem", &own.with_file_name("key.pem"))
        .start();
    let config = client(&[&own, &other]);
    let mut first = connected(broker.address(), &config);
    assert_eq!(shown(&first), der(&own));

    // A key without its certificate is refused, and nothing changes.
    let put = |from: &Path, to: &str, mode| {
        let to = broker.directory().join(to);
        std::fs::copy(from, &to).expect("the directory is writable");
        support::permit(&to, mode);
    };
    put(&own.with_file_name("other-key.pem"), "key.pem", 0o640);
    broker.signal("HUP");
    broker.await_log("certificate and key do not fit");
    assert_eq!(shown(&connected(broker.address(), &config)), der(&own));

    // Nor is one that everybody can read.
    put(&own.with_file_name("other-key.pem"), "key.pem", 0o644);
    broker.signal("HUP");
    broker.await_log("key.pem: everybody on this machine can read it; `chmod o-rwx key.pem`");

    put(&own.with_file_name("other-key.pem"), "key.pem", 0o640);
    put(&other, "certificate.pem", 0o644);
    broker.signal("HUP");
    broker.await_log("configuration reloaded");
    let deadline = Instant::now() + Duration::from_secs(30);
    while shown(&connected(broker.address(), &client(&[&own, &other]))) != der(&other) {
        assert!(Instant::now() < deadline, "the new certificate is never shown");
    }
    assert!(is_alive(&mut first), "the first connection goes on");
}

/// A broker that asks for certificates of `clients.pem`, where nobody is let in without a user and
/// users have a place of their own.
fn asking(listener: &str) -> support::Broker {
    Setup::shards(4)
        .own_listeners()
        .config(&format!(
            "[tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n\
             [mqtt]\nanonymous_allowed = false\n\
             [[auth.rules]]\nsubscribe = ['user/%u', 'name/%{{cert.cn}}']\n\
             [[listeners]]\naddress = 'tls://127.0.0.1:0'\nclient_ca = 'clients.pem'\n{listener}"
        ))
        .file("certificate.pem", &certificate())
        .file("key.pem", &certificate().with_file_name("key.pem"))
        .file("clients.pem", &certificate().with_file_name("clients.pem"))
        .start()
}

/// What a client is answered to CONNECT and to SUBSCRIBE for each filter: reason codes; nothing
/// if it comes no further than TLS.
fn answers(address: SocketAddr, config: &Arc<ClientConfig>, filters: &[&str]) -> Vec<u8> {
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a good name");
    let stream = TcpStream::connect(address).expect("the broker accepts");
    let mut stream = StreamOwned::new(connection, stream);
    let mut packets = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05phone".to_vec();
    let asked = filters
        .iter()
        .flat_map(|filter| [&[0, filter.len() as u8], filter.as_bytes(), &[0]].concat());
    let asked: Vec<u8> = asked.collect();
    packets.extend([&[0x82, asked.len() as u8 + 2, 0, 1], &asked[..]].concat());
    // Who is refused within TLS may hear so before everything is said.
    let _ = stream.write_all(&packets);
    let (mut connack, mut suback) = ([0; 4], vec![0; 4 + filters.len()]);
    if stream.read_exact(&mut connack).is_err() {
        return Vec::new();
    }
    match stream.read_exact(&mut suback) {
        Ok(()) => [&connack[3..], &suback[4..]].concat(),
        Err(_) => vec![connack[3]],
    }
}

#[test]
fn a_certificate_says_who_a_client_is() {
    let own = certificate();
    let with = |name| client_showing(&[&own], name);
    let filters = ["user/ann", "name/ann", "user/phone.ann.example", "user/bob"];
    let broker = asking("");
    let ann = with(Some("client-ann"));
    // Also by a ticket, and whichever shard takes the connection.
    for _ in 0..16 {
        assert_eq!(answers(broker.address(), &ann, &filters), [0, 0, 0, 0x80, 0x80]);
    }
    for refused in [None, Some("client-stranger")] {
        assert_eq!(answers(broker.address(), &with(refused), &filters), [], "{refused:?}");
    }
    broker.await_log("TLS: invalid peer certificate");

    let broker = asking("client_certificate_optional = true\nclient_user = 'alternative-name'\n");
    assert_eq!(answers(broker.address(), &ann, &filters), [0, 0x80, 0, 0, 0x80]);
    assert_eq!(answers(broker.address(), &with(None), &filters), [5], "it proves nobody");
    assert_eq!(answers(broker.address(), &with(Some("client-stranger")), &filters), []);

    let broker = asking("client_user = 'none'\n");
    assert_eq!(answers(broker.address(), &ann, &filters), [5], "it was not to prove anybody");
}

/// What is said of a configuration that is refused.
fn refused(toml: &str) -> String {
    let directory = support::Directory::new();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hawker"))
        .arg("check-config")
        .arg(directory.write("hawker.toml", toml))
        .current_dir(directory.path())
        .output()
        .expect("the broker's binary can be started");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_key_that_everybody_can_read_is_refused() {
    let own = certificate();
    let directory = support::Directory::new();
    let key = directory.copy(&own.with_file_name("key.pem"), "key.pem");
    let files = format!("certificate = '{}'\nkey = '{}'\n", own.display(), key.display());
    let listener = "[[listeners]]\naddress = 'tls://127.0.0.1:0'\n";
    for mode in [0o604, 0o644] {
        support::permit(&key, mode);
        for config in [format!("[tls]\n{files}{listener}"), format!("{listener}{files}")] {
            let said = refused(&config);
            assert!(said.contains("key.pem: everybody on this machine can read it"), "{said}");
            let place = match config.starts_with("[tls]") {
                true => "hawker.toml:3: tls.key: ",
                false => "hawker.toml:4: listeners[0].key: ",
            };
            assert!(said.contains(place), "{said}");
        }
    }
}

#[test]
fn issuers_that_are_none_are_named() {
    let own = certificate();
    let directory = support::Directory::new();
    let key = directory.copy(&own.with_file_name("key.pem"), "key.pem");
    let config = format!(
        "[tls]\ncertificate = '{}'\nkey = '{}'\n[[listeners]]\naddress = 'tls://127.0.0.1:0'\n\
         client_ca = '{}'\n",
        own.display(),
        key.display(),
        key.display()
    );
    assert!(refused(&config).contains("key.pem: no issuers of certificates"));
    let plain = config.replace("tls://", "tcp://");
    assert!(refused(&plain).contains("clients show certificates within TLS alone"));
    let idle = config.replace("client_ca = ", "client_user = 'none' # ");
    assert!(refused(&idle).contains("no certificate is asked for"));
}

#[test]
fn listeners_stay_as_they_are_until_a_restart() {
    let tls = "[tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n";
    let listener =
        |name| format!("[[listeners]]\nname = '{name}'\naddress = 'tcp://127.0.0.1:0'\n");
    let encrypted = "[[listeners]]\nname = 'wan'\naddress = 'tls://127.0.0.1:0'\n";
    let own = certificate();
    let broker = Setup::shards(2)
        .own_listeners()
        .config(&format!("{tls}{encrypted}{}", listener("lan")))
        .file("certificate.pem", &own)
        .file("key.pem", &own.with_file_name("key.pem"))
        .start();
    let config = client(&[&own]);
    let reload = |text: &str, said: &str| {
        std::fs::write(broker.directory().join("hawker.toml"), text).expect("it is writable");
        broker.signal("HUP");
        broker.await_log(said);
        assert!(is_alive(&mut connected(broker.address(), &config)));
    };
    // Without the certificates it would be a listener without TLS.
    reload(&listener("lan"), "wan is left without a certificate");
    // Fewer listeners, twice: the first is still the first.
    let fewer = format!("{tls}{}", listener("lan"));
    reload(&fewer, "configuration reloaded");
    reload(&format!("{fewer}[storage]\nsync_interval_ms = 77\n"), "sync_interval_ms");
    for _ in 0..8 {
        assert!(is_alive(&mut connected(broker.address(), &config)));
    }
}

#[test]
fn a_session_is_resumed_on_every_shard() {
    let broker = Setup::shards(4).scheme("tls").start();
    let config = client(&[&certificate()]);
    let kinds: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = connected(broker.address(), &config);
            assert!(is_alive(&mut stream));
            stream.conn.handshake_kind()
        })
        .collect();
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    let resumed = kinds[1..].iter().filter(|kind| **kind == Some(HandshakeKind::Resumed)).count();
    assert_eq!(resumed, 15, "{kinds:?}");
}

#[test]
fn a_broker_without_its_certificate_does_not_start() {
    let listener = "[[listeners]]\naddress = 'tls://127.0.0.1:0'\n";
    assert!(refused(listener).contains("TLS needs a certificate"));
    let missing = refused(&format!("[tls]\ncertificate = 'a.pem'\nkey = 'b.pem'\n{listener}"));
    assert!(missing.contains("a.pem: cannot be read"), "{missing}");
}

/// Whether MQTT is answered by MQTT.
fn is_let_in(stream: &mut (impl Read + Write)) -> bool {
    let mut head = [0; 2];
    stream.write_all(CONNECT).is_ok() && stream.read_exact(&mut head).is_ok() && head[0] == 0x20
}

/// Asks for a WebSocket, and sends a CONNECT in a frame behind the answer.
fn is_let_in_by_web(stream: &mut (impl Read + Write)) -> bool {
    const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    let frame = [&[0x82, 0x80 | CONNECT.len() as u8, 0, 0, 0, 0], CONNECT].concat();
    stream.write_all(&[REQUEST, &frame].concat()).expect("the broker reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).expect("a frame");
    answer.starts_with(b"HTTP/1.1 101 ") && head[0] == 0x82 && head[2] == 0x20
}

#[test]
fn one_port_takes_all() {
    let broker = Setup::shards(2).scheme("mux").start();
    let tls = || connected(broker.address(), &client(&[&certificate()]));
    assert!(is_let_in(&mut broker.connect()));
    assert!(is_let_in_by_web(&mut broker.connect()));
    assert!(is_alive(&mut tls()));
    let config = client(&[&certificate()]);
    let name = ServerName::from(broker.address().ip());
    let connection = ClientConnection::new(config, name).expect("a good name");
    assert!(is_let_in_by_web(&mut StreamOwned::new(connection, broker.connect())));
    let mut noise = broker.connect();
    noise.write_all(b"\xFFnoise").expect("the broker accepts");
    assert_eq!(rest(&mut noise), b"");
}

#[test]
fn a_proxy_says_whose_connection_it_is() {
    let listener = |networks: &str| {
        format!("[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nproxy_from = ['{networks}']\n")
    };
    let start = |networks| Setup::shards(1).own_listeners().config(&listener(networks)).start();
    let broker = start("127.0.0.0/8");
    let mut stream = broker.connect();
    stream.write_all(b"PROXY TCP4 10.9.8.7 10.0.0.1 4321 1883\r\n").expect("it accepts");
    // On its own machine the proxy's client is no guest without a name.
    stream.write_all(CONNECT).expect("it reads");
    let answer = rest(&mut stream);
    assert_eq!((answer[0], answer[3]), (0x20, 0x87), "{answer:?}");
    broker.await_log("10.9.8.7:4321");
    let mut stream = broker.connect();
    stream.write_all(b"PROXY UNKNOWN\r\n").expect("it accepts");
    assert!(is_let_in(&mut stream), "the proxy itself");
    let mut stream = broker.connect();
    stream.write_all(CONNECT).expect("it accepts");
    assert_eq!(rest(&mut stream), b"");
    broker.await_log("no PROXY header");

    // From elsewhere nobody is believed.
    let broker = start("10.0.0.0/8");
    let mut stream = broker.connect();
    stream.write_all(b"PROXY TCP4 10.9.8.7 10.0.0.1 4321 1883\r\n").expect("it accepts");
    assert_eq!(rest(&mut stream), b"");
    assert!(is_let_in(&mut broker.connect()));
}

#[test]
fn programs_of_this_machine_come_by_a_socket_in_the_file_system() {
    use std::os::unix::net::UnixStream;
    let config = "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\n\
                  [[listeners]]\naddress = 'unix:hawker.sock'\n";
    let start = |directory| Setup::shards(2).own_listeners().config(config).start_in(directory);
    // The socket of a broker that was killed is in nobody's way.
    let broker = start(start(support::Directory::new()).kill());
    for _ in 0..8 {
        let mut stream = UnixStream::connect(broker.directory().join("hawker.sock"))
            .expect("the broker accepts");
        assert!(is_let_in(&mut stream));
    }
    broker.await_log("listening on unix:hawker.sock");
}

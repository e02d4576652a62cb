//! Several certificates at one port: each is for hosts of its own, by the names that are in it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use crate::support::{Broker, Directory, Setup, certificate, listening, permit};
use crate::{TlsStream, is_let_in, refused};

/// A client's trust in whatever it is shown.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}

fn trusting(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version of this provider")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything));
    Arc::new(config.with_no_client_auth())
}

fn ask(address: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> TlsStream {
    let name = ServerName::try_from(host.to_owned()).expect("a good name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
    StreamOwned::new(connection, TcpStream::connect(address).expect("the broker accepts"))
}

/// The certificate that a client is shown which asks for a host.
fn shown(address: SocketAddr, host: &str) -> Vec<u8> {
    let mut stream = ask(address, &trusting(&rustls::version::TLS13), host);
    assert!(is_let_in(&mut stream), "{host}");
    crate::shown(&stream)
}

fn host_file(name: &str) -> PathBuf {
    certificate().with_file_name("hosts").join(name)
}

fn der(file: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(file).expect("a certificate").to_vec()
}

const PAIR: &str = "certificate = 'certificate.pem'\nkey = 'key.pem'\n";
const WIDE: &str = "certificate = 'wide.pem'\nkey = 'wide-key.pem'\n";
const FLEET: &str = "certificate = 'fleet.pem'\nkey = 'fleet-key.pem'\n";

fn setup(config: &str) -> Setup {
    Setup::shards(2)
        .own_listeners()
        .config(config)
        .file("certificate.pem", &certificate())
        .file("key.pem", &certificate().with_file_name("key.pem"))
        .file("clients.pem", &certificate().with_file_name("clients.pem"))
        .file("fleet.pem", &host_file("fleet.pem"))
        .file("fleet-key.pem", &host_file("fleet-key.pem"))
        .file("wide.pem", &host_file("wide.pem"))
        .file("wide-key.pem", &host_file("wide-key.pem"))
}

fn addresses(broker: &Broker) -> Vec<SocketAddr> {
    broker.log().lines().filter_map(listening).collect()
}

#[test]
fn a_client_is_shown_the_certificate_of_the_host_it_asks_for() {
    let broker = setup(&format!(
        "[tls]\n{PAIR}[[tls.certificates]]\n{FLEET}[[tls.certificates]]\n{WIDE}\
         [[listeners]]\naddress = 'tls://127.0.0.1:0'\n\
         [[listeners]]\naddress = 'tls://127.0.0.1:0'\n{FLEET}[[listeners.certificates]]\n{WIDE}"
    ))
    .start();
    let [for_all, own] = addresses(&broker)[..] else { panic!("{}", broker.log()) };
    let (first, fleet) = (der(&certificate()), der(&host_file("fleet.pem")));
    let wide = der(&host_file("wide.pem"));
    let no_name = IpAddr::from([127, 0, 0, 1]).to_string();
    for (host, at_for_all, at_own) in [
        ("fleet.example", &fleet, &fleet),
        ("FLEET.example", &fleet, &fleet),
        ("one.fleet.example", &wide, &wide),
        ("deep.one.fleet.example", &first, &fleet),
        ("elsewhere.example", &first, &fleet),
        ("localhost", &first, &fleet),
        (&no_name, &first, &fleet),
    ] {
        assert!(shown(for_all, host) == *at_for_all, "{host} at the listener of [tls]");
        assert!(shown(own, host) == *at_own, "{host} at the listener with its own");
    }
}

#[test]
fn certificates_of_hosts_are_read_again_all_or_none() {
    let broker = setup(&format!(
        "[tls]\n{PAIR}[[tls.certificates]]\n{FLEET}\
         [[listeners]]\naddress = 'tls://127.0.0.1:0'\n"
    ))
    .start();
    let put = |from: &str, to: &str| {
        let to = broker.directory().join(to);
        std::fs::copy(host_file(from), &to).expect("the directory is writable");
        permit(&to, 0o640);
    };
    put("wide.pem", "fleet.pem");
    broker.signal("HUP");
    broker.await_log("hawker.toml:5: tls.certificates[0].certificate: fleet.pem: certificate and");
    broker.await_log("the key is fleet-key.pem");
    assert!(shown(broker.address(), "fleet.example") == der(&host_file("fleet.pem")));
    put("wide-key.pem", "fleet-key.pem");
    broker.signal("HUP");
    broker.await_log("configuration reloaded");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while shown(broker.address(), "a.fleet.example") != der(&host_file("wide.pem")) {
        assert!(std::time::Instant::now() < deadline, "the new certificate is never shown");
    }
    assert!(shown(broker.address(), "fleet.example") == der(&certificate()));
}

#[test]
fn a_further_certificate_that_is_of_no_use_is_named() {
    let listener = "[[listeners]]\naddress = 'tls://127.0.0.1:0'\n";
    let directory = Directory::new();
    let pair = |name: &str| {
        let shown = certificate().with_file_name(format!("{name}.pem"));
        let key = certificate().with_file_name(format!("{name}-key.pem"));
        let key = directory.copy(&key, &format!("{}-key.pem", name.replace('/', "-")));
        permit(&key, 0o600);
        format!("certificate = '{}'\nkey = '{}'\n", shown.display(), key.display())
    };
    let own = pair("hosts/fleet");
    let further = format!("[tls]\n{own}[[tls.certificates]]\n");
    for (config, said) in [
        (format!("{further}{}{listener}", pair("fleet/ann")), "no DNS name"),
        (
            format!("{further}certificate = 'a.pem'\n{listener}"),
            "hawker.toml:4: tls.certificates[0]: ",
        ),
        (format!("{further}certificates = 'a.pem'\nkey = 'b.pem'\n{listener}"), "did you mean"),
        (format!("{further}certificate = 'a.pem'\nkey = 'b.pem'\n{listener}"), "a.pem: cannot be"),
        (format!("[tls]\n[[tls.certificates]]\n{own}{listener}{own}"), "these are further ones"),
        (format!("[tls]\n{own}{listener}[[listeners.certificates]]\n{own}"), "these are further"),
    ] {
        let answer = refused(&config);
        assert!(answer.contains(said), "{config}\n{answer}");
    }
}

#[test]
fn a_ticket_of_one_listener_is_none_at_another() {
    let broker = setup(&format!(
        "[tls]\n{PAIR}[[listeners]]\naddress = 'tls://127.0.0.1:0'\n\
         [[listeners]]\naddress = 'tls://127.0.0.1:0'\nclient_ca = 'clients.pem'\n"
    ))
    .start();
    let [open, asking] = addresses(&broker)[..] else { panic!("{}", broker.log()) };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = trusting(version);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = ask(open, &config, "localhost");
            assert!(is_let_in(&mut stream));
            assert_eq!(stream.conn.handshake_kind(), Some(kind), "{version:?}");
        }
        let mut stream = ask(asking, &config, "localhost");
        assert!(!is_let_in(&mut stream), "{version:?}");
        assert_ne!(stream.conn.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
}

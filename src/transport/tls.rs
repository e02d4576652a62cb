//! TLS 1.2 and 1.3, by rustls.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore, ServerConfig, ServerConnection};

use super::TransportError;
use super::detect::{Stray, is_http, is_mqtt};

/// What a TLS listener shows: the certificate for the host that a client names, or the first.
#[derive(Debug)]
pub struct TlsShown {
    first: Arc<CertifiedKey>,
    /// By the names of hosts in small letters, `*` in place of the first label of some.
    by_host: BTreeMap<String, Arc<CertifiedKey>>,
}

/// What a TLS listener asks of its clients.
#[derive(Clone, Debug)]
pub struct TlsClients {
    /// The certificates of those who issue theirs, in PEM.
    pub issuers: Vec<u8>,
    /// Lists of those that the issuers have revoked, in PEM. Given, each issuer has to have one
    /// that has not expired, or its certificates are not taken.
    pub revoked: Option<Vec<u8>>,
    /// Whether clients without one are served, too.
    pub optional: bool,
}

/// Why TLS cannot be offered.
#[derive(Debug)]
pub enum TlsError {
    /// The certificate file holds none, or none that can be read.
    Certificates(String),
    /// The key file holds none, or none that can be read.
    Key(String),
    /// The file of issuers holds none, or none that can be used.
    Issuers(String),
    /// The file of revoked certificates holds no list, or one that cannot be used.
    Revoked(String),
    /// The key is another certificate's, or of a kind that is not supported.
    Pair(String),
    /// A further certificate that is for no host would never be shown.
    Hostless,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Certificates(error) => write!(f, "no certificate in PEM: {error}"),
            TlsError::Key(error) => write!(f, "no private key in PEM: {error}"),
            TlsError::Issuers(error) => write!(f, "no issuers of certificates in PEM: {error}"),
            TlsError::Revoked(error) => {
                write!(f, "no list of revoked certificates in PEM: {error}")
            }
            TlsError::Pair(error) => write!(f, "certificate and key do not fit: {error}"),
            TlsError::Hostless => f.write_str(
                "the certificate has no DNS name among its alternative names, so it would be shown to \
                 nobody; a certificate for all is the first of its listener or of [tls]",
            ),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsShown {
    /// This certificate to everybody.
    pub fn new(pair: TlsPair, hosts: &[String]) -> TlsShown {
        let first = pair.0;
        let mut shown = TlsShown { first: Arc::clone(&first), by_host: BTreeMap::new() };
        shown.add(TlsPair(first), hosts);
        shown
    }

    /// Another one to who asks for one of these hosts, if none before it is for that.
    pub fn add(&mut self, pair: TlsPair, hosts: &[String]) {
        for host in hosts {
            let for_host = self.by_host.entry(host.to_ascii_lowercase());
            for_host.or_insert_with(|| Arc::clone(&pair.0));
        }
    }

    fn find(&self, host: &str) -> &Arc<CertifiedKey> {
        let host = host.to_ascii_lowercase();
        let wide = || self.by_host.get(&format!("*.{}", host.split_once('.')?.1));
        self.by_host.get(&host).or_else(wide).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for TlsShown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(hello.server_name().map_or(&self.first, |host| self.find(host))))
    }
}

/// A certificate, those that lead to its issuer, and its key.
#[derive(Debug)]
pub struct TlsPair(Arc<CertifiedKey>);

/// A pair from what is in its files, in PEM.
///
/// # Errors
///
/// See [`TlsError`].
pub fn tls_pair(certificates: &[u8], key: &[u8]) -> Result<TlsPair, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificates(error.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::Certificates("the file holds none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        let is_encrypted = key.windows(9).any(|word| word == b"ENCRYPTED");
        TlsError::Key(match is_encrypted {
            true => "it is encrypted; `openssl pkey -in FILE -out NEW` decrypts it".to_owned(),
            false => error.to_string(),
        })
    })?;
    let provider = rustls::crypto::ring::default_provider();
    let pair = CertifiedKey::from_der(certificates, key, &provider);
    let pair = pair.map_err(|error| TlsError::Pair(error.to_string()))?;
    Ok(TlsPair(Arc::new(pair)))
}

/// The TLS server of a listener; session tickets of it are good on every shard, and at no other
/// listener.
///
/// # Errors
///
/// See [`TlsError`].
pub fn tls_server(
    shown: TlsShown,
    clients: Option<&TlsClients>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => client_verifier(clients, &provider)?,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Pair(error.to_string()))?;
    let mut config =
        builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"mqtt".to_vec(), b"http/1.1".to_vec()];
    config.ticketer =
        rustls::crypto::ring::Ticketer::new().map_err(|error| TlsError::Pair(error.to_string()))?;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn client_verifier(
    clients: &TlsClients,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let failed = |error: &dyn fmt::Display| TlsError::Issuers(error.to_string());
    let mut roots = RootCertStore::empty();
    for issuer in CertificateDer::pem_slice_iter(&clients.issuers) {
        let issuer = issuer.map_err(|error| failed(&error))?;
        roots.add(issuer).map_err(|error| failed(&error))?;
    }
    let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = if clients.optional { builder.allow_unauthenticated() } else { builder };
    let builder = match &clients.revoked {
        None => builder,
        // A list that has expired says nothing of those who were revoked since.
        Some(lists) => builder.with_crls(revoked(lists)?).enforce_revocation_expiration(),
    };
    builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => TlsError::Revoked(format!("{error:?}")),
        error => failed(&error),
    })
}

fn revoked(lists: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let lists = CertificateRevocationListDer::pem_slice_iter(lists)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Revoked(error.to_string()))?;
    if lists.is_empty() {
        return Err(TlsError::Revoked("the file holds none".to_owned()));
    }
    Ok(lists)
}

/// Why the peer's TLS is of no use, in the words of the operator who reads the log.
fn said(error: &rustls::Error) -> String {
    use CertificateError::{
        ExpiredRevocationList, ExpiredRevocationListContext, Revoked, UnknownRevocationStatus,
    };
    let words = match error {
        rustls::Error::InvalidCertificate(Revoked) => "the client's certificate is revoked",
        rustls::Error::InvalidCertificate(UnknownRevocationStatus) => {
            "client_crl has no list of an issuer that the client's certificate leads to"
        }
        rustls::Error::InvalidCertificate(
            ExpiredRevocationList | ExpiredRevocationListContext { .. },
        ) => "the list in client_crl of the issuer of the client's certificate has expired",
        error => return error.to_string(),
    };
    words.to_owned()
}

/// One connection's TLS.
pub(super) struct Tls {
    connection: ServerConnection,
    /// Nothing has come yet.
    is_fresh: bool,
    is_finished: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Tls, TransportError> {
        let connection = ServerConnection::new(config);
        let mut connection = connection.map_err(|error| TransportError::Tls(error.to_string()))?;
        // Whoever writes bounds what waits.
        connection.set_buffer_limit(None);
        Ok(Tls { connection, is_fresh: true, is_finished: false })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// The certificate that the peer has shown and that was checked, in DER.
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer_certificates().next()
    }

    /// That certificate and those behind it, in DER.
    pub(super) fn peer_certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.connection.peer_certificates().into_iter().flatten().map(|one| one.as_ref())
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        if std::mem::take(&mut self.is_fresh) {
            if is_mqtt(bytes) {
                return Err(TransportError::Stray(Stray::MqttForTls));
            }
            if is_http(bytes) {
                return Err(TransportError::Stray(Stray::HttpForTls));
            }
        }
        let failed = |error: &dyn fmt::Display| TransportError::Tls(error.to_string());
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).map_err(|error| failed(&error))?;
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| TransportError::Tls(said(&error)))?;
            let (length, more) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(length + more, 0);
            self.connection
                .reader()
                .read_exact(&mut plain[length..])
                .map_err(|error| failed(&error))?;
            if state.peer_has_closed() {
                self.is_finished = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes bytes to be encrypted.
    pub(super) fn send(&mut self, plain: &[u8]) {
        // Writing to memory without a limit does not fail.
        let _ = self.connection.writer().write_all(plain);
    }

    /// Says that nothing more comes, to a peer that has spoken TLS.
    pub(super) fn close(&mut self) {
        if self.is_open() {
            self.connection.send_close_notify();
        }
    }

    /// Adds everything that is to be written to the network.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to memory does not fail.
            if self.connection.write_tls(out).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection};

    use super::*;

    /// A server, and a client that trusts it.
    fn pair() -> (Tls, ClientConnection) {
        let certificates = include_bytes!("../../tests/support/tls/certificate.pem").to_vec();
        let key = include_bytes!("../../tests/support/tls/key.pem").to_vec();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&certificates) {
            roots.add(certificate.expect("PEM")).expect("an authority of its own");
        }
        let shown = TlsShown::new(tls_pair(&certificates, &key).expect("a pair"), &[]);
        let server = Tls::new(tls_server(shown, None).expect("a server")).expect("a configuration");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of this provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        (server, ClientConnection::new(Arc::new(config), name).expect("a client"))
    }

    /// What a client has to say is heard; the answer is added to `out`.
    fn hear(server: &mut Tls, client: &mut ClientConnection, out: &mut Vec<u8>) {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).expect("memory");
        }
        server.receive(&sent, &mut Vec::new()).expect("nothing wrong");
        server.flush(out);
    }

    #[test]
    fn a_certificate_is_for_a_name_before_a_wildcard_and_for_one_label() {
        let pair = || {
            let certificates = include_bytes!("../../tests/support/tls/certificate.pem");
            let key = include_bytes!("../../tests/support/tls/key.pem");
            tls_pair(certificates, key).expect("a pair")
        };
        let hosts =
            |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let pairs = [pair(), pair(), pair()];
        let keys: Vec<_> = pairs.iter().map(|pair| Arc::clone(&pair.0)).collect();
        let [first, wide, exact] = pairs;
        let mut shown = TlsShown::new(first, &hosts(&["own.example"]));
        shown.add(wide, &hosts(&["*.Fleet.example", "own.example"]));
        shown.add(exact, &hosts(&["a.fleet.example", "*.fleet.example"]));
        let is_of = |host: &str| {
            keys.iter().position(|key| Arc::ptr_eq(key, shown.find(host))).expect("one of them")
        };
        for (host, pair) in [
            ("own.example", 0),
            ("b.fleet.example", 1),
            ("B.FLEET.example", 1),
            ("a.fleet.example", 2),
            ("fleet.example", 0),
            ("b.a.fleet.example", 0),
            ("elsewhere", 0),
        ] {
            assert_eq!(is_of(host), pair, "{host}");
        }
    }

    #[test]
    fn who_asks_for_new_keys_and_never_reads_is_owed_one_answer() {
        let (mut server, mut client) = pair();
        let mut out = Vec::new();
        while client.is_handshaking() || !server.is_open() {
            hear(&mut server, &mut client, &mut out);
            let answer = std::mem::take(&mut out);
            let mut answer = &answer[..];
            while !answer.is_empty() {
                client.read_tls(&mut answer).expect("memory");
                client.process_new_packets().expect("nothing wrong");
            }
        }
        for _ in 0..1000 {
            client.refresh_traffic_keys().expect("TLS 1.3");
            client.writer().write_all(b"x").expect("memory");
            hear(&mut server, &mut client, &mut out);
        }
        assert!(out.is_empty());
        server.send(b"y");
        server.flush(&mut out);
        // An update of the keys and what was said, in a record each.
        assert!(out.len() < 128, "{} bytes", out.len());
    }
}

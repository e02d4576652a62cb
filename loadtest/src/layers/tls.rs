//! TLS 1.2 and 1.3 at the client's end, by rustls.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup,
    RootCertStore, SignatureScheme,
};

/// Tickets that a client keeps; a server sends two or four.
const TICKETS_MAX: usize = 4;

/// Whom the clients trust, and what they show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates that the broker's has to lead to, in PEM.
    pub ca: Option<PathBuf>,
    /// Any certificate will do.
    pub is_insecure: bool,
    /// The certificate that every client shows, in PEM.
    pub certificate: Option<PathBuf>,
    /// The key to it, in PEM.
    pub key: Option<PathBuf>,
}

/// Why the clients cannot speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// Nobody is trusted.
    NobodyTrusted,
    /// A certificate without a key, or a key without a certificate.
    Half,
    /// A file is no PEM, or holds nothing that can be used.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate and the key do not fit, or are of a kind that is not supported.
    Pair(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyTrusted => write!(f, "TLS needs --ca FILE, or --insecure"),
            Self::Half => write!(f, "--cert and --key go together"),
            Self::File { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Pair(reason) => write!(f, "--cert and --key: {reason}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// What the connections of a run have in common.
#[derive(Clone, Debug)]
pub struct TlsPlan {
    /// Whom to trust, and what to show.
    pub config: Arc<ClientConfig>,
    /// The broker's name in its certificate.
    pub name: ServerName<'static>,
    /// A client that returns shows the ticket of its last session.
    pub resumes: bool,
}

/// The configuration of all clients. A handshake is a full one unless tickets are added to it.
pub fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Pair(error.to_string()))?;
    let builder = match (&options.ca, options.is_insecure) {
        (_, true) => {
            let anybody = Arc::new(Anybody(provider));
            builder.dangerous().with_custom_certificate_verifier(anybody)
        }
        (Some(path), false) => builder.with_root_certificates(roots(path)?),
        (None, false) => return Err(TlsError::NobodyTrusted),
    };
    let mut config = match (&options.certificate, &options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let shown = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            let config = builder.with_client_auth_cert(shown, key);
            config.map_err(|error| TlsError::Pair(error.to_string()))?
        }
        _ => return Err(TlsError::Half),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn unusable(path: &Path, reason: &dyn fmt::Display) -> TlsError {
    TlsError::File { path: path.to_path_buf(), reason: reason.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, &error))?;
    if found.is_empty() { Err(unusable(path, &"holds no certificate")) } else { Ok(found) }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ClientConnection,
    is_finished: bool,
}

impl Tls {
    pub(super) fn new(plan: &TlsPlan, tickets: &mut Option<Arc<Tickets>>) -> Result<Self, Error> {
        let mut config = Arc::clone(&plan.config);
        if plan.resumes {
            // The store is the client's own: nobody goes on with the session of another.
            let store = Arc::clone(tickets.get_or_insert_default());
            Arc::make_mut(&mut config).resumption = Resumption::store(store);
        }
        let mut connection = ClientConnection::new(config, plan.name.clone())?;
        // Whoever fills the packets bounds what waits.
        connection.set_buffer_limit(None);
        Ok(Self { connection, is_finished: false })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Decrypts what arrived and appends it to `plain`.
    pub(super) fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::General(error.to_string());
        while !bytes.is_empty() && !self.is_finished {
            self.connection.read_tls(&mut bytes).map_err(failed)?;
            let state = self.connection.process_new_packets()?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain[start..]).map_err(failed)?;
            self.is_finished = state.peer_has_closed();
        }
        Ok(())
    }

    /// Encrypts `plain` and appends it to `sealed`, with what TLS itself has to say.
    pub(super) fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        // Writing to memory without a limit does not fail.
        let _ = self.connection.writer().write_all(plain);
        while self.connection.wants_write() {
            if self.connection.write_tls(sealed).is_err() {
                return;
            }
        }
    }
}

/// The sessions that one client can go on with.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

impl Tickets {
    fn with<T>(&self, action: impl FnOnce(&mut Kept) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All connections of a client lead to one server: its name is not looked at.
impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|kept| kept.tls12 = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(|kept| kept.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|kept| kept.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(|kept| {
            kept.tls13.truncate(TICKETS_MAX - 1);
            kept.tls13.insert(0, value);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|kept| if kept.tls13.is_empty() { None } else { Some(kept.tls13.remove(0)) })
    }
}

/// Takes any certificate, and checks only that the broker has the key to it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_must_be_trusted_and_a_key_needs_its_certificate() {
        let options = TlsOptions::default();
        assert_eq!(client_config(&options).expect_err("nobody"), TlsError::NobodyTrusted);
        let options = TlsOptions { is_insecure: true, ..options };
        client_config(&options).expect("anybody");
        let options = TlsOptions { key: Some("key.pem".into()), ..options };
        assert_eq!(client_config(&options).expect_err("a half"), TlsError::Half);
        let options = TlsOptions { ca: Some("/nonexistent".into()), ..TlsOptions::default() };
        let error = client_config(&options).expect_err("no such file").to_string();
        assert!(error.starts_with("/nonexistent: "), "{error}");
    }
}

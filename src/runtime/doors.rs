//! The doors of the listeners: certificates are read from their files here.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use zeroize::Zeroize as _;

use crate::auth::{Revoked, certificate_end, certificate_hosts, revocation_list_end};
use crate::config::{CertificatePair, ClientCertificates, Config, ListenerConfig, Network, Scheme};
use crate::login::{SecretsError, secrets};
use crate::transport::{
    Door, TlsClients, TlsError, TlsPair, TlsShown, WebOptions, tls_pair, tls_server,
};

/// Why a listener's certificate cannot be used.
#[derive(Debug)]
pub enum DoorError {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A private key is not kept from others.
    Key(SecretsError),
    /// A listener with TLS, by its name, is left without a certificate.
    Missing(String),
    /// It holds nothing that can be used.
    Unusable(PathBuf, TlsError),
}

impl DoorError {
    /// Which file it is about, if it is about one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            DoorError::Unreadable(file, _) | DoorError::Unusable(file, _) => Some(file),
            DoorError::Key(error) => Some(error.file()),
            DoorError::Missing(_) => None,
        }
    }
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DoorError::Unreadable(file, error) => {
                write!(f, "{}: cannot be read: {error}", file.display())
            }
            DoorError::Key(error) => error.fmt(f),
            DoorError::Missing(listener) => write!(
                f,
                "{listener} is left without a certificate; restart the broker to change its listeners, \
                 or give certificate and key in [tls]"
            ),
            DoorError::Unusable(file, error) => write!(f, "{}: {error}", file.display()),
        }
    }
}

impl std::error::Error for DoorError {}

/// The door of a listener, and of whom it hears first whose connection it is.
#[derive(Debug)]
pub struct Entry {
    door: Door,
    proxy_from: Vec<Network>,
    forwarded_from: Vec<Network>,
    ends: Ends,
    revoked: Revoked,
}

/// When what a listener goes by ends, since 1970.
#[derive(Clone, Debug, Default)]
struct Ends {
    certificates: Vec<(PathBuf, Duration)>,
    revoked: Option<Duration>,
}

impl Entry {
    /// What stands before MQTT for those who come from an address.
    pub fn door(&self, from: IpAddr) -> Door {
        let is_of = |networks: &[Network]| networks.iter().any(|network| network.contains(from));
        Door {
            is_behind_proxy: is_of(&self.proxy_from),
            is_forwarded: is_of(&self.forwarded_from),
            ..self.door.clone()
        }
    }

    /// Certificates that nobody is served with any more.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// When the first certificate of each file that it shows ends, since 1970: after that, clients
    /// that look will not come in. None without TLS.
    pub fn certificates_end(&self) -> &[(PathBuf, Duration)] {
        &self.ends.certificates
    }

    /// When the first of the lists of revoked certificates has to be replaced, since 1970: after
    /// that, clients of its issuer do not come in. Absent without lists.
    pub fn revoked_end(&self) -> Option<Duration> {
        self.ends.revoked
    }
}

/// What stands before MQTT at each listener, in the order of the configuration.
///
/// # Errors
///
/// The first file that is of no use.
pub fn open(config: &Config) -> Result<Arc<Vec<Entry>>, DoorError> {
    let entry = |listener: &ListenerConfig| {
        let (door, ends, revoked) = door(config, listener)?;
        let (proxy_from, forwarded_from) =
            (listener.terms.proxy_from.clone(), listener.terms.forwarded_from.clone());
        Ok(Entry { door, proxy_from, forwarded_from, ends, revoked })
    };
    let entries: Result<_, _> = config.listeners.iter().map(entry).collect();
    entries.map(Arc::new)
}

/// The door, when what it goes by ends, and which certificates are revoked.
fn door(config: &Config, listener: &ListenerConfig) -> Result<(Door, Ends, Revoked), DoorError> {
    let scheme = listener.address.scheme;
    let web = scheme.has_web_socket().then(|| {
        let path =
            (listener.terms.path != ListenerConfig::ANY_PATH).then(|| listener.terms.path.clone());
        let origins = listener.terms.origins.clone();
        let request_bytes_max = listener.terms.request_bytes_max as usize;
        Arc::new(WebOptions { path, origins, request_bytes_max })
    });
    let pairs = match &listener.certificates[..] {
        [] => config.tls.pairs(),
        own => own.to_vec(),
    };
    let is_mux = scheme == Scheme::Mux;
    let Some((first, further)) = pairs.split_first().filter(|_| scheme.may_have_tls()) else {
        if scheme.has_tls() {
            return Err(DoorError::Missing(listener.name.clone()));
        }
        let door = Door { web, is_mux, ..Door::default() };
        return Ok((door, Ends::default(), Revoked::default()));
    };
    let asked = listener.clients.as_ref();
    let clients = asked.map(clients).transpose()?;
    let mut ends = Ends::default();
    let (first, hosts) = shown(first, &mut ends)?;
    let mut certificates = TlsShown::new(first, &hosts);
    for further in further {
        let (pair, hosts) = shown(further, &mut ends)?;
        if hosts.is_empty() {
            return Err(DoorError::Unusable(further.certificate.clone(), TlsError::Hostless));
        }
        certificates.add(pair, &hosts);
    }
    let lists = clients.as_ref().and_then(|clients| clients.revoked.as_deref());
    let lists = lists.map(lists_of).unwrap_or_default();
    ends.revoked = lists.iter().filter_map(|list| revocation_list_end(list)).min();
    let mut revoked = Revoked::default();
    lists.iter().for_each(|list| revoked.add(list));
    let tls = tls_server(certificates, clients.as_ref()).map_err(|error| {
        let file = match (&error, asked) {
            (TlsError::Issuers(_), Some(asked)) => &asked.issuers,
            (TlsError::Revoked(_), Some(ClientCertificates { revoked: Some(file), .. })) => file,
            _ => &pairs[0].certificate,
        };
        DoorError::Unusable(file.clone(), error)
    })?;
    Ok((Door { tls: Some(tls), web, is_mux, ..Door::default() }, ends, revoked))
}

/// A certificate with its key, and which hosts it is for; when it ends is noted.
fn shown(pair: &CertificatePair, ends: &mut Ends) -> Result<(TlsPair, Vec<String>), DoorError> {
    let CertificatePair { certificate, key } = pair;
    let certificates = read(certificate)?;
    let mut private = read(key)?;
    // A file without a key has another fault.
    if private.windows(11).any(|word| word == b"PRIVATE KEY") {
        secrets::check_hidden(key).map_err(DoorError::Key)?;
    }
    let shown = tls_pair(&certificates, &private);
    private.zeroize();
    let shown = shown.map_err(|error| match error {
        TlsError::Key(_) => DoorError::Unusable(key.clone(), error),
        TlsError::Pair(why) => {
            let why = format!("{why}; the key is {}", key.display());
            DoorError::Unusable(certificate.clone(), TlsError::Pair(why))
        }
        error => DoorError::Unusable(certificate.clone(), error),
    })?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificates).flatten().collect();
    let end = chain.iter().filter_map(|one| certificate_end(one)).min();
    ends.certificates.extend(end.map(|end| (certificate.clone(), end)));
    Ok((shown, chain.first().map_or_else(Vec::new, |own| certificate_hosts(own))))
}

fn clients(asked: &ClientCertificates) -> Result<TlsClients, DoorError> {
    Ok(TlsClients {
        issuers: read(&asked.issuers)?,
        revoked: asked.revoked.as_deref().map(read).transpose()?,
        optional: asked.optional,
    })
}

/// The lists of revoked certificates in a text in PEM.
fn lists_of(text: &[u8]) -> Vec<CertificateRevocationListDer<'static>> {
    CertificateRevocationListDer::pem_slice_iter(text).flatten().collect()
}

fn read(file: &Path) -> Result<Vec<u8>, DoorError> {
    fs::read(file).map_err(|error| DoorError::Unreadable(file.to_path_buf(), error))
}

//! The `[tls]` table: what listeners with TLS show.

use std::path::{Path, PathBuf};

use super::error::{Fault, Problem};
use super::found::Found;
use super::kind::{self, Kind, Optional, Sampled, nearest};
use super::table::table;

table! {
    /// What the listeners `tls://` and `wss://` show that have no certificate of their own. TLS 1.2
    /// and 1.3 are spoken; keys shared in advance (PSK) are not. The files are read again on
    /// SIGHUP: connections that are open stay so, new ones see the new certificate; if a file is
    /// wrong, nothing changes.
    pub struct TlsConfig in "tls" {
        /// The certificate in PEM, and behind it those that lead to its issuer.
        pub certificate: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/fullchain.pem\"")), Live;

        /// Its private key in PEM: PKCS#8, PKCS#1 or SEC1, not encrypted. A file that everybody on
        /// the machine can read is refused; a group may, such as `ssl-cert`.
        pub key: Option<PathBuf> = None,
            Optional(Sampled(kind::file(), "\"/etc/hawker/privkey.pem\"")), Live;

        /// Further certificates, one `[[tls.certificates]]` table with `certificate` and `key` for
        /// each, for brokers with several names. A client that names the host it wants (SNI) is
        /// shown the one for that name, by the DNS names in the certificates themselves: the name
        /// as it is, or `*` in place of its first label. Of several that fit, the name as it is
        /// goes before `*`, and what stands further up before what is below. Who names none, or one
        /// that no certificate has, is shown `certificate`.
        pub certificates: Vec<CertificatePair> = Vec::new(), Pairs("tls.certificates"), Live;
    }
}

/// A certificate with those that lead to its issuer, and its key: files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

impl CertificatePair {
    /// The first pair, if it is whole, and those behind it.
    pub(super) fn all(
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
        further: &[CertificatePair],
    ) -> Vec<CertificatePair> {
        let Some((certificate, key)) = certificate.zip(key) else { return Vec::new() };
        let first = CertificatePair { certificate: certificate.clone(), key: key.clone() };
        std::iter::once(first).chain(further.iter().cloned()).collect()
    }

    /// Its files, each by its key.
    pub(super) fn files(&self) -> [(&'static str, &Path); 2] {
        [("certificate", &self.certificate), ("key", &self.key)]
    }
}

impl TlsConfig {
    /// The certificates for listeners without their own; that for who names no host is the first.
    pub fn pairs(&self) -> Vec<CertificatePair> {
        CertificatePair::all(self.certificate.as_ref(), self.key.as_ref(), &self.certificates)
    }
}

/// Certificates with their keys; the name is that of the tables.
pub(super) struct Pairs(pub(super) &'static str);

impl Kind for Pairs {
    type Value = Vec<CertificatePair>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Self::Value> {
        let items = found.items().filter(|items| items.iter().all(|one| one.entries().is_some()));
        let Some(items) = items else {
            problems.push(found.unsuitable(self.expected(), None));
            return None;
        };
        Some(items.iter().filter_map(|item| pair(item, problems)).collect())
    }

    fn expected(&self) -> String {
        format!("[[{}]] tables of certificate and key", self.0)
    }

    fn show(&self, pairs: &Self::Value) -> Option<String> {
        let file = |(name, file): (&str, &Path)| {
            let file = kind::file().show(&file.to_path_buf()).unwrap_or_default();
            format!("{name} = {file}")
        };
        let pairs = pairs.iter().map(|pair| format!("{{ {} }}", pair.files().map(file).join(", ")));
        Some(format!("[{}]", pairs.collect::<Vec<_>>().join(", ")))
    }
}

fn pair(found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<CertificatePair> {
    let (mut certificate, mut key) = (None, None);
    let before = problems.len();
    for (name, found) in found.entries().unwrap_or_default() {
        match name {
            "certificate" => certificate = kind::file().read(&found, problems),
            "key" => key = kind::file().read(&found, problems),
            _ => {
                let nearest = nearest(name, ["certificate", "key"]).map(str::to_owned);
                problems.push(found.problem(Fault::UnknownKey { nearest }));
            }
        }
    }
    if problems.len() == before && (certificate.is_none() || key.is_none()) {
        let reason = "a certificate and its key belong together; give both".to_owned();
        problems.push(found.problem(Fault::Conflict { reason }));
    }
    Some(CertificatePair { certificate: certificate?, key: key? })
}

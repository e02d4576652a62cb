//! Who a client certificate is of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{AnyRef, Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{
    self, Decode as _, Encode as _, Reader as _, SliceReader, TagMode, TagNumber,
};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::CertificateUser;

/// `id-at-commonName`, RFC 5280, appendix A.1.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The names in a certificate whose issuer and key were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The last common name of its subject.
    pub common_name: Option<Arc<str>>,
    /// The first of its alternative names that is a DNS name, a mail address or a URI.
    pub alternative_name: Option<Arc<str>>,
}

impl CertificateNames {
    /// Those of a certificate in DER; none of one that cannot be read.
    pub fn of(der: &[u8]) -> CertificateNames {
        let Ok(certificate) = Certificate::from_der(der) else {
            return CertificateNames::default();
        };
        CertificateNames {
            common_name: common_name(&certificate),
            alternative_name: alternative_name(&certificate),
        }
    }

    /// The common name alone, of a certificate that somebody else has checked.
    pub fn named(common_name: &str) -> CertificateNames {
        CertificateNames { common_name: named(common_name), alternative_name: None }
    }

    /// The user it proves.
    pub fn user(&self, from: CertificateUser) -> Option<&Arc<str>> {
        match from {
            CertificateUser::None => None,
            CertificateUser::CommonName => self.common_name.as_ref(),
            CertificateUser::AlternativeName => self.alternative_name.as_ref(),
        }
    }
}

/// Certificates that their issuers have revoked: serial numbers by the issuer's name in DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>);

impl Revoked {
    /// Adds those of a list in DER; none of one that cannot be read.
    pub fn add(&mut self, der: &[u8]) {
        let Ok(list) = CertificateList::from_der(der) else { return };
        let Ok(issuer) = list.tbs_cert_list.issuer.to_der() else { return };
        let certificates = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        let serials = certificates.iter().map(|one| trimmed(one.serial_number.as_bytes()).to_vec());
        self.0.entry(issuer).or_default().extend(serials);
    }

    /// Whether a certificate in DER is among them: no more of it is read than that takes.
    pub fn holds(&self, der: &[u8]) -> bool {
        let Ok((issuer, serial)) = issuer_and_serial(der) else { return false };
        self.0.get(issuer).is_some_and(|serials| serials.contains(trimmed(serial)))
    }
}

/// The beginning of a certificate: RFC 5280, section 4.1.
fn issuer_and_serial(certificate: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut certificate = SliceReader::new(certificate)?;
    let mut certificate = SliceReader::new(AnyRef::decode(&mut certificate)?.value())?;
    let mut fields = SliceReader::new(AnyRef::decode(&mut certificate)?.value())?;
    let _version = fields.context_specific::<u8>(TagNumber::N0, TagMode::Explicit)?;
    let serial = AnyRef::decode(&mut fields)?.value();
    let _signature = fields.tlv_bytes()?;
    Ok((fields.tlv_bytes()?, serial))
}

/// A number without the zeros before it.
fn trimmed(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// When a certificate in DER ends, since 1970; nothing of one that cannot be read.
pub fn certificate_end(der: &[u8]) -> Option<Duration> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_unix_duration())
}

/// When a list of revoked certificates in DER has to be replaced by the next, since 1970; nothing
/// of one that cannot be read.
pub fn revocation_list_end(der: &[u8]) -> Option<Duration> {
    let list = CertificateList::from_der(der).ok()?;
    Some(list.tbs_cert_list.next_update?.to_unix_duration())
}

/// The DNS names that a certificate in DER is for; none of one that cannot be read.
pub fn certificate_hosts(der: &[u8]) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(der) else { return Vec::new() };
    let names = certificate.tbs_certificate.get::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0).unwrap_or_default();
    let hosts = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(text) => Some(text.as_str().to_owned()),
        _ => None,
    });
    hosts.collect()
}

fn common_name(certificate: &Certificate) -> Option<Arc<str>> {
    let mut parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let name = parts.rfind(|part| part.oid == COMMON_NAME)?;
    let utf8 = name.value.decode_as::<Utf8StringRef<'_>>().map(|text| named(text.as_str()));
    let printable =
        || name.value.decode_as::<PrintableStringRef<'_>>().map(|text| named(text.as_str()));
    let ascii = || name.value.decode_as::<Ia5StringRef<'_>>().map(|text| named(text.as_str()));
    utf8.or_else(|_| printable()).or_else(|_| ascii()).ok()?
}

fn alternative_name(certificate: &Certificate) -> Option<Arc<str>> {
    let (_, names) = certificate.tbs_certificate.get::<SubjectAltName>().ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(text)
        | GeneralName::Rfc822Name(text)
        | GeneralName::UniformResourceIdentifier(text) => named(text.as_str()),
        _ => None,
    })
}

/// A name that a user can have: MQTT has no others. [MQTT-1.5.4-2]
fn named(text: &str) -> Option<Arc<str>> {
    (!text.is_empty() && !text.contains('\0')).then(|| text.into())
}

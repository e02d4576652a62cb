//! The `[tls]` table: what listeners with TLS show.

use std::path::PathBuf;

use super::kind::{self, Kind as _, Optional, Sampled};
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
    }
}

//! What the operator decides.

mod admin;
mod auth;
mod check;
mod draft;
mod effective;
mod error;
mod found;
mod kind;
mod limits;
mod listener;
mod log;
mod mqtt;
mod process;
pub mod reference;
mod rules;
mod source;
mod storage;
mod table;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use admin::{AdminToken, Role};
pub use auth::{AuthConfig, RateExceeded, RefusedPublish, ScramVerifier, ScramVerifierError};
pub use effective::{Origins, Setting, without_password};
pub use error::{ConfigError, Fault, Origin, Problem};
pub use limits::ClientLimits;
pub use listener::{
    CertificateUser, ClientCertificates, ListenAddress, ListenAddressError, ListenerConfig, Scheme,
};
pub use log::{LogConfig, LogFormat};
pub use mqtt::{Mqtt, QueuePolicy, ShareStrategy};
pub use process::ListenerTable;
pub use rules::{Network, RuleConfig, is_filter, is_filter_of_rule};
pub use source::Source;
pub use storage::{OnDamage, Storage};
pub use tls::{CertificatePair, TlsConfig};

/// A configuration that has been checked: every value is possible, alone and beside the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients connect, in the order of the file.
    pub listeners: Vec<ListenerConfig>,
    /// Shards, 1 to 64; unset: one for each usable CPU.
    pub shards: Option<usize>,
    /// The CPUs the shards are pinned to; unset: all that this process may use.
    pub cpus: Option<Vec<usize>>,
    /// Where the broker keeps what must outlive it.
    pub data_dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Where the admin HTTP server listens; `None` turns it off.
    pub admin: Option<SocketAddr>,
    /// Who may use it; empty: programs of this machine alone.
    pub admin_tokens: Vec<AdminToken>,
    /// Names that it is called by, beside `localhost` and addresses.
    pub admin_hosts: Vec<String>,
    /// Where the files of traces go; unset: the folder `traces` of `data_dir`.
    pub admin_trace_folder: Option<PathBuf>,
    /// What is logged and how.
    pub log: LogConfig,
    /// What clients are promised and how much they may ask for.
    pub mqtt: Mqtt,
    /// The log of what must outlive the broker.
    pub storage: Storage,
    /// Who may enter.
    pub auth: AuthConfig,
    /// What listeners with TLS show.
    pub tls: TlsConfig,
}

/// What the acknowledgement of a QoS 1 or 2 message promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The message is on stable storage: it outlives the machine's power.
    Fsync,
    /// The message is with the operating system: it outlives the broker, not the machine.
    Os,
    /// The message is in memory: it ends with the broker.
    Memory,
}

impl Durability {
    /// What is promised unless the operator says otherwise.
    pub const DEFAULT: Durability = Durability::Fsync;

    const WORDS: &[(&str, Durability)] =
        &[("fsync", Durability::Fsync), ("os", Durability::Os), ("memory", Durability::Memory)];

    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        let (name, _) = Self::WORDS.iter().find(|(_, one)| *one == self).expect("each has a name");
        name
    }
}

impl Config {
    /// Whether clients may come to a listener without a user; absent: it depends on who reaches it.
    pub fn anonymous_allowed(&self, listener: &ListenerConfig) -> Option<bool> {
        listener.terms.anonymous_allowed.or(self.mqtt.anonymous_allowed)
    }

    /// The keys in which `new` differs that wait for a restart; a reload takes all others.
    pub fn waiting_for_restart(&self, new: &Config) -> Vec<&'static str> {
        let differences = [
            ("listeners", self.listeners != new.listeners),
            ("shards", self.shards != new.shards),
            ("cpus", self.cpus != new.cpus),
            ("data_dir", self.data_dir != new.data_dir),
            ("durability", self.durability != new.durability),
            ("admin", self.admin != new.admin),
            ("admin_trace_folder", self.admin_trace_folder != new.admin_trace_folder),
            ("log.format", self.log.format != new.log.format),
            ("storage.segment_bytes", self.storage.segment_bytes != new.storage.segment_bytes),
            ("storage.log_bytes_max", self.storage.log_bytes_max != new.storage.log_bytes_max),
            (
                "storage.sync_interval_ms",
                self.storage.sync_interval_ms != new.storage.sync_interval_ms,
            ),
            ("auth.http_connections", self.auth.http_connections != new.auth.http_connections),
            ("auth.ban_file", self.auth.ban_file != new.auth.ban_file),
            ("storage.on_damage", self.storage.on_damage != new.storage.on_damage),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listeners: ListenerConfig::defaults(),
            shards: None,
            cpus: None,
            data_dir: PathBuf::from("./data"),
            durability: Durability::DEFAULT,
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 18083))),
            admin_tokens: Vec::new(),
            admin_hosts: Vec::new(),
            admin_trace_folder: None,
            log: LogConfig::default(),
            mqtt: Mqtt::default(),
            storage: Storage::default(),
            auth: AuthConfig::default(),
            tls: TlsConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests;

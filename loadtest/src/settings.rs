//! What every scenario needs to know, as the user gives it and as it is used.
//!
//! [`Common`] is what flags and files hold: everything may be missing, and a flag wins over a
//! file. [`Settings`] is what remains when the defaults are filled in: everything is there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::layers::Wrapping;
use crate::layers::tls::{self, TlsError, TlsOptions, TlsPlan};
use crate::layers::websocket;
use crate::mqtt::{Qos, Version};
use crate::plan::Door;
use crate::report::{Faults, Report};
use crate::target::Location;

/// Connections from one source address to one target: below the ephemeral ports of Linux.
const CONNECTIONS_PER_SOURCE: usize = 25_000;

/// What flags and the `[common]` table of a file may say.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Common {
    /// The broker, also as tls://, ws:// or wss://HOST:PORT/PATH [default: 127.0.0.1:1883]
    #[arg(long, short, value_name = "HOST:PORT", global = true)]
    pub target: Option<String>,
    /// Watch this process's CPU time and memory
    #[arg(long, value_name = "PID", global = true)]
    pub broker_pid: Option<u32>,
    /// A name for the broker in reports
    #[arg(long, global = true)]
    pub label: Option<String>,
    /// Run a second broker in alternation with the first: A B A B ...
    #[arg(long, value_name = "HOST:PORT[,PID]", global = true)]
    pub compare_with: Option<String>,
    /// A name for the second broker in reports
    #[arg(long, value_name = "LABEL", global = true)]
    pub compare_label: Option<String>,
    /// How often to run [default: 1, with --compare-with 3]
    #[arg(long, global = true)]
    pub rounds: Option<usize>,
    /// MQTT version [default: 3.1.1]
    #[arg(long, global = true)]
    pub protocol: Option<Protocol>,
    /// Worker threads [default: 1]
    #[arg(long, global = true)]
    pub threads: Option<usize>,
    /// Pin the worker threads to these CPUs
    #[arg(long, value_delimiter = ',', value_name = "CPU,...", global = true)]
    pub cpus: Option<Vec<usize>>,
    /// Connect from these local addresses in turn; on loopback found by itself
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,...", global = true)]
    pub sources: Option<Vec<IpAddr>>,
    /// The certificates that the broker's has to lead to, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// Take any certificate of the broker
    #[arg(long, global = true, num_args = 0..=1, default_missing_value = "true")]
    pub insecure: Option<bool>,
    /// The certificate that every client shows, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub cert: Option<PathBuf>,
    /// The key to it, in PEM
    #[arg(long, value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,
    /// A client that returns goes on with its TLS session by a ticket, if it got one
    #[arg(long, global = true, num_args = 0..=1, default_missing_value = "true")]
    pub resume: Option<bool>,
    /// User name of every client
    #[arg(long, global = true)]
    pub username: Option<String>,
    /// Password of every client
    #[arg(long, global = true)]
    pub password: Option<String>,
    /// Keep Alive in seconds, 0 for none [default: 60]
    #[arg(long, global = true)]
    pub keep_alive: Option<u16>,
    /// New connections a second while setting up, 0 for as fast as possible [default: 0]
    #[arg(long, global = true)]
    pub connect_rate: Option<f64>,
    /// Seconds before the measurement [default: 1]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub warmup: Option<f64>,
    /// Seconds of measurement [default: 10]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub duration: Option<f64>,
    /// Seconds without any progress after which a stage is given up [default: 10]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub patience: Option<f64>,
    /// Part of client identifiers and topics [default: from time and process]
    #[arg(long, global = true)]
    pub run_id: Option<String>,
    /// Fail when the 99th percentile of delivery is above this
    #[arg(long, value_name = "MS", global = true)]
    pub max_p99_ms: Option<f64>,
    /// Fail when the 99.9th percentile of delivery is above this
    #[arg(long, value_name = "MS", global = true)]
    pub max_p999_ms: Option<f64>,
    /// Fail when fewer copies a second are delivered
    #[arg(long, value_name = "PER_SECOND", global = true)]
    pub min_delivered: Option<f64>,
    /// Fail when the broker's CPU seconds per million deliveries are above this
    #[arg(long, value_name = "SECONDS", global = true)]
    pub max_cpu_per_million: Option<f64>,
    /// Fail when the broker's memory in MiB is above this at the end
    #[arg(long, value_name = "MIB", global = true)]
    pub max_memory_mib: Option<f64>,
    /// Fail when more copies are lost [default: 0]
    #[arg(long, value_name = "COUNT", global = true)]
    pub max_lost: Option<u64>,
    /// Fail when more copies are duplicated [default: 0]
    #[arg(long, value_name = "COUNT", global = true)]
    pub max_duplicated: Option<u64>,
    /// Fail when more copies are out of order [default: 0]
    #[arg(long, value_name = "COUNT", global = true)]
    pub max_out_of_order: Option<u64>,
    /// Fail when more connections fail, are refused or dropped [default: 0]
    #[arg(long, value_name = "COUNT", global = true)]
    pub max_disconnects: Option<u64>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE", global = true)]
    pub json: Option<PathBuf>,
    /// Write the results as a self-contained HTML page with plots
    #[arg(long, value_name = "FILE", global = true)]
    pub html: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short, global = true, num_args = 0..=1, default_missing_value = "true")]
    pub quiet: Option<bool>,
}

/// The versions by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
pub enum Protocol {
    /// MQTT 3.1.1
    #[value(name = "3.1.1", aliases = ["4", "311"])]
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0
    #[value(name = "5", aliases = ["5.0"])]
    #[serde(rename = "5")]
    V5,
}

/// The levels of service by number, for flags and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub struct QosLevel(pub Qos);

impl TryFrom<u8> for QosLevel {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        Qos::from_bits(bits).map(Self).ok_or_else(|| format!("QoS {bits} is none of 0, 1 and 2"))
    }
}

impl std::str::FromStr for QosLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bits: u8 = text.parse().map_err(|_| format!("QoS {text} is none of 0, 1 and 2"))?;
        Self::try_from(bits)
    }
}

impl fmt::Display for QosLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why settings cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The target does not resolve.
    Target {
        /// What was given.
        given: String,
        /// Why.
        reason: String,
    },
    /// The second broker is not `HOST:PORT[,PID]`.
    CompareWith {
        /// What was given.
        given: String,
    },
    /// TLS cannot be spoken.
    Tls(TlsError),
    /// A number is outside its range.
    Range {
        /// The setting.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target { given, reason } => write!(f, "target '{given}': {reason}"),
            Self::CompareWith { given } => {
                write!(f, "compare-with '{given}': expected HOST:PORT or HOST:PORT,PID")
            }
            Self::Tls(error) => write!(f, "{error}"),
            Self::Range { name, must } => write!(f, "{name} must be {must}"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// One broker to run against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in reports.
    pub label: String,
    /// Where it is, and what is spoken there below MQTT.
    pub location: Location,
    /// Its process.
    pub pid: Option<u32>,
}

/// Everything a scenario needs, whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The broker of this run.
    pub target: Target,
    /// The other broker.
    pub against: Option<Target>,
    /// Runs of each broker.
    pub rounds: usize,
    /// The protocol.
    pub version: Version,
    /// Worker threads.
    pub threads: usize,
    /// CPUs for them.
    pub cpus: Vec<usize>,
    /// Source addresses as given.
    pub sources: Option<Vec<IpAddr>>,
    /// TLS, where one of the brokers speaks it.
    pub tls: Option<Arc<ClientConfig>>,
    /// TLS sessions are gone on with.
    pub resumes: bool,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Keep Alive.
    pub keep_alive_s: u16,
    /// Connections a second.
    pub connect_rate: f64,
    /// Time before the measurement.
    pub warmup: Duration,
    /// Time of the measurement.
    pub duration: Duration,
    /// Time without progress that ends a stage.
    pub patience: Duration,
    /// Part of names.
    pub run_id: String,
    /// What must hold.
    pub limits: Limits,
    /// Where JSON goes.
    pub json: Option<PathBuf>,
    /// Where HTML goes.
    pub html: Option<PathBuf>,
    /// No progress.
    pub is_quiet: bool,
}

/// What must hold for a run to pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Delivery, 99 %.
    pub p99_ms_max: Option<f64>,
    /// Delivery, 99.9 %.
    pub p999_ms_max: Option<f64>,
    /// Deliveries a second.
    pub delivered_min: Option<f64>,
    /// CPU seconds per million deliveries.
    pub cpu_per_million_max: Option<f64>,
    /// Memory of the broker.
    pub memory_mib_max: Option<f64>,
    /// Lost copies.
    pub lost_max: u64,
    /// Duplicated copies; `None` leaves it to the scenario.
    pub duplicated_max: Option<u64>,
    /// Copies out of order.
    pub out_of_order_max: u64,
    /// Connections failed, refused and dropped.
    pub disconnects_max: u64,
}

impl Common {
    /// These settings where they are given, else those of `file`.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            target: self.target.or(file.target),
            broker_pid: self.broker_pid.or(file.broker_pid),
            label: self.label.or(file.label),
            compare_with: self.compare_with.or(file.compare_with),
            compare_label: self.compare_label.or(file.compare_label),
            rounds: self.rounds.or(file.rounds),
            protocol: self.protocol.or(file.protocol),
            threads: self.threads.or(file.threads),
            cpus: self.cpus.or(file.cpus),
            sources: self.sources.or(file.sources),
            ca: self.ca.or(file.ca),
            insecure: self.insecure.or(file.insecure),
            cert: self.cert.or(file.cert),
            key: self.key.or(file.key),
            resume: self.resume.or(file.resume),
            username: self.username.or(file.username),
            password: self.password.or(file.password),
            keep_alive: self.keep_alive.or(file.keep_alive),
            connect_rate: self.connect_rate.or(file.connect_rate),
            warmup: self.warmup.or(file.warmup),
            duration: self.duration.or(file.duration),
            patience: self.patience.or(file.patience),
            run_id: self.run_id.or(file.run_id),
            max_p99_ms: self.max_p99_ms.or(file.max_p99_ms),
            max_p999_ms: self.max_p999_ms.or(file.max_p999_ms),
            min_delivered: self.min_delivered.or(file.min_delivered),
            max_cpu_per_million: self.max_cpu_per_million.or(file.max_cpu_per_million),
            max_memory_mib: self.max_memory_mib.or(file.max_memory_mib),
            max_lost: self.max_lost.or(file.max_lost),
            max_duplicated: self.max_duplicated.or(file.max_duplicated),
            max_out_of_order: self.max_out_of_order.or(file.max_out_of_order),
            max_disconnects: self.max_disconnects.or(file.max_disconnects),
            json: self.json.or(file.json),
            html: self.html.or(file.html),
            quiet: self.quiet.or(file.quiet),
        }
    }

    /// Fills in the defaults and checks the rest.
    pub fn resolve(self) -> Result<Settings, SettingsError> {
        let target_text = self.target.unwrap_or_else(|| "127.0.0.1:1883".to_string());
        let target = Target {
            label: self.label.unwrap_or_else(|| target_text.clone()),
            location: locate(&target_text)?,
            pid: self.broker_pid,
        };
        let against = match self.compare_with {
            Some(text) => Some(parse_against(&text, self.compare_label)?),
            None => None,
        };
        let rounds = self.rounds.unwrap_or(if against.is_some() { 3 } else { 1 });
        let threads = self.threads.unwrap_or(1);
        require(rounds > 0, "rounds", "at least 1")?;
        require((1..=1024).contains(&threads), "threads", "between 1 and 1024")?;
        let is_tls = |target: &Target| target.location.is_tls;
        let tls = if is_tls(&target) || against.as_ref().is_some_and(is_tls) {
            let options = TlsOptions {
                ca: self.ca,
                is_insecure: self.insecure.unwrap_or(false),
                certificate: self.cert,
                key: self.key,
            };
            Some(tls::client_config(&options).map_err(SettingsError::Tls)?)
        } else {
            None
        };
        Ok(Settings {
            target,
            against,
            rounds,
            version: match self.protocol.unwrap_or(Protocol::V311) {
                Protocol::V311 => Version::V311,
                Protocol::V5 => Version::V5,
            },
            threads,
            cpus: self.cpus.unwrap_or_default(),
            sources: self.sources,
            tls,
            resumes: self.resume.unwrap_or(false),
            username: self.username,
            password: self.password,
            keep_alive_s: self.keep_alive.unwrap_or(60),
            connect_rate: rate("connect-rate", self.connect_rate)?,
            warmup: seconds("warmup", self.warmup, 1.0)?,
            duration: seconds("duration", self.duration, 10.0)?,
            patience: seconds("patience", self.patience, 10.0)?,
            run_id: self.run_id.unwrap_or_else(fresh_run_id),
            limits: Limits {
                p99_ms_max: self.max_p99_ms,
                p999_ms_max: self.max_p999_ms,
                delivered_min: self.min_delivered,
                cpu_per_million_max: self.max_cpu_per_million,
                memory_mib_max: self.max_memory_mib,
                lost_max: self.max_lost.unwrap_or(0),
                duplicated_max: self.max_duplicated,
                out_of_order_max: self.max_out_of_order.unwrap_or(0),
                disconnects_max: self.max_disconnects.unwrap_or(0),
            },
            json: self.json,
            html: self.html,
            is_quiet: self.quiet.unwrap_or(false),
        })
    }
}

fn require(holds: bool, name: &'static str, must: &'static str) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::Range { name, must }) }
}

/// The longest time a setting may ask for: a year.
const SECONDS_MAX: f64 = 31_536_000.0;

fn seconds(
    name: &'static str,
    given: Option<f64>,
    default_s: f64,
) -> Result<Duration, SettingsError> {
    let seconds = given.unwrap_or(default_s);
    require((0.0..=SECONDS_MAX).contains(&seconds), name, "between 0 and 31536000 seconds")?;
    Ok(Duration::from_secs_f64(seconds))
}

fn rate(name: &'static str, given: Option<f64>) -> Result<f64, SettingsError> {
    let rate = given.unwrap_or(0.0);
    require((0.0..=1e9).contains(&rate), name, "between 0 and 1000000000 a second")?;
    Ok(rate)
}

fn locate(text: &str) -> Result<Location, SettingsError> {
    let error = |reason: String| SettingsError::Target { given: text.to_string(), reason };
    let location = Location::parse(text).map_err(error)?;
    if location.is_tls && ServerName::try_from(location.host.as_str()).is_err() {
        return Err(error("no name that a certificate could have".to_string()));
    }
    Ok(location)
}

fn parse_against(text: &str, label: Option<String>) -> Result<Target, SettingsError> {
    let error = || SettingsError::CompareWith { given: text.to_string() };
    let (address, pid) = match text.split_once(',') {
        Some((address, pid)) => (address, Some(pid.parse().map_err(|_| error())?)),
        None => (text, None),
    };
    let label = label.unwrap_or_else(|| address.to_string());
    Ok(Target { label, location: locate(address)?, pid })
}

/// Two runs at a time against one broker must not hear each other.
fn fresh_run_id() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = (since_epoch.as_nanos() as u64) ^ u64::from(std::process::id()) << 40;
    format!("{:08x}", mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32)
}

impl Settings {
    /// The door for `connection_count` connections: on loopback there are source addresses
    /// enough for any number of them.
    #[must_use]
    pub fn door(&self, connection_count: usize) -> Door {
        let sources = self.sources.clone().unwrap_or_else(|| {
            let count = connection_count.div_ceil(CONNECTIONS_PER_SOURCE);
            let is_elsewhere =
                !matches!(self.target.location.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
            if is_elsewhere || count < 2 {
                return Vec::new();
            }
            let hosts = 1..=count.min(250) as u8;
            hosts.map(|host| IpAddr::V4(Ipv4Addr::new(127, 0, 0, host))).collect()
        });
        Door {
            target: self.target.location.address,
            wrapping: self.wrapping(),
            version: self.version,
            keep_alive_s: self.keep_alive_s,
            username: self.username.clone(),
            password: self.password.clone(),
            sources,
        }
    }

    /// What the broker's scheme asks for below MQTT.
    fn wrapping(&self) -> Option<Wrapping> {
        let location = &self.target.location;
        let name = ServerName::try_from(location.host.clone()).ok();
        let tls = match (&self.tls, name) {
            (Some(config), Some(name)) if location.is_tls => {
                Some(TlsPlan { config: Arc::clone(config), name, resumes: self.resumes })
            }
            _ => None,
        };
        let request = location.path.as_ref().map(|path| {
            let request = websocket::request(&location.authority, path);
            Arc::from(request)
        });
        (tls.is_some() || request.is_some()).then_some(Wrapping { tls, request })
    }

    /// The same for the other broker.
    #[must_use]
    pub fn against(&self) -> Option<Self> {
        let target = self.against.clone()?;
        Some(Self { target, ..self.clone() })
    }
}

impl Limits {
    /// Writes into `report` which limits do not hold. `duplicated_max` is the scenario's own
    /// limit, which one of the user replaces.
    pub fn judge(&self, report: &mut Report, duplicated_max: u64) {
        let faults = report.faults;
        let Faults { refused, connect_failed, dropped, .. } = faults;
        let duplicated_max = self.duplicated_max.unwrap_or(duplicated_max);
        let counted = [
            ("lost", faults.lost, self.lost_max),
            ("duplicated", faults.duplicated, duplicated_max),
            ("out of order", faults.out_of_order, self.out_of_order_max),
            ("corrupt", faults.corrupt, 0),
            ("misrouted", faults.misrouted, 0),
            ("protocol errors", faults.protocol_errors, 0),
            ("unacknowledged", faults.unacknowledged, self.lost_max),
            ("disconnects", refused + connect_failed + dropped, self.disconnects_max),
        ];
        for (name, found, allowed) in counted {
            if found > allowed {
                report.broken_limits.push(format!("{name}: {found}, allowed {allowed}"));
            }
        }
        let measured = [
            ("delivery p99", self.p99_ms_max, Ordering::AtMost),
            ("delivery p99.9", self.p999_ms_max, Ordering::AtMost),
            ("broker CPU per million delivered", self.cpu_per_million_max, Ordering::AtMost),
            ("broker memory", self.memory_mib_max, Ordering::AtMost),
            ("delivered", self.delivered_min, Ordering::AtLeast),
        ];
        for (name, limit, ordering) in measured {
            let Some(limit) = limit else { continue };
            match (report.value(name), ordering) {
                (None, _) => report.broken_limits.push(format!("{name}: not measured")),
                (Some(value), Ordering::AtMost) if value > limit => {
                    report.broken_limits.push(format!("{name}: {value:.3}, at most {limit}"));
                }
                (Some(value), Ordering::AtLeast) if value < limit => {
                    report.broken_limits.push(format!("{name}: {value:.3}, at least {limit}"));
                }
                _ => {}
            }
        }
    }
}

enum Ordering {
    AtMost,
    AtLeast,
}

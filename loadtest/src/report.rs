//! What a run found, as data: the same for the table, the JSON file and the comparison.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One run's findings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// Which broker, in the user's words.
    pub label: String,
    /// The broker's address.
    pub target: String,
    /// The broker's command line, when its process is known.
    pub command_line: Option<String>,
    /// Seconds since 1970 at the start.
    pub started_unix_s: u64,
    /// The settings that shape the load.
    pub settings: BTreeMap<String, String>,
    /// The results.
    pub figures: Vec<Figure>,
    /// What went wrong with messages and connections.
    pub faults: Faults,
    /// Distributions of latency.
    pub latencies: Vec<Latency>,
    /// The course of the run.
    pub timeline: Vec<Moment>,
    /// The first reasons why connections ended, and other notes.
    pub remarks: Vec<String>,
    /// The limits that did not hold.
    pub broken_limits: Vec<String>,
}

/// One number with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is; the key of comparisons.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The number.
    pub value: f64,
    /// Which direction is good.
    pub better: Better,
}

/// Which direction of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It only describes the run.
    Neither,
}

/// Everything that must be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Copies that never arrived.
    pub lost: u64,
    /// Copies that arrived again without reason.
    pub duplicated: u64,
    /// Copies that arrived after a later one.
    pub out_of_order: u64,
    /// Damaged payloads.
    pub corrupt: u64,
    /// Messages that reached a client which must not get them.
    pub misrouted: u64,
    /// Bytes that are not MQTT, and packets out of place.
    pub protocol_errors: u64,
    /// Refused connections, subscriptions and messages.
    pub refused: u64,
    /// Connections that did not come up.
    pub connect_failed: u64,
    /// Connections that broke.
    pub dropped: u64,
    /// Messages that were never acknowledged.
    pub unacknowledged: u64,
}

/// A distribution of latency, in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Which.
    pub name: String,
    /// How many were recorded.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: u64,
    /// 90 %.
    pub p90_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// The largest.
    pub max_us: u64,
    /// (share of all, latency at most), for the plot.
    pub curve: Vec<(f64, u64)>,
}

/// The state of the run at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since the start.
    pub at_s: f64,
    /// Clients online.
    pub online: u64,
    /// Messages sent so far.
    pub sent: u64,
    /// Copies delivered so far.
    pub delivered: u64,
    /// The broker's CPU seconds so far.
    pub cpu_s: Option<f64>,
    /// The broker's resident memory.
    pub resident_bytes: Option<u64>,
}

impl Report {
    /// Adds a figure.
    pub fn figure(&mut self, name: &str, unit: &str, value: f64, better: Better) {
        // JSON knows no infinity and no NaN: a figure that could not be computed is left out.
        if value.is_finite() {
            let (name, unit) = (name.to_string(), unit.to_string());
            self.figures.push(Figure { name, unit, value, better });
        }
    }

    /// Adds a distribution and its figures, if anything was recorded.
    pub fn latency(&mut self, name: &str, histogram: &Histogram<u64>) {
        if histogram.is_empty() {
            return;
        }
        let latency = Latency::new(name, histogram);
        let shares = [("p50", latency.p50_us), ("p99", latency.p99_us), ("p99.9", latency.p999_us)];
        for (share, value_us) in shares {
            let value_ms = value_us as f64 / 1e3;
            self.figure(&format!("{name} {share}"), "ms", value_ms, Better::Lower);
        }
        self.latencies.push(latency);
    }

    /// The value of a figure.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// Notes a setting.
    pub fn setting(&mut self, name: &str, value: impl std::fmt::Display) {
        self.settings.insert(name.to_string(), value.to_string());
    }

    /// Every limit held.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.broken_limits.is_empty()
    }
}

impl Faults {
    /// Each fault with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
            ("corrupt", self.corrupt),
            ("misrouted", self.misrouted),
            ("protocol errors", self.protocol_errors),
            ("refused", self.refused),
            ("connects failed", self.connect_failed),
            ("connections dropped", self.dropped),
            ("unacknowledged", self.unacknowledged),
        ]
    }
}

impl Latency {
    /// The distribution of `histogram`.
    #[must_use]
    pub fn new(name: &str, histogram: &Histogram<u64>) -> Self {
        let curve = histogram.iter_quantiles(2).map(|step| {
            (step.quantile_iterated_to(), step.value_iterated_to().min(histogram.max()))
        });
        Self {
            name: name.to_string(),
            count: histogram.len(),
            mean_us: histogram.mean(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            curve: curve.collect(),
        }
    }
}

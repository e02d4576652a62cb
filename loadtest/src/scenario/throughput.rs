//! `throughput`: a closed loop, as fast as the broker can.
//!
//! Each publisher keeps a window of messages that are neither delivered nor acknowledged. The
//! loop measures capacity and cost; its latencies say how full the window kept the queues, so
//! for latency use `rate`.

use clap::Args;
use serde::Deserialize;

use super::shape::ShapeOptions;
use crate::desk::Pacing;
use crate::fleet::RunError;
use crate::report::Report;
use crate::settings::Settings;

/// One latency in this many is recorded: the loop must not pay for a histogram each message.
const SAMPLE_EVERY: u64 = 16;

/// The options.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Throughput {
    /// Who publishes what to whom.
    #[command(flatten)]
    pub traffic: ShapeOptions,
    /// The window.
    #[command(flatten)]
    pub window: Window,
}

/// The window of a closed loop.
#[derive(Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Window {
    /// Messages in flight of each publisher
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub in_flight: u16,
}

impl Default for Window {
    fn default() -> Self {
        Self { in_flight: 100 }
    }
}

impl Throughput {
    /// Runs it once.
    pub fn run(&self, settings: &Settings) -> Result<Report, RunError> {
        let mut report = super::begin_report("throughput", settings);
        self.traffic.describe(&mut report);
        report.setting("in flight", self.window.in_flight);
        let plan = self.traffic.plan(settings, SAMPLE_EVERY);
        let mut fleet = super::start(plan, usize::from(self.window.in_flight), settings)?;
        super::bring_up(&mut fleet, settings)?;
        let window = u64::from(self.window.in_flight.max(1));
        fleet.publish(Pacing::Closed { window }, u64::MAX);
        fleet.pass("warming up", settings.warmup);
        fleet.measure(true);
        let start = fleet.mark()?;
        fleet.pass("measuring", settings.duration);
        let end = fleet.mark()?;
        fleet.measure(false);
        fleet.stop();
        fleet.drain(settings.patience);
        super::report_traffic(&mut report, &start, &end);
        super::report_outcome(&mut report, fleet.finish(settings.patience)?);
        settings.limits.judge(&mut report, 0);
        Ok(report)
    }
}

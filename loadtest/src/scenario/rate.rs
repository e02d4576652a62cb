//! `rate`: an open loop at a given rate.
//!
//! Messages fall due by the clock, whatever became of those before, and latency counts from the
//! time a message was due. A broker, or a harness, that falls behind cannot hide it by sending
//! less: what is late shows in every message behind it.

use clap::Args;
use serde::Deserialize;

use super::shape::ShapeOptions;
use crate::error::RunError;
use crate::report::{Better, Report};
use crate::settings::Settings;

/// The options.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Rate {
    /// Who publishes what to whom.
    #[command(flatten)]
    pub traffic: ShapeOptions,
    /// The speed.
    #[command(flatten)]
    pub speed: Speed,
}

/// The speed of an open loop.
#[derive(Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Speed {
    /// Messages a second of all publishers together
    #[arg(long, default_value_t = 20_000.0)]
    pub rate: f64,
    /// Unacknowledged messages of each publisher at most (QoS 1 and 2)
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub in_flight: u16,
}

impl Default for Speed {
    fn default() -> Self {
        Self { rate: 20_000.0, in_flight: 1000 }
    }
}

impl Rate {
    /// Runs it once.
    pub fn run(&self, settings: &Settings) -> Result<Report, RunError> {
        let mut report = super::begin_report("rate", settings);
        self.traffic.describe(&mut report);
        report.setting("rate", format!("{} msg/s", self.speed.rate));
        let plan = self.traffic.plan(settings, 1);
        let mut fleet = super::start(plan, usize::from(self.speed.in_flight), settings)?;
        super::bring_up(&mut fleet, settings)?;
        fleet.publish_at(self.speed.rate);
        fleet.pass("warming up", settings.warmup);
        fleet.measure(true);
        let start = fleet.mark()?;
        fleet.pass("measuring", settings.duration);
        let end = fleet.mark()?;
        fleet.measure(false);
        fleet.stop();
        fleet.drain(settings.patience)?;
        super::report_traffic(&mut report, &start, &end);
        if let Some(sent) = report.value("sent") {
            let share = 100.0 * sent / self.speed.rate;
            report.figure("rate held", "%", share, Better::Neither);
        }
        super::report_outcome(&mut report, fleet.finish(settings.patience)?);
        settings.limits.judge(&mut report, 0);
        Ok(report)
    }
}

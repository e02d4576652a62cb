//! `throughput`: a closed loop, as fast as the broker can.
//!
//! Each publisher keeps a window of messages that are neither delivered nor acknowledged. The
//! loop measures capacity and cost; its latencies say how full the window kept the queues, so
//! for latency use `rate`.

use clap::Args;
use serde::Deserialize;

use super::shape::ShapeOptions;
use crate::count::Count;
use crate::desk::Pacing;
use crate::error::RunError;
use crate::fleet::{Fleet, Mark};
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
    /// Messages of each stream, after which the run ends whatever the duration says
    #[arg(long)]
    pub messages: Option<u64>,
}

impl Default for Window {
    fn default() -> Self {
        Self { in_flight: 100, messages: None }
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
        let pacing = Pacing::Closed { window: u64::from(self.window.in_flight.max(1)) };
        let (start, end) = match self.window.messages {
            Some(messages) => count_through(&mut fleet, settings, pacing, messages)?,
            None => run_through(&mut fleet, settings, pacing)?,
        };
        fleet.measure(false);
        fleet.stop();
        fleet.drain(settings.patience)?;
        super::report_traffic(&mut report, &start, &end);
        super::report_outcome(&mut report, fleet.finish(settings.patience)?);
        settings.limits.judge(&mut report, 0);
        Ok(report)
    }
}

/// Publishes for a time.
fn run_through(
    fleet: &mut Fleet,
    settings: &Settings,
    pacing: Pacing,
) -> Result<(Mark, Mark), RunError> {
    fleet.publish(pacing, u64::MAX);
    fleet.pass("warming up", settings.warmup);
    fleet.measure(true);
    let start = fleet.mark()?;
    fleet.pass("measuring", settings.duration);
    Ok((start, fleet.mark()?))
}

/// Publishes a number of messages of each stream.
fn count_through(
    fleet: &mut Fleet,
    settings: &Settings,
    pacing: Pacing,
    messages: u64,
) -> Result<(Mark, Mark), RunError> {
    fleet.measure(true);
    let start = fleet.mark()?;
    fleet.publish(pacing, messages);
    let copies: u64 = fleet.plan().streams.iter().map(|stream| u64::from(stream.copies)).sum();
    let total = messages.saturating_mul(copies);
    // A stream that stops before its end has lost something, which the drain finds.
    let _ = fleet.wait("measuring", settings.patience, |tally| tally[Count::Delivered] >= total);
    Ok((start, fleet.mark()?))
}

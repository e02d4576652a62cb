//! The scenarios: each turns its options into a plan and a short course of commands.

pub mod chat;
pub mod connect;
pub mod offline;
pub mod rate;
pub mod shape;
pub mod throughput;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::Process;
use crate::count::Count;
use crate::error::RunError;
use crate::findings::Outcome;
use crate::fleet::{Fleet, Mark};
use crate::plan::Plan;
use crate::report::{Better, Report};
use crate::settings::Settings;

/// The broker's process, if the user has named it.
pub fn broker(settings: &Settings) -> Result<Option<Process>, RunError> {
    Ok(settings.target.pid.map(Process::watch).transpose()?)
}

/// A report with everything that is known before the run.
#[must_use]
pub fn begin_report(scenario: &str, settings: &Settings) -> Report {
    let command_line = settings.target.pid.and_then(|pid| Process::watch(pid).ok()?.command_line());
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut report = Report {
        scenario: scenario.to_string(),
        label: settings.target.label.clone(),
        target: settings.target.location.to_string(),
        command_line,
        started_unix_s: since_epoch.as_secs(),
        ..Report::default()
    };
    report.setting("protocol", settings.version);
    report.setting("threads", settings.threads);
    report
}

/// Connects and subscribes everybody.
pub fn bring_up(fleet: &mut Fleet, settings: &Settings) -> Result<(), RunError> {
    let count = fleet.plan().clients.len();
    fleet.connect(0..count as u32, settings.connect_rate);
    fleet.wait_online("connecting", settings.patience, count)
}

/// The figures of traffic between two marks.
pub fn report_traffic(report: &mut Report, start: &Mark, end: &Mark) {
    let elapsed_s = (end.at - start.at).as_secs_f64();
    let delivered = end.tally.since(&start.tally, Count::Delivered) as f64;
    let sent = end.tally.since(&start.tally, Count::Sent) as f64;
    let millions = delivered / 1e6;
    report.figure("sent", "msg/s", sent / elapsed_s, Better::Higher);
    report.figure("delivered", "msg/s", delivered / elapsed_s, Better::Higher);
    if let (Some(before), Some(after)) = (start.broker, end.broker) {
        let cpu_s = after.cpu_s() - before.cpu_s();
        let user_s = after.user_s - before.user_s;
        let system_s = after.system_s - before.system_s;
        let name = "broker CPU per million delivered";
        report.figure(name, "s", cpu_s / millions, Better::Lower);
        report.figure("of it user", "s", user_s / millions, Better::Lower);
        report.figure("of it system", "s", system_s / millions, Better::Lower);
        report.figure("broker CPU", "%", 100.0 * cpu_s / elapsed_s, Better::Neither);
        let memory_mib = after.resident_bytes as f64 / MIB;
        report.figure("broker memory", "MiB", memory_mib, Better::Lower);
    }
    let own_s = end.own.cpu_s() - start.own.cpu_s();
    let name = "harness CPU per million delivered";
    report.figure(name, "s", own_s / millions, Better::Neither);
    report.figure("harness CPU", "%", 100.0 * own_s / elapsed_s, Better::Neither);
    let calls =
        end.tally.since(&start.tally, Count::Reads) + end.tally.since(&start.tally, Count::Writes);
    let per_delivery = calls as f64 / delivered;
    report.figure("harness reads and writes per delivery", "", per_delivery, Better::Neither);
}

/// Bytes of a mebibyte.
pub const MIB: f64 = 1_048_576.0;

/// Adds what the end of the run told.
pub fn report_outcome(report: &mut Report, outcome: Outcome) {
    report.latency("delivery", &outcome.latencies.delivery);
    report.latency("catching up", &outcome.latencies.catch_up);
    report.latency("acknowledgement", &outcome.latencies.acknowledgement);
    report.latency("connect", &outcome.latencies.connect);
    report.latency("reconnect", &outcome.latencies.reconnect);
    report.latency("held back", &outcome.latencies.hold_back);
    report.faults = outcome.faults;
    report.timeline = outcome.timeline;
    report.remarks = outcome.remarks;
    let redelivered = outcome.tally[Count::Redelivered];
    if redelivered > 0 {
        report.figure("redelivered with DUP", "msg", redelivered as f64, Better::Neither);
    }
}

/// Starts the workers of a plan.
pub fn start(mut plan: Plan, window: usize, settings: &Settings) -> Result<Fleet, RunError> {
    plan.place();
    Fleet::start(plan, window, broker(settings)?, settings.is_quiet)
}

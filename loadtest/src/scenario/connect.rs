//! `connect`: ramp, hold, reconnect storm.
//!
//! What a connection costs: CPU to come up, memory while it is held, CPU while it is idle, and
//! how the broker takes it when all of them break and return at once.

use clap::Args;
use serde::Deserialize;

use crate::count::Count;
use crate::error::RunError;
use crate::fleet::{Fleet, Mark};
use crate::mqtt::Qos;
use crate::plan::{ClientPlan, Plan};
use crate::report::{Better, Report};
use crate::settings::Settings;
use crate::stamp::STAMP_SIZE;

/// The options. The ramp's speed is `--connect-rate`, the hold's length `--duration`.
#[derive(Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Connect {
    /// Connections
    #[arg(long, short = 'n', default_value_t = 10_000)]
    pub connections: u32,
    /// Subscriptions of each
    #[arg(long, default_value_t = 1)]
    pub filters: u32,
    /// Times that all connections break and return
    #[arg(long, default_value_t = 1)]
    pub storms: u32,
    /// Keep sessions over the storms
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    pub persistent: bool,
}

impl Default for Connect {
    fn default() -> Self {
        Self { connections: 10_000, filters: 1, storms: 1, persistent: false }
    }
}

impl Connect {
    /// Runs it once.
    pub fn run(&self, settings: &Settings) -> Result<Report, RunError> {
        let mut report = super::begin_report("connect", settings);
        report.setting("connections", self.connections);
        report.setting("filters each", self.filters);
        report.setting("storms", self.storms);
        report.setting("sessions kept", self.persistent);
        let mut fleet = super::start(self.plan(settings), 1, settings)?;
        fleet.measure(true);
        let empty = fleet.mark()?;
        super::bring_up(&mut fleet, settings)?;
        let full = fleet.mark()?;
        report_ramp(&mut report, "ramp", settings, &empty, &full);
        self.hold(&mut fleet, settings, &mut report, &empty)?;
        for _ in 0..self.storms {
            self.storm(&mut fleet, settings, &mut report)?;
        }
        if self.persistent {
            let everybody = 0..self.connections;
            fleet.leave(everybody.clone(), false);
            fleet.wait_online("leaving", settings.patience, 0)?;
            fleet.clean(everybody, settings.patience);
        }
        super::report_outcome(&mut report, fleet.finish(settings.patience)?);
        settings.limits.judge(&mut report, 0);
        Ok(report)
    }

    fn hold(
        &self,
        fleet: &mut Fleet,
        settings: &Settings,
        report: &mut Report,
        empty: &Mark,
    ) -> Result<(), RunError> {
        fleet.pass("settling", settings.warmup);
        let start = fleet.mark()?;
        fleet.pass("holding", settings.duration);
        let end = fleet.mark()?;
        let (Some(empty), Some(start_usage), Some(usage)) =
            (empty.broker, start.broker, end.broker)
        else {
            return Ok(());
        };
        let elapsed_s = (end.at - start.at).as_secs_f64();
        let grown = usage.resident_bytes.saturating_sub(empty.resident_bytes) as f64;
        let each = grown / f64::from(self.connections);
        report.figure("memory per connection", "B", each, Better::Lower);
        report.figure(
            "broker memory",
            "MiB",
            usage.resident_bytes as f64 / super::MIB,
            Better::Lower,
        );
        let idle = 100.0 * (usage.cpu_s() - start_usage.cpu_s()) / elapsed_s;
        report.figure("broker CPU while held", "%", idle, Better::Lower);
        Ok(())
    }

    fn storm(
        &self,
        fleet: &mut Fleet,
        settings: &Settings,
        report: &mut Report,
    ) -> Result<(), RunError> {
        let everybody = 0..self.connections;
        fleet.leave(everybody.clone(), true);
        fleet.wait("breaking off", settings.patience, |tally| tally[Count::Online] == 0)?;
        let start = fleet.mark()?;
        fleet.connect(everybody, 0.0);
        fleet.wait_online("reconnect storm", settings.patience, self.connections as usize)?;
        let end = fleet.mark()?;
        report_ramp(report, "storm", settings, &start, &end);
        if let Some(usage) = end.broker {
            let mib = usage.resident_bytes as f64 / super::MIB;
            report.figure("broker memory after storm", "MiB", mib, Better::Lower);
        }
        Ok(())
    }

    fn plan(&self, settings: &Settings) -> Plan {
        let client = |number: u32| ClientPlan {
            id: format!("lt-{}-c{number}", settings.run_id),
            session_expiry_s: self.persistent.then_some(3600),
            filters: (0..self.filters)
                .map(|filter| format!("lt/{}/c/{number}/{filter}", settings.run_id))
                .collect(),
            affinity: number,
            ..ClientPlan::default()
        };
        Plan {
            door: settings.door(self.connections as usize),
            qos: Qos::AtLeastOnce,
            payload_size: STAMP_SIZE,
            worker_count: settings.threads,
            cpus: settings.cpus.clone(),
            sample_every: 1,
            clients: (0..self.connections).map(client).collect(),
            streams: Vec::new(),
            groups: Vec::new(),
        }
    }
}

fn report_ramp(report: &mut Report, name: &str, settings: &Settings, start: &Mark, end: &Mark) {
    let elapsed_s = (end.at - start.at).as_secs_f64();
    let connected = end.tally.since(&start.tally, Count::Connected) as f64;
    let rate = connected / elapsed_s;
    report.figure(&format!("{name} connects"), "1/s", rate, Better::Higher);
    if settings.target.location.is_tls {
        let resumed = 100.0 * end.tally.since(&start.tally, Count::Resumed) as f64 / connected;
        report.figure(&format!("{name} sessions resumed"), "%", resumed, Better::Neither);
    }
    if let (Some(before), Some(after)) = (start.broker, end.broker) {
        let each_us = 1e6 * (after.cpu_s() - before.cpu_s()) / connected;
        report.figure(&format!("{name} broker CPU per connection"), "us", each_us, Better::Lower);
    }
    let own_us = 1e6 * (end.own.cpu_s() - start.own.cpu_s()) / connected;
    report.figure(&format!("{name} harness CPU per connection"), "us", own_us, Better::Neither);
}

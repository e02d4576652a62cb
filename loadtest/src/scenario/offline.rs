//! `offline`: messages for who is away.
//!
//! Persistent sessions subscribe and leave. Publishers publish to them at QoS 1 or 2. On the way
//! a command may crash and restart the broker: what was acknowledged must survive it, and what
//! was not is sent again. Then the sessions return and drain, and each must get all of its
//! messages, in order, and at QoS 2 once.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::broker::Process;
use crate::count::Count;
use crate::desk::Pacing;
use crate::error::RunError;
use crate::fleet::{Fleet, Mark};
use crate::mqtt::Qos;
use crate::plan::{ClientPlan, Expected, Plan, StreamPlan};
use crate::report::{Better, Report};
use crate::settings::{QosLevel, Settings};
use crate::stamp::STAMP_SIZE;

/// How soon a client that lost its broker knocks again.
const REDIAL_AFTER: Duration = Duration::from_millis(200);

/// The options.
#[derive(Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Offline {
    /// Sessions that are away
    #[arg(long, default_value_t = 100)]
    pub sessions: u32,
    /// Sessions that subscribe to the same topic
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions_per_topic: u32,
    /// Messages to each topic
    #[arg(long, default_value_t = 1000)]
    pub messages: u32,
    /// Publishers
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: u32,
    /// Unacknowledged messages of each publisher at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub in_flight: u16,
    /// Bytes of a payload, at least 16
    #[arg(long, default_value_t = 128)]
    pub payload: u32,
    /// QoS of messages and subscriptions, 1 or 2
    #[arg(long, default_value_t = QosLevel(Qos::AtLeastOnce))]
    pub qos: QosLevel,
    /// A shell command that crashes the broker and starts it again
    #[arg(long, value_name = "COMMAND")]
    pub crash_command: Option<String>,
    /// Share of all messages that are acknowledged when the crash comes
    #[arg(long, default_value_t = 0.5)]
    pub crash_at: f64,
    /// Where the broker's process number is found after the crash
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
}

impl Default for Offline {
    fn default() -> Self {
        Self {
            sessions: 100,
            sessions_per_topic: 1,
            messages: 1000,
            publishers: 10,
            in_flight: 100,
            payload: 128,
            qos: QosLevel(Qos::AtLeastOnce),
            crash_command: None,
            crash_at: 0.5,
            pid_file: None,
        }
    }
}

impl Offline {
    /// Runs it once.
    pub fn run(&self, settings: &Settings) -> Result<Report, RunError> {
        let mut report = super::begin_report("offline", settings);
        self.describe(&mut report);
        let mut fleet = super::start(self.plan(settings), usize::from(self.in_flight), settings)?;
        let sessions = 0..self.sessions;
        let publishers = self.sessions..self.sessions + self.publishers;
        self.make_sessions(&mut fleet, settings)?;
        fleet.connect(publishers.clone(), settings.connect_rate);
        fleet.wait_online("connecting publishers", settings.patience, publishers.len())?;
        let start = fleet.mark()?;
        self.publish(&mut fleet, settings)?;
        let published = fleet.mark()?;
        report_store(&mut report, &start, &published);
        fleet.leave(publishers.clone(), false);
        fleet.wait("publishers leave", settings.patience, |tally| tally[Count::Online] == 0)?;
        let start = fleet.mark()?;
        fleet.connect(sessions.clone(), settings.connect_rate);
        let drained = fleet.drain(settings.patience)?;
        report_drain(&mut report, &start, &drained);
        fleet.redial(None);
        fleet.leave(sessions.clone(), false);
        // Whoever is stuck is closed in the end.
        let _ = fleet.wait("sessions leave", settings.patience, |tally| tally[Count::Online] == 0);
        fleet.clean(sessions.start..publishers.end, settings.patience);
        super::report_outcome(&mut report, fleet.finish(settings.patience)?);
        // [MQTT-4.3.2-2]: what a crash leaves unacknowledged is sent again, and may be twice.
        let is_repeatable = self.crash_command.is_some() && self.qos.0 == Qos::AtLeastOnce;
        settings.limits.judge(&mut report, if is_repeatable { u64::MAX } else { 0 });
        Ok(report)
    }

    fn describe(&self, report: &mut Report) {
        report.setting("sessions", self.sessions);
        report.setting("sessions a topic", self.sessions_per_topic);
        report.setting("messages a topic", self.messages);
        report.setting("publishers", self.publishers);
        report.setting("in flight", self.in_flight);
        report.setting("payload", format!("{} B", self.payload));
        report.setting("QoS", self.qos);
        if let Some(command) = &self.crash_command {
            report.setting("crash command", command);
            report.setting("crash at", self.crash_at);
        }
    }

    fn make_sessions(&self, fleet: &mut Fleet, settings: &Settings) -> Result<(), RunError> {
        let sessions = 0..self.sessions;
        fleet.connect(sessions.clone(), settings.connect_rate);
        fleet.wait_online("making sessions", settings.patience, sessions.len())?;
        fleet.leave(sessions, false);
        fleet.wait("sessions leave", settings.patience, |tally| tally[Count::Online] == 0)
    }

    fn publish(&self, fleet: &mut Fleet, settings: &Settings) -> Result<(), RunError> {
        let total = u64::from(self.topics()) * u64::from(self.messages);
        let window = u64::from(self.in_flight);
        fleet.measure(true);
        fleet.publish(Pacing::Acknowledged { window }, u64::from(self.messages));
        if let Some(command) = &self.crash_command {
            fleet.redial(Some(REDIAL_AFTER));
            let crash_at = (total as f64 * self.crash_at.clamp(0.0, 1.0)) as u64;
            fleet.wait("publishing", settings.patience, |tally| {
                tally[Count::Acknowledged] >= crash_at
            })?;
            crash(command)?;
            if let Some(path) = &self.pid_file {
                fleet.set_broker(Some(read_pid(path)?));
            }
        }
        fleet.wait("publishing", settings.patience, |tally| {
            tally[Count::Acknowledged] >= total && tally[Count::Sent] >= total
        })
    }

    fn topics(&self) -> u32 {
        self.sessions.div_ceil(self.sessions_per_topic)
    }

    fn plan(&self, settings: &Settings) -> Plan {
        let prefix = format!("lt/{}/off", settings.run_id);
        let topic = |number: u32| format!("{prefix}/{number}");
        let session = |number: u32| {
            let topic_index = number / self.sessions_per_topic;
            ClientPlan {
                id: format!("lt-{}-o{number}", settings.run_id),
                session_expiry_s: Some(3600),
                filters: vec![topic(topic_index)],
                expects: Expected::range(topic_index..topic_index + 1),
                affinity: number,
                ..ClientPlan::default()
            }
        };
        let mut clients: Vec<ClientPlan> = (0..self.sessions).map(session).collect();
        let mut streams = Vec::new();
        let (topics, publishers) = (self.topics(), self.publishers);
        for number in 0..publishers {
            // Neighbouring topics to each publisher, as evenly as they go.
            let bound = |number: u32| {
                (u64::from(topics) * u64::from(number) / u64::from(publishers)) as u32
            };
            let own = bound(number)..bound(number + 1);
            for topic_index in own.clone() {
                let first = topic_index * self.sessions_per_topic;
                streams.push(StreamPlan {
                    topic: topic(topic_index),
                    publisher: clients.len() as u32,
                    copies: self.sessions_per_topic.min(self.sessions - first),
                    is_timed: true,
                });
            }
            clients.push(ClientPlan {
                id: format!("lt-{}-op{number}", settings.run_id),
                session_expiry_s: Some(3600),
                publishes: own,
                affinity: number,
                ..ClientPlan::default()
            });
        }
        Plan {
            door: settings.door(clients.len()),
            qos: self.qos.0.max(Qos::AtLeastOnce),
            payload_size: (self.payload as usize).max(STAMP_SIZE),
            worker_count: settings.threads,
            cpus: settings.cpus.clone(),
            sample_every: 1,
            clients,
            streams,
            groups: Vec::new(),
        }
    }
}

fn crash(command: &str) -> Result<(), RunError> {
    let status = Command::new("sh").arg("-c").arg(command).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(RunError::CommandFailed(format!("crash command '{command}': {status}")))
    }
}

fn read_pid(path: &PathBuf) -> Result<Process, RunError> {
    let text = std::fs::read_to_string(path)?;
    let pid = text.trim().parse().map_err(|_| {
        RunError::CommandFailed(format!("{}: holds no process number", path.display()))
    })?;
    Ok(Process::watch(pid)?)
}

fn report_store(report: &mut Report, start: &Mark, end: &Mark) {
    let elapsed_s = (end.at - start.at).as_secs_f64();
    let acknowledged = end.tally.since(&start.tally, Count::Acknowledged) as f64;
    report.figure("acknowledged", "msg/s", acknowledged / elapsed_s, Better::Higher);
    // After a crash the counter may belong to a younger process.
    let cpu_s = end.broker.zip(start.broker).map(|(end, start)| end.cpu_s() - start.cpu_s());
    if let Some(cpu_s) = cpu_s.filter(|cpu_s| *cpu_s >= 0.0) {
        let each = cpu_s / (acknowledged / 1e6);
        report.figure("broker CPU per million acknowledged", "s", each, Better::Lower);
    }
    if let Some(usage) = end.broker {
        let mib = usage.resident_bytes as f64 / super::MIB;
        report.figure("broker memory when stored", "MiB", mib, Better::Lower);
    }
}

fn report_drain(report: &mut Report, start: &Mark, end: &Mark) {
    let elapsed_s = (end.at - start.at).as_secs_f64();
    let delivered = end.tally.since(&start.tally, Count::Delivered) as f64;
    report.figure("drained", "msg/s", delivered / elapsed_s, Better::Higher);
    if let (Some(before), Some(after)) = (start.broker, end.broker) {
        let each = (after.cpu_s() - before.cpu_s()) / (delivered / 1e6);
        report.figure("broker CPU per million drained", "s", each, Better::Lower);
    }
}

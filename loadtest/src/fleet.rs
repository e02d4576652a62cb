//! The fleet: all workers of a run, commanded and watched from one thread.
//!
//! A scenario is a plan and a few lines of commands: connect, wait, publish, wait, stop, finish.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::broker::{Process, Usage};
use crate::count::{Count, Tally};
use crate::desk::{Flow, Pacing};
use crate::error::RunError;
use crate::findings::{Findings, Outcome};
use crate::mailbox::{Command, Mailbox};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Moment;
use crate::worker::{Seat, Worker};

/// How often the conductor looks at the counts.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How often the timeline gets a moment.
const MOMENT_INTERVAL: Duration = Duration::from_millis(500);

/// Descriptors the harness needs beside its connections.
const OTHER_DESCRIPTORS: usize = 64;

/// Counts and costs at one time.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When.
    pub at: Instant,
    /// The counts.
    pub tally: Tally,
    /// The broker's usage.
    pub broker: Option<Usage>,
    /// The harness's own usage.
    pub own: Usage,
}

/// The workers of one run.
#[derive(Debug)]
pub struct Fleet {
    plan: Arc<Plan>,
    mailboxes: Arc<[Arc<Mailbox>]>,
    threads: Vec<JoinHandle<io::Result<Findings>>>,
    clock: Instant,
    broker: Option<Process>,
    progress: Progress,
    timeline: Vec<Moment>,
}

impl Fleet {
    /// Starts the workers of `plan`; publishers get room for `window` messages in flight.
    pub fn start(
        plan: Plan,
        window: usize,
        broker: Option<Process>,
        is_quiet: bool,
    ) -> Result<Self, RunError> {
        raise_descriptor_limit(plan.clients.len() + OTHER_DESCRIPTORS)?;
        let plan = Arc::new(plan);
        let seats: Vec<Seat> =
            (0..plan.worker_count).map(|_| Seat::new()).collect::<io::Result<_>>()?;
        let mailboxes: Arc<[Arc<Mailbox>]> =
            seats.iter().map(|seat| Arc::clone(&seat.mailbox)).collect();
        let flows: Arc<[Flow]> = plan.clients.iter().map(|_| Flow::default()).collect();
        let clock = Instant::now();
        let mut threads = Vec::new();
        for (number, seat) in (0..).zip(seats) {
            let (plan, mailboxes, flows) =
                (Arc::clone(&plan), Arc::clone(&mailboxes), Arc::clone(&flows));
            let thread =
                thread::Builder::new().name(format!("load-{number}")).spawn(move || {
                    pin(&plan.cpus, usize::from(number))?;
                    sharpen_timers();
                    Worker::new(plan, number, seat, mailboxes, flows, window, clock).run()
                })?;
            threads.push(thread);
        }
        let progress = Progress::new(is_quiet);
        Ok(Self { plan, mailboxes, threads, clock, broker, progress, timeline: Vec::new() })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Connects clients, all workers together at this rate; zero is as fast as possible.
    pub fn connect(&self, clients: impl IntoIterator<Item = u32>, per_second: f64) {
        let shares = self.by_worker(clients);
        let total = shares.iter().map(Vec::len).sum::<usize>() as f64;
        for (mailbox, slots) in self.mailboxes.iter().zip(shares) {
            let per_second = per_second * slots.len() as f64 / total;
            mailbox.send(Command::Connect { slots, per_second });
        }
    }

    /// Disconnects clients.
    pub fn leave(&self, clients: impl IntoIterator<Item = u32>, is_abrupt: bool) {
        for (mailbox, slots) in self.mailboxes.iter().zip(self.by_worker(clients)) {
            if !slots.is_empty() {
                mailbox.send(Command::Leave { slots, is_abrupt });
            }
        }
    }

    /// Clients that lose their connection, or do not get one, dial again after `delay`.
    pub fn redial(&self, delay: Option<Duration>) {
        self.send_all(&Command::Redial(delay));
    }

    /// Lets the publishers publish.
    pub fn publish(&self, pacing: Pacing, limit: u64) {
        self.send_all(&Command::Publish { pacing, limit });
    }

    /// Lets the publishers publish in an open loop, so many messages a second together.
    pub fn publish_at(&self, per_second: f64) {
        let mut counts = vec![0usize; self.mailboxes.len()];
        for client in self.plan.clients.iter().filter(|client| !client.publishes.is_empty()) {
            counts[usize::from(client.worker)] += 1;
        }
        let total = counts.iter().sum::<usize>() as f64;
        // A moment ahead, so that every worker has its command by then.
        let start_us = self.clock.elapsed().as_micros() as u64 + 20_000;
        for (mailbox, count) in self.mailboxes.iter().zip(counts) {
            let per_second = per_second * count as f64 / total;
            mailbox.send(Command::PublishAt { per_second, start_us });
        }
    }

    /// Stops publishing.
    pub fn stop(&self) {
        self.publish(Pacing::Idle, 0);
    }

    /// Turns presence on or off, from the next connections on.
    pub fn presence(&self, is_on: bool) {
        self.send_all(&Command::Presence(is_on));
    }

    /// Ends the sessions of `clients`, which are away, so that a run leaves nothing behind.
    pub fn clean(&mut self, clients: std::ops::Range<u32>, patience: Duration) {
        let count = clients.len();
        self.presence(false);
        self.send_all(&Command::Clean(true));
        self.connect(clients.clone(), 0.0);
        // What remains is the broker's to expire: no finding of the run.
        let _ = self.wait_online("ending sessions", patience, count);
        self.leave(clients, false);
        let _ = self.wait("ending sessions", patience, |tally| tally[Count::Online] == 0);
        self.send_all(&Command::Clean(false));
    }

    /// Starts to record latencies, or stops.
    pub fn measure(&self, is_on: bool) {
        self.send_all(&Command::Measure(is_on));
    }

    fn send_all(&self, command: &Command) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(command.clone());
        }
    }

    fn by_worker(&self, clients: impl IntoIterator<Item = u32>) -> Vec<Vec<u32>> {
        let mut shares = vec![Vec::new(); self.mailboxes.len()];
        for index in clients {
            let client = &self.plan.clients[index as usize];
            shares[usize::from(client.worker)].push(client.slot);
        }
        shares
    }

    /// The counts of all workers.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for mailbox in self.mailboxes.iter() {
            sum.add(&mailbox.gauge.read());
        }
        sum
    }

    /// What connections said.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut all = Vec::new();
        for mailbox in self.mailboxes.iter() {
            let remarks = mailbox.remarks.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(remarks.iter().cloned());
        }
        all
    }

    /// Counts and costs now.
    pub fn mark(&self) -> Result<Mark, RunError> {
        let tally = self.tally();
        let broker = self.broker.as_ref().map(Process::usage).transpose()?;
        Ok(Mark { at: Instant::now(), tally, broker, own: Process::own().usage()? })
    }

    /// The broker that is watched from now on: after a crash it is another process.
    pub fn set_broker(&mut self, broker: Option<Process>) {
        self.broker = broker;
    }

    /// Names the stage of the run that begins.
    pub fn stage(&mut self, stage: &'static str) {
        self.progress.stage(stage);
    }

    /// Lets time pass in a stage of its own.
    pub fn pass(&mut self, stage: &'static str, duration: Duration) {
        self.stage(stage);
        self.idle(duration);
    }

    /// Lets time pass.
    pub fn idle(&mut self, duration: Duration) {
        let start = Instant::now();
        loop {
            let left = duration.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK_INTERVAL * 5));
            self.look();
        }
    }

    /// Waits until `is_done`; an error when no count moves for `patience`.
    pub fn wait(
        &mut self,
        stage: &'static str,
        patience: Duration,
        is_done: impl Fn(&Tally) -> bool,
    ) -> Result<(), RunError> {
        self.progress.stage(stage);
        let mut last = self.look();
        let mut moved = Instant::now();
        loop {
            if is_done(&last) {
                return Ok(());
            }
            thread::sleep(LOOK_INTERVAL);
            let tally = self.look();
            if tally != last {
                moved = Instant::now();
                last = tally;
            }
            if moved.elapsed() > patience {
                let (tally, remarks) = (Box::new(last), self.remarks());
                return Err(RunError::Stuck { stage, tally, remarks });
            }
        }
    }

    /// Waits until `count` clients are online; an error as soon as it cannot come to that.
    pub fn wait_online(
        &mut self,
        stage: &'static str,
        patience: Duration,
        count: usize,
    ) -> Result<(), RunError> {
        let ended = |tally: &Tally| {
            tally[Count::ConnectFailed] + tally[Count::Refused] + tally[Count::Dropped]
        };
        let count = count as u64;
        let ended_before = ended(&self.tally());
        let is_online = |tally: &Tally| tally[Count::Online] >= count;
        self.wait(stage, patience, |tally| {
            let is_hopeless = tally[Count::Online] + ended(tally) - ended_before >= count;
            tally[Count::Arriving] == 0 && (is_online(tally) || is_hopeless)
        })?;
        let tally = self.tally();
        if is_online(&tally) {
            return Ok(());
        }
        Err(RunError::Stuck { stage, tally: Box::new(tally), remarks: self.remarks() })
    }

    /// Waits until every copy owed is delivered and every message acknowledged, or `patience`
    /// passes without one more: what is missing then is lost, and counted as that in the end. How
    /// things stood at that moment, before the wait for copies that come too often.
    pub fn drain(&mut self, patience: Duration) -> Result<Mark, RunError> {
        let has_acknowledgements = self.plan.qos != crate::mqtt::Qos::AtMostOnce;
        let is_done = |tally: &Tally| {
            tally[Count::Delivered] >= tally[Count::Owed]
                && (!has_acknowledgements || tally[Count::Acknowledged] >= tally[Count::Sent])
        };
        // An error here is a finding, not a failure of the run.
        let _ = self.wait("draining", patience, is_done);
        let drained = self.mark();
        // What comes now comes too often.
        thread::sleep(LOOK_INTERVAL * 5);
        drained
    }

    fn look(&mut self) -> Tally {
        let tally = self.tally();
        self.progress.show(&tally);
        let at_s = self.clock.elapsed().as_secs_f64();
        let last_s = self.timeline.last().map_or(f64::MIN, |moment| moment.at_s);
        if at_s - last_s >= MOMENT_INTERVAL.as_secs_f64() {
            let usage = self.broker.as_ref().and_then(|broker| broker.usage().ok());
            self.timeline.push(Moment {
                at_s,
                online: tally[Count::Online],
                sent: tally[Count::Sent],
                delivered: tally[Count::Delivered],
                cpu_s: usage.map(|usage| usage.cpu_s()),
                resident_bytes: usage.map(|usage| usage.resident_bytes),
            });
        }
        tally
    }

    /// Disconnects everybody, ends the workers and adds up what they found.
    pub fn finish(mut self, patience: Duration) -> Result<Outcome, RunError> {
        self.redial(None);
        self.leave(0..self.plan.clients.len() as u32, false);
        // Who cannot leave in order is closed by the end of its worker.
        let _ = self.wait("leaving", patience, |tally| tally[Count::Online] == 0);
        self.send_all(&Command::Finish);
        self.progress.finish();
        let remarks = self.remarks();
        let mut all = Vec::new();
        for thread in self.threads.drain(..) {
            all.push(thread.join().map_err(|_| RunError::WorkerLost)??);
        }
        Ok(Outcome::add_up(&self.plan, &all, self.timeline, remarks))
    }
}

fn raise_descriptor_limit(needed: usize) -> Result<(), RunError> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if needed as u64 > allowed {
        return Err(RunError::TooFewDescriptors { needed, allowed });
    }
    if limit.current.is_some_and(|current| current < needed as u64) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(io::Error::from)?;
    }
    Ok(())
}

/// Lets the kernel end a sleep of this thread on time: by default it may take 50 us longer, which
/// would be added to every latency of an open loop.
fn sharpen_timers() {
    if let Some(slack_ns) = std::num::NonZeroU64::new(1) {
        // Where it is refused, the figure "held back" tells.
        let _ = rustix::thread::set_current_timer_slack(Some(slack_ns));
    }
}

fn pin(cpus: &[usize], worker: usize) -> io::Result<()> {
    let Some(index) = worker.checked_rem(cpus.len()) else { return Ok(()) };
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpus[index]);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

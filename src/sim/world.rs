//! The world around the shards: time, and everything that happens in it in one order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::client::Client;
use super::host::{Host, News};
use super::lane::Lane;
use super::network::{Link, Place};
use super::oracle::{Oracle, Rules};
use super::plan::{Delays, Plan};
use super::random::{Purpose, Random};
use super::sabotage::{Sabotage, Saboteur};
use super::stranger::Stranger;
use super::trace::{Trace, Verbosity};
use super::workload::Workload;
use crate::shard::Census;

/// Everything there is in a run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) delays: Delays,
    /// Microseconds since 1970.
    pub(super) now: u64,
    pub(super) agenda: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(super) planned: u64,
    /// Events on the agenda that are more than the passing of time.
    pub(super) busy: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) lanes: Vec<Lane>,
    pub(super) links: Vec<Link>,
    pub(super) clients: Vec<Client>,
    pub(super) workloads: Vec<Workload>,
    pub(super) strangers: Vec<Stranger>,
    pub(super) oracle: Oracle,
    pub(super) trace: Trace,
    pub(super) saboteur: Saboteur,
    pub(super) phase: Phase,
    pub(super) steps_left: u32,
    pub(super) seen: SeenByWorld,
    pub(super) network: Random,
    pub(super) breaks: Random,
    pub(super) lane_random: Random,
    pub(super) turns: Random,
    pub(super) disk: Random,
    pub(super) faults: Random,
    pub(super) outages: Random,
    /// Effects that shards have until the power fails.
    pub(super) effects_left: Option<u64>,
}

/// How kind the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything goes wrong that can.
    Chaos,
    /// Faults have stopped, clients come back and take what they are owed.
    Calm,
    /// Clients do nothing of their own.
    Still,
    /// The broker was told to stop.
    Stopping,
}

/// What happened at all, beyond what the oracle sees.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeenByWorld {
    pub(super) moves: u64,
    pub(super) pauses: u64,
    pub(super) takeovers: u64,
    pub(super) resets: u64,
    pub(super) silences: u64,
    pub(super) lane_messages: u64,
    pub(super) lanes_full: u64,
    pub(super) commits: u64,
    pub(super) recycled: u64,
    pub(super) power_losses: u64,
    pub(super) crashes: u64,
    pub(super) backups: u64,
    pub(super) syncs_failed: u64,
    pub(super) disks_full: u64,
    pub(super) goodbyes: u64,
}

/// Something that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The next piece of a link's stream to the broker arrives.
    Up(usize),
    /// The end of that stream arrives.
    UpEnd(usize),
    /// The link breaks at the broker's end, with whatever was not read.
    Reset(usize),
    /// The next piece of a link's stream to the client arrives.
    Down(usize),
    /// The client learns that its link is over.
    DownEnd(usize),
    /// A deaf client listens again.
    Listen(usize),
    /// The kernel has taken what was written to a link.
    Sent(usize),
    /// A link reaches the shard it was accepted by or moved to.
    Arrive(usize),
    /// The next message of a lane arrives.
    Lane(usize, usize),
    /// Something a shard's log asked for is done.
    Disk(usize),
    /// A shard looks at what is ready.
    Turn(usize),
    /// A shard's timer is due.
    Timer(usize),
    /// A client does something.
    Act(usize),
    /// A client acknowledges.
    Answer(usize),
    /// A client sees to its keep-alive, on this link.
    KeepAlive(usize, usize),
    /// A silent link must be gone by now.
    Outlived(usize),
    /// Someone without an account does something.
    Stranger(usize),
}

impl Event {
    /// Whether it keeps the world from being at rest.
    fn is_busy(self) -> bool {
        !matches!(
            self,
            Event::Timer(_) | Event::KeepAlive(..) | Event::Outlived(_) | Event::Stranger(_)
        )
    }
}

impl World {
    pub(super) fn new(plan: Plan, verbosity: Verbosity, sabotage: Option<Sabotage>) -> World {
        let seed = plan.seed;
        let stream = |purpose| Random::new(seed, purpose, 0);
        let rules = Rules {
            lossy: plan.lossy,
            strangers: plan.strangers > 0,
            damage: plan.strangers > 0 && plan.damage_permille > 0,
            late_us: plan.delays.late().as_micros() as u64,
            stall_us: plan.delays.stall().as_micros() as u64,
            disk_fills: plan.disk_fills,
        };
        let shards = plan.shards;
        let mut world = World {
            delays: plan.delays,
            now: START_US,
            agenda: BinaryHeap::new(),
            planned: 0,
            busy: 0,
            hosts: (0..shards).map(|index| Host::new(&plan, index, START_US)).collect(),
            lanes: (0..shards * shards).map(|_| Lane::default()).collect(),
            links: Vec::new(),
            clients: Vec::new(),
            workloads: Vec::new(),
            strangers: Vec::new(),
            oracle: Oracle::new(rules),
            trace: Trace::new(verbosity),
            saboteur: Saboteur::new(sabotage, seed),
            phase: Phase::Chaos,
            steps_left: plan.steps,
            seen: SeenByWorld::default(),
            network: stream(Purpose::Network),
            breaks: stream(Purpose::Breaks),
            lane_random: stream(Purpose::Lanes),
            turns: stream(Purpose::Turns),
            disk: stream(Purpose::Disk),
            faults: stream(Purpose::Faults),
            outages: stream(Purpose::Outages),
            effects_left: None,
            plan,
        };
        world.oracle.set_now(world.now);
        world.populate();
        world
    }

    fn populate(&mut self) {
        for index in 0..self.plan.clients {
            let workload = Workload::new(&self.plan, index);
            self.join(workload);
        }
        for index in 0..self.plan.strangers {
            self.strangers.push(Stranger::new(&self.plan, index));
            self.plan_event(self.now + 1000 * index as u64, Event::Stranger(index));
        }
    }

    /// One more client; the answer is its index.
    pub(super) fn join(&mut self, workload: Workload) -> usize {
        let name = workload.client_id();
        let index = self.oracle.client(&name, workload.protocol);
        self.clients.push(Client::new(index, name, workload.protocol));
        self.workloads.push(workload);
        self.plan_event(self.now, Event::Act(index));
        index
    }

    pub(super) fn plan_event(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.busy += u64::from(event.is_busy());
        self.agenda.push(Reverse((at, self.planned, event)));
    }

    /// Lets the next thing happen; false if nothing will, ever.
    pub(super) fn step(&mut self) -> bool {
        let Some(Reverse((at, _, event))) = self.agenda.pop() else { return false };
        self.busy -= u64::from(event.is_busy());
        self.now = self.now.max(at);
        self.oracle.set_now(self.now);
        self.happen(event);
        true
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse((at, ..))| *at)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Up(link) => self.up(link),
            Event::UpEnd(link) => {
                self.links[link].finished = true;
                self.tell_holder(link, News::Readable(link));
            }
            Event::Reset(link) => self.reset(link),
            Event::Down(link) => self.down(link),
            Event::DownEnd(link) => self.down_end(link),
            Event::Listen(link) => self.listen(link),
            Event::Sent(link) => self.sent(link),
            Event::Arrive(link) => {
                if let Place::Arriving(shard) = self.links[link].place {
                    self.tell(shard, News::Accept(link));
                }
            }
            Event::Lane(from, to) => self.lane_arrives(from, to),
            Event::Disk(shard) => self.disk_done(shard),
            Event::Turn(shard) => self.turn(shard),
            Event::Timer(shard) => self.timer(shard),
            Event::Act(client) => self.act(client),
            Event::Answer(client) => self.answer(client),
            Event::KeepAlive(client, link) => self.keep_alive(client, link),
            Event::Outlived(link) => self.outlived(link),
            Event::Stranger(index) => self.stranger_acts(index),
        }
    }

    /// What all shards hold together.
    pub(super) fn census(&self) -> Census {
        self.hosts.iter().map(Host::census).fold(Census::default(), add)
    }

    /// Whether every lane is empty.
    pub(super) fn lanes_are_empty(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }
}

fn add(a: Census, b: Census) -> Census {
    Census {
        connections: a.connections + b.connections,
        sessions: a.sessions + b.sessions,
        subscriptions: a.subscriptions + b.subscriptions,
        filters: a.filters + b.filters,
        retained: a.retained + b.retained,
        queued: a.queued + b.queued,
        inflight: a.inflight + b.inflight,
        unreleased: a.unreleased + b.unreleased,
        pending_publishes: a.pending_publishes + b.pending_publishes,
        pending_subscribes: a.pending_subscribes + b.pending_subscribes,
        pending_interests: a.pending_interests + b.pending_interests,
        retained_reads: a.retained_reads + b.retained_reads,
        groups: a.groups + b.groups,
        group_members: a.group_members + b.group_members,
        group_queued: a.group_queued + b.group_queued,
        paused: a.paused + b.paused,
        journal_waiters: a.journal_waiters + b.journal_waiters,
        kept: a.kept + b.kept,
    }
}

/// When every run begins: 2025-01-01T00:00:00Z.
const START_US: u64 = 1_735_689_600_000_000;

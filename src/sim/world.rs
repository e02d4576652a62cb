//! The world around the shards: time, and everything that happens in it in one order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};

use super::client::{Client, How, State, Verdict};
use super::host::{Due, Host};
use super::lane::{Lane, Pressure};
use super::network::{Link, Owner, Place};
use super::oracle::{Oracle, Rules};
use super::plan::{Delays, Plan};
use super::random::{Purpose, Random};
use super::sabotage::{Sabotage, Saboteur};
use super::stranger::Stranger;
use super::trace::{Trace, Verbosity};
use super::wire;
use super::workload::Workload;
use crate::shard::{
    Census, ConnectionId, Input, Listener, Output, Peer, Sequence, ShardId, WriteBatch,
};
use crate::time::Time;

/// Everything there is in a run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) delays: Delays,
    /// Microseconds since 1970.
    pub(super) now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64, Event)>>,
    planned: u64,
    /// Events on the agenda that are more than the passing of time.
    pub(super) busy: u64,
    pub(super) hosts: Vec<Host>,
    lanes: Vec<Lane>,
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
    network: Random,
    pub(super) breaks: Random,
    lane_random: Random,
    turns: Random,
    disk: Random,
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
    pub(super) syncs: u64,
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
    /// The kernel has taken what was written, of which so much is kept aside.
    Sent(usize),
    /// A link reaches the shard it was accepted by or moved to.
    Arrive(usize),
    /// The next message of a lane arrives.
    Lane(usize, usize),
    /// A shard's log is durable up to here.
    Synced(usize, Sequence),
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
                self.make_ready(link, Due::Readable(link));
            }
            Event::Reset(link) => self.reset(link),
            Event::Down(link) => self.down(link),
            Event::DownEnd(link) => self.down_end(link),
            Event::Listen(link) => self.listen(link),
            Event::Sent(link) => self.sent(link),
            Event::Arrive(link) => {
                if let Place::Arriving(shard) = self.links[link].place {
                    self.ready(shard, Due::Accept(link));
                }
            }
            Event::Lane(from, to) => self.lane_arrives(from, to),
            Event::Synced(shard, sequence) => self.ready(shard, Due::Synced(sequence)),
            Event::Turn(shard) => self.turn(shard),
            Event::Timer(shard) => self.timer(shard),
            Event::Act(client) => self.act(client),
            Event::Answer(client) => self.answer(client),
            Event::KeepAlive(client, link) => self.keep_alive(client, link),
            Event::Outlived(link) => self.outlived(link),
            Event::Stranger(index) => self.stranger_acts(index),
        }
    }

    // The shards' side.

    /// A shard has something to look at, and will.
    pub(super) fn ready(&mut self, shard: usize, ready: Due) {
        self.hosts[shard].inbox.push_back(ready);
        self.plan_turn(shard);
    }

    /// The shard that has the link has something to look at.
    fn make_ready(&mut self, link: usize, ready: Due) {
        if let Place::At(shard, _) = self.links[link].place {
            self.ready(shard, ready);
        }
    }

    fn plan_turn(&mut self, shard: usize) {
        if !self.hosts[shard].turn_planned {
            self.hosts[shard].turn_planned = true;
            let at = self.now + self.turns.below(self.delays.turn + 1);
            self.plan_event(at, Event::Turn(shard));
        }
    }

    /// A shard takes some or all of what is ready, then everything it wants is done.
    fn turn(&mut self, shard: usize) {
        self.hosts[shard].turn_planned = false;
        let ready = self.hosts[shard].inbox.len() as u64;
        let taken = self.turns.between(1, self.plan.turn_inputs_max).min(ready);
        self.trace.number(self.now ^ (shard as u64) << 56 ^ taken << 48);
        for _ in 0..taken {
            let Some(ready) = self.hosts[shard].inbox.pop_front() else { break };
            self.feed(shard, ready);
        }
        while let Some(output) = self.hosts[shard].shard.poll() {
            self.carry_out(shard, output);
        }
        if !self.hosts[shard].inbox.is_empty() {
            self.plan_turn(shard);
        }
        self.plan_timer(shard);
        if self.plan.lossy {
            self.judge_queues(shard);
        }
    }

    /// Where queues are short they are full all the time, and never more than full. Those of
    /// groups may hold what members give back beside.
    fn judge_queues(&mut self, shard: usize) {
        let Census { queued, sessions, .. } = self.hosts[shard].census();
        let most = sessions * self.plan.mqtt.queue_messages_max as usize;
        if queued > most {
            let sentence = format!("shard {shard} has {queued} messages in queues of {most}");
            self.oracle.violate(sentence);
        }
    }

    fn plan_timer(&mut self, shard: usize) {
        let Some(due) = self.hosts[shard].shard.poll_timeout() else { return };
        if due == Time::NEVER {
            return;
        }
        let due = due.as_micros().max(self.now);
        if self.hosts[shard].timer_at.is_none_or(|planned| due < planned) {
            self.hosts[shard].timer_at = Some(due);
            let late = self.turns.below(self.delays.timer + 1);
            self.plan_event(due + late, Event::Timer(shard));
        }
    }

    fn timer(&mut self, shard: usize) {
        self.hosts[shard].timer_at = None;
        if self.saboteur.strikes(Sabotage::StopTimers) {
            return;
        }
        let due = self.hosts[shard].shard.poll_timeout();
        if due.is_some_and(|due| due.as_micros() <= self.now) {
            self.ready(shard, Due::Timeout);
        } else {
            self.plan_timer(shard);
        }
    }

    fn handle(&mut self, shard: usize, input: Input<'_>) {
        self.hosts[shard].shard.handle(Time::from_micros(self.now), input);
    }

    fn feed(&mut self, shard: usize, ready: Due) {
        match ready {
            Due::Accept(link) => self.feed_accept(shard, link),
            Due::Readable(link) => self.feed_bytes(shard, link),
            Due::Closed(link) => self.feed_closed(shard, link),
            Due::Sent(link, connection, batch) => {
                if self.links[link].place == Place::At(shard, connection) {
                    self.links[link].writing = false;
                    self.handle(shard, Input::Sent { connection, batch });
                }
            }
            Due::Lane(from, message) => {
                let (now, to) = (self.now, shard);
                self.trace.event(now, format_args!("shard {} -> {to} {message:?}", from.0));
                self.handle(shard, Input::Lane { from, message });
            }
            Due::LaneFull(to) => self.handle(shard, Input::LaneFull { to }),
            Due::LaneReady(to) => self.handle(shard, Input::LaneReady { to }),
            Due::Synced(sequence) => self.handle(shard, Input::Synced { sequence }),
            Due::Timeout => self.handle(shard, Input::Timeout),
            Due::Reconfigure(policy) => self.handle(shard, Input::Reconfigure(policy)),
            Due::Stop => self.handle(shard, Input::Stop),
        }
    }

    fn feed_accept(&mut self, shard: usize, link: usize) {
        if self.links[link].place != Place::Arriving(shard) {
            return;
        }
        let connection = self.hosts[shard].open(link);
        self.links[link].place = Place::At(shard, connection);
        self.links[link].handed_at = self.now;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1024 + (link % 60_000) as u16));
        let listener = Listener { index: 0, loopback: true };
        self.handle(shard, Input::Accepted { connection, peer: Peer { address, listener } });
        let unread = std::mem::take(&mut self.links[link].unread);
        if !unread.is_empty() {
            self.links[link].handed += unread.len() as u64;
            self.handle(shard, Input::Received { connection, bytes: &unread });
        }
        self.ready(shard, Due::Readable(link));
    }

    /// Hands in some of what has arrived by a link, or its end.
    fn feed_bytes(&mut self, shard: usize, link: usize) {
        let record = &mut self.links[link];
        let Place::At(at, connection) = record.place else { return };
        if at != shard {
            return;
        }
        match &mut record.paused {
            Some(0) => return,
            Some(reads) => *reads -= 1,
            None => {}
        }
        if record.arrived.is_empty() {
            if record.finished {
                self.feed_closed(shard, link);
            }
            return;
        }
        let available = record.arrived.len();
        let count = if self.turns.chance(800) {
            available
        } else {
            self.turns.between(1, available as u64) as usize
        };
        let bytes: Vec<u8> = record.arrived.drain(..count).collect();
        record.handed += count as u64;
        record.handed_at = self.now;
        self.trace.bytes(&bytes);
        self.trace.event(self.now, format_args!("link {link} to shard {shard}: {count} bytes"));
        self.handle(shard, Input::Received { connection, bytes: &bytes });
        let record = &self.links[link];
        if !record.arrived.is_empty() || record.finished {
            self.ready(shard, Due::Readable(link));
        }
    }

    fn feed_closed(&mut self, shard: usize, link: usize) {
        let Place::At(at, connection) = self.links[link].place else { return };
        if at != shard || self.saboteur.strikes(Sabotage::MissClosed) {
            return;
        }
        self.trace.event(self.now, format_args!("link {link} closed, shard {shard} is told"));
        self.links[link].place = Place::Gone;
        self.handle(shard, Input::Closed { connection });
        self.hosts[shard].close(connection);
        self.ended(link);
    }

    /// The link is over at the broker's end.
    fn ended(&mut self, link: usize) {
        let heard = self.links[link].is_heard();
        if let Owner::Client(client) = self.links[link].owner {
            self.oracle.link_ended(link, heard);
            let unanswered =
                self.clients[client].link == Some(link) && !self.clients[client].answered;
            if unanswered && self.oracle.session_in_doubt(client) {
                self.clients[client].must_clean = true;
            }
        }
    }

    fn carry_out(&mut self, shard: usize, output: Output) {
        match output {
            Output::Write { connection, batch } => self.write(shard, connection, batch),
            Output::Close { connection, last } => self.close(shard, connection, last),
            Output::Move { connection, to, unread } => {
                self.move_link(shard, connection, to, unread);
            }
            Output::PauseReading(connection) => {
                if let Some(link) = self.hosts[shard].link(connection) {
                    self.seen.pauses += 1;
                    let reads = self.turns.below(3) as u32;
                    self.links[link].paused = Some(reads);
                    self.links[link].was_paused = true;
                }
            }
            Output::ResumeReading(connection) => {
                if let Some(link) = self.hosts[shard].link(connection) {
                    self.links[link].paused = None;
                    self.ready(shard, Due::Readable(link));
                }
            }
            Output::Lane { to, message } => self.send_lane(shard, to.index(), message),
            Output::Sync(sequence) => {
                self.seen.syncs += 1;
                let at = self.now + self.disk.below(self.delays.disk + 1);
                self.plan_event(at, Event::Synced(shard, sequence));
            }
        }
    }

    fn send_lane(&mut self, from: usize, to: usize, message: crate::shard::ShardMessage) {
        self.seen.lane_messages += 1;
        self.trace.number((from << 8 | to) as u64);
        let (now, delay) = (self.now, self.delays.lane);
        let lane = &mut self.lanes[from * self.plan.shards + to];
        let at = lane.send(message, now, delay, &mut self.lane_random);
        if self.saboteur.strikes(Sabotage::DropLaneMessage) {
            lane.drop_last();
        } else if self.saboteur.strikes(Sabotage::SwapLaneMessages) {
            lane.swap_last();
        }
        self.plan_event(at, Event::Lane(from, to));
        self.tell_pressure(from, to);
    }

    fn lane_arrives(&mut self, from: usize, to: usize) {
        let lane = &mut self.lanes[from * self.plan.shards + to];
        if let Some(message) = lane.arrive() {
            self.ready(to, Due::Lane(ShardId(from as u8), message));
        }
        self.tell_pressure(from, to);
    }

    fn tell_pressure(&mut self, from: usize, to: usize) {
        let lane = &mut self.lanes[from * self.plan.shards + to];
        let to = ShardId(to as u8);
        match lane.pressure(self.plan.lane_full_at) {
            Some(Pressure::Full) => {
                self.seen.lanes_full += 1;
                self.ready(from, Due::LaneFull(to));
            }
            Some(Pressure::Due) => self.ready(from, Due::LaneReady(to)),
            None => {}
        }
    }

    fn write(&mut self, shard: usize, connection: ConnectionId, batch: WriteBatch) {
        let Some(link) = self.hosts[shard].link(connection) else { return };
        if self.links[link].writing {
            self.oracle.violate(format!("shard {shard} wrote to {connection:?} while it writes"));
        }
        self.links[link].writing = true;
        self.send_down(link, &batch);
        let record = &mut self.links[link];
        let slow = if record.deaf { 10 * self.delays.sent } else { self.delays.sent };
        record.outstanding.push_back((connection, batch));
        let at = self.now + self.network.below(slow + 1);
        self.plan_event(at, Event::Sent(link));
    }

    fn sent(&mut self, link: usize) {
        let Some((connection, batch)) = self.links[link].outstanding.pop_front() else { return };
        self.make_ready(link, Due::Sent(link, connection, batch));
    }

    fn send_down(&mut self, link: usize, batch: &WriteBatch) {
        let mut bytes = Vec::with_capacity(batch.len());
        batch.slices().for_each(|slice| bytes.extend_from_slice(slice));
        self.trace.bytes(&bytes);
        self.describe(link, "is written", &bytes);
        let bytes = self.saboteur.downstream(bytes);
        self.put_down(link, &bytes);
    }

    fn describe(&mut self, link: usize, what: &str, bytes: &[u8]) {
        let (owner, now) = (self.links[link].owner, self.now);
        self.trace
            .event(now, format_args!("link {link} of {owner:?} {what} {} bytes", bytes.len()));
        if let (Owner::Client(client), true) = (owner, self.trace.is_written()) {
            let words = wire::describe(self.clients[client].protocol, bytes);
            self.trace.event(now, format_args!("  {words}"));
        }
    }

    /// Bytes on their way to the client, if it is still there to take them.
    fn put_down(&mut self, link: usize, bytes: &[u8]) {
        if self.links[link].abandoned {
            return;
        }
        let (now, delay) = (self.now, self.delays.network);
        for at in self.links[link].down.send(bytes, now, delay, &mut self.network) {
            self.plan_event(at, Event::Down(link));
        }
    }

    fn close(&mut self, shard: usize, connection: ConnectionId, last: WriteBatch) {
        let Some(link) = self.hosts[shard].link(connection) else { return };
        self.trace.event(self.now, format_args!("shard {shard} closes link {link}"));
        self.hosts[shard].close(connection);
        self.links[link].place = Place::Gone;
        self.judge_close(link);
        self.ended(link);
        self.send_down(link, &last);
        let (now, delay) = (self.now, self.delays.network);
        let at = self.links[link].down.arrival(now, delay, &mut self.network);
        self.plan_event(at, Event::DownEnd(link));
    }

    /// The broker may close what the client left, took over, fell silent on or misused.
    fn judge_close(&mut self, link: usize) {
        let record = &self.links[link];
        let Owner::Client(client) = record.owner else { return };
        let taken_over = self.clients[client].link != Some(link);
        if !(record.excused || record.abandoned || taken_over || self.phase == Phase::Stopping) {
            let now = self.now;
            let silent_ms = (now - record.handed_at) / 1000;
            let why = format!("link {link}, last handed bytes {silent_ms} ms ago");
            self.oracle.closed_without_cause(client, &why);
        }
    }

    fn move_link(&mut self, shard: usize, connection: ConnectionId, to: ShardId, unread: Vec<u8>) {
        let Some(link) = self.hosts[shard].link(connection) else { return };
        self.trace.event(self.now, format_args!("link {link} moves {shard} -> {}", to.0));
        self.seen.moves += 1;
        self.hosts[shard].close(connection);
        let record = &mut self.links[link];
        record.handed -= unread.len() as u64;
        record.unread = unread;
        record.paused = None;
        record.place = Place::Arriving(to.index());
        let at = self.now + self.network.below(self.delays.moving + 1);
        self.plan_event(at, Event::Arrive(link));
    }

    // The network.

    /// A new link; it reaches some shard some time later.
    pub(super) fn open(&mut self, owner: Owner) -> usize {
        let shard = self.network.below(self.plan.shards as u64) as usize;
        self.links.push(Link::new(owner, shard));
        let link = self.links.len() - 1;
        let at = self.now + self.network.below(self.delays.moving + 1);
        self.plan_event(at, Event::Arrive(link));
        link
    }

    /// A client sends.
    pub(super) fn send_up(&mut self, link: usize, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let (now, delay) = (self.now, self.delays.network);
        let mut bytes = bytes;
        if let Owner::Client(client) = self.links[link].owner {
            self.clients[client].last_sent_at = now;
            let is_v5 = self.workloads[client].is_v5();
            let (sent, forged) = self.saboteur.upstream(bytes, is_v5);
            bytes = sent;
            self.put_down(link, &forged);
        }
        self.describe(link, "sends", &bytes);
        self.links[link].sent += bytes.len() as u64;
        for at in self.links[link].up.send(&bytes, now, delay, &mut self.network) {
            self.plan_event(at, Event::Up(link));
        }
    }

    fn up(&mut self, link: usize) {
        if let Some((bytes, _)) = self.links[link].up.arrive() {
            self.links[link].arrived.extend_from_slice(&bytes);
            self.make_ready(link, Due::Readable(link));
        }
    }

    /// The client closes its end; what it sent still arrives.
    pub(super) fn finish(&mut self, link: usize) {
        self.links[link].abandoned = true;
        let (now, delay) = (self.now, self.delays.network);
        let at = self.links[link].up.arrival(now, delay, &mut self.network);
        self.plan_event(at, Event::UpEnd(link));
    }

    /// The link breaks; of what the client sent a part still arrives, or nothing.
    pub(super) fn break_off(&mut self, link: usize, keeps_some: bool) {
        self.seen.resets += 1;
        self.links[link].abandoned = true;
        if keeps_some {
            self.links[link].up.lose_tail(&mut self.network);
            let (now, delay) = (self.now, self.delays.network);
            let at = self.links[link].up.arrival(now, delay, &mut self.network);
            self.plan_event(at, Event::UpEnd(link));
        } else {
            let at = self.now + self.network.below(self.delays.network + 1);
            self.plan_event(at, Event::Reset(link));
        }
    }

    fn reset(&mut self, link: usize) {
        self.links[link].lose_arriving();
        self.links[link].finished = true;
        match self.links[link].place {
            Place::At(shard, _) => self.ready(shard, Due::Closed(link)),
            // It is told when it arrives: the stream has ended.
            Place::Arriving(_) | Place::Gone => {}
        }
    }

    fn down(&mut self, link: usize) {
        let Some((bytes, written_at)) = self.links[link].down.arrive() else { return };
        if self.links[link].deaf {
            self.links[link].unheard.push_back((bytes, written_at));
        } else {
            self.hear(link, &bytes, written_at);
        }
    }

    /// A client that did not read catches up.
    fn listen(&mut self, link: usize) {
        self.links[link].deaf = false;
        while let Some((bytes, written_at)) = self.links[link].unheard.pop_front() {
            self.hear(link, &bytes, written_at);
        }
    }

    fn hear(&mut self, link: usize, bytes: &[u8], written_at: u64) {
        let Owner::Client(client) = self.links[link].owner else { return };
        if self.links[link].abandoned || self.clients[client].link != Some(link) {
            return;
        }
        self.trace.event(self.now, format_args!("link {link} hears {} bytes", bytes.len()));
        let mut out = Vec::new();
        let was = self.clients[client].state;
        let verdict = self.clients[client].receive(bytes, written_at, &mut self.oracle, &mut out);
        self.send_up(link, out);
        if let Verdict::Leave(code) = verdict {
            self.told_to_leave(client, link, code);
        } else if was == State::Connecting && self.clients[client].state == State::Connected {
            self.plan_keep_alive(client, link);
        }
        self.plan_answer(client);
    }

    fn told_to_leave(&mut self, client: usize, link: usize, code: u8) {
        self.seen.goodbyes += 1;
        let stopping = self.phase == Phase::Stopping;
        let silent = self.links[link].excused;
        let expected = match code {
            0x8B => stopping,
            0x8D => silent,
            _ => false,
        };
        if !expected {
            let name = &self.clients[client].name;
            self.oracle.violate(format!("{name} did nothing wrong and was refused with {code:#x}"));
        }
        self.finish(link);
        self.clients[client].link_lost();
    }

    fn down_end(&mut self, link: usize) {
        let Owner::Client(client) = self.links[link].owner else { return };
        if self.links[link].abandoned || self.clients[client].link != Some(link) {
            return;
        }
        self.listen(link);
        let v5_unsaid = self.phase == Phase::Stopping
            && self.workloads[client].is_v5()
            && self.clients[client].state == State::Connected
            && !self.links[link].excused;
        if v5_unsaid {
            let name = &self.clients[client].name;
            self.oracle.violate(format!("{name} was not told that the broker stops"));
        }
        self.links[link].abandoned = true;
        self.clients[client].link_lost();
        self.plan_act(client);
    }

    // The clients' side.

    pub(super) fn plan_act(&mut self, client: usize) {
        let at = self.now + 1 + self.workloads[client].pause(self.delays.act);
        self.plan_event(at, Event::Act(client));
    }

    fn plan_answer(&mut self, client: usize) {
        if self.clients[client].has_answers() && !self.workloads[client].answer_planned {
            self.workloads[client].answer_planned = true;
            let at = self.now + 1 + self.workloads[client].hesitation(self.delays.answer);
            self.plan_event(at, Event::Answer(client));
        }
    }

    fn answer(&mut self, client: usize) {
        self.workloads[client].answer_planned = false;
        let silent = self.clients[client].link.is_some_and(|link| self.links[link].excused);
        if silent && self.phase == Phase::Chaos {
            return;
        }
        let count = self.workloads[client].patience();
        let bytes = self.clients[client].answer(count, &mut self.oracle);
        if let Some(link) = self.clients[client].link {
            self.send_up(link, bytes);
        }
        self.plan_answer(client);
    }

    fn plan_keep_alive(&mut self, client: usize, link: usize) {
        let seconds = self.clients[client].keep_alive();
        if seconds > 0 {
            let at = self.now + u64::from(seconds) * 400_000;
            self.plan_event(at, Event::KeepAlive(client, link));
        }
    }

    fn keep_alive(&mut self, client: usize, link: usize) {
        let here = self.clients[client].link == Some(link)
            && self.clients[client].state == State::Connected;
        if !here || self.links[link].excused {
            return;
        }
        let interval = u64::from(self.clients[client].keep_alive()) * 400_000;
        if self.clients[client].last_sent_at + interval <= self.now {
            let bytes = self.clients[client].ping();
            self.send_up(link, bytes);
        }
        self.plan_keep_alive(client, link);
    }

    /// The client falls silent: it neither sends nor reads until the link is gone.
    pub(super) fn fall_silent(&mut self, client: usize, link: usize) {
        self.seen.silences += 1;
        self.links[link].excused = true;
        self.links[link].deaf = true;
        let seconds = u64::from(self.clients[client].keep_alive());
        if seconds > 0 {
            let slack = (self.delays.stall() + self.delays.late()).as_micros() as u64;
            let at = self.now + seconds * 1_500_000 + slack;
            self.plan_event(at, Event::Outlived(link));
        }
    }

    /// [MQTT-3.1.2-22]
    fn outlived(&mut self, link: usize) {
        let record = &self.links[link];
        let kept = matches!(record.place, Place::At(..)) && !record.abandoned && !record.was_paused;
        if kept && record.excused {
            self.oracle.violate(format!("link {link} was silent for longer than its keep-alive"));
        }
    }

    /// Opens a link and connects; an older link of the client is left as it is.
    pub(super) fn connect(&mut self, client: usize, how: How) {
        let link = self.open(Owner::Client(client));
        let bytes = self.clients[client].connect(link, how, &mut self.oracle);
        let (now, name) = (self.now, &self.clients[client].name);
        self.trace.event(now, format_args!("{name} connects by link {link}"));
        self.send_up(link, bytes);
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
    }
}

/// When every run begins: 2025-01-01T00:00:00Z.
const START_US: u64 = 1_735_689_600_000_000;

//! The turn of a shard: take what is ready, let the core decide, write once, sleep.
//!
//! ```text
//! enter the ring (submit; wait if nothing is to be done)
//!   -> lanes, completions, letters, timers -> Shard::handle
//!   -> Shard::poll -> sends, receives, closes, lane batches
//!   -> flush the lanes, wake who sleeps
//! ```
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;
use tokio::runtime::Handle;
use zeroize::Zeroize as _;

use super::buffers::Buffers;
use super::clock::Clock;
use super::disk::Disk;
use super::doors::Entry;
use super::gate::Gate;
use super::inquiry::Kicked;
use super::lanes::{BATCH_BYTES_MAX, LaneEnds};
use super::listener::Listening;
use super::mailbox::{Counted, Letter, Mailbox};
use super::ring::{Completion, Ring, Wait};
use super::socket::{GENERATION_MASK, Layered, Lingerers, Sockets, Stage};
use super::visitors::{Refusal, Visit, Visitors};
use crate::embed::Hooks;
use crate::login::Verifier;
use crate::metrics::{Durations, Tally};
use crate::shard::{
    ConnectionId, Input, Listener, Output, Peer, Shard, ShardId, ShardMessage, ShardOptions,
    TIMERS_PER_TURN,
};
use crate::sys;
use crate::time::Time;

/// How long a shard sleeps at most while a lane of its is full.
const STUCK_PAUSE: Duration = Duration::from_millis(1);

/// What crosses from one shard's driver to another's.
pub(super) enum LaneItem {
    /// For the core.
    Message(ShardMessage),
    /// A connection whose home is the receiver.
    Connection {
        fd: OwnedFd,
        peer: Peer,
        visit: Option<Box<Visit>>,
        layered: Option<Box<Layered>>,
        unread: Vec<u8>,
    },
}

/// What shards know of each other's rings.
pub(super) struct Rings(Vec<AtomicI32>);

impl Rings {
    pub(super) fn new(count: usize) -> Arc<Rings> {
        Arc::new(Rings((0..count).map(|_| AtomicI32::new(-1)).collect()))
    }
}

/// Bytes received that one turn acts on; what else has come waits for the next.
const RECEIVED_BYTES_MAX: usize = 256 << 10;

/// Everything one shard's thread is given.
pub(super) struct Parts {
    pub(super) options: ShardOptions,
    pub(super) clock: Clock,
    pub(super) listening: Vec<Listening>,
    pub(super) doors: Arc<Vec<Entry>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) hooks: Hooks,
    /// Where hooks run.
    pub(super) control: Handle,
    pub(super) visitors: Arc<Visitors>,
    pub(super) gate: Gate,
    /// How long a connection may take until packets can follow.
    pub(super) greeting_timeout: Duration,
    pub(super) ends: LaneEnds<LaneItem>,
    pub(super) rings: Arc<Rings>,
    pub(super) mailboxes: Arc<Vec<Mailbox>>,
    pub(super) stop_timeout: Duration,
    pub(super) disk: Option<Disk>,
}

/// One shard's thread: its ring, its sockets and its core.
pub(super) struct Driver {
    // The ring goes first: nothing of the kernel's may outlive what it points to.
    pub(super) ring: Ring,
    disk: Option<Disk>,
    pub(super) buffers: Buffers,
    wake_count: Box<u64>,
    pub(super) shard: Shard,
    index: usize,
    clock: Clock,
    pub(super) listening: Vec<Listening>,
    pub(super) doors: Arc<Vec<Entry>>,
    verifier: Arc<Verifier>,
    hooks: Hooks,
    control: Handle,
    pub(super) visitors: Arc<Visitors>,
    pub(super) gate: Gate,
    /// Connections that were not taken.
    pub(super) kept_out: Tally<Refusal>,
    pub(super) greeting_timeout: Duration,
    /// Connections that are being greeted, and when that must be over.
    pub(super) greeted: Lingerers,
    /// Packets out of the layers of one connection.
    pub(super) packets: Vec<u8>,
    pub(super) accept_again: Option<Time>,
    /// Descriptors from this number on are not for connections.
    pub(super) descriptors_end: i32,
    /// The number of the last one that was accepted: about so many are open.
    pub(super) last_descriptor: i32,
    pub(super) sockets: Sockets,
    pub(super) lingerers: Lingerers,
    pub(super) ends: LaneEnds<LaneItem>,
    rings: Arc<Rings>,
    pub(super) mailboxes: Arc<Vec<Mailbox>>,
    stop_timeout: Duration,
    pub(super) stop_by: Option<Time>,
    /// Taken from the ring and not acted on.
    pub(super) completions: VecDeque<Completion>,
    /// Letters wait that were not read.
    may_have_letters: bool,
    turns: u64,
    /// How long the work of a turn took, from the kernel's answer to the next question.
    turn_times: Durations,
}

/// What a completion is of: an operation in the upper byte, then generation and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Accept = 1,
    Receive = 2,
    Send = 3,
    /// A letter has come, or another shard could not be woken otherwise.
    Wake = 4,
    /// Another shard has flushed its lane.
    LaneWake = 5,
    /// This shard has woken another; the slot is its index.
    LaneWoken = 6,
    /// Whatever came of it is heard elsewhere.
    Cancel = 7,
    /// A write or sync of the log; the slot is its place in the commit.
    Disk = 8,
}

impl Operation {
    pub(super) fn token(self, id: ConnectionId) -> u64 {
        u64::from(self as u8) << 56 | u64::from(id.generation) << 32 | u64::from(id.slot)
    }

    fn of(token: u64) -> Option<(Operation, ConnectionId)> {
        let operation = match token >> 56 {
            1 => Operation::Accept,
            2 => Operation::Receive,
            3 => Operation::Send,
            4 => Operation::Wake,
            5 => Operation::LaneWake,
            6 => Operation::LaneWoken,
            7 => Operation::Cancel,
            8 => Operation::Disk,
            _ => return None,
        };
        let generation = (token >> 32) as u32 & GENERATION_MASK;
        Some((operation, ConnectionId { slot: token as u32, generation }))
    }

    pub(super) fn numbered(self, slot: usize) -> u64 {
        self.token(ConnectionId { slot: slot as u32, generation: 0 })
    }
}

impl Driver {
    /// Sets a shard up on the calling thread.
    pub(super) fn new(parts: Parts) -> io::Result<Driver> {
        let Parts { options, clock, listening, doors, greeting_timeout, .. } = parts;
        let Parts { verifier, hooks, control, visitors, gate, ends, rings, mailboxes, .. } = parts;
        let Parts { stop_timeout, disk, .. } = parts;
        let ring = Ring::new()?;
        let buffers = Buffers::register(&ring)?;
        let (index, count) = (options.id.index(), options.count);
        rings.0[index].store(ring.raw_fd(), Ordering::Release);
        let mut driver = Driver {
            ring,
            disk,
            buffers,
            wake_count: Box::new(0),
            shard: Shard::new(options),
            index,
            clock,
            listening,
            doors,
            verifier,
            hooks,
            control,
            visitors,
            gate,
            kept_out: Tally::default(),
            greeting_timeout,
            greeted: Lingerers::default(),
            packets: Vec::new(),
            accept_again: None,
            descriptors_end: sys::connections_end(count)
                .and_then(|end| i32::try_from(end).ok())
                .unwrap_or(i32::MAX),
            last_descriptor: 0,
            sockets: Sockets::default(),
            lingerers: Lingerers::default(),
            ends,
            rings,
            mailboxes,
            stop_timeout,
            stop_by: None,
            completions: VecDeque::new(),
            may_have_letters: false,
            turns: 0,
            turn_times: Durations::default(),
        };
        driver.arm_wake()?;
        driver.keep_accepting(clock.now())?;
        Ok(driver)
    }

    /// Turns until the shard is told to stop and its connections are gone.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let wait = self.wait();
            self.ring.enter(wait)?;
            self.ends.wake_up();
            self.turns += 1;
            let now = self.clock.now();
            // What other shards have said comes before what clients have: a subscription made there
            // a moment ago is in force for a message that comes now, though nobody promised it yet.
            self.hear_lanes(now)?;
            self.take_completions(now)?;
            self.read_letters(now)?;
            self.check_timers(now)?;
            self.carry_out(now)?;
            self.keep_accepting(now)?;
            self.flush_lanes(now)?;
            self.turn_times.observe(self.clock.now().since(now).as_micros() as u64);
            if self.stop_by.is_some_and(|by| self.is_quiet() || by <= now) {
                return self.end();
            }
        }
    }

    /// Whether every connection is gone and what they left behind is kept.
    fn is_quiet(&self) -> bool {
        self.sockets.len() == 0 && self.disk.as_ref().is_none_or(Disk::is_idle)
    }

    /// How long the next enter may sleep; not at all if something is to be done already.
    fn wait(&mut self) -> Option<Wait> {
        if !self.completions.is_empty() || self.may_have_letters {
            return None;
        }
        if self.ends.count() > 1 && !self.ends.fall_asleep() {
            return None;
        }
        if self.ends.is_stuck() {
            return Some(Wait::AtMost(STUCK_PAUSE));
        }
        let deadlines = [
            self.shard.poll_timeout(),
            self.lingerers.next(),
            self.greeted.next(),
            self.accept_again,
            self.gate.look_again,
            self.stop_by,
            self.disk.as_ref().and_then(Disk::sync_due),
        ];
        match deadlines.into_iter().flatten().min() {
            None => Some(Wait::Forever),
            Some(at) => match at.since(self.clock.now()) {
                Duration::ZERO => None,
                duration => Some(Wait::AtMost(duration)),
            },
        }
    }

    fn take_completions(&mut self, now: Time) -> io::Result<()> {
        self.ring.take(&mut self.completions);
        let mut received_bytes = 0;
        while received_bytes < RECEIVED_BYTES_MAX
            && let Some(completion) = self.completions.pop_front()
        {
            let Some((operation, id)) = Operation::of(completion.token) else { continue };
            match operation {
                Operation::Accept => self.accepted(now, id.slot as usize, completion)?,
                Operation::Receive => {
                    received_bytes += usize::try_from(completion.result).unwrap_or(0);
                    self.received(now, id, completion)?;
                }
                Operation::Send => self.sent(now, id, completion.result)?,
                Operation::Wake => self.arm_wake()?,
                Operation::LaneWoken if completion.result < 0 => {
                    self.mailboxes[id.slot as usize].wake();
                }
                Operation::Disk => self.disk_completed(now, id.slot as usize, completion.result),
                Operation::LaneWake | Operation::LaneWoken | Operation::Cancel => {}
            }
        }
        if self.completions.is_empty() {
            self.gate.caught_up_at = now;
        }
        Ok(())
    }

    fn disk_completed(&mut self, now: Time, index: usize, result: i32) {
        let Some(disk) = &mut self.disk else { return };
        let token = |index| Operation::Disk.numbered(index);
        match disk.completed(now, index, result, &mut self.ring, token) {
            Ok(Some(news)) => self.shard.handle(now, Input::Log(news)),
            Ok(None) => {}
            Err(failure) => disk_failed(&failure),
        }
    }

    fn hear_lanes(&mut self, now: Time) -> io::Result<()> {
        for from in self.ends.others() {
            // As much as may come by the network, that is one long batch or many short ones: what a
            // turn costs by itself is shared by all of them. The rest keeps this shard awake.
            let mut heard_bytes = 0;
            while heard_bytes < BATCH_BYTES_MAX
                && let Some(mut batch) = self.ends.receive(from)
            {
                heard_bytes += batch.bytes;
                for item in batch.items.drain(..) {
                    match item {
                        LaneItem::Message(message) => {
                            let from = ShardId(from as u8);
                            self.shard.handle(now, Input::Lane { from, message });
                        }
                        LaneItem::Connection { fd, peer, visit, layered, mut unread } => {
                            let connection = self.sockets.insert(fd, peer, visit, layered);
                            self.open(now, connection, &unread)?;
                            // It begins with a CONNECT, which may hold a password.
                            unread.zeroize();
                        }
                    }
                }
                self.ends.recycle(from, batch);
            }
        }
        Ok(())
    }

    fn read_letters(&mut self, now: Time) -> io::Result<()> {
        self.may_have_letters = false;
        while let Some(letter) = self.mailboxes[self.index].receive() {
            match letter {
                Letter::Stop => {
                    self.stop_by = Some(now.after(self.stop_timeout));
                    self.stop_accepting()?;
                    self.end_greetings();
                    self.shard.handle(now, Input::Stop);
                }
                Letter::Reconfigure(policy) => {
                    self.shard.handle(now, Input::Reconfigure(policy));
                }
                Letter::Verdict { connection, verdict } => {
                    self.shard.handle(now, Input::Verdict { connection, verdict });
                }
                Letter::Advice { connection, advice } => {
                    self.shard.handle(now, Input::Advice { connection, advice });
                }
                Letter::Local(fd) if self.stop_by.is_none() => {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                    let peer = Peer { address, listener: Listener::LOCAL };
                    let connection = self.sockets.insert(fd, peer, None, None);
                    self.open(now, connection, &[])?;
                }
                // Closed, it says so.
                Letter::Local(_) => {}
                Letter::Doors(doors) => self.change_doors(now, doors),
                Letter::Prepared(prepared) => {
                    if let Some(disk) = &mut self.disk {
                        for news in disk.prepared(prepared) {
                            self.shard.handle(now, Input::Log(news));
                        }
                    }
                }
                Letter::Synced(time) => {
                    if let Some(disk) = &mut self.disk {
                        disk.synced(time);
                    }
                }
                Letter::DiskFailed(failure) => disk_failed(&failure),
                Letter::Look(look) => {
                    look(&self.shard, now);
                    // Clients do not wait for more than one.
                    self.may_have_letters = true;
                    return Ok(());
                }
                Letter::Kick { client_id, forget, answer } => {
                    let known = self.shard.is_connected(&client_id);
                    self.shard.handle(now, Input::Kick { client_id: &client_id, forget });
                    let is_kept = self.shard.is_connected(&client_id).is_some();
                    let kicked = known.map(|was_connected| Kicked { was_connected, is_kept });
                    // Whoever asked has gone on.
                    let _ = answer.send(kicked);
                }
                Letter::Trace { order, answer } => {
                    self.shard.handle(now, Input::Trace(order));
                    // Whoever asked has gone on.
                    let _ = answer.send(());
                }
                Letter::Traced { id, answer } => {
                    // Whoever asked has gone on.
                    let _ = answer.send(self.shard.take_traced(id));
                }
                Letter::LetGo(whom) => self.shard.handle(now, Input::LetGo(&whom)),
                Letter::Announce(announcements) => {
                    for (topic, payload) in announcements {
                        self.shard
                            .handle(now, Input::Announce { topic: &topic, payload: &payload });
                    }
                }
                Letter::Count(answer) => {
                    // Nobody listens any more: nobody is told.
                    let _ = answer.send(Counted {
                        shard: self.index,
                        metrics: self.shard.metrics().clone(),
                        connections: self.shard.connection_count(),
                        sessions: self.shard.session_count(),
                        holdings: self.shard.holdings(),
                        log: self.shard.log_size(),
                        commits: self.disk.as_ref().map_or(0, Disk::commits),
                        sync_times: self.disk.as_ref().map(Disk::sync_times).unwrap_or_default(),
                        kept_out: self.kept_out.clone(),
                        handshakes: self.gate.count(),
                        handshakes_let_go: self.gate.let_go,
                        accepting_paused: self.gate.pauses.clone(),
                        enters: self.ring.enters,
                        turns: self.turns,
                        turn_times: self.turn_times.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_timers(&mut self, now: Time) -> io::Result<()> {
        if self.shard.poll_timeout().is_some_and(|at| at <= now) {
            self.shard.handle(now, Input::Timeout);
        }
        if let Some(disk) = &mut self.disk {
            disk.sync(now);
        }
        for _ in 0..TIMERS_PER_TURN {
            let Some(id) = self.lingerers.pop_due(now) else { break };
            self.kill(id);
        }
        for _ in 0..TIMERS_PER_TURN {
            let Some(id) = self.greeted.pop_due(now) else { break };
            if self
                .sockets
                .get_mut(id)
                .is_some_and(|socket| matches!(socket.stage, Stage::Greeting))
            {
                tracing::debug!("a connection said too little for too long and is ended");
                self.kill(id);
            }
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = self.accept_again(now);
            self.gate.is_touched = true;
        }
        self.gate.is_touched |= self.gate.look_again.is_some_and(|at| at <= now);
        Ok(())
    }

    fn carry_out(&mut self, now: Time) -> io::Result<()> {
        while let Some(output) = self.shard.poll() {
            match output {
                Output::Write { connection, batch } => self.write(now, connection, batch)?,
                Output::Close { connection, last } => self.close(now, connection, last)?,
                Output::Move { connection, to, unread } => {
                    self.begin_move(connection, to, unread)?
                }
                Output::PauseReading(id) => self.pause(id)?,
                Output::ResumeReading(id) => self.resume(id)?,
                Output::Lane { to, message } => {
                    let bytes = message.publication_bytes();
                    self.ends.send(to.index(), LaneItem::Message(message), bytes);
                }
                Output::Ask { connection, login, awaited } => {
                    self.verifier.ask(self.index, connection, *login, awaited);
                }
                Output::Consult { connection, client, question } => {
                    let (mailboxes, index) = (Arc::clone(&self.mailboxes), self.index);
                    let then = move |advice| {
                        mailboxes[index].send(Letter::Advice { connection, advice });
                    };
                    self.hooks.consult(&self.control, client, question, then);
                }
                Output::AskRules { connection, question } => {
                    self.verifier.ask_rules(self.index, connection, question);
                }
                Output::Event(event) => self.hooks.event(event),
                Output::LoginFailed(address) => {
                    if self.visitors.failed(now, address) {
                        tracing::warn!(%address, "kept out for auth.ban_s: too many failed logins");
                    }
                }
                Output::LogDamaged(sequence) => {
                    let Some(disk) = &self.disk else { unreachable!("there is no log") };
                    disk.damaged(sequence).unwrap_or_else(|damage| disk_failed(&damage));
                }
                Output::Log(order) => {
                    let Some(disk) = &mut self.disk else { unreachable!("there is no log") };
                    let token = |index| Operation::Disk.numbered(index);
                    disk.carry_out(now, order, &mut self.ring, token)?;
                }
            }
        }
        Ok(())
    }

    fn flush_lanes(&mut self, now: Time) -> io::Result<()> {
        for to in self.ends.others() {
            let was_full = self.ends.is_full(to);
            if self.ends.flush(to) {
                self.wake_shard(to)?;
            }
            let lane = ShardId(to as u8);
            match (was_full, self.ends.is_full(to)) {
                (false, true) => self.shard.handle(now, Input::LaneFull { to: lane }),
                (true, false) => self.shard.handle(now, Input::LaneReady { to: lane }),
                _ => {}
            }
        }
        self.carry_out(now)
    }

    fn wake_shard(&mut self, to: usize) -> io::Result<()> {
        let ring = self.rings.0[to].load(Ordering::Acquire);
        if ring < 0 {
            self.mailboxes[to].wake();
            return Ok(());
        }
        let token = Operation::LaneWake.numbered(0);
        let wake = opcode::MsgRingData::new(Fd(ring), 0, token, None)
            .build()
            .user_data(Operation::LaneWoken.numbered(to));
        // SAFETY: the operation points to nothing.
        unsafe { self.ring.push(&wake) }
    }

    pub(super) fn cancel(&mut self, token: u64) -> io::Result<()> {
        let cancel =
            opcode::AsyncCancel::new(token).build().user_data(Operation::Cancel.numbered(0));
        // SAFETY: the operation points to nothing.
        unsafe { self.ring.push(&cancel) }
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        let fd = Fd(self.mailboxes[self.index].wake_fd());
        let count: *mut u64 = &mut *self.wake_count;
        let read =
            opcode::Read::new(fd, count.cast(), 8).build().user_data(Operation::Wake.numbered(0));
        // SAFETY: the count is boxed and lives as long as the ring; nobody else looks at it.
        unsafe { self.ring.push(&read) }
    }

    /// Everybody has been told goodbye, or the time for it is over.
    fn end(mut self) -> io::Result<()> {
        self.rings.0[self.index].store(-1, Ordering::Release);
        for id in self.sockets.ids() {
            self.kill(id);
        }
        // What was shut down completes at once; the loop is bounded for the case that it does not.
        for _ in 0..100 {
            if self.sockets.len() == 0 {
                break;
            }
            self.ring.enter(Some(Wait::AtMost(Duration::from_millis(10))))?;
            let now = self.clock.now();
            self.take_completions(now)?;
        }
        Ok(())
    }
}

/// What was acknowledged is kept; nothing more can be. Whoever supervises the broker sees it end.
pub(super) fn disk_failed(failure: &dyn fmt::Display) -> ! {
    tracing::error!("{failure}");
    eprintln!("hawker: {failure}");
    std::process::exit(1);
}

//! One core's part of the broker as a state machine.
//!
//! A [`Shard`] owns its connections, sessions, topic tree, share of the retained messages and
//! timers. It knows no socket, clock, thread or entropy: a driver (the runtime, or the
//! simulation) calls
//!
//! 1. [`Shard::handle`] for everything that happened, with the time it happened at;
//! 2. [`Shard::poll`] until it returns `None`, carrying out what it says;
//! 3. [`Shard::poll_timeout`] for when to call `handle` with [`Input::Timeout`] at the latest.
//!
//! Every change of state is synchronous, so no state is half-changed at a yield, and a driver
//! that handles all that is ready before it polls gets one write a connection and turn.
//!
//! # The way of a message through the files
//!
//! `receive` cuts packets out of the stream; `connect` lets clients in, `session_end` sees them
//! off; `publish` takes a message and owes its acknowledgement; `route` finds who wants it, here
//! and on other shards; `deliver` puts it into sessions and connections; `acknowledge` hears that
//! it arrived. `subscribe`, `interest`, `retained` and `share` are the four conversations between
//! shards, `lane` is where they are heard.

mod acknowledge;
mod allow;
mod announce;
mod arena;
#[cfg(feature = "sim")]
mod audit;
mod authenticate;
mod census;
mod connect;
mod connection;
mod consult;
mod deliver;
mod effect;
#[cfg(test)]
mod fixture;
mod gatekeeper;
mod image;
mod interest;
mod journal;
mod keep;
mod lane;
mod limit;
mod look;
mod message;
mod missing;
mod owed;
mod parts;
mod presence;
mod publish;
mod rate;
mod receive;
pub(crate) mod record;
mod rehome;
mod retained;
mod route;
mod ruling;
mod session_end;
mod share;
mod spread;
mod strangers;
mod subscribe;
mod timers;
mod will;
mod witness;
mod write;

pub use announce::is_own as is_own_topic;
pub use arena::Key;
pub use census::{Census, Holdings, LogSize};
pub use consult::{
    Advice, Client, Consults, Event, Forward, MayGet, Name, Question, Receiver, Replacement,
};
pub use effect::{Chunk, ConnectionId, Input, Listener, Output, Peer, Seed, ShardId, WriteBatch};
pub use gatekeeper::{Gatekeeper, Porter};
pub use image::{Image, UnknownRecord};
pub use keep::{Restored, restore};
pub use look::{
    ClientQuery, ClientRow, ClientView, DropKey, DropQuery, DropRow, Intent, Place, QueueBounds,
    RetainedQuery, RetainedRow, Rights, Seen, Subscribed, SubscriptionKey, SubscriptionQuery,
    SubscriptionRow,
};
pub use message::{Forwarded, Handed, Member, MemberId, ShardMessage};
pub use missing::Missing;
pub use record::describe;
pub use rehome::rehome;
pub use ruling::{Act, RuleQuestion, RuleService};
pub use share::parts_of as share_of;
pub use witness::{
    Decision, Dropped, Step, Subject, TRACES_MAX, Trace, TraceEvent, TraceId, TraceOrder, Traced,
    TracedMessage, Why,
};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use self::arena::Arena;
use self::connection::{Connections, Pause};
use self::image::ReceivedImage;
use self::interest::Interests;
use self::journal::{Journal, Told};
use self::limit::Reached;
use self::owed::PendingPublish;
use self::record::QueueNumber;
use self::retained::{RetainedReads, Retention};
use self::route::{Entry, Scratch};
use self::share::Groups;
use self::spread::PendingSpread;
use self::strangers::Strangers;
use self::subscribe::PendingSubscribe;
pub(crate) use self::timers::TIMERS_PER_TURN;
use self::timers::{Timer, Timers};
use self::will::{PendingWill, WillAuthor};
use self::witness::Witness;
use self::write::BufferPool;
use crate::auth::{Asks, Nonces, Rules, ScramUsers};
use crate::config::{CertificateUser, Mqtt, RateExceeded, RefusedPublish};
use crate::message::Stamp;
use crate::metrics::{Label as _, Paused, ShardMetrics};
use crate::proto::{ReasonCode, Version};
use crate::router::TopicTree;
use crate::session::{QueueMemory, Session};
use crate::storage::{Log, Sequence};
use crate::time::Time;

/// What the operator decided, as far as it concerns shards.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Limits and choices.
    pub mqtt: Mqtt,
    /// Who may prove itself by SCRAM-SHA-256.
    pub scram_users: ScramUsers,
    /// Who else is asked about.
    pub asks: Asks,
    /// What a program that embeds the broker is asked and told.
    pub consults: Consults,
    /// Whom it lets get what.
    pub forward: Option<Forward>,
    /// Whether a service decides what no rule does.
    pub rule_service: Option<RuleService>,
    /// Who knows of the clients of all shards; absent: nobody, and what that bounds is not.
    pub porter: Option<Porter>,
    /// What clients may do.
    pub rules: Rules,
    /// What becomes of a message that they do not allow, before 5.0.
    pub refused_publish: RefusedPublish,
    /// Whether a subscription is made of which only a part may be read.
    pub sifts_subscriptions: bool,
    /// What becomes of a client that sends more than it may.
    pub rate_exceeded: RateExceeded,
    /// What the broker calls itself where there may be several.
    pub node: Arc<str>,
    /// The listeners, in the order of the configuration.
    pub listeners: Vec<ListenerPolicy>,
}

impl Policy {
    /// What is known of a listener; nothing of clients within the process.
    fn listener(&self, listener: Listener) -> Option<&ListenerPolicy> {
        self.listeners.get(usize::from(listener.index))
    }

    /// Its name, or nothing.
    fn listener_name(&self, listener: Listener) -> &str {
        self.listener(listener).map_or("", |listener| &listener.name)
    }
}

/// What a shard goes by at one listener.
#[derive(Clone, Debug)]
pub struct ListenerPolicy {
    /// Rules and logs call it so.
    pub name: String,
    /// Which name in a client's certificate is its user.
    pub certificate_user: CertificateUser,
    /// Whether clients may come without a user; absent: as is said for all listeners.
    pub anonymous_allowed: Option<bool>,
    /// What clients may speak.
    pub protocol_versions: Vec<Version>,
}

/// How a shard is set up.
#[derive(Debug)]
pub struct ShardOptions {
    /// Which one it is.
    pub id: ShardId,
    /// Of how many; 1 to [`ShardId::COUNT_MAX`].
    pub count: usize,
    /// What the operator decided.
    pub policy: Arc<Policy>,
    /// The log for what persistent sessions are owed, which is acknowledged once it is durable,
    /// and what it said of an earlier life. Absent: everything is in memory.
    pub log: Option<(Log, Restored)>,
    /// Unpredictable numbers.
    pub seed: Seed,
    /// When it starts.
    pub now: Time,
}

/// One core's part of the broker.
pub struct Shard {
    id: ShardId,
    count: usize,
    policy: Arc<Policy>,
    placement: ahash::RandomState,
    hasher: ahash::RandomState,
    random: Random,
    nonces: Nonces,
    stamp_micros: u64,
    /// Of the last input.
    now: Time,
    stopping: bool,

    connections: Connections,
    sessions: Arena<Box<Seat>>,
    session_by_client_id: HashMap<Arc<str>, Key, ahash::RandomState>,
    /// Those the log knows.
    session_by_number: BTreeMap<QueueNumber, Key>,
    tree: TopicTree<Entry>,
    retention: Retention,
    reads: RetainedReads,
    interests: Interests,
    groups: Groups,
    timers: Timers,
    journal: Journal,

    publishes: Arena<PendingPublish>,
    spreads: Arena<PendingSpread>,
    /// What the last of them waits for.
    last_spread: Sequence,
    /// How far the messages have come that other shards hand over of their logs.
    received: BTreeMap<ShardId, ReceivedImage>,
    subscribes: Arena<PendingSubscribe>,
    wills: Arena<PendingWill>,
    /// Bit set of the shards whose log is full, and whether they know that of this one.
    full_logs: u64,
    told_full: bool,
    /// Bit set of the shards whose lane is full.
    full_lanes: u64,
    paused: Vec<ConnectionId>,

    outputs: VecDeque<Output>,
    dirty: Vec<ConnectionId>,
    /// Messages of this shard to itself: a group or a retained message may live here too.
    loopback: VecDeque<ShardMessage>,
    pool: BufferPool,
    scratch: Option<Box<Scratch>>,
    metrics: ShardMetrics,
    queue_memory: QueueMemory,
    /// Of all sessions.
    subscription_count: usize,
    /// Messages in flight to all clients.
    inflight_count: usize,
    /// Bytes written out of queues since the last timeout.
    pumped_bytes: usize,
    /// What the messages and filters of this turn cost others, see [`spread::SPREAD_MAX`].
    spread: usize,
    /// Connections whose packets go on with the next timeout, in its order.
    spent: VecDeque<ConnectionId>,
    /// SUBSCRIBEs whose retained messages are read on with the next timeout.
    unread: VecDeque<Key>,
    /// Whose client completed messages with the packets being read: it is sent more after them all.
    has_room: Option<Key>,
    /// Sessions whose queues go on at the next one.
    unpumped: VecDeque<Key>,
    reached: Reached,
    strangers: Strangers,
    witness: Witness,
}

/// A session and the connection it is attached to.
#[derive(Debug)]
struct Seat {
    session: Session,
    connection: Option<ConnectionId>,
    /// The deadline in the timers that counts.
    armed_for: Time,
    /// Subscriptions to shared groups, so that most sessions need not look for any.
    shares: u32,
    /// Its number in the log; 0 if it never outlived a connection.
    number: QueueNumber,
    /// Where the log tells of it as a whole.
    told: Option<Told>,
    /// Messages that may wait for it, by the rules of its last connection in this life.
    queue_messages_max: u32,
    /// Who left its will.
    will_author: WillAuthor,
    /// Whose connection was its last; absent if that is not known.
    last_user: Option<LastUser>,
    /// Messages up to this ordinal were sent; the log knows.
    sent_through: u64,
    /// Its queue waits for the log.
    waits_for_log: bool,
    /// Its queue waits for its turn.
    waits_to_pump: bool,
}

/// The user of a session's last connection; nothing of who named none.
type LastUser = Option<Box<str>>;

impl Seat {
    fn new(session: Session) -> Seat {
        Seat {
            session,
            connection: None,
            armed_for: Time::NEVER,
            shares: 0,
            number: 0,
            told: None,
            queue_messages_max: u32::MAX,
            will_author: WillAuthor::default(),
            last_user: None,
            sent_through: 0,
            waits_for_log: false,
            waits_to_pump: false,
        }
    }

    /// Whether it is to outlive the broker.
    fn is_kept(&self) -> bool {
        self.number != 0 && self.session.is_persistent()
    }
}

impl Shard {
    /// A shard without clients.
    pub fn new(options: ShardOptions) -> Shard {
        let ShardOptions { id, count, policy, log, seed, now } = options;
        let (log, restored) = log.map(|(log, restored)| (Box::new(log), restored)).unzip();
        assert!((1..=ShardId::COUNT_MAX).contains(&count), "1 to 64 shards");
        assert!(id.index() < count, "a shard's number is below their count");
        let [a, b, c, d] = seed.placement;
        let placement = ahash::RandomState::with_seeds(a, b, c, d);
        let [a, b, c, d] = seed.private;
        let mut nonce_key = [0; 32];
        for (part, key) in nonce_key.chunks_exact_mut(8).zip(seed.private) {
            part.copy_from_slice(&key.to_le_bytes());
        }
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let mut shard = Shard {
            id,
            count,
            policy,
            placement,
            random: Random(a ^ b.rotate_left(32)),
            nonces: Nonces::new(nonce_key),
            stamp_micros: now.as_micros(),
            now,
            stopping: false,
            connections: Connections::default(),
            sessions: Arena::new(),
            session_by_client_id: HashMap::with_hasher(hasher.clone()),
            session_by_number: BTreeMap::new(),
            tree: TopicTree::new(seed.private),
            retention: Retention::new(seed.private),
            reads: RetainedReads::new(),
            interests: Interests::new(hasher.clone()),
            groups: Groups::new(hasher.clone()),
            timers: Timers::default(),
            journal: Journal::new(log),
            publishes: Arena::new(),
            spreads: Arena::new(),
            last_spread: Sequence::default(),
            received: BTreeMap::new(),
            subscribes: Arena::new(),
            wills: Arena::new(),
            full_logs: 0,
            told_full: false,
            full_lanes: 0,
            paused: Vec::new(),
            outputs: VecDeque::new(),
            dirty: Vec::new(),
            loopback: VecDeque::new(),
            pool: BufferPool::default(),
            scratch: None,
            metrics: ShardMetrics::default(),
            queue_memory: QueueMemory::default(),
            subscription_count: 0,
            inflight_count: 0,
            pumped_bytes: 0,
            spread: 0,
            spent: VecDeque::new(),
            unread: VecDeque::new(),
            has_room: None,
            unpumped: VecDeque::new(),
            reached: Reached::default(),
            strangers: Strangers::default(),
            witness: Witness::default(),
            hasher,
        };
        if let Some(restored) = restored {
            shard.restore(now, restored);
        }
        shard
    }

    /// Something happened at `now`, which never goes back.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.now = now;
        match input {
            Input::Accepted { connection, peer, certificate } => {
                self.handle_accepted(now, connection, peer, certificate);
            }
            Input::Received { connection, bytes } => self.handle_received(now, connection, bytes),
            Input::Sent { connection, batch } => self.handle_sent(now, connection, batch),
            Input::Closed { connection } => self.handle_closed(now, connection),
            Input::Lane { from, message } => {
                self.metrics.lane_messages_received_total += 1;
                self.handle_lane(now, from, message);
            }
            Input::LaneFull { to } => self.full_lanes |= bit(to),
            Input::LaneReady { to } => {
                self.full_lanes &= !bit(to);
                self.dispatch_waiting(now);
                self.resume_publishers(now);
            }
            Input::Log(news) => self.handle_log(now, news),
            Input::Timeout => self.handle_timeout(now),
            Input::Verdict { connection, verdict } => {
                self.handle_verdict(now, connection, verdict);
            }
            Input::Advice { connection, advice } => self.handle_advice(now, connection, advice),
            Input::Reconfigure(policy) => {
                self.policy = policy;
                self.judge_all(now);
            }
            Input::Kick { client_id, forget } => self.handle_kick(now, client_id, forget),
            Input::LetGo(whom) => self.handle_let_go(now, whom),
            Input::Revoked { connection } => {
                self.disconnect(now, connection, ReasonCode::AdministrativeAction);
            }
            Input::Announce { topic, payload } => self.announce(now, topic, payload),
            Input::Trace(order) => self.handle_trace(order),
            Input::Stop => self.handle_stop(now),
        }
        while let Some(message) = self.loopback.pop_front() {
            self.handle_lane(now, self.id, message);
        }
    }

    /// What is to be done next; the driver carries out everything before it waits.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            self.journal.flush(self.now);
            if self.journal.is_full() != self.told_full {
                self.tell_full();
                continue;
            }
            if let Some(order) = self.journal.poll() {
                return Some(Output::Log(order));
            }
            let Some(id) = self.dirty.pop() else {
                // The turn is over.
                self.spread = 0;
                return None;
            };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.dirty = false;
            if connection.out.is_ready() && !connection.is_held {
                let batch = connection.out.take();
                // All that waits is on its way now.
                self.metrics.sent_bytes_total += connection.out.bytes() as u64;
                return Some(Output::Write { connection: id, batch });
            }
        }
    }

    /// When [`Input::Timeout`] is due at the latest; absent if nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Time> {
        let is_idle = self.unpumped.is_empty() && self.spent.is_empty() && self.unread.is_empty();
        if is_idle { self.timers.next() } else { Some(self.now) }
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    fn mqtt(&self) -> &Mqtt {
        &self.policy.mqtt
    }

    /// When a message is over that its publisher gives so many seconds, or none. [MQTT-3.3.2-5]
    fn expires(&self, now: Time, interval: Option<u32>) -> Time {
        match (interval, self.mqtt().message_expiry_s_max) {
            (None, u32::MAX) => Time::NEVER,
            (interval, max) => now.after_seconds(interval.unwrap_or(max).min(max)),
        }
    }

    /// The home of a client id, topic or shared group.
    fn place(&self, name: &str) -> ShardId {
        if self.count == 1 {
            return self.id;
        }
        ShardId((self.placement.hash_one(name) % self.count as u64) as u8)
    }

    /// Every shard but this one.
    fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let id = self.id;
        (0..self.count as u8).map(ShardId).filter(move |other| *other != id)
    }

    fn send(&mut self, to: ShardId, message: ShardMessage) {
        if to == self.id {
            self.loopback.push_back(message);
        } else {
            self.metrics.lane_messages_sent_total += 1;
            self.outputs.push_back(Output::Lane { to, message });
        }
    }

    /// A stamp later than every one handed out or seen.
    fn next_stamp(&mut self, now: Time) -> Stamp {
        self.stamp_micros = now.as_micros().max(self.stamp_micros + 1);
        Stamp(self.stamp_micros << 6 | u64::from(self.id.0))
    }

    fn see_stamp(&mut self, stamp: Stamp) {
        self.stamp_micros = self.stamp_micros.max(stamp.0 >> 6);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.pump_on(now);
        self.publish_on(now);
        self.read_on_retained(now);
        for _ in 0..TIMERS_PER_TURN {
            let Some(timer) = self.timers.pop_due(now) else { return };
            match timer {
                Timer::Connection(id) => self.check_connection(now, id),
                Timer::Session(key) => self.check_session(now, key),
                Timer::Retained => self.expire_retained(now),
                Timer::Rate(id) => self.unpause(now, id, Pause::Rate),
            }
        }
    }

    fn check_connection(&mut self, now: Time, id: ConnectionId) {
        let connect_timeout_ms = self.mqtt().connect_timeout_ms;
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.armed_for > now {
            return;
        }
        // A connection that is not read from, or whose CONNACK is held back, is not silent: the
        // silence is ours, unless it is not read from because it does not read.
        if connection.paused & !(Pause::Replies as u8) != 0 || connection.is_held {
            connection.last_received = now;
        }
        let deadline = connection.deadline(connect_timeout_ms);
        if deadline > now {
            connection.armed_for = deadline;
            self.arm(deadline, Timer::Connection(id));
        } else if connection.active_mut().is_some_and(|active| active.expires() <= now) {
            self.disconnect(now, id, ReasonCode::MaximumConnectTime);
        } else if connection.version().is_some() {
            // [MQTT-3.1.2-22]
            self.metrics.keep_alive_timeouts_total += 1;
            self.disconnect(now, id, ReasonCode::KeepAliveTimeout);
        } else {
            tracing::info!(peer = %connection.peer.address, "closed: no CONNECT in time");
            self.close(now, id);
        }
    }

    /// Makes sure the connection is looked at by its deadline.
    fn arm_connection(&mut self, id: ConnectionId) {
        let connect_timeout_ms = self.mqtt().connect_timeout_ms;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let deadline = connection.deadline(connect_timeout_ms);
        if deadline < connection.armed_for {
            connection.armed_for = deadline;
            self.arm(deadline, Timer::Connection(id));
        }
    }

    fn arm(&mut self, deadline: Time, timer: Timer) {
        self.timers.arm(deadline, timer);
        if self.timers.is_to_be_swept() {
            let (connections, sessions) = (&self.connections, &self.sessions);
            let retained_armed_for = self.retention.armed_for;
            self.timers.sweep(|at, timer| match timer {
                Timer::Connection(id) => connections
                    .get(id)
                    .is_some_and(|connection| at == Timers::fires_at(connection.armed_for)),
                Timer::Session(key) => {
                    sessions.get(key).is_some_and(|seat| at == Timers::fires_at(seat.armed_for))
                }
                Timer::Retained => at == Timers::fires_at(retained_armed_for),
                Timer::Rate(id) => connections.get(id).is_some(),
            });
        }
    }

    fn handle_stop(&mut self, now: Time) {
        self.stopping = true;
        for id in self.connections.ids() {
            self.disconnect(now, id, ReasonCode::ServerShuttingDown);
        }
    }

    fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Stops reading from a connection.
    fn pause(&mut self, id: ConnectionId, why: Pause) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.paused == 0 {
            self.metrics.reading_paused_total.count(why.into());
            self.outputs.push_back(Output::PauseReading(id));
            if self.witness.traces.is_on() {
                let cause = Paused::VALUES[Paused::from(why).index()];
                self.trace_decision(self.now, id, Decision::Paused, None, cause);
            }
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.paused |= why as u8;
        if matches!(why, Pause::Lane) {
            self.paused.push(id);
        }
    }

    /// Reads from a connection again, unless there is another reason not to.
    fn unpause(&mut self, now: Time, id: ConnectionId, why: Pause) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.paused & why as u8 == 0 {
            return;
        }
        connection.paused &= !(why as u8);
        if connection.paused == 0 {
            connection.last_received = now;
            self.read_on(now, id);
            self.resume_reading(now, id);
        }
    }

    /// Everything that came is acted on, unless reading is paused again.
    fn resume_reading(&mut self, now: Time, id: ConnectionId) {
        match self.connections.get(id) {
            Some(connection) if connection.paused != 0 => {}
            Some(connection) if connection.ended => self.close(now, id),
            Some(_) => self.outputs.push_back(Output::ResumeReading(id)),
            None => {}
        }
    }

    fn resume_publishers(&mut self, now: Time) {
        if self.full_lanes == 0 {
            for id in std::mem::take(&mut self.paused) {
                self.unpause(now, id, Pause::Lane);
            }
        }
    }
}

fn bit(shard: ShardId) -> u64 {
    1 << shard.0
}

/// A small generator for choices that need no secrecy; the driver's seed makes it repeatable.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

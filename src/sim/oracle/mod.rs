//! The judge: a plain account of what clients asked for, and the sentences that must hold.
//!
//! The oracle is told what clients send and receive and when the network ended a connection. It
//! knows no shards, lanes or queues and calls no code of the broker. It speaks in two voices: what
//! *must* be so whatever the unknown order of things in flight was, and what *cannot* be so.
//!
//! The first broken sentence ends the run.

mod delivery;
mod message;
mod reasons;
mod requests;
mod session;
mod settlement;
mod will;

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

pub(super) use message::{Body, Fate, Message, MessageId, Tick, payload_of};
pub(super) use session::{FilterKey, Options};

use session::Session;
use will::Will;

use super::wire::{AckKind, Property, Protocol};

/// See the module.
pub(super) struct Oracle {
    tick: Tick,
    /// Microseconds, for what the specification measures in seconds.
    now: u64,
    pub(super) violation: Option<String>,
    pub(super) messages: Vec<Message>,
    clients: Vec<Account>,
    links: Links,
    sessions: Vec<Session>,
    rules: Rules,
    /// When the broker last crashed.
    crashed_at: Option<Tick>,
    pub(super) seen: Seen,
}

/// What this run allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Queues are so short that messages for slow clients go; nothing is called lost.
    pub(super) lossy: bool,
    /// Somebody publishes messages of which there is no account.
    pub(super) strangers: bool,
    /// Their bytes are damaged: they may publish anything anywhere.
    pub(super) damage: bool,
    /// Microseconds that a timer may be late.
    pub(super) late_us: u64,
    /// Microseconds that bytes may need from one end to the other.
    pub(super) stall_us: u64,
    /// Disks are full at times: what would have to be kept is refused then.
    pub(super) disk_fills: bool,
}

/// What happened at all: proof that the run was about something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) delivered: [u64; 3],
    pub(super) retransmitted: u64,
    pub(super) retained: u64,
    pub(super) shared: u64,
    pub(super) wills: u64,
    pub(super) wills_withheld: u64,
    pub(super) resumed: u64,
    pub(super) expired: u64,
    pub(super) owed: u64,
}

/// A client.
struct Account {
    name: String,
    protocol: Protocol,
    session: Option<usize>,
    /// Every link it opened, oldest first.
    links: Vec<usize>,
}

/// A connection, as far as a CONNECT was sent on it.
struct Link {
    client: usize,
    clean_start: bool,
    expiry: u32,
    receive_maximum: u16,
    packet_bytes_max: Option<u32>,
    connect_at: u64,
    connack: Option<(Tick, u64)>,
    resumed: bool,
    /// The session it was attached to.
    session: Option<usize>,
    /// DISCONNECT was sent with a reason that drops the will.
    farewell: bool,
    /// DISCONNECT was certainly heard.
    farewell_heard: bool,
    /// When the broker was told of its end, or ended it.
    ended: Option<(Tick, u64)>,
    /// Seconds that its session was to outlive it then, at least and at most.
    expiry_at_end: (u32, u32),
    will: Option<Will>,
    /// The broker crashed while it had it.
    crashed: bool,
    /// The broker stopped reading for a time: when it took what was sent is not known.
    paused: bool,
    /// QoS 1 and 2 messages that came by this link and were not completed on it.
    open: u16,
}

/// Links by the number the world gave them.
#[derive(Default)]
struct Links(BTreeMap<usize, Link>);

impl Index<usize> for Links {
    type Output = Link;

    fn index(&self, link: usize) -> &Link {
        &self.0[&link]
    }
}

impl IndexMut<usize> for Links {
    fn index_mut(&mut self, link: usize) -> &mut Link {
        self.0.get_mut(&link).expect("the world knows which links were opened")
    }
}

/// A CONNECT, for the account.
pub(super) struct ConnectFacts {
    pub(super) clean_start: bool,
    pub(super) expiry: u32,
    pub(super) receive_maximum: Option<u16>,
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) will: Option<WillFacts>,
}

/// A will, for the account.
pub(super) struct WillFacts {
    pub(super) message: MessageId,
    pub(super) delay: u32,
}

impl Oracle {
    pub(super) fn new(rules: Rules) -> Oracle {
        Oracle {
            tick: 0,
            now: 0,
            violation: None,
            crashed_at: None,
            messages: Vec::new(),
            clients: Vec::new(),
            links: Links::default(),
            sessions: Vec::new(),
            rules,
            seen: Seen::default(),
        }
    }

    /// A sentence was broken. Only the first counts: what follows may follow from it.
    pub(super) fn violate(&mut self, sentence: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(sentence.into());
        }
    }

    fn require(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.violate(sentence());
        }
    }

    fn step(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    pub(super) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// A new client; the answer is its index.
    pub(super) fn client(&mut self, name: &str, protocol: Protocol) -> usize {
        self.clients.push(Account {
            name: name.to_owned(),
            protocol,
            session: None,
            links: Vec::new(),
        });
        self.clients.len() - 1
    }

    /// A new message, not yet sent.
    pub(super) fn compose(&mut self, draft: Draft, link: usize) -> MessageId {
        self.messages.push(Message {
            publisher: draft.publisher,
            topic: draft.topic,
            qos: draft.qos,
            retain: draft.retain,
            body: draft.body,
            properties: draft.properties,
            expiry: draft.expiry,
            link,
            first_sent: Tick::MAX,
            last_sent: Tick::MAX,
            sent_at: self.now,
            sends: 0,
            doubts: 0,
            fate: Fate::Open,
            over: None,
            will_of: draft.is_will.then_some(link),
        });
        self.messages.len() - 1
    }

    /// A CONNECT goes out on a new link.
    pub(super) fn connect_sent(&mut self, client: usize, link: usize, facts: ConnectFacts) {
        let tick = self.step();
        let record = Link {
            client,
            clean_start: facts.clean_start,
            expiry: facts.expiry,
            receive_maximum: facts.receive_maximum.unwrap_or(u16::MAX),
            packet_bytes_max: facts.packet_bytes_max,
            connect_at: self.now,
            connack: None,
            resumed: false,
            session: None,
            farewell: false,
            farewell_heard: false,
            ended: None,
            expiry_at_end: (0, u32::MAX),
            will: facts.will.map(|will| Will::new(will.message, will.delay)),
            paused: false,
            crashed: false,
            open: 0,
        };
        self.links.0.insert(link, record);
        let account = &mut self.clients[client];
        account.links.push(link);
        if let Some(session) = account.session.filter(|_| facts.clean_start) {
            self.sessions[session].leave(tick);
        }
    }

    /// Whether a session should be there for a client that resumes one: for 3.1, whose CONNACK
    /// does not say.
    pub(super) fn session_expected(&self, client: usize) -> bool {
        let Some(session) = self.clients[client].session else { return false };
        let session = &self.sessions[session];
        session.leaving.is_none() && session.ends().0 > self.now
    }

    /// Whether a CONNECT of which nothing was heard may have found no session and begun one: the
    /// client would resume a session that is not the one it knows.
    pub(super) fn session_in_doubt(&self, client: usize) -> bool {
        let Some(session) = self.clients[client].session else { return true };
        let session = &self.sessions[session];
        session.leaving.is_some() || session.ends().0 <= self.now || session.expiry.0 == 0
    }

    /// A CONNACK that lets the client in.
    pub(super) fn connack(&mut self, link: usize, session_present: bool, expiry: Option<u32>) {
        let tick = self.step();
        let now = self.now;
        let record = &mut self.links[link];
        record.connack = Some((tick, now));
        record.resumed = session_present;
        record.expiry = expiry.unwrap_or(record.expiry);
        self.judge_session_present(link, session_present);
        if session_present {
            self.resume(link);
        } else {
            self.begin(link, tick);
        }
        self.record_late_end(link);
    }

    fn judge_session_present(&mut self, link: usize, session_present: bool) {
        let Link { client, clean_start, connect_at, .. } = self.links[link];
        let Account { name, protocol, session, .. } = &self.clients[client];
        let (name, old) = (name.clone(), session.map(|session| &self.sessions[session]));
        let kept = old.filter(|session| session.leaving.is_none());
        let ends = kept.map_or((0, 0), Session::ends);
        let last_link = old.map_or(0, |session| session.link);
        let attached = |&&other: &&usize| {
            (last_link..link).contains(&other) && self.links[other].ended.is_none()
        };
        let still_attached = self.clients[client].links.iter().find(attached).is_some();
        // A connection taken over with an expiry of 0: before 5.0 its session must not be reused.
        let ends_with_connection = kept.is_some_and(|session| session.expiry.1 == 0);
        let may_resume = kept.is_some()
            && !clean_start
            && (still_attached || connect_at <= ends.1.saturating_add(self.rules.late_us))
            && !(ends_with_connection && *protocol != Protocol::V5);
        let may_begin = clean_start || self.now >= ends.0 || kept.is_some_and(|s| s.expiry.0 == 0);
        if session_present {
            self.require(may_resume, || {
                format!("{name} was told of a session that was discarded, expired or never there")
            });
        } else {
            self.require(may_begin, || format!("the session of {name} was lost"));
        }
    }

    fn resume(&mut self, link: usize) {
        self.seen.resumed += 1;
        let Link { client, expiry, .. } = self.links[link];
        let Some(index) = self.clients[client].session else { return };
        let session = &mut self.sessions[index];
        session.detached = None;
        session.expiry = (expiry, expiry);
        session.link = link;
        self.links[link].session = Some(index);
    }

    fn begin(&mut self, link: usize, tick: Tick) {
        let Link { client, expiry, clean_start, .. } = self.links[link];
        if let Some(old) = self.clients[client].session {
            self.seen.expired += u64::from(!clean_start);
            self.sessions[old].end(tick);
        }
        self.sessions.push(Session::new(client, expiry, link));
        let session = self.sessions.len() - 1;
        self.clients[client].session = Some(session);
        self.links[link].session = Some(session);
    }

    /// The link may have ended at the broker while the CONNACK was on its way.
    fn record_late_end(&mut self, link: usize) {
        let Link { ended, session, .. } = self.links[link];
        if let (Some((_, at)), Some(session)) = (ended, session) {
            self.sessions[session].detach(at);
        }
    }

    /// A DISCONNECT goes out.
    pub(super) fn disconnect_sent(&mut self, link: usize, drops_will: bool, expiry: Option<u32>) {
        self.step();
        self.links[link].farewell |= drops_will;
        if let (Some(session), Some(expiry)) = (self.links[link].session, expiry) {
            let session = &mut self.sessions[session];
            session.expiry.0 = session.expiry.0.min(expiry);
            session.expiry.1 = session.expiry.1.max(expiry);
        }
    }

    /// The broker was told that a link is over, or ended it; `heard` if it had been handed
    /// everything that the client ever sent.
    pub(super) fn link_ended(&mut self, link: usize, heard: bool) {
        let tick = self.step();
        let now = self.now;
        let Some(record) = self.links.0.get_mut(&link) else { return };
        if record.ended.is_some() {
            return;
        }
        record.ended = Some((tick, now));
        let client = record.client;
        let superseded = self.clients[client].links.iter().any(|&other| other > link);
        let record = &mut self.links[link];
        record.farewell_heard = record.farewell && heard && !superseded;
        if let Some(will) = record.will {
            // The earliest moment at which it can be published.
            self.messages[will.message].first_sent = tick;
            self.messages[will.message].last_sent = tick;
        }
        if let Some(session) = record.session {
            record.expiry_at_end = self.sessions[session].expiry;
        }
        let unanswered = record.connack.is_none().then_some(record.expiry);
        if let Some(session) = self.clients[client].session
            && self.sessions[session].link <= link
        {
            let session = &mut self.sessions[session];
            session.detach(now);
            if let Some(expiry) = unanswered {
                session.expiry.0 = session.expiry.0.min(expiry);
                session.expiry.1 = session.expiry.1.max(expiry);
            }
        }
        self.abandon_qos0_of(link, tick);
    }

    /// The broker crashed while it had the link: its will may be published, or not.
    pub(super) fn link_crashed(&mut self, link: usize) {
        if let Some(record) = self.links.0.get_mut(&link) {
            record.crashed = true;
        }
    }

    /// The broker crashed: what was not acknowledged may be lost, though somebody may have it.
    pub(super) fn crashed(&mut self) {
        self.crashed_at = Some(self.step());
        for message in &mut self.messages {
            let is_sent = message.sends > 0 || message.will_of.is_some();
            // One of QoS 2 may still be on its way to those who get it at a lower one, again.
            let may_come_again = message.qos == 2 || message.kept().is_none();
            message.doubts += u32::from(is_sent && message.over.is_none() && may_come_again);
        }
        let (now, stall) = (self.now, self.rules.stall_us);
        for session in &mut self.sessions {
            let messages = &self.messages;
            let is_kept = |id: &MessageId| messages[*id].kept().is_some();
            for live in session.live_retained.values_mut() {
                live.retain(is_kept);
            }
            for flight in session.flights.values_mut() {
                flight.revocable |= flight.qos < 2;
            }
            // That its connection had ended may be lost as well.
            if let Some((_, last)) = &mut session.detached
                && *last + stall > now
            {
                *last = now;
            }
        }
        self.doubt_wills();
    }

    /// The QoS 2 messages that a client has in part and that may be another's after a crash: which
    /// member of a group had a message is not kept.
    pub(super) fn revoked(&self, client: usize) -> Vec<u16> {
        let Some(session) = self.clients[client].session else { return Vec::new() };
        let flights = self.sessions[session].flights.iter();
        let revoked = flights.filter(|(_, flight)| flight.qos == 2 && flight.revocable);
        revoked.map(|(packet_id, _)| *packet_id).collect()
    }

    /// The broker stopped reading from a link.
    pub(super) fn reading_paused(&mut self, link: usize) {
        if let Some(record) = self.links.0.get_mut(&link) {
            record.paused = true;
        }
    }

    /// What was sent at QoS 0 on a link that is over was routed before or never.
    fn abandon_qos0_of(&mut self, link: usize, tick: Tick) {
        for message in &mut self.messages {
            if message.link == link && message.qos == 0 && message.will_of.is_none() {
                settle(message, Fate::Abandoned(tick));
            }
        }
    }

    /// A PUBLISH goes out, for the first time or again.
    pub(super) fn publish_sent(&mut self, id: MessageId, link: usize) {
        let tick = self.step();
        let now = self.now;
        let message = &mut self.messages[id];
        if message.sends == 0 {
            message.first_sent = tick;
            message.sent_at = now;
        }
        // For want of room it may have reached some and not been answered.
        message.doubts += u32::from(message.sends > 0 && self.rules.disk_fills);
        message.last_sent = tick;
        message.link = link;
        message.sends += 1;
    }

    /// PUBACK or PUBREC: the broker answers for the message from now on, or has refused it.
    pub(super) fn publish_answered(&mut self, id: MessageId, code: u8) {
        let tick = self.step();
        let may_refuse = self.rules.disk_fills && code == 0x97;
        self.require(code < 0x80 || may_refuse, || {
            format!("m{id} of a good client was refused with {code:#x}")
        });
        let fate = if code < 0x80 { Fate::Kept(tick) } else { Fate::Refused };
        self.messages[id].fate = fate;
    }

    /// The publisher lost the session in which it would have sent the message again.
    pub(super) fn publish_abandoned(&mut self, id: MessageId) {
        let tick = self.step();
        settle(&mut self.messages[id], Fate::Abandoned(tick));
    }

    /// An acknowledgement of a message from the broker goes out.
    pub(super) fn ack_sent(&mut self, link: usize, kind: AckKind, packet_id: u16) {
        self.step();
        if !matches!(kind, AckKind::Ack | AckKind::Comp) {
            return;
        }
        let record = &mut self.links[link];
        let Some(session) = record.session else { return };
        let Some(flight) = self.sessions[session].flights.get_mut(&packet_id) else { return };
        // A PUBLISH of an earlier connection takes no part in this one's receive maximum.
        if flight.link == link && flight.stage != session::Stage::Done {
            record.open = record.open.saturating_sub(1);
        }
        flight.stage = session::Stage::Done;
    }

    /// The broker closed a connection, or said why it will.
    pub(super) fn closed_without_cause(&mut self, client: usize, why: &str) {
        let name = self.clients[client].name.clone();
        self.violate(format!("the connection of {name} was closed without cause: {why}"));
    }

    /// The subscriptions that a client surely and possibly has.
    pub(super) fn held(&self, client: usize) -> BTreeMap<FilterKey, bool> {
        let Some(session) = self.clients[client].session else { return BTreeMap::new() };
        let holdings = self.sessions[session].holdings.iter().filter(|h| h.gone.is_none());
        holdings.map(|h| (h.key.clone(), h.leaving.is_none() && h.sure.is_some())).collect()
    }
}

/// A message to be.
pub(super) struct Draft {
    pub(super) publisher: usize,
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) body: Body,
    pub(super) properties: Vec<Property>,
    pub(super) expiry: Option<u32>,
    pub(super) is_will: bool,
}

fn settle(message: &mut Message, fate: Fate) {
    if message.fate == Fate::Open {
        message.fate = fate;
    }
}

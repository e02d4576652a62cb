//! One network connection: what has arrived in part, what waits to be written, how far it is.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Seat;
use super::arena::Key;
use super::consult::Consulting;
use super::effect::{ConnectionId, Peer};
use super::gatekeeper::Attendance;
use super::parts::Parted;
use super::rate::Pacer;
use super::ruling::{Act, Rulings};
use super::write::WriteBuffer;
use crate::auth::{CertificateNames, Grants, Identity, ScramServer};
use crate::config::ClientLimits;
use crate::metrics::Paused;
use crate::proto::{PacketId, PacketType, ReasonCode, Version};
use crate::time::Time;

/// A connection of this shard.
///
/// ```text
///               CONNECT                            CONNACK
///  AwaitConnect -------> Authenticating (SCRAM) -----------> Active
///       |   `---------------------------------------------^    |
///       |         Verifying (who it is) ------------------^    |
///       | CONNECT of another shard's client                     | DISCONNECT, error, takeover,
///       v                                                       v keep-alive, closed by the peer
///     moved                                                   closed
/// ```
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub peer: Peer,
    /// Whose certificate it has shown.
    pub certificate: Option<Box<CertificateNames>>,
    pub phase: Phase,
    /// The beginning of a packet whose end has not arrived, or all that arrived while paused.
    pub partial: Vec<u8>,
    /// What it is known to hold while its client is not let in.
    pub stranger_bytes: u32,
    /// Bytes that `partial` must have before it is worth looking at.
    pub needed: usize,
    pub out: WriteBuffer,
    /// Whether the connection stands in the shard's list of those with something to write.
    pub dirty: bool,
    /// Why nothing is read from it; a set of [`Pause`] bits.
    pub paused: u8,
    /// The peer will send no more: it is closed once everything that came is acted on.
    pub ended: bool,
    /// Nothing is written before its session's record is durable.
    pub is_held: bool,
    /// Bits of the traces that follow its client or its address.
    pub traced: u8,
    /// What the sender of a CONNECT that is not answered yet accepts.
    pub answer_bytes_max: u32,
    pub since: Time,
    pub last_received: Time,
    /// The deadline in the timers that counts; entries for other times are out of date.
    pub armed_for: Time,
}

/// Reasons to stop reading from a connection.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Pause {
    /// A lane it publishes to is full.
    Lane = 1,
    /// Too many of its messages wait for their acknowledgement.
    Acknowledgements = 2,
    /// It sends and does not read: what it is answered waits.
    Replies = 4,
    /// Too many of the subscriptions it asked for are still being made, or ended.
    Subscribing = 8,
    /// Who it is is being asked, or whether it may do what it asked for.
    Verdict = 16,
    /// It sent more than it may.
    Rate = 32,
    /// What it published this turn goes to so many, or it sent so many filters, that others have
    /// their turn first.
    Spread = 64,
}

impl From<Pause> for Paused {
    fn from(why: Pause) -> Paused {
        match why {
            Pause::Lane => Paused::Lane,
            Pause::Acknowledgements => Paused::Acknowledgements,
            Pause::Replies => Paused::Replies,
            Pause::Subscribing => Paused::Subscribing,
            Pause::Verdict => Paused::Login,
            Pause::Rate => Paused::Rate,
            Pause::Spread => Paused::Spread,
        }
    }
}

/// How far a connection is.
#[derive(Debug)]
pub enum Phase {
    /// Nothing but CONNECT may come.
    AwaitConnect,
    /// A CONNECT asked for SCRAM: nothing but AUTH may come.
    Authenticating(Box<Authenticating>),
    /// The sender of this CONNECT is being asked about: nothing is read.
    Verifying(Box<Verifying>),
    /// A session is attached.
    Active(Box<Active>),
}

/// A connection between CONNECT and CONNACK.
#[derive(Debug)]
pub struct Authenticating {
    /// The CONNECT packet, acted on once its sender has proved itself.
    pub connect: Zeroizing<Vec<u8>>,
    pub exchange: ScramServer,
}

/// A connection whose CONNECT waits for a verdict.
#[derive(Debug)]
pub struct Verifying {
    /// The CONNECT packet, acted on once its sender is known.
    pub connect: Zeroizing<Vec<u8>>,
    pub version: Version,
    /// When the question was asked.
    pub since: Time,
    /// Whoever is asked sees by it that the answer is waited for.
    pub awaited: Arc<()>,
}

/// A connection with a session.
#[derive(Debug)]
pub struct Active {
    pub session: Key,
    /// Who it proved to be; absent: it was not asked.
    pub identity: Option<Arc<Identity>>,
    /// What it is held to; absent: nothing.
    pub pacer: Option<Box<Pacer>>,
    /// What else rules hold it to; absent: nothing.
    pub limits: Option<Box<ClientLimits>>,
    /// It counts among the connections of its user; absent: nobody counts them.
    pub attendance: Option<Box<Attendance>>,
    /// A packet of it that is dealt with in parts.
    pub parted: Option<Box<Parted>>,
    /// A packet of it that waits for advice.
    pub consulting: Option<Box<Consulting>>,
    /// A packet of it that waits for the service that knows rules, and what it wants to do.
    pub ruling: Option<Box<(Arc<[Act]>, Consulting)>>,
    /// What the service said before.
    pub rulings: Option<Box<Rulings>>,
    /// What it may do; absent: everything.
    pub grants: Option<Box<Grants>>,
    /// A subscription of its reaches further than it may read: its messages are looked at.
    pub sifts: bool,
    /// Whether that goes on once what waited for it when its rules were looked at is sent: it may
    /// have been owed to another user, or by other rules.
    pub sifts_on: bool,
    pub version: Version,
    /// Half as much again as the keep-alive, in microseconds; 0 is never. [MQTT-3.1.2-22]
    pub silence_micros_max: u64,
    /// What it was told that is taken from it: the largest packet, QoS 1 and 2 messages before the
    /// first is acknowledged, and topic aliases.
    pub taken_bytes_max: u32,
    pub receive_maximum: u16,
    pub topic_alias_maximum: u16,
    /// What the client accepts. [MQTT-3.1.2-24]
    pub packet_bytes_max: u32,
    /// QoS 1 and 2 messages the client takes unacknowledged. [MQTT-3.3.4-9]
    pub window: u16,
    /// Session expiry as asked for in CONNECT: 0 forbids a later one. [MQTT-3.14.2-2]
    pub connect_expiry_interval: u32,
    /// Subscriptions asked for whose SUBACK or retained messages are still to come, and ended ones
    /// whose UNSUBACK waits for the log.
    pub subscribing: usize,
    pub aliases: Aliases,
    pub acknowledgements: Acknowledgements,
    /// The method of the CONNECT packet, and an exchange that renews it.
    pub authentication: Option<Box<Reauthentication>>,
}

/// Enhanced authentication of an active connection.
#[derive(Debug)]
pub struct Reauthentication {
    pub method: Box<str>,
    pub user: String,
    pub exchange: Option<ScramServer>,
}

/// Topic aliases of one connection, both ways.
#[derive(Debug)]
pub struct Aliases {
    /// The client's: topic by alias - 1.
    inbound: Vec<Option<Arc<str>>>,
    /// Ours; absent: the client takes none.
    outbound: Option<Box<OutboundAliases>>,
}

/// The aliases we set.
#[derive(Debug)]
struct OutboundAliases {
    by_topic: HashMap<Box<str>, u16, ahash::RandomState>,
    /// How many we may set.
    max: u16,
}

impl Aliases {
    pub fn new(outbound_max: u16, hasher: ahash::RandomState) -> Aliases {
        let by_topic = HashMap::with_hasher(hasher);
        let outbound = OutboundAliases { by_topic, max: outbound_max };
        Aliases { inbound: Vec::new(), outbound: (outbound_max > 0).then(|| Box::new(outbound)) }
    }

    /// The client sets or changes an alias. The caller checked it against the maximum.
    pub fn set_inbound(&mut self, alias: u16, topic: &str) {
        let index = usize::from(alias) - 1;
        if index >= self.inbound.len() {
            self.inbound.resize(index + 1, None);
        }
        if self.inbound[index].as_deref() != Some(topic) {
            self.inbound[index] = Some(topic.into());
        }
    }

    /// The topic the client means.
    pub fn inbound(&self, alias: u16) -> Option<Arc<str>> {
        self.inbound.get(usize::from(alias).checked_sub(1)?)?.clone()
    }

    /// The alias to send for a topic, and whether the client knows it already.
    pub fn outbound(&self, topic: &str) -> Option<(u16, bool)> {
        let OutboundAliases { by_topic, max } = self.outbound.as_deref()?;
        if let Some(alias) = by_topic.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(by_topic.len()).unwrap_or(u16::MAX);
        (next < *max).then(|| (next + 1, false))
    }

    /// The client has been sent an alias with its topic.
    pub fn set_outbound(&mut self, alias: u16, topic: &str) {
        if let Some(outbound) = &mut self.outbound {
            outbound.by_topic.insert(topic.into(), alias);
        }
    }
}

/// Acknowledgements owed to a publisher: sent in the order its messages came, each once its
/// message is safe. [MQTT-4.6.0-2, -3]
#[derive(Debug, Default)]
pub struct Acknowledgements {
    waiting: VecDeque<Acknowledgement>,
    /// Number of the front entry.
    first: u64,
}

/// One acknowledgement owed.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledgement {
    /// PUBACK or PUBREC.
    pub packet_type: PacketType,
    pub packet_id: PacketId,
    pub reason: ReasonCode,
    pub ready: bool,
    /// Not sent: its message could not be kept, and the version has no word for that.
    pub withheld: bool,
}

impl Acknowledgement {
    pub fn new(
        packet_type: PacketType,
        packet_id: PacketId,
        reason: ReasonCode,
        ready: bool,
    ) -> Acknowledgement {
        Acknowledgement { packet_type, packet_id, reason, ready, withheld: false }
    }
}

impl Acknowledgements {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages taken at QoS 1 and not acknowledged: they count against the receive maximum.
    pub fn waiting_for_puback(&self) -> usize {
        self.waiting.iter().filter(|entry| entry.packet_type == PacketType::PubAck).count()
    }

    /// Whether the acknowledgement of this packet identifier is still to be sent.
    pub fn is_waiting(&self, packet_id: PacketId) -> bool {
        self.waiting.iter().any(|entry| entry.packet_id == packet_id)
    }

    /// Adds one behind the others; returns its number.
    pub fn push(&mut self, acknowledgement: Acknowledgement) -> u64 {
        self.waiting.push_back(acknowledgement);
        self.first + self.waiting.len() as u64 - 1
    }

    /// The message of this number is safe.
    pub fn ready(&mut self, number: u64) {
        let index = number.checked_sub(self.first).expect("only what is ready leaves the front");
        self.waiting[index as usize].ready = true;
    }

    /// The message of this number could not be kept: a refusal is sent, or nothing.
    pub fn refuse(&mut self, number: u64, reason: Option<ReasonCode>) {
        let Some(index) = number.checked_sub(self.first) else { return };
        if let Some(entry) = self.waiting.get_mut(index as usize) {
            entry.withheld = reason.is_none();
            entry.reason = reason.unwrap_or(entry.reason);
        }
    }

    /// The next to send.
    pub fn pop_ready(&mut self) -> Option<Acknowledgement> {
        if !self.waiting.front()?.ready {
            return None;
        }
        self.first += 1;
        let front = self.waiting.pop_front();
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        front
    }
}

impl Active {
    /// When its proof of who it is ends.
    pub fn expires(&self) -> Time {
        self.identity.as_ref().map_or(Time::NEVER, |identity| identity.expires)
    }
}

impl Connection {
    pub fn new(id: ConnectionId, peer: Peer, now: Time) -> Connection {
        Connection {
            id,
            peer,
            certificate: None,
            phase: Phase::AwaitConnect,
            partial: Vec::new(),
            stranger_bytes: 0,
            needed: 0,
            out: WriteBuffer::default(),
            dirty: false,
            paused: 0,
            ended: false,
            is_held: false,
            traced: 0,
            answer_bytes_max: u32::MAX,
            since: now,
            last_received: now,
            armed_for: Time::NEVER,
        }
    }

    pub fn active(&self) -> Option<&Active> {
        match &self.phase {
            Phase::Active(active) => Some(active),
            _ => None,
        }
    }

    pub fn active_mut(&mut self) -> Option<&mut Active> {
        match &mut self.phase {
            Phase::Active(active) => Some(active),
            _ => None,
        }
    }

    /// The common name of the certificate that it has shown.
    pub fn common_name(&self) -> Option<&str> {
        self.certificate.as_ref()?.common_name.as_deref()
    }

    /// Who it proved to be.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.phase {
            Phase::Active(active) => active.identity.as_deref(),
            _ => None,
        }
    }

    /// The version spoken; CONNECT decides it.
    pub fn version(&self) -> Option<Version> {
        match &self.phase {
            Phase::AwaitConnect => None,
            Phase::Authenticating(_) => Some(Version::V5),
            Phase::Verifying(verifying) => Some(verifying.version),
            Phase::Active(active) => Some(active.version),
        }
    }

    /// The largest packet that the client accepts. [MQTT-3.1.2-24]
    pub fn packet_bytes_max(&self) -> u32 {
        self.active().map_or(self.answer_bytes_max, |active| active.packet_bytes_max)
    }

    /// When the connection is given up if nothing more arrives.
    pub fn deadline(&self, connect_timeout_ms: u32) -> Time {
        match &self.phase {
            Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Verifying(_) => {
                Time::from_micros(self.since.as_micros() + u64::from(connect_timeout_ms) * 1000)
            }
            Phase::Active(active) if active.silence_micros_max == 0 => active.expires(),
            Phase::Active(active) => {
                let silent = self.last_received.as_micros() + active.silence_micros_max;
                Time::from_micros(silent).min(active.expires())
            }
        }
    }
}

/// The connections of a shard, by the driver's slots.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Vec<Option<Box<Connection>>>,
    count: usize,
}

impl Connections {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn insert(&mut self, connection: Connection) {
        let index = connection.id.slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        let earlier = self.slots[index].replace(Box::new(connection));
        assert!(earlier.is_none(), "the driver reuses a slot only after its connection ended");
        self.count += 1;
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (connection.id == id).then_some(connection)
    }

    /// The one that a session is attached to.
    pub fn of(&self, seat: &Seat) -> Option<&Connection> {
        self.get(seat.connection?)
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.slots.get(id.slot as usize)?.as_deref()?;
        (connection.id == id).then_some(connection)
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.as_ref()?.id != id {
            return None;
        }
        self.count -= 1;
        slot.take()
    }

    pub fn ids(&self) -> Vec<ConnectionId> {
        self.slots.iter().flatten().map(|connection| connection.id).collect()
    }
}

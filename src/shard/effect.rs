//! What a driver tells a shard and what a shard asks of its driver.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::Policy;
use super::consult::{Advice, Client, Event, Question};
use super::message::ShardMessage;
use super::ruling::RuleQuestion;
use super::witness::TraceOrder;
use crate::auth::{Banned, CertificateNames, Login, Verdict};
use crate::storage::{News, Order, Sequence};

/// A shard's number, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

impl ShardId {
    /// Shards one broker can have: one bit each in an interest set.
    pub const COUNT_MAX: usize = 64;

    /// As an index into tables with an entry a shard.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A connection of this shard. The driver chooses it: `slot` is reused, `generation` differs
/// from that of every earlier connection of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index into the driver's and the shard's tables; kept dense by the driver.
    pub slot: u32,
    /// Tells this connection from earlier ones of the same slot.
    pub generation: u32,
}

impl ConnectionId {
    /// No connection has this identity.
    pub const NOBODY: ConnectionId = ConnectionId { slot: u32::MAX, generation: u32::MAX };
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The listener that took it.
    pub listener: Listener,
}

/// What the shard needs to know of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Position in the configuration.
    pub index: u16,
    /// Whether only this machine can reach it.
    pub loopback: bool,
}

impl Listener {
    /// The way of clients within the process, which need not say who they are and may do everything.
    pub const LOCAL: Listener = Listener { index: u16::MAX, loopback: true };
}

/// Unpredictable numbers, drawn once by the driver.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// Keys of the hash that places client ids, topics and shared groups on shards: the same for
    /// every shard of a broker.
    pub placement: [u64; 4],
    /// Keys of this shard's tables and of its random choices.
    pub private: [u64; 4],
}

/// Something happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection begins: accepted here, or moved here by [`Output::Move`] (its unread bytes
    /// follow as [`Input::Received`]).
    Accepted {
        /// Its new identity.
        connection: ConnectionId,
        /// Its origin.
        peer: Peer,
        /// Whose certificate it has shown and proved to be its own.
        certificate: Option<Box<CertificateNames>>,
    },
    /// Bytes arrived, in order.
    Received {
        /// From.
        connection: ConnectionId,
        /// At least one.
        bytes: &'a [u8],
    },
    /// All of a [`Output::Write`] has been handed to the kernel; its buffers come home.
    Sent {
        /// To.
        connection: ConnectionId,
        /// The batch that was written.
        batch: WriteBatch,
    },
    /// The peer or the network ended the connection, and everything received before was handed
    /// in. Answered by [`Output::Close`] once it is acted on; until then the connection is written
    /// to as before, whatever becomes of it. Not sent for what [`Output::Close`] or
    /// [`Output::Move`] took away.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// A message from another shard, in the order it was sent.
    Lane {
        /// The sender.
        from: ShardId,
        /// What it says.
        message: ShardMessage,
    },
    /// The lane to a shard holds more than it should; messages are still taken.
    LaneFull {
        /// Towards.
        to: ShardId,
    },
    /// The lane to a shard has room again.
    LaneReady {
        /// Towards.
        to: ShardId,
    },
    /// What came of an [`Output::Log`].
    Log(News),
    /// The answer to [`Output::Ask`].
    Verdict {
        /// Who was asked about; maybe gone meanwhile.
        connection: ConnectionId,
        /// What is said of it.
        verdict: Verdict,
    },
    /// The answer to [`Output::Consult`].
    Advice {
        /// Who was asked about; maybe gone meanwhile.
        connection: ConnectionId,
        /// What is said.
        advice: Advice,
    },
    /// The time that [`super::Shard::poll_timeout`] named has come.
    Timeout,
    /// The configuration changed.
    Reconfigure(Arc<Policy>),
    /// An operator ends the connection of a client, and its session, too, if that is to be
    /// forgotten. [reason 0x98]
    Kick {
        /// Whose; nothing happens if its home is elsewhere.
        client_id: &'a str,
        /// Whether its session ends as well.
        forget: bool,
    },
    /// Somebody is kept out: who is meant and connected is let go. [reason 0x98]
    LetGo(&'a Banned),
    /// The certificate of a client is revoked: its connection ends. [reason 0x98]
    Revoked {
        /// Whose; nothing happens if it is over.
        connection: ConnectionId,
    },
    /// The broker says something of itself, in a topic below `$SYS/`: retained, and in no log.
    Announce {
        /// Where.
        topic: &'a str,
        /// What.
        payload: &'a [u8],
    },
    /// An operator follows something, or has seen enough.
    Trace(TraceOrder),
    /// Say goodbye to every client and take no new one. [MQTT-3.14.4-1, reason 0x8B]
    Stop,
}

/// Do this.
#[derive(Debug)]
pub enum Output {
    /// Write the batch, then answer [`Input::Sent`]. At most one a connection is outstanding.
    Write {
        /// To.
        connection: ConnectionId,
        /// What.
        batch: WriteBatch,
    },
    /// Write what is outstanding, then `last`, then close. The shard has forgotten the
    /// connection; the driver bounds how long it tries.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Its last words; may be empty.
        last: WriteBatch,
    },
    /// Hand the connection to its home shard, together with `unread` and whatever arrives until
    /// its reading has stopped. The shard has forgotten the connection.
    Move {
        /// Which.
        connection: ConnectionId,
        /// Its home shard.
        to: ShardId,
        /// Bytes received and not consumed.
        unread: Vec<u8>,
    },
    /// Stop reading from the connection; bytes already on the way may still be handed in.
    PauseReading(ConnectionId),
    /// Read again.
    ResumeReading(ConnectionId),
    /// Hand a message to another shard; order within a pair of shards is kept.
    Lane {
        /// The receiver, never this shard.
        to: ShardId,
        /// What to say.
        message: ShardMessage,
    },
    /// Find out who this is, which takes its time, then answer [`Input::Verdict`].
    Ask {
        /// Who is asked about.
        connection: ConnectionId,
        /// What it says of itself.
        login: Box<Login>,
        /// Whether it still waits for the answer.
        awaited: Weak<()>,
    },
    /// Ask about a client, then answer [`Input::Advice`].
    Consult {
        /// Whose.
        connection: ConnectionId,
        /// Who that is.
        client: Client,
        /// What it wants.
        question: Question,
    },
    /// Ask the service that knows rules, then answer [`Input::Advice`].
    AskRules {
        /// Whose packet waits; nobody's if it is about a will.
        connection: ConnectionId,
        /// Who wants to do what.
        question: Box<RuleQuestion>,
    },
    /// Tell whoever listens.
    Event(Event),
    /// Somebody at this address could not prove who it is.
    LoginFailed(IpAddr),
    /// Carry out what the log asks for, then answer [`Input::Log`].
    Log(Order),
    /// The record of a kept message, which begins here, is damaged. Unless damaged messages are to
    /// be left out, end at once: what comes behind this says that the message is over.
    LogDamaged(Sequence),
}

/// What is to be written to one connection, in order.
#[derive(Debug, Default)]
pub enum WriteBatch {
    /// Nothing.
    #[default]
    Empty,
    /// One buffer: the common case.
    One(Vec<u8>),
    /// Buffers and large payloads in turn.
    Many(Vec<Chunk>),
}

/// A piece of a [`WriteBatch`]; never empty.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes of this connection alone.
    Buffer(Vec<u8>),
    /// A payload that other connections may be writing too.
    Shared(Bytes),
}

impl WriteBatch {
    /// The bytes, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let (one, many): (Option<&[u8]>, &[Chunk]) = match self {
            WriteBatch::Empty => (None, &[]),
            WriteBatch::One(buffer) => (Some(buffer), &[]),
            WriteBatch::Many(chunks) => (None, chunks),
        };
        one.into_iter().chain(many.iter().map(Chunk::as_slice))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        matches!(self, WriteBatch::Empty)
    }
}

impl Chunk {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Buffer(buffer) => buffer,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

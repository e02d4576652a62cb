//! What the rest of the process tells a shard: rarely, and without making it wait.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_queue::SegQueue;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::disk::{DiskFailure, Prepared};
use super::doors::Entry;
use super::gate::Pause;
use super::inquiry::Kicked;
use super::visitors::Refusal;
use crate::auth::{Banned, Verdict};
use crate::metrics::{Durations, ShardMetrics, Tally};
use crate::shard::{
    Advice, ConnectionId, Holdings, LogSize, Policy, Shard, TraceId, TraceOrder, Traced,
};
use crate::time::Time;

/// A look at the core; what it sees it hands to whoever asked.
pub(super) type Look = Box<dyn FnOnce(&Shard, Time) + Send>;

/// One thing a shard is told.
pub(super) enum Letter {
    /// Say goodbye to every client, then end.
    Stop,
    /// Go on under another policy.
    Reconfigure(Arc<Policy>),
    /// Somebody was asked about.
    Verdict { connection: ConnectionId, verdict: Verdict },
    /// A hook was asked about a client.
    Advice { connection: ConnectionId, advice: Advice },
    /// A client within the process connects by this socket.
    Local(OwnedFd),
    /// New connections come through these doors.
    Doors(Arc<Vec<Entry>>),
    /// A segment of the log was prepared, or could not be.
    Prepared(Prepared),
    /// What was only written was synced, and took so long.
    Synced(Duration),
    /// What was written could not be synced.
    DiskFailed(DiskFailure),
    /// Somebody looks at the core; it answers by itself.
    Look(Look),
    /// An operator ends a client's connection, and its session if that is to be forgotten. No
    /// answer: its home is elsewhere, or it is unknown.
    Kick { client_id: Arc<str>, forget: bool, answer: oneshot::Sender<Option<Kicked>> },
    /// An operator follows something, or has seen enough.
    Trace { order: TraceOrder, answer: oneshot::Sender<()> },
    /// What was noted of a trace since the last time; nothing if it does not run.
    Traced { id: TraceId, answer: oneshot::Sender<Option<Traced>> },
    /// Somebody is kept out from now on.
    LetGo(Banned),
    /// The broker says something of itself.
    Announce(Vec<(Arc<str>, Bytes)>),
    /// Say what was counted.
    Count(UnboundedSender<Counted>),
}

/// What a shard has counted.
pub(crate) struct Counted {
    /// Which shard.
    pub(crate) shard: usize,
    /// What its core counted.
    pub(crate) metrics: ShardMetrics,
    /// Connections it holds.
    pub(crate) connections: usize,
    /// Sessions it holds.
    pub(crate) sessions: usize,
    /// What else it holds.
    pub(crate) holdings: Holdings,
    /// How large its log is.
    pub(crate) log: LogSize,
    /// Commits of the log.
    pub(crate) commits: u64,
    /// How long its syncs took.
    pub(crate) sync_times: Durations,
    /// Connections that were not taken.
    pub(crate) kept_out: Tally<Refusal>,
    /// Connections that have not come to their first packet.
    pub(crate) handshakes: usize,
    /// Of those there were, the ones that were let go for others.
    pub(crate) handshakes_let_go: u64,
    /// Times that it did not accept.
    pub(crate) accepting_paused: Tally<Pause>,
    /// Calls of `io_uring_enter`.
    pub(crate) enters: u64,
    /// Turns of its loop.
    pub(crate) turns: u64,
    /// How long the work of a turn took.
    pub(crate) turn_times: Durations,
}

/// A shard's letters, and the descriptor that wakes it.
pub(super) struct Mailbox {
    letters: SegQueue<Letter>,
    wake: OwnedFd,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Mailbox> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and is nobody else's.
        let wake = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Mailbox { letters: SegQueue::new(), wake })
    }

    /// Leaves a letter and wakes the shard.
    pub(super) fn send(&self, letter: Letter) {
        self.letters.push(letter);
        self.wake();
    }

    /// Leaves one of these for every shard.
    pub(super) fn send_all(mailboxes: &[Mailbox], letter: impl Fn() -> Letter) {
        mailboxes.iter().for_each(|mailbox| mailbox.send(letter()));
    }

    /// Wakes the shard.
    pub(super) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are read from a live array. A full counter wakes as well.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(super) fn receive(&self) -> Option<Letter> {
        self.letters.pop()
    }

    pub(super) fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

//! Deadlines of a shard.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::arena::Key;
use super::effect::ConnectionId;
use crate::time::Time;

/// Deadlines that are looked at before other things have their turn: thousands come due at once
/// where thousands of clients fell silent together, and each may mean a connection to end.
pub const TIMERS_PER_TURN: usize = 32;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// When to look whether a connection is still alive: its CONNECT or its keep-alive is due.
    Connection(ConnectionId),
    /// When to read from a connection again that sent more than it may.
    Rate(ConnectionId),
    /// When to publish a will or to end a session whose client is away.
    Session(Key),
    /// When to forget retained messages that have expired.
    Retained,
}

/// Deadlines, soonest first.
///
/// Entries are never taken out early: whoever is named looks at its own deadline when the entry
/// comes up, and arms a new one if that has moved. So activity costs nothing here.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, Timer)>>,
}

impl Timers {
    /// Idle connections are looked at in company: 10,000 of them wake a shard at most 4 times a
    /// second.
    const GRAIN_MICROS: u64 = 250_000;

    /// Adds a deadline; it may fire up to a quarter of a second late, never early.
    pub fn arm(&mut self, at: Time, timer: Timer) {
        if at != Time::NEVER {
            let micros = at.as_micros().div_ceil(Self::GRAIN_MICROS) * Self::GRAIN_MICROS;
            self.heap.push(Reverse((Time::from_micros(micros), timer)));
        }
    }

    /// The next deadline.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A deadline that has come.
    pub fn pop_due(&mut self, now: Time) -> Option<Timer> {
        match self.heap.peek() {
            Some(Reverse((at, _))) if *at <= now => {
                self.heap.pop().map(|Reverse((_, timer))| timer)
            }
            _ => None,
        }
    }
}

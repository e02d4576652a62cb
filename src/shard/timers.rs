//! Deadlines of a shard.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::arena::Key;
use super::effect::ConnectionId;
use crate::time::Time;

/// Deadlines that are looked at before other things have their turn: thousands come due at once
/// where thousands of clients fell silent together, and each may mean a connection to end.
pub const TIMERS_PER_TURN: usize = 8;

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
/// Whoever is named looks at its own deadline when the entry comes up, and arms a new one if that
/// has moved: activity costs nothing here. Entries that nobody waits for any more are swept out
/// once they may be half of all.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, Timer)>>,
    /// Entries that were left by the last sweep.
    swept: usize,
}

impl Timers {
    /// Idle connections are looked at in company: 10,000 of them wake a shard at most 4 times a
    /// second.
    const GRAIN_MICROS: u64 = 250_000;

    /// Entries beyond twice those of the last sweep that are not swept.
    const SURPLUS: usize = 1024;

    /// When a deadline fires: up to a quarter of a second late, never early.
    pub fn fires_at(at: Time) -> Time {
        let grains = at.as_micros().div_ceil(Self::GRAIN_MICROS);
        Time::from_micros(grains.saturating_mul(Self::GRAIN_MICROS))
    }

    /// Adds a deadline.
    pub fn arm(&mut self, at: Time, timer: Timer) {
        if at != Time::NEVER {
            self.heap.push(Reverse((Self::fires_at(at), timer)));
        }
    }

    /// Whether there may be as many entries that nobody waits for as others.
    pub fn is_to_be_swept(&self) -> bool {
        self.heap.len() > 2 * self.swept + Self::SURPLUS
    }

    /// Keeps the entries that somebody waits for, by when they fire.
    pub fn sweep(&mut self, is_waited_for: impl Fn(Time, Timer) -> bool) {
        self.heap.retain(|Reverse((at, timer))| is_waited_for(*at, *timer));
        self.swept = self.heap.len();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_nobody_waits_for_does_not_pile_up() {
        let key = Key::nth(1);
        let (mut timers, mut most) = (Timers::default(), 0);
        for second in 1..100_000 {
            timers.arm(seconds(second), Timer::Session(key));
            if timers.is_to_be_swept() {
                timers.sweep(|at, timer| at == seconds(second) && timer == Timer::Session(key));
            }
            most = most.max(timers.heap.len());
        }
        assert!(most <= 2 * Timers::SURPLUS, "{most}");
        let kept = std::iter::from_fn(|| timers.pop_due(seconds(100_000))).count();
        assert!(kept > 0, "the last of it is waited for");
    }

    #[test]
    fn a_deadline_at_the_end_of_time_does_not_come() {
        let mut timers = Timers::default();
        let key = Key::nth(1);
        timers.arm(Time::from_micros(u64::MAX - 1), Timer::Session(key));
        assert_eq!(timers.pop_due(seconds(1 << 40)), None);
    }
}

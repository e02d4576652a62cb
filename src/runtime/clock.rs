//! The only clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::time::Time;

/// The wall clock, for those who tell people and machines when something was.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock, for those who compare it with what clients and files say.
pub(crate) fn wall() -> Time {
    Time::from_micros(since_1970().as_micros() as u64)
}

/// The wall clock of the broker's start, advanced by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Time,
    start: Instant,
}

impl Clock {
    /// Reads the wall clock.
    pub fn start() -> Clock {
        Clock { wall: wall(), start: Instant::now() }
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.wall.after(self.start.elapsed())
    }
}

/// What `CLOCK_MONOTONIC` shows, for those outside who compare it with theirs.
pub fn monotonic_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It begins at zero when the machine starts.
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

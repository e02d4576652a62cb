//! Points in time as the core sees them: an argument, never asked for.

use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z, advanced by the monotonic clock.
///
/// The runtime reads the wall clock once at start and adds elapsed monotonic time, so that time
/// never goes back while a broker runs and can be written to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Later than every other time: a deadline that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time `micros` microseconds after 1970.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds after 1970.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// `self + duration`; [`Time::NEVER`] where that overflows.
    pub const fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// `self + seconds`; [`Time::NEVER`] where that overflows.
    pub const fn after_seconds(self, seconds: u32) -> Time {
        Time(self.0.saturating_add(seconds as u64 * 1_000_000))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

//! Limits that were reached: each cause is logged once a minute at most, all are counted.

use std::fmt;
use std::time::Duration;

use super::Shard;
use crate::time::Time;

/// How long a cause stays quiet once it was logged.
const QUIET: Duration = Duration::from_secs(60);

/// What was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `mqtt.queue_messages_max` or `queue_bytes_max`, by a session or shared group.
    Queue,
    /// `mqtt.queue_memory_bytes_max`.
    QueueMemory,
    /// `storage.log_bytes_max`, or the disk.
    Log,
    /// `mqtt.retained_messages_max` or `retained_bytes_max`.
    Retained,
    /// `mqtt.sessions_max`.
    Sessions,
    /// `mqtt.connect_memory_bytes_max`.
    ConnectMemory,
}

impl Limit {
    const ALL: [Limit; 6] = [
        Limit::Queue,
        Limit::QueueMemory,
        Limit::Log,
        Limit::Retained,
        Limit::Sessions,
        Limit::ConnectMemory,
    ];

    /// What the operator sets.
    fn keys(self) -> &'static str {
        match self {
            Limit::Queue => "mqtt.queue_messages_max, mqtt.queue_bytes_max",
            Limit::QueueMemory => "mqtt.queue_memory_bytes_max",
            Limit::Log => "storage.log_bytes_max or the disk",
            Limit::Retained => "mqtt.retained_messages_max, mqtt.retained_bytes_max",
            Limit::Sessions => "mqtt.sessions_max",
            Limit::ConnectMemory => "mqtt.connect_memory_bytes_max",
        }
    }
}

/// When each cause may be logged again.
#[derive(Debug, Default)]
pub struct Reached([Time; Limit::ALL.len()]);

impl Reached {
    /// Whether this time is to be logged.
    fn is_news(&mut self, now: Time, limit: Limit) -> bool {
        let quiet_until = &mut self.0[limit as usize];
        let is_news = *quiet_until <= now;
        if is_news {
            *quiet_until = now.after(QUIET);
        }
        is_news
    }
}

impl Shard {
    /// A limit was reached: says so, unless it did within a minute.
    #[cold]
    pub(super) fn reached(&mut self, limit: Limit, consequence: impl fmt::Display) {
        if self.reached.is_news(self.now, limit) {
            let (shard, limit) = (self.id.0, limit.keys());
            tracing::warn!(
                shard,
                limit,
                "{consequence}; more of this is counted only, for a minute"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_a_minute_and_others_beside_it() {
        let mut reached = Reached::default();
        let at = |seconds: u64| Time::from_micros(1 + seconds * 1_000_000);
        assert!(reached.is_news(at(0), Limit::Queue));
        assert!(!reached.is_news(at(59), Limit::Queue));
        assert!(reached.is_news(at(59), Limit::Log));
        assert!(reached.is_news(at(60), Limit::Queue));
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index);
        }
    }
}

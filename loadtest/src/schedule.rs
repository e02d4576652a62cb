//! When messages of an open loop fall due.
//!
//! Message `k` of a worker is due at `start + k / rate`, and the publishers take turns. The time
//! is computed from `k`, never from the one before, so a slow turn delays nothing that follows:
//! that is what makes latency from the intended time honest.

/// One worker's schedule.
#[derive(Debug)]
pub struct Schedule {
    start_us: u64,
    interval_us: f64,
    message_index: u64,
    publisher_count: usize,
}

impl Schedule {
    /// A schedule of `per_second` messages from `start_us`; none without a rate or a publisher.
    #[must_use]
    pub fn new(per_second: f64, start_us: u64, publisher_count: usize) -> Option<Self> {
        let is_possible = per_second > 0.0 && publisher_count > 0;
        is_possible.then_some(Self {
            start_us,
            interval_us: 1e6 / per_second,
            message_index: 0,
            publisher_count,
        })
    }

    /// When the next message is due.
    #[must_use]
    pub fn next_us(&self) -> u64 {
        self.start_us + (self.message_index as f64 * self.interval_us) as u64
    }

    /// The publisher whose turn it is and the time its message was due, unless that is to come.
    pub fn pop(&mut self, now_us: u64) -> Option<(usize, u64)> {
        let due_us = self.next_us();
        if due_us > now_us {
            return None;
        }
        let turn = (self.message_index % self.publisher_count as u64) as usize;
        self.message_index += 1;
        Some((turn, due_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_turn_yields_every_message_with_its_own_time() {
        let mut schedule = Schedule::new(3.0, 100, 2).expect("possible");
        let due: Vec<(usize, u64)> = std::iter::from_fn(|| schedule.pop(1_000_100)).collect();
        assert_eq!(due, [(0, 100), (1, 333_433), (0, 666_766), (1, 1_000_100)]);
    }

    #[test]
    fn no_rate_or_no_publisher_is_no_schedule() {
        assert!(Schedule::new(0.0, 0, 1).is_none());
        assert!(Schedule::new(1.0, 0, 0).is_none());
    }
}

//! Clients that send more than they may are read from more slowly.

use super::connection::Pause;
use super::effect::ConnectionId;
use super::timers::Timer;
use super::{Shard, connection::Active};
use crate::auth::Rates;
use crate::config::RateExceeded;
use crate::proto::ReasonCode;
use crate::time::Time;

/// What may come at once after silence: as much as in one second.
const BURST_NANOS: u64 = 1_000_000_000;

/// When what has come would have come at the rates that are allowed (GCRA).
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    rates: Rates,
    messages_nanos: u64,
    bytes_nanos: u64,
}

impl Pacer {
    fn new(rates: Rates) -> Pacer {
        Pacer { rates, messages_nanos: 0, bytes_nanos: 0 }
    }

    /// Counts what has come; when the next may, if not now.
    fn count(&mut self, now: Time, messages: u64, bytes: u64) -> Option<Time> {
        let now_nanos = now.as_micros() * 1000;
        let advance = |due: &mut u64, per_s: u32, came: u64| {
            if per_s != 0 {
                *due = now_nanos.max(*due) + came * 1_000_000_000 / u64::from(per_s);
            }
            due.saturating_sub(BURST_NANOS)
        };
        let by_messages = advance(&mut self.messages_nanos, self.rates.messages_per_s, messages);
        let by_bytes = advance(&mut self.bytes_nanos, self.rates.bytes_per_s, bytes);
        let next = by_messages.max(by_bytes);
        (next > now_nanos).then(|| Time::from_micros(next.div_ceil(1000)))
    }
}

impl Shard {
    /// Holds a client to the rates of its rules from now on.
    pub(super) fn pace(&mut self, id: ConnectionId, rates: Rates) {
        let mqtt = self.mqtt();
        let everybody = Rates {
            messages_per_s: mqtt.client_messages_per_s_max,
            bytes_per_s: mqtt.client_bytes_per_s_max,
        };
        let rates = rates.and(everybody);
        let is_limited = !rates.is_unlimited() && !self.is_local(id);
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            active.pacer = is_limited.then(|| Box::new(Pacer::new(rates)));
        }
    }

    /// Counts a packet of a client that is held to rates.
    pub(super) fn count_packet(
        &mut self,
        now: Time,
        id: ConnectionId,
        messages: u64,
        bytes: usize,
    ) {
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(Active { pacer: Some(pacer), .. }) = active else { return };
        let Some(next) = pacer.count(now, messages, bytes as u64) else { return };
        self.metrics.rate_exceeded_total += 1;
        if self.policy.rate_exceeded == RateExceeded::Disconnect {
            return self.disconnect(now, id, ReasonCode::MessageRateTooHigh);
        }
        self.pause(id, Pause::Rate);
        self.arm(next, Timer::Rate(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_comes_as_may() {
        let mut pacer = Pacer::new(Rates { messages_per_s: 100, bytes_per_s: 0 });
        let mut now = Time::from_micros(1_790_000_000_000_000);
        let start = now;
        for _ in 0..1000 {
            if let Some(next) = pacer.count(now, 1, 10) {
                // As late as timers may be.
                now = Time::from_micros(next.as_micros() + 200_000);
            }
        }
        // 100 at once, 900 in nine seconds.
        let took = now.since(start).as_micros();
        assert!((8_900_000..9_400_000).contains(&took), "{took}");
        let mut pacer = Pacer::new(Rates { messages_per_s: 0, bytes_per_s: 1000 });
        assert_eq!(pacer.count(start, 1, 1000), None);
        let next = pacer.count(start, 1, 500).expect("more than in a second");
        assert_eq!(next.since(start).as_micros(), 500_000);
    }
}

//! The gate of a shard: how many connections are on their way to their first packet, which of
//! them is let go when there is no room for more, and how many may be accepted now.
//!
//! An honest client is through within a few round trips, so a full gate is full of those who
//! dawdle, or of a fleet that comes back at once. The two are told apart by time alone. Who has
//! had its fair time since it last came a step further, while everything received was acted on,
//! is let go for the next one: thousands who say a byte now and then cost an honest client no more
//! than a short wait. While nobody has, the connections behind are not accepted and wait in the
//! kernel's backlog: each of a fleet is served as fast as alone, and none is let go halfway, to
//! come back and make the crowd larger.

use std::collections::VecDeque;
use std::time::Duration;

use super::socket::Sockets;
use crate::config::Config;
use crate::metrics::{Label, Tally};
use crate::shard::ConnectionId;
use crate::time::Time;

/// Connections of a listener that one turn of a shard accepts.
pub(super) const ACCEPTS_MAX: usize = 8;

/// The part of `mqtt.connect_timeout_ms` that is a fair time: by default 2.5 seconds, several
/// round trips of a poor radio link.
const FAIR_PART: u32 = 4;

/// How often a line of the log says that accepting pauses, at most.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Gate {
    /// By listener.
    handshakes: Vec<Handshakes>,
    fair_time: Duration,
    /// Everything that had been received by then has been acted on: who waits for us, and not we
    /// for it, is at no fault.
    pub(super) caught_up_at: Time,
    /// Something has changed that decides how many may be accepted.
    pub(super) is_touched: bool,
    /// When to look again whether more may be accepted.
    pub(super) look_again: Option<Time>,
    /// Connections that were let go for others.
    pub(super) let_go: u64,
    pub(super) pauses: Tally<Pause>,
    /// When it was last said that accepting pauses, by cause.
    said_at: [Option<Time>; Pause::VALUES.len()],
}

/// Connections of a listener at this shard that have not come to their first packet.
struct Handshakes {
    max: usize,
    count: usize,
    /// Who came a step further, and when, in that order; some are over, or further by now.
    steps: VecDeque<(Time, ConnectionId)>,
}

/// Why accepting pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// `handshakes_max` of the listener, and everybody has its fair time.
    Handshakes,
    /// `connections_per_s_max` of the listener.
    Rate,
    /// The process has no descriptor left.
    Descriptors,
}

impl Label for Pause {
    const NAME: &'static str = "cause";
    const VALUES: &'static [&'static str] = &["handshakes", "rate", "descriptors"];

    fn index(self) -> usize {
        self as usize
    }
}

impl Gate {
    /// The gate of one of `shards`, each of which has an equal part of the room.
    pub(super) fn new(config: &Config, shards: usize) -> Gate {
        let handshakes = config.listeners.iter().map(|listener| Handshakes {
            max: match listener.terms.handshakes_max as usize {
                0 => usize::MAX,
                max => max.div_ceil(shards),
            },
            count: 0,
            steps: VecDeque::new(),
        });
        Gate {
            handshakes: handshakes.collect(),
            fair_time: Duration::from_millis(config.mqtt.connect_timeout_ms.into()) / FAIR_PART,
            caught_up_at: Time::default(),
            is_touched: true,
            look_again: None,
            let_go: 0,
            pauses: Tally::default(),
            said_at: Default::default(),
        }
    }

    /// A connection was accepted: its fair time begins.
    pub(super) fn begin(
        &mut self,
        now: Time,
        listener: usize,
        id: ConnectionId,
        sockets: &mut Sockets,
    ) {
        self.handshakes[listener].count += 1;
        self.is_touched = true;
        self.step(now, listener, id, sockets);
    }

    /// A connection came a step further: its fair time begins anew.
    pub(super) fn step(
        &mut self,
        now: Time,
        listener: usize,
        id: ConnectionId,
        sockets: &mut Sockets,
    ) {
        let Some(socket) = sockets.get_mut(id) else { return };
        socket.step = Some(now);
        let Handshakes { count, steps, .. } = &mut self.handshakes[listener];
        steps.push_back((now, id));
        // Those that are over go in one sweep, so that each costs one look.
        if steps.len() > 2 * *count + ACCEPTS_MAX {
            steps.retain(|(at, id)| is_current(sockets, *id, *at));
        }
    }

    /// A connection came to its first packet, or ended before.
    pub(super) fn over(&mut self, listener: usize) {
        self.handshakes[listener].count -= 1;
        self.is_touched = true;
    }

    /// Connections that have not come to their first packet.
    pub(super) fn count(&self) -> usize {
        self.handshakes.iter().map(|handshakes| handshakes.count).sum()
    }

    /// Whether a listener has more than it should.
    pub(super) fn is_overfull(&self, listener: usize) -> bool {
        let Handshakes { count, max, .. } = &self.handshakes[listener];
        count > max
    }

    /// Who has waited longest, if it has had its fair time.
    pub(super) fn oldest(
        &mut self,
        listener: usize,
        sockets: &mut Sockets,
    ) -> Option<ConnectionId> {
        let by = self.caught_up_at;
        let (at, id) = self.handshakes[listener].front(sockets)?;
        (at.after(self.fair_time) <= by).then_some(id)
    }

    /// How many a listener may accept: as many as there is room for, and one more for whom the
    /// oldest is let go. If that is none, it is looked at again when somebody has had its time.
    pub(super) fn room(&mut self, listener: usize, sockets: &mut Sockets) -> usize {
        let (by, fair_time) = (self.caught_up_at, self.fair_time);
        let handshakes = &mut self.handshakes[listener];
        let free = handshakes.max.saturating_sub(handshakes.count);
        if free > 0 {
            return free;
        }
        let Some((at, _)) = handshakes.front(sockets) else { return 0 };
        let due = at.after(fair_time);
        if due <= by {
            return 1;
        }
        self.look_at(due);
        0
    }

    /// Counts a pause; whether it is worth a line of the log, as there was none for a minute.
    pub(super) fn pause(&mut self, now: Time, cause: Pause) -> bool {
        self.pauses.count(cause);
        let said_at = &mut self.said_at[cause.index()];
        let is_due = said_at.is_none_or(|at| at.after(SAID_EVERY) <= now);
        if is_due {
            *said_at = Some(now);
        }
        is_due
    }

    /// Looks again at a time, if not before.
    pub(super) fn look_at(&mut self, due: Time) {
        self.look_again = Some(self.look_again.map_or(due, |before| before.min(due)));
    }
}

impl Handshakes {
    /// Whose last step is the longest ago.
    fn front(&mut self, sockets: &mut Sockets) -> Option<(Time, ConnectionId)> {
        while let Some((at, id)) = self.steps.front().copied() {
            if is_current(sockets, id, at) {
                return Some((at, id));
            }
            self.steps.pop_front();
        }
        None
    }
}

/// Whether that was the last step of a connection that is still on its way.
fn is_current(sockets: &mut Sockets, id: ConnectionId, at: Time) -> bool {
    sockets.get_mut(id).is_some_and(|socket| socket.step == Some(at))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::config::ListenerConfig;
    use crate::shard::{Listener, Peer};

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    /// One of two shards with room for so many, where four seconds are fair.
    fn gate(handshakes_max: u32) -> Gate {
        let mut config = Config::default();
        config.mqtt.connect_timeout_ms = 16_000;
        config.listeners = ListenerConfig::defaults();
        config.listeners[0].terms.handshakes_max = handshakes_max;
        Gate::new(&config, 2)
    }

    fn begin(gate: &mut Gate, sockets: &mut Sockets, now: Time) -> ConnectionId {
        let file = File::open("/dev/null").expect("there is one");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let peer = Peer { address, listener: Listener { index: 0, loopback: true } };
        let id = sockets.insert(file.into(), peer, None, None);
        gate.begin(now, 0, id, sockets);
        id
    }

    fn end(gate: &mut Gate, sockets: &mut Sockets, id: ConnectionId) {
        sockets.remove(id);
        gate.over(0);
    }

    #[test]
    fn who_has_had_its_fair_time_is_let_go_for_the_next() {
        let (mut gate, mut sockets) = (gate(4), Sockets::default());
        let first = begin(&mut gate, &mut sockets, at(10));
        let second = begin(&mut gate, &mut sockets, at(11));
        gate.caught_up_at = at(13);
        assert_eq!(gate.room(0, &mut sockets), 0);
        assert_eq!(gate.look_again, Some(at(14)));
        assert_eq!(gate.oldest(0, &mut sockets), None);
        gate.caught_up_at = at(14);
        assert_eq!(gate.room(0, &mut sockets), 1);
        assert_eq!(gate.oldest(0, &mut sockets), Some(first));
        // It comes a step further.
        gate.step(at(14), 0, first, &mut sockets);
        assert_eq!(gate.oldest(0, &mut sockets), None);
        gate.caught_up_at = at(15);
        assert_eq!(gate.oldest(0, &mut sockets), Some(second));
        end(&mut gate, &mut sockets, second);
        assert_eq!((gate.oldest(0, &mut sockets), gate.room(0, &mut sockets)), (None, 1));
    }

    #[test]
    fn who_waits_for_us_is_at_no_fault() {
        let (mut gate, mut sockets) = (gate(2), Sockets::default());
        let first = begin(&mut gate, &mut sockets, at(10));
        // An hour is gone, but what came meanwhile has not been looked at.
        gate.caught_up_at = at(11);
        assert_eq!((gate.oldest(0, &mut sockets), gate.room(0, &mut sockets)), (None, 0));
        gate.caught_up_at = at(3600);
        assert_eq!(gate.oldest(0, &mut sockets), Some(first));
    }

    #[test]
    fn those_that_are_through_leave_nothing_behind() {
        let (mut gate, mut sockets) = (gate(100), Sockets::default());
        let slow = begin(&mut gate, &mut sockets, at(1));
        for second in 2..10_000 {
            let id = begin(&mut gate, &mut sockets, at(second));
            end(&mut gate, &mut sockets, id);
        }
        assert_eq!(gate.count(), 1);
        assert!(gate.handshakes[0].steps.len() < 100);
        gate.caught_up_at = at(20_000);
        assert_eq!(gate.oldest(0, &mut sockets), Some(slow));
    }

    #[test]
    fn a_line_of_the_log_a_minute_is_enough() {
        let mut gate = gate(1);
        let said = |gate: &mut Gate, second| gate.pause(at(second), Pause::Rate);
        let lines = (100..220).filter(|second| said(&mut gate, *second)).count();
        assert_eq!(lines, 2);
        assert!(gate.pause(at(220), Pause::Handshakes));
        let counts: Vec<_> = gate.pauses.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 120, 0]);
    }
}

//! What all clients of one worker share: the clock, the press, the counts and the lists of who
//! has something to do before the turn ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::count::{Count, Tally};
use crate::mqtt::decode::Publish;
use crate::mqtt::{Qos, Version, encode};
use crate::plan::Plan;
use crate::publisher::Press;
use crate::stamp::Filler;
use crate::track::{Arrival, Track};

/// How publishers decide that they may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pacing {
    /// Not at all.
    Idle,
    /// Closed loop: so many messages that are neither delivered nor acknowledged.
    Closed {
        /// Messages in flight of each publisher.
        window: u64,
    },
    /// So many unacknowledged messages, delivered or not: for receivers that are away.
    Acknowledged {
        /// Messages in flight of each publisher.
        window: u64,
    },
    /// Open loop: when a message is due, whatever became of those before it.
    Due,
}

/// What the worker that receives tells the worker that sends: one for each client of the plan.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Flow {
    /// Copies delivered of this publisher's messages.
    delivered: AtomicU64,
}

/// Latencies in microseconds, of the measured part of the run.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// From the intended time of sending to delivery, to receivers that were online by then.
    pub delivery: Histogram<u64>,
    /// The same, to receivers that were away when the message was sent.
    pub catch_up: Histogram<u64>,
    /// From the intended time of sending to the last acknowledgement.
    pub acknowledgement: Histogram<u64>,
    /// From the start of a client's first connection to its CONNACK.
    pub connect: Histogram<u64>,
    /// The same for its later ones.
    pub reconnect: Histogram<u64>,
    /// From the intended time of sending to the sending: how far the harness, or a full window,
    /// held the open loop back.
    pub hold_back: Histogram<u64>,
}

/// What stamps can tell, 71 minutes: more is recorded as this much.
const LATENCY_US_MAX: u64 = u32::MAX as u64;

impl Default for Latencies {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self {
            delivery: histogram(),
            catch_up: histogram(),
            acknowledgement: histogram(),
            connect: histogram(),
            reconnect: histogram(),
            hold_back: histogram(),
        }
    }
}

impl Latencies {
    /// Adds those of another worker.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.delivery, &other.delivery),
            (&mut self.catch_up, &other.catch_up),
            (&mut self.acknowledgement, &other.acknowledgement),
            (&mut self.connect, &other.connect),
            (&mut self.reconnect, &other.reconnect),
            (&mut self.hold_back, &other.hold_back),
        ];
        for (own, theirs) in pairs {
            own.add(theirs).expect("all have the same bounds");
        }
    }
}

/// What one receiver has seen.
#[derive(Debug, Default)]
pub struct Inbox {
    /// By position among the expected streams; empty for a member of a group.
    pub tracks: Vec<Track>,
    /// When its owner came online.
    pub online_since_us: u64,
    /// For a member of a group: one more than the last sequence number it saw of each stream.
    pub horizons: Vec<u32>,
}

/// The clients' common desk.
#[derive(Debug)]
pub struct Desk {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The number of this worker.
    pub worker: u16,
    /// What messages look like.
    pub press: Press,
    /// Microseconds since the run began.
    pub now_us: u64,
    /// The counts.
    pub tally: Tally,
    /// When publishers may send.
    pub pacing: Pacing,
    /// How many messages of each stream are published at most.
    pub limit: u64,
    /// Clients announce themselves and leave a will.
    pub has_presence: bool,
    /// Clients connect only to end their sessions.
    pub is_cleaning: bool,
    /// Latencies are recorded.
    pub is_measuring: bool,
    /// The recorded latencies.
    pub latencies: Latencies,
    /// By group: what its members together have seen.
    pub groups: Vec<Vec<Track>>,
    /// Clients with bytes to write.
    pub dirty: Marks,
    /// Publishers to look at again.
    pub ready: Marks,
    /// By worker: publishers there to look at again.
    pub kicks: Vec<Vec<u32>>,
    flows: Arc<[Flow]>,
    /// A publisher and copies delivered that its flow does not show yet.
    credit: (u32, u64),
}

/// A list of slots, each at most once.
#[derive(Debug, Default)]
pub struct Marks {
    slots: Vec<u32>,
    is_marked: Vec<bool>,
}

impl Marks {
    /// An empty list for `slot_count` slots.
    #[must_use]
    pub fn new(slot_count: usize) -> Self {
        Self { slots: Vec::new(), is_marked: vec![false; slot_count] }
    }

    /// Lists `slot`.
    #[inline]
    pub fn mark(&mut self, slot: u32) {
        let is_marked = &mut self.is_marked[slot as usize];
        if !*is_marked {
            *is_marked = true;
            self.slots.push(slot);
        }
    }

    /// Takes one slot off the list.
    #[inline]
    pub fn pop(&mut self) -> Option<u32> {
        let slot = self.slots.pop()?;
        self.is_marked[slot as usize] = false;
        Some(slot)
    }

    /// Nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Desk {
    /// The desk of `worker`, which has `slot_count` clients.
    #[must_use]
    pub fn new(plan: Arc<Plan>, worker: u16, slot_count: usize, flows: Arc<[Flow]>) -> Self {
        let groups = plan.groups.iter().map(|streams| vec![Track::default(); streams.count()]);
        let groups = groups.collect();
        let kicks = vec![Vec::new(); plan.worker_count];
        Self {
            press: press(&plan, worker),
            plan,
            worker,
            now_us: 0,
            tally: Tally::default(),
            pacing: Pacing::Idle,
            limit: u64::MAX,
            has_presence: false,
            is_cleaning: false,
            is_measuring: false,
            latencies: Latencies::default(),
            groups,
            dirty: Marks::new(slot_count),
            ready: Marks::new(slot_count),
            kicks,
            flows,
            credit: (0, 0),
        }
    }

    /// Copies of the messages of `publisher` that were delivered.
    #[inline]
    #[must_use]
    pub fn delivered(&self, publisher: u32) -> u64 {
        self.flows[publisher as usize].delivered.load(Ordering::Acquire)
    }

    /// Judges a message that `client` got and takes it to account.
    #[inline]
    pub fn receive(&mut self, plan: &Plan, client: u32, publish: &Publish<'_>, inbox: &mut Inbox) {
        let Some(stamp) = self.press.filler.verify(publish.payload) else {
            self.tally[Count::Corrupt] += 1;
            return;
        };
        let Some(stream) = plan.streams.get(stamp.stream as usize) else {
            self.tally[Count::Corrupt] += 1;
            return;
        };
        let receiver = &plan.clients[client as usize];
        let position = receiver.expects.position(stamp.stream);
        let Some(position) = position.filter(|_| stream.topic.as_bytes() == publish.topic) else {
            self.tally[Count::Misrouted] += 1;
            return;
        };
        let arrival = match receiver.group {
            None => inbox.tracks[position].note(stamp.sequence),
            Some(group) => {
                let shared = self.groups[group as usize][position].note(stamp.sequence);
                judge_member(shared, &mut inbox.horizons[position], stamp.sequence)
            }
        };
        let newly_accounted = match arrival {
            Arrival::Repeated => return self.count_repeated(publish),
            // The skipped ones free their window too: a loss must be reported, not stall the run.
            Arrival::Ahead(skipped) => 1 + u64::from(skipped),
            // It freed its window when it was skipped; in a group nothing is skipped.
            Arrival::Late => u64::from(receiver.group.is_some()),
            Arrival::InOrder => 1,
        };
        self.tally[Count::OutOfOrder] += u64::from(arrival == Arrival::Late);
        self.tally[Count::Delivered] += 1;
        if stream.is_timed {
            self.grant(stream.publisher, newly_accounted);
            self.sample(stamp.sent_us, inbox.online_since_us);
        }
    }

    #[cold]
    fn count_repeated(&mut self, publish: &Publish<'_>) {
        // [MQTT-4.3.2-3]: at least once; the DUP flag says that the broker knows.
        let is_announced = publish.duplicate && publish.qos == Qos::AtLeastOnce;
        let count = if is_announced { Count::Redelivered } else { Count::Duplicated };
        self.tally[count] += 1;
    }

    #[inline]
    fn sample(&mut self, sent_us: u32, online_since_us: u64) {
        let is_chosen = self.tally[Count::Delivered] & (self.plan.sample_every - 1) == 0;
        if self.is_measuring && is_chosen {
            let latency_us = u64::from((self.now_us as u32).wrapping_sub(sent_us));
            // What was sent before the receiver came says how long it was away.
            let is_live = latency_us <= self.now_us - online_since_us;
            let latencies = &mut self.latencies;
            let histogram = if is_live { &mut latencies.delivery } else { &mut latencies.catch_up };
            histogram.saturating_record(latency_us);
        }
    }

    /// An exchange of QoS 1 or 2 that began at `sent_us` is complete.
    #[inline]
    pub fn acknowledged(&mut self, sent_us: u32) {
        self.tally[Count::Acknowledged] += 1;
        let is_chosen = self.tally[Count::Acknowledged] & (self.plan.sample_every - 1) == 0;
        if self.is_measuring && is_chosen {
            let latency_us = (self.now_us as u32).wrapping_sub(sent_us);
            self.latencies.acknowledgement.saturating_record(u64::from(latency_us));
        }
    }

    /// Gives window back to a publisher; runs for the same one are collected.
    #[inline]
    fn grant(&mut self, publisher: u32, copies: u64) {
        if self.credit.0 != publisher {
            self.settle();
            self.credit.0 = publisher;
        }
        self.credit.1 += copies;
    }

    /// Shows collected credit to its publisher.
    #[inline]
    pub fn settle(&mut self) {
        let (publisher, copies) = std::mem::take(&mut self.credit);
        if copies == 0 {
            return;
        }
        self.flows[publisher as usize].delivered.fetch_add(copies, Ordering::AcqRel);
        let client = &self.plan.clients[publisher as usize];
        if client.worker == self.worker {
            self.ready.mark(client.slot);
        } else {
            self.kicks[usize::from(client.worker)].push(client.slot);
        }
    }
}

/// A group sees its streams in any order, but each member must see its part in order.
#[inline]
fn judge_member(shared: Arrival, horizon: &mut u32, sequence: u32) -> Arrival {
    let is_behind = sequence < *horizon;
    *horizon = (*horizon).max(sequence + 1);
    match shared {
        Arrival::Late if !is_behind => Arrival::InOrder,
        // What another member gets later is not skipped, only outstanding.
        Arrival::InOrder | Arrival::Ahead(_) => Arrival::InOrder,
        other => other,
    }
}

fn press(plan: &Plan, worker: u16) -> Press {
    let version = plan.door.version;
    let prefixes = plan.streams.iter().map(|stream| {
        if plan.clients[stream.publisher as usize].worker != worker {
            return Box::default();
        }
        encode::publish_prefix(version, &stream.topic, plan.qos, false, plan.payload_size)
            .into_boxed_slice()
    });
    Press {
        qos: plan.qos,
        has_properties: version == Version::V5,
        prefixes: prefixes.collect(),
        filler: Filler::new(plan.payload_size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_listed_once_until_it_is_taken() {
        let mut marks = Marks::new(3);
        for slot in [2, 0, 2, 2] {
            marks.mark(slot);
        }
        assert_eq!(std::iter::from_fn(|| marks.pop()).collect::<Vec<_>>(), [0, 2]);
        marks.mark(2);
        assert_eq!(marks.pop(), Some(2));
        assert!(marks.is_empty());
    }

    #[test]
    fn members_may_overtake_each_other_but_not_themselves() {
        let mut group = Track::default();
        let (mut first, mut second) = (0, 0);
        let mut judge =
            |horizon: &mut u32, sequence| judge_member(group.note(sequence), horizon, sequence);
        assert_eq!(judge(&mut first, 1), Arrival::InOrder);
        assert_eq!(judge(&mut second, 0), Arrival::InOrder, "another member's part");
        assert_eq!(judge(&mut second, 5), Arrival::InOrder);
        assert_eq!(judge(&mut second, 4), Arrival::Late, "behind its own last");
        assert_eq!(judge(&mut first, 5), Arrival::Repeated, "what another member had");
    }
}

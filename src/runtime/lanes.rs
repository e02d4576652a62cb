//! Lanes: a bounded queue for every ordered pair of shards, carrying batches.
//!
//! A shard collects what it has to say to each other shard during a turn and pushes it at the turn's
//! end, as one batch unless it is long. A receiver that is asleep in its ring is woken, once; one
//! that is awake looks at its lanes anyway before it sleeps.

use std::collections::VecDeque;
use std::sync::Arc;

use super::primitive::{ArrayQueue, AtomicBool, Ordering};

/// Batches a lane holds; a lane that has no room for one more is full.
const BATCHES: usize = 64;

/// Bytes at which a batch is closed and the next begins: as much as a turn takes from the network,
/// so that most turns fill one at most.
pub(super) const BATCH_BYTES_MAX: usize = 256 << 10;

/// Bytes not heard yet at which a lane is full, too, until half of them are heard. What waits here
/// is waited for by everybody else who has something to say to that shard.
const UNHEARD_BYTES_MAX: usize = 1 << 20;

/// What an item counts for at least: what it takes beside the bytes it carries.
const ITEM_BYTES_MIN: usize = 64;

/// All lanes of a broker.
pub(super) struct Lanes<T> {
    /// Lane from `from` to `to` at `from * count + to`.
    lanes: Vec<Lane<T>>,
    sleeping: Vec<AtomicBool>,
    count: usize,
}

struct Lane<T> {
    batches: ArrayQueue<Batch<T>>,
    /// Emptied batches on their way back.
    spare: ArrayQueue<Batch<T>>,
}

/// What is handed over as a whole.
pub(super) struct Batch<T> {
    pub(super) items: Vec<T>,
    /// What they count for.
    pub(super) bytes: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Batch<T> {
        Batch { items: Vec::new(), bytes: 0 }
    }
}

impl<T> Lanes<T> {
    /// Lanes among `count` shards.
    pub(super) fn new(count: usize) -> Arc<Lanes<T>> {
        let lane = || Lane { batches: ArrayQueue::new(BATCHES), spare: ArrayQueue::new(BATCHES) };
        Arc::new(Lanes {
            lanes: (0..count * count).map(|_| lane()).collect(),
            sleeping: (0..count).map(|_| AtomicBool::new(false)).collect(),
            count,
        })
    }

    /// The ends of shard `index`.
    pub(super) fn ends(self: &Arc<Self>, index: usize) -> LaneEnds<T> {
        let outgoing = (0..self.count).map(|_| Outgoing::default()).collect();
        LaneEnds { lanes: Arc::clone(self), index, outgoing }
    }

    fn lane(&self, from: usize, to: usize) -> &Lane<T> {
        &self.lanes[from * self.count + to]
    }
}

/// One shard's view of the lanes: it sends to all others and hears from all others.
pub(super) struct LaneEnds<T> {
    lanes: Arc<Lanes<T>>,
    index: usize,
    outgoing: Vec<Outgoing<T>>,
}

/// Invariant: `unheard_bytes` is the sum of `unheard`.
struct Outgoing<T> {
    /// The last one is being filled.
    batches: VecDeque<Batch<T>>,
    /// The bytes of each batch that was handed over and not heard at the last flush.
    unheard: VecDeque<usize>,
    unheard_bytes: usize,
    /// Whether the last flush did not find room for all.
    full: bool,
}

impl<T> Default for Outgoing<T> {
    fn default() -> Outgoing<T> {
        let (batches, unheard) = (VecDeque::new(), VecDeque::new());
        Outgoing { batches, unheard, unheard_bytes: 0, full: false }
    }
}

impl<T> LaneEnds<T> {
    /// Shards there are.
    pub(super) fn count(&self) -> usize {
        self.lanes.count
    }

    /// Every shard but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = usize> + use<T> {
        let index = self.index;
        (0..self.lanes.count).filter(move |other| *other != index)
    }

    /// Adds to what a shard is told, of which so many bytes are a client's.
    pub(super) fn send(&mut self, to: usize, item: T, bytes: usize) {
        debug_assert_ne!(to, self.index, "a shard has no lane to itself");
        let batches = &mut self.outgoing[to].batches;
        if batches.back().is_none_or(|batch| batch.bytes >= BATCH_BYTES_MAX) {
            let spare = self.lanes.lane(self.index, to).spare.pop();
            batches.push_back(spare.unwrap_or_default());
        }
        let batch = batches.back_mut().expect("there is one that is not closed");
        batch.items.push(item);
        batch.bytes += bytes.max(ITEM_BYTES_MIN);
    }

    /// Whether something is kept that was not handed over.
    pub(super) fn is_stuck(&self) -> bool {
        self.outgoing.iter().any(|outgoing| !outgoing.batches.is_empty())
    }

    /// Whether the lane to a shard was full at the last flush.
    pub(super) fn is_full(&self, to: usize) -> bool {
        self.outgoing[to].full
    }

    /// Hands over what there is for a shard, or as much as there is room for; whether it sleeps and
    /// must be woken.
    pub(super) fn flush(&mut self, to: usize) -> bool {
        let Outgoing { batches, unheard, unheard_bytes, full } = &mut self.outgoing[to];
        if batches.is_empty() {
            return false;
        }
        let lane = self.lanes.lane(self.index, to);
        while unheard.len() > lane.batches.len() {
            *unheard_bytes -= unheard.pop_front().expect("there are more than none");
        }
        let bytes_max = if *full { UNHEARD_BYTES_MAX / 2 } else { UNHEARD_BYTES_MAX };
        let mut is_told = false;
        while *unheard_bytes < bytes_max
            && let Some(batch) = batches.pop_front()
        {
            let bytes = batch.bytes;
            if let Err(batch) = lane.batches.push(batch) {
                batches.push_front(batch);
                break;
            }
            unheard.push_back(bytes);
            *unheard_bytes += bytes;
            is_told = true;
        }
        *full = !batches.is_empty();
        // Pairs with the exchange in `fall_asleep`: either the sleeper sees the batch, or its flag
        // is seen here.
        is_told && self.lanes.sleeping[to].swap(false, Ordering::AcqRel)
    }

    /// The next batch from a shard.
    pub(super) fn receive(&mut self, from: usize) -> Option<Batch<T>> {
        self.lanes.lane(from, self.index).batches.pop()
    }

    /// Returns an emptied batch.
    pub(super) fn recycle(&mut self, from: usize, mut batch: Batch<T>) {
        debug_assert!(batch.items.is_empty(), "a batch goes back when all of it was heard");
        const CAPACITY_MAX: usize = 4096;
        if batch.items.capacity() <= CAPACITY_MAX {
            batch.bytes = 0;
            // No room means there are enough.
            let _ = self.lanes.lane(from, self.index).spare.push(batch);
        }
    }

    /// Declares that this shard is about to sleep; false if something has arrived meanwhile.
    pub(super) fn fall_asleep(&self) -> bool {
        // An exchange, as in `flush`: of two exchanges one is later and sees what came before the
        // other, the batch or the flag. A store would not see the batch.
        self.lanes.sleeping[self.index].swap(true, Ordering::AcqRel);
        let arrived = (0..self.count()).any(|from| {
            from != self.index && !self.lanes.lane(from, self.index).batches.is_empty()
        });
        if arrived {
            self.wake_up();
        }
        !arrived
    }

    /// This shard looks at its lanes by itself again.
    pub(super) fn wake_up(&self) {
        self.lanes.sleeping[self.index].swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_keeps_the_order_and_gives_batches_back() {
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        a.send(1, 1, 0);
        a.send(1, 2, 0);
        a.flush(1);
        a.send(1, 3, 0);
        a.flush(1);
        let mut heard = Vec::new();
        while let Some(mut batch) = b.receive(0) {
            heard.append(&mut batch.items);
            b.recycle(0, batch);
        }
        assert_eq!(heard, [1, 2, 3]);
        a.send(1, 4, 0);
        assert_eq!(a.outgoing[1].batches[0].bytes, ITEM_BYTES_MIN, "a spare one is empty");
    }

    #[test]
    fn a_full_lane_keeps_what_is_said_until_there_is_room() {
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        for n in 0..BATCHES {
            a.send(1, n, 0);
            a.flush(1);
            assert!(!a.is_full(1) && !a.is_stuck());
        }
        a.send(1, BATCHES, 0);
        a.flush(1);
        assert!(a.is_full(1) && a.is_stuck());
        a.send(1, BATCHES + 1, 0);
        assert_eq!(b.receive(0).expect("a batch").items, [0]);
        a.flush(1);
        assert!(!a.is_full(1) && !a.is_stuck());
        let heard: Vec<_> = std::iter::from_fn(|| b.receive(0)).flat_map(|one| one.items).collect();
        assert_eq!(heard, (1..=BATCHES + 1).collect::<Vec<_>>());
    }

    #[test]
    fn a_lane_is_short_whatever_a_turn_says() {
        const BYTES: usize = 1000;
        const COUNT: usize = 4 * UNHEARD_BYTES_MAX / BYTES;
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        (0..COUNT).for_each(|n| a.send(1, n, BYTES));
        assert!(b.fall_asleep());
        assert!(a.flush(1), "who sleeps is woken, though the lane is full");
        assert!(a.is_full(1));
        let (mut heard, mut unheard_bytes) = (Vec::new(), a.outgoing[1].unheard_bytes);
        while let Some(batch) = b.receive(0) {
            assert!(unheard_bytes < UNHEARD_BYTES_MAX + BATCH_BYTES_MAX + BYTES);
            assert!(batch.bytes < BATCH_BYTES_MAX + BYTES);
            assert_eq!(batch.bytes, batch.items.len() * BYTES);
            unheard_bytes -= batch.bytes;
            heard.extend(batch.items);
            a.flush(1);
            assert!(a.outgoing[1].unheard_bytes >= unheard_bytes);
            unheard_bytes = a.outgoing[1].unheard_bytes;
        }
        assert_eq!(heard, (0..COUNT).collect::<Vec<_>>());
        assert!(!a.is_full(1) && !a.is_stuck());
    }

    #[test]
    fn a_sleeper_is_woken_once() {
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        assert!(b.fall_asleep());
        a.send(1, 1, 0);
        assert!(a.flush(1));
        a.send(1, 2, 0);
        assert!(!a.flush(1));
        assert!(!b.fall_asleep(), "what has arrived keeps a shard awake");
        assert_eq!(b.receive(0).expect("a batch").items, [1]);
        assert!(!b.fall_asleep(), "and so does what it has not heard of it");
        assert_eq!(b.receive(0).expect("a batch").items, [2]);
        assert!(b.fall_asleep());
    }

    #[test]
    fn no_wake_is_lost_between_two_threads() {
        const ROUNDS: usize = 20_000;
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let mut heard = 0;
                while heard < ROUNDS {
                    if b.fall_asleep() {
                        std::thread::park();
                        b.wake_up();
                    }
                    if let Some(batch) = b.receive(0) {
                        for item in batch.items {
                            assert_eq!(item, heard);
                            heard += 1;
                        }
                    }
                }
            });
            for n in 0..ROUNDS {
                a.send(1, n, 0);
                loop {
                    if a.flush(1) {
                        receiver.thread().unpark();
                    }
                    if !a.is_full(1) {
                        break;
                    }
                    std::thread::yield_now();
                }
            }
        });
    }
}

//! Lanes: a bounded queue for every ordered pair of shards, carrying batches.
//!
//! A shard collects what it has to say to each other shard during a turn and pushes it as one
//! batch at the turn's end. A receiver that is asleep in its ring is woken, once; one that is
//! awake looks at its lanes anyway before it sleeps.

use std::sync::Arc;

use super::primitive::{ArrayQueue, AtomicBool, Ordering};

/// Batches a lane holds; a lane that has none left is full.
const BATCHES: usize = 64;

/// All lanes of a broker.
pub(super) struct Lanes<T> {
    /// Lane from `from` to `to` at `from * count + to`.
    lanes: Vec<Lane<T>>,
    sleeping: Vec<AtomicBool>,
    count: usize,
}

struct Lane<T> {
    batches: ArrayQueue<Vec<T>>,
    /// Emptied batches on their way back.
    spare: ArrayQueue<Vec<T>>,
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
        let outgoing = (0..self.count).map(|_| Outgoing { batch: Vec::new(), full: false });
        LaneEnds { lanes: Arc::clone(self), index, outgoing: outgoing.collect() }
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

struct Outgoing<T> {
    batch: Vec<T>,
    /// Whether the last flush found no room.
    full: bool,
}

/// What a flush did for one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing to say.
    Nothing,
    /// Handed over; the receiver is awake.
    Sent,
    /// Handed over; the receiver sleeps and must be woken.
    SentToSleeper,
    /// No room: the batch is kept.
    Full,
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

    /// Adds to the batch for a shard.
    pub(super) fn send(&mut self, to: usize, item: T) {
        debug_assert_ne!(to, self.index, "a shard has no lane to itself");
        self.outgoing[to].batch.push(item);
    }

    /// Whether a batch is kept for want of room.
    pub(super) fn is_stuck(&self) -> bool {
        self.outgoing.iter().any(|outgoing| !outgoing.batch.is_empty())
    }

    /// Whether the lane to a shard was full at the last flush.
    pub(super) fn was_full(&self, to: usize) -> bool {
        self.outgoing[to].full
    }

    /// Hands the batch for a shard over.
    pub(super) fn flush(&mut self, to: usize) -> Flushed {
        let outgoing = &mut self.outgoing[to];
        if outgoing.batch.is_empty() {
            outgoing.full = false;
            return Flushed::Nothing;
        }
        let lane = self.lanes.lane(self.index, to);
        let next = lane.spare.pop().unwrap_or_default();
        let batch = std::mem::replace(&mut outgoing.batch, next);
        if let Err(batch) = lane.batches.push(batch) {
            outgoing.batch = batch;
            outgoing.full = true;
            return Flushed::Full;
        }
        outgoing.full = false;
        // Pairs with the exchange in `fall_asleep`: either the sleeper sees the batch, or its flag
        // is seen here.
        if self.lanes.sleeping[to].swap(false, Ordering::AcqRel) {
            Flushed::SentToSleeper
        } else {
            Flushed::Sent
        }
    }

    /// The next batch from a shard.
    pub(super) fn receive(&mut self, from: usize) -> Option<Vec<T>> {
        self.lanes.lane(from, self.index).batches.pop()
    }

    /// Returns an emptied batch.
    pub(super) fn recycle(&mut self, from: usize, batch: Vec<T>) {
        debug_assert!(batch.is_empty(), "a batch goes back when everything in it was heard");
        const CAPACITY_MAX: usize = 4096;
        if batch.capacity() <= CAPACITY_MAX {
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
        a.send(1, 1);
        a.send(1, 2);
        assert_eq!(a.flush(1), Flushed::Sent);
        a.send(1, 3);
        assert_eq!(a.flush(1), Flushed::Sent);
        let mut heard = Vec::new();
        while let Some(mut batch) = b.receive(0) {
            heard.append(&mut batch);
            b.recycle(0, batch);
        }
        assert_eq!(heard, [1, 2, 3]);
        assert_eq!(a.flush(1), Flushed::Nothing);
    }

    #[test]
    fn a_full_lane_keeps_its_batch_until_there_is_room() {
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        for n in 0..BATCHES {
            a.send(1, n);
            assert_eq!(a.flush(1), Flushed::Sent);
        }
        a.send(1, BATCHES);
        assert_eq!(a.flush(1), Flushed::Full);
        assert!(a.was_full(1) && a.is_stuck());
        a.send(1, BATCHES + 1);
        assert_eq!(b.receive(0), Some(vec![0]));
        assert_eq!(a.flush(1), Flushed::Sent);
        assert!(!a.was_full(1) && !a.is_stuck());
        let heard: Vec<_> = std::iter::from_fn(|| b.receive(0)).flatten().collect();
        assert_eq!(heard, (1..=BATCHES + 1).collect::<Vec<_>>());
    }

    #[test]
    fn a_sleeper_is_woken_once() {
        let lanes = Lanes::new(2);
        let (mut a, mut b) = (lanes.ends(0), lanes.ends(1));
        assert!(b.fall_asleep());
        a.send(1, 1);
        assert_eq!(a.flush(1), Flushed::SentToSleeper);
        a.send(1, 2);
        assert_eq!(a.flush(1), Flushed::Sent);
        assert!(!b.fall_asleep(), "what has arrived keeps a shard awake");
        assert_eq!(b.receive(0), Some(vec![1]));
        assert_eq!(b.receive(0), Some(vec![2]));
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
                    while let Some(batch) = b.receive(0) {
                        for item in batch {
                            assert_eq!(item, heard);
                            heard += 1;
                        }
                    }
                }
            });
            for n in 0..ROUNDS {
                a.send(1, n);
                loop {
                    match a.flush(1) {
                        Flushed::SentToSleeper => {
                            receiver.thread().unpark();
                            break;
                        }
                        Flushed::Full => std::thread::yield_now(),
                        _ => break,
                    }
                }
            }
        });
    }
}

//! The wake protocol of the lanes under every interleaving and every order of memory that loom can
//! think of: no batch is left lying while its receiver sleeps, the order is kept, and a full lane
//! keeps its batch.
//!
//! The lanes' own source is taken in with primitives of loom. With a store in `fall_asleep` in place
//! of the exchange the model ends in a deadlock, fences or not: the receiver sleeps on a batch.

#[allow(dead_code)]
#[path = "../../src/runtime/lanes.rs"]
mod lanes;

mod primitive {
    use std::collections::VecDeque;

    use loom::sync::Mutex;
    use loom::sync::atomic::AtomicUsize;
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering};

    /// Stands in for crossbeam's queue, which loom cannot look into. Whether it is empty is seen
    /// through an atomic of its own, no better ordered than crossbeam promises.
    pub(super) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        length: AtomicUsize,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(super) fn new(capacity: usize) -> ArrayQueue<T> {
            let (items, length) = (Mutex::new(VecDeque::new()), AtomicUsize::new(0));
            ArrayQueue { items, length, capacity }
        }

        pub(super) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().expect("no holder panics");
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            self.length.store(items.len(), Ordering::Release);
            Ok(())
        }

        pub(super) fn pop(&self) -> Option<T> {
            let mut items = self.items.lock().expect("no holder panics");
            let item = items.pop_front()?;
            self.length.store(items.len(), Ordering::Release);
            Some(item)
        }

        pub(super) fn len(&self) -> usize {
            self.length.load(Ordering::Acquire)
        }

        pub(super) fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }
}

use std::sync::Arc;

use lanes::Lanes;
use loom::sync::{Condvar, Mutex};
use loom::thread;

/// What wakes a ring: remembered until it is heard.
#[derive(Default)]
struct Wake {
    has_come: Mutex<bool>,
    condition: Condvar,
}

impl Wake {
    fn wake(&self) {
        *self.has_come.lock().expect("no holder panics") = true;
        self.condition.notify_one();
    }

    fn sleep(&self) {
        let mut has_come = self.has_come.lock().expect("no holder panics");
        while !*has_come {
            has_come = self.condition.wait(has_come).expect("no holder panics");
        }
        *has_come = false;
    }
}

/// A sleeper is woken, or sees for itself that there is something to do.
fn no_batch_is_left_lying(batches: usize) {
    let lanes = Lanes::new(2);
    let (mut sender, mut receiver) = (lanes.ends(0), lanes.ends(1));
    let wake = Arc::new(Wake::default());
    let sleeper = Arc::clone(&wake);
    let receiving = thread::spawn(move || {
        let mut heard = Vec::new();
        while heard.len() < batches {
            if receiver.fall_asleep() {
                sleeper.sleep();
                receiver.wake_up();
            }
            // A turn need not hear all that waits.
            if let Some(mut batch) = receiver.receive(0) {
                heard.append(&mut batch.items);
                receiver.recycle(0, batch);
            }
        }
        heard
    });
    for number in 0..batches {
        sender.send(1, number, 0);
        if sender.flush(1) {
            wake.wake();
        }
    }
    let heard = receiving.join().expect("the receiver hears everything");
    assert_eq!(heard, (0..batches).collect::<Vec<_>>());
}

fn main() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    for batches in [1, 2] {
        model.check(move || no_batch_is_left_lying(batches));
        println!("no batch is left lying, of {batches}: holds");
    }
}

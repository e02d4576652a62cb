//! Who waits to be asked about: those of one address take turns with those of others, so that
//! thousands of logins from one place keep nobody else out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::auth::place;

/// What waits, with those who take it.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// The end that puts: nothing waits any more once it is gone.
pub(super) struct Putting<T>(Arc<Queue<T>>);

struct State<T> {
    /// By the address it is of; none is empty.
    waiting: HashMap<IpAddr, VecDeque<T>>,
    /// Those addresses, in the order of their turns.
    turns: VecDeque<IpAddr>,
    count: usize,
    count_max: usize,
    is_over: bool,
}

impl<T> Queue<T> {
    /// A queue with so many places.
    pub(super) fn new(count_max: usize) -> (Putting<T>, Arc<Queue<T>>) {
        let (waiting, turns) = (HashMap::new(), VecDeque::new());
        let state = State { waiting, turns, count: 0, count_max, is_over: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
        (Putting(Arc::clone(&queue)), queue)
    }

    /// Lets something of an address wait. What there is no place for: the last of another address,
    /// if of that more waits, or else itself.
    pub(super) fn put(&self, of: IpAddr, item: T) -> Option<T> {
        let of = place(of);
        let mut state = self.state();
        let mut left_out = None;
        if state.count >= state.count_max {
            left_out = state.make_room(of);
            if left_out.is_none() {
                return Some(item);
            }
        }
        let State { waiting, turns, count, .. } = &mut *state;
        let of_it = waiting.entry(of).or_default();
        if of_it.is_empty() {
            turns.push_back(of);
        }
        of_it.push_back(item);
        *count += 1;
        drop(state);
        self.changed.notify_one();
        left_out
    }

    /// Takes what is next, once there is something; nothing if nothing more comes.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(item) = state.next() {
                return Some(item);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// The next, and its address comes behind the others.
    fn next(&mut self) -> Option<T> {
        let of = self.turns.pop_front()?;
        let of_it = self.waiting.get_mut(&of)?;
        let item = of_it.pop_front();
        match of_it.is_empty() {
            true => drop(self.waiting.remove(&of)),
            false => self.turns.push_back(of),
        }
        self.count -= 1;
        item
    }

    /// Makes room for something of an address, if of another more waits than would of that.
    fn make_room(&mut self, of: IpAddr) -> Option<T> {
        let own = self.waiting.get(&of).map_or(0, VecDeque::len);
        let crowd = self.waiting.values_mut().max_by_key(|crowd| crowd.len())?;
        if crowd.len() <= own + 1 {
            return None;
        }
        self.count -= 1;
        crowd.pop_back()
    }
}

impl<T> Deref for Putting<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Drop for Putting<T> {
    fn drop(&mut self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn addresses_take_turns() {
        let (putting, queue) = Queue::new(100);
        for item in ["1a", "1b", "1c", "2a", "2b", "3a"] {
            assert_eq!(putting.put(address(item.as_bytes()[0]), item), None);
        }
        let taken: Vec<_> = (0..6).filter_map(|_| queue.take()).collect();
        assert_eq!(taken, ["1a", "2a", "3a", "1b", "2b", "1c"]);
        assert_eq!(putting.put(address(1), "1d"), None);
        assert_eq!(queue.take(), Some("1d"));
        drop(putting);
        assert_eq!(queue.take(), None, "nothing more comes");
    }

    #[test]
    fn who_is_many_makes_room() {
        let (putting, queue) = Queue::new(4);
        for item in [10, 11, 12, 13] {
            assert_eq!(putting.put(address(1), item), None);
        }
        assert_eq!(putting.put(address(1), 14), Some(14), "its own");
        assert_eq!(putting.put(address(2), 20), Some(13));
        assert_eq!(putting.put(address(2), 21), Some(12));
        assert_eq!(putting.put(address(2), 22), Some(22), "as many as of the other");
        assert!(matches!(putting.put(address(3), 30), Some(11 | 21)));
        assert_eq!(putting.put(address(3), 31), Some(31));
        assert_eq!((0..4).filter_map(|_| queue.take()).filter(|item| item % 10 == 0).count(), 3);
        assert!(queue.state().waiting.is_empty() && queue.state().turns.is_empty());
    }
}

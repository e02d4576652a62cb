//! What operators see of a shard: read-only looks, each bounded in what it visits.
//!
//! A list is asked for page by page. As nothing in a shard is ordered by name, each look visits a
//! bounded part of a table and keeps the least entries behind the cursor; whoever asks goes on
//! until the table has been seen and merges what he got. What changes meanwhile may be missed.

/// Orders the rows of a table by what their pages go on behind.
macro_rules! ordered_by {
    ($row:ty, |$one:ident| $key:expr) => {
        impl PartialEq for $row {
            fn eq(&self, other: &$row) -> bool {
                self.cmp(other).is_eq()
            }
        }

        impl Eq for $row {}

        impl PartialOrd for $row {
            fn partial_cmp(&self, other: &$row) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $row {
            fn cmp(&self, other: &$row) -> std::cmp::Ordering {
                fn key($one: &$row) -> impl Ord {
                    $key
                }
                key(self).cmp(&key(other))
            }
        }
    };
}

mod clients;
mod drops;
mod retained;
mod rights;
mod subscriptions;

pub use clients::{ClientQuery, ClientRow, ClientView};
pub use drops::{DropKey, DropQuery, DropRow};
pub use retained::{RetainedQuery, RetainedRow};
pub use rights::{Intent, QueueBounds, Rights};
pub use subscriptions::{Subscribed, SubscriptionKey, SubscriptionQuery, SubscriptionRow};

use std::collections::BinaryHeap;

/// Entries that one look visits: some 0.3 ms.
const VISITS_MAX: usize = 1000;

/// How far a table was seen: the entry at `slot`, and within it the part at `offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    slot: usize,
    offset: usize,
}

/// What one look saw.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    /// The least entries that match and are behind the cursor, in order.
    pub rows: Vec<T>,
    /// Entries that match, wherever the cursor is.
    pub matching: usize,
    /// Where the next look goes on; absent: all has been seen.
    pub next: Option<Place>,
}

/// The least of what is offered.
struct Least<K> {
    count_max: usize,
    heap: BinaryHeap<K>,
}

impl<K: Ord> Least<K> {
    fn new(count_max: usize) -> Least<K> {
        Least { count_max, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, key: K) {
        if self.heap.len() < self.count_max {
            self.heap.push(key);
        } else if let Some(mut greatest) = self.heap.peek_mut()
            && key < *greatest
        {
            *greatest = key;
        }
    }

    fn into_sorted(self) -> Vec<K> {
        self.heap.into_sorted_vec()
    }
}

/// Whether a name has `search` in it, whatever the case of ASCII letters; `search` is in lower
/// case.
fn has(name: &str, search: &str) -> bool {
    let (name, search) = (name.as_bytes(), search.as_bytes());
    search.is_empty() || name.windows(search.len()).any(|part| part.eq_ignore_ascii_case(search))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_are_kept_in_order() {
        let mut least = Least::new(3);
        [5, 1, 9, 3, 7, 2].into_iter().for_each(|key| least.offer(key));
        assert_eq!(least.into_sorted(), [1, 2, 3]);
        let mut none = Least::new(0);
        none.offer(1);
        assert!(none.into_sorted().is_empty());
    }

    #[test]
    fn a_search_ignores_the_case_of_letters() {
        assert!(has("Sensor-17", "sensor") && has("a", "") && has("xsensoR", "sensor"));
        assert!(!has("sens", "sensor"));
    }
}

//! Retained messages by topic, and which of them a filter matches.

use std::ops::Range;

use super::trie::Trie;

/// Values by topic name.
#[derive(Debug)]
pub struct RetainedStore<V> {
    topics: Trie<V>,
}

impl<V> RetainedStore<V> {
    /// An empty store; the keys make its hashes unpredictable to clients.
    pub fn new(hash_keys: [u64; 4]) -> RetainedStore<V> {
        let [a, b, c, d] = hash_keys;
        RetainedStore { topics: Trie::new(ahash::RandomState::with_seeds(a, b, c, d)) }
    }

    /// Topics in the store.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a topic.
    pub fn get(&self, topic: &str) -> Option<&V> {
        self.topics.get(topic)
    }

    /// Sets the value of a topic; returns the earlier one.
    pub fn insert(&mut self, topic: &str, value: V) -> Option<V> {
        self.topics.insert(topic, value)
    }

    /// Takes a topic out.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        self.topics.remove(topic)
    }

    /// Parts of the store that can be looked at one by one; most hold a value.
    pub fn parts(&self) -> usize {
        self.topics.nodes()
    }

    /// The values in some of its parts, in no order that means anything.
    pub fn part(&self, parts: Range<usize>) -> impl Iterator<Item = &V> {
        self.topics.values_within(parts)
    }

    /// The values of all topics that a filter matches; only the levels it names are looked at.
    pub fn for_each_match<'a>(&'a self, filter: &str, mut f: impl FnMut(&'a V)) {
        self.topics.for_each_topic(filter, &mut f);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::TopicFilter;

    const TOPICS: &[&str] =
        &["a", "a/b", "a/b/c", "a//c", "/", "/a", "b/c", "$SYS", "$SYS/a", "c/"];
    const FILTERS: &[&str] =
        &["#", "+", "+/+", "a/#", "a/+", "a/b", "+/b/#", "/#", "$SYS/#", "$SYS/+", "a//c", "+/"];

    proptest! {
        #[test]
        fn a_store_finds_what_the_naive_matcher_finds(
            changes in prop::collection::vec((0..TOPICS.len(), any::<bool>()), 0..40),
        ) {
            let mut store = RetainedStore::new([1, 2, 3, 4]);
            let mut model = BTreeSet::new();
            for (topic, insert) in changes {
                let topic = TOPICS[topic];
                if insert {
                    prop_assert_eq!(store.insert(topic, topic).is_none(), model.insert(topic));
                } else {
                    prop_assert_eq!(store.remove(topic).is_some(), model.remove(topic));
                }
                store.topics.invariants();
                prop_assert_eq!(store.len(), model.len());
            }
            for filter in FILTERS {
                let mut found = BTreeSet::new();
                store.for_each_match(filter, |topic| assert!(found.insert(*topic), "only once"));
                let naive = TopicFilter::new(filter).unwrap();
                let expected: BTreeSet<_> =
                    model.iter().copied().filter(|topic| naive.matches(topic)).collect();
                prop_assert_eq!(found, expected, "filter {}", filter);
            }
        }
    }
}

//! Topic filters, and which of them match a topic name.

use std::collections::HashMap;
use std::sync::Arc;

use super::trie::Trie;

/// Values by topic filter.
///
/// Filters without a wildcard are looked up whole: a publication that no wildcard is waiting for
/// costs one look-up. The others stand in a trie.
#[derive(Debug)]
pub struct TopicTree<V> {
    exact: HashMap<Arc<str>, V, ahash::RandomState>,
    wild: Trie<V>,
}

impl<V> TopicTree<V> {
    /// An empty tree; the keys make its hashes unpredictable to clients.
    pub fn new(hash_keys: [u64; 4]) -> TopicTree<V> {
        let [a, b, c, d] = hash_keys;
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        TopicTree { exact: HashMap::with_hasher(hasher.clone()), wild: Trie::new(hasher) }
    }

    /// Filters in the tree.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wild.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a filter.
    pub fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        match has_wildcard(filter) {
            true => self.wild.get_mut(filter),
            false => self.exact.get_mut(filter),
        }
    }

    /// The value of a filter, made if there is none.
    pub fn entry_or_insert_with(&mut self, filter: &Arc<str>, make: impl FnOnce() -> V) -> &mut V {
        match has_wildcard(filter) {
            true => self.wild.get_or_insert_with(filter, make),
            false => self.exact.entry(Arc::clone(filter)).or_insert_with(make),
        }
    }

    /// Takes a filter out.
    pub fn remove(&mut self, filter: &str) -> Option<V> {
        match has_wildcard(filter) {
            true => self.wild.remove(filter),
            false => self.exact.remove(filter),
        }
    }

    /// The values of all filters that match a topic name.
    #[inline]
    pub fn for_each_match<'a>(&'a self, topic: &str, mut f: impl FnMut(&'a V)) {
        if let Some(value) = self.exact.get(topic) {
            f(value);
        }
        if self.wild.len() > 0 {
            self.wild.for_each_filter(topic, &mut f);
        }
    }
}

impl<V> TopicTree<V> {
    /// As [`TopicTree::for_each_match`], and says which filter each is.
    pub fn for_each_named_match<'a>(&'a self, topic: &str, mut f: impl FnMut(&str, &'a V)) {
        if let Some(value) = self.exact.get(topic) {
            f(topic, value);
        }
        if self.wild.len() > 0 {
            self.wild.for_each_named_filter(topic, &mut f);
        }
    }
}

fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::TopicFilter;

    fn tree(filters: &[&str]) -> TopicTree<String> {
        let mut tree = TopicTree::new([1, 2, 3, 4]);
        for filter in filters {
            tree.entry_or_insert_with(&Arc::from(*filter), || (*filter).to_owned());
        }
        tree
    }

    fn matches(tree: &TopicTree<String>, topic: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        tree.for_each_match(topic, |filter| assert!(found.insert(filter.clone()), "only once"));
        let mut named = BTreeSet::new();
        tree.for_each_named_match(topic, |name, filter| {
            assert_eq!(name, filter);
            named.insert(filter.clone());
        });
        assert_eq!(named, found);
        found
    }

    /// [MQTT-4.7.1-1, -2, 4.7.2-1, 4.7.3-4]: the examples of section 4.7.
    #[test]
    fn the_examples_of_the_specification_match_as_they_say() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (
                "sport/tennis/player1/#",
                &[
                    "sport/tennis/player1",
                    "sport/tennis/player1/ranking",
                    "sport/tennis/player1/score/wimbledon",
                ],
                &["sport/tennis/player2"],
            ),
            ("sport/#", &["sport"], &["sports"]),
            ("#", &["a", "a/b", "/"], &["$SYS/a", "$SYS"]),
            ("sport/tennis/+", &["sport/tennis/player1"], &["sport/tennis/player1/ranking"]),
            ("sport/+", &["sport/"], &["sport"]),
            ("+/+", &["/finance"], &["$SYS/monitor"]),
            ("/+", &["/finance"], &["finance"]),
            ("+", &["finance"], &["/finance", "$SYS"]),
            ("+/monitor/Clients", &["a/monitor/Clients"], &["$SYS/monitor/Clients"]),
            ("$SYS/#", &["$SYS", "$SYS/monitor"], &["SYS"]),
            ("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor/a/b"]),
            ("ACCOUNTS", &["ACCOUNTS"], &["Accounts", "/ACCOUNTS"]),
        ];
        for (filter, matching, others) in cases {
            let tree = tree(&[filter]);
            for topic in *matching {
                assert!(!matches(&tree, topic).is_empty(), "{filter} matches {topic}");
            }
            for topic in *others {
                assert!(matches(&tree, topic).is_empty(), "{filter} does not match {topic}");
            }
        }
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just(""), Just("a"), Just("b"), Just("c"), Just("$d"), Just("long level")]
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic has a character", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 1 => Just("+")];
        (prop::collection::vec(level, 0..4), any::<bool>())
            .prop_map(|(mut levels, all)| {
                if all {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter("a filter has a character", |filter| !filter.is_empty())
    }

    proptest! {
        #[test]
        fn a_tree_matches_what_the_naive_matcher_matches(
            changes in prop::collection::vec((filter(), prop::bool::weighted(0.7)), 0..60),
            topics in prop::collection::vec(topic(), 1..10),
        ) {
            let mut model = BTreeSet::new();
            let mut tree = tree(&[]);
            for (filter, insert) in changes {
                if insert {
                    tree.entry_or_insert_with(&Arc::from(filter.as_str()), || filter.clone());
                    model.insert(filter);
                } else {
                    prop_assert_eq!(tree.remove(&filter).is_some(), model.remove(&filter));
                }
                tree.wild.invariants();
                prop_assert_eq!(tree.len(), model.len());
            }
            for topic in topics {
                let naive: BTreeSet<String> = model
                    .iter()
                    .filter(|filter| TopicFilter::new(filter).unwrap().matches(&topic))
                    .cloned()
                    .collect();
                prop_assert_eq!(matches(&tree, &topic), naive, "topic {}", topic);
            }
        }
    }
}

//! The naive form: every filter is tried in turn. It is right, and replaced by a faster one.
use crate::proto::TopicFilter;
use std::collections::BTreeMap;
use std::sync::Arc;
#[derive(Debug)]
pub struct TopicTree<V> {
    map: BTreeMap<Arc<str>, V>,
}
impl<V> TopicTree<V> {
    pub fn new(_: [u64; 4]) -> Self {
        TopicTree { map: BTreeMap::new() }
    }
    pub fn len(&self) -> usize {
        self.map.len()
    }
    pub fn get_mut(&mut self, f: &str) -> Option<&mut V> {
        self.map.get_mut(f)
    }
    pub fn remove(&mut self, f: &str) -> Option<V> {
        self.map.remove(f)
    }
    pub fn entry_or_insert_with(&mut self, f: &Arc<str>, v: impl FnOnce() -> V) -> &mut V {
        self.map.entry(f.clone()).or_insert_with(v)
    }
    pub fn for_each_match(&self, topic: &str, mut f: impl FnMut(&V)) {
        for (k, v) in &self.map {
            if TopicFilter::from_checked(k).matches(topic) {
                f(v)
            }
        }
    }
}

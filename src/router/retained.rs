//! The naive form: every filter is tried in turn. It is right, and replaced by a faster one.
use crate::proto::TopicFilter;
use std::collections::BTreeMap;
#[derive(Debug)]
pub struct RetainedStore<V> {
    map: BTreeMap<Box<str>, V>,
}
impl<V> RetainedStore<V> {
    pub fn new(_: [u64; 4]) -> Self {
        RetainedStore { map: BTreeMap::new() }
    }
    pub fn len(&self) -> usize {
        self.map.len()
    }
    pub fn get(&self, f: &str) -> Option<&V> {
        self.map.get(f)
    }
    pub fn remove(&mut self, f: &str) -> Option<V> {
        self.map.remove(f)
    }
    pub fn insert(&mut self, f: &str, v: V) -> Option<V> {
        self.map.insert(f.into(), v)
    }
    pub fn for_each_match(&self, filter: &str, mut f: impl FnMut(&str, &V)) {
        for (k, v) in &self.map {
            if TopicFilter::from_checked(filter).matches(k) {
                f(k, v)
            }
        }
    }
}

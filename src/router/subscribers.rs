//! The naive form: every filter is tried in turn. It is right, and replaced by a faster one.
use crate::proto::{QoS, SubscriptionOptions};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberKey(pub u32);
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    k: SubscriberKey,
    o: SubscriptionOptions,
    id: u32,
}
impl Subscriber {
    pub fn new(k: SubscriberKey, o: SubscriptionOptions, id: u32) -> Self {
        Subscriber { k, o, id }
    }
    pub fn session(&self) -> SubscriberKey {
        self.k
    }
    pub fn qos(&self) -> QoS {
        self.o.qos
    }
    pub fn no_local(&self) -> bool {
        self.o.no_local
    }
    pub fn retain_as_published(&self) -> bool {
        self.o.retain_as_published
    }
    pub fn subscription_id(&self) -> u32 {
        self.id
    }
}
#[derive(Debug, Default)]
pub struct SubscriberSet(Vec<Subscriber>);
impl SubscriberSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        self.0.iter()
    }
    pub fn insert(&mut self, s: Subscriber) -> bool {
        let n = !self.remove(s.k);
        self.0.push(s);
        n
    }
    pub fn remove(&mut self, k: SubscriberKey) -> bool {
        let n = self.0.len();
        self.0.retain(|s| s.k != k);
        n != self.0.len()
    }
}

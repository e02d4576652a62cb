//! The subscribers of one topic filter.

use std::collections::HashMap;

use crate::proto::{QoS, SubscriptionOptions};

/// A session, by its position in its shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriberKey(pub u32);

/// A session's subscription to one filter, in 12 bytes: a message for many is a walk over memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    session: u32,
    subscription_id: u32,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
}

const _: () = assert!(size_of::<Subscriber>() == 12);

impl Subscriber {
    /// The subscription of a session; `subscription_id` 0 is none.
    pub fn new(
        session: SubscriberKey,
        options: SubscriptionOptions,
        subscription_id: u32,
    ) -> Subscriber {
        Subscriber {
            session: session.0,
            subscription_id,
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
        }
    }

    /// Whose.
    pub fn session(&self) -> SubscriberKey {
        SubscriberKey(self.session)
    }

    /// The highest QoS to deliver with.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether its own messages are kept from it.
    pub fn no_local(&self) -> bool {
        self.no_local
    }

    /// Whether it sees the retain flag as published.
    pub fn retain_as_published(&self) -> bool {
        self.retain_as_published
    }

    /// 0 is none.
    pub fn subscription_id(&self) -> u32 {
        self.subscription_id
    }
}

/// The subscribers of one filter, each session once.
///
/// Invariant: `positions`, where present, names the position of every session in `list`.
#[derive(Debug, Default)]
pub struct SubscriberSet {
    list: Vec<Subscriber>,
    /// Made when searching the list becomes slow; the keys of the map are our own small numbers,
    /// which no client chooses.
    #[expect(clippy::box_collection, reason = "most filters have few subscribers and stay small")]
    positions: Option<Box<HashMap<u32, u32, ahash::RandomState>>>,
}

/// Subscribers beyond which their positions are kept in a map.
const SEARCHED_MAX: usize = 32;

impl SubscriberSet {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> std::slice::Iter<'_, Subscriber> {
        self.list.iter()
    }

    /// Adds a session's subscription or replaces it; tells whether it is new.
    pub fn insert(&mut self, subscriber: Subscriber) -> bool {
        if let Some(position) = self.position(subscriber.session) {
            self.list[position] = subscriber;
            return false;
        }
        let position = self.list.len() as u32;
        self.list.push(subscriber);
        match &mut self.positions {
            Some(positions) => {
                positions.insert(subscriber.session, position);
            }
            None if self.list.len() > SEARCHED_MAX => self.index(),
            None => {}
        }
        true
    }

    /// Takes a session's subscription out; tells whether there was one.
    pub fn remove(&mut self, session: SubscriberKey) -> bool {
        let Some(position) = self.position(session.0) else { return false };
        self.list.swap_remove(position);
        if let Some(positions) = &mut self.positions {
            positions.remove(&session.0);
            if let Some(moved) = self.list.get(position) {
                positions.insert(moved.session, position as u32);
            }
        }
        if self.list.is_empty() {
            *self = SubscriberSet::default();
        }
        true
    }

    fn position(&self, session: u32) -> Option<usize> {
        match &self.positions {
            Some(positions) => positions.get(&session).map(|position| *position as usize),
            None => self.list.iter().position(|subscriber| subscriber.session == session),
        }
    }

    fn index(&mut self) {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut positions = HashMap::with_capacity_and_hasher(self.list.len(), hasher);
        for (position, subscriber) in self.list.iter().enumerate() {
            positions.insert(subscriber.session, position as u32);
        }
        self.positions = Some(Box::new(positions));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_holds_the_last_subscription_of_each_session(
            changes in prop::collection::vec((0u32..80, 1u32..5, prop::bool::weighted(0.7)), 0..300),
        ) {
            let mut set = SubscriberSet::default();
            let mut model = BTreeMap::new();
            for (session, id, insert) in changes {
                let key = SubscriberKey(session);
                if insert {
                    let options = SubscriptionOptions::at(QoS::AtLeastOnce);
                    let new = set.insert(Subscriber::new(key, options, id));
                    prop_assert_eq!(new, model.insert(session, id).is_none());
                } else {
                    prop_assert_eq!(set.remove(key), model.remove(&session).is_some());
                }
                let held: BTreeMap<u32, u32> =
                    set.iter().map(|s| (s.session().0, s.subscription_id())).collect();
                prop_assert_eq!(&held, &model);
                prop_assert_eq!(set.len(), model.len());
            }
        }
    }
}

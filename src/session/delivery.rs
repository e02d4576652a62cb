//! One message owed to one client.

use std::sync::Arc;

use crate::message::Message;
use crate::proto::QoS;

/// A message owed to a client, with what its subscriptions say of how.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What.
    pub body: Body,
    /// Bytes of topic, properties and payload.
    pub bytes: u32,
    /// Counts the session's QoS 1 and 2 messages from 1; decides the packet identifier. At QoS 0
    /// that of the one before it.
    pub ordinal: u64,
    /// The lower of the QoS published and granted. [MQTT-3.8.4-8]
    pub qos: QoS,
    /// The retain flag as this client shall see it.
    pub retain: bool,
    /// Of every matching subscription that has one. [MQTT-3.3.4-3, -4]
    pub subscription_ids: SubscriptionIdSet,
    /// Set if it is one member's share of a group's messages.
    pub share: Option<Box<ShareTicket>>,
}

impl Delivery {
    /// What it takes in memory: the payload of a message that is kept lies in the log.
    pub fn memory_bytes(&self) -> u64 {
        size_of::<Delivery>() as u64 + self.body.held_bytes(self.bytes)
    }
}

impl Body {
    /// Of the message's bytes, those that are in memory for it.
    pub fn held_bytes(&self, bytes: u32) -> u64 {
        if let Body::Held(_) = self { u64::from(bytes) } else { 0 }
    }
}

/// A message as a queue holds it.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory.
    Held(Arc<Message>),
    /// In the log; maybe in memory, too.
    Kept(KeptId),
    /// Nowhere: it was written to a connection that its session ends with.
    Written,
}

/// Names a message that is kept in the shard's log. The session does not know how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeptId(pub u64);

/// Where a shared group's message came from, so that it can be acknowledged or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareTicket {
    /// The group: `$share/{group}/{filter}`.
    pub group: Arc<str>,
    /// The message's number in the group.
    pub number: u64,
}

/// The subscription identifiers of a delivery: usually none, or one.
///
/// Two words that travel in registers; an enum of three is put together in memory, and to read it
/// back from there at once takes longer than the rest of a delivery's making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionIdSet {
    /// The first; 0 if there is none, which no subscription has
    first: u32,
    /// All, if several subscriptions matched. Boxed twice: every message that waits has the size
    /// of this.
    all: Option<Box<Box<[u32]>>>,
}

impl SubscriptionIdSet {
    /// No subscription has one.
    pub const NONE: SubscriptionIdSet = SubscriptionIdSet { first: 0, all: None };

    /// The set of these.
    #[inline]
    pub fn from_slice(ids: &[u32]) -> SubscriptionIdSet {
        match ids {
            [] => SubscriptionIdSet::NONE,
            [id] => SubscriptionIdSet { first: *id, all: None },
            [first, ..] => SubscriptionIdSet { first: *first, all: Some(Box::new(ids.into())) },
        }
    }

    /// As a slice.
    pub fn as_slice(&self) -> &[u32] {
        match &self.all {
            Some(all) => all,
            None if self.first == 0 => &[],
            None => std::slice::from_ref(&self.first),
        }
    }
}

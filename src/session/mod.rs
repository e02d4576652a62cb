//! Everything one client is owed, and what it has said of itself.
//!
//! A [`Session`] outlives its connections. It knows its subscriptions, the window of messages in
//! flight to the client, the queue behind it, the QoS 2 messages taken from the client, and its
//! will. It does not know the router (which decides what it is owed), storage or the shard.

mod delivery;
mod inbound;
mod inflight;
mod outbox;

pub use delivery::{Body, Delivery, KeptId, ShareTicket, SubscriptionIdSet};
pub use inbound::Inbound;
pub use inflight::{AckError, Finished, Inflight, Resend, packet_id};
pub use outbox::{Outbox, QueueLimits, QueueMemory, Transmit};

use std::collections::HashMap;
use std::sync::Arc;

use crate::message::Message;
use crate::proto::SubscriptionOptions;
use crate::time::Time;

/// Seconds of a session that never expires. [MQTT 5.0, 3.1.2.11.2]
pub const NEVER_EXPIRES: u32 = u32::MAX;

/// About what a level of a filter takes in memory, beside its name.
const LEVEL_BYTES: u64 = 100;

/// About what a subscription takes in memory for its filter.
pub fn subscription_bytes(filter: &str) -> u64 {
    let levels = filter.bytes().filter(|byte| *byte == b'/').count() as u64 + 1;
    filter.len() as u64 + levels * LEVEL_BYTES
}

/// A client's session.
#[derive(Debug)]
pub struct Session {
    /// Who.
    pub client_id: Arc<str>,
    /// Seconds the session outlives its connection; 0 ends with it.
    pub expiry_interval: u32,
    /// By filter as the client wrote it, `$share/...` included.
    pub subscriptions: HashMap<Arc<str>, Subscription, ahash::RandomState>,
    /// What they cost.
    pub subscription_bytes: u64,
    /// What it is owed.
    pub outbox: Outbox,
    /// What it has published at QoS 2.
    pub inbound: Inbound,
    /// Published if the connection ends badly.
    pub will: Option<Box<Will>>,
    /// When the connection ended; the session is attached to one if absent.
    pub detached_at: Option<Time>,
}

/// One subscription of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// As granted.
    pub options: SubscriptionOptions,
    /// 0 is none.
    pub subscription_id: u32,
}

/// A will, ready to be published.
#[derive(Debug)]
pub struct Will {
    /// What; its expiry is set when it is published.
    pub message: Arc<Message>,
    /// Seconds the message is of use once it is published.
    pub message_expiry_interval: Option<u32>,
    /// Seconds between the end of the connection and the publication.
    pub delay_interval: u32,
}

impl Session {
    /// A session without a past.
    pub fn new(client_id: Arc<str>, expiry_interval: u32, hasher: ahash::RandomState) -> Session {
        Session {
            client_id,
            expiry_interval,
            subscriptions: HashMap::with_hasher(hasher),
            subscription_bytes: 0,
            outbox: Outbox::default(),
            inbound: Inbound::default(),
            will: None,
            detached_at: None,
        }
    }

    /// Makes or replaces a subscription, and returns the earlier one.
    pub fn subscribe(&mut self, filter: Arc<str>, wanted: Subscription) -> Option<Subscription> {
        let bytes = subscription_bytes(&filter);
        let earlier = self.subscriptions.insert(filter, wanted);
        self.subscription_bytes += if earlier.is_none() { bytes } else { 0 };
        earlier
    }

    /// Ends a subscription, and returns its filter; absent: there is none.
    pub fn unsubscribe(&mut self, filter: &str) -> Option<Arc<str>> {
        let (filter, _) = self.subscriptions.remove_entry(filter)?;
        self.subscription_bytes -= subscription_bytes(&filter);
        Some(filter)
    }

    /// Whether it is kept when its connection ends.
    pub fn is_persistent(&self) -> bool {
        self.expiry_interval > 0
    }

    /// When the session ends if its client does not come back.
    pub fn expires_at(&self) -> Time {
        match self.detached_at {
            Some(at) if self.expiry_interval != NEVER_EXPIRES => {
                at.after_seconds(self.expiry_interval)
            }
            _ => Time::NEVER,
        }
    }

    /// When the will is due: after its delay, or when the session ends, whichever comes first.
    /// [MQTT-3.1.3-9]
    pub fn will_due_at(&self) -> Time {
        match (self.detached_at, &self.will) {
            (Some(at), Some(will)) => at.after_seconds(will.delay_interval).min(self.expires_at()),
            _ => Time::NEVER,
        }
    }

    /// When something is due for the session while its client is away.
    pub fn due_at(&self) -> Time {
        self.will_due_at().min(self.expires_at())
    }
}

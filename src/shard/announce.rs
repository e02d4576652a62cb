//! What the broker says of itself, below `$SYS/`.
//!
//! Such a message is retained, so that whoever subscribes gets it at once, and in memory alone: it
//! is of no use to a later life of the broker. It is published at QoS 0 by nobody, so no session is
//! owed it beyond its connection.

use super::Shard;
use super::route::Origin;
use crate::message::Publication;
use crate::proto::{ForwardProperties, QoS};
use crate::time::Time;

/// Whether a topic is the broker's own: clients may read it and not write it.
pub fn is_own(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

impl Shard {
    pub(super) fn announce(&mut self, now: Time, topic: &str, payload: &[u8]) {
        debug_assert!(is_own(topic), "nothing else is kept out of the log");
        let properties = ForwardProperties::from_encoded(b"");
        let mut publication =
            Publication::new(topic, properties, payload, QoS::AtMostOnce, Time::NEVER);
        publication.retain = true;
        self.publish(now, &mut publication, Origin { session: None, hash: 0 }, None);
    }
}

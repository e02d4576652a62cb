//! The plan of a run: who connects, who publishes which streams, and who must receive them.
//!
//! A plan is made once by a scenario and never changes. Everything that is checked follows from
//! it: a message whose stream a client does not expect is misrouted, one that it expects and
//! never gets is lost.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use crate::layers::Wrapping;
use crate::mqtt::{Qos, Version};

/// Everything the workers need to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How to reach the broker, and as whom.
    pub door: Door,
    /// QoS of every message and every subscription.
    pub qos: Qos,
    /// Bytes of every payload.
    pub payload_size: usize,
    /// Worker threads.
    pub worker_count: usize,
    /// CPUs to pin the workers to, in turn; empty leaves them to the kernel.
    pub cpus: Vec<usize>,
    /// One latency in this many deliveries is recorded; a power of two.
    pub sample_every: u64,
    /// The clients, by index.
    pub clients: Vec<ClientPlan>,
    /// The streams, by index.
    pub streams: Vec<StreamPlan>,
    /// The shared-subscription groups, by index: the streams each expects as a whole.
    pub groups: Vec<Expected>,
}

/// How the harness enters the broker.
#[derive(Clone, Debug)]
pub struct Door {
    /// The broker's address.
    pub target: SocketAddr,
    /// What lies between MQTT and TCP, if anything.
    pub wrapping: Option<Wrapping>,
    /// The protocol level.
    pub version: Version,
    /// Keep Alive; zero turns it off.
    pub keep_alive_s: u16,
    /// The user name of every client.
    pub username: Option<String>,
    /// The password of every client.
    pub password: Option<String>,
    /// Local addresses to connect from, in turn; empty leaves the choice to the kernel.
    pub sources: Vec<IpAddr>,
}

/// One client.
#[derive(Clone, Debug, Default)]
pub struct ClientPlan {
    /// Its client identifier.
    pub id: String,
    /// It keeps its session when it leaves, for this long.
    pub session_expiry_s: Option<u32>,
    /// The filters it subscribes to.
    pub filters: Vec<String>,
    /// The streams those filters select.
    pub expects: Expected,
    /// Its filters are shared with the other members of this group.
    pub group: Option<u32>,
    /// The streams it publishes.
    pub publishes: Range<u32>,
    /// The stream of its presence: a message when it comes, a will or a message when it goes.
    pub presence: Option<u32>,
    /// Clients with the same number share a worker, so that a pair needs no crossing of threads.
    pub affinity: u32,
    /// The worker it lives on; set by [`Plan::place`].
    pub worker: u16,
    /// Its index there; set by [`Plan::place`].
    pub slot: u32,
}

/// One stream of messages: one publisher, one topic, sequence numbers from zero.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// The topic name.
    pub topic: String,
    /// The client that publishes it.
    pub publisher: u32,
    /// How many receivers get each message.
    pub copies: u32,
    /// Its stamps hold the time of sending; a will's do not.
    pub is_timed: bool,
}

/// The streams a receiver expects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// None at all.
    #[default]
    Nothing,
    /// `first`, `first + stride`, and so on, `count` of them.
    Progression {
        /// The first stream.
        first: u32,
        /// The distance between two.
        stride: u32,
        /// How many.
        count: u32,
    },
    /// Any set, ascending.
    List(Arc<[u32]>),
}

impl Expected {
    /// The streams of `range`.
    #[must_use]
    pub fn range(range: Range<u32>) -> Self {
        Self::Progression { first: range.start, stride: 1, count: range.len() as u32 }
    }

    /// Where among the expected streams `stream` stands.
    #[inline]
    #[must_use]
    pub fn position(&self, stream: u32) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Progression { first, stride, count } => {
                let offset = stream.checked_sub(*first)?;
                let position = if *stride == 1 { offset } else { offset / stride };
                (position < *count && position * stride == offset).then_some(position as usize)
            }
            Self::List(streams) => streams.binary_search(&stream).ok(),
        }
    }

    /// How many streams.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Progression { count, .. } => *count as usize,
            Self::List(streams) => streams.len(),
        }
    }

    /// The stream at `position`, which is below [`Self::count`].
    #[must_use]
    pub fn stream(&self, position: usize) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Progression { first, stride, .. } => first + stride * position as u32,
            Self::List(streams) => streams[position],
        }
    }
}

impl Plan {
    /// Deals the clients out to the workers.
    pub fn place(&mut self) {
        let mut slots = vec![0u32; self.worker_count];
        for client in &mut self.clients {
            let worker = client.affinity as usize % self.worker_count;
            client.worker = worker as u16;
            client.slot = slots[worker];
            slots[worker] += 1;
        }
    }

    /// How many clients publish.
    #[must_use]
    pub fn publisher_count(&self) -> usize {
        self.clients.iter().filter(|client| !client.publishes.is_empty()).count()
    }

    /// The largest packet that a broker can have reason to send in this run.
    #[must_use]
    pub fn packet_size_max(&self) -> usize {
        // A topic, its lengths, a generous allowance for properties and SUBACK codes.
        let filters = self.clients.iter().map(|client| client.filters.len()).max().unwrap_or(0);
        self.payload_size + filters + 72 * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progression_holds_its_members_only() {
        let every_third = Expected::Progression { first: 2, stride: 3, count: 4 };
        let positions: Vec<Option<usize>> =
            (0..16).map(|stream| every_third.position(stream)).collect();
        let mut expected = vec![None; 16];
        for position in 0..4 {
            expected[every_third.stream(position) as usize] = Some(position);
        }
        assert_eq!(positions, expected);
    }

    #[test]
    fn a_list_and_nothing_answer_too() {
        let list = Expected::List(Arc::from([3, 9, 11]));
        assert_eq!((list.position(9), list.position(10), list.stream(2)), (Some(1), None, 11));
        assert_eq!((Expected::Nothing.position(0), Expected::Nothing.count()), (None, 0));
    }
}

//! What a run counts, in one table, and how the counts leave a worker.

use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// One thing a worker counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $($(#[doc = $doc])* $name,)* }

        const COUNT: usize = [$(Count::$name),*].len();
    };
}

counts! {
    /// Connections begun.
    Dialled,
    /// CONNACKs with success.
    Connected,
    /// TLS handshakes that went on from an earlier session.
    Resumed,
    /// Clients that are through with CONNACK and SUBACK now.
    Online,
    /// Clients somewhere between connect and SUBACK now.
    Arriving,
    /// Connections that ended by the harness's own will.
    Left,
    /// Connections that ended otherwise.
    Dropped,
    /// Connections that did not come up.
    ConnectFailed,
    /// CONNACKs, SUBACKs and acknowledgements that refuse.
    Refused,
    /// Messages published.
    Sent,
    /// Copies that those messages are to be delivered in.
    Owed,
    /// Messages at QoS 1 and 2 that are acknowledged to the end.
    Acknowledged,
    /// Copies delivered, each for the first time.
    Delivered,
    /// Deliveries that repeated one, without reason.
    Duplicated,
    /// Deliveries at QoS 1 that repeated one and said so with the DUP flag.
    Redelivered,
    /// Deliveries after one that was sent later.
    OutOfOrder,
    /// Payloads damaged.
    Corrupt,
    /// Messages for someone else.
    Misrouted,
    /// Bytes that are not MQTT, or packets out of place.
    ProtocolErrors,
    /// Reads that returned bytes.
    Reads,
    /// Writes that took bytes.
    Writes,
}

/// A worker's own counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally([u64; COUNT]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Index<Count> for Tally {
    type Output = u64;

    #[inline]
    fn index(&self, count: Count) -> &u64 {
        &self.0[count as usize]
    }
}

impl IndexMut<Count> for Tally {
    #[inline]
    fn index_mut(&mut self, count: Count) -> &mut u64 {
        &mut self.0[count as usize]
    }
}

impl Tally {
    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        for (own, theirs) in self.0.iter_mut().zip(other.0) {
            *own += theirs;
        }
    }

    /// How much `count` grew since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self, count: Count) -> u64 {
        self[count].saturating_sub(earlier[count])
    }
}

/// A tally that another thread may look at; written by one worker once a turn.
#[derive(Debug)]
#[repr(align(128))]
pub struct Gauge([AtomicU64; COUNT]);

impl Default for Gauge {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Gauge {
    /// Shows `tally`.
    pub fn publish(&self, tally: &Tally) {
        for (shown, value) in self.0.iter().zip(tally.0) {
            shown.store(value, Ordering::Relaxed);
        }
    }

    /// What was last shown.
    #[must_use]
    pub fn read(&self) -> Tally {
        Tally(std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }
}

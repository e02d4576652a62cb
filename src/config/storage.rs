//! The `[storage]` table: the log of what must outlive the broker.

use super::kind::{self, Choice, Kind as _, bytes, milliseconds};
use super::table::table;

table! {
    /// The log of what must outlive the broker, in `data_dir`. With `durability = "memory"` there
    /// is none and nothing here counts.
    pub struct Storage in "storage" {
        /// Bytes of one segment, the unit in which the log grows and shrinks; each shard has at
        /// least two, one of them in reserve for a start on a full disk. `mqtt.packet_bytes_max`
        /// can be half of it at most. With another value than before the log is written anew at the
        /// next start; a message in it that is longer than a segment then keeps the broker from
        /// starting.
        pub segment_bytes: u32 = 32 << 20, bytes(64 << 10..=1 << 30), Restart;

        /// Bytes that the log of the whole broker may grow to. At the limit QoS 1 and 2 messages
        /// that must be kept are refused (reason 0x97, or no acknowledgement before 5.0) until
        /// there is room again; the rest goes on.
        pub log_bytes_max: u64 = 64 << 30, bytes(512 << 10..=1 << 50), Restart;

        /// With `durability = "os"`: how long what was written may wait to be on stable storage.
        pub sync_interval_ms: u32 = 1_000, milliseconds(1..=3_600_000), Restart;

        /// What happens if something that was acknowledged is damaged: `refuse` says what and ends;
        /// `quarantine` copies the damaged log aside, goes on with all that is whole and says what
        /// is missing. Of a message that is found damaged while the broker runs it says where it
        /// was, and does not deliver it.
        pub on_damage: OnDamage = OnDamage::Refuse, Choice(OnDamage::WORDS), Restart;
    }
}

/// What a broker does with a damaged log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// It does not start.
    #[default]
    Refuse,
    /// It starts with what is whole.
    Quarantine,
}

impl OnDamage {
    const WORDS: &[(&str, OnDamage)] =
        &[("refuse", OnDamage::Refuse), ("quarantine", OnDamage::Quarantine)];
}

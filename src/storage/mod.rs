//! One shard's append log: checksummed, chained records in segments of one size.
//!
//! It knows no MQTT (records are opaque), no file, no thread and no clock. A [`Log`] decides what
//! is written where; whoever drives it carries out its [`Order`]s and tells it the [`News`].
//!
//! # A segment
//!
//! ```text
//! 0        head: magic, format, shard, number, predecessor's checksum, checksum
//! 1024     watermark slot 0 \  the durable end, written in turn with the commit after the one
//! 2048     watermark slot 1 /  it speaks of
//! 4096     records, each 16-byte aligned; behind the last one a header of zeros
//! ```
//!
//! # A record
//!
//! ```text
//! 0  length of the payload      u32 \
//! 4  checksum of all that follows,   |
//!    payload included, CRC-32C  u32  |
//! 8  sequence                   u64  | 32 bytes, little-endian
//! 16 predecessor's checksum     u32  |
//! 20 kind                       u8   |
//! 21 zeros                           |
//! 24 time, microseconds of 1970 u64 /
//! 32 payload, zeros up to the next multiple of 16
//! ```

mod log;
mod order;
mod record;
mod recovery;
mod segment;
mod snapshot;

pub use log::{Full, Log, LogOptions, Urgency};
pub use order::{Commit, News, Order, SegmentNumber, Write};
pub use record::{Kind, RecordRef, read_at, record_bytes};
pub use recovery::{
    Cut, Damage, DamageKind, Decision, Facts, Loss, OnDamage, RecoveredLog, UsedSegment, recover,
};
pub use segment::{FORMAT, SEGMENT_HEAD_BYTES};
pub use snapshot::{Extent, Snapshot, Unreadable};

/// A place in a shard's log: `segment number * segment bytes + offset`. Later records have greater
/// ones, so it orders them too; numbers are never used twice, so neither are places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

//! A segment's first page: what the segment is, and how far it is known to be durable.

use super::{SegmentNumber, Sequence};

/// Bytes before the first record.
pub const SEGMENT_HEAD_BYTES: usize = 4096;

/// The version of the format. A higher one is refused.
pub const FORMAT: u32 = 1;

/// Where the two watermark slots are, each in a sector of its own.
const WATERMARK_SLOTS: [usize; 2] = [1024, 2048];

const MAGIC: [u8; 8] = *b"hawker/L";
const HEAD_BYTES: usize = 40;
const WATERMARK_BYTES: usize = 24;

/// What a segment says of itself.
///
/// ```text
/// 0  "hawker/L"            8     20 shard                     u16
/// 8  format                u32   22 begun: 1 once records     u16
/// 12 number                u64      were written to it
///                                24 segment bytes             u32
///                                28 checksum of the record    u32
///                                   before the first
///                                32 zeros                     u32
///                                36 checksum of all before    u32
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) shard: u16,
    pub(super) number: SegmentNumber,
    pub(super) segment_bytes: u32,
    /// Set by the first commit to the segment: what came before is known then.
    pub(super) predecessor: Option<u32>,
}

/// Why a segment's head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// It is not there, or not whole.
    Torn,
    /// A later version wrote it.
    Format(u32),
}

impl SegmentHead {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&u16::from(self.predecessor.is_some()).to_le_bytes());
        out.extend_from_slice(&self.segment_bytes.to_le_bytes());
        out.extend_from_slice(&self.predecessor.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        debug_assert_eq!(out.len(), HEAD_BYTES);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHead, HeadError> {
        let head = bytes.first_chunk::<HEAD_BYTES>().ok_or(HeadError::Torn)?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if head[..8] != MAGIC || u32_at(36) != crc32c::crc32c(&head[..36]) {
            return Err(HeadError::Torn);
        }
        if u32_at(8) != FORMAT {
            return Err(HeadError::Format(u32_at(8)));
        }
        Ok(SegmentHead {
            shard: u16_at(20),
            number: SegmentNumber(u64_at(12)),
            segment_bytes: u32_at(24),
            predecessor: (u16_at(22) == 1).then_some(u32_at(28)),
        })
    }
}

/// That everything before a place was durable when this was written.
///
/// ```text
/// 0 durable end u64   8 counter u64   16 zeros u32   20 checksum of all before u32
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watermark {
    pub(super) counter: u64,
    pub(super) durable: Sequence,
}

impl Watermark {
    /// Where it is written: the slots take turns, so that a torn write leaves the other.
    pub(super) fn offset(&self) -> u32 {
        WATERMARK_SLOTS[(self.counter % 2) as usize] as u32
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(WATERMARK_BYTES);
        out.extend_from_slice(&self.durable.0.to_le_bytes());
        out.extend_from_slice(&self.counter.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Watermark> {
        let slot = bytes.first_chunk::<WATERMARK_BYTES>()?;
        let (covered, checksum) = slot.split_at(WATERMARK_BYTES - 4);
        let u64_at = |at: usize| {
            covered[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        let counter = u64_at(8);
        let is_whole = crc32c::crc32c(covered).to_le_bytes() == checksum && counter > 0;
        is_whole.then(|| Watermark { durable: Sequence(u64_at(0)), counter })
    }

    /// The later of a segment's two.
    pub(super) fn latest(segment: &[u8]) -> Option<Watermark> {
        let slots = WATERMARK_SLOTS.iter().filter_map(|at| segment.get(*at..));
        slots.filter_map(Watermark::decode).max()
    }
}

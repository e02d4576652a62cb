//! One record: its head, its checksum, and how both are read back.

use super::Sequence;

/// Bytes of a record's head.
pub const RECORD_HEAD_BYTES: usize = 32;

/// Records begin at multiples of this.
pub const RECORD_ALIGNMENT: usize = 16;

/// What a record is about; the owner of the log decides. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

/// A record where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its place.
    pub sequence: Sequence,
    /// What it is about.
    pub kind: Kind,
    /// When it was added: microseconds of 1970.
    pub time_micros: u64,
    /// What it says.
    pub payload: &'a [u8],
}

/// The head of a record, as it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) payload_bytes: u32,
    pub(super) checksum: u32,
    pub(super) sequence: Sequence,
    pub(super) predecessor: u32,
    pub(super) kind: Kind,
    pub(super) time_micros: u64,
}

/// Bytes that a record takes in its segment.
pub fn record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEAD_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGNMENT)
}

/// Appends a record to a buffer; its checksum, which the next one names.
pub(super) fn write_record(out: &mut Vec<u8>, mut head: RecordHead, parts: &[&[u8]]) -> u32 {
    let start = out.len();
    out.extend_from_slice(&head.payload_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.sequence.0.to_le_bytes());
    out.extend_from_slice(&head.predecessor.to_le_bytes());
    out.extend_from_slice(&[head.kind.0, 0, 0, 0]);
    out.extend_from_slice(&head.time_micros.to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    head.checksum = crc32c::crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&head.checksum.to_le_bytes());
    out.resize(start + record_bytes(head.payload_bytes as usize), 0);
    head.checksum
}

impl RecordHead {
    /// Reads a head; `bytes` begins with it.
    pub(super) fn read(bytes: &[u8]) -> Option<RecordHead> {
        let head = bytes.first_chunk::<RECORD_HEAD_BYTES>()?;
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Some(RecordHead {
            payload_bytes: u32_at(0),
            checksum: u32_at(4),
            sequence: Sequence(u64_at(8)),
            predecessor: u32_at(16),
            kind: Kind(head[20]),
            time_micros: u64_at(24),
        })
    }

    /// The payload behind the head, if it lies within `bytes`.
    pub(super) fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(RECORD_HEAD_BYTES..)?.get(..self.payload_bytes as usize)
    }

    /// Whether the checksum is that of what follows it. The payload lies within `bytes`.
    pub(super) fn is_whole(&self, bytes: &[u8]) -> bool {
        let end = RECORD_HEAD_BYTES + self.payload_bytes as usize;
        bytes.get(8..end).is_some_and(|covered| crc32c::crc32c(covered) == self.checksum)
            && self.kind != Kind(0)
    }
}

/// The record at a place, out of the pages of its segment; nothing if it is not whole.
pub fn read_at(pages: &[u8], segment_bytes: u64, sequence: Sequence) -> Option<RecordRef<'_>> {
    read_record(pages.get((sequence.0 % segment_bytes) as usize..)?, sequence)
}

/// The record at `sequence`, whose bytes these begin with; nothing if it is not whole.
pub(super) fn read_record(bytes: &[u8], sequence: Sequence) -> Option<RecordRef<'_>> {
    let head = RecordHead::read(bytes)?;
    let payload = head.payload(bytes)?;
    (head.sequence == sequence && head.is_whole(bytes)).then_some(RecordRef {
        sequence,
        kind: head.kind,
        time_micros: head.time_micros,
        payload,
    })
}

//! What a log holds at one moment, for a copy that is taken while the log goes on.
//!
//! Nothing is copied by taking it: what is durable never changes where it lies, as long as no file
//! of these segments is written anew. The copy of a segment ends with its last durable record, and
//! its first page says anew how far that is: the log's own has gone on meanwhile.

use bytes::Bytes;

use super::record::{RecordHead, read_record, record_bytes};
use super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Watermark};
use super::{SegmentNumber, Sequence};

/// Everything of a log that was durable.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Bytes of a segment.
    pub segment_bytes: u32,
    /// Behind its last record.
    pub durable: Sequence,
    /// The segments with durable records, oldest first.
    pub extents: Vec<Extent>,
}

/// The part of a segment that belongs to a snapshot.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Which segment.
    pub number: SegmentNumber,
    /// How much of it, the head's page included.
    pub bytes: u32,
    pub(super) pages: Bytes,
}

/// A record is not what was written: the disk has lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// In this segment.
    pub segment: SegmentNumber,
    /// From this byte on.
    pub offset: usize,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unreadable { segment, offset } = self;
        write!(f, "segment {}, byte {offset}: a durable record fails its checksum", segment.0)
    }
}

impl std::error::Error for Unreadable {}

impl Extent {
    /// The first page of the copy: the head, and that all of the snapshot is durable, so that a
    /// copy which lost its end is told from one that is whole.
    pub fn first_page(&self, snapshot_end: Sequence) -> Vec<u8> {
        let head = SegmentHead::decode(&self.pages).map(|head| head.encode()).unwrap_or_default();
        let watermark = Watermark { counter: 1, durable: snapshot_end };
        let (at, encoded) = (watermark.offset() as usize, watermark.encode());
        let mut page = vec![0; SEGMENT_HEAD_BYTES];
        page[..head.len()].copy_from_slice(&head);
        page[at..at + encoded.len()].copy_from_slice(&encoded);
        page
    }

    /// The records, behind the first page.
    pub fn records(&self) -> Bytes {
        self.pages.slice(SEGMENT_HEAD_BYTES..self.bytes as usize)
    }

    /// Reads every record as a start would; `predecessor` is the checksum of the last record
    /// before, if that is known. The checksum of the last one here.
    ///
    /// # Errors
    ///
    /// The first place where no whole record follows the one before.
    pub fn check(&self, segment_bytes: u32, predecessor: Option<u32>) -> Result<u32, Unreadable> {
        let unreadable = |offset| Unreadable { segment: self.number, offset };
        let head = SegmentHead::decode(&self.pages).map_err(|_| unreadable(0))?;
        let mut checksum = head.predecessor.ok_or(unreadable(0))?;
        if predecessor.is_some_and(|predecessor| predecessor != checksum) {
            return Err(unreadable(0));
        }
        let (begin, end) = (self.number.0 * u64::from(segment_bytes), self.bytes as usize);
        let mut offset = SEGMENT_HEAD_BYTES;
        while offset < end {
            let bytes = self.pages.get(offset..end).unwrap_or_default();
            let head = RecordHead::read(bytes).filter(|head| head.predecessor == checksum);
            let record = read_record(bytes, Sequence(begin + offset as u64));
            let (Some(head), Some(record)) = (head, record) else {
                return Err(unreadable(offset));
            };
            checksum = head.checksum;
            offset += record_bytes(record.payload.len());
        }
        Ok(checksum)
    }
}

//! What a log asks of its driver, and what it is told.

use bytes::Bytes;

use super::Sequence;

/// A segment's number: 1 and up, never used twice in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

/// Do this.
#[derive(Debug)]
pub enum Order {
    /// Have a file for the segment, as long as a segment and allocated to its end, that starts
    /// with `head` and has zeros behind it where a record would begin, so that no later write
    /// can fail for want of space. Its directory entry is durable. Answered by
    /// [`News::Prepared`], or by [`News::Refused`] and [`News::Prepared`] later: the driver tries
    /// again by itself.
    Prepare {
        /// Which.
        segment: SegmentNumber,
        /// Its first bytes.
        head: Vec<u8>,
    },
    /// Write and make durable. Answered by [`News::Committed`]; one commit is under way at a time.
    Commit(Commit),
    /// Nothing of the segment is needed any more; its file may serve another once nobody reads
    /// its pages.
    Recycle(SegmentNumber),
}

/// Writes that become durable together.
#[derive(Debug)]
pub struct Commit {
    /// In no particular order; none overlaps another.
    pub writes: Vec<Write>,
    /// Everything before this place is durable afterwards.
    pub end: Sequence,
}

/// Bytes for one segment.
#[derive(Debug)]
pub struct Write {
    /// Which.
    pub segment: SegmentNumber,
    /// Where in it.
    pub offset: u32,
    /// What; not empty, and within the segment.
    pub bytes: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub enum News {
    /// The segment can be written to.
    Prepared {
        /// Which.
        segment: SegmentNumber,
        /// All of it, as it is and will be: a read-only map of the file, or for a driver without
        /// maps what was written so far, handed in anew by [`News::Pages`] after every commit.
        pages: Bytes,
    },
    /// A segment was prepared out of what is kept for a start without room: whether there is room
    /// for another one is to be known before more than what is needed goes into it.
    Scarce,
    /// There is no room for another segment at present.
    Refused(SegmentNumber),
    /// The bytes of a segment, from a driver without maps.
    Pages {
        /// Which.
        segment: SegmentNumber,
        /// All of it.
        pages: Bytes,
    },
    /// The commit under way is durable, and its buffers come home.
    Committed(Commit),
}

//! Where records go, when they are written, and which segments can go.

use std::collections::VecDeque;

use bytes::Bytes;

use super::record::{RECORD_HEAD_BYTES, RecordHead, read_at, record_bytes, write_record};
use super::recovery::RecoveredLog;
use super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Watermark};
use super::snapshot::{Extent, Snapshot};
use super::{Commit, Kind, News, Order, RecordRef, SegmentNumber, Sequence, Write};

/// How a log is set up.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Whose it is.
    pub shard: u16,
    /// Bytes of a segment: a multiple of 4096, at least 16 KiB.
    pub segment_bytes: u32,
    /// Segments there may be, the one that is prepared in advance included; at least 3. What is
    /// [`Urgency::Needed`] goes beyond.
    pub segments_max: usize,
}

/// A shard's append log; see the [module](super).
///
/// ```text
///  oldest                                current   next
/// +--------+--------+--------+--------+--------+--------+
/// | sealed | sealed | sealed | sealed |....    |        |
/// +--------+--------+--------+--------+--------+--------+
///                                 ^        ^
///                              durable    end
/// ```
///
/// Invariants: `durable <= end`; numbers of segments rise; only segments behind the durable end
/// have bytes that wait; a segment that is not the oldest is never given away, for later records
/// may speak of earlier ones.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    /// Those in use, oldest first, and maybe the next one.
    segments: VecDeque<Segment>,
    /// Index of the one that records go to.
    current: usize,
    end: Sequence,
    durable: Sequence,
    /// Checksum of the last record.
    checksum: u32,
    /// Bytes of all records, those of no use included.
    record_bytes: u64,
    watermarks: u64,
    watermark_written: Sequence,
    is_committing: bool,
    /// Segments of an earlier life that hold nothing of use.
    leftover: Vec<SegmentNumber>,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Segment {
    number: SegmentNumber,
    readiness: Readiness,
    pages: Option<Bytes>,
    /// What the head says comes before the first record; set when the first record is.
    predecessor: Option<u32>,
    head_written: bool,
    /// Records that are not written, and where they go: behind those that are.
    waiting: Vec<u8>,
    waiting_at: u32,
    /// Records somebody needs.
    live: u32,
    /// The end of the log when the last of them was let go.
    died_at: Sequence,
}

/// Whether there is a file for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// It is to be asked for.
    Wanted,
    /// It was asked for.
    Asked,
    /// There is no room; the driver tries again.
    Refused,
    /// It can be written to.
    Ready,
}

/// Whether a record may be refused when there is little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Its sender is told.
    Refusable,
    /// It says what is over, which makes room: it waits in memory until it can be kept. How much
    /// there can be of it is bounded by what was kept before.
    Needed,
}

/// There is no room for a record, or it is longer than a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Segment {
    fn new(number: SegmentNumber, readiness: Readiness) -> Segment {
        Segment {
            number,
            readiness,
            pages: None,
            predecessor: None,
            head_written: false,
            waiting: Vec::new(),
            waiting_at: SEGMENT_HEAD_BYTES as u32,
            live: 0,
            died_at: Sequence(0),
        }
    }

    /// Bytes of those records that are written.
    fn record_bytes(&self) -> u64 {
        u64::from(self.waiting_at) - SEGMENT_HEAD_BYTES as u64
    }
}

impl Log {
    /// A log without a past.
    pub fn new(options: LogOptions) -> Log {
        Log::begin(options, SegmentNumber(1), 0)
    }

    /// Goes on behind what was recovered, in a new segment.
    pub fn resume(options: LogOptions, recovered: &RecoveredLog) -> Log {
        let mut log = Log::begin(options, recovered.next, recovered.checksum);
        for used in recovered.segments.iter().rev() {
            let mut segment = Segment::new(used.number, Readiness::Ready);
            segment.head_written = true;
            segment.waiting_at = used.bytes;
            log.record_bytes += segment.record_bytes();
            log.segments.push_front(segment);
            log.current += 1;
        }
        log.leftover = recovered.leftover.clone();
        log
    }

    fn begin(options: LogOptions, first: SegmentNumber, checksum: u32) -> Log {
        assert!(options.segment_bytes >= 16 << 10 && options.segment_bytes.is_multiple_of(4096));
        assert!(options.segments_max >= 3, "one in use, one that goes, one that comes");
        let start = first.0 * u64::from(options.segment_bytes) + SEGMENT_HEAD_BYTES as u64;
        Log {
            options,
            segments: VecDeque::from([Segment::new(first, Readiness::Wanted)]),
            current: 0,
            end: Sequence(start),
            durable: Sequence(start),
            checksum,
            record_bytes: 0,
            watermarks: 0,
            watermark_written: Sequence(0),
            is_committing: false,
            leftover: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Adds a record of these parts; its place. It is durable once [`Log::durable`] is greater.
    pub fn append(
        &mut self,
        now_micros: u64,
        kind: Kind,
        parts: &[&[u8]],
        urgency: Urgency,
    ) -> Result<Sequence, Full> {
        let payload_bytes = parts.iter().map(|part| part.len()).sum();
        let bytes = record_bytes(payload_bytes);
        if bytes > self.segment_bytes() as usize - SEGMENT_HEAD_BYTES {
            return Err(Full);
        }
        let left = self.left_in_current();
        // The last segment there can be is for what is needed: what says that messages are over,
        // and what compaction moves, so that there is room again.
        if urgency == Urgency::Refusable && self.is_full() {
            return Err(Full);
        }
        if left < bytes {
            self.roll();
        }
        let sequence = self.end;
        let predecessor = self.checksum;
        let segment = &mut self.segments[self.current];
        segment.predecessor.get_or_insert(predecessor);
        let head = RecordHead {
            payload_bytes: payload_bytes as u32,
            checksum: 0,
            sequence,
            predecessor,
            kind,
            time_micros: now_micros,
        };
        self.checksum = write_record(&mut segment.waiting, head, parts);
        self.end.0 += bytes as u64;
        self.record_bytes += bytes as u64;
        Ok(sequence)
    }

    /// Whether what is refusable is refused.
    pub fn is_full(&self) -> bool {
        self.is_exhausted() || !self.has_next()
    }

    /// Whether even what is needed waits for room.
    pub fn is_exhausted(&self) -> bool {
        self.segments[self.current].readiness == Readiness::Refused
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Order> {
        if let Some(segment) = self.leftover.pop() {
            return Some(Order::Recycle(segment));
        }
        if let Some(order) = self.poll_prepare() {
            return Some(order);
        }
        if let Some(number) = self.pop_dead() {
            return Some(Order::Recycle(number));
        }
        if self.is_committing {
            return None;
        }
        let commit = self.next_commit()?;
        self.is_committing = true;
        Some(Order::Commit(commit))
    }

    fn poll_prepare(&mut self) -> Option<Order> {
        let (options, half) = (self.options, self.segment_bytes() as usize / 2);
        let wants_next = self.current + 1 == self.segments.len()
            && self.left_in_current() < half
            && self.segments.len() < options.segments_max;
        if wants_next {
            self.want_next();
        }
        let wanted = self.segments.iter_mut().find(|s| s.readiness == Readiness::Wanted)?;
        wanted.readiness = Readiness::Asked;
        let head = SegmentHead {
            shard: options.shard,
            number: wanted.number,
            segment_bytes: options.segment_bytes,
            predecessor: None,
        };
        Some(Order::Prepare { segment: wanted.number, head: head.encode() })
    }

    /// Another segment behind the last.
    fn want_next(&mut self) {
        let number = SegmentNumber(self.segments[self.segments.len() - 1].number.0 + 1);
        self.segments.push_back(Segment::new(number, Readiness::Wanted));
    }

    /// The oldest segment, if nobody needs it and that is durable.
    fn pop_dead(&mut self) -> Option<SegmentNumber> {
        let oldest = self.segments.front()?;
        // One segment with records always stays: its number says that lower ones were used.
        let is_dead = self.oldest().is_some()
            && oldest.live == 0
            && oldest.waiting.is_empty()
            && oldest.died_at <= self.durable;
        if !is_dead {
            return None;
        }
        self.record_bytes -= oldest.record_bytes();
        self.current -= 1;
        self.segments.pop_front().map(|segment| segment.number)
    }

    /// Everything that waits, up to the first segment without a file.
    fn next_commit(&mut self) -> Option<Commit> {
        let segment_bytes = u64::from(self.options.segment_bytes);
        let mut writes = Vec::new();
        let mut end = None;
        for segment in self.segments.iter_mut().take(self.current + 1) {
            if segment.waiting.is_empty() {
                continue;
            }
            if segment.readiness != Readiness::Ready {
                break;
            }
            if !segment.head_written {
                segment.head_written = true;
                let head = SegmentHead {
                    shard: self.options.shard,
                    number: segment.number,
                    segment_bytes: self.options.segment_bytes,
                    predecessor: segment.predecessor,
                };
                writes.push(Write { segment: segment.number, offset: 0, bytes: head.encode() });
            }
            let spare = self.spare.pop().unwrap_or_default();
            let mut bytes = std::mem::replace(&mut segment.waiting, spare);
            let offset = segment.waiting_at;
            segment.waiting_at += bytes.len() as u32;
            end = Some(Sequence(segment.number.0 * segment_bytes + u64::from(segment.waiting_at)));
            // A header of zeros: what lies behind, of whatever life, is not read.
            let left = self.options.segment_bytes - segment.waiting_at;
            bytes.resize(bytes.len() + RECORD_HEAD_BYTES.min(left as usize), 0);
            writes.push(Write { segment: segment.number, offset, bytes });
        }
        let end = end?;
        self.write_watermark(&mut writes);
        Some(Commit { writes, end })
    }

    /// The durable end goes out with the commit after the one that reached it.
    fn write_watermark(&mut self, writes: &mut Vec<Write>) {
        let Some(last) = writes.last() else { return };
        if self.durable <= self.watermark_written {
            return;
        }
        self.watermarks += 1;
        self.watermark_written = self.durable;
        let watermark = Watermark { counter: self.watermarks, durable: self.durable };
        let segment = last.segment;
        writes.push(Write { segment, offset: watermark.offset(), bytes: watermark.encode() });
    }

    /// Something came of an order.
    pub fn handle(&mut self, news: News) {
        match news {
            News::Prepared { segment, pages } => {
                if let Some(segment) = self.segment_mut(segment) {
                    segment.readiness = Readiness::Ready;
                    segment.pages = Some(pages);
                }
            }
            News::Scarce => {
                if self.current + 1 == self.segments.len() && self.has_next() {
                    self.want_next();
                }
            }
            News::Refused(segment) => {
                if let Some(segment) = self.segment_mut(segment) {
                    segment.readiness = Readiness::Refused;
                }
            }
            News::Pages { segment, pages } => {
                if let Some(segment) = self.segment_mut(segment) {
                    segment.pages = Some(pages);
                }
            }
            News::Committed(commit) => self.committed(commit),
        }
    }

    fn committed(&mut self, commit: Commit) {
        assert!(self.is_committing, "one commit is under way at a time");
        assert!(
            self.durable < commit.end && commit.end <= self.end,
            "what is durable was appended"
        );
        self.is_committing = false;
        self.durable = commit.end;
        const BYTES_MAX: usize = 1 << 20;
        for Write { mut bytes, .. } in commit.writes {
            if self.spare.len() < 4 && (4096..=BYTES_MAX).contains(&bytes.capacity()) {
                bytes.clear();
                self.spare.push(bytes);
            }
        }
    }

    /// The record at a place, if it is written.
    pub fn read(&self, sequence: Sequence) -> Option<RecordRef<'_>> {
        let segment = self.segment(self.segment_of(sequence))?;
        read_at(segment.pages.as_ref()?, self.segment_bytes(), sequence)
    }

    /// All that is durable now, for a copy that is taken while the log goes on.
    pub fn snapshot(&self) -> Snapshot {
        let segment_bytes = self.segment_bytes();
        let extent = |segment: &Segment| {
            let begin = segment.number.0 * segment_bytes;
            let end = self.durable.0.min(begin + u64::from(segment.waiting_at));
            let bytes = end.checked_sub(begin)? as u32;
            // The bytes of a segment come with its file, before any record of it is written.
            let pages = segment.pages.clone()?;
            (bytes as usize > SEGMENT_HEAD_BYTES).then_some(Extent {
                number: segment.number,
                bytes,
                pages,
            })
        };
        let extents: Vec<Extent> = self.segments.iter().filter_map(extent).collect();
        // A log that goes on in a new segment is durable up to where nothing is yet.
        let end = extents.last().map(|last| last.number.0 * segment_bytes + u64::from(last.bytes));
        let durable = Sequence(end.unwrap_or(self.durable.0));
        Snapshot { segment_bytes: self.options.segment_bytes, durable, extents }
    }

    /// Somebody needs the record.
    pub fn hold(&mut self, sequence: Sequence) {
        let number = self.segment_of(sequence);
        if let Some(segment) = self.segment_mut(number) {
            segment.live += 1;
        }
    }

    /// Nobody needs the record any more, once everything up to now is durable, and the record
    /// that is appended next if that `is_told_next`.
    pub fn release(&mut self, sequence: Sequence, is_told_next: bool) {
        let (number, end) = (self.segment_of(sequence), self.end.0 + u64::from(is_told_next));
        let Some(segment) = self.segment_mut(number) else { return };
        debug_assert!(segment.live > 0, "what is released was held");
        segment.live = segment.live.saturating_sub(1);
        segment.died_at = Sequence(end);
    }

    /// Everything before this place is durable.
    pub fn durable(&self) -> Sequence {
        self.durable
    }

    /// Where the next record goes, if it fits.
    pub fn end(&self) -> Sequence {
        self.end
    }

    /// The segment a place is in.
    pub fn segment_of(&self, sequence: Sequence) -> SegmentNumber {
        SegmentNumber(sequence.0 / self.segment_bytes())
    }

    /// The oldest segment, if all of it is durable and later ones have durable records.
    pub fn oldest(&self) -> Option<SegmentNumber> {
        let next = self.segments.get(1).filter(|_| self.current > 0)?;
        let begin = next.number.0 * self.segment_bytes() + SEGMENT_HEAD_BYTES as u64;
        (self.durable.0 > begin).then(|| self.segments[0].number)
    }

    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.options.segment_bytes)
    }

    /// Segments in use, the one prepared in advance included.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes from the oldest record to the end.
    pub fn bytes(&self) -> u64 {
        let sealed = self.current as u64 * self.segment_bytes();
        sealed + self.end.0 % self.segment_bytes()
    }

    /// Bytes of all records in it: without heads, and without the ends of segments that a record
    /// did not fit into.
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    fn left_in_current(&self) -> usize {
        let begun = self.segments[self.current].number.0 * self.segment_bytes();
        (self.segment_bytes() - (self.end.0 - begun)) as usize
    }

    /// Whether there is, or may soon be, a segment behind the current one.
    fn has_next(&self) -> bool {
        match self.segments.get(self.current + 1) {
            Some(next) => next.readiness != Readiness::Refused,
            None => self.segments.len() < self.options.segments_max,
        }
    }

    /// Goes on in the next segment. What does not fit into this one leaves its end unused.
    fn roll(&mut self) {
        if self.current + 1 == self.segments.len() {
            self.want_next();
        }
        self.segments[self.current].died_at = self.end;
        self.current += 1;
        let number = self.segments[self.current].number;
        self.end = Sequence(number.0 * self.segment_bytes() + SEGMENT_HEAD_BYTES as u64);
    }

    fn segment(&self, number: SegmentNumber) -> Option<&Segment> {
        let index = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get(index)
    }

    fn segment_mut(&mut self, number: SegmentNumber) -> Option<&mut Segment> {
        let index = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get_mut(index)
    }
}

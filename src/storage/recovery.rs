//! What an earlier life left behind: which records are taken, and where the log ends.

use std::fmt;

use super::record::{RECORD_ALIGNMENT, RECORD_HEAD_BYTES, RecordHead, record_bytes};
use super::segment::{HeadError, SEGMENT_HEAD_BYTES, SegmentHead, Watermark};
use super::{RecordRef, SegmentNumber, Sequence};

/// What is known of the place where a record is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The header is all zeros.
    pub zero: bool,
    /// The length fits into the segment.
    pub length: bool,
    /// The checksum is good.
    pub checksum: bool,
    /// It names this place and its predecessor.
    pub sequence: bool,
    /// The place is below the watermark: it was durable.
    pub watermark: bool,
}

/// What is done with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It holds the next record.
    Take,
    /// The log ends here, cleanly.
    End,
    /// The log ends here: what follows was never acknowledged.
    Cut(Cut),
    /// Something that was durable is not here any more.
    Refuse(Cut),
}

/// What is found where no record is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Zeros.
    Hole,
    /// A part of a record.
    Torn,
    /// A record that does not belong here: of an earlier life of the file.
    Survivor,
}

/// A row of the table; `None` is any.
struct Row {
    zero: Option<bool>,
    length: Option<bool>,
    checksum: Option<bool>,
    sequence: Option<bool>,
    watermark: Option<bool>,
    decision: Decision,
}

const fn row(
    zero: Option<bool>,
    length: Option<bool>,
    checksum: Option<bool>,
    sequence: Option<bool>,
    watermark: Option<bool>,
    decision: Decision,
) -> Row {
    Row { zero, length, checksum, sequence, watermark, decision }
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// Exactly one row fits any facts.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    //  zero length checksum sequence watermark
    row(YES, None, None,     None,    NO,       Decision::End),
    row(YES, None, None,     None,    YES,      Decision::Refuse(Cut::Hole)),
    row(NO,  NO,   None,     None,    NO,       Decision::Cut(Cut::Torn)),
    row(NO,  NO,   None,     None,    YES,      Decision::Refuse(Cut::Torn)),
    row(NO,  YES,  NO,       None,    NO,       Decision::Cut(Cut::Torn)),
    row(NO,  YES,  NO,       None,    YES,      Decision::Refuse(Cut::Torn)),
    row(NO,  YES,  YES,      NO,      NO,       Decision::Cut(Cut::Survivor)),
    row(NO,  YES,  YES,      NO,      YES,      Decision::Refuse(Cut::Survivor)),
    row(NO,  YES,  YES,      YES,     None,     Decision::Take),
];

impl Row {
    fn fits(&self, facts: Facts) -> bool {
        let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        fits(self.zero, facts.zero)
            && fits(self.length, facts.length)
            && fits(self.checksum, facts.checksum)
            && fits(self.sequence, facts.sequence)
            && fits(self.watermark, facts.watermark)
    }
}

impl Facts {
    /// What the table says.
    pub fn decide(self) -> Decision {
        let row = TABLE.iter().find(|row| row.fits(self)).expect("the table covers all facts");
        row.decision
    }
}

/// What is done when something durable is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDamage {
    /// Nothing is taken.
    Refuse,
    /// Every whole record is taken; what lies between is left out and reported.
    Salvage,
}

/// A log of an earlier life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// Behind the last record taken.
    pub end: Sequence,
    /// Of the last record taken; 0 if there is none.
    pub checksum: u32,
    /// The next segment's number.
    pub next: SegmentNumber,
    /// Segments with records that were taken, oldest first.
    pub segments: Vec<UsedSegment>,
    /// Segments with none: prepared and never used, or behind a cut.
    pub leftover: Vec<SegmentNumber>,
    /// What was cut off at the end: never acknowledged.
    pub loss: Option<Loss>,
    /// What was left out because it was damaged.
    pub damage: Vec<Damage>,
}

/// A segment that has records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedSegment {
    /// Which.
    pub number: SegmentNumber,
    /// Bytes up to the end of its last record, the head's page included.
    pub bytes: u32,
}

/// An end that was written and not made durable before the earlier life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where.
    pub at: Sequence,
    /// What was there.
    pub cut: Cut,
}

/// Something that was durable and is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In this segment.
    pub segment: SegmentNumber,
    /// From this byte on.
    pub offset: u64,
    /// Up to this one, as far as it is known.
    pub end: u64,
    /// What is there.
    pub kind: DamageKind,
}

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// A record.
    Record(Cut),
    /// The end of a segment: the next one goes on behind a record that is not here.
    Gap,
    /// A segment's head.
    Head,
    /// What was before the first segment: later records speak of it.
    Front,
    /// A segment of another shard, or of another size.
    Foreign,
    /// A later version wrote it.
    Format(u32),
}

impl Damage {
    /// Whether what was durable may still be read past it.
    pub fn is_salvageable(&self) -> bool {
        !matches!(self.kind, DamageKind::Format(_) | DamageKind::Foreign)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { segment, offset, end, kind } = self;
        write!(f, "segment {}, bytes {offset} to {end}: ", segment.0)?;
        match kind {
            DamageKind::Record(Cut::Hole) => write!(f, "zeros where a durable record was"),
            DamageKind::Record(Cut::Torn) => write!(f, "a durable record fails its checksum"),
            DamageKind::Record(Cut::Survivor) => {
                write!(f, "another record than the one that was durable")
            }
            DamageKind::Gap => {
                write!(f, "the next segment goes on behind a record that is missing")
            }
            DamageKind::Head => write!(f, "the segment's head is damaged"),
            DamageKind::Front => {
                write!(f, "records speak of what was in a segment before it, which is missing")
            }
            DamageKind::Foreign => write!(f, "a segment of another shard or size"),
            DamageKind::Format(format) => {
                write!(
                    f,
                    "written in format {format}, this version reads {}",
                    super::segment::FORMAT
                )
            }
        }
    }
}

impl std::error::Error for Damage {}

/// Reads a shard's segments, in any order, and hands every record that is taken to `visit`, in
/// order. Each of `segments` is a whole file; one that is shorter than a segment ends where its
/// records do, as a [`Snapshot`](super::Snapshot) leaves it.
pub fn recover(
    shard: u16,
    segment_bytes: u32,
    segments: &[(SegmentNumber, &[u8])],
    on_damage: OnDamage,
    visit: impl FnMut(RecordRef<'_>),
) -> Result<RecoveredLog, Damage> {
    let mut recovered = RecoveredLog { next: SegmentNumber(1), ..RecoveredLog::default() };
    let mut begun = Vec::new();
    let mut watermark = Sequence(0);
    for (number, bytes) in segments {
        recovered.next = recovered.next.max(SegmentNumber(number.0 + 1));
        match read_head(shard, segment_bytes, *number, bytes) {
            Ok(Some(predecessor)) => {
                begun.push(Begun { number: *number, bytes, predecessor });
                let latest = Watermark::latest(bytes).map(|watermark| watermark.durable);
                watermark = watermark.max(latest.unwrap_or_default());
            }
            Ok(None) => recovered.leftover.push(*number),
            Err(damage) if on_damage == OnDamage::Salvage && damage.is_salvageable() => {
                recovered.damage.push(damage);
                if bytes.len() >= SEGMENT_HEAD_BYTES {
                    begun.push(Begun { number: *number, bytes, predecessor: 0 });
                }
            }
            Err(damage) => return Err(damage),
        }
    }
    begun.sort_unstable_by_key(|segment| segment.number);
    let segment_bytes = u64::from(segment_bytes);
    let walk = Walk { begun: &begun, watermark, segment_bytes, on_damage, recovered, visit };
    walk.run()
}

struct Begun<'a> {
    number: SegmentNumber,
    bytes: &'a [u8],
    predecessor: u32,
}

/// The checksum before a segment's first record; nothing if it was never written to.
fn read_head(
    shard: u16,
    segment_bytes: u32,
    number: SegmentNumber,
    bytes: &[u8],
) -> Result<Option<u32>, Damage> {
    let damage = |kind| Damage { segment: number, offset: 0, end: SEGMENT_HEAD_BYTES as u64, kind };
    match SegmentHead::decode(bytes) {
        Ok(head)
            if head.shard != shard
                || head.segment_bytes != segment_bytes
                || head.number != number
                || !(SEGMENT_HEAD_BYTES..=segment_bytes as usize).contains(&bytes.len()) =>
        {
            Err(damage(DamageKind::Foreign))
        }
        Ok(head) => Ok(head.predecessor),
        Err(HeadError::Format(format)) => Err(damage(DamageKind::Format(format))),
        // The head is written again with the first record: torn, there is no record. A file is never
        // without its first page.
        Err(HeadError::Torn)
            if bytes.get(SEGMENT_HEAD_BYTES..).map(RecordHead::read).is_some_and(|head| {
                head.is_none_or(|head| head.sequence.0 == 0 && head.payload_bytes == 0)
            }) =>
        {
            Ok(None)
        }
        Err(HeadError::Torn) => Err(damage(DamageKind::Head)),
    }
}

struct Walk<'a, V> {
    begun: &'a [Begun<'a>],
    watermark: Sequence,
    segment_bytes: u64,
    on_damage: OnDamage,
    recovered: RecoveredLog,
    visit: V,
}

impl<V: FnMut(RecordRef<'_>)> Walk<'_, V> {
    fn run(mut self) -> Result<RecoveredLog, Damage> {
        let Some(first) = self.begun.first() else { return Ok(self.recovered) };
        self.recovered.checksum = first.predecessor;
        let mut index = 0;
        loop {
            let segment = &self.begun[index];
            let stop = self.walk_segment(segment)?;
            let bytes = (self.recovered.end.0 - self.place(segment, 0).0) as u32;
            self.recovered.segments.push(UsedSegment { number: segment.number, bytes });
            let checksum = self.recovered.checksum;
            let later = &self.begun[index + 1..];
            if let Some(next) = later.iter().position(|next| next.predecessor == checksum) {
                // Sealed here: a later segment goes on behind this record.
                self.leave(index + 1..index + 1 + next);
                index += 1 + next;
                continue;
            }
            let at = self.recovered.end;
            let stop_watermark =
                later.iter().map(|next| self.place(next, 0)).any(|start| start < self.watermark);
            if later.is_empty() || !stop_watermark && at >= self.watermark {
                self.leave(index + 1..self.begun.len());
                self.recovered.loss = match stop {
                    Decision::Cut(cut) => Some(Loss { at, cut }),
                    _ if !later.is_empty() => Some(Loss { at, cut: Cut::Hole }),
                    _ => None,
                };
                return Ok(self.recovered);
            }
            let offset = at.0 - segment.number.0 * self.segment_bytes;
            let damage = Damage {
                segment: segment.number,
                offset,
                end: self.segment_bytes,
                kind: DamageKind::Gap,
            };
            self.found_damage(damage)?;
            self.recovered.checksum = self.begun[index + 1].predecessor;
            index += 1;
        }
    }

    fn leave(&mut self, range: std::ops::Range<usize>) {
        self.recovered.leftover.extend(self.begun[range].iter().map(|segment| segment.number));
    }

    fn place(&self, segment: &Begun<'_>, offset: usize) -> Sequence {
        Sequence(segment.number.0 * self.segment_bytes + offset as u64)
    }

    fn found_damage(&mut self, damage: Damage) -> Result<(), Damage> {
        if self.on_damage == OnDamage::Refuse {
            return Err(damage);
        }
        self.recovered.damage.push(damage);
        Ok(())
    }

    /// Takes a segment's records; how it ended.
    fn walk_segment(&mut self, segment: &Begun<'_>) -> Result<Decision, Damage> {
        let mut offset = SEGMENT_HEAD_BYTES;
        loop {
            let at = self.place(segment, offset);
            self.recovered.end = at;
            let bytes = &segment.bytes[offset..];
            let (facts, head) = self.facts(bytes, at);
            match (self.decide(segment, facts), head) {
                (Decision::Take, Some(head)) => offset += self.take(bytes, at, head),
                (Decision::Refuse(cut), _) => {
                    let resumed = self.find_record(segment, offset + RECORD_ALIGNMENT);
                    let end = resumed.unwrap_or(segment.bytes.len());
                    self.found_damage(Damage {
                        segment: segment.number,
                        offset: offset as u64,
                        end: end as u64,
                        kind: DamageKind::Record(cut),
                    })?;
                    if end == segment.bytes.len() {
                        return Ok(Decision::End);
                    }
                    offset = end;
                    self.recovered.checksum = RecordHead::read(&segment.bytes[offset..])
                        .map_or(0, |head| head.predecessor);
                }
                (decision, _) => return Ok(decision),
            }
        }
    }

    /// What is known of a place; where the file ends there are as good as zeros.
    fn facts(&self, bytes: &[u8], at: Sequence) -> (Facts, Option<RecordHead>) {
        let watermark = at < self.watermark;
        let Some(head) = RecordHead::read(bytes) else {
            let zeros =
                Facts { zero: true, length: true, checksum: false, sequence: false, watermark };
            return (zeros, None);
        };
        let length = head.payload(bytes).is_some();
        let facts = Facts {
            zero: bytes[..RECORD_HEAD_BYTES].iter().all(|byte| *byte == 0),
            length,
            checksum: length && head.is_whole(bytes),
            sequence: head.sequence == at && head.predecessor == self.recovered.checksum,
            watermark,
        };
        (facts, Some(head))
    }

    /// The table's decision, or the end if a later segment says that the log was cut here.
    fn decide(&self, segment: &Begun<'_>, facts: Facts) -> Decision {
        let decision = facts.decide();
        let Decision::Refuse(cut) = decision else { return decision };
        let checksum = self.recovered.checksum;
        let is_sealed = self
            .begun
            .iter()
            .any(|later| later.number > segment.number && later.predecessor == checksum);
        if is_sealed { Decision::Cut(cut) } else { decision }
    }

    fn take(&mut self, bytes: &[u8], sequence: Sequence, head: RecordHead) -> usize {
        let payload = head.payload(bytes).expect("its length fits");
        let RecordHead { kind, time_micros, checksum, .. } = head;
        (self.visit)(RecordRef { sequence, kind, time_micros, payload });
        self.recovered.checksum = checksum;
        record_bytes(payload.len())
    }

    /// The next place that holds a whole record of its own.
    fn find_record(&self, segment: &Begun<'_>, from: usize) -> Option<usize> {
        if self.on_damage == OnDamage::Refuse {
            return None;
        }
        (from..segment.bytes.len().saturating_sub(RECORD_HEAD_BYTES))
            .step_by(RECORD_ALIGNMENT)
            .find(|offset| {
                let bytes = &segment.bytes[*offset..];
                RecordHead::read(bytes).is_some_and(|head| {
                    head.sequence == self.place(segment, *offset)
                        && head.payload(bytes).is_some()
                        && head.is_whole(bytes)
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_row_fits_any_facts() {
        for bits in 0..32u8 {
            let fact = |bit: u8| bits & 1 << bit != 0;
            let facts = Facts {
                zero: fact(0),
                length: fact(1),
                checksum: fact(2),
                sequence: fact(3),
                watermark: fact(4),
            };
            let rows = TABLE.iter().filter(|row| row.fits(facts)).count();
            assert_eq!(rows, 1, "{facts:?}");
        }
    }
}

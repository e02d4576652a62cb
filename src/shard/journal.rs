//! What is kept beyond memory: the shard's log, and who waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::arena::Arena;
use super::census::LogSize;
use super::effect::{ConnectionId, ShardId};
use super::record::{CHANGE, Change, MESSAGE, MessageHead, PROGRESS, Progress, QueueNumber, Step};
use super::{Key, Output, Shard, ShardMessage};
use crate::message::{Message, Publication};
use crate::proto::{PacketId, PacketType, ReasonCode};
use crate::session::{Body, KeptId};
use crate::storage::{
    Full, Log, News, Order, RecordRef, SegmentNumber, Sequence, Snapshot, Urgency, record_bytes,
};
use crate::time::Time;

/// The log, the messages in it that somebody is owed, and who waits for it to be durable. Without
/// a log everything is in memory and nobody waits.
///
/// Invariants: `waiters` is ordered by sequence; `cached_bytes` is the sum of the messages that
/// `cached` names and that are in memory.
#[derive(Debug)]
pub struct Journal {
    log: Option<Box<Log>>,
    kept: Arena<Kept>,
    /// Messages in memory, oldest first; maybe gone meanwhile.
    cached: VecDeque<KeptId>,
    cached_bytes: usize,
    /// What was first written where, for compaction.
    contents: BTreeMap<SegmentNumber, Contents>,
    /// Bytes of records that are of use: of messages, and of sessions and groups as a whole.
    live_bytes: u64,
    /// Steps of this turn, and who waits for them.
    progress: Vec<u8>,
    /// Where one record of them ends and the next begins.
    progress_cuts: Vec<usize>,
    progress_waiters: Vec<Waiter>,
    waiters: VecDeque<(Sequence, Waiter)>,
    /// Clients whose kept session ended, and where that is told: it may not be durable yet.
    ended: HashMap<Arc<str>, Sequence, ahash::RandomState>,
    scratch: Vec<u8>,
    last_number: QueueNumber,
    last: Option<Sequence>,
    /// Records that could not be read.
    damages: u64,
}

/// A message in the log.
#[derive(Debug)]
struct Kept {
    sequence: Sequence,
    /// Deliveries and retained topics that name it.
    references: u32,
    record_bytes: u32,
    message: Option<Arc<Message>>,
}

/// What was written to a segment first.
#[derive(Debug, Default)]
struct Contents {
    messages: Vec<KeptId>,
    others: Vec<Item>,
}

impl Contents {
    fn push(&mut self, item: Item) {
        match item {
            Item::Message(id) => self.messages.push(id),
            Item::Session(_) | Item::Group(_) | Item::Received(_) => self.others.push(item),
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.others.pop().or_else(|| self.messages.pop().map(Item::Message))
    }
}

/// Where the log tells of a session or group as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its first record.
    pub at: Sequence,
    /// Of all its records.
    pub bytes: u64,
}

impl Told {
    /// By the record at a place.
    pub fn by(record: &RecordRef<'_>) -> Told {
        Told { at: record.sequence, bytes: record_bytes(record.payload.len()) as u64 }
    }
}

/// The record at a place was whole once and is so no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged(pub Sequence);

/// Something whose record compaction moves if it is still of use.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// A message.
    Message(KeptId),
    /// A session, as a whole.
    Session(Key),
    /// A shared group.
    Group(Key),
    /// How far another shard's messages have come.
    Received(ShardId),
}

/// Who is told that everything up to a sequence is durable.
#[derive(Debug)]
pub enum Waiter {
    /// A publisher of this shard.
    Publish(Key),
    /// A publisher of another shard.
    Forward(ShardId, Key),
    /// A SUBSCRIBE.
    Subscribe(Key),
    /// A connection whose CONNACK is held back.
    Output(ConnectionId),
    /// A session whose next message must not be sent before it is durable.
    Session(Key),
    /// A PUBREL or PUBCOMP to be sent.
    Acknowledge(ConnectionId, PacketType, PacketId, ReasonCode),
    /// A QoS 2 message that other shards get once this one will not forget it.
    Spread(Key),
    /// A message for another shard that must not overtake those.
    Lane(ShardId, Box<ShardMessage>),
    /// An UNSUBSCRIBE of so many filters: its UNSUBACK, encoded.
    Unsubscribe(ConnectionId, u32, Vec<u8>),
}

impl Journal {
    /// Bytes of messages that are kept in memory, too; beyond them they are read from the log.
    const CACHED_BYTES_MAX: usize = 1 << 20;

    /// A journal on this log, if there is one.
    pub fn new(log: Option<Box<Log>>) -> Journal {
        Journal {
            log,
            kept: Arena::new(),
            cached: VecDeque::new(),
            cached_bytes: 0,
            contents: BTreeMap::new(),
            live_bytes: 0,
            progress: Vec::new(),
            progress_cuts: Vec::new(),
            progress_waiters: Vec::new(),
            waiters: VecDeque::new(),
            ended: HashMap::with_hasher(ahash::RandomState::with_seeds(0, 0, 0, 0)),
            scratch: Vec::new(),
            last_number: 0,
            last: None,
            damages: 0,
        }
    }

    /// Whether anything is kept at all.
    pub fn is_enabled(&self) -> bool {
        self.log.is_some()
    }

    /// Whether what can be refused is refused: there is no room.
    pub fn is_full(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.is_full())
    }

    /// Whether even what is over waits for room.
    pub fn is_exhausted(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.is_exhausted())
    }

    /// A number for a session or group.
    pub fn next_number(&mut self) -> QueueNumber {
        self.last_number += 1;
        self.last_number
    }

    /// Sessions and groups get numbers above `number`.
    pub fn skip_numbers(&mut self, number: QueueNumber) {
        self.last_number = self.last_number.max(number);
    }

    /// Adds a change of state; its sequence, or nothing if nothing is kept.
    pub fn append(&mut self, now: Time, change: &Change) -> Option<Sequence> {
        self.append_encoded(now, &change.encode())
    }

    fn append_encoded(&mut self, now: Time, payload: &[u8]) -> Option<Sequence> {
        let log = self.log.as_deref_mut()?;
        let appended = log.append(now.as_micros(), CHANGE, &[payload], Urgency::Needed);
        match appended {
            Ok(sequence) => {
                self.last = Some(sequence);
                Some(sequence)
            }
            Err(Full) => {
                tracing::error!("a change is not kept: it is longer than a segment of the log");
                None
            }
        }
    }

    /// Adds the state of a session or group as a whole: it counts as live where it is now.
    pub fn append_item(&mut self, now: Time, changes: &[Change], item: Item) -> Option<Told> {
        let (mut first, mut bytes) = (None, 0);
        for change in changes {
            let payload = change.encode();
            let sequence = self.append_encoded(now, &payload)?;
            first.get_or_insert(sequence);
            bytes += record_bytes(payload.len()) as u64;
        }
        let told = Told { at: first?, bytes };
        self.hold_item(told, item);
        Some(told)
    }

    /// A kept session is over: until that is durable it may come back.
    pub fn end_session(&mut self, now: Time, session: QueueNumber, client_id: &Arc<str>) {
        let Some(sequence) = self.append(now, &Change::SessionEnd { session }) else { return };
        // Before it grows.
        if self.ended.len() == self.ended.capacity() {
            let durable = self.log.as_ref().map_or(sequence, |log| log.durable());
            self.ended.retain(|_, sequence| *sequence >= durable);
        }
        self.ended.insert(Arc::clone(client_id), sequence);
    }

    /// Whether a session of this client ended and may still come back.
    pub fn is_ending(&mut self, client_id: &str) -> bool {
        let Some(sequence) = self.ended.get(client_id).copied() else { return false };
        let is_ending = !self.is_durable(sequence);
        if !is_ending {
            self.ended.remove(client_id);
        }
        is_ending
    }

    /// What is told of a session or group is of use.
    pub fn hold_item(&mut self, told: Told, item: Item) {
        self.live_bytes += told.bytes;
        self.hold(told.at, item);
    }

    /// What was told of a session or group is of no use any more.
    pub fn release_item(&mut self, told: Told) {
        self.live_bytes -= told.bytes;
        self.release_at(told.at);
    }

    /// The item's record at `sequence` is of no use any more.
    pub fn release_at(&mut self, sequence: Sequence) {
        if let Some(log) = self.log.as_deref_mut() {
            log.release(sequence, !self.progress.is_empty());
        }
    }

    /// The item's record at `sequence` is of use.
    pub fn hold(&mut self, sequence: Sequence, item: Item) {
        let Some(log) = self.log.as_deref_mut() else { return };
        log.hold(sequence);
        self.contents.entry(log.segment_of(sequence)).or_default().push(item);
    }

    /// Adds a message that `references` deliveries and retained topics will name.
    pub fn keep(
        &mut self,
        now: Time,
        head: &MessageHead,
        publication: &Publication<'_>,
        references: u32,
        urgency: Urgency,
    ) -> Result<(KeptId, Sequence), Full> {
        let message = Arc::clone(publication.keep());
        let mut encoded = std::mem::take(&mut self.scratch);
        encoded.clear();
        head.encode(&mut encoded);
        let record_bytes = record_bytes(encoded.len() + message.bytes()) as u32;
        let log = self.log.as_deref_mut().ok_or(Full)?;
        let appended = log.append(now.as_micros(), MESSAGE, &[&encoded, message.body()], urgency);
        self.scratch = encoded;
        let sequence = appended?;
        let id = self.insert(Kept { sequence, references, record_bytes, message: None });
        self.hold(sequence, Item::Message(id));
        self.cache(id, message);
        Ok((id, sequence))
    }

    /// A message of an earlier life.
    pub fn adopt(&mut self, sequence: Sequence, record_bytes: u32) -> KeptId {
        let id = self.insert(Kept { sequence, references: 0, record_bytes, message: None });
        self.hold(sequence, Item::Message(id));
        id
    }

    fn insert(&mut self, kept: Kept) -> KeptId {
        self.live_bytes += u64::from(kept.record_bytes);
        self.kept.insert(kept).into()
    }

    /// One more delivery or topic names the message.
    pub fn refer(&mut self, id: KeptId) {
        if let Some(kept) = self.kept.get_mut(id.into()) {
            kept.references += 1;
        }
    }

    /// A delivery or topic is done with the message.
    pub fn release(&mut self, body: &Body) {
        if let Body::Kept(id) = body {
            self.release_kept(*id);
        }
    }

    fn release_kept(&mut self, id: KeptId) {
        let Some(kept) = self.kept.get_mut(id.into()) else { return };
        kept.references -= 1;
        if kept.references > 0 {
            return;
        }
        let Some(kept) = self.kept.remove(id.into()) else { return };
        self.live_bytes -= u64::from(kept.record_bytes);
        self.cached_bytes -= kept.message.as_deref().map_or(0, cached_bytes);
        if let Some(log) = self.log.as_deref_mut() {
            log.release(kept.sequence, !self.progress.is_empty());
        }
    }

    /// The message, from memory or from the log.
    pub fn load(&self, body: &Body) -> Result<Arc<Message>, Damaged> {
        match body {
            Body::Held(message) => Ok(Arc::clone(message)),
            Body::Kept(id) => {
                let kept = self.kept.get((*id).into()).expect("what is named is kept");
                match &kept.message {
                    Some(message) => Ok(Arc::clone(message)),
                    None => Ok(self.read(kept.sequence)?.1),
                }
            }
            Body::Written => unreachable!("what is written for good is not asked for"),
        }
    }

    /// The message, unless it is in the log alone: for those who must not wait for a disk.
    pub fn in_memory<'a>(&'a self, body: &'a Body) -> Option<&'a Arc<Message>> {
        match body {
            Body::Held(message) => Some(message),
            Body::Kept(id) => self.kept.get((*id).into())?.message.as_ref(),
            Body::Written => None,
        }
    }

    /// The message at a place, and what its record says of it. It can be read once it is durable.
    pub fn read(&self, sequence: Sequence) -> Result<(MessageHead, Arc<Message>), Damaged> {
        let record = self.log.as_ref().and_then(|log| log.read(sequence));
        let decoded = record.and_then(|record| MessageHead::decode(record.payload));
        let (head, body) = decoded.ok_or(Damaged(sequence))?;
        let message = head.message(body);
        Ok((head, message))
    }

    /// Whether a message has outlived the broker already.
    pub fn is_kept_durably(&self, body: &Body) -> bool {
        match body {
            Body::Held(_) | Body::Written => true,
            Body::Kept(id) => {
                self.kept.get((*id).into()).is_none_or(|kept| self.is_durable(kept.sequence))
            }
        }
    }

    /// Where the message is.
    pub fn sequence_of(&self, body: &Body) -> Option<Sequence> {
        match body {
            Body::Held(_) | Body::Written => None,
            Body::Kept(id) => self.kept.get((*id).into()).map(|kept| kept.sequence),
        }
    }

    fn cache(&mut self, id: KeptId, message: Arc<Message>) {
        self.cached_bytes += cached_bytes(&message);
        if let Some(kept) = self.kept.get_mut(id.into()) {
            kept.message = Some(message);
        }
        self.cached.push_back(id);
        self.shrink_cache();
    }

    /// Lets go of the oldest messages that can be read from the log.
    fn shrink_cache(&mut self) {
        let Some(log) = self.log.as_deref() else { return };
        if self.cached.len() > 2 * self.kept.len() + 1024 {
            self.cached.retain(|id| self.kept.get((*id).into()).is_some());
        }
        while self.cached_bytes > Self::CACHED_BYTES_MAX
            && let Some(id) = self.cached.front()
        {
            if let Some(kept) = self.kept.get_mut((*id).into()) {
                if kept.sequence >= log.durable() {
                    return;
                }
                self.cached_bytes -= kept.message.take().as_deref().map_or(0, cached_bytes);
            }
            self.cached.pop_front();
        }
    }

    /// Notes how far a message has come; written with the others of this turn.
    pub fn progress(&mut self, queue: QueueNumber, ordinal: u64, step: Step) {
        if self.is_enabled() && queue != 0 {
            if self.progress.len() - self.progress_cuts.last().unwrap_or(&0) > NOTES_BYTES_MAX {
                self.progress_cuts.push(self.progress.len());
            }
            Progress { queue, ordinal, step }.encode(&mut self.progress);
        }
    }

    /// Lets `waiter` know when what was noted so far is durable.
    pub fn wait_for_progress(&mut self, waiter: Waiter) {
        self.progress_waiters.push(waiter);
    }

    /// Writes what was noted in this turn.
    pub fn flush(&mut self, now: Time) {
        let Some(log) = self.log.as_deref_mut() else { return };
        if self.progress.is_empty() {
            return;
        }
        self.progress_cuts.push(self.progress.len());
        let (mut begin, mut last) = (0, log.end());
        for end in self.progress_cuts.drain(..) {
            let notes = &self.progress[begin..end];
            let appended = log.append(now.as_micros(), PROGRESS, &[notes], Urgency::Needed);
            last = appended.expect("every segment has room for so few notes");
            begin = end;
        }
        self.progress.clear();
        for waiter in std::mem::take(&mut self.progress_waiters) {
            self.waiters.push_back((last, waiter));
        }
    }

    pub fn is_durable(&self, sequence: Sequence) -> bool {
        self.log.as_ref().is_none_or(|log| sequence < log.durable())
    }

    /// Lets `waiter` know when everything up to `sequence`, the latest appended, is durable.
    pub fn wait(&mut self, sequence: Sequence, waiter: Waiter) {
        // What is durable meanwhile is found by the loop that is settling those before it.
        let at = self.waiters.partition_point(|(other, _)| *other <= sequence);
        self.waiters.insert(at, (sequence, waiter));
    }

    /// The last change of state.
    pub fn last(&self) -> Option<Sequence> {
        self.last
    }

    /// A place before which everything is that was appended and is not durable, if anything is.
    pub fn undurable(&self) -> Option<Sequence> {
        let log = self.log.as_deref()?;
        (log.durable() < log.end()).then(|| Sequence(log.end().0 - 1))
    }

    /// What the driver is to do.
    pub fn poll(&mut self) -> Option<Order> {
        self.log.as_deref_mut()?.poll()
    }

    /// Everything before this place is durable.
    pub fn durable(&self) -> Option<Sequence> {
        self.log.as_ref().map(|log| log.durable())
    }

    /// Where the next record goes.
    pub fn end(&self) -> Option<Sequence> {
        self.log.as_ref().map(|log| log.end())
    }

    /// All of the log that is durable now; nothing without one.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.log.as_ref().map(|log| log.snapshot())
    }

    /// How large the log is.
    pub fn size(&self) -> LogSize {
        let Some(log) = self.log.as_deref() else { return LogSize::default() };
        LogSize {
            segments: log.segments() as u64,
            bytes: log.bytes(),
            live_bytes: self.live_bytes,
            messages: self.kept.len() as u64,
            is_full: log.is_full(),
            damages: self.damages,
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiters.len() + self.progress_waiters.len()
    }

    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    fn pop_durable(&mut self) -> Option<Waiter> {
        let (sequence, _) = self.waiters.front()?;
        if !self.is_durable(*sequence) {
            return None;
        }
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }
}

/// Bytes of notes in one record, but for the last note: less than the smallest segment holds.
const NOTES_BYTES_MAX: usize = 8 << 10;

/// What a message takes in memory: its bytes, its fields, and what the allocator adds.
fn cached_bytes(message: &Message) -> usize {
    message.bytes() + 160
}

/// Compaction: what is still of use in the oldest segment is written again at the end, so that
/// the segment can go.
impl Journal {
    /// Whether the log is mostly of no use. Where there is no room for more, less of no use is
    /// worth the writing.
    pub fn wants_compaction(&self) -> bool {
        let Some(log) = self.log.as_deref() else { return false };
        let useless = if log.is_full() { self.live_bytes / 4 } else { self.live_bytes };
        let bytes_max = self.live_bytes + useless + 2 * log.segment_bytes();
        log.segments() > 2 && log.record_bytes() > bytes_max
    }

    /// The segment size that records have to fit into.
    pub fn segment_bytes(&self) -> Option<u32> {
        self.log.as_deref().map(|log| log.segment_bytes() as u32)
    }

    /// Something in the oldest segment that may have to move.
    pub fn pop_oldest(&mut self) -> Option<(SegmentNumber, Item)> {
        let log = self.log.as_deref()?;
        let oldest = log.oldest()?;
        while let Some(mut first) = self.contents.first_entry() {
            let segment = *first.key();
            if segment > oldest {
                return None;
            }
            match first.get_mut().pop() {
                // Most are gone meanwhile.
                Some(Item::Message(id)) if self.kept.get(id.into()).is_none() => {}
                Some(item) if segment == oldest => return Some((segment, item)),
                Some(_) => {}
                None => {
                    first.remove();
                }
            }
        }
        None
    }

    /// Whether the record at `sequence` is in a segment.
    pub fn is_in(&self, sequence: Sequence, segment: SegmentNumber) -> bool {
        self.log.as_deref().is_some_and(|log| log.segment_of(sequence) == segment)
    }

    /// Whether two records are in one segment.
    pub fn share_segment(&self, one: Sequence, other: Sequence) -> bool {
        let log = self.log.as_deref();
        log.is_some_and(|log| log.segment_of(one) == log.segment_of(other))
    }

    /// Something that could not be moved yet.
    pub fn push_oldest(&mut self, segment: SegmentNumber, item: Item) {
        self.contents.entry(segment).or_default().push(item);
    }

    /// A kept message, if its record is in this segment.
    pub fn read_in(
        &self,
        id: KeptId,
        segment: SegmentNumber,
    ) -> Option<Result<(MessageHead, Arc<Message>), Damaged>> {
        let sequence = self.kept.get(id.into())?.sequence;
        self.is_in(sequence, segment).then(|| self.read(sequence))
    }

    /// Writes a kept message again with another head: that record counts from now on.
    pub fn rewrite(&mut self, now: Time, id: KeptId, head: &MessageHead, message: Arc<Message>) {
        let mut encoded = std::mem::take(&mut self.scratch);
        encoded.clear();
        head.encode(&mut encoded);
        let record_bytes = record_bytes(encoded.len() + message.bytes()) as u32;
        let Some(log) = self.log.as_deref_mut() else { return };
        let parts = [&encoded[..], message.body()];
        let appended = log.append(now.as_micros(), MESSAGE, &parts, Urgency::Needed);
        self.scratch = encoded;
        let Ok(moved_to) = appended else { return };
        let Some(kept) = self.kept.get_mut(id.into()) else { return };
        log.release(kept.sequence, !self.progress.is_empty());
        self.live_bytes = self.live_bytes - u64::from(kept.record_bytes) + u64::from(record_bytes);
        kept.record_bytes = record_bytes;
        kept.sequence = moved_to;
        // It cannot be read from its new place before that is written.
        if kept.message.is_none() {
            self.cache(id, message);
        }
        self.hold(moved_to, Item::Message(id));
    }
}

impl Shard {
    /// The driver has done what the log asked for.
    pub(super) fn handle_log(&mut self, now: Time, news: News) {
        let Some(log) = self.journal.log.as_deref_mut() else { return };
        log.handle(news);
        self.journal.shrink_cache();
        while let Some(waiter) = self.journal.pop_durable() {
            self.settle(now, waiter);
        }
        self.compact(now);
    }

    /// A message is lost to damage: the driver says where, and whether the broker goes on.
    #[cold]
    pub(super) fn found_damage(&mut self, Damaged(sequence): Damaged) {
        self.journal.damages += 1;
        self.outputs.push_back(Output::LogDamaged(sequence));
    }

    /// Lets the other shards know whether this one has room.
    pub(super) fn tell_full(&mut self) {
        self.told_full = self.journal.is_full();
        for to in self.others() {
            self.send(to, ShardMessage::LogFull { is_full: self.told_full });
        }
    }

    fn settle(&mut self, now: Time, waiter: Waiter) {
        match waiter {
            Waiter::Publish(ticket) => self.settle_publish(now, ticket),
            Waiter::Forward(to, ticket) => self.send(to, ShardMessage::Accepted { ticket }),
            Waiter::Subscribe(ticket) => self.settle_subscribe(now, ticket),
            Waiter::Output(id) => self.release_output(id),
            Waiter::Session(key) => {
                if let Some(seat) = self.sessions.get_mut(key) {
                    seat.waits_for_log = false;
                }
                self.pump(now, key);
            }
            Waiter::Acknowledge(id, packet_type, packet_id, reason) => {
                self.write_acknowledgement(id, packet_type, packet_id, reason);
            }
            Waiter::Spread(ticket) => self.spread_taken(ticket),
            Waiter::Lane(to, message) => self.send(to, *message),
            Waiter::Unsubscribe(id, filters, unsuback) => {
                self.finish_unsubscribe(now, id, filters, &unsuback);
            }
        }
    }

    /// CONNACK and what follows it may go out.
    fn release_output(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_held = false;
            // Until now it did not know that it was let in.
            connection.last_received = self.now;
            self.mark_dirty(id);
        }
    }

    /// Takes a step of compaction, bounded so that no turn is long.
    fn compact(&mut self, now: Time) {
        const ITEMS_MAX: usize = 64;
        if !self.journal.wants_compaction() {
            return;
        }
        for _ in 0..ITEMS_MAX {
            let Some((segment, item)) = self.journal.pop_oldest() else { return };
            match item {
                Item::Message(id) if self.is_spreading(id) => {
                    return self.journal.push_oldest(segment, item);
                }
                Item::Message(id) => self.move_message(now, id, segment),
                Item::Session(key) => self.move_session(now, key, segment),
                Item::Group(key) => self.move_group(now, key, segment),
                Item::Received(from) => self.move_received(now, from, segment),
            }
        }
    }
}

//! What the records of a shard's log say.
//!
//! A record is a [`Change`] of state, a message with everyone who is owed it, or how far messages
//! have come. Folding them in order gives the state back: see `image`.

use std::sync::Arc;

use bytes::Bytes;
use rkyv::rancor;

use super::effect::ShardId;
use crate::message::{Message, Publication, Stamp};
use crate::proto::{PacketId, QoS};
use crate::storage::{Kind, RecordRef, Sequence};
use crate::time::Time;

/// A [`Change`], as an rkyv archive.
pub const CHANGE: Kind = Kind(1);
/// A message; see [`MessageHead`].
pub const MESSAGE: Kind = Kind(2);
/// How far messages have come; see [`Progress`].
pub const PROGRESS: Kind = Kind(3);

/// The number of a session or shared group in its shard's log: never used twice there, 0 is none.
pub type QueueNumber = u64;

/// A change of what must outlive the broker.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Change {
    /// A session, as a whole. Replaces what was said of it before, but not what it is owed.
    Session(SessionState),
    /// Its client connected.
    Attach { session: QueueNumber, expiry_interval: u32, will: Option<WillState> },
    /// Its connection ended.
    Detach { session: QueueNumber, at_micros: u64, expiry_interval: u32, has_will: bool },
    /// Its will was published.
    WillPublished { session: QueueNumber },
    /// It is over, and so is all it was owed.
    SessionEnd { session: QueueNumber },
    /// A subscription was made or replaced.
    Subscribe { session: QueueNumber, subscription: SubscriptionState },
    /// A subscription ended.
    Unsubscribe { session: QueueNumber, filter: String },
    /// PUBREL: the client may use the identifier for another message.
    Release { session: QueueNumber, packet_id: u16 },
    /// A topic's retained message was cleared.
    Clear { topic: String, stamp: u64 },
    /// Every shard that a message was for has it.
    Spread { message: u64 },
    /// A shared group began to keep its messages.
    Group { group: QueueNumber, name: String, filter: String },
    /// Its last member left.
    GroupEnd { group: QueueNumber },
    /// All that shard `from` handed over of its log, up to this record, has come.
    Received { from: u8, through: u64 },
    /// A part of a session that is told as a whole.
    SessionPart(SessionPart),
    /// Which user its client has proved to be, or none. It stays with the session.
    User { session: QueueNumber, user: Option<String> },
}

/// What is kept of a session, beside its messages.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SessionState {
    pub number: QueueNumber,
    pub client_id: String,
    /// Seconds.
    pub expiry_interval: u32,
    /// Microseconds of 1970; absent while its client is connected.
    pub detached_at_micros: Option<u64>,
    pub will: Option<WillState>,
    pub last_ordinal: u64,
    /// Messages up to this one were sent at least once.
    pub sent_through: u64,
    pub subscriptions: Vec<SubscriptionState>,
    /// QoS 2 messages taken from the client and not released.
    pub taken: Vec<u16>,
    /// QoS 2 messages sent to it whose PUBREC has come, by ordinal.
    pub received: Vec<u64>,
    /// Which user its client has proved to be, or none; absent if that is not known. A record of its
    /// own tells it, as those of before have no place for it.
    #[rkyv(with = rkyv::with::Skip)]
    pub user: Option<Option<String>>,
}

/// What of a session would make its record too long: it comes before that, and counts once that is
/// there.
#[derive(Clone, Debug, Default, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SessionPart {
    pub session: QueueNumber,
    /// Parts before this one are of no use: their session did not follow.
    pub is_first: bool,
    pub subscriptions: Vec<SubscriptionState>,
    pub taken: Vec<u16>,
    pub received: Vec<u64>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct SubscriptionState {
    pub filter: String,
    /// The options byte of SUBSCRIBE.
    pub options: u8,
    /// 0 is none.
    pub id: u32,
}

/// A will.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct WillState {
    pub topic: String,
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    /// Seconds.
    pub message_expiry_interval: Option<u32>,
    /// Seconds.
    pub delay_interval: u32,
}

impl Change {
    /// As a record's payload.
    pub fn encode(&self) -> rkyv::util::AlignedVec {
        rkyv::to_bytes::<rancor::Error>(self).expect("memory is all that encoding needs")
    }

    /// What a record's payload says; nothing if it is none of ours.
    pub fn decode(payload: &[u8]) -> Option<Change> {
        // A record lies aligned in its file, but not in every buffer it is read into.
        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(payload.len());
        aligned.extend_from_slice(payload);
        rkyv::from_bytes::<Change, rancor::Error>(&aligned).ok()
    }
}

impl SessionState {
    /// The session as records of a log with segments of `segment_bytes` tell it: what its lists
    /// have too much of in parts, then the rest, and whose it is.
    pub fn into_changes(mut self, segment_bytes: u32) -> Vec<Change> {
        // Beside lists there is what came in a CONNECT, which half a segment has room for.
        let bytes_max = segment_bytes as usize / 256;
        let mut parts = Vec::new();
        for subscriptions in split(&mut self.subscriptions, bytes_max, SubscriptionState::bytes) {
            parts.push(SessionPart { subscriptions, ..SessionPart::default() });
        }
        for taken in split(&mut self.taken, bytes_max, |_| size_of::<u16>()) {
            parts.push(SessionPart { taken, ..SessionPart::default() });
        }
        for received in split(&mut self.received, bytes_max, |_| size_of::<u64>()) {
            parts.push(SessionPart { received, ..SessionPart::default() });
        }
        for (index, part) in parts.iter_mut().enumerate() {
            (part.session, part.is_first) = (self.number, index == 0);
        }
        let (session, user) = (self.number, self.user.take());
        let user = user.map(|user| Change::User { session, user });
        let parts = parts.into_iter().map(Change::SessionPart);
        parts.chain([Change::Session(self)]).chain(user).collect()
    }
}

impl SubscriptionState {
    /// About what it takes in a record.
    fn bytes(&self) -> usize {
        self.filter.len() + size_of::<ArchivedSubscriptionState>()
    }
}

/// Takes the beginning of a list in pieces of `bytes_max`, each of one item at least, and leaves
/// the last one.
fn split<T>(list: &mut Vec<T>, bytes_max: usize, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut pieces = Vec::new();
    let (mut piece, mut piece_bytes) = (Vec::new(), 0);
    for item in list.drain(..) {
        piece_bytes += bytes(&item);
        if piece_bytes > bytes_max && !piece.is_empty() {
            piece_bytes = bytes(&item);
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push(item);
    }
    *list = piece;
    pieces
}

/// Who is owed a message: a session or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub queue: QueueNumber,
    /// The message's ordinal in that queue.
    pub ordinal: u64,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Vec<u32>,
}

/// A QoS 2 message whose publisher may send it again: its session must know it, and every shard
/// in the set must get it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub session: QueueNumber,
    pub packet_id: PacketId,
    /// Bit set of the other shards that are to get it.
    pub remote: u64,
}

/// Everything a message's record says, but its body.
///
/// ```text
/// flags           u16   QoS in bits 0 and 1, then a bit for each part that is there
/// topic bytes     u16
/// property bytes  u32
/// targets         u32
/// [expires        u64]  [stamp u64]  [taken u64 u16 u64]  [origin u8 u64]
/// targets: queue, ordinal as varints; QoS, retain and whether there are identifiers in a byte;
///          their count and they as varints
/// body: topic, properties, payload
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHead {
    pub qos: QoS,
    pub retain: bool,
    /// Whether it is its topic's retained message.
    pub stored: bool,
    pub expires: Time,
    pub stamp: Stamp,
    pub taken: Option<Taken>,
    /// The record of the publisher's shard it was forwarded from, if that may forward it again.
    pub origin: Option<(ShardId, Sequence)>,
    pub targets: Vec<Target>,
    topic_bytes: u16,
    property_bytes: u32,
}

const RETAIN: u16 = 1 << 2;
const STORED: u16 = 1 << 3;
const EXPIRES: u16 = 1 << 4;
const STAMP: u16 = 1 << 5;
const TAKEN: u16 = 1 << 6;
const ORIGIN: u16 = 1 << 7;

const TARGET_RETAIN: u8 = 1 << 2;
const TARGET_IDS: u8 = 1 << 3;

impl MessageHead {
    /// Of a publication; the parts it does not know are empty.
    pub fn of(publication: &Publication<'_>) -> MessageHead {
        MessageHead {
            qos: publication.qos,
            retain: publication.retain,
            stored: false,
            expires: publication.expires,
            stamp: publication.stamp,
            taken: None,
            origin: None,
            targets: Vec::new(),
            topic_bytes: publication.topic.len() as u16,
            property_bytes: publication.properties.len() as u32,
        }
    }

    /// What comes before the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = self.qos as u16;
        let mut set = |is: bool, flag: u16| flags |= if is { flag } else { 0 };
        set(self.retain, RETAIN);
        set(self.stored, STORED);
        set(self.expires != Time::NEVER, EXPIRES);
        set(self.stamp != Stamp::NONE, STAMP);
        set(self.taken.is_some(), TAKEN);
        set(self.origin.is_some(), ORIGIN);
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.topic_bytes.to_le_bytes());
        out.extend_from_slice(&self.property_bytes.to_le_bytes());
        out.extend_from_slice(&(self.targets.len() as u32).to_le_bytes());
        if self.expires != Time::NEVER {
            out.extend_from_slice(&self.expires.as_micros().to_le_bytes());
        }
        if self.stamp != Stamp::NONE {
            out.extend_from_slice(&self.stamp.0.to_le_bytes());
        }
        if let Some(Taken { session, packet_id, remote }) = self.taken {
            out.extend_from_slice(&session.to_le_bytes());
            out.extend_from_slice(&packet_id.get().to_le_bytes());
            out.extend_from_slice(&remote.to_le_bytes());
        }
        if let Some((shard, sequence)) = self.origin {
            out.push(shard.0);
            out.extend_from_slice(&sequence.0.to_le_bytes());
        }
        for target in &self.targets {
            target.encode(out);
        }
    }

    /// Reads a record's payload; the rest is the body. Nothing if it is none of ours.
    pub fn decode(payload: &[u8]) -> Option<(MessageHead, &[u8])> {
        let mut reader = Reader(payload);
        let flags = u16::from_le_bytes(reader.array()?);
        let topic_bytes = u16::from_le_bytes(reader.array()?);
        let property_bytes = u32::from_le_bytes(reader.array()?);
        let targets = u32::from_le_bytes(reader.array()?);
        let mut head = MessageHead {
            qos: QoS::from_bits((flags & 3) as u8)?,
            retain: flags & RETAIN != 0,
            stored: flags & STORED != 0,
            expires: Time::NEVER,
            stamp: Stamp::NONE,
            taken: None,
            origin: None,
            targets: Vec::new(),
            topic_bytes,
            property_bytes,
        };
        if flags & EXPIRES != 0 {
            head.expires = Time::from_micros(u64::from_le_bytes(reader.array()?));
        }
        if flags & STAMP != 0 {
            head.stamp = Stamp(u64::from_le_bytes(reader.array()?));
        }
        if flags & TAKEN != 0 {
            head.taken = Some(Taken {
                session: u64::from_le_bytes(reader.array()?),
                packet_id: PacketId::new(u16::from_le_bytes(reader.array()?))?,
                remote: u64::from_le_bytes(reader.array()?),
            });
        }
        if flags & ORIGIN != 0 {
            let [shard] = reader.array()?;
            head.origin = Some((ShardId(shard), Sequence(u64::from_le_bytes(reader.array()?))));
        }
        for _ in 0..targets {
            head.targets.push(Target::decode(&mut reader)?);
        }
        let body = reader.0;
        let topic = body.get(..usize::from(topic_bytes))?;
        std::str::from_utf8(topic).ok()?;
        body.get(usize::from(topic_bytes) + property_bytes as usize..)?;
        Some((head, body))
    }

    /// The topic name within a body.
    pub fn topic<'a>(&self, body: &'a [u8]) -> &'a str {
        std::str::from_utf8(&body[..usize::from(self.topic_bytes)]).expect("checked by decode")
    }

    /// The message of a record.
    pub fn message(&self, body: &[u8]) -> Arc<Message> {
        Arc::new(Message::from_body(
            Bytes::copy_from_slice(body),
            (self.topic_bytes, self.property_bytes),
            self.qos,
            self.retain,
            self.expires,
            self.stamp,
        ))
    }
}

impl Target {
    fn encode(&self, out: &mut Vec<u8>) {
        write_varint(self.queue, out);
        write_varint(self.ordinal, out);
        let mut options = self.qos as u8;
        options |= if self.retain { TARGET_RETAIN } else { 0 };
        options |= if self.subscription_ids.is_empty() { 0 } else { TARGET_IDS };
        out.push(options);
        if !self.subscription_ids.is_empty() {
            write_varint(self.subscription_ids.len() as u64, out);
            for id in &self.subscription_ids {
                write_varint(u64::from(*id), out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Target> {
        let queue = reader.varint()?;
        let ordinal = reader.varint()?;
        let [options] = reader.array()?;
        let mut subscription_ids = Vec::new();
        if options & TARGET_IDS != 0 {
            for _ in 0..reader.varint()? {
                subscription_ids.push(u32::try_from(reader.varint()?).ok()?);
            }
        }
        let retain = options & TARGET_RETAIN != 0;
        Some(Target { queue, ordinal, qos: QoS::from_bits(options & 3)?, retain, subscription_ids })
    }
}

/// How far a message of a queue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub queue: QueueNumber,
    pub ordinal: u64,
    pub step: Step,
}

/// The steps of a message that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This one and all before it were sent, if they were not dropped.
    Sent = 1,
    /// Its PUBREC has come.
    Received = 2,
    /// It is acknowledged, dropped or expired.
    Done = 3,
}

impl Progress {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.step as u8);
        write_varint(self.queue, out);
        write_varint(self.ordinal, out);
    }

    /// Reads a record's payload, one step after the other; false if it is none of ours.
    #[must_use = "a record that cannot be read is damage"]
    pub fn decode_all(payload: &[u8], mut each: impl FnMut(Progress)) -> bool {
        let mut reader = Reader(payload);
        while !reader.0.is_empty() {
            let Some(progress) = Progress::decode(&mut reader) else { return false };
            each(progress);
        }
        true
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Progress> {
        let [step] = reader.array()?;
        let step = match step {
            1 => Step::Sent,
            2 => Step::Received,
            3 => Step::Done,
            _ => return None,
        };
        Some(Progress { step, queue: reader.varint()?, ordinal: reader.varint()? })
    }
}

/// What a record says, for people.
pub fn describe(record: &RecordRef<'_>) -> String {
    let said = match record.kind {
        CHANGE => Change::decode(record.payload).map(|change| format!("{change:?}")),
        MESSAGE => MessageHead::decode(record.payload).map(|(head, body)| {
            let message = head.message(body);
            format!("message on {:?}, {} bytes: {head:?}", message.topic(), message.payload().len())
        }),
        PROGRESS => {
            let mut steps = Vec::new();
            Progress::decode_all(record.payload, |progress| steps.push(progress))
                .then(|| format!("{steps:?}"))
        }
        _ => None,
    };
    said.unwrap_or_else(|| "nothing this version knows".to_owned())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// Seven bits a byte, the least first, the last one below 128: up to 28 bits also the variable byte
/// integer of MQTT.
pub fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the record before there were users in the log was.
    const SESSION_OF_BEFORE: &[u8] = b"w\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\
                ann\xff\xff\xff\xff\xff\x10\x0e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
                \0\0\0\0\0\0\0\0\x01\0\0\0gone/ann\xbc\xff\xff\xff\
                \0\0\0\0\xb4\xff\xff\xff\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
                \x10\x0e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
                \x8c\xff\xff\xff\0\0\0\0\x84\xff\xff\xff\0\0\0\0\x80\xff\xff\xff\0\0\0\0";

    #[test]
    fn a_session_of_a_log_without_users_is_read() {
        let Some(Change::Session(state)) = Change::decode(SESSION_OF_BEFORE) else {
            panic!("nothing this version knows");
        };
        assert_eq!((&*state.client_id, state.expiry_interval, &state.user), ("ann", 3600, &None));
        assert_eq!(state.will.as_ref().map(|will| &*will.topic), Some("gone/ann"));
        let user = Some(Some("ann".to_owned()));
        let changes = SessionState { user, ..state }.into_changes(1 << 20);
        assert_eq!(&*changes[0].encode(), SESSION_OF_BEFORE, "what is new is behind it");
        assert_eq!(changes.len(), 2);
    }
}

//! What a log says of its shard: the state of an earlier life, folded from its records.

use std::collections::BTreeMap;

use super::effect::ShardId;
use super::journal::Told;
use super::record::{
    CHANGE, Change, MESSAGE, MessageHead, PROGRESS, Progress, QueueNumber, SessionPart,
    SessionState, Step, SubscriptionState, Taken, Target,
};
use crate::message::Stamp;
use crate::proto::{QoS, SubscriptionFilter};
use crate::storage::{RecordRef, Sequence, record_bytes};

/// The state that a shard's log describes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Sessions, by number.
    pub sessions: BTreeMap<QueueNumber, SessionImage>,
    /// Shared groups that keep their messages, by number.
    pub groups: BTreeMap<QueueNumber, GroupImage>,
    /// Retained messages, by topic.
    pub retained: BTreeMap<String, RetainedImage>,
    /// QoS 2 messages that were perhaps not handed to every shard they were for.
    pub unspread: BTreeMap<Sequence, u64>,
    /// How far the messages have come that other shards hand over of their logs.
    pub received: BTreeMap<ShardId, ReceivedImage>,
    /// What is owed to sessions and groups that the log has not told of yet: compaction has told
    /// of them again further behind.
    untold: BTreeMap<QueueNumber, BTreeMap<u64, Owed>>,
    /// Sessions that were not told to their end: what was said of them before counts.
    parts: BTreeMap<QueueNumber, (Told, SessionPart)>,
    /// The greatest number of a session or group.
    pub last_number: QueueNumber,
    /// The greatest number of a message in a group; maybe more.
    pub last_group_number: u64,
    /// The latest stamp of a retained message.
    pub last_stamp: Stamp,
    /// When the last record was written, in microseconds of 1970.
    pub last_micros: u64,
}

/// A session of an earlier life.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionImage {
    /// Where it is told as a whole.
    pub told: Told,
    /// All but its subscriptions; see [`SessionImage::state`].
    rest: SessionState,
    subscriptions: Subscriptions,
    /// What it is owed, by ordinal.
    pub queue: BTreeMap<u64, Owed>,
}

/// A session's subscriptions, by filter.
type Subscriptions = BTreeMap<String, Made>;

/// A subscription, and where the log says that it was made: in which record, at which place in it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Made {
    at: (Sequence, usize),
    options: u8,
    id: u32,
}

impl SessionImage {
    /// Who it is, and all but its subscriptions.
    pub fn rest(&self) -> &SessionState {
        &self.rest
    }

    /// The session, with its subscriptions in the order in which they were made.
    pub fn state(&self) -> SessionState {
        let mut made: Vec<_> = self.subscriptions.iter().collect();
        made.sort_unstable_by_key(|(_, made)| made.at);
        let subscriptions = made.into_iter().map(|(filter, made)| SubscriptionState {
            filter: filter.clone(),
            options: made.options,
            id: made.id,
        });
        SessionState { subscriptions: subscriptions.collect(), ..self.rest.clone() }
    }

    /// Options and identifier of each subscription, shared ones apart, that a topic matches, in the
    /// order in which they were made.
    pub fn subscriptions_to(&self, topic: &str) -> Vec<(u8, u32)> {
        let matching = self.subscriptions.iter().filter(|(filter, _)| {
            matches!(
                SubscriptionFilter::parse(filter),
                Ok(SubscriptionFilter::Plain(filter)) if filter.matches(topic)
            )
        });
        let mut matching: Vec<_> = matching.map(|(_, made)| *made).collect();
        matching.sort_unstable_by_key(|made| made.at);
        matching.into_iter().map(|made| (made.options, made.id)).collect()
    }

    /// The ordinal of one more message that it is owed.
    pub fn next_ordinal(&mut self) -> u64 {
        self.rest.last_ordinal += 1;
        self.rest.last_ordinal
    }

    fn subscribe(&mut self, at: (Sequence, usize), subscription: SubscriptionState) {
        let SubscriptionState { filter, options, id } = subscription;
        self.subscriptions.insert(filter, Made { at, options, id });
    }
}

/// A shared group of an earlier life.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupImage {
    /// Where it is told of.
    pub told: Told,
    /// `$share/{group}/{filter}`.
    pub name: String,
    /// The filter within.
    pub filter: String,
    /// What no member has completed, by number.
    pub queue: BTreeMap<u64, Owed>,
}

/// A message that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its record.
    pub message: MessagePlace,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Vec<u32>,
}

/// Where a message is, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessagePlace {
    pub sequence: Sequence,
    /// Of its record.
    pub record_bytes: u32,
    /// Of topic, properties and payload.
    pub bytes: u32,
}

/// A retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedImage {
    pub message: MessagePlace,
    pub stamp: Stamp,
}

/// How far the messages of another shard's log have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedImage {
    /// Up to this record of it.
    pub through: Sequence,
    /// Where this shard's log tells so.
    pub told_at: Sequence,
}

/// A record that is whole and yet none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRecord(pub Sequence);

impl std::fmt::Display for UnknownRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the record at {} is whole but says nothing this version knows", self.0.0)
    }
}

impl std::error::Error for UnknownRecord {}

impl Image {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.groups.is_empty() && self.retained.is_empty()
    }

    /// Whether somebody is owed something whom no record tells of: each is told of again before the
    /// segment goes that told of it.
    pub fn is_headless(&self) -> bool {
        self.untold.values().any(|owed| !owed.is_empty())
    }

    /// Whether a message of another shard's log has come.
    pub fn has_received(&self, (from, sequence): (ShardId, Sequence)) -> bool {
        self.received.get(&from).is_some_and(|received| received.through >= sequence)
    }

    /// Folds the next record in.
    pub fn fold(&mut self, record: &RecordRef<'_>) -> Result<(), UnknownRecord> {
        self.last_micros = self.last_micros.max(record.time_micros);
        let known = match record.kind {
            CHANGE => match Change::decode(record.payload) {
                Some(change) => {
                    self.fold_change(Told::by(record), change);
                    true
                }
                None => false,
            },
            MESSAGE => self.fold_message(record).is_some(),
            PROGRESS => {
                Progress::decode_all(record.payload, |progress| self.fold_progress(progress))
            }
            _ => false,
        };
        if known { Ok(()) } else { Err(UnknownRecord(record.sequence)) }
    }

    fn fold_change(&mut self, told: Told, change: Change) {
        match change {
            Change::SessionPart(part) => self.fold_part(told, part),
            Change::Session(state) => self.fold_session(told, state),
            Change::User { session, user } => {
                if let Some(state) = self.state_mut(session) {
                    state.user = Some(user);
                }
            }
            Change::Attach { session, expiry_interval, will } => {
                if let Some(state) = self.state_mut(session) {
                    state.expiry_interval = expiry_interval;
                    state.will = will;
                    state.detached_at_micros = None;
                }
            }
            Change::Detach { session, at_micros, expiry_interval, has_will } => {
                if let Some(state) = self.state_mut(session) {
                    state.expiry_interval = expiry_interval;
                    state.detached_at_micros = Some(at_micros);
                    state.will = state.will.take().filter(|_| has_will);
                }
            }
            Change::WillPublished { session } => {
                if let Some(state) = self.state_mut(session) {
                    state.will = None;
                }
            }
            Change::SessionEnd { session } => {
                self.sessions.remove(&session);
                self.untold.remove(&session);
                self.parts.remove(&session);
            }
            Change::Subscribe { session, subscription } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.subscribe((told.at, 0), subscription);
                }
            }
            Change::Unsubscribe { session, filter } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.subscriptions.remove(&filter);
                }
            }
            Change::Release { session, packet_id } => {
                if let Some(state) = self.state_mut(session) {
                    state.taken.retain(|other| *other != packet_id);
                }
            }
            Change::Clear { topic, stamp } => {
                self.last_stamp = self.last_stamp.max(Stamp(stamp));
                if self.retained.get(&topic).is_some_and(|kept| kept.stamp <= Stamp(stamp)) {
                    self.retained.remove(&topic);
                }
            }
            Change::Spread { message } => {
                self.unspread.remove(&Sequence(message));
            }
            Change::Group { group, name, filter } => self.fold_group(told, group, name, filter),
            Change::GroupEnd { group } => {
                self.groups.remove(&group);
                self.untold.remove(&group);
            }
            Change::Received { from, through } => {
                self.fold_received(told.at, ShardId(from), Sequence(through));
            }
        }
    }

    fn state_mut(&mut self, session: QueueNumber) -> Option<&mut SessionState> {
        self.sessions.get_mut(&session).map(|session| &mut session.rest)
    }

    fn fold_part(&mut self, told: Told, mut part: SessionPart) {
        self.last_number = self.last_number.max(part.session);
        match self.parts.get_mut(&part.session).filter(|_| !part.is_first) {
            Some((whole, before)) => {
                whole.bytes += told.bytes;
                before.subscriptions.append(&mut part.subscriptions);
                before.taken.append(&mut part.taken);
                before.received.append(&mut part.received);
            }
            None => {
                self.parts.insert(part.session, (told, part));
            }
        }
    }

    fn fold_session(&mut self, mut told: Told, mut state: SessionState) {
        let number = state.number;
        self.last_number = self.last_number.max(number);
        if let Some((before, part)) = self.parts.remove(&number) {
            told = Told { at: before.at, bytes: before.bytes + told.bytes };
            state.subscriptions.splice(..0, part.subscriptions);
            state.taken.splice(..0, part.taken);
            state.received.splice(..0, part.received);
        }
        let earlier = self.sessions.remove(&number).map(|earlier| {
            state.user = earlier.rest.user;
            earlier.queue
        });
        let queue = earlier.or_else(|| self.untold.remove(&number)).unwrap_or_default();
        let subscriptions = std::mem::take(&mut state.subscriptions);
        let rest = state;
        let mut session = SessionImage { told, rest, subscriptions: Subscriptions::new(), queue };
        for (index, subscription) in subscriptions.into_iter().enumerate() {
            session.subscribe((told.at, index), subscription);
        }
        self.sessions.insert(number, session);
    }

    fn fold_group(&mut self, told: Told, group: QueueNumber, name: String, filter: String) {
        self.last_number = self.last_number.max(group);
        let earlier = self.groups.remove(&group).map(|earlier| earlier.queue);
        let queue = earlier.or_else(|| self.untold.remove(&group)).unwrap_or_default();
        self.groups.insert(group, GroupImage { told, name, filter, queue });
    }

    fn fold_message(&mut self, record: &RecordRef<'_>) -> Option<()> {
        let (head, body) = MessageHead::decode(record.payload)?;
        let message = MessagePlace {
            sequence: record.sequence,
            record_bytes: record_bytes(record.payload.len()) as u32,
            bytes: body.len() as u32,
        };
        self.last_stamp = self.last_stamp.max(head.stamp);
        if head.stored {
            let topic = head.topic(body);
            let is_newer = self.retained.get(topic).is_none_or(|kept| kept.stamp <= head.stamp);
            if is_newer {
                self.retained.insert(topic.into(), RetainedImage { message, stamp: head.stamp });
            }
        }
        if let Some((from, through)) = head.origin {
            self.fold_received(record.sequence, from, through);
        }
        if let Some(taken) = head.taken {
            self.fold_taken(record.sequence, taken);
        }
        for target in head.targets {
            self.fold_target(message, target);
        }
        Some(())
    }

    /// A shard hands over in the order of its log: the last one tells of all before it.
    fn fold_received(&mut self, told_at: Sequence, from: ShardId, through: Sequence) {
        let received = ReceivedImage { through, told_at };
        let known = self.received.entry(from).or_insert(received);
        if known.through <= through {
            *known = received;
        }
    }

    fn fold_taken(&mut self, at: Sequence, taken: Taken) {
        if taken.remote != 0 {
            self.unspread.insert(at, taken.remote);
        }
        if let Some(state) = self.state_mut(taken.session) {
            let packet_id = taken.packet_id.get();
            if !state.taken.contains(&packet_id) {
                state.taken.push(packet_id);
            }
        }
    }

    fn fold_target(&mut self, message: MessagePlace, target: Target) {
        let Target { queue, ordinal, qos, retain, subscription_ids } = target;
        let owed = Owed { message, qos, retain, subscription_ids };
        if let Some(session) = self.sessions.get_mut(&queue) {
            session.rest.last_ordinal = session.rest.last_ordinal.max(ordinal);
            session.queue.insert(ordinal, owed);
            return;
        }
        // Of a group, or of what is told of further behind.
        self.last_group_number = self.last_group_number.max(ordinal);
        if let Some(group) = self.groups.get_mut(&queue) {
            group.queue.insert(ordinal, owed);
        } else {
            self.untold.entry(queue).or_default().insert(ordinal, owed);
        }
    }

    fn fold_progress(&mut self, Progress { queue, ordinal, step }: Progress) {
        if let Some(SessionImage { rest: state, queue, .. }) = self.sessions.get_mut(&queue) {
            match step {
                Step::Sent => state.sent_through = state.sent_through.max(ordinal),
                Step::Received => {
                    queue.remove(&ordinal);
                    if !state.received.contains(&ordinal) {
                        state.received.push(ordinal);
                    }
                }
                Step::Done => {
                    queue.remove(&ordinal);
                    state.received.retain(|other| *other != ordinal);
                }
            }
        } else if let Some(group) = self.groups.get_mut(&queue)
            && step == Step::Done
        {
            group.queue.remove(&ordinal);
        } else if let Some(untold) = self.untold.get_mut(&queue)
            && step != Step::Sent
        {
            untold.remove(&ordinal);
        }
    }
}

impl SessionState {
    /// A session that has said nothing yet.
    pub fn new(number: QueueNumber, client_id: &str, expiry_interval: u32) -> SessionState {
        SessionState {
            number,
            client_id: client_id.to_owned(),
            expiry_interval,
            detached_at_micros: None,
            will: None,
            last_ordinal: 0,
            sent_through: 0,
            subscriptions: Vec::<SubscriptionState>::new(),
            taken: Vec::new(),
            received: Vec::new(),
            user: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, Publication};

    /// A session with lists that need many parts.
    fn large_session(last_ordinal: u64) -> SessionState {
        let subscriptions = (0..100).map(|n| SubscriptionState {
            filter: format!("{n}/{}", "x".repeat(1000)),
            options: 1,
            id: n,
        });
        SessionState {
            last_ordinal,
            subscriptions: subscriptions.collect(),
            taken: (1..=30_000).collect(),
            received: (1..=10_000).collect(),
            ..SessionState::new(7, "large", 60)
        }
    }

    fn fold(image: &mut Image, at: u64, change: &Change) {
        let payload = change.encode();
        let record =
            RecordRef { sequence: Sequence(at), kind: CHANGE, time_micros: 0, payload: &payload };
        image.fold(&record).expect("it is ours");
    }

    #[test]
    fn a_session_told_in_parts_is_what_it_was_until_the_last_one_is_there() {
        const SEGMENT_BYTES: u32 = 64 << 10;
        let small = SessionState::new(7, "large", 60);
        let changes = large_session(5).into_changes(SEGMENT_BYTES);
        let bytes: Vec<usize> = changes.iter().map(|change| change.encode().len()).collect();
        assert!(bytes.iter().all(|bytes| *bytes < 2048), "{bytes:?}");
        for cut in 0..changes.len() {
            let mut image = Image::default();
            fold(&mut image, 1, &Change::Session(small.clone()));
            // The broker crashed in the midst of it, and went on.
            for (at, change) in (10..).zip(&changes[..cut]) {
                fold(&mut image, at, change);
            }
            assert_eq!(image.sessions[&7].state(), small, "cut at {cut}");
            for (at, change) in (1000..).zip(large_session(6).into_changes(SEGMENT_BYTES)) {
                fold(&mut image, at, &change);
            }
            let session = &image.sessions[&7];
            assert_eq!(session.state(), large_session(6), "cut at {cut}");
            assert_eq!(session.told.at, Sequence(1000), "all of it is of use");
            assert!(session.told.bytes > bytes.iter().sum::<usize>() as u64);
        }
    }

    /// Were it quadratic, this would take minutes.
    #[test]
    fn a_hundred_thousand_subscriptions_are_folded_in_the_order_in_which_they_were_made() {
        const COUNT: u32 = 100_000;
        let subscription = |n: u32, id| SubscriptionState {
            filter: format!("device/{n:06}/state/value"),
            options: 1,
            id,
        };
        let mut image = Image::default();
        fold(&mut image, 1, &Change::Session(SessionState::new(7, "many", 60)));
        let mut at = 1;
        let mut say = |change| {
            at += 1;
            fold(&mut image, at, &change);
        };
        for id in 0..2 {
            for n in (0..COUNT).rev() {
                say(Change::Subscribe { session: 7, subscription: subscription(n, id) });
            }
        }
        // One ends, and one is made anew.
        say(Change::Unsubscribe { session: 7, filter: subscription(5, 1).filter });
        say(Change::Subscribe { session: 7, subscription: subscription(9, 2) });
        let subscriptions = image.sessions[&7].state().subscriptions;
        let mut expected: Vec<_> = (0..COUNT).rev().map(|n| subscription(n, 1)).collect();
        expected.retain(|other| ![subscription(5, 1), subscription(9, 1)].contains(other));
        expected.push(subscription(9, 2));
        assert!(subscriptions == expected, "{} subscriptions", subscriptions.len());
    }

    #[test]
    fn a_session_of_a_version_without_parts_is_read() {
        let hex = "627965000000000000000000000000000100000000000000616e6effffffffffa086010000000000\
                   0000000000000000000000000000000001000000676f6e65ffffffffbcffffff00000000b4ffffff\
                   03000000010000000000000000000000000000000000000000000000000000000000000000000000\
                   8cffffff0000000084ffffff0000000080ffffff00000000";
        let bytes = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        });
        let Some(Change::Session(state)) = Change::decode(&bytes.collect::<Vec<_>>()) else {
            panic!("it is a session");
        };
        assert_eq!((state.number, state.client_id.as_str()), (1, "ann"));
        assert_eq!(state.will.expect("it left one").payload, b"bye");
    }

    #[test]
    fn what_another_shard_handed_over_is_known_beyond_the_message() {
        let message = Message::from_parts("t", b"", b"", QoS::ExactlyOnce, false);
        let mut head = MessageHead::of(&Publication::of(&message.into()));
        head.origin = Some((ShardId(3), Sequence(500)));
        let mut payload = Vec::new();
        head.encode(&mut payload);
        payload.push(b't');
        let told_again = Change::Received { from: 3, through: 700 }.encode();
        let mut image = Image::default();
        let mut fold = |at, kind, payload: &[u8]| {
            let record = RecordRef { sequence: Sequence(at), kind, time_micros: 0, payload };
            image.fold(&record).expect("it is ours");
        };
        fold(1, CHANGE, &told_again);
        fold(2, MESSAGE, &payload);
        // The earlier one, written again by compaction, takes nothing back.
        assert!(image.has_received((ShardId(3), Sequence(700))));
        assert!(!image.has_received((ShardId(3), Sequence(701))));
        assert!(!image.has_received((ShardId(2), Sequence(1))));
        assert_eq!(image.received[&ShardId(3)].told_at, Sequence(1));
    }

    #[test]
    fn the_numbers_of_a_groups_messages_are_known_beyond_the_messages() {
        let message = Message::from_parts("t", b"", b"", QoS::AtLeastOnce, false);
        let mut head = MessageHead::of(&Publication::of(&message.into()));
        let (qos, retain, subscription_ids) = (QoS::AtLeastOnce, false, Vec::new());
        head.targets.push(Target { queue: 1, ordinal: 7, qos, retain, subscription_ids });
        let (mut payload, mut notes) = (Vec::new(), Vec::new());
        head.encode(&mut payload);
        payload.push(b't');
        Progress { queue: 1, ordinal: 7, step: Step::Done }.encode(&mut notes);
        let (name, filter) = ("$share/g/t".to_owned(), "t".to_owned());
        let group = Change::Group { group: 1, name, filter }.encode();
        let mut image = Image::default();
        let records = [(CHANGE, &group[..]), (MESSAGE, &payload), (PROGRESS, &notes)];
        for (at, (kind, payload)) in (1..).zip(records) {
            let record = RecordRef { sequence: Sequence(at), kind, time_micros: 0, payload };
            image.fold(&record).expect("it is ours");
        }
        assert!(image.groups[&1].queue.is_empty());
        assert_eq!(image.last_group_number, 7);
    }
}

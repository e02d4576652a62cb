//! Retained messages: kept on the topic's shard, read by new subscriptions of every shard.
//!
//! A subscription reads them in three steps, so that a client never sees an older retained
//! message after a newer live one, and never misses the newest:
//!
//! 1. its interest is in place everywhere (see `interest`): live messages arrive from now on;
//! 2. `RetainedFind` asks the topic's shard, or for a wildcard every shard; meanwhile the
//!    stamps of live retained messages delivered to the session are noted. A shard that is asked
//!    first lets every other shard `Settle`: a message routed before the interest was in place,
//!    or before the subscription was, may have passed the asker and not have arrived here;
//! 3. if anything was found, `Flush` asks every shard to answer behind what it has sent: then
//!    everything older than what was found has arrived. What was found and is newer than the
//!    noted stamp of its topic is delivered.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::announce::is_own;
use super::arena::Arena;
use super::effect::ShardId;
use super::limit::Limit;
use super::record::Change;
use super::spread::DELIVERY_BYTES;
use super::timers::Timer;
use super::witness::Why;
use super::{Key, Shard, ShardMessage};
use crate::message::{Message, Publication, Stamp};
use crate::proto::TopicFilter;
use crate::router::RetainedStore;
use crate::session::{Body, KeptId};
use crate::storage::Sequence;
use crate::time::Time;

/// This shard's retained messages.
#[derive(Debug)]
pub struct Retention {
    pub(super) store: RetainedStore<Retained>,
    bytes: u64,
    /// Those that the broker says of itself, which neither limits nor `bytes` count.
    own: usize,
    /// Those that expire, soonest first.
    expiring: BTreeSet<Expiring>,
    /// The deadline in the timers that counts for them.
    pub(super) armed_for: Time,
    cleared: Cleared,
    /// Questions that are answered when the round in progress is over.
    asked: Vec<Question>,
    /// Questions that came too late for it: one round serves all that wait for it.
    asked_later: Vec<Question>,
    /// Shards that have not settled in this round.
    unsettled: usize,
}

/// A topic's retained message.
#[derive(Debug)]
pub struct Retained {
    pub message: Arc<Message>,
    /// Its record in the log.
    pub kept: Option<KeptId>,
}

/// What becomes of a message that was published to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainedVerdict {
    /// It is not to be retained here, or older than what is.
    Ignore,
    /// It is its topic's retained message from now on.
    Keep,
    /// Its topic has none from now on.
    Clear,
    /// There is no room for it.
    Refuse,
}

/// Another shard's [`ShardMessage::RetainedFind`].
#[derive(Debug)]
struct Question {
    from: ShardId,
    ticket: Key,
    filter: Arc<str>,
}

/// Topics that were cleared a short while ago, and by which publication: an older message for one
/// of them may still be on its way from another shard, and must not rise again.
///
/// A topic is known by its hash: topics can be long, and all that two of one hash would have in
/// common is that an older message for the one is not retained, either.
#[derive(Debug)]
struct Cleared {
    hasher: ahash::RandomState,
    /// By topic; and when, for `oldest_first` has an entry for every time a topic was cleared.
    last: HashMap<u64, (Stamp, Time), ahash::RandomState>,
    oldest_first: VecDeque<(Time, u64)>,
}

/// A message that expires, in the order in which they do.
#[derive(Debug)]
struct Expiring(Arc<Message>);

impl Expiring {
    fn of(message: &Arc<Message>) -> Option<Expiring> {
        (message.expires != Time::NEVER).then(|| Expiring(Arc::clone(message)))
    }
}

impl Ord for Expiring {
    fn cmp(&self, other: &Expiring) -> Ordering {
        (self.0.expires, self.0.topic()).cmp(&(other.0.expires, other.0.topic()))
    }
}

impl PartialOrd for Expiring {
    fn partial_cmp(&self, other: &Expiring) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Expiring {
    fn eq(&self, other: &Expiring) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Expiring {}

/// Subscriptions that are reading retained messages of other shards.
#[derive(Debug)]
pub struct RetainedReads {
    reads: Arena<Read>,
    /// Every read behind its session.
    by_session: BTreeSet<(Key, Key)>,
}

#[derive(Debug)]
struct Read {
    session: Key,
    /// The SUBSCRIBE that asked for it.
    subscribe: Key,
    filter: Arc<str>,
    /// Answers that are still to come in this step.
    missing: usize,
    flushing: bool,
    found: Vec<Arc<Message>>,
    /// Latest stamp of a live message delivered meanwhile, by topic.
    live: HashMap<Box<str>, Stamp, ahash::RandomState>,
}

impl Retention {
    pub fn new(hash_keys: [u64; 4]) -> Retention {
        let [a, b, c, d] = hash_keys;
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let last = HashMap::with_hasher(hasher.clone());
        let cleared = Cleared { hasher, last, oldest_first: VecDeque::new() };
        Retention {
            store: RetainedStore::new(hash_keys),
            bytes: 0,
            own: 0,
            expiring: BTreeSet::new(),
            armed_for: Time::NEVER,
            cleared,
            asked: Vec::new(),
            asked_later: Vec::new(),
            unsettled: 0,
        }
    }

    /// Those of clients.
    pub fn len(&self) -> usize {
        self.store.len() - self.own
    }

    /// Of these together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Questions of other shards that were not answered yet.
    pub fn questions(&self) -> usize {
        self.asked.len() + self.asked_later.len()
    }

    /// The latest publication that is known to have set or cleared the topic.
    fn last_stamp(&self, topic: &str) -> Stamp {
        let kept = self.store.get(topic).map_or(Stamp::NONE, |retained| retained.message.stamp);
        kept.max(self.cleared.stamp(topic))
    }

    fn remove(&mut self, topic: &str) -> Option<Retained> {
        let removed = self.store.remove(topic)?;
        self.forget_expiry(&removed.message);
        match is_own(topic) {
            true => self.own -= 1,
            false => self.bytes -= removed.message.bytes() as u64,
        }
        Some(removed)
    }

    fn insert(&mut self, retained: Retained) -> Option<Retained> {
        let message = Arc::clone(&retained.message);
        let is_own = is_own(message.topic());
        let earlier = self.store.insert(message.topic(), retained);
        if let Some(earlier) = &earlier {
            self.forget_expiry(&earlier.message);
        }
        self.expiring.extend(Expiring::of(&message));
        if is_own {
            self.own += usize::from(earlier.is_none());
        } else {
            self.bytes += message.bytes() as u64;
            self.bytes -= earlier.as_ref().map_or(0, |earlier| earlier.message.bytes() as u64);
        }
        earlier
    }

    fn forget_expiry(&mut self, message: &Arc<Message>) {
        if let Some(expiring) = Expiring::of(message) {
            self.expiring.remove(&expiring);
        }
    }

    /// One that has expired.
    fn expired(&self, now: Time) -> Option<Arc<Message>> {
        let Expiring(message) = self.expiring.first()?;
        (message.expires <= now).then(|| Arc::clone(message))
    }

    /// Messages that match and are still of use.
    fn find(&self, now: Time, filter: &str) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        self.store.for_each_match(filter, |Retained { message, .. }| {
            if message.expires > now {
                found.push(Arc::clone(message));
            }
        });
        found
    }
}

impl Cleared {
    /// How long a message may need from one shard to another, with much to spare.
    const KEPT: Duration = Duration::from_secs(30);
    /// More than a shard clears in that time, unless somebody means harm.
    const TOPICS_MAX: usize = 1 << 16;

    fn stamp(&self, topic: &str) -> Stamp {
        self.last.get(&self.hasher.hash_one(topic)).map_or(Stamp::NONE, |(stamp, _)| *stamp)
    }

    fn insert(&mut self, now: Time, topic: &str, stamp: Stamp) {
        while let Some((at, _)) = self.oldest_first.front()
            && (now.since(*at) > Self::KEPT || self.oldest_first.len() >= Self::TOPICS_MAX)
        {
            let Some((at, topic)) = self.oldest_first.pop_front() else { break };
            if self.last.get(&topic).is_some_and(|(_, last)| *last == at) {
                self.last.remove(&topic);
            }
        }
        let topic = self.hasher.hash_one(topic);
        self.last.insert(topic, (stamp, now));
        self.oldest_first.push_back((now, topic));
    }
}

impl RetainedReads {
    pub fn new() -> RetainedReads {
        RetainedReads { reads: Arena::new(), by_session: BTreeSet::new() }
    }

    pub fn len(&self) -> usize {
        self.reads.len()
    }

    /// A live retained message was delivered to a session.
    pub fn see_live(&mut self, session: Key, publication: &Publication<'_>) {
        if self.by_session.is_empty() {
            return;
        }
        let of_session = (session, Key::FIRST)..=(session, Key::LAST);
        for (_, ticket) in self.by_session.range(of_session) {
            if let Some(read) = self.reads.get_mut(*ticket) {
                match read.live.get_mut(publication.topic) {
                    Some(stamp) => *stamp = publication.stamp.max(*stamp),
                    None => {
                        read.live.insert(publication.topic.into(), publication.stamp);
                    }
                }
            }
        }
    }

    fn start(&mut self, read: Read) -> Key {
        let session = read.session;
        let ticket = self.reads.insert(read);
        self.by_session.insert((session, ticket));
        ticket
    }

    fn finish(&mut self, ticket: Key) -> Option<Read> {
        let read = self.reads.remove(ticket)?;
        self.by_session.remove(&(read.session, ticket));
        Some(read)
    }
}

impl Shard {
    /// What becomes of a message that was published to be retained.
    pub(super) fn judge_retained(&mut self, publication: &Publication<'_>) -> RetainedVerdict {
        self.see_stamp(publication.stamp);
        if self.retention.last_stamp(publication.topic) > publication.stamp {
            return RetainedVerdict::Ignore;
        }
        if publication.payload.is_empty() {
            return RetainedVerdict::Clear;
        }
        if is_own(publication.topic) {
            return RetainedVerdict::Keep;
        }
        let is_new = self.retention.store.get(publication.topic).is_none();
        let mqtt = &self.policy.mqtt;
        let messages_max = (mqtt.retained_messages_max as usize).div_ceil(self.count);
        let bytes_max = mqtt.retained_bytes_max.div_ceil(self.count as u64);
        if is_new && self.retention.len() >= messages_max
            || self.retention.bytes + publication.bytes() as u64 > bytes_max
        {
            return RetainedVerdict::Refuse;
        }
        RetainedVerdict::Keep
    }

    /// Keeps a message as its topic's retained one, or forgets that if it is empty; `kept` is its
    /// record. What waits for the change to be durable waits for the sequence returned.
    /// [MQTT-3.3.1-5, -6, -7]
    pub(super) fn store_retained(
        &mut self,
        now: Time,
        publication: &Publication<'_>,
        verdict: RetainedVerdict,
        kept: Option<KeptId>,
    ) -> Option<Sequence> {
        let topic = publication.topic;
        match verdict {
            RetainedVerdict::Ignore => None,
            RetainedVerdict::Keep => {
                let message = Arc::clone(publication.keep());
                self.insert_retained(Retained { message, kept });
                None
            }
            RetainedVerdict::Clear => self.clear_retained(now, topic, publication.stamp),
            // The topic's earlier message is not the last one any more.
            RetainedVerdict::Refuse => {
                self.metrics.retained_refused_total += 1;
                self.lose_all(None, publication.into(), Why::NotRetained, None);
                self.reached(Limit::Retained, format_args!("messages are not retained: {topic}"));
                self.remove_retained(now, topic, publication.stamp)
            }
        }
    }

    pub(super) fn insert_retained(&mut self, retained: Retained) {
        if let Some(Some(earlier)) = self.retention.insert(retained).map(|earlier| earlier.kept) {
            self.journal.release(&Body::Kept(earlier));
        }
        self.arm_expiry();
    }

    /// No deadline is armed for a message that is not the first to expire.
    fn arm_expiry(&mut self) {
        let first = self.retention.expiring.first();
        let first = first.map_or(Time::NEVER, |first| first.0.expires);
        if first < self.retention.armed_for {
            self.retention.armed_for = first;
            self.arm(first, Timer::Retained);
        }
    }

    /// Forgets messages that have expired, so that they make room.
    pub(super) fn expire_retained(&mut self, now: Time) {
        // Those that are left have their turn with the next deadline, which has come already.
        const EXPIRED_PER_STEP: usize = 32;
        self.retention.armed_for = Time::NEVER;
        for _ in 0..EXPIRED_PER_STEP {
            let Some(message) = self.retention.expired(now) else { break };
            self.clear_retained(now, message.topic(), message.stamp);
        }
        self.arm_expiry();
    }

    fn clear_retained(&mut self, now: Time, topic: &str, stamp: Stamp) -> Option<Sequence> {
        if self.count > 1 {
            self.retention.cleared.insert(now, topic, stamp);
        }
        self.remove_retained(now, topic, stamp)
    }

    fn remove_retained(&mut self, now: Time, topic: &str, stamp: Stamp) -> Option<Sequence> {
        let Some(removed) = self.retention.remove(topic) else {
            // That it went earlier may not be durable.
            return self.journal.undurable();
        };
        let clear = Change::Clear { topic: topic.into(), stamp: stamp.0 };
        let appended = self.journal.append(now, &clear);
        if let Some(kept) = removed.kept {
            self.journal.release(&Body::Kept(kept));
        }
        appended
    }

    /// The stamps of what is retained and kept, by topic.
    #[cfg(feature = "sim")]
    pub(super) fn retained_stamps(&self) -> std::collections::BTreeMap<&str, Stamp> {
        let mut stamps = std::collections::BTreeMap::new();
        self.retention.store.for_each_match("#", |Retained { message, kept }| {
            if kept.is_some() {
                stamps.insert(message.topic(), message.stamp);
            }
        });
        self.retention.store.for_each_match("$t/#", |Retained { message, kept }| {
            if kept.is_some() {
                stamps.insert(message.topic(), message.stamp);
            }
        });
        stamps
    }

    /// Whether a kept message is its topic's retained one.
    pub(super) fn is_retained(&self, topic: &str, id: KeptId) -> bool {
        self.retention.store.get(topic).is_some_and(|retained| retained.kept == Some(id))
    }

    /// Reads the retained messages of a subscription; `subscribe` is settled when they are
    /// delivered.
    pub(super) fn read_retained(
        &mut self,
        now: Time,
        session: Key,
        filter: Arc<str>,
        subscribe: Key,
    ) {
        let wildcard = TopicFilter::from_checked(&filter).has_wildcard();
        let owner = self.place(&filter);
        if self.count == 1 || (!wildcard && owner == self.id) {
            // Whatever was live before these has been delivered: it came here with them.
            for message in self.retention.find(now, &filter) {
                self.deliver_found(now, session, &filter, &message);
            }
            return self.settle_subscribe(now, subscribe);
        }
        let asked: Vec<ShardId> = if wildcard { self.others().collect() } else { vec![owner] };
        let ticket = self.reads.start(Read {
            session,
            subscribe,
            filter: Arc::clone(&filter),
            missing: asked.len(),
            flushing: false,
            found: if wildcard { self.retention.find(now, &filter) } else { Vec::new() },
            live: HashMap::with_hasher(self.hasher.clone()),
        });
        for to in asked {
            let find = ShardMessage::RetainedFind { ticket, filter: Arc::clone(&filter) };
            self.send_behind_spreads(to, find);
        }
    }

    pub(super) fn handle_retained_find(
        &mut self,
        now: Time,
        from: ShardId,
        ticket: Key,
        filter: Arc<str>,
    ) {
        let question = Question { from, ticket, filter };
        if self.count == 2 {
            // The asker is the only other shard, and the question came behind all it has sent.
            return self.answer_question(now, &question);
        }
        self.retention.asked_later.push(question);
        if self.retention.unsettled == 0 {
            self.start_round();
        }
    }

    fn start_round(&mut self) {
        self.retention.asked = std::mem::take(&mut self.retention.asked_later);
        self.retention.unsettled = self.count - 1;
        for to in self.others() {
            self.send(to, ShardMessage::Settle);
        }
    }

    pub(super) fn handle_settled(&mut self, now: Time) {
        self.retention.unsettled -= 1;
        if self.retention.unsettled > 0 {
            return;
        }
        for question in std::mem::take(&mut self.retention.asked) {
            self.answer_question(now, &question);
        }
        if !self.retention.asked_later.is_empty() {
            self.start_round();
        }
    }

    fn answer_question(&mut self, now: Time, question: &Question) {
        let messages = self.retention.find(now, &question.filter);
        let ticket = question.ticket;
        self.send(question.from, ShardMessage::RetainedFound { ticket, messages });
    }

    pub(super) fn handle_retained_found(
        &mut self,
        now: Time,
        ticket: Key,
        messages: Vec<Arc<Message>>,
    ) {
        for message in &messages {
            self.see_stamp(message.stamp);
        }
        let others = self.count - 1;
        let stamp = Stamp(self.stamp_micros << 6 | 0x3f);
        let Some(read) = self.reads.reads.get_mut(ticket) else { return };
        read.found.extend(messages);
        read.missing -= 1;
        if read.missing > 0 {
            return;
        }
        if read.found.is_empty() {
            let subscribe = read.subscribe;
            self.reads.finish(ticket);
            return self.settle_subscribe(now, subscribe);
        }
        read.flushing = true;
        read.missing = others;
        for to in self.others() {
            self.send(to, ShardMessage::Flush { ticket, stamp });
        }
    }

    pub(super) fn handle_flush(&mut self, from: ShardId, ticket: Key, stamp: Stamp) {
        self.see_stamp(stamp);
        self.send_behind_spreads(from, ShardMessage::Flushed { ticket });
    }

    pub(super) fn handle_flushed(&mut self, now: Time, ticket: Key) {
        let Some(read) = self.reads.reads.get_mut(ticket) else { return };
        debug_assert!(read.flushing, "nothing is flushed that was not asked for");
        read.missing -= 1;
        if read.missing > 0 {
            return;
        }
        let Some(read) = self.reads.finish(ticket) else { return };
        for message in &read.found {
            let seen = read.live.get(message.topic()).copied().unwrap_or(Stamp::NONE);
            if message.stamp > seen {
                self.deliver_found(now, read.session, &read.filter, message);
            }
        }
        self.settle_subscribe(now, read.subscribe);
    }

    fn deliver_found(&mut self, now: Time, session: Key, filter: &str, message: &Arc<Message>) {
        let Some(seat) = self.sessions.get(session) else { return };
        // It may have ended meanwhile.
        if let Some(subscription) = seat.session.subscriptions.get(filter) {
            self.spread += message.bytes() + DELIVERY_BYTES;
            self.deliver_retained(now, session, *subscription, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::QoS;

    fn retained(topic: &str, expires: Time) -> Retained {
        let (topic_bytes, body) = (topic.len() as u16, topic.as_bytes().to_vec().into());
        let (qos, stamp) = (QoS::AtLeastOnce, Stamp(1));
        let message = Message::from_body(body, (topic_bytes, 0), qos, true, expires, stamp);
        Retained { message: Arc::new(message), kept: None }
    }

    #[test]
    fn only_messages_that_expire_are_looked_at_and_each_once() {
        let at = Time::from_micros;
        let mut retention = Retention::new([1, 2, 3, 4]);
        retention.insert(retained("never", Time::NEVER));
        for expires in (1..100).rev() {
            retention.insert(retained("often/set", at(expires)));
        }
        retention.insert(retained("later", at(2)));
        retention.insert(retained("replaced", at(1)));
        retention.insert(retained("replaced", Time::NEVER));
        assert_eq!(retention.expiring.len(), 2);
        let mut expired = Vec::new();
        while let Some(message) = retention.expired(at(2)) {
            expired.push(message.topic().to_owned());
            retention.remove(message.topic());
        }
        assert_eq!(expired, ["often/set", "later"]);
        assert_eq!((retention.len(), retention.expiring.len()), (2, 0));
    }

    #[test]
    fn a_topic_that_was_cleared_is_known_for_a_while_whatever_its_length() {
        let mut cleared = Retention::new([1, 2, 3, 4]).cleared;
        let at = Time::from_micros;
        cleared.insert(at(0), "a", Stamp(7));
        cleared.insert(at(1), "b", Stamp(8));
        assert_eq!((cleared.stamp("a"), cleared.stamp("c")), (Stamp(7), Stamp::NONE));
        cleared.insert(at(Cleared::KEPT.as_micros() as u64 + 1), "c", Stamp(9));
        assert_eq!((cleared.stamp("a"), cleared.stamp("b")), (Stamp::NONE, Stamp(8)));
        for number in 0..2 * Cleared::TOPICS_MAX as u64 {
            cleared.insert(
                at(Cleared::KEPT.as_micros() as u64),
                &number.to_string(),
                Stamp(number),
            );
        }
        assert!(cleared.last.len() <= Cleared::TOPICS_MAX);
        assert_eq!(size_of_val(&cleared.oldest_first[0]), 16, "whatever a topic's length");
    }
}

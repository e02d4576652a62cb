//! The last messages that somebody did not get, and what else was refused.
//!
//! Always on: nothing is noted but what is lost, and the oldest goes when there is no room.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::proto::QoS;
use crate::time::Time;

/// What was lost, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Counts those of this shard, from 1.
    pub number: u64,
    /// When.
    pub at: Time,
    /// Who published it, where that is known: on its own shard.
    pub publisher: Option<Arc<str>>,
    /// Who did not get it; absent: nobody did.
    pub receiver: Option<Arc<str>>,
    /// The topic, or the filter of a subscription; empty where many messages are meant.
    pub topic: Arc<str>,
    /// At which QoS.
    pub qos: QoS,
    /// Bytes of topic, properties and payload.
    pub bytes: usize,
    /// Why.
    pub why: Why,
    /// More of that, in words.
    pub detail: Option<Box<str>>,
}

/// Why a message was lost or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No rule allows it to be published.
    NotAllowed,
    /// It is none that may be published, or a program that embeds the broker refuses it.
    Refused,
    /// The log has no room for it.
    LogFull,
    /// Somebody's queue is full, and its publisher was told.
    ReceiverFull,
    /// The queue of its receiver is full.
    QueueFull,
    /// The queue of a shared group is full.
    GroupFull,
    /// Its receiver does not take what is written, and QoS 0 does not wait.
    OutboxFull,
    /// Its receiver is away, and QoS 0 does not wait.
    Away,
    /// It is older than it may be.
    Expired,
    /// It is longer than its receiver takes.
    TooLarge,
    /// It was delivered and is not retained: there is no room.
    NotRetained,
    /// The session that it waited for ended.
    SessionEnded,
    /// No subscription: it is not allowed, or there is no room.
    NotSubscribed,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 13] = [
        Why::NotAllowed,
        Why::Refused,
        Why::LogFull,
        Why::ReceiverFull,
        Why::QueueFull,
        Why::GroupFull,
        Why::OutboxFull,
        Why::Away,
        Why::Expired,
        Why::TooLarge,
        Why::NotRetained,
        Why::SessionEnded,
        Why::NotSubscribed,
    ];

    /// A word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Why::NotAllowed => "not_allowed",
            Why::Refused => "refused",
            Why::LogFull => "log_full",
            Why::ReceiverFull => "receiver_full",
            Why::QueueFull => "queue_full",
            Why::GroupFull => "group_full",
            Why::OutboxFull => "outbox_full",
            Why::Away => "away",
            Why::Expired => "expired",
            Why::TooLarge => "too_large",
            Why::NotRetained => "not_retained",
            Why::SessionEnded => "session_ended",
            Why::NotSubscribed => "not_subscribed",
        }
    }

    /// What it means, and what decides it.
    pub fn meaning(self) -> &'static str {
        match self {
            Why::NotAllowed => "no rule allows it to be published",
            Why::Refused => "it may not be published as it is",
            Why::LogFull => "the log has no room: storage.log_bytes_max, or the disk",
            Why::ReceiverFull => "a receiver's queue is full: mqtt.queue_policy refuses it",
            Why::QueueFull => {
                "the receiver's queue is full: mqtt.queue_messages_max, mqtt.queue_bytes_max or \
                 mqtt.queue_memory_bytes_max"
            }
            Why::GroupFull => "the queue of the shared group is full: mqtt.queue_messages_max",
            Why::OutboxFull => {
                "the receiver does not take what is written, and QoS 0 does not wait: \
                 mqtt.outbox_bytes_max"
            }
            Why::Away => "the receiver is away, and QoS 0 does not wait: mqtt.queue_qos0",
            Why::Expired => "it waited longer than its publisher lets it live",
            Why::TooLarge => "it is longer than the receiver takes",
            Why::NotRetained => {
                "delivered, and not retained: mqtt.retained_messages_max, mqtt.retained_bytes_max"
            }
            Why::SessionEnded => "the receiver's session ended before it",
            Why::NotSubscribed => "the subscription is refused",
        }
    }
}

/// What was lost last. QoS 0 messages for clients that are away are apart: nobody promised them, and
/// there can be so many that what was promised would be forgotten for them.
#[derive(Debug, Default)]
pub struct Drops {
    away: Ring,
    others: Ring,
    /// How many there were, those that are forgotten included.
    count: u64,
}

impl Drops {
    /// A topic to be noted. A message for many is lost by many: they share it.
    pub fn topic(&self, topic: &str) -> Arc<str> {
        let last = [&self.away, &self.others].into_iter().filter_map(|ring| ring.last.back());
        match last.map(|before| &before.topic).find(|before| ***before == *topic) {
            Some(before) => Arc::clone(before),
            None => topic.into(),
        }
    }

    /// Notes one; its number is given here.
    pub fn note(&mut self, mut dropped: Dropped) {
        self.count += 1;
        dropped.number = self.count;
        match dropped.why {
            Why::Away => self.away.note(dropped),
            _ => self.others.note(dropped),
        }
    }

    /// The last ones, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Dropped> {
        let mut away = self.away.last.iter().rev().peekable();
        let mut others = self.others.last.iter().rev().peekable();
        std::iter::from_fn(move || {
            let other = others.peek().map_or(0, |other| other.number);
            away.next_if(|one| one.number > other).or_else(|| others.next())
        })
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.away.last.len() + self.others.last.len()
    }
}

/// A ring of entries.
///
/// Invariant: `bytes` is what its entries take in memory, at most [`BYTES_MAX`], and there are at
/// most [`ENTRIES_MAX`] of them.
#[derive(Debug, Default)]
struct Ring {
    last: VecDeque<Dropped>,
    bytes: usize,
}

impl Ring {
    fn note(&mut self, dropped: Dropped) {
        self.bytes += held_bytes(&dropped);
        self.last.push_back(dropped);
        while self.last.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.last.pop_front() else { break };
            self.bytes -= held_bytes(&oldest);
        }
    }
}

/// What an entry takes at most; names that it shares with others are counted as its own.
fn held_bytes(dropped: &Dropped) -> usize {
    let name = |name: &Option<Arc<str>>| name.as_deref().map_or(0, str::len);
    size_of::<Dropped>()
        + name(&dropped.publisher)
        + name(&dropped.receiver)
        + dropped.topic.len()
        + dropped.detail.as_deref().map_or(0, str::len)
}

/// What one ring of a shard remembers.
const ENTRIES_MAX: usize = 2048;
const BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(topic: &str) -> Dropped {
        Dropped {
            number: 0,
            at: Time::from_micros(1),
            publisher: None,
            receiver: Some("c".into()),
            topic: topic.into(),
            qos: QoS::AtMostOnce,
            bytes: 1,
            why: Why::Away,
            detail: None,
        }
    }

    #[test]
    fn the_oldest_go_first_by_count_and_by_bytes() {
        let mut drops = Drops::default();
        for index in 0..2 * ENTRIES_MAX {
            drops.note(dropped(&index.to_string()));
            assert!(drops.len() <= ENTRIES_MAX && drops.away.bytes <= BYTES_MAX);
        }
        let newest = drops.newest_first().next().expect("there are some");
        assert_eq!((&*newest.topic, newest.number), ("4095", 4096));
        assert_eq!(drops.len(), ENTRIES_MAX);
        for _ in 0..100 {
            drops.note(dropped(&"t".repeat(60_000)));
            let held: usize = drops.newest_first().map(held_bytes).sum();
            assert_eq!(drops.away.bytes, held, "each byte is counted");
        }
        assert!(drops.len() < 100, "long names leave room for fewer: {}", drops.len());
    }

    #[test]
    fn what_was_promised_is_not_forgotten_for_what_was_not() {
        let mut drops = Drops::default();
        drops.note(Dropped { why: Why::QueueFull, ..dropped("first") });
        (0..2 * ENTRIES_MAX).for_each(|_| drops.note(dropped("away")));
        drops.note(Dropped { why: Why::Expired, ..dropped("last") });
        let topics: Vec<_> = drops.newest_first().map(|one| &*one.topic).collect();
        assert_eq!((topics[0], topics[1], topics.last()), ("last", "away", Some(&"first")));
        assert_eq!((topics.len(), drops.len()), (ENTRIES_MAX + 2, ENTRIES_MAX + 2));
    }

    #[test]
    fn one_topic_of_many_is_held_once() {
        let mut drops = Drops::default();
        drops.note(dropped("a/b"));
        let topic = drops.topic("a/b");
        drops.note(Dropped { topic, ..dropped("") });
        let topics: Vec<_> = drops.newest_first().map(|one| &one.topic).collect();
        assert!(Arc::ptr_eq(topics[0], topics[1]));
    }

    #[test]
    fn each_reason_has_a_name_of_its_own() {
        let mut names: Vec<_> = Why::ALL.iter().map(|why| why.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Why::ALL.len());
    }
}

//! What a shard counts: plain cells, published by whoever drives it.

use std::marker::PhantomData;

macro_rules! metrics {
    (@kind) => { u64 };
    (@kind $kind:ty) => { $kind };
    ($($(#[doc = $doc:literal])+ $name:ident $(: $kind:ty)?,)+) => {
        /// What one shard has counted since its start.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct ShardMetrics {
            $($(#[doc = $doc])+ pub $name: metrics!(@kind $($kind)?),)+
        }

        impl ShardMetrics {
            /// Everything that was counted.
            pub fn entries(&self) -> Vec<Metric<'_>> {
                vec![$(Metric {
                    name: stringify!($name),
                    help: concat!($($doc),+).trim_ascii(),
                    value: self.$name.value(),
                },)+]
            }
        }
    };
}

/// What tells the series of one metric apart: a few words that are known in advance.
pub trait Label: Copy {
    /// What the label is called.
    const NAME: &'static str;
    /// Its values, by index.
    const VALUES: &'static [&'static str];

    /// Which of them this is.
    fn index(self) -> usize;
}

/// Why a CONNECT was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be read, or breaks a rule of MQTT.
    Malformed,
    /// It is of a version of MQTT that is not spoken here.
    Version,
    /// Its client id is too long, or lacking where one is needed.
    ClientId,
    /// Its will is one that nobody may publish.
    Will,
    /// A wrong password, or nobody of that name.
    Credentials,
    /// Whoever sent it may not come in, or may not leave its will.
    NotAuthorized,
    /// It wants to prove itself in a way that is not offered.
    Method,
    /// There is no room for its session, or none in the log.
    Quota,
    /// Too many logins wait already.
    Busy,
    /// Whoever knows clients does not answer.
    Unavailable,
    /// Its client id or user is banned.
    Banned,
}

impl Label for Refused {
    const NAME: &'static str = "reason";
    const VALUES: &'static [&'static str] = &[
        "malformed",
        "version",
        "client_id",
        "will",
        "credentials",
        "not_authorized",
        "method",
        "quota",
        "busy",
        "unavailable",
        "banned",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// Why reading from a connection was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// A lane to another shard is full.
    Lane,
    /// Too many of its messages wait for their acknowledgement.
    Acknowledgements,
    /// It does not read what it is answered.
    Replies,
    /// Too many of its subscriptions are being made.
    Subscribing,
    /// Who it is is being asked, or whether it may do what it wants.
    Login,
    /// It sent more than it may.
    Rate,
    /// What it published went to so many, or it sent so many filters, that others had their turn
    /// first.
    Spread,
}

impl Label for Paused {
    const NAME: &'static str = "cause";
    const VALUES: &'static [&'static str] =
        &["lane", "acknowledgements", "replies", "subscribing", "login", "rate", "spread"];

    fn index(self) -> usize {
        self as usize
    }
}

/// What came of asking who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is who it says.
    Allow,
    /// It is not.
    Deny,
    /// It is, and may not come in.
    Forbid,
    /// Nobody knows it.
    Ignore,
    /// Too many wait already.
    Busy,
    /// Whoever knows does not answer.
    Unavailable,
}

impl Label for Asked {
    const NAME: &'static str = "outcome";
    const VALUES: &'static [&'static str] =
        &["allow", "deny", "forbid", "ignore", "busy", "unavailable"];

    fn index(self) -> usize {
        self as usize
    }
}

/// A counter for each value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<L> {
    counts: [u64; VALUES_MAX],
    label: PhantomData<L>,
}

/// Values that a label has at most.
const VALUES_MAX: usize = 11;

impl<L: Label> Tally<L> {
    const FITS: () = assert!(L::VALUES.len() <= VALUES_MAX, "a counter for each value");

    /// One more.
    #[inline]
    pub fn count(&mut self, label: L) {
        let () = Self::FITS;
        self.counts[label.index()] += 1;
    }

    /// Each value with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        L::VALUES.iter().copied().zip(self.counts)
    }
}

impl<L> Default for Tally<L> {
    fn default() -> Tally<L> {
        Tally { counts: [0; VALUES_MAX], label: PhantomData }
    }
}

/// One metric of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// Without the prefix that all of them have.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// What was counted.
    pub value: Value<'a>,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// How often it happened.
    Count(u64),
    /// How often it happened, by the value of a label.
    Tally(&'static str, Vec<(&'static str, u64)>),
    /// How long it took.
    Durations(&'a Durations),
}

/// Something that counts.
trait Counting {
    fn value(&self) -> Value<'_>;
}

impl Counting for u64 {
    fn value(&self) -> Value<'_> {
        Value::Count(*self)
    }
}

impl<L: Label> Counting for Tally<L> {
    fn value(&self) -> Value<'_> {
        Value::Tally(L::NAME, self.counts().collect())
    }
}

impl Counting for Durations {
    fn value(&self) -> Value<'_> {
        Value::Durations(self)
    }
}

/// How long something took, over and over: counts by upper bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    counts: [u64; Durations::BOUNDS_MICROS.len() + 1],
    /// Of all of them, in microseconds.
    pub sum_micros: u64,
}

impl Durations {
    /// Upper bounds, in microseconds; what is longer than the last one is counted behind it.
    pub const BOUNDS_MICROS: [u64; 12] =
        [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 100_000, 1_000_000];

    /// One more.
    #[inline]
    pub fn observe(&mut self, micros: u64) {
        let bucket = Self::BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[bucket] += 1;
        self.sum_micros += micros;
    }

    /// Each bound in microseconds with how many were at most as long; the last is all of them.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = Self::BOUNDS_MICROS.into_iter().map(Some).chain([None]);
        bounds.zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

metrics! {
    /// Connections handed to this shard, by accepting or by a move.
    connections_accepted_total,
    /// Connections that ended.
    connections_closed_total,
    /// CONNECT packets answered with success.
    connects_accepted_total,
    /// CONNECT packets refused.
    connects_refused_total: Tally<Refused>,
    /// Of these, logins with a wrong password or an unknown user.
    logins_refused_total,
    /// Connections that were let go because those not let in yet held too much memory.
    strangers_let_go_total,
    /// Clients about whom was asked, by what came of it.
    logins_total: Tally<Asked>,
    /// From asking about a client to the answer.
    login_seconds: Durations,
    /// Messages that no rule allowed to be published.
    publishes_not_allowed_total,
    /// Subscriptions that no rule allowed, or none any more.
    subscriptions_refused_total,
    /// Times a client sent more than it may.
    rate_exceeded_total,
    /// Sessions taken over by a newer connection.
    takeovers_total,
    /// Connections ended for a protocol violation or malformed packet.
    protocol_errors_total,
    /// Connections ended because nothing arrived for one and a half times the keep-alive.
    keep_alive_timeouts_total,
    /// Bytes received; those of a connection that ends within its first packet are not counted.
    received_bytes_total,
    /// Bytes handed over for writing.
    sent_bytes_total,
    /// Packets received.
    packets_received_total,
    /// PUBLISH packets received at QoS 0.
    publishes_received_qos0_total,
    /// PUBLISH packets received at QoS 1.
    publishes_received_qos1_total,
    /// PUBLISH packets received at QoS 2, repetitions not counted.
    publishes_received_qos2_total,
    /// Bytes of payloads in PUBLISH packets received, those that are not taken left out.
    publish_received_bytes_total,
    /// PUBLISH packets sent at QoS 0.
    publishes_sent_qos0_total,
    /// PUBLISH packets sent at QoS 1, repetitions not counted.
    publishes_sent_qos1_total,
    /// PUBLISH packets sent at QoS 2, repetitions not counted.
    publishes_sent_qos2_total,
    /// PUBLISH packets sent again after a reconnection.
    publishes_resent_total,
    /// Bytes of payloads in PUBLISH packets sent.
    publish_sent_bytes_total,
    /// From a QoS 1 or 2 PUBLISH to its acknowledgement, of those that wait for the log or other
    /// shards.
    publish_acknowledge_seconds: Durations,
    /// Publications that matched no subscription anywhere.
    publishes_unmatched_total,
    /// Messages dropped because a session's queue was full.
    dropped_queue_full_total,
    /// QoS 1 and 2 messages refused because the log had no room to keep them.
    dropped_log_full_total,
    /// QoS 1 and 2 messages refused because somebody's queue was full.
    refused_queue_full_total,
    /// QoS 0 messages dropped because the connection did not take what was written.
    dropped_outbox_full_total,
    /// QoS 0 messages dropped because their client was away.
    dropped_away_total,
    /// Messages dropped because they expired.
    dropped_expired_total,
    /// Messages dropped because they exceed the client's maximum packet size.
    dropped_too_large_total,
    /// Messages of shared groups dropped because the group's queue was full.
    dropped_share_queue_full_total,
    /// Retained messages refused because the retained store was full.
    retained_refused_total,
    /// Wills published.
    wills_published_total,
    /// Sessions that ended because they expired.
    sessions_expired_total,
    /// Messages handed to other shards.
    lane_messages_sent_total,
    /// Messages taken from other shards.
    lane_messages_received_total,
    /// Times reading from a connection was paused, by what was the first cause.
    reading_paused_total: Tally<Paused>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_of_a_label_has_a_counter_of_its_own() {
        let mut tally = Tally::default();
        for label in [Refused::Malformed, Refused::Unavailable, Refused::Unavailable] {
            tally.count(label);
        }
        let counts: Vec<_> = tally.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("malformed", 1), ("unavailable", 2)]);
        assert_eq!(Paused::VALUES[Paused::Rate.index()], "rate");
        assert_eq!(Asked::VALUES[Asked::Unavailable.index()], "unavailable");
    }

    #[test]
    fn a_help_of_two_lines_is_one_sentence() {
        for metric in ShardMetrics::default().entries() {
            assert!(!metric.help.contains("  ") && metric.help.ends_with('.'), "{metric:?}");
        }
    }

    #[test]
    fn a_duration_counts_at_its_bound_and_above() {
        let mut durations = Durations::default();
        for micros in [0, 10, 11, 2_000_000] {
            durations.observe(micros);
        }
        let counts: Vec<_> = durations.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts[..2], [2, 3]);
        assert_eq!(counts[11..], [3, 4]);
        assert_eq!(durations.sum_micros, 2_000_021);
    }
}

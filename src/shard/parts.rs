//! SUBSCRIBE and UNSUBSCRIBE of very many filters, which are dealt with part by part: others have
//! their turn between.
//!
//! A part is dealt with as a packet of its own would be: who else is asked is asked about it, other
//! shards confirm what it asks for, the log keeps it, its retained messages are read. Then the next
//! one is. Meanwhile the connection is not read from. The last one is answered, for all. A connection
//! that ends takes along what is left, as if its client had not sent it.

use bytes::Bytes;

use super::Shard;
use super::connection::Pause;
use super::effect::ConnectionId;
use crate::proto::{
    PacketId, Subscribe, SubscribeFilters, Unsubscribe, UnsubscribeFilters, UserProperties, Version,
};
use crate::time::Time;

/// Filters are dealt with together up to so many bytes: one of 128 levels, or a thousand of one.
const PART_BYTES_MAX: usize = 4 << 10;

/// What a byte of a filter counts for towards [`super::spread::SPREAD_MAX`]: the shortest filters,
/// and the levels of the longest, take a microsecond each.
const FILTER_BYTE_SPREAD: usize = 2 << 10;

/// What is left of a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug)]
pub struct Parted {
    kind: Kind,
    packet_id: PacketId,
    /// Filters as they came, none of which is looked at yet.
    rest: Bytes,
    /// What those before came to.
    reasons: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Subscribe { version: Version, subscription_id: Option<u32> },
    Unsubscribe,
}

impl Kind {
    fn front_bytes(self, filters: &[u8]) -> usize {
        match self {
            Kind::Subscribe { .. } => SubscribeFilters::front_bytes(filters, PART_BYTES_MAX),
            Kind::Unsubscribe => UnsubscribeFilters::front_bytes(filters, PART_BYTES_MAX),
        }
    }
}

impl Shard {
    pub(super) fn handle_subscribe(
        &mut self,
        now: Time,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
    ) {
        let Subscribe { packet_id, subscription_id, filters, .. } = *subscribe;
        let version = self.connections.get(id).and_then(|connection| connection.version());
        let version = version.unwrap_or(Version::V311);
        let kind = Kind::Subscribe { version, subscription_id };
        let front = self.part(id, kind, packet_id, filters.encoded());
        self.handle_part(now, id, kind, packet_id, front);
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        now: Time,
        id: ConnectionId,
        unsubscribe: &Unsubscribe<'_>,
    ) {
        let (kind, packet_id) = (Kind::Unsubscribe, unsubscribe.packet_id);
        let front = self.part(id, kind, packet_id, unsubscribe.filters.encoded());
        self.handle_part(now, id, kind, packet_id, front);
    }

    /// The filters that are dealt with first, mostly all. What is left waits.
    fn part<'a>(
        &mut self,
        id: ConnectionId,
        kind: Kind,
        packet_id: PacketId,
        filters: &'a [u8],
    ) -> &'a [u8] {
        let (front, rest) = filters.split_at(kind.front_bytes(filters));
        if !rest.is_empty()
            && let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut())
        {
            let rest = Bytes::copy_from_slice(rest);
            active.parted = Some(Box::new(Parted { kind, packet_id, rest, reasons: Vec::new() }));
            self.pause(id, Pause::Spread);
        }
        front
    }

    fn handle_part(
        &mut self,
        now: Time,
        id: ConnectionId,
        kind: Kind,
        packet_id: PacketId,
        filters: &[u8],
    ) {
        self.spread += filters.len() * FILTER_BYTE_SPREAD;
        let user_properties = UserProperties::NONE;
        match kind {
            Kind::Subscribe { version, subscription_id } => {
                let filters = SubscribeFilters::of_checked(version, filters);
                let part = Subscribe { packet_id, subscription_id, user_properties, filters };
                self.ask_to_subscribe(now, id, &part);
            }
            Kind::Unsubscribe => {
                let filters = UnsubscribeFilters::of_checked(filters);
                self.unsubscribe_all(now, id, &Unsubscribe { packet_id, user_properties, filters });
            }
        }
    }

    /// Whether what a connection sent is dealt with in parts.
    pub(super) fn is_parted(&self, id: ConnectionId) -> bool {
        let active = self.connections.get(id).and_then(|connection| connection.active());
        active.is_some_and(|active| active.parted.is_some())
    }

    /// A part came to this: what all came to, if it was the last.
    pub(super) fn join_parts(&mut self, id: ConnectionId, reasons: Vec<u8>) -> Option<Vec<u8>> {
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut())?;
        let Some(parted) = &mut active.parted else { return Some(reasons) };
        parted.reasons.extend(reasons);
        parted.rest.is_empty().then(|| std::mem::take(&mut parted.reasons))
    }

    /// A part is dealt with: the next one has its turn, or what was sent behind the last.
    pub(super) fn part_done(&mut self, id: ConnectionId) {
        if self.is_parted(id) {
            self.spent.push_back(id);
        }
    }

    /// The turn of a connection has come again: for the next part of its packet, or for what it
    /// sent next.
    pub(super) fn go_on(&mut self, now: Time, id: ConnectionId) {
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        if let Some(active) = active
            && let Some(parted) = &mut active.parted
        {
            if !parted.rest.is_empty() {
                let (kind, packet_id) = (parted.kind, parted.packet_id);
                let part = parted.rest.split_to(kind.front_bytes(&parted.rest));
                return self.handle_part(now, id, kind, packet_id, &part);
            }
            active.parted = None;
        }
        self.unpause(now, id, Pause::Spread);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proto::{Connect, Cut, Frame, Packet, QoS, ReasonCode, SubscriptionOptions};
    use crate::shard::fixture::{self, NOW};
    use crate::shard::{Advice, Consults, Input, Output, Policy, Question};

    const BIG: ConnectionId = ConnectionId { slot: 0, generation: 1 };
    const OTHER: ConnectionId = ConnectionId { slot: 1, generation: 1 };
    const COUNT: usize = 10_000;

    /// What clients were sent, and what was asked.
    #[derive(Default)]
    struct Seen {
        sent: Vec<(ConnectionId, Vec<u8>)>,
        questions: Vec<Question>,
        is_paused: bool,
    }

    impl Seen {
        fn look(&mut self, shard: &mut Shard) {
            while let Some(output) = shard.poll() {
                match output {
                    Output::Write { connection, batch } => {
                        self.sent.push((connection, batch.slices().collect::<Vec<_>>().concat()));
                        shard.handle(NOW, Input::Sent { connection, batch });
                    }
                    Output::Close { connection, last } => {
                        self.sent.push((connection, last.slices().collect::<Vec<_>>().concat()));
                    }
                    Output::Consult { question, .. } => self.questions.push(question),
                    Output::PauseReading(BIG) => self.is_paused = true,
                    Output::ResumeReading(BIG) => self.is_paused = false,
                    _ => {}
                }
            }
        }

        /// The types and reason codes of the packets that a client was sent since the last time.
        fn heard(&mut self, by: ConnectionId) -> Vec<(u8, usize)> {
            let (of_it, rest) = std::mem::take(&mut self.sent).into_iter().partition(|s| s.0 == by);
            self.sent = rest;
            let of_it: Vec<(ConnectionId, Vec<u8>)> = of_it;
            let bytes: Vec<u8> = of_it.into_iter().flat_map(|(_, bytes)| bytes).collect();
            let (mut at, mut heard) = (0, Vec::new());
            while let Ok(Cut::Whole { frame, size }) = Frame::cut(&bytes[at..], u32::MAX) {
                let packet = Packet::decode_from_server(Version::V5, frame).expect("whole");
                heard.push(match packet {
                    Packet::SubAck(suback) => (bytes[at], suback.reasons.len()),
                    Packet::UnsubAck(unsuback) => (bytes[at], unsuback.reasons.len()),
                    _ => (bytes[at], 0),
                });
                at += size;
            }
            heard
        }
    }

    fn filters() -> Vec<String> {
        (0..COUNT).map(|number| format!("f/{number}")).collect()
    }

    fn subscribe(filters: &[String]) -> Vec<u8> {
        let filters: Vec<_> =
            filters.iter().map(|filter| (&**filter, SubscriptionOptions::default())).collect();
        let filters = SubscribeFilters::encode_list(Version::V5, &filters);
        let filters = SubscribeFilters::from_encoded(Version::V5, &filters).expect("filters");
        let user_properties = UserProperties::NONE;
        let packet_id = PacketId::FIRST;
        let subscribe = Subscribe { packet_id, subscription_id: None, user_properties, filters };
        let mut bytes = Vec::new();
        subscribe.encode(Version::V5, &mut bytes);
        bytes
    }

    fn unsubscribe() -> Vec<u8> {
        let filters = filters();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let filters = UnsubscribeFilters::encode_list(&filters);
        let filters = UnsubscribeFilters::from_encoded(&filters).expect("filters");
        let packet_id = PacketId::FIRST;
        let unsubscribe = Unsubscribe { packet_id, user_properties: UserProperties::NONE, filters };
        let mut bytes = Vec::new();
        unsubscribe.encode(Version::V5, &mut bytes);
        bytes
    }

    fn shard() -> (Shard, Seen) {
        let mut shard = fixture::shard(1, None);
        fixture::connect(&mut shard, OTHER, &Connect::new(Version::V5, "other"), &[]);
        let connect = Connect::new(Version::V5, "big");
        let connect = Connect { session_expiry_interval: Some(100), ..connect };
        fixture::connect(&mut shard, BIG, &connect, &[]);
        let mut seen = Seen::default();
        seen.look(&mut shard);
        seen.sent.clear();
        (shard, seen)
    }

    /// Turns until nothing is left to do, in each of which the other client is answered.
    fn turns(shard: &mut Shard, seen: &mut Seen) -> usize {
        let mut turns = 0;
        while shard.poll_timeout().is_some_and(|at| at <= NOW) {
            shard.handle(NOW, Input::Timeout);
            shard.handle(NOW, Input::Received { connection: OTHER, bytes: &[0xC0, 0] });
            seen.look(shard);
            assert_eq!(seen.heard(OTHER), [(0xD0, 0)]);
            turns += 1;
        }
        turns
    }

    #[test]
    fn very_many_filters_take_many_turns_and_one_answer() {
        let (mut shard, mut seen) = shard();
        // What follows has its turn behind it.
        let publish = [0x30, 7, 0, 3, b'f', b'/', b'7', 0, b'!'];
        let bytes =
            [subscribe(&filters()), publish.to_vec(), unsubscribe(), vec![0xC0, 0]].concat();
        shard.handle(NOW, Input::Received { connection: BIG, bytes: &bytes });
        seen.look(&mut shard);
        assert!(seen.is_paused);
        assert!((1..COUNT / 4).contains(&shard.subscription_count), "a part of them");
        let turns = turns(&mut shard, &mut seen);
        assert!(turns > 10, "{turns}");
        let answers = [(0x90, COUNT), (0x30, 0), (0xB0, COUNT), (0xD0, 0)];
        assert_eq!(seen.heard(BIG), answers);
        assert!(!seen.is_paused);
        assert_eq!((shard.subscription_count, shard.subscribes.len()), (0, 0));
    }

    #[test]
    fn who_hangs_up_had_said_all_of_it() {
        let (mut shard, mut seen) = shard();
        shard.handle(NOW, Input::Received { connection: BIG, bytes: &subscribe(&filters()) });
        shard.handle(NOW, Input::Closed { connection: BIG });
        turns(&mut shard, &mut seen);
        assert_eq!((shard.subscription_count, shard.subscribes.len()), (COUNT, 0));
        assert!(shard.connections.get(BIG).is_none());
    }

    #[test]
    fn a_connection_that_is_ended_takes_what_is_left_along() {
        let (mut shard, mut seen) = shard();
        shard.handle(NOW, Input::Received { connection: BIG, bytes: &subscribe(&filters()) });
        let made = shard.subscription_count;
        let again = ConnectionId { slot: 2, generation: 1 };
        let connect = Connect::new(Version::V5, "big");
        let connect = Connect { clean_start: false, ..connect };
        fixture::connect(&mut shard, again, &connect, &unsubscribe());
        turns(&mut shard, &mut seen);
        assert_eq!(seen.heard(BIG), [(0xE0, 0)]);
        assert_eq!(seen.heard(again), [(0x20, 0), (0xB0, COUNT)]);
        assert!(made > 0);
        assert_eq!((shard.subscription_count, shard.subscribes.len()), (0, 0));
    }

    #[test]
    fn hooks_are_asked_about_a_part_at_a_time() {
        let (mut shard, mut seen) = shard();
        let consults = Consults { subscribe: true, ..Consults::default() };
        let policy = Arc::new(Policy { consults, ..Policy::default() });
        shard.handle(NOW, Input::Reconfigure(policy));
        shard.handle(NOW, Input::Received { connection: BIG, bytes: &subscribe(&filters()) });
        seen.look(&mut shard);
        let mut asked = Vec::new();
        while let Some(question) = seen.questions.pop() {
            let Question::Subscribe(filters) = question else { panic!("{question:?}") };
            let advice = filters.iter().map(|(_, qos)| match filters.len() % 2 {
                0 => Ok(*qos),
                _ => Err(ReasonCode::NotAuthorized),
            });
            let advice = Advice::Subscribe(advice.collect());
            asked.extend(filters.into_iter().map(|(filter, _)| String::from(filter)));
            assert!(seen.heard(BIG).is_empty());
            shard.handle(NOW, Input::Advice { connection: BIG, advice });
            turns(&mut shard, &mut seen);
        }
        assert_eq!(asked, filters());
        assert_eq!(seen.heard(BIG), [(0x90, COUNT)]);
    }

    #[test]
    fn retained_messages_for_many_filters_are_read_in_turns() {
        const FILTERS: usize = 40;
        let (mut shard, mut seen) = shard();
        let topic = ["a"; FILTERS].join("/");
        let size = topic.len() as u8;
        let publish = [&[0x31, 2 + size + 1 + 1, 0, size], topic.as_bytes(), &[0, b'!']].concat();
        shard.handle(NOW, Input::Received { connection: OTHER, bytes: &publish });
        seen.look(&mut shard);
        // Each filter finds it.
        let filters = (1..=FILTERS).map(|levels| ["+"; FILTERS][..levels].join("/") + "/#");
        let bytes = subscribe(&filters.collect::<Vec<_>>());
        shard.handle(NOW, Input::Received { connection: BIG, bytes: &bytes });
        seen.look(&mut shard);
        let sent = |shard: &Shard| shard.metrics().publishes_sent_qos0_total as usize;
        assert!((1..FILTERS).contains(&sent(&shard)), "{}", sent(&shard));
        assert!(turns(&mut shard, &mut seen) > 1);
        assert_eq!((sent(&shard), shard.subscribes.len()), (FILTERS, 0));
    }

    #[test]
    fn parts_are_whole_filters_and_at_least_one() {
        let long = "x".repeat(2 * PART_BYTES_MAX);
        let filters = ["a", &long, "b", "c"];
        let filters = filters.map(|filter| (filter, SubscriptionOptions::at(QoS::AtLeastOnce)));
        let encoded = SubscribeFilters::encode_list(Version::V311, &filters);
        let (mut rest, mut parts) = (&encoded[..], Vec::new());
        while !rest.is_empty() {
            let (front, behind) =
                rest.split_at(SubscribeFilters::front_bytes(rest, PART_BYTES_MAX));
            let part = SubscribeFilters::from_encoded(Version::V311, front).expect("whole ones");
            parts.push(part.len());
            rest = behind;
        }
        assert_eq!(parts, [1, 1, 2]);
    }
}

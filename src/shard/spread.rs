//! A message on its way to the other shards, and how much of that one turn does.

use std::sync::Arc;

use super::connection::Pause;
use super::effect::ConnectionId;
use super::journal::Waiter;
use super::message::Forwarded;
use super::owed::PendingPublish;
use super::{Key, Shard, ShardMessage, bit};
use crate::message::{Message, Publication};
use crate::proto::{PacketId, PacketType};
use crate::session::KeptId;
use crate::storage::Sequence;
use crate::time::Time;

/// What one turn spreads before others have theirs: bytes of messages times those who get them. What
/// is read of a connection in a turn is bounded, and not how many it goes to.
pub(super) const SPREAD_MAX: usize = 16 << 20;

/// What a delivery counts for beside its bytes.
pub(super) const DELIVERY_BYTES: usize = 512;

/// A QoS 2 message that other shards get once its record is durable.
#[derive(Debug)]
pub struct PendingSpread {
    message: Arc<Message>,
    /// Absent if it only waits for others before it.
    record: Option<(KeptId, Sequence)>,
    spread: Spread,
}

impl PendingSpread {
    /// Whether this is the message.
    pub fn spreads(&self, id: KeptId) -> bool {
        self.record.is_some_and(|(other, _)| other == id)
    }
}

/// What other shards are to do with a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    /// Bit set of those with subscribers.
    pub(super) deliver: u64,
    /// Bit set of the one that retains it.
    pub(super) store: u64,
    /// Hash of the publisher's client id.
    pub(super) hash: u64,
    pub(super) ticket: Option<Key>,
}

impl Shard {
    /// A connection is read from again when others had their turn.
    #[cold]
    pub(super) fn give_way(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some() {
            self.pause(id, Pause::Spread);
            self.spent.push_back(id);
        }
    }

    /// Goes on with those who gave way.
    pub(super) fn publish_on(&mut self, now: Time) {
        self.spread = 0;
        for _ in 0..self.spent.len() {
            if self.spread >= SPREAD_MAX {
                return;
            }
            let Some(id) = self.spent.pop_front() else { return };
            self.go_on(now, id);
        }
    }

    pub(super) fn forward(
        &mut self,
        publication: &Publication<'_>,
        spread: Spread,
        record: Option<Sequence>,
    ) {
        let Spread { deliver, store, hash: origin, ticket } = spread;
        let mut receivers = deliver | store;
        while receivers != 0 {
            let to = super::ShardId(receivers.trailing_zeros() as u8);
            receivers &= receivers - 1;
            let message = Arc::clone(publication.keep());
            let (deliver, store) = (deliver & bit(to) != 0, store & bit(to) != 0);
            let forwarded = Forwarded { message, deliver, store, origin, record };
            self.send(to, ShardMessage::Forward { forwarded, ticket });
        }
    }

    /// Other shards get a QoS 2 message once this one will know it when its publisher sends it
    /// again: else they could get it twice.
    pub(super) fn spread_later(
        &mut self,
        publication: &Publication<'_>,
        id: Option<KeptId>,
        spread: Spread,
    ) {
        let message = Arc::clone(publication.keep());
        let record = id.map(|id| (id, self.last_spread));
        let ticket = self.spreads.insert(PendingSpread { message, record, spread });
        self.journal.wait(self.last_spread, Waiter::Spread(ticket));
    }

    /// Sends to another shard behind every publication that it is to get from this one.
    pub(super) fn send_behind_spreads(&mut self, to: super::ShardId, message: ShardMessage) {
        if self.spreads.len() == 0 {
            return self.send(to, message);
        }
        self.journal.wait(self.last_spread, Waiter::Lane(to, Box::new(message)));
    }

    pub(super) fn spread_taken(&mut self, ticket: Key) {
        let Some(pending) = self.spreads.remove(ticket) else { return };
        let PendingSpread { message, record, spread } = pending;
        let publish = spread.ticket.and_then(|ticket| self.publishes.get_mut(ticket));
        if let Some(publish) = publish {
            publish.record = record;
        }
        let sequence = record.map(|(_, sequence)| sequence);
        self.forward(&Publication::of(&message), spread, sequence);
    }

    /// Forwards a QoS 2 message of an earlier life, whose publisher may send it again.
    pub(super) fn spread_again(
        &mut self,
        message: &Arc<Message>,
        taken: Option<(Key, PacketId)>,
        is_taken: bool,
        remote: u64,
        record: (KeptId, Sequence),
    ) {
        let (session, packet_id) = taken.unzip();
        let ticket = self.publishes.insert(PendingPublish {
            connection: ConnectionId::NOBODY,
            since: self.now,
            number: 0,
            missing: remote.count_ones(),
            is_taken,
            refusal: None,
            session: session.unwrap_or(Key::LAST),
            packet_type: PacketType::PubRec,
            packet_id: packet_id.unwrap_or(PacketId::FIRST),
            record: Some(record),
        });
        let store = if message.retain { bit(self.place(message.topic())) & remote } else { 0 };
        let spread = Spread { deliver: remote, store, hash: 0, ticket: Some(ticket) };
        self.forward(&Publication::of(message), spread, Some(record.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Connect, Version};
    use crate::shard::Input;
    use crate::shard::effect::Output;
    use crate::shard::fixture::{self, NOW};

    fn connection(number: usize) -> ConnectionId {
        ConnectionId { slot: number as u32, generation: 1 }
    }

    /// How often the publisher is paused and read from again.
    fn pauses(shard: &mut Shard) -> [usize; 2] {
        let mut pauses = [0; 2];
        while let Some(output) = shard.poll() {
            match output {
                Output::PauseReading(id) if id == connection(0) => pauses[0] += 1,
                Output::ResumeReading(id) if id == connection(0) => pauses[1] += 1,
                _ => {}
            }
        }
        pauses
    }

    #[test]
    fn who_publishes_to_many_gives_way_to_others_and_goes_on() {
        const RECEIVERS: usize = 40;
        const MESSAGES: usize = 200;
        let mut shard = fixture::shard(1, None);
        for number in 0..=RECEIVERS {
            let client_id = format!("c{number}");
            let connect = Connect::new(Version::V311, &client_id);
            fixture::connect(&mut shard, connection(number), &connect, &[]);
        }
        let subscribe = [0x82, 6, 0, 1, 0, 1, b't', 0];
        for number in 1..=RECEIVERS {
            shard
                .handle(NOW, Input::Received { connection: connection(number), bytes: &subscribe });
        }
        assert_eq!(pauses(&mut shard), [0, 0]);

        let payload = [0; 4096];
        let message = [&[0x30, 0x83, 0x20, 0, 1, b't'], &payload[..]].concat();
        let bytes = message.repeat(MESSAGES);
        shard.handle(NOW, Input::Received { connection: connection(0), bytes: &bytes });
        let sent = |shard: &Shard| shard.metrics().publishes_sent_qos0_total as usize;
        assert_eq!(pauses(&mut shard), [1, 0]);
        let first = sent(&shard);
        let spread = first * (payload.len() + 1 + DELIVERY_BYTES);
        assert!((SPREAD_MAX..SPREAD_MAX + SPREAD_MAX / 10).contains(&spread), "{spread}");
        let mut turns = 1;
        while shard.poll_timeout().is_some_and(|at| at <= NOW) {
            let before = sent(&shard);
            shard.handle(NOW, Input::Timeout);
            assert!((before + 1..=before + first).contains(&sent(&shard)));
            turns += 1;
            if turns == 2 {
                assert_eq!(pauses(&mut shard), [1, 0], "it gives way again");
            }
        }
        assert_eq!((sent(&shard), turns), (MESSAGES * RECEIVERS, 3));
        assert_eq!(pauses(&mut shard), [0, 1], "all of it is read");
    }
}

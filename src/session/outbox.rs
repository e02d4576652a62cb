//! Messages waiting for a client, in order, and those in flight to it.

use std::collections::VecDeque;

use super::delivery::Delivery;
use super::inflight::{Inflight, Resend};
use crate::config::QueuePolicy;
use crate::proto::{PacketId, QoS};

/// Everything a client is owed: the window in flight, then the queue.
///
/// The order in which messages are offered is the order in which they are sent.
///
/// Invariants: `queue_bytes` is the sum of the bytes of the queued messages; their ordinals rise.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Sent and not completed.
    pub inflight: Inflight,
    queue: VecDeque<Delivery>,
    queue_bytes: u64,
    /// Ordinal of the last QoS 1 or 2 message that was owed.
    last_ordinal: u64,
}

/// Memory that waiting messages take, over all queues of a shard. A payload counts in every
/// queue it waits in.
#[derive(Debug, Default)]
pub struct QueueMemory {
    bytes: u64,
    messages: usize,
}

impl QueueMemory {
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The messages that take it.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// One more message, of so many bytes.
    pub fn take(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.messages += 1;
    }

    /// One message less, of so many bytes.
    pub fn give_back(&mut self, bytes: u64) {
        self.bytes = self.bytes.checked_sub(bytes).expect("what is given back was taken");
        self.messages -= 1;
    }
}

/// Limits of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes.
    pub bytes_max: u64,
    /// Bytes of memory that all queues may take together.
    pub memory_bytes_max: u64,
    /// What to do with a message beyond them.
    pub policy: QueuePolicy,
}

/// What is to be sent next.
#[derive(Debug)]
pub enum Transmit {
    /// A QoS 0 message: it is the client's from now on.
    AtMostOnce(Delivery),
    /// A message of the window, where [`Inflight::sent`] finds it.
    Tracked {
        /// Its packet identifier.
        packet_id: PacketId,
        /// Whether it was sent before. [MQTT-3.3.1-1]
        dup: bool,
    },
    /// A PUBREL, sent again.
    PubRel(PacketId),
}

impl Outbox {
    /// Messages waiting in the queue, those in flight not counted.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Their bytes: topics, properties and payloads.
    pub fn queued_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// Whether a message offered now would be sent before any other: nothing waits before it.
    pub fn is_caught_up(&self) -> bool {
        self.queue.is_empty() && !self.inflight.is_resending()
    }

    /// Counts one more QoS 1 or 2 message; its ordinal.
    pub fn next_ordinal(&mut self) -> u64 {
        self.last_ordinal += 1;
        self.last_ordinal
    }

    /// The ordinal of the last message counted.
    pub fn last_ordinal(&self) -> u64 {
        self.last_ordinal
    }

    /// The next ordinal is above this one.
    pub fn skip_ordinals(&mut self, through: u64) {
        self.last_ordinal = self.last_ordinal.max(through);
    }

    /// Whether the message with this ordinal is still owed.
    pub fn owes(&self, ordinal: u64) -> bool {
        if let Some(received) = self.inflight.state(ordinal) {
            return !received;
        }
        let first = self.queue.partition_point(|delivery| delivery.ordinal < ordinal);
        let same = self.queue.range(first..).take_while(|delivery| delivery.ordinal == ordinal);
        same.into_iter().any(|delivery| delivery.qos > QoS::AtMostOnce)
    }

    /// Puts a message at the end of the queue. What had to go for it, or itself, is returned.
    #[must_use = "a dropped message is counted, and a shared one given back"]
    pub fn offer(
        &mut self,
        delivery: Delivery,
        limits: QueueLimits,
        memory: &mut QueueMemory,
    ) -> Vec<Delivery> {
        let (bytes, needed) = (u64::from(delivery.bytes), delivery.memory_bytes());
        let (mut dropped, mut freed) = (Vec::new(), 0);
        // Where others hold the memory, this queue gives up no more than it takes.
        while self.is_full(bytes, limits)
            || (freed < needed && memory.bytes() + needed > limits.memory_bytes_max)
        {
            if limits.policy != QueuePolicy::DropOldest {
                dropped.push(delivery);
                return dropped;
            }
            match self.dequeue(memory) {
                Some(oldest) => {
                    freed += oldest.memory_bytes();
                    dropped.push(oldest);
                }
                None => {
                    dropped.push(delivery);
                    return dropped;
                }
            }
        }
        self.enqueue(delivery, memory);
        dropped
    }

    /// Whether a message of so many bytes is beyond the session's own limits.
    pub fn is_full(&self, bytes: u64, limits: QueueLimits) -> bool {
        self.queue.len() >= limits.messages_max || self.queue_bytes + bytes > limits.bytes_max
    }

    /// The next packet to send to a client that takes `window` messages unacknowledged, or
    /// nothing for now: the queue waits for its front if that may not be sent yet.
    pub fn poll_transmit(
        &mut self,
        window: u16,
        memory: &mut QueueMemory,
        mut may_send: impl FnMut(&Delivery) -> bool,
    ) -> Option<Transmit> {
        if self.inflight.is_resending() {
            match self.inflight.poll_resend(window) {
                Some(Resend::PubRel(packet_id)) => return Some(Transmit::PubRel(packet_id)),
                Some(Resend::Publish(packet_id)) => {
                    return Some(Transmit::Tracked { packet_id, dup: true });
                }
                None if self.inflight.is_resending() => return None,
                None => {}
            }
        }
        let next = self.queue.front()?;
        if next.qos == QoS::AtMostOnce {
            return self.dequeue(memory).map(Transmit::AtMostOnce);
        }
        if !self.inflight.has_room(window, next.ordinal) || !may_send(next) {
            return None;
        }
        let delivery = self.dequeue(memory)?;
        let packet_id = self.inflight.push(delivery);
        Some(Transmit::Tracked { packet_id, dup: false })
    }

    /// Takes every message out of the queue that `wanted` names.
    pub fn take_back(
        &mut self,
        memory: &mut QueueMemory,
        mut wanted: impl FnMut(&Delivery) -> bool,
    ) -> Vec<Delivery> {
        if !self.queue.iter().any(&mut wanted) {
            return Vec::new();
        }
        let (taken, kept): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(wanted);
        self.queue = VecDeque::from(kept);
        self.queue_bytes -= taken.iter().map(|d| u64::from(d.bytes)).sum::<u64>();
        taken.iter().for_each(|delivery| memory.give_back(delivery.memory_bytes()));
        taken
    }

    /// Adds a message of an earlier life, in the order of ordinals: in flight if it was sent then.
    pub fn restore(&mut self, delivery: Delivery, was_sent: bool, memory: &mut QueueMemory) {
        self.last_ordinal = self.last_ordinal.max(delivery.ordinal);
        if was_sent && self.queue.is_empty() && self.inflight.has_room(u16::MAX, delivery.ordinal) {
            self.inflight.push(delivery);
        } else {
            self.enqueue(delivery, memory);
        }
    }

    /// Adds a message of an earlier life whose PUBREC had come, in the order of ordinals.
    pub fn restore_released(&mut self, ordinal: u64) {
        self.last_ordinal = self.last_ordinal.max(ordinal);
        if self.queue.is_empty() && self.inflight.has_room(u16::MAX, ordinal) {
            self.inflight.push_released(ordinal);
        }
    }

    /// Takes everything it is owed: the session ends.
    pub fn drain(&mut self, memory: &mut QueueMemory) -> Vec<Delivery> {
        self.queue.iter().for_each(|delivery| memory.give_back(delivery.memory_bytes()));
        let mut drained = self.inflight.take_back(|_| true);
        drained.extend(self.queue.drain(..));
        self.queue_bytes = 0;
        drained
    }

    /// The messages waiting, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }

    fn enqueue(&mut self, delivery: Delivery, memory: &mut QueueMemory) {
        memory.take(delivery.memory_bytes());
        self.queue_bytes += u64::from(delivery.bytes);
        self.queue.push_back(delivery);
    }

    fn dequeue(&mut self, memory: &mut QueueMemory) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        memory.give_back(delivery.memory_bytes());
        self.queue_bytes -= u64::from(delivery.bytes);
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(delivery)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::delivery::{Body, SubscriptionIdSet};
    use super::*;
    use crate::message::Message;

    fn delivery(ordinal: u64) -> Delivery {
        let message = Message::from_parts("t", &[], &[0; 99], QoS::AtLeastOnce, false);
        Delivery {
            bytes: message.bytes() as u32,
            body: Body::Held(Arc::new(message)),
            ordinal,
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: SubscriptionIdSet::NONE,
            share: None,
        }
    }

    fn limits(memory_bytes_max: u64, policy: QueuePolicy) -> QueueLimits {
        QueueLimits { messages_max: 100, bytes_max: 1 << 20, memory_bytes_max, policy }
    }

    fn ordinals(deliveries: &[Delivery]) -> Vec<u64> {
        deliveries.iter().map(|delivery| delivery.ordinal).collect()
    }

    #[test]
    fn a_queue_gives_up_what_it_takes_where_others_hold_the_memory() {
        let each = delivery(1).memory_bytes();
        let (mut outbox, mut memory) = (Outbox::default(), QueueMemory::default());
        let generous = limits(each * 10, QueuePolicy::DropOldest);
        for ordinal in 1..=3 {
            assert!(outbox.offer(delivery(ordinal), generous, &mut memory).is_empty());
        }
        (0..7).for_each(|_| memory.take(each));
        let dropped = outbox.offer(delivery(4), generous, &mut memory);
        assert_eq!(ordinals(&dropped), [1]);
        let newest = limits(each * 10, QueuePolicy::DropNewest);
        let dropped = outbox.offer(delivery(5), newest, &mut memory);
        assert_eq!(ordinals(&dropped), [5]);
        // Who holds nothing has nothing to give up.
        let dropped = Outbox::default().offer(delivery(6), generous, &mut memory);
        assert_eq!(ordinals(&dropped), [6]);
        (0..7).for_each(|_| memory.give_back(each));
        assert_eq!(ordinals(&outbox.drain(&mut memory)), [2, 3, 4]);
        assert_eq!((memory.bytes(), memory.messages()), (0, 0), "all that was taken is given back");
    }
}

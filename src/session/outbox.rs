//! Messages waiting for a client, in order, and those in flight to it.

use std::collections::VecDeque;

use super::delivery::Delivery;
use super::inflight::{Inflight, Resend};
use crate::config::QueuePolicy;
use crate::proto::{PacketId, QoS};
use crate::time::Time;

/// Everything a client is owed: the window in flight, then the queue.
///
/// The order in which messages are offered is the order in which they are sent.
///
/// Invariant: `queue_bytes` is the sum of the bytes of the queued messages.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Sent and not completed.
    pub inflight: Inflight,
    queue: VecDeque<Delivery>,
    queue_bytes: u64,
}

/// Limits of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes.
    pub bytes_max: u64,
    /// What to do with a message beyond them.
    pub policy: QueuePolicy,
}

/// What is to be sent next.
#[derive(Debug)]
pub enum Transmit {
    /// A QoS 0 message: it is the client's from now on.
    AtMostOnce(Delivery),
    /// A message of the window.
    Tracked {
        /// Its packet identifier.
        packet_id: PacketId,
        /// A copy of what stays in the window.
        delivery: Delivery,
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

    /// Whether a message offered now would be sent before any other: nothing waits before it.
    pub fn is_caught_up(&self) -> bool {
        self.queue.is_empty() && !self.inflight.is_resending()
    }

    /// Puts a message at the end of the queue. What had to go for it, or itself, is returned.
    #[must_use = "a dropped message is counted, and a shared one given back"]
    pub fn offer(&mut self, delivery: Delivery, limits: QueueLimits) -> Vec<Delivery> {
        let bytes = delivery.message.bytes() as u64;
        let mut dropped = Vec::new();
        while self.queue.len() >= limits.messages_max || self.queue_bytes + bytes > limits.bytes_max
        {
            if limits.policy == QueuePolicy::DropNewest {
                dropped.push(delivery);
                return dropped;
            }
            match self.dequeue() {
                Some(oldest) => dropped.push(oldest),
                None => {
                    dropped.push(delivery);
                    return dropped;
                }
            }
        }
        self.queue_bytes += bytes;
        self.queue.push_back(delivery);
        dropped
    }

    /// The next packet to send to a client that takes `window` messages unacknowledged, or
    /// nothing for now. Messages that expired while they waited go to `expired`.
    pub fn poll_transmit(
        &mut self,
        now: Time,
        window: u16,
        expired: &mut Vec<Delivery>,
    ) -> Option<Transmit> {
        if self.inflight.is_resending() {
            match self.inflight.poll_resend(window) {
                Some(Resend::PubRel(packet_id)) => return Some(Transmit::PubRel(packet_id)),
                Some(Resend::Publish(packet_id, delivery)) => {
                    return Some(Transmit::Tracked { packet_id, delivery, dup: true });
                }
                None if self.inflight.is_resending() => return None,
                None => {}
            }
        }
        loop {
            let next = self.queue.front()?;
            if next.qos > QoS::AtMostOnce && !self.inflight.has_room(window) {
                return None;
            }
            let delivery = self.dequeue().expect("the queue has a front");
            if delivery.message.expires <= now {
                expired.push(delivery);
                continue;
            }
            if delivery.qos == QoS::AtMostOnce {
                return Some(Transmit::AtMostOnce(delivery));
            }
            let packet_id = self.inflight.push(delivery.clone());
            return Some(Transmit::Tracked { packet_id, delivery, dup: false });
        }
    }

    /// Takes every message out of the queue that `wanted` names.
    pub fn take_back(&mut self, mut wanted: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        if !self.queue.iter().any(&mut wanted) {
            return Vec::new();
        }
        let (taken, kept): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(wanted);
        self.queue = VecDeque::from(kept);
        self.queue_bytes -= taken.iter().map(|d| d.message.bytes() as u64).sum::<u64>();
        taken
    }

    /// The messages waiting, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter()
    }

    fn dequeue(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.queue_bytes -= delivery.message.bytes() as u64;
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(delivery)
    }
}

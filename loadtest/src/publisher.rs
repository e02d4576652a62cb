//! The publishing half of a client: sequence numbers, windows and packet identifiers.
//!
//! ```text
//!              QoS 1                             QoS 2
//!   Free --publish--> Published          Free --publish--> Published
//!     ^                  |                 ^                  | PUBREC, answered with PUBREL
//!     +----- PUBACK -----+                 |               Released
//!                                          +----- PUBCOMP ----+
//! ```
//!
//! It knows no socket. What it sends is appended to the connection's output.

use std::collections::VecDeque;
use std::ops::Range;

use crate::mqtt::Qos;
use crate::mqtt::decode::Answer;
use crate::mqtt::encode::{self, Ack};
use crate::stamp::{Filler, Stamp};

/// Packet identifiers beyond the window, for the messages of presence.
const SPARE_PACKET_IDS: usize = 2;

/// What a message looks like on the wire, shared by all publishers of a worker.
#[derive(Debug)]
pub struct Press {
    /// QoS of every message.
    pub qos: Qos,
    /// The bytes between packet identifier and payload: v5's empty properties.
    pub has_properties: bool,
    /// The payload after its stamp.
    pub filler: Filler,
    /// By stream: fixed header and topic; empty for streams of other workers.
    pub prefixes: Vec<Box<[u8]>>,
}

/// Why an acknowledgement does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPacketId;

/// What an acknowledgement completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// The whole exchange; the message had been sent at this time.
    Message {
        /// The stamp's time.
        sent_us: u32,
    },
    /// The first half of a QoS 2 exchange.
    Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Free,
    Published,
    Released,
}

/// One packet identifier and what it is used for.
#[derive(Clone, Debug)]
struct Slot {
    step: Step,
    stamp: Stamp,
    /// The number of the exchange, for sending again in the order of first sending.
    turn: u64,
}

/// One client's publishing.
#[derive(Debug)]
pub struct Publisher {
    streams: Range<u32>,
    /// The stream of the next message.
    cursor: u32,
    /// Next sequence number, by stream.
    sequences: Vec<u32>,
    sent: u64,
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    turn: u64,
    /// Intended times of messages that are due and not yet sent (open loop).
    due: VecDeque<u32>,
}

impl Publisher {
    /// A publisher of `streams` with room for `window` unacknowledged messages.
    #[must_use]
    pub fn new(streams: Range<u32>, qos: Qos, window: usize) -> Self {
        let slot_count = if qos == Qos::AtMostOnce {
            0
        } else {
            (window + SPARE_PACKET_IDS).min(usize::from(u16::MAX))
        };
        let empty = Stamp { stream: 0, sequence: 0, sent_us: 0 };
        Self {
            cursor: streams.start,
            sequences: vec![0; streams.len()],
            streams,
            sent: 0,
            slots: vec![Slot { step: Step::Free, stamp: empty, turn: 0 }; slot_count],
            free: (1..=slot_count as u16).collect(),
            turn: 0,
            due: VecDeque::new(),
        }
    }

    /// Messages published so far, without those of presence.
    #[inline]
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many streams it publishes.
    #[inline]
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.sequences.len()
    }

    /// When the oldest message that is due and not yet sent was due.
    #[inline]
    #[must_use]
    pub fn oldest_due_us(&self) -> Option<u32> {
        self.due.front().copied()
    }

    /// Exchanges under way.
    #[inline]
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Sent messages by stream.
    pub fn sent_by_stream(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.streams.clone().zip(self.sequences.iter().copied())
    }

    /// A message falls due at `sent_us`.
    #[inline]
    pub fn owe(&mut self, sent_us: u32) {
        self.due.push_back(sent_us);
    }

    /// Messages that are due.
    #[inline]
    #[must_use]
    pub fn owed(&self) -> usize {
        self.due.len()
    }

    /// Forgets what is due.
    pub fn forgive(&mut self) {
        self.due.clear();
    }

    /// Whether the window of unacknowledged messages has room.
    #[inline]
    #[must_use]
    pub fn has_packet_id(&self, press: &Press) -> bool {
        press.qos == Qos::AtMostOnce || self.free.len() > SPARE_PACKET_IDS
    }

    /// Publishes the next message, stamped with `now_us` or the time it was due.
    /// There must be a packet identifier for it. Returns the stream it belongs to.
    #[inline]
    pub fn publish(&mut self, press: &Press, now_us: u32, out: &mut Vec<u8>) -> u32 {
        let stream = self.cursor;
        self.cursor = if stream + 1 == self.streams.end { self.streams.start } else { stream + 1 };
        let sequence = &mut self.sequences[(stream - self.streams.start) as usize];
        let sent_us = self.due.pop_front().unwrap_or(now_us);
        let stamp = Stamp { stream, sequence: *sequence, sent_us };
        *sequence += 1;
        self.sent += 1;
        self.begin(press, stamp, out);
        stream
    }

    /// Publishes a message outside the window, such as one of presence.
    pub fn publish_extra(&mut self, press: &Press, stamp: Stamp, out: &mut Vec<u8>) -> bool {
        let has_room = press.qos == Qos::AtMostOnce || !self.free.is_empty();
        if has_room {
            self.begin(press, stamp, out);
        }
        has_room
    }

    #[inline]
    fn begin(&mut self, press: &Press, stamp: Stamp, out: &mut Vec<u8>) {
        if press.qos == Qos::AtMostOnce {
            press.write(stamp, 0, false, out);
            return;
        }
        let packet_id = self.free.pop_front().expect("the caller has seen a free identifier");
        self.turn += 1;
        let slot = &mut self.slots[usize::from(packet_id) - 1];
        assert_eq!(slot.step, Step::Free, "a free identifier has no exchange");
        *slot = Slot { step: Step::Published, stamp, turn: self.turn };
        press.write(stamp, packet_id, false, out);
    }

    /// A PUBACK arrived.
    #[inline]
    pub fn on_puback(&mut self, answer: Answer) -> Result<Completed, UnknownPacketId> {
        self.finish(answer.packet_id, Step::Published)
    }

    /// A PUBREC arrived; its PUBREL is appended to `out`.
    #[inline]
    pub fn on_pubrec(
        &mut self,
        answer: Answer,
        out: &mut Vec<u8>,
    ) -> Result<Completed, UnknownPacketId> {
        if answer.is_refusal() {
            return self.finish(answer.packet_id, Step::Published);
        }
        // A second PUBREC may answer a PUBLISH that was sent again: it is released again.
        let slot = self.slot(answer.packet_id).ok_or(UnknownPacketId)?;
        if slot.step == Step::Free {
            return Err(UnknownPacketId);
        }
        slot.step = Step::Released;
        encode::ack(out, Ack::Pubrel, answer.packet_id);
        Ok(Completed::Half)
    }

    /// A PUBCOMP arrived.
    #[inline]
    pub fn on_pubcomp(&mut self, answer: Answer) -> Result<Completed, UnknownPacketId> {
        self.finish(answer.packet_id, Step::Released)
    }

    #[inline]
    fn finish(&mut self, packet_id: u16, step: Step) -> Result<Completed, UnknownPacketId> {
        let slot = self.slot(packet_id).ok_or(UnknownPacketId)?;
        if slot.step != step {
            return Err(UnknownPacketId);
        }
        slot.step = Step::Free;
        let stamp = slot.stamp;
        self.free.push_back(packet_id);
        Ok(Completed::Message { sent_us: stamp.sent_us })
    }

    #[inline]
    fn slot(&mut self, packet_id: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(packet_id).checked_sub(1)?)
    }

    /// Sends again whatever was under way, in the order of first sending [MQTT-4.6.0-1].
    ///
    /// When the broker has lost the session, the released half is done as far as the client can
    /// know, and the published ones are published anew.
    pub fn resume(&mut self, press: &Press, session_present: bool, out: &mut Vec<u8>) -> u64 {
        let mut open: Vec<(u64, u16)> = (1..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.step != Step::Free)
            .map(|(packet_id, slot)| (slot.turn, packet_id))
            .collect();
        open.sort_unstable();
        let mut given_up = 0;
        for (_, packet_id) in open {
            let slot = &mut self.slots[usize::from(packet_id) - 1];
            match slot.step {
                Step::Free => {}
                Step::Published => press.write(slot.stamp, packet_id, session_present, out),
                Step::Released if session_present => encode::ack(out, Ack::Pubrel, packet_id),
                Step::Released => {
                    slot.step = Step::Free;
                    self.free.push_back(packet_id);
                    given_up += 1;
                }
            }
        }
        given_up
    }
}

impl Press {
    #[inline]
    fn write(&self, stamp: Stamp, packet_id: u16, is_again: bool, out: &mut Vec<u8>) {
        let prefix = &self.prefixes[stamp.stream as usize];
        out.reserve(prefix.len() + 3 + self.filler.payload_size());
        let start = out.len();
        out.extend_from_slice(prefix);
        if self.qos != Qos::AtMostOnce {
            out.extend_from_slice(&packet_id.to_be_bytes());
            if is_again {
                out[start] |= 0x08;
            }
        }
        if self.has_properties {
            out.push(0);
        }
        out.extend_from_slice(&stamp.to_bytes(self.filler.payload_size()));
        out.extend_from_slice(self.filler.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Version;
    use crate::mqtt::decode::{self, Packet};

    fn press(qos: Qos) -> Press {
        let prefixes = (0..2).map(|stream| {
            let topic = format!("t/{stream}");
            encode::publish_prefix(Version::V311, &topic, qos, false, 20).into_boxed_slice()
        });
        let prefixes = prefixes.collect();
        Press { qos, has_properties: false, filler: Filler::new(20), prefixes }
    }

    /// (packet identifier, DUP, sequence) of each PUBLISH, and (identifier, -, -) of each PUBREL.
    fn packets(mut bytes: &[u8]) -> Vec<(u16, bool, Option<u32>)> {
        let mut found = Vec::new();
        while let Some(frame) = decode::split(bytes, 1 << 16).expect("valid") {
            bytes = &bytes[frame.size..];
            found.push(match decode::packet(Version::V311, &frame).expect("valid") {
                Packet::Publish(publish) => {
                    let stamp = Stamp::read(publish.payload).expect("whole");
                    (publish.packet_id, publish.duplicate, Some(stamp.sequence))
                }
                Packet::Pubrel(answer) => (answer.packet_id, false, None),
                other => panic!("{other:?}"),
            });
        }
        found
    }

    fn answer(packet_id: u16) -> Answer {
        Answer { packet_id, reason: 0 }
    }

    #[test]
    fn streams_take_turns_and_count_for_themselves() {
        let press = press(Qos::AtMostOnce);
        let mut publisher = Publisher::new(0..2, Qos::AtMostOnce, 1);
        let mut out = Vec::new();
        for _ in 0..5 {
            publisher.publish(&press, 1, &mut out);
        }
        let sequences: Vec<_> = packets(&out).iter().map(|packet| packet.2).collect();
        assert_eq!(sequences, [Some(0), Some(0), Some(1), Some(1), Some(2)]);
        assert_eq!(publisher.sent_by_stream().collect::<Vec<_>>(), [(0, 3), (1, 2)]);
    }

    #[test]
    fn a_message_due_is_stamped_with_the_time_it_was_due() {
        let press = press(Qos::AtMostOnce);
        let mut publisher = Publisher::new(0..1, Qos::AtMostOnce, 1);
        let mut out = Vec::new();
        publisher.owe(40);
        publisher.publish(&press, 99, &mut out);
        let frame = decode::split(&out, 1 << 16).expect("valid").expect("whole");
        let Ok(Packet::Publish(publish)) = decode::packet(Version::V311, &frame) else { panic!() };
        assert_eq!(Stamp::read(publish.payload).map(|stamp| stamp.sent_us), Some(40));
    }

    #[test]
    fn the_window_closes_and_opens_with_acknowledgements() {
        let press = press(Qos::AtLeastOnce);
        let mut publisher = Publisher::new(0..1, Qos::AtLeastOnce, 2);
        let mut out = Vec::new();
        while publisher.has_packet_id(&press) {
            publisher.publish(&press, 1, &mut out);
        }
        assert_eq!(publisher.sent(), 2);
        assert_eq!(publisher.on_puback(answer(1)), Ok(Completed::Message { sent_us: 1 }));
        assert!(publisher.has_packet_id(&press));
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_found() {
        let mut publisher = Publisher::new(0..1, Qos::AtLeastOnce, 2);
        assert_eq!(publisher.on_puback(answer(1)), Err(UnknownPacketId));
        assert_eq!(publisher.on_puback(answer(0)), Err(UnknownPacketId));
        assert_eq!(publisher.on_pubcomp(answer(99)), Err(UnknownPacketId));
    }

    #[test]
    fn a_new_connection_sends_again_in_the_old_order() {
        let press = press(Qos::ExactlyOnce);
        let mut publisher = Publisher::new(0..1, Qos::ExactlyOnce, 4);
        let mut out = Vec::new();
        for _ in 0..3 {
            publisher.publish(&press, 1, &mut out);
        }
        publisher.on_pubrec(answer(1), &mut out).expect("under way");
        publisher.on_pubcomp(answer(1)).expect("under way");
        publisher.on_pubrec(answer(2), &mut out).expect("under way");
        out.clear();
        publisher.resume(&press, true, &mut out);
        assert_eq!(packets(&out), [(2, false, None), (3, true, Some(2))]);
    }

    #[test]
    fn a_lost_session_gives_up_what_was_released_and_publishes_the_rest_anew() {
        let press = press(Qos::ExactlyOnce);
        let mut publisher = Publisher::new(0..1, Qos::ExactlyOnce, 4);
        let mut out = Vec::new();
        publisher.publish(&press, 1, &mut out);
        publisher.publish(&press, 1, &mut out);
        publisher.on_pubrec(answer(1), &mut out).expect("under way");
        out.clear();
        assert_eq!(publisher.resume(&press, false, &mut out), 1);
        assert_eq!(packets(&out), [(2, false, Some(1))]);
        assert_eq!(publisher.unacknowledged(), 1);
    }
}

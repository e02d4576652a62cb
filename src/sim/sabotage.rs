//! Faults that the simulation commits itself, to show that the oracle would find them in a shard.

use super::random::{Purpose, Random};
use super::wire;

/// What goes wrong now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A message from one shard to another is lost.
    DropLaneMessage,
    /// Two messages from one shard to another change places.
    SwapLaneMessages,
    /// A QoS 0 PUBLISH is routed twice.
    RepeatPublish,
    /// A QoS 1 PUBLISH is acknowledged and forgotten.
    AcknowledgeAndForget,
    /// A PUBLISH to a client is not sent, though the broker counts it as sent.
    DropDelivery,
    /// Two PUBLISHes of one write change places.
    SwapDeliveries,
    /// The retain flag of a PUBLISH to a client is turned over.
    FlipRetain,
    /// An UNSUBSCRIBE is answered and forgotten.
    IgnoreUnsubscribe,
    /// Nobody looks at the clock.
    StopTimers,
    /// The end of a connection is not noticed.
    MissClosed,
    /// A commit is reported before it is durable, and is lost.
    ReportEarly,
    /// A bit of what is written is another one on the disk.
    FlipStoredBit,
    /// Two commits reach the disk in the wrong places.
    SwapWrites,
}

impl Sabotage {
    /// Each of them.
    pub const ALL: [Sabotage; 13] = [
        Sabotage::DropLaneMessage,
        Sabotage::SwapLaneMessages,
        Sabotage::RepeatPublish,
        Sabotage::AcknowledgeAndForget,
        Sabotage::DropDelivery,
        Sabotage::SwapDeliveries,
        Sabotage::FlipRetain,
        Sabotage::IgnoreUnsubscribe,
        Sabotage::StopTimers,
        Sabotage::MissClosed,
        Sabotage::ReportEarly,
        Sabotage::FlipStoredBit,
        Sabotage::SwapWrites,
    ];
}

/// Decides when the fault is committed.
pub(super) struct Saboteur {
    fault: Option<Sabotage>,
    random: Random,
    pub(super) committed: u64,
}

impl Saboteur {
    pub(super) fn new(fault: Option<Sabotage>, seed: u64) -> Saboteur {
        Saboteur { fault, random: Random::new(seed, Purpose::Sabotage, 0), committed: 0 }
    }

    /// Whether to commit this fault at this opportunity.
    pub(super) fn strikes(&mut self, fault: Sabotage) -> bool {
        let strikes = self.fault == Some(fault) && self.random.chance(100);
        self.committed += u64::from(strikes);
        strikes
    }

    /// Damages what a client sends; the second answer is what it shall believe was answered.
    pub(super) fn upstream(&mut self, bytes: Vec<u8>, is_v5: bool) -> (Vec<u8>, Vec<u8>) {
        let (mut sent, mut forged) = (Vec::new(), Vec::new());
        if self.fault.is_none() {
            return (bytes, forged);
        }
        for packet in packets(&bytes) {
            let (kind, qos) = (packet[0] >> 4, packet[0] >> 1 & 3);
            if kind == 3 && qos == 0 && self.strikes(Sabotage::RepeatPublish) {
                sent.extend_from_slice(packet);
            }
            if kind == 3 && qos == 1 && self.strikes(Sabotage::AcknowledgeAndForget) {
                forged.extend([0x40, 2]);
                forged.extend_from_slice(packet_id_of_publish(packet));
                continue;
            }
            if kind == 10 && self.strikes(Sabotage::IgnoreUnsubscribe) {
                forged.extend(unsuback_for(packet, is_v5));
                continue;
            }
            sent.extend_from_slice(packet);
        }
        (sent, forged)
    }

    /// Damages what the broker writes to a client.
    pub(super) fn downstream(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.fault.is_none() {
            return bytes;
        }
        let mut written: Vec<Vec<u8>> = packets(&bytes).into_iter().map(<[u8]>::to_vec).collect();
        let is_publish = |packet: &[u8]| packet[0] >> 4 == 3;
        for index in 0..written.len() {
            if !is_publish(&written[index]) {
                continue;
            }
            if self.strikes(Sabotage::DropDelivery) {
                written[index].clear();
                continue;
            }
            if self.strikes(Sabotage::FlipRetain) {
                written[index][0] ^= 1;
            }
            let before = index.checked_sub(1).filter(|&before| {
                written[before]
                    .first()
                    .is_some_and(|&first| first >> 1 & 0x7F == written[index][0] >> 1)
            });
            if let Some(before) = before
                && self.strikes(Sabotage::SwapDeliveries)
            {
                written.swap(before, index);
            }
        }
        written.concat()
    }
}

/// The packets of a run of bytes; what is not a whole packet comes last, as it is.
fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Ok(Some((end, _))) = wire::cut(bytes) {
        let (packet, rest) = bytes.split_at(end);
        packets.push(packet);
        bytes = rest;
    }
    if !bytes.is_empty() {
        packets.push(bytes);
    }
    packets
}

/// The answer that an UNSUBSCRIBE would get.
fn unsuback_for(packet: &[u8], is_v5: bool) -> Vec<u8> {
    let start = wire::cut(packet).ok().flatten().map_or(2, |(_, start)| start);
    let mut body = packet[start..start + 2].to_vec();
    if is_v5 {
        body.push(0);
        let mut filters = &packet[start + 3..];
        while let [high, low, ..] = *filters {
            body.push(0);
            filters = &filters[2 + usize::from(u16::from_be_bytes([high, low]))..];
        }
    }
    let mut forged = vec![0xB0, body.len() as u8];
    forged.extend(body);
    forged
}

fn packet_id_of_publish(packet: &[u8]) -> &[u8] {
    let start = wire::cut(packet).ok().flatten().map_or(2, |(_, start)| start);
    let topic_bytes = usize::from(u16::from_be_bytes([packet[start], packet[start + 1]]));
    &packet[start + 2 + topic_bytes..start + 4 + topic_bytes]
}

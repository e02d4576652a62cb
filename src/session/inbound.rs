//! QoS 2 messages a client has published and not yet released.

use crate::proto::PacketId;

/// The packet identifiers of QoS 2 messages that were taken and not yet released by PUBREL: a
/// PUBLISH with one of them is a repetition and is not routed again. [MQTT-4.3.3-10]
///
/// A bit an identifier, grown to the highest one used: at most 8 KiB.
#[derive(Debug, Default)]
pub struct Inbound {
    words: Vec<u64>,
    count: u32,
}

impl Inbound {
    /// How many are not released.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether all are released.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the identifier waits for its PUBREL.
    pub fn contains(&self, packet_id: PacketId) -> bool {
        let (word, bit) = position(packet_id);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Takes a message; false if it was taken already.
    pub fn insert(&mut self, packet_id: PacketId) -> bool {
        let (word, bit) = position(packet_id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(new);
        new
    }

    /// PUBREL: the identifier may be used again; false if it was not taken.
    pub fn remove(&mut self, packet_id: PacketId) -> bool {
        let (word, bit) = position(packet_id);
        let Some(bits) = self.words.get_mut(word) else { return false };
        let known = *bits & bit != 0;
        *bits &= !bit;
        self.count -= u32::from(known);
        known
    }

    /// Those that wait for their PUBREL.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> {
        self.words.iter().enumerate().flat_map(|(word, bits)| {
            let set = (0..64).filter(move |bit| bits & 1 << bit != 0);
            set.filter_map(move |bit| PacketId::new((word * 64 + bit) as u16))
        })
    }

    /// Lets go of memory that an unattached session does not need.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.words = Vec::new();
        }
    }
}

fn position(packet_id: PacketId) -> (usize, u64) {
    let index = usize::from(packet_id.get());
    (index / 64, 1 << (index % 64))
}

//! The first sixteen bytes of every payload, and the known bytes after them.
//!
//! ```text
//!  0        4          8         12      16
//!  +--------+----------+---------+-------+----------------------------+
//!  | stream | sequence | sent_us | check | filler, the same everywhere |
//!  +--------+----------+---------+-------+----------------------------+
//! ```
//!
//! All little endian. `stream` names a publisher and a topic, `sequence` counts within it from
//! zero, `sent_us` is the intended time of sending in microseconds of the run's clock, modulo 2^32
//! (71 minutes), and `check` binds the three and the payload's size together, so that a flipped
//! bit or a payload cut short is told from a message nobody sent.

/// Bytes of a stamp, and so of the smallest payload.
pub const STAMP_SIZE: usize = 16;

/// Who sent a message, which one it was, and when it was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the stream in the plan.
    pub stream: u32,
    /// Number of the message within its stream.
    pub sequence: u32,
    /// Intended time of sending, modulo 2^32 microseconds.
    pub sent_us: u32,
}

impl Stamp {
    /// The bytes that lead a payload of `payload_size`.
    #[inline]
    #[must_use]
    pub fn to_bytes(self, payload_size: usize) -> [u8; STAMP_SIZE] {
        let mut bytes = [0; STAMP_SIZE];
        bytes[0..4].copy_from_slice(&self.stream.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.sent_us.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.check(payload_size).to_le_bytes());
        bytes
    }

    /// The stamp of `payload`, unless it is damaged.
    #[inline]
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_SIZE] = payload.first_chunk()?;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let stamp = Self { stream: word(0), sequence: word(4), sent_us: word(8) };
        (word(12) == stamp.check(payload.len())).then_some(stamp)
    }

    /// Two rounds of multiply and fold: each input bit reaches about half of the output bits.
    #[inline]
    fn check(self, payload_size: usize) -> u32 {
        let names = u64::from(self.stream) << 32 | u64::from(self.sequence);
        let rest = u64::from(self.sent_us) << 32 | payload_size as u64;
        let mut mixed = (names ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 31 ^ rest).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 32) as u32
    }
}

/// The bytes after the stamp: pseudo-random, so that a shifted or repeated block shows.
#[derive(Clone, Debug)]
pub struct Filler(Box<[u8]>);

impl Filler {
    /// The filler of payloads of `payload_size`, which is at least [`STAMP_SIZE`].
    #[must_use]
    pub fn new(payload_size: usize) -> Self {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let size = payload_size.saturating_sub(STAMP_SIZE);
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        Self(bytes.take(size).collect())
    }

    /// The bytes that follow a stamp.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes of a payload with its stamp.
    #[inline]
    #[must_use]
    pub fn payload_size(&self) -> usize {
        self.0.len() + STAMP_SIZE
    }

    /// The stamp of a payload that is whole in every byte.
    #[inline]
    #[must_use]
    pub fn verify(&self, payload: &[u8]) -> Option<Stamp> {
        let stamp = Stamp::read(payload)?;
        (payload[STAMP_SIZE..] == *self.0).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(filler: &Filler) -> Vec<u8> {
        let stamp = Stamp { stream: 7, sequence: 1_000_000, sent_us: 123_456_789 };
        let mut bytes = stamp.to_bytes(filler.payload_size()).to_vec();
        bytes.extend_from_slice(filler.bytes());
        bytes
    }

    #[test]
    fn a_whole_payload_verifies() {
        let filler = Filler::new(64);
        let stamp = filler.verify(&payload(&filler)).expect("whole");
        assert_eq!((stamp.stream, stamp.sequence, stamp.sent_us), (7, 1_000_000, 123_456_789));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let filler = Filler::new(64);
        let whole = payload(&filler);
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(filler.verify(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_found() {
        let filler = Filler::new(STAMP_SIZE);
        let whole = payload(&filler);
        for size in 0..whole.len() {
            assert_eq!(filler.verify(&whole[..size]), None, "size {size}");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(filler.verify(&longer), None);
    }
}

//! The codec as a whole: every packet there and back, every cut, every flipped bit, and what
//! must be refused with which reason code. Rules of one file alone are tested beside it.

mod cuts;
mod refusals;
mod round_trip;
mod samples;
mod wire;

use super::{Cut, DecodeError, Frame, Packet, Version};

/// The side whose packets are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// No limit on a packet's size but the format's.
const ANY_SIZE: u32 = u32::MAX;

impl From {
    fn decode(self, version: Version, frame: Frame<'_>) -> Result<Packet<'_>, DecodeError> {
        match self {
            From::Client => Packet::decode_from_client(version, frame),
            From::Server => Packet::decode_from_server(version, frame),
        }
    }

    /// The packet that these bytes are, no more and no less.
    fn read(self, version: Version, bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
        match Frame::cut(bytes, ANY_SIZE)? {
            Cut::Whole { frame, size } => {
                assert_eq!(size, bytes.len(), "bytes beyond the packet");
                self.decode(version, frame)
            }
            Cut::Partial { needed } => panic!("{needed} bytes needed, {} there", bytes.len()),
        }
    }
}

fn written(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

//! Whatever part of a packet arrives, and whatever is wrong with it: no panic, and never a
//! packet that was not sent.

use super::samples::samples;
use super::{ANY_SIZE, From, written};
use crate::proto::{Cut, Frame, Packet, PacketType, Sender, Version};

#[test]
fn every_sample_is_read_as_it_was_written() {
    for sample in samples() {
        let bytes = written(&sample.packet, sample.version);
        assert_eq!(sample.from.read(sample.version, &bytes), Ok(sample.packet), "{bytes:02x?}");
    }
}

#[test]
fn every_beginning_of_a_packet_waits_for_more() {
    for sample in samples() {
        let bytes = written(&sample.packet, sample.version);
        for len in 0..bytes.len() {
            match Frame::cut(&bytes[..len], ANY_SIZE) {
                Ok(Cut::Partial { needed }) => {
                    assert!(needed > len, "asks for {needed} of {len} bytes");
                    assert!(needed <= bytes.len(), "asks for {needed} of {}", bytes.len());
                }
                other => panic!("{len} of {} bytes: {other:?}", bytes.len()),
            }
        }
    }
}

#[test]
fn a_packet_is_cut_off_from_what_follows_it() {
    for sample in samples() {
        let mut bytes = written(&sample.packet, sample.version);
        let size = bytes.len();
        bytes.extend_from_slice(&[0xC0, 0x00, 0xFF]);
        match Frame::cut(&bytes, ANY_SIZE) {
            Ok(Cut::Whole { frame, size: cut }) => {
                assert_eq!(cut, size);
                assert_eq!(sample.from.decode(sample.version, frame), Ok(sample.packet));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A body that ends early, in a fixed header that says so. Some packets may leave out their end,
/// and a payload has no length of its own; what is read then is at least not what was sent.
#[test]
fn a_body_that_ends_early_is_refused_or_another_packet() {
    for sample in samples() {
        let bytes = written(&sample.packet, sample.version);
        let body = body_of(&bytes);
        for len in 0..body.len() {
            let shorter = with_length(bytes[0], &body[..len]);
            match sample.from.read(sample.version, &shorter) {
                Err(_) => {}
                Ok(packet) => {
                    assert_ne!(packet, sample.packet, "{len} of {} bytes", body.len());
                    assert!(may_end_early(&packet, sample.version), "{packet:?}");
                }
            }
        }
    }
}

fn may_end_early(packet: &Packet<'_>, version: Version) -> bool {
    match packet {
        // A payload, a list of filters or codes: shorter by whole entries.
        Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_) => true,
        // A reason code and properties that are not there have their defaults.
        Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Disconnect(_)
        | Packet::Auth(_) => version == Version::V5,
        // Flags that promise strings that do not come.
        Packet::Connect(_) => version == Version::V31,
        _ => false,
    }
}

#[test]
fn a_byte_too_many_is_refused_where_no_payload_can_take_it() {
    for sample in samples() {
        if matches!(sample.packet, Packet::Publish(_) | Packet::SubAck(_) | Packet::UnsubAck(_)) {
            continue;
        }
        let bytes = written(&sample.packet, sample.version);
        let body = body_of(&bytes);
        let longer = with_length(bytes[0], &[body, &[0]].concat());
        match sample.from.read(sample.version, &longer) {
            Err(_) => {}
            // A reason code of success, or the length of no properties.
            Ok(packet) => assert_eq!(packet, sample.packet),
        }
    }
}

#[test]
fn no_flipped_bit_makes_the_decoder_panic_or_leaves_it_without_an_answer() {
    for sample in samples() {
        let bytes = written(&sample.packet, sample.version);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for from in [From::Client, From::Server] {
                for version in super::VERSIONS {
                    read_and_write_again(from, version, &flipped);
                }
            }
        }
    }
}

fn read_and_write_again(from: From, version: Version, bytes: &[u8]) {
    let Ok(Cut::Whole { frame, .. }) = Frame::cut(bytes, ANY_SIZE) else { return };
    match from.decode(version, frame) {
        Ok(packet) => {
            let again = written(&packet, version);
            assert_eq!(from.read(version, &again), Ok(packet), "{bytes:02x?}");
        }
        Err(error) => {
            // The last word to a client: a CONNACK if it was its first, else a DISCONNECT.
            let answer = match frame.packet_type() {
                PacketType::Connect if from == From::Client => PacketType::ConnAck,
                _ => PacketType::Disconnect,
            };
            assert!(error.reason().belongs_to(answer, Sender::Server), "{error} to {bytes:02x?}");
        }
    }
}

fn body_of(bytes: &[u8]) -> &[u8] {
    match Frame::cut(bytes, ANY_SIZE) {
        Ok(Cut::Whole { frame, .. }) => frame.body(),
        other => panic!("{other:?}"),
    }
}

/// A packet of this first byte and body; short enough for two bytes of length.
fn with_length(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match body.len() {
        len @ 0..=0x7F => bytes.push(len as u8),
        len @ 0x80..=0x3FFF => bytes.extend([len as u8 & 0x7F | 0x80, (len >> 7) as u8]),
        len => panic!("a sample of {len} bytes"),
    }
    bytes.extend_from_slice(body);
    bytes
}

//! What the fuzz targets check, whatever the bytes are.

mod door;
mod shard;

pub use door::walk_through_door;
pub use shard::drive_shard;

use hawker::proto::{Connect, Cut, DecodeError, Frame, Packet, Publish, Version};

/// Larger than any input, so that a wrong length is the decoder's to find.
const SIZE_MAX: u32 = 1 << 20;

type Decode = for<'a> fn(Version, Frame<'a>) -> Result<Packet<'a>, DecodeError>;

/// Reads the bytes as a connection's stream of packets, from either side.
pub fn decode_stream(version: Version, stream: &[u8]) {
    let sides: [Decode; 2] = [
        |version, frame| Packet::decode_from_client(version, frame),
        |version, frame| Packet::decode_from_server(version, frame),
    ];
    for decode in sides {
        let mut rest = stream;
        loop {
            match Frame::cut(rest, SIZE_MAX) {
                Ok(Cut::Whole { frame, size }) => {
                    decode_frame(decode, version, frame);
                    rest = &rest[size..];
                }
                Ok(Cut::Partial { needed }) => {
                    assert!(needed > rest.len(), "{needed} bytes needed, {} there", rest.len());
                    break;
                }
                Err(_) => break,
            }
        }
    }
}

/// What can be read can be written, and then read again as the same.
fn decode_frame(decode: Decode, version: Version, frame: Frame<'_>) {
    let packet = match decode(version, frame) {
        Ok(packet) => packet,
        Err(error) => {
            assert!(error.reason().is_error());
            if let Some((version, refusal)) = Connect::refusal(&frame, error) {
                refusal.encode(version, &mut Vec::new());
            }
            return;
        }
    };
    visit(&packet, version);
    let mut written = Vec::new();
    packet.encode(version, &mut written);
    match Frame::cut(&written, SIZE_MAX) {
        Ok(Cut::Whole { frame, size }) => {
            assert_eq!(size, written.len());
            assert_eq!(decode(version, frame).as_ref(), Ok(&packet));
        }
        other => panic!("{packet:?} is written as {written:02x?}, read as {other:?}"),
    }
    // Whatever must fit is left out until it does, and never more is written than allowed.
    let mut fitted = Vec::new();
    let size_max = written.len() as u32 / 2;
    if packet.encode_within(version, size_max, &mut fitted) {
        assert!(fitted.len() <= size_max as usize);
    } else {
        assert!(fitted.is_empty());
    }
}

/// Reads everything that a packet reads only when it is asked.
fn visit(packet: &Packet<'_>, version: Version) {
    match packet {
        Packet::Publish(publish) => visit_publish(publish, version),
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.filters.len() > 0);
            for subscription in subscribe.filters.iter() {
                let filter = subscription.filter.topic_filter();
                assert!(!(subscription.filter.is_shared() && subscription.options.no_local));
                filter.matches("a/b");
                assert_eq!(filter.has_wildcard(), filter.as_str().contains(['+', '#']));
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.filters.len() > 0);
            assert_eq!(unsubscribe.filters.iter().count(), unsubscribe.filters.len());
        }
        Packet::Connect(connect) => {
            assert!(!connect.user_properties.iter().any(|(name, _)| name.contains('\0')));
        }
        _ => {}
    }
}

fn visit_publish(publish: &Publish<'_>, version: Version) {
    let mut head = Vec::new();
    assert!(publish.encode_head(version, &mut head));
    assert_eq!(head.len() + publish.payload.len(), publish.encoded_len(version));
    let forward = publish.properties.forward;
    let mut kept = Vec::new();
    forward.write_to(&mut kept);
    assert_eq!(kept.len(), forward.len());
    assert_eq!(hawker::proto::ForwardProperties::from_encoded(&kept), forward);
    assert!(publish.topic.levels().count() > 0);
}

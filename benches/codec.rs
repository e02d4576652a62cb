//! What a packet costs between bytes and meaning: decoding as the server reads it from a client,
//! encoding into a buffer that is used again.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hawker::proto::{
    Connect, Credentials, Cut, ForwardProperties, Frame, PACKET_SIZE_MAX, Packet, PacketId,
    Publish, PublishProperties, QoS, RetainHandling, Subscribe, SubscribeFilters,
    SubscriptionOptions, TopicName, UserProperties, Version, Will,
};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// What a chat application sends along with a message: content type, correlation data and a user
/// property, encoded.
const FORWARDED: &[u8] =
    b"\x03\x00\x10application/json\x09\x00\x0800000042\x26\x00\x05trace\x00\x104bf92f3577b34da6";

fn publish(criterion: &mut Criterion) {
    for (size, name) in [(64, "64 B"), (1 << 10, "1 KiB"), (16 << 10, "16 KiB")] {
        let payload = vec![b'x'; size];
        for version in VERSIONS {
            let properties = match version {
                Version::V31 | Version::V311 => PublishProperties::NONE,
                Version::V5 => PublishProperties {
                    message_expiry_interval: Some(3600),
                    forward: ForwardProperties::from_encoded(FORWARDED),
                    ..PublishProperties::NONE
                },
            };
            let packet = Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: topic("chat/users/4711/messages"),
                packet_id: Some(packet_id()),
                properties,
                payload: &payload,
            });
            both_ways(criterion, &format!("PUBLISH {name}"), version, &packet);
        }
    }
}

fn subscribe(criterion: &mut Criterion) {
    let options = SubscriptionOptions {
        retain_handling: RetainHandling::SendIfNew,
        ..SubscriptionOptions::at(QoS::AtLeastOnce)
    };
    let filters = [
        ("chat/users/4711/messages", options),
        ("chat/users/4711/receipts", options),
        ("chat/rooms/+/4711/#", options),
        ("$share/presence/presence/+", options),
    ];
    for version in VERSIONS {
        let encoded = SubscribeFilters::encode_list(version, &filters);
        let packet = Packet::Subscribe(Subscribe {
            packet_id: packet_id(),
            subscription_id: (version == Version::V5).then_some(42),
            user_properties: UserProperties::NONE,
            filters: SubscribeFilters::from_encoded(version, &encoded).expect("they are legal"),
        });
        both_ways(criterion, "SUBSCRIBE 4 filters", version, &packet);
    }
}

fn connect(criterion: &mut Criterion) {
    for version in VERSIONS {
        let mut connect = Connect::new(version, "user-4711-phone");
        connect.clean_start = false;
        connect.keep_alive = 300;
        connect.credentials =
            Credentials { user_name: Some("user-4711"), password: Some(b"correct horse battery") };
        connect.will = Some(Will {
            topic: topic("presence/4711"),
            qos: QoS::AtLeastOnce,
            retain: true,
            delay_interval: if version == Version::V5 { 30 } else { 0 },
            properties: PublishProperties::NONE,
            payload: b"away",
        });
        if version == Version::V5 {
            connect.session_expiry_interval = Some(86_400);
            connect.receive_maximum = Some(100);
            connect.topic_alias_maximum = Some(16);
            connect.user_properties = UserProperties::Plain(&[("app", "chat 3.2")]);
        }
        both_ways(criterion, "CONNECT", version, &Packet::Connect(connect));
    }
}

fn packet_id() -> PacketId {
    PacketId::new(4711).expect("it is not 0")
}

fn topic(name: &str) -> TopicName<'_> {
    TopicName::new(name).expect("it is legal")
}

/// Measures encoding a packet and decoding what came of it.
fn both_ways(criterion: &mut Criterion, name: &str, version: Version, packet: &Packet<'_>) {
    let mut wire = Vec::new();
    packet.encode(version, &mut wire);
    criterion.bench_function(&format!("decode/{name}/{version}"), |bencher| {
        bencher.iter(|| decode(version, black_box(&wire)));
    });
    let mut out = Vec::with_capacity(wire.len());
    criterion.bench_function(&format!("encode/{name}/{version}"), |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(packet).encode(version, &mut out);
            black_box(out.len())
        });
    });
}

fn decode(version: Version, wire: &[u8]) -> Packet<'_> {
    match Frame::cut(wire, PACKET_SIZE_MAX as u32).expect("it was encoded") {
        Cut::Whole { frame, .. } => {
            Packet::decode_from_client(version, frame).expect("it was encoded")
        }
        Cut::Partial { .. } => unreachable!("all of it is there"),
    }
}

/// Few and short samples: the codec does the same each time.
fn settings() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
}

criterion_group! {
    name = codec;
    config = settings();
    targets = publish, subscribe, connect
}
criterion_main!(codec);

//! Bytes that are no MQTT: the reason code that 5.0 names or a close, and a broker that goes on.

use super::brokers::{Broker, at_once, on_every_broker, on_every_broker_with, on_every_version};
use super::client::{Arrival, Client, PATIENCE};
use super::packet::Packet;
use super::wire::Version::{self, V5, V31, V311};
use super::wire::{self, BAD_TEXTS, Connect, Will, block, field, first, four, id, text, user};

/// A legal packet from a client with all its parts, and which shorter bodies of it are legal too.
struct Sample {
    name: &'static str,
    first: u8,
    body: Vec<u8>,
    shorter: fn(Version, &[u8], usize) -> bool,
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        wire::packet(self.first, &self.body)
    }
}

const NEVER: fn(Version, &[u8], usize) -> bool = |_, _, _| false;

fn samples(version: Version) -> Vec<Sample> {
    let sample = |name, first, body, shorter| Sample { name, first, body, shorter };
    let id = 7_u16.to_be_bytes();
    let of_five = |list: &[Vec<u8>]| if version == V5 { block(list) } else { Vec::new() };
    let people = [text(id::REASON_STRING, "why"), user("k", "v")];
    let ack = if version == V5 { [&id[..], &[0], &block(&people)].concat() } else { id.to_vec() };
    // A reason code and properties may be missing together, or the properties alone.
    let ack_shorter = |version, _: &[u8], length| version == V5 && (length == 2 || length == 3);
    let publish = publish_sample(version);
    let mut samples = vec![
        sample("PUBLISH", 0x32, publish.body(), |version, body, length| {
            length >= body.len() - publish_sample(version).payload.len()
        }),
        sample("PUBACK", first::PUBACK, ack.clone(), ack_shorter),
        sample("PUBREC", first::PUBREC, ack.clone(), ack_shorter),
        sample("PUBREL", first::PUBREL, ack.clone(), ack_shorter),
        sample("PUBCOMP", first::PUBCOMP, ack, ack_shorter),
        sample(
            "SUBSCRIBE",
            first::SUBSCRIBE,
            [
                &id[..],
                &of_five(&[wire::property(id::SUBSCRIPTION_ID, [5]), user("k", "v")]),
                &field("a/+"),
                &[1],
            ]
            .concat(),
            NEVER,
        ),
        sample(
            "UNSUBSCRIBE",
            first::UNSUBSCRIBE,
            [&id[..], &of_five(&[user("k", "v")]), &field("a/#")].concat(),
            NEVER,
        ),
    ];
    if version == V5 {
        let list = [four(id::SESSION_EXPIRY, 0), text(id::REASON_STRING, "why"), user("k", "v")];
        let body = [&[0x04], block(&list).as_slice()].concat();
        samples.push(sample("DISCONNECT", first::DISCONNECT, body, |_, _, length| length < 2));
        let list = [text(id::AUTH_METHOD, "m"), text(id::AUTH_DATA, "d")];
        let body = [&[0x18], block(&list).as_slice()].concat();
        samples.push(sample("AUTH", first::AUTH, body, NEVER));
    }
    samples
}

fn publish_sample(version: Version) -> wire::Publish {
    let publish = wire::Publish::new(version, "a/b", "payload").qos(1, 7);
    if version != V5 {
        return publish;
    }
    publish
        .property(wire::byte(id::PAYLOAD_FORMAT, 1))
        .property(four(id::MESSAGE_EXPIRY, 60))
        .property(text(id::CONTENT_TYPE, "t"))
        .property(text(id::RESPONSE_TOPIC, "r"))
        .property(text(id::CORRELATION_DATA, "c"))
        .property(wire::two(id::TOPIC_ALIAS, 1))
        .property(user("k", "v"))
}

fn connect_sample(broker: &Broker, version: Version) -> Connect {
    let mut will = Will::new("w", "gone").qos(1);
    let mut connect = Connect::new(version, broker.unique()).user_name("u").password("p");
    if version == V5 {
        will = will
            .property(four(id::WILL_DELAY, 1))
            .property(text(id::CONTENT_TYPE, "t"))
            .property(text(id::CORRELATION_DATA, "c"));
        connect = connect
            .property(four(id::SESSION_EXPIRY, 1))
            .property(wire::two(id::RECEIVE_MAXIMUM, 9))
            .property(user("k", "v"));
    }
    connect.will(will)
}

/// Connects, sends these bytes in the same segment, and demands the end.
#[track_caller]
fn expect_end(broker: &Broker, version: Version, bytes: &[u8], reasons: &[u8]) {
    let mut client = accepted_with(broker, version, bytes);
    client.expect_end(reasons);
}

#[track_caller]
fn accepted_with(broker: &Broker, version: Version, bytes: &[u8]) -> Client {
    let mut client = Client::open(broker, version);
    client.send([&Connect::new(version, broker.unique()).bytes(), bytes].concat());
    assert_eq!(client.expect_connack().reason, 0);
    client
}

/// Sends bytes instead of a CONNECT and demands that nobody is let in.
#[track_caller]
fn expect_no_entry(broker: &Broker, version: Version, bytes: &[u8]) {
    let mut client = Client::open(broker, version);
    client.send(bytes);
    client.finish_sending();
    let answer = client.read_raw_to_end();
    // Whoever speaks HTTP is told so in HTTP.
    let told = bytes.starts_with(b"GET ") && answer.starts_with(b"HTTP/1.1 400 ");
    let refused = answer.is_empty() || told || (answer[0] == first::CONNACK && answer[3] != 0);
    assert!(refused, "{bytes:02x?} was answered with {answer:02x?}");
}

#[test]
fn every_packet_may_end_at_every_byte() {
    // [v3.1.1 MQTT-3.1.4-1] [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-3.1.4-1] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        for sample in samples(version) {
            let bytes = sample.bytes();
            for cut in 0..bytes.len() {
                let mut client = accepted_with(broker, version, &bytes[..cut]);
                client.finish_sending();
                for packet in client.read_to_end() {
                    let goodbye = matches!(packet, Packet::Disconnect(_));
                    assert!(goodbye, "{} cut at {cut}: {packet:?}", sample.name);
                }
            }
        }
        let connect = connect_sample(broker, version).bytes();
        (0..connect.len()).for_each(|cut| expect_no_entry(broker, version, &connect[..cut]));
    });
}

#[test]
fn a_packet_whose_fields_reach_past_its_length_is_malformed() {
    // [v3.1.1 MQTT-3.8.3-3] [v3.1.1 MQTT-3.10.3-2] [v3.1.1 MQTT-4.8.0-1]
    // [v5 MQTT-3.8.3-2] [v5 MQTT-3.10.3-2] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        for sample in samples(version) {
            for length in 0..sample.body.len() {
                if (sample.shorter)(version, &sample.body, length) {
                    continue;
                }
                let bytes = wire::packet(sample.first, &sample.body[..length]);
                expect_end(broker, version, &bytes, &[0x81, 0x82]);
            }
        }
        // 3.1 lets the credentials be missing whose flags are set.
        let credentials = if version == V31 { 6 } else { 0 };
        let body = connect_sample(broker, version).body();
        for length in 0..body.len() - credentials {
            let bytes = wire::packet(first::CONNECT, &body[..length]);
            expect_no_entry(broker, version, &bytes);
        }
    });
}

#[test]
fn a_packet_with_bytes_after_its_fields_is_malformed() {
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        for sample in samples(version).into_iter().filter(|sample| sample.name != "PUBLISH") {
            let bytes = wire::packet(sample.first, &[&sample.body[..], &[0xFF]].concat());
            expect_end(broker, version, &bytes, &[0x81, 0x82]);
        }
        expect_end(broker, version, &[first::PINGREQ, 1, 0], &[0x81]);
        if version != V5 {
            expect_end(broker, version, &[first::DISCONNECT, 1, 0], &[]);
        }
        if version != V31 {
            let body = [&connect_sample(broker, version).body()[..], &[0]].concat();
            expect_no_entry(broker, version, &wire::packet(first::CONNECT, &body));
        }
    });
}

#[test]
fn reserved_flags_of_the_fixed_header_are_malformed() {
    // [v3.1.1 MQTT-2.2.2-1] [v3.1.1 MQTT-2.2.2-2] [v3.1.1 MQTT-3.6.1-1] [v3.1.1 MQTT-3.8.1-1]
    // [v3.1.1 MQTT-3.10.1-1] [v3.1.1 MQTT-3.14.1-1]
    // [v5 MQTT-2.1.3-1] [v5 MQTT-3.6.1-1] [v5 MQTT-3.8.1-1] [v5 MQTT-3.10.1-1]
    // [v5 MQTT-3.14.1-1] [v5 MQTT-3.15.1-1]
    on_every_broker(|broker| {
        // 3.1 uses some of these bits and leaves others open.
        for version in [V311, V5] {
            let mut packets: Vec<(u8, Vec<u8>)> = samples(version)
                .into_iter()
                .filter(|sample| sample.name != "PUBLISH")
                .map(|sample| (sample.first, sample.body))
                .collect();
            packets.push((first::PINGREQ, Vec::new()));
            packets.push((first::DISCONNECT, Vec::new()));
            for (right, body) in packets {
                for flags in (0..16).filter(|flags| *flags != right & 0x0F) {
                    let bytes = wire::packet(right & 0xF0 | flags, &body);
                    expect_end(broker, version, &bytes, &[0x81]);
                }
            }
            let connect = Connect::new(version, broker.unique()).body();
            for flags in 1..16 {
                let bytes = wire::packet(first::CONNECT | flags, &connect);
                expect_no_entry(broker, version, &bytes);
            }
        }
    });
}

#[test]
fn packet_types_that_no_client_sends_end_the_connection() {
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        let connack = [first::CONNACK, 2, 0, 0];
        let connack = if version == V5 { &[first::CONNACK, 3, 0, 0, 0][..] } else { &connack };
        expect_end(broker, version, connack, &[0x81, 0x82]);
        expect_end(broker, version, &[first::PINGRESP, 0], &[0x81, 0x82]);
        let suback = [first::SUBACK, 3, 0, 7, 0];
        let suback = if version == V5 { &[first::SUBACK, 4, 0, 7, 0, 0][..] } else { &suback };
        expect_end(broker, version, suback, &[0x81, 0x82]);
        let unsuback = [first::UNSUBACK, 2, 0, 7];
        let unsuback =
            if version == V5 { &[first::UNSUBACK, 4, 0, 7, 0, 0][..] } else { &unsuback };
        expect_end(broker, version, unsuback, &[0x81, 0x82]);
        // Type 0 is nobody's, type 15 is 5.0's alone.
        for flags in 0..16 {
            expect_end(broker, version, &[flags, 0], &[0x81]);
            if version != V5 {
                expect_end(broker, version, &[first::AUTH | flags, 0], &[]);
            }
        }
    });
}

#[test]
fn lengths_in_more_bytes_than_needed_are_malformed_in_5_0() {
    // [v5 MQTT-1.5.5-1]
    on_every_broker(|broker| {
        expect_end(broker, V5, &[first::PINGREQ, 0x80, 0], &[0x81]);
        expect_end(broker, V5, &[first::PINGREQ, 0x80, 0x80, 0], &[0x81]);
        expect_end(broker, V5, &[first::PINGREQ, 0x80, 0x80, 0x80, 0], &[0x81]);
        // The property length of a PUBLISH.
        let body = [&field("a"), &[0x80, 0x00][..], b"payload"].concat();
        expect_end(broker, V5, &wire::packet(first::PUBLISH, &body), &[0x81]);
        // A subscription identifier.
        let number = wire::property(id::SUBSCRIPTION_ID, [0x81, 0x00]);
        let bytes = wire::subscribe_with(V5, 7, &[number], &[("a", 0)]);
        expect_end(broker, V5, &bytes, &[0x81]);
        // The property length and the remaining length of a CONNECT.
        let right = Connect::new(V5, broker.unique()).body();
        let body = [&right[..10], &[0x80, 0x00], &right[11..]].concat();
        expect_no_entry(broker, V5, &wire::packet(first::CONNECT, &body));
        let length = u8::try_from(right.len()).expect("a small packet") | 0x80;
        expect_no_entry(broker, V5, &[&[first::CONNECT, length, 0], right.as_slice()].concat());
    });
}

#[test]
fn a_remaining_length_of_five_bytes_is_malformed() {
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-1.5.5-1] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        for bytes in [[0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0x80, 0x80, 0x80, 0x80, 0x00]] {
            for first in [first::PUBLISH, first::PINGREQ, first::SUBSCRIBE] {
                let packet = [&[first], &bytes[..]].concat();
                expect_end(broker, version, &packet, &[0x81]);
            }
            expect_no_entry(broker, version, &[&[first::CONNECT], &bytes[..]].concat());
        }
    });
}

#[test]
fn a_giant_remaining_length_is_refused_before_its_bytes_come() {
    // [v5 MQTT-3.2.2-15] [v5 MQTT-4.13.1-1]
    on_every_version(|broker, version| {
        let giant = [first::PUBLISH, 0xFF, 0xFF, 0xFF, 0x7F];
        // Nothing follows, and nothing need follow.
        expect_end(broker, version, &giant, &[0x95]);
        let mut stranger = Client::open(broker, version);
        stranger.send([first::CONNECT, 0xFF, 0xFF, 0xFF, 0x7F]);
        stranger.send(&Connect::new(version, broker.unique()).body()[..8]);
        let answer = stranger.read_raw_to_end();
        assert!(answer.is_empty() || answer[3] != 0, "{answer:02x?}");
    });
}

#[test]
fn a_stranger_says_no_more_than_a_connect_can() {
    on_every_version(|broker, version| {
        let mut stranger = Client::open(broker, version);
        // 384 KiB beside the head, of which nothing follows.
        stranger.send([first::CONNECT, 0x80, 0x80, 0x18]);
        stranger.read_raw_to_end();
        let longest = "x".repeat(65_535);
        let connect = Connect::new(version, broker.unique()).user_name(&longest);
        let mut honest = Client::open(broker, version);
        honest.send(connect.will(Will::new("w", longest.clone())).bytes());
        assert_eq!(honest.expect_connack().reason, 0);
    });
}

#[test]
fn a_packet_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
    // [v5 MQTT-3.2.2-15]
    on_every_broker_with("[mqtt]\npacket_bytes_max = 2048\n", |broker| {
        for version in Version::ALL {
            let topic = broker.unique();
            let mut client = Client::start(broker, version);
            if version == V5 {
                let connack = client.connack.clone().expect("it is connected");
                assert_eq!(connack.properties.number(id::MAXIMUM_PACKET_SIZE), Some(2048));
            }
            client.subscribe(&topic, 0);
            let head = client.message(&topic, "").body().len();
            let largest = client.message(&topic, "x".repeat(2048 - 3 - head));
            assert_eq!(largest.bytes().len(), 2048);
            client.send(largest.bytes());
            assert_eq!(client.receive().payload, largest.payload);
            client.send(client.message(&topic, "x".repeat(2048 - 2 - head)).bytes());
            client.expect_end(&[0x95]);
        }
    });
}

#[test]
fn ill_formed_text_in_connect_keeps_a_client_out() {
    // [v3.1.1 MQTT-1.5.3-1] [v3.1.1 MQTT-1.5.3-2] [v3.1.1 MQTT-3.1.3-4]
    // [v3.1.1 MQTT-3.1.3-10] [v3.1.1 MQTT-3.1.3-11]
    // [v5 MQTT-1.5.4-1] [v5 MQTT-1.5.4-2] [v5 MQTT-1.5.7-1] [v5 MQTT-3.1.3-4]
    // [v5 MQTT-3.1.3-11] [v5 MQTT-3.1.3-12]
    on_every_version(|broker, version| {
        for bad in BAD_TEXTS {
            let right = Connect::new(version, broker.unique());
            let will = Will::new("w", "x");
            let mut wrong = vec![
                Connect::new(version, bad),
                right.clone().will(Will::new(bad, "x")),
                right.clone().user_name(bad),
            ];
            if version == V5 {
                wrong.extend([
                    right.clone().property(user(bad, "v")),
                    right.clone().property(user("k", bad)),
                    right.clone().property(text(id::AUTH_METHOD, bad)),
                    right.clone().will(will.clone().property(user(bad, "v"))),
                    right.clone().will(will.clone().property(user("k", bad))),
                    right.clone().will(will.clone().property(text(id::CONTENT_TYPE, bad))),
                    right.clone().will(will.clone().property(text(id::RESPONSE_TOPIC, bad))),
                ]);
            }
            for connect in wrong {
                let mut client = Client::ask(broker, &connect);
                match client.poll(PATIENCE) {
                    // [v5 MQTT-3.1.4-1]: 5.0 may name the reason.
                    Arrival::Packet(Packet::ConnAck(connack)) if version == V5 => {
                        assert_eq!(connack.reason, 0x81, "{connect:?}");
                        client.expect_close();
                    }
                    // 3.1.1 may call a client id ill-formed by its own return code.
                    Arrival::Packet(Packet::ConnAck(connack)) => {
                        assert_ne!(connack.reason, 0, "{connect:?}");
                        client.expect_close();
                    }
                    Arrival::Closed => {}
                    other => panic!("{connect:?}: {other:?}"),
                }
            }
        }
    });
}

#[test]
fn ill_formed_text_in_any_packet_ends_the_connection() {
    // [v3.1.1 MQTT-1.5.3-1] [v3.1.1 MQTT-1.5.3-2] [v3.1.1 MQTT-3.3.2-1]
    // [v3.1.1 MQTT-3.8.3-1] [v3.1.1 MQTT-3.10.3-1] [v3.1.1 MQTT-4.7.3-2]
    // [v5 MQTT-1.5.4-1] [v5 MQTT-1.5.4-2] [v5 MQTT-1.5.7-1] [v5 MQTT-3.3.2-1]
    // [v5 MQTT-3.3.2-13] [v5 MQTT-3.3.2-19] [v5 MQTT-3.8.3-1] [v5 MQTT-3.10.3-1]
    // [v5 MQTT-4.7.3-2]
    on_every_version(|broker, version| {
        for bad in BAD_TEXTS {
            for bytes in packets_with_text(version, bad) {
                expect_end(broker, version, &bytes, &[0x81]);
            }
        }
    });
}

fn packets_with_text(version: Version, bad: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = vec![
        wire::Publish::new(version, bad, "x").bytes(),
        wire::Publish::new(version, bad, "x").qos(1, 1).bytes(),
        wire::subscribe_with(version, 1, &[], &[(bad, 0)]),
        wire::subscribe_with(version, 1, &[], &[(&b"a"[..], 0), (bad, 0)]),
        wire::unsubscribe(version, 1, &[bad]),
    ];
    if version != V5 {
        return packets;
    }
    let pairs = [user(bad, "v"), user("k", bad)];
    for property in
        pairs.iter().chain(&[text(id::CONTENT_TYPE, bad), text(id::RESPONSE_TOPIC, bad)])
    {
        packets.push(wire::Publish::new(V5, "a", "x").property(property.clone()).bytes());
    }
    for pair in &pairs {
        packets.push(wire::subscribe_with(V5, 1, std::slice::from_ref(pair), &[("a", 0)]));
        let body = [&[0, 1][..], &block(std::slice::from_ref(pair)), &field("a")].concat();
        packets.push(wire::packet(first::UNSUBSCRIBE, &body));
    }
    for property in pairs.iter().chain(&[text(id::REASON_STRING, bad)]) {
        let list = [property.clone()];
        for first in [first::PUBACK, first::PUBREC, first::PUBREL, first::PUBCOMP] {
            packets.push(wire::ack_with(first, 1, 0, &list));
        }
        packets.push(wire::reason_with(first::DISCONNECT, 0, &list));
    }
    packets
}

#[test]
fn a_byte_order_mark_is_a_character_like_any_other() {
    // [v3.1.1 MQTT-1.5.3-3] [v5 MQTT-1.5.4-3]
    on_every_version(|broker, version| {
        let plain = broker.unique();
        let marked = format!("\u{FEFF}{plain}");
        let mut client = Client::start(broker, version);
        client.subscribe(&plain, 0);
        client.subscribe(&marked, 0);
        client.publish_qos(&marked, 0, "marked");
        client.publish_qos(&plain, 0, "plain");
        let found = [client.receive(), client.receive()];
        let topics: Vec<&str> = found.iter().map(|publish| publish.topic.as_str()).collect();
        assert_eq!(topics, [&marked, &plain]);
    });
}

#[test]
fn a_client_may_send_byte_by_byte() {
    // [v3.1.1 MQTT-7.1.1-1]
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-4.2-1]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut client = Client::open(broker, version);
        let mut opening = Connect::new(version, broker.unique()).bytes();
        opening.extend(wire::subscribe(version, 1, &[(&topic, 1)]));
        for byte in opening {
            client.send([byte]);
        }
        assert_eq!(client.expect_connack().reason, 0);
        assert_eq!(client.expect_suback(1), [1]);
        for byte in wire::Publish::new(version, &topic, "slow").qos(1, 2).bytes() {
            client.send([byte]);
        }
        client.expect_ack(first::PUBACK, 2);
        assert_eq!(client.receive_payload(), "slow");
    });
}

#[test]
fn nothing_that_follows_connect_is_lost_however_it_is_cut() {
    // [v3.1.1 MQTT-7.1.1-1] [v5 MQTT-4.2-1] [v3.1.1 MQTT-3.12.4-1] [v5 MQTT-3.12.4-1]
    on_every_version(|broker, version| {
        // Client ids whose home is on any shard; pieces that end before, at and after packets.
        for piece in 1..=16 {
            const COUNT: usize = 100;
            let mut client = Client::open(broker, version);
            client.send(Connect::new(version, broker.unique()).bytes());
            for bytes in wire::PINGREQ.repeat(COUNT).chunks(piece) {
                client.send(bytes);
            }
            assert_eq!(client.expect_connack().reason, 0);
            for _ in 0..COUNT {
                assert_eq!(client.next(), Packet::PingResp);
            }
        }
    });
}

#[test]
fn many_packets_may_come_in_one_segment() {
    // [v3.1.1 MQTT-4.6.0-2] [v3.1.1 MQTT-4.6.0-6] [v5 MQTT-4.6.0-2] [v5 MQTT-4.6.0-5]
    on_every_version(|broker, version| {
        const COUNT: u16 = 500;
        let topic = broker.unique();
        let mut observer = Client::start(broker, version);
        observer.subscribe(&topic, 0);
        let mut client = Client::start(broker, version);
        let mut segment = Vec::new();
        for number in 1..=COUNT {
            segment.extend(client.message(&topic, number.to_string()).qos(1, number).bytes());
            segment.extend(wire::PINGREQ);
        }
        client.send(segment);
        let (mut acks, mut pongs) = (0, 0);
        while (acks, pongs) != (COUNT, COUNT) {
            match client.next() {
                Packet::Ack(first::PUBACK, ack) => {
                    acks += 1;
                    assert_eq!(ack.packet_id, acks, "PUBACK in the order of PUBLISH");
                }
                Packet::PingResp => pongs += 1,
                other => panic!("{other:?}"),
            }
        }
        for number in 1..=COUNT {
            assert_eq!(observer.receive_payload(), number.to_string());
        }
    });
}

#[test]
fn other_protocols_are_turned_away() {
    // [v3.1.1 MQTT-3.1.0-1] [v5 MQTT-3.1.0-1]
    on_every_broker(|broker| {
        let hello = [&[0x16, 0x03, 0x01, 0x00, 0x05, 0x01], &[0; 200][..]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            &hello,
            &[0; 64],
            &[0xFF; 64],
        ] {
            expect_no_entry(broker, V311, bytes);
        }
    });
}

#[test]
fn noise_does_no_harm() {
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-4.13.1-1]
    const ROUNDS: u64 = 150;
    on_every_broker(|broker| {
        at_once(&Version::ALL, |version| {
            let mut noise = Noise(0x9E37_79B9_7F4A_7C15 >> version.level());
            for _ in 0..ROUNDS {
                // One packet with some bytes changed, and then anything at all.
                let samples = samples(*version);
                let mut bytes = samples[noise.below(samples.len())].bytes();
                for _ in 0..=noise.below(3) {
                    let at = noise.below(bytes.len());
                    bytes[at] = noise.byte();
                }
                bytes.extend((0..noise.below(40)).map(|_| noise.byte()));
                let mut client = accepted_with(broker, *version, &bytes);
                client.finish_sending();
                client.read_to_end();

                let mut connect = connect_sample(broker, *version).bytes();
                for _ in 0..=noise.below(3) {
                    let at = noise.below(connect.len());
                    connect[at] = noise.byte();
                }
                let mut stranger = Client::open(broker, *version);
                stranger.send(&connect);
                stranger.finish_sending();
                stranger.read_raw_to_end();
            }
        });
    });
}

/// Xorshift: the same noise in every run.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[0]
    }

    fn below(&mut self, count: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % count
    }
}

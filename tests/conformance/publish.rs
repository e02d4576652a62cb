//! PUBLISH and what becomes of it: chapter 3.3.

use std::time::{Duration, Instant};

use super::brokers::{on_every_broker, on_every_broker_with, on_every_version};
use super::client::{Arrival, Client, PATIENCE};
use super::packet::Packet;
use super::wire::Version::{self, V5, V31, V311};
use super::wire::{self, Connect, first};

#[test]
fn a_message_arrives_with_the_lower_of_both_qos() {
    // [v3.1.1 MQTT-3.8.4-6]
    // [v3.1.1 MQTT-3.3.4-1] [v3.1.1 MQTT-2.3.1-4] [v3.1.1 MQTT-2.3.1-6] [v3.1.1 MQTT-4.3.1-1]
    // [v3.1.1 MQTT-4.3.2-1] [v3.1.1 MQTT-4.3.2-2] [v3.1.1 MQTT-4.3.3-1] [v3.1.1 MQTT-4.3.3-2]
    // [v3.1.1 MQTT-3.3.1-2] [v3.1.1 MQTT-3.3.2-3] [v3.1.1 MQTT-4.5.0-1]
    // [v5 MQTT-3.3.4-1] [v5 MQTT-3.8.4-8] [v5 MQTT-2.2.1-4] [v5 MQTT-2.2.1-5] [v5 MQTT-4.3.1-1]
    // [v5 MQTT-4.3.2-1] [v5 MQTT-4.3.2-2] [v5 MQTT-4.3.2-4] [v5 MQTT-4.3.3-1]
    // [v5 MQTT-4.3.3-2] [v5 MQTT-4.3.3-4] [v5 MQTT-4.3.3-8] [v5 MQTT-4.3.3-11]
    // [v5 MQTT-3.3.1-2] [v5 MQTT-3.3.2-3] [v5 MQTT-4.5.0-1] [v5 MQTT-3.4.2-1]
    // [v5 MQTT-3.5.2-1] [v5 MQTT-3.6.2-1] [v5 MQTT-3.7.2-1]
    on_every_broker(|broker| {
        for (sending, receiving) in [(V311, V5), (V5, V311), (V5, V5), (V31, V31)] {
            let mut publisher = Client::start(broker, sending);
            for granted in 0..=2 {
                let topic = broker.unique();
                let mut subscriber = Client::start(broker, receiving);
                subscriber.subscribe(&topic, granted);
                for published in 0..=2 {
                    let payload = format!("{published} to {granted}");
                    publisher.publish_qos(&topic, published, &payload);
                    let found = subscriber.receive();
                    assert_eq!(found.qos, published.min(granted));
                    assert_eq!((found.dup, found.retain), (false, false));
                    assert_eq!(found.topic, topic);
                    assert_eq!(found.payload, payload.as_bytes());
                }
            }
        }
    });
}

#[test]
fn a_qos_0_message_has_no_packet_identifier() {
    // [v3.1.1 MQTT-2.3.1-5] [v5 MQTT-2.2.1-2]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut client = Client::start(broker, version);
        client.subscribe(&topic, 0);
        for payload in [&b""[..], &[0], &[0, 0], &[0, 7, 0], &[0xFF; 3]] {
            client.publish(client.message(&topic, payload), 0);
            assert_eq!(client.receive().payload, payload);
        }
    });
}

#[test]
fn an_empty_topic_name_is_a_protocol_error() {
    // [v3.1.1 MQTT-4.7.3-1] [v5 MQTT-4.7.3-1]
    on_every_version(|broker, version| {
        for qos in 0..=2 {
            let mut client = Client::start(broker, version);
            client.send(client.message("", "x").qos(qos, 1).bytes());
            client.expect_end(&[0x82]);
        }
    });
}

#[test]
fn a_topic_name_with_a_wildcard_ends_the_connection() {
    // [v3.1.1 MQTT-3.3.2-2] [v3.1.1 MQTT-4.7.1-1] [v5 MQTT-3.3.2-2] [v5 MQTT-4.7.0-1]
    on_every_version(|broker, version| {
        for topic in ["#", "+", "a/#", "a/+", "+/a", "a+", "a#b", "/+/"] {
            let mut client = Client::start(broker, version);
            client.send(client.message(topic, "x").bytes());
            client.expect_end(&[0x81, 0x82, 0x90]);
        }
    });
}

#[test]
fn a_packet_identifier_of_zero_ends_the_connection() {
    // [v3.1.1 MQTT-2.3.1-1] [v5 MQTT-2.2.1-3]
    on_every_version(|broker, version| {
        let zero = [
            wire::Publish::new(version, "a", "x").qos(1, 0).bytes(),
            wire::Publish::new(version, "a", "x").qos(2, 0).bytes(),
            wire::subscribe(version, 0, &[("a", 0)]),
            wire::unsubscribe(version, 0, &["a"]),
            wire::ack(first::PUBACK, 0),
            wire::ack(first::PUBREC, 0),
            wire::ack(first::PUBREL, 0),
            wire::ack(first::PUBCOMP, 0),
        ];
        for packet in zero {
            let mut client = Client::start(broker, version);
            client.send(packet);
            client.expect_end(&[0x81, 0x82]);
        }
    });
}

#[test]
fn qos_3_is_malformed() {
    // [v3.1.1 MQTT-3.3.1-4] [v5 MQTT-3.3.1-4]
    on_every_version(|broker, version| {
        for (dup, retain) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut client = Client::start(broker, version);
            let message = client.message("a", "x").qos(3, 1);
            client.send(wire::Publish { dup, retain, ..message }.bytes());
            client.expect_end(&[0x81]);
        }
    });
}

#[test]
fn dup_of_the_publisher_is_not_handed_on() {
    // [v3.1.1 MQTT-3.3.1-3] [v5 MQTT-3.3.1-3] [v3.1.1 MQTT-3.3.1-2] [v5 MQTT-3.3.1-2]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        publisher.publish(publisher.message(&topic, "one").dup(), 1);
        publisher.publish(publisher.message(&topic, "two").dup(), 2);
        for payload in ["one", "two"] {
            let found = subscriber.receive();
            assert_eq!((found.dup, found.payload.as_slice()), (false, payload.as_bytes()));
        }
        // DUP of QoS 0 is the client's mistake; whoever lets it pass clears it.
        publisher.send(publisher.message(&topic, "nought").dup().bytes());
        publisher.send(wire::PINGREQ);
        if let Arrival::Packet(Packet::PingResp) = publisher.poll(PATIENCE) {
            assert_eq!((subscriber.receive_payload().as_str()), "nought");
        }
    });
}

#[test]
fn a_retained_message_is_kept_for_subscribers_to_come() {
    // [v3.1.1 MQTT-3.3.1-5] [v3.1.1 MQTT-3.3.1-6] [v3.1.1 MQTT-3.3.1-8]
    // [v5 MQTT-3.3.1-5] [v5 MQTT-3.3.1-9] [v5 MQTT-3.8.4-4]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut publisher = Client::start(broker, version);
        for qos in 0..=2 {
            publisher.publish(publisher.message(&topic, "older").retain(), qos);
            publisher.publish(publisher.message(&topic, format!("kept {qos}")).retain(), qos);
            publisher.ping();
            for granted in 0..=2 {
                let mut subscriber = Client::start(broker, version);
                subscriber.subscribe(&topic, granted);
                let found = subscriber.receive();
                assert_eq!(found.payload, format!("kept {qos}").as_bytes());
                assert_eq!((found.retain, found.dup), (true, false));
                assert_eq!(found.qos, qos.min(granted));
                subscriber.expect_nothing();
            }
        }
    });
}

#[test]
fn retained_messages_of_all_matching_topics_are_sent() {
    // [v3.1.1 MQTT-3.3.1-6] [v3.1.1 MQTT-3.8.4-3] [v5 MQTT-3.3.1-9]
    on_every_version(|broker, version| {
        const COUNT: usize = 40;
        let root = broker.unique();
        let mut publisher = Client::start(broker, version);
        for number in 0..COUNT {
            let topic = format!("{root}/{number}/leaf");
            publisher.publish(publisher.message(&topic, &topic).retain(), 1);
        }
        for filter in [format!("{root}/#"), format!("{root}/+/leaf"), format!("+/{root}")] {
            let expected = if filter.starts_with('+') { 0 } else { COUNT };
            let mut subscriber = Client::start(broker, version);
            // Twice: to subscribe again is to ask for them again.
            for _ in 0..2 {
                subscriber.subscribe(&filter, 1);
                let mut topics: Vec<String> = (0..expected)
                    .map(|_| subscriber.receive())
                    .inspect(|found| assert!(found.retain, "{found:?}"))
                    .inspect(|found| assert_eq!(found.topic.as_bytes(), found.payload))
                    .map(|found| found.topic)
                    .collect();
                topics.sort();
                topics.dedup();
                assert_eq!(topics.len(), expected);
                subscriber.expect_nothing();
            }
        }
    });
}

#[test]
fn an_empty_retained_message_removes_the_one_before() {
    // [v3.1.1 MQTT-3.3.1-7] [v3.1.1 MQTT-3.3.1-10] [v3.1.1 MQTT-3.3.1-11]
    // [v5 MQTT-3.3.1-6] [v5 MQTT-3.3.1-7]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut present = Client::start(broker, version);
        present.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, version);
        for qos in 0..=2 {
            publisher.publish(publisher.message(&topic, "kept").retain(), qos);
            publisher.publish(publisher.message(&topic, "").retain(), qos);
            assert_eq!(present.receive_payload(), "kept");
            let removal = present.receive();
            assert_eq!((removal.retain, removal.payload), (false, Vec::new()));
            publisher.ping();
            let mut late = Client::start(broker, version);
            late.subscribe(&topic, 1);
            late.expect_nothing();
        }
    });
}

#[test]
fn a_message_without_retain_leaves_the_retained_one_alone() {
    // [v3.1.1 MQTT-3.3.1-12] [v5 MQTT-3.3.1-8]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let other = broker.unique();
        let mut publisher = Client::start(broker, version);
        publisher.publish(publisher.message(&topic, "kept").retain(), 1);
        for payload in ["passing", ""] {
            publisher.publish_qos(&topic, 1, payload);
            publisher.publish_qos(&other, 1, payload);
        }
        let mut late = Client::start(broker, version);
        late.subscribe(&topic, 1);
        assert_eq!(late.receive_payload(), "kept");
        late.subscribe(&other, 1);
        late.expect_nothing();
    });
}

#[test]
fn a_retained_message_outlives_the_session_of_its_publisher() {
    // [v3.1.1 MQTT-3.1.2-7] [v5 MQTT-3.3.1-5]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique());
        let mut publisher = Client::connect(broker, &connect);
        publisher.publish(publisher.message(&topic, "kept").retain(), 1);
        publisher.vanish();
        Client::connect(broker, &connect).disconnect();
        let mut late = Client::start(broker, version);
        late.subscribe(&topic, 1);
        assert_eq!(late.receive_payload(), "kept");
    });
}

#[test]
fn retain_is_cleared_for_an_established_subscription() {
    // [v3.1.1 MQTT-3.3.1-9] [v5 MQTT-3.3.1-12]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        for qos in 0..=2 {
            publisher.publish(publisher.message(&topic, "live").retain(), qos);
            let found = subscriber.receive();
            assert_eq!((found.retain, found.qos), (false, qos));
        }
    });
}

#[test]
fn a_topic_name_may_have_65_535_bytes() {
    // [v3.1.1 MQTT-4.7.3-3] [v5 MQTT-4.7.3-3]
    on_every_version(|broker, version| {
        let mut topic = broker.unique();
        topic.push_str(&"x".repeat(65_535 - topic.len()));
        let mut client = Client::start(broker, version);
        client.subscribe(&topic, 1);
        client.send(client.message(&topic, "far").qos(1, 99).bytes());
        let mut found = [client.next(), client.next()];
        found.sort_by_key(|packet| matches!(packet, Packet::Publish(_)));
        assert!(matches!(&found[1], Packet::Publish(publish) if publish.topic == topic));
    });
}

#[test]
fn a_large_message_arrives_whole() {
    // [v3.1.1 MQTT-4.5.0-1] [v5 MQTT-4.5.0-1]
    // A packet may be half as long as a segment.
    on_every_broker_with("[storage]\nsegment_bytes = 12_582_912\n", |broker| {
        for version in Version::ALL {
            let topic = broker.unique();
            let mut subscriber = Client::start(broker, version);
            subscriber.subscribe(&topic, 2);
            let mut publisher = Client::start(broker, version);
            // Around every length at which the remaining length grows, and more than any buffer.
            for size in [0, 1, 100, 127, 128, 16_383, 16_384, 65_536, 2_097_152, 5_000_000] {
                let payload: Vec<u8> = (0..size).map(|index: u32| index.to_be_bytes()[3]).collect();
                publisher.publish(publisher.message(&topic, &payload), 1);
                assert!(subscriber.receive().payload == payload, "{size} bytes changed on the way");
            }
        }
    });
}

#[test]
fn retained_messages_that_expired_make_room() {
    // One for each shard.
    on_every_broker_with("[mqtt]\nretained_messages_max = 1\n", |broker| {
        let topic = broker.unique();
        let mut client = Client::start(broker, V5);
        let retained = |client: &Client, topic: &str| client.message(topic, "set").retain();
        for number in 0..64 {
            let message = retained(&client, &format!("{topic}/{number}"));
            let expires = wire::four(wire::id::MESSAGE_EXPIRY, 1);
            client.publish(message.property(expires), 1);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            client.publish(retained(&client, &topic), 1);
            let mut reader = Client::start(broker, V5);
            reader.subscribe(&topic, 1);
            if let Arrival::Packet(found) = reader.poll(Duration::from_millis(100)) {
                assert!(matches!(found, Packet::Publish(publish) if publish.topic == topic));
                break;
            }
            assert!(Instant::now() < deadline, "there is no room for it");
        }
    });
}

#[test]
fn a_client_that_publishes_what_nobody_wants_is_answered_all_the_same() {
    // [v3.1.1 MQTT-3.3.5-2] [v5 MQTT-3.4.2-1] [v5 MQTT-3.5.2-1]
    on_every_version(|broker, version| {
        let mut client = Client::start(broker, version);
        let topic = broker.unique();
        for qos in [1, 2] {
            let reason = client.publish_qos(&topic, qos, "nobody");
            // 0x10: no matching subscribers.
            assert!(reason == 0 || (version == V5 && reason == 0x10), "{reason:#04x}");
        }
    });
}

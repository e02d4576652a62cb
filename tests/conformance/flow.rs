//! Receive maximum and maximum packet size, both ways: chapters 3.1.2.11, 3.2.2.3 and 4.9.

use super::brokers::{on_every_broker, on_every_broker_with, on_every_version};
use super::client::Client;
use super::packet::Packet;
use super::wire::Version::{V5, V311};
use super::wire::{self, Connect, first, four, id, two, user};

#[test]
fn the_receive_maximum_of_a_client_bounds_what_is_in_flight() {
    // [v5 MQTT-3.3.4-9] [v5 MQTT-3.3.4-10] [v5 MQTT-4.9.0-1] [v5 MQTT-4.9.0-2]
    // [v5 MQTT-4.9.0-3]
    on_every_broker(|broker| {
        for most in [1_u16, 2, 5] {
            let (topic, more) = (broker.unique(), broker.unique());
            let connect =
                Connect::new(V5, broker.unique()).property(two(id::RECEIVE_MAXIMUM, most));
            let mut subscriber = Client::connect(broker, &connect);
            subscriber.subscribe(&topic, 2);
            let mut publisher = Client::start(broker, V5);
            for number in 0..10_u8 {
                publisher.publish_qos(&topic, 1 + number % 2, &number.to_string());
            }
            let mut window: Vec<_> = (0..most).map(|_| subscriber.expect_publish()).collect();
            // The window is full, and everything else goes on.
            subscriber.expect_nothing();
            subscriber.subscribe(&more, 0);
            assert_eq!(subscriber.publish_qos("elsewhere", 1, "x") & 0x80, 0);
            subscriber.unsubscribe(&[&more]);
            let mut next = 0;
            while next < 10 {
                assert!(!window.is_empty());
                let first = window.remove(0);
                assert_eq!(first.payload, next.to_string().as_bytes());
                next += 1;
                if first.qos == 2 {
                    // PUBREC does not open the window, PUBCOMP does.
                    subscriber.send(wire::ack(first::PUBREC, first.packet_id));
                    subscriber.expect_ack(first::PUBREL, first.packet_id);
                    subscriber.expect_nothing();
                    subscriber.acknowledge(first::PUBCOMP, first.packet_id);
                } else {
                    subscriber.acknowledge(first::PUBACK, first.packet_id);
                }
                if next - 1 + i32::from(most) < 10 {
                    window.push(subscriber.expect_publish());
                }
                subscriber.expect_nothing();
            }
        }
    });
}

#[test]
fn the_window_is_a_matter_of_the_connection() {
    // [v5 MQTT-3.3.4-9] [v5 MQTT-4.9.0-1]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let wide = Connect::new(V5, broker.unique()).persistent();
        let narrow = wide.clone().property(two(id::RECEIVE_MAXIMUM, 2));
        let mut subscriber = Client::connect(broker, &wide);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, V5);
        for number in 0..6 {
            publisher.publish_qos(&topic, 1, &number.to_string());
        }
        for _ in 0..6 {
            subscriber.expect_publish();
        }
        subscriber.vanish();
        // Six are owed; the new connection takes two at a time.
        let mut subscriber = Client::connect(broker, &narrow);
        let mut window = vec![subscriber.expect_publish(), subscriber.expect_publish()];
        subscriber.expect_nothing();
        for number in 0..6 {
            let first = window.remove(0);
            assert_eq!((first.payload, first.dup), (number.to_string().into(), true));
            subscriber.acknowledge(first::PUBACK, first.packet_id);
            if number < 4 {
                window.push(subscriber.expect_publish());
            }
        }
        subscriber.expect_nothing();
    });
}

#[test]
fn a_receive_maximum_or_packet_size_of_zero_is_a_protocol_error() {
    // [v5 MQTT-4.13.1-1] [v5 MQTT-4.9.0-1]
    on_every_broker(|broker| {
        for property in [two(id::RECEIVE_MAXIMUM, 0), four(id::MAXIMUM_PACKET_SIZE, 0)] {
            let connect = Connect::new(V5, broker.unique()).property(property);
            Client::ask(broker, &connect).expect_refusal(&[0x82]);
        }
    });
}

#[test]
fn who_exceeds_the_receive_maximum_of_the_server_is_cut_off() {
    // [v5 MQTT-3.3.4-7] [v5 MQTT-4.9.0-2]
    on_every_broker_with("[mqtt]\nreceive_maximum = 3\n", |broker| {
        let mut client = Client::start(broker, V5);
        let connack = client.connack.clone().expect("it is connected");
        assert_eq!(connack.properties.number(id::RECEIVE_MAXIMUM), Some(3));
        // Within the maximum, again and again.
        for round in 0..5_u16 {
            for number in 1..=3 {
                let packet_id = round * 3 + number;
                client.send(client.message("a", "x").qos(2, packet_id).bytes());
                client.expect_ack(first::PUBREC, packet_id);
            }
            for number in 1..=3 {
                let packet_id = round * 3 + number;
                client.send(wire::ack(first::PUBREL, packet_id));
                client.expect_ack(first::PUBCOMP, packet_id);
            }
        }
        // A repetition is no further message.
        for packet_id in [91, 92, 93, 93] {
            client.send(client.message("a", "x").qos(2, packet_id).bytes());
            client.expect_ack(first::PUBREC, packet_id);
        }
        client.send(client.message("a", "x").qos(2, 94).bytes());
        client.expect_end(&[0x93]);
        // 3.1.1 knows no such number.
        let mut old = Client::start(broker, V311);
        for packet_id in 1..=10 {
            old.send(old.message("a", "x").qos(2, packet_id).bytes());
            old.expect_ack(first::PUBREC, packet_id);
        }
    });
}

#[test]
fn a_message_too_large_for_its_receiver_is_passed_over() {
    // [v5 MQTT-3.1.2-24] [v5 MQTT-3.1.2-25]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = Connect::new(V5, broker.unique())
            .persistent()
            .property(four(id::MAXIMUM_PACKET_SIZE, 200))
            .property(two(id::RECEIVE_MAXIMUM, 1));
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, V5);
        // PUBLISH to this topic with an empty payload; what is left is payload.
        let head = publisher.message(&topic, "").qos(1, 1).bytes().len();
        let fits = "f".repeat(200 - head - 1);
        let large = format!("{fits}!");
        for qos in 0..=2 {
            let fits = if qos == 0 { format!("{fits}00") } else { fits.clone() };
            let large = format!("{large}00");
            for payload in [&large, &fits, &large, &fits] {
                publisher.publish_qos(&topic, qos, payload);
            }
            for _ in 0..2 {
                let found = subscriber.receive();
                assert!(found.payload == fits.as_bytes(), "QoS {qos}: the one that fits");
            }
            subscriber.expect_nothing();
        }
        // The same for what waits, and for a limit that is new.
        subscriber.vanish();
        publisher.publish_qos(&topic, 1, &large);
        publisher.publish_qos(&topic, 2, &large);
        publisher.publish_qos(&topic, 1, "small");
        let mut subscriber = Client::connect(broker, &connect);
        assert_eq!(subscriber.receive_payload(), "small");
        subscriber.expect_nothing();
    });
}

#[test]
fn a_retained_message_too_large_is_passed_over() {
    // [v5 MQTT-3.1.2-24] [v5 MQTT-3.1.2-25]
    on_every_broker(|broker| {
        let root = broker.unique();
        let mut publisher = Client::start(broker, V5);
        for (leaf, size) in [("a", 10), ("b", 1000), ("c", 10)] {
            let message = publisher.message(format!("{root}/{leaf}"), "x".repeat(size));
            publisher.publish(message.retain(), 1);
        }
        let connect =
            Connect::new(V5, broker.unique()).property(four(id::MAXIMUM_PACKET_SIZE, 100));
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&format!("{root}/+"), 1);
        let mut topics = [subscriber.receive().topic, subscriber.receive().topic];
        topics.sort();
        assert_eq!(topics, [format!("{root}/a"), format!("{root}/c")]);
        subscriber.expect_nothing();
    });
}

#[test]
fn answers_stay_within_the_maximum_packet_size() {
    // [v5 MQTT-3.1.2-24] [v5 MQTT-3.4.2-2] [v5 MQTT-3.4.2-3] [v5 MQTT-3.5.2-2]
    // [v5 MQTT-3.5.2-3] [v5 MQTT-3.6.2-2] [v5 MQTT-3.6.2-3] [v5 MQTT-3.7.2-2]
    // [v5 MQTT-3.7.2-3] [v5 MQTT-3.9.2-1] [v5 MQTT-3.9.2-2] [v5 MQTT-3.11.2-1]
    // [v5 MQTT-3.11.2-2] [v5 MQTT-3.14.2-3] [v5 MQTT-3.14.2-4]
    on_every_broker(|broker| {
        let limited = |size: u32| {
            Connect::new(V5, broker.unique()).property(four(id::MAXIMUM_PACKET_SIZE, size))
        };
        // CONNACK takes what it takes; from there on, the client's reader refuses more.
        for size in [40, 64] {
            let mut client = Client::connect(broker, &limited(size));
            client.publish_qos("a", 1, "x");
            client.publish_qos("a", 2, "x");
            client.send(wire::ack(first::PUBREL, 4711));
            client.expect_ack(first::PUBCOMP, 4711);
            client.send(wire::ack(first::PUBREC, 4711));
            client.expect_ack(first::PUBREL, 4711);
            client.try_subscribe(&[("$share/group/a", 0)]);
            client.unsubscribe(&["b"]);
            client.send([0x00, 0x00]);
            client.expect_end(&[0x81]);
        }
    });
}

#[test]
fn an_answer_too_large_for_who_waits_for_it_ends_the_connection() {
    // [v5 MQTT-3.1.2-24] [v5 MQTT-3.8.4-1] [v5 MQTT-3.10.4-4]
    on_every_broker(|broker| {
        let fresh =
            || Connect::new(V5, broker.unique()).property(four(id::MAXIMUM_PACKET_SIZE, 60));
        let names: Vec<_> = (0..100).map(|number| format!("f/{number}")).collect();
        let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        for connect in [fresh(), fresh().persistent()] {
            let mut client = Client::connect(broker, &connect);
            client.subscribe(&names[0], 1);
            client.send(wire::unsubscribe(V5, 9, &names));
            client.expect_end(&[0x95]);
            let mut client = Client::connect(broker, &connect);
            client.send(wire::subscribe(V5, 9, &filters));
            client.expect_end(&[0x95]);
        }
    });
}

#[test]
fn an_alias_makes_no_message_too_large() {
    // [v5 MQTT-3.1.2-24]
    on_every_broker(|broker| {
        let connect = Connect::new(V5, broker.unique())
            .property(four(id::MAXIMUM_PACKET_SIZE, 60))
            .property(two(id::TOPIC_ALIAS_MAXIMUM, 10));
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe("~", 0);
        let mut publisher = Client::start(broker, V5);
        let filling = 60 - publisher.message("~", "").bytes().len();
        // The first one sets the alias; the topic is shorter than it.
        for payload in ["small".to_owned(), "x".repeat(filling), "small".to_owned()] {
            publisher.publish_qos("~", 0, &payload);
            assert_eq!(subscriber.receive_payload(), payload);
        }
    });
}

#[test]
fn no_reason_string_for_who_asks_for_no_problem_information() {
    // [v5 MQTT-3.1.2-29]
    on_every_broker(|broker| {
        let connect =
            Connect::new(V5, broker.unique()).property(wire::byte(id::REQUEST_PROBLEM, 0));
        let mut client = Client::connect(broker, &connect);
        let topic = broker.unique();
        let packets = [
            wire::subscribe(V5, 1, &[(&topic, 1)]),
            client.message(&topic, "x").qos(1, 2).property(user("k", "v")).bytes(),
            client.message("elsewhere", "x").qos(2, 3).bytes(),
            wire::ack(first::PUBREL, 4711),
            wire::ack(first::PUBREC, 4712),
            wire::unsubscribe(V5, 4, &["none"]),
        ];
        client.send(packets.concat());
        for _ in 0..=packets.len() {
            let properties = match client.next() {
                Packet::SubAck(it) | Packet::UnsubAck(it) => it.properties,
                Packet::Ack(_, it) => it.properties,
                // A message is the one thing that still carries its user properties.
                Packet::Publish(it) => {
                    assert_eq!(it.properties.pairs(), [("k", "v")]);
                    continue;
                }
                other => panic!("{other:?}"),
            };
            assert!(!properties.has(id::REASON_STRING) && !properties.has(id::USER_PROPERTY));
        }
    });
}

#[test]
fn a_client_that_reads_slowly_gets_everything_of_qos_1() {
    // [v3.1.1 MQTT-4.5.0-1] [v5 MQTT-4.5.0-1] [v3.1.1 MQTT-4.6.0-6] [v5 MQTT-4.6.0-5]
    on_every_version(|broker, version| {
        const COUNT: usize = 600;
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, version);
        let filling = "x".repeat(4000);
        for number in 0..COUNT {
            publisher.publish_qos(&topic, 1, &format!("{number} {filling}"));
        }
        for number in 0..COUNT {
            let payload = subscriber.receive_payload();
            assert!(payload.starts_with(&format!("{number} ")), "{number}: {:.20}", payload);
        }
        subscriber.expect_nothing();
    });
}

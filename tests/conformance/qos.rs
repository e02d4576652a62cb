//! The delivery of QoS 1 and 2, with everything that can go wrong on the way: chapters 3.4 to
//! 3.7, 4.3 and 4.4.

use std::time::Duration;

use super::brokers::{on_every_broker, on_every_version, on_every_version_at_once};
use super::client::{Arrival, Client, PATIENCE};
use super::packet::Packet;
use super::wire::Version::V5;
use super::wire::{self, Connect, first, four, id};

#[test]
fn after_puback_the_same_packet_identifier_is_a_new_message() {
    // [v3.1.1 MQTT-2.3.1-3] [v5 MQTT-4.3.2-5] [v5 MQTT-4.3.2-4] [v3.1.1 MQTT-4.3.2-2]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 0);
        let mut publisher = Client::start(broker, version);
        for payload in ["one", "two", "three"] {
            let message = publisher.message(&topic, payload).qos(1, 42);
            let message = if payload == "three" { message.dup() } else { message };
            publisher.send(message.bytes());
            publisher.expect_ack(first::PUBACK, 42);
            assert_eq!(subscriber.receive_payload(), payload);
        }
    });
}

#[test]
fn a_qos_2_message_sent_twice_is_delivered_once() {
    // [v3.1.1 MQTT-4.3.3-2] [v5 MQTT-4.3.3-8] [v5 MQTT-4.3.3-10] [v5 MQTT-4.3.3-11]
    // [v5 MQTT-4.3.3-12]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        for payload in ["first", "second"] {
            let message = publisher.message(&topic, payload).qos(2, 42);
            publisher.send(message.bytes());
            publisher.expect_ack(first::PUBREC, 42);
            for again in [message.clone().dup(), message.clone(), message.dup()] {
                publisher.send(again.bytes());
                publisher.expect_ack(first::PUBREC, 42);
            }
            for _ in 0..2 {
                publisher.send(wire::ack(first::PUBREL, 42));
                publisher.expect_ack(first::PUBCOMP, 42);
            }
        }
        assert_eq!(subscriber.receive_payload(), "first");
        assert_eq!(subscriber.receive_payload(), "second");
        subscriber.expect_nothing();
    });
}

#[test]
fn a_qos_2_message_sent_again_after_a_reconnect_is_delivered_once() {
    // [v3.1.1 MQTT-4.1.0-1] [v3.1.1 MQTT-4.3.3-2] [v3.1.1 MQTT-3.1.2-4]
    // [v5 MQTT-4.3.3-10] [v5 MQTT-4.1.0-1] [v5 MQTT-3.1.2-23]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 2);
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut publisher = Client::connect(broker, &connect);
        let message = publisher.message(&topic, "once").qos(2, 42);
        publisher.send(message.bytes());
        publisher.expect_ack(first::PUBREC, 42);
        publisher.vanish();
        let mut publisher = Client::connect(broker, &connect);
        publisher.send(message.dup().bytes());
        publisher.expect_ack(first::PUBREC, 42);
        publisher.vanish();
        let mut publisher = Client::connect(broker, &connect);
        publisher.send(wire::ack(first::PUBREL, 42));
        assert_eq!(publisher.expect_ack(first::PUBCOMP, 42).reason, 0);
        assert_eq!(subscriber.receive_payload(), "once");
        subscriber.expect_nothing();
    });
}

#[test]
fn a_new_session_knows_no_packet_identifier_of_the_old_one() {
    // [v3.1.1 MQTT-3.1.2-6] [v5 MQTT-3.1.2-4]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 2);
        let connect = Connect::new(version, broker.unique());
        for payload in ["first life", "second life"] {
            let mut publisher = Client::connect(broker, &connect);
            publisher.send(publisher.message(&topic, payload).qos(2, 42).bytes());
            publisher.expect_ack(first::PUBREC, 42);
            publisher.send(wire::ack(first::PUBREL, 42));
            publisher.expect_ack(first::PUBCOMP, 42);
            publisher.send(publisher.message(&topic, payload).qos(2, 43).bytes());
            publisher.expect_ack(first::PUBREC, 43);
            publisher.vanish();
        }
        let mut publisher = Client::connect(broker, &connect);
        publisher.send(publisher.message(&topic, "third life").qos(2, 43).bytes());
        publisher.expect_ack(first::PUBREC, 43);
        publisher.send(wire::ack(first::PUBREL, 43));
        publisher.expect_ack(first::PUBCOMP, 43);
        // A broker may deliver at PUBLISH or at PUBREL, so 43 of the lost lives may be missing.
        let mut found = Vec::new();
        while found.last().is_none_or(|payload| payload != "third life") {
            found.push(subscriber.receive_payload());
        }
        found.dedup();
        assert_eq!(found, ["first life", "second life", "third life"]);
    });
}

#[test]
fn a_subscribe_with_the_packet_identifier_of_an_open_publish_is_told_apart() {
    // [v3.1.1 MQTT-2.3.1-2] [v5 MQTT-2.2.1-3] [v5 MQTT-2.2.1-6]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut client = Client::start(broker, version);
        client.send(client.message(&topic, "open").qos(2, 7).bytes());
        client.expect_ack(first::PUBREC, 7);
        client.send(wire::subscribe(version, 7, &[(&topic, 0)]));
        // 0x91: packet identifier in use. A server need not notice.
        let granted = client.expect_suback(7);
        assert!(granted == [0] || granted == [0x91], "{granted:02x?}");
        client.send(wire::unsubscribe(version, 7, &[&topic]));
        match client.next() {
            Packet::UnsubAck(unsuback) => assert_eq!(unsuback.packet_id, 7),
            other => panic!("{other:?}"),
        }
        client.send(wire::ack(first::PUBREL, 7));
        assert_eq!(client.expect_ack(first::PUBCOMP, 7).reason, 0);
    });
}

#[test]
fn pubrel_of_an_unknown_packet_identifier_is_answered() {
    // [v5 MQTT-4.3.3-11] [v5 MQTT-3.7.2-1] [v3.1.1 MQTT-4.3.3-2]
    on_every_version(|broker, version| {
        let mut client = Client::start(broker, version);
        client.send(wire::ack(first::PUBREL, 4711));
        let expected = if version == V5 { 0x92 } else { 0 };
        assert_eq!(client.expect_ack(first::PUBCOMP, 4711).reason, expected);
        client.ping();
    });
}

#[test]
fn pubrec_of_an_unknown_packet_identifier_is_answered() {
    // [v5 MQTT-3.6.2-1]
    on_every_broker(|broker| {
        let mut client = Client::start(broker, V5);
        client.send(wire::ack(first::PUBREC, 4711));
        assert_eq!(client.expect_ack(first::PUBREL, 4711).reason, 0x92);
        client.send(wire::ack(first::PUBCOMP, 4711));
        client.ping();
    });
}

#[test]
fn stray_acknowledgements_do_no_harm() {
    // [v3.1.1 MQTT-4.3.2-1] [v5 MQTT-4.3.2-3]
    on_every_version(|broker, version| {
        for stray in [first::PUBACK, first::PUBCOMP] {
            let mut client = Client::start(broker, version);
            client.send(wire::ack(stray, 4711));
            client.send(wire::PINGREQ);
            // To take it as a protocol error is a choice; to answer it is none.
            match client.poll(PATIENCE) {
                Arrival::Packet(Packet::PingResp) | Arrival::Closed => {}
                Arrival::Packet(Packet::Disconnect(said)) => assert_eq!(said.reason, 0x82),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn the_wrong_acknowledgement_does_not_end_a_delivery() {
    // [v3.1.1 MQTT-4.3.2-1] [v3.1.1 MQTT-4.3.3-1] [v5 MQTT-4.3.2-3] [v5 MQTT-4.3.3-3]
    // [v5 MQTT-4.3.3-5]
    on_every_version(|broker, version| {
        for (qos, wrong) in [(1, first::PUBREC), (1, first::PUBCOMP), (2, first::PUBACK)] {
            let topic = broker.unique();
            let connect = Connect::new(version, broker.unique()).persistent();
            let mut subscriber = Client::connect(broker, &connect);
            subscriber.subscribe(&topic, 2);
            let mut publisher = Client::start(broker, version);
            publisher.publish_qos(&topic, qos, "unsettled");
            let packet_id = subscriber.expect_publish().packet_id;
            subscriber.send(wire::ack(wrong, packet_id));
            subscriber.vanish();
            let mut subscriber = Client::connect(broker, &connect);
            let again = subscriber.receive();
            assert_eq!(again.payload, b"unsettled", "QoS {qos} ended by {wrong:#04x}");
            assert_eq!((again.packet_id, again.dup), (packet_id, true));
        }
    });
}

#[test]
fn unacknowledged_messages_are_sent_again_in_order_with_dup() {
    // [v3.1.1 MQTT-3.3.1.-1] [v3.1.1 MQTT-4.4.0-1] [v3.1.1 MQTT-4.6.0-1] [v3.1.1 MQTT-4.3.2-1]
    // [v5 MQTT-3.3.1-1] [v5 MQTT-4.4.0-1] [v5 MQTT-4.6.0-1] [v5 MQTT-4.3.2-3]
    // [v5 MQTT-4.3.3-3] [v5 MQTT-3.1.2-5]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        let mut owed = Vec::new();
        for number in 0..12_u8 {
            publisher.publish_qos(&topic, 1 + number % 2, &number.to_string());
            owed.push(subscriber.expect_publish());
        }
        // Some are settled, not the first ones and not in order.
        for index in [8, 4, 2] {
            let settled = owed.remove(index);
            subscriber.finish_delivery(&settled);
        }
        subscriber.ping();
        subscriber.vanish();
        publisher.publish_qos(&topic, 1, "meanwhile");
        let mut subscriber = Client::connect(broker, &connect);
        for expected in &owed {
            let found = subscriber.expect_publish();
            assert_eq!(found.payload, expected.payload);
            assert_eq!((found.packet_id, found.qos), (expected.packet_id, expected.qos));
            assert!(found.dup, "{found:?}");
        }
        // What was not sent before comes after and is no repetition; the next time it is.
        let last = subscriber.expect_publish();
        assert_eq!((last.payload.as_slice(), last.dup), (&b"meanwhile"[..], false));
        owed.push(last);
        subscriber.vanish();
        let mut subscriber = Client::connect(broker, &connect);
        for expected in &owed {
            let found = subscriber.receive();
            assert_eq!((found.packet_id, found.dup), (expected.packet_id, true));
        }
        subscriber.vanish();
        Client::connect(broker, &connect).expect_nothing();
    });
}

#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    // [v5 MQTT-4.4.0-1]
    on_every_version_at_once(|broker, version| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        publisher.publish_qos(&topic, 1, "one");
        publisher.publish_qos(&topic, 2, "two");
        subscriber.expect_publish();
        let two = subscriber.expect_publish().packet_id;
        subscriber.send(wire::ack(first::PUBREC, two));
        subscriber.expect_ack(first::PUBREL, two);
        subscriber.expect_silence(Duration::from_millis(1500));
        subscriber.ping();
    });
}

#[test]
fn pubrel_is_sent_again_and_its_message_is_not() {
    // [v3.1.1 MQTT-4.4.0-1] [v3.1.1 MQTT-4.3.3-1] [v3.1.1 MQTT-4.6.0-4]
    // [v5 MQTT-4.3.3-4] [v5 MQTT-4.3.3-5] [v5 MQTT-4.3.3-6] [v5 MQTT-4.4.0-1] [v5 MQTT-4.6.0-4]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        let ids: Vec<u16> = ["1", "2", "3"]
            .map(|payload| {
                publisher.publish_qos(&topic, 2, payload);
                subscriber.expect_publish().packet_id
            })
            .into();
        // Not in the order of the messages: PUBREL goes in the order of PUBREC.
        let order = [ids[1], ids[0], ids[2]];
        for id in order {
            subscriber.send(wire::ack(first::PUBREC, id));
        }
        for id in order {
            subscriber.expect_ack(first::PUBREL, id);
        }
        subscriber.vanish();
        let mut subscriber = Client::connect(broker, &connect);
        let mut found: Vec<u16> = (0..3)
            .map(|_| match subscriber.next() {
                Packet::Ack(first::PUBREL, ack) => ack.packet_id,
                other => panic!("expected PUBREL, found {other:?}"),
            })
            .collect();
        found.sort_unstable();
        let mut expected = ids.clone();
        expected.sort_unstable();
        assert_eq!(found, expected);
        for id in &ids {
            subscriber.acknowledge(first::PUBCOMP, *id);
        }
        subscriber.expect_nothing();
        subscriber.vanish();
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.expect_nothing();
    });
}

#[test]
fn pubrec_after_a_reconnect_goes_on_where_it_stopped() {
    // [v3.1.1 MQTT-4.3.3-1] [v5 MQTT-4.3.3-3] [v5 MQTT-4.3.3-4]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        publisher.publish_qos(&topic, 2, "held");
        let id = subscriber.expect_publish().packet_id;
        subscriber.vanish();
        let mut subscriber = Client::connect(broker, &connect);
        let again = subscriber.expect_publish();
        assert_eq!((again.packet_id, again.dup), (id, true));
        // PUBREC twice: the second is answered as the first.
        for _ in 0..2 {
            subscriber.send(wire::ack(first::PUBREC, id));
            assert_eq!(subscriber.expect_ack(first::PUBREL, id).reason, 0);
        }
        subscriber.acknowledge(first::PUBCOMP, id);
        subscriber.expect_nothing();
    });
}

#[test]
fn a_negative_acknowledgement_ends_a_delivery() {
    // [v5 MQTT-4.4.0-2] [v5 MQTT-3.3.4-9] [v5 MQTT-2.2.1-4]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = Connect::new(V5, broker.unique())
            .persistent()
            .property(wire::two(id::RECEIVE_MAXIMUM, 1));
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, V5);
        for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
            for reason in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
                publisher.publish_qos(&topic, qos, "unwanted");
                let id = subscriber.expect_publish().packet_id;
                subscriber.forget(id);
                subscriber.send(wire::ack_with(answer, id, reason, &[]));
            }
        }
        // The window of one is open again each time; no PUBREL, and nothing after a reconnect.
        subscriber.expect_nothing();
        subscriber.vanish();
        Client::connect(broker, &connect).expect_nothing();
    });
}

#[test]
fn acknowledgements_come_in_the_order_of_the_messages() {
    // [v3.1.1 MQTT-4.6.0-2] [v3.1.1 MQTT-4.6.0-3] [v5 MQTT-4.6.0-2] [v5 MQTT-4.6.0-3]
    on_every_version(|broker, version| {
        let mut client = Client::start(broker, version);
        for qos in [1, 2] {
            let answer = if qos == 1 { first::PUBACK } else { first::PUBREC };
            // Different topics have different homes on several shards.
            let ids: Vec<u16> = (1..=100).map(|id| id * 13).collect();
            let all: Vec<u8> = ids
                .iter()
                .flat_map(|id| {
                    let topic = format!("{}/{id}", broker.unique());
                    client.message(topic, "x").qos(qos, *id).bytes()
                })
                .collect();
            client.send(all);
            for id in &ids {
                client.expect_ack(answer, *id);
            }
            if qos == 2 {
                client.send(
                    ids.iter().flat_map(|id| wire::ack(first::PUBREL, *id)).collect::<Vec<u8>>(),
                );
                for id in &ids {
                    client.expect_ack(first::PUBCOMP, *id);
                }
            }
        }
    });
}

#[test]
fn a_message_that_was_sent_does_not_expire() {
    // [v5 MQTT-4.3.3-7] [v5 MQTT-4.3.3-13]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = Connect::new(V5, broker.unique()).persistent();
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, V5);
        let expiring = |client: &Client| {
            client.message(&topic, "fleeting").property(four(id::MESSAGE_EXPIRY, 1))
        };
        publisher.publish(expiring(&publisher), 2);
        publisher.publish(expiring(&publisher), 2);
        let sent = [subscriber.expect_publish().packet_id, subscriber.expect_publish().packet_id];
        subscriber.send(wire::ack(first::PUBREC, sent[0]));
        subscriber.expect_ack(first::PUBREL, sent[0]);
        std::thread::sleep(Duration::from_millis(2200));
        subscriber.vanish();
        let mut subscriber = Client::connect(broker, &connect);
        let mut found = [subscriber.next(), subscriber.next()];
        found.sort_by_key(|packet| matches!(packet, Packet::Publish(_)));
        assert!(matches!(&found[0], Packet::Ack(first::PUBREL, ack) if ack.packet_id == sent[0]));
        assert!(
            matches!(&found[1], Packet::Publish(it) if it.packet_id == sent[1] && it.dup),
            "{found:?}"
        );
    });
}

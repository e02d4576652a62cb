//! Properties of 5.0: what is handed on, what expires, what is an error: chapter 2.2.2 and the
//! properties of each packet.

use std::time::Duration;

use super::brokers::{Broker, on_every_broker, on_every_broker_with};
use super::client::Client;
use super::wire::Version::{V5, V31, V311};
use super::wire::{self, Connect, Will, block, byte, field, first, four, id, text, two, user};

/// One legal property of each identifier.
fn property(name: u8) -> Vec<u8> {
    match name {
        id::SUBSCRIPTION_ID => wire::property(name, [1]),
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM
        | id::REQUEST_RESPONSE
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_AVAILABLE
        | id::SUBSCRIPTION_IDS_AVAILABLE
        | id::SHARED_AVAILABLE => byte(name, 1),
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            two(name, 1)
        }
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY => four(name, 1),
        id::MAXIMUM_PACKET_SIZE => four(name, 4096),
        id::USER_PROPERTY => user("k", "v"),
        _ => text(name, "x"),
    }
}

/// Every identifier of Table 2-4.
const ALL: [u8; 27] = [
    0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1C,
    0x1F, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A,
];

/// Where a client may put properties, which ones, and a packet that carries some.
struct Place {
    name: &'static str,
    known: &'static [u8],
    carrying: fn(&Broker, &[Vec<u8>]) -> Vec<u8>,
}

const PLACES: [Place; 7] = [
    Place {
        name: "PUBLISH",
        known: &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26],
        carrying: |broker, list| {
            let mut publish = wire::Publish::new(V5, broker.unique(), "x").qos(1, 1);
            publish.properties = list.to_vec();
            publish.bytes()
        },
    },
    Place {
        name: "PUBACK",
        known: &[0x1F, 0x26],
        carrying: |_, list| wire::ack_with(first::PUBACK, 1, 0, list),
    },
    Place {
        name: "PUBREC",
        known: &[0x1F, 0x26],
        carrying: |_, list| wire::ack_with(first::PUBREC, 1, 0, list),
    },
    Place {
        name: "PUBREL",
        known: &[0x1F, 0x26],
        carrying: |_, list| wire::ack_with(first::PUBREL, 1, 0, list),
    },
    Place {
        name: "SUBSCRIBE",
        known: &[0x0B, 0x26],
        carrying: |broker, list| wire::subscribe_with(V5, 1, list, &[(broker.unique(), 0)]),
    },
    Place {
        name: "UNSUBSCRIBE",
        known: &[0x26],
        carrying: |broker, list| {
            let body = [&[0, 1][..], &block(list), &field(broker.unique())].concat();
            wire::packet(first::UNSUBSCRIBE, &body)
        },
    },
    Place {
        name: "DISCONNECT",
        known: &[0x11, 0x1F, 0x26],
        carrying: |_, list| wire::reason_with(first::DISCONNECT, 0, list),
    },
];

#[test]
fn a_property_where_it_does_not_belong_is_malformed() {
    // [v5 MQTT-4.13.1-1] [v5 MQTT-3.3.4-6]
    on_every_broker(|broker| {
        for place in &PLACES {
            for name in ALL.into_iter().filter(|name| !place.known.contains(name)) {
                let mut client = Client::start(broker, V5);
                client.send((place.carrying)(broker, &[property(name)]));
                client.expect_end(&[0x81, 0x82]);
            }
        }
        let known = [0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
        for name in ALL.into_iter().filter(|name| !known.contains(name)) {
            let connect = Connect::new(V5, broker.unique()).property(property(name));
            Client::ask(broker, &connect).expect_refusal(&[0x81, 0x82]);
        }
        let known = [0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26];
        for name in ALL.into_iter().filter(|name| !known.contains(name)) {
            let will = Will::new("w", "x").property(property(name));
            let connect = Connect::new(V5, broker.unique()).will(will);
            Client::ask(broker, &connect).expect_refusal(&[0x81, 0x82]);
        }
    });
}

#[test]
fn an_unknown_property_is_malformed() {
    // [v5 MQTT-4.13.1-1]
    on_every_broker(|broker| {
        let unknown: [&[u8]; 6] = [&[0x00], &[0x04, 1], &[0x2B], &[0x7F], &[0x80, 0x01], &[0xFF]];
        for bytes in unknown {
            for place in &PLACES {
                let mut client = Client::start(broker, V5);
                client.send((place.carrying)(broker, &[bytes.to_vec()]));
                client.expect_end(&[0x81]);
            }
            let connect = Connect::new(V5, broker.unique()).property(bytes.to_vec());
            Client::ask(broker, &connect).expect_refusal(&[0x81]);
        }
    });
}

#[test]
fn a_property_that_may_stand_once_may_not_stand_twice() {
    // [v5 MQTT-4.13.1-1]
    on_every_broker(|broker| {
        for place in &PLACES {
            for name in place.known {
                let twice = [property(*name), property(*name)];
                let mut client = Client::start(broker, V5);
                client.send((place.carrying)(broker, &twice));
                if *name == id::USER_PROPERTY {
                    // The one that may.
                    if place.name != "DISCONNECT" {
                        client.send(wire::PINGREQ);
                        while !matches!(client.next(), super::packet::Packet::PingResp) {}
                    }
                } else {
                    client.expect_end(&[0x82]);
                }
            }
        }
        for name in [0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x27] {
            let twice = Connect::new(V5, broker.unique())
                .property(property(id::AUTH_METHOD))
                .property(property(name))
                .property(property(name));
            Client::ask(broker, &twice).expect_refusal(&[0x82]);
        }
        for name in [0x01, 0x02, 0x03, 0x08, 0x09, 0x18] {
            let will = Will::new("w", "x").property(property(name)).property(property(name));
            let connect = Connect::new(V5, broker.unique()).will(will);
            Client::ask(broker, &connect).expect_refusal(&[0x82]);
        }
    });
}

#[test]
fn a_value_out_of_range_is_an_error() {
    // [v5 MQTT-4.13.1-1]
    on_every_broker(|broker| {
        for name in [id::REQUEST_PROBLEM, id::REQUEST_RESPONSE] {
            for value in [2, 0xFF] {
                let connect = Connect::new(V5, broker.unique()).property(byte(name, value));
                Client::ask(broker, &connect).expect_refusal(&[0x81, 0x82]);
            }
        }
        let mut client = Client::start(broker, V5);
        client.send(client.message("a", "x").property(byte(id::PAYLOAD_FORMAT, 2)).bytes());
        client.expect_end(&[0x81, 0x82, 0x99]);
        let will = Will::new("w", "x").property(byte(id::PAYLOAD_FORMAT, 2));
        let connect = Connect::new(V5, broker.unique()).will(will);
        Client::ask(broker, &connect).expect_refusal(&[0x81, 0x82, 0x99]);
        // A property length that ends within a property.
        let body = [&field("a"), &[4][..], &four(id::MESSAGE_EXPIRY, 1)].concat();
        let mut client = Client::start(broker, V5);
        client.send(wire::packet(first::PUBLISH, &body));
        client.expect_end(&[0x81]);
    });
}

#[test]
fn an_unknown_reason_code_from_a_client_is_malformed() {
    // [v5 MQTT-4.13.1-1]
    on_every_broker(|broker| {
        for (first, reason) in [
            (first::PUBACK, 0x01),
            (first::PUBACK, 0x92),
            (first::PUBREC, 0xFF),
            (first::PUBREL, 0x10),
            (first::PUBCOMP, 0x80),
        ] {
            let mut client = Client::start(broker, V5);
            client.send(wire::ack_with(first, 1, reason, &[]));
            client.expect_end(&[0x81, 0x82]);
        }
        for reason in [0x01, 0x05, 0x7F, 0xFF] {
            let mut client = Client::start(broker, V5);
            client.send(wire::reason_with(first::DISCONNECT, reason, &[]));
            // The client is going anyway; an answer is optional.
            client.read_to_end();
        }
    });
}

/// A message with every property that is for its receivers.
fn adorned(topic: &str, payload: &str) -> wire::Publish {
    wire::Publish::new(V5, topic, payload)
        .property(user("name", "first"))
        .property(text(id::CORRELATION_DATA, b"\x00\x01\xFE\xFF"))
        .property(user("", ""))
        .property(byte(id::PAYLOAD_FORMAT, 1))
        .property(user("name", "second"))
        .property(text(id::RESPONSE_TOPIC, "answers/here"))
        .property(user("a", "\u{1F980}"))
        .property(text(id::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .property(user("name", "first"))
}

#[track_caller]
fn assert_adorned(found: &super::packet::Publish) {
    let properties = &found.properties;
    assert_eq!(properties.number(id::PAYLOAD_FORMAT), Some(1));
    assert_eq!(properties.text(id::RESPONSE_TOPIC), Some("answers/here"));
    assert_eq!(properties.data(id::CORRELATION_DATA), Some(&b"\x00\x01\xFE\xFF"[..]));
    assert_eq!(properties.text(id::CONTENT_TYPE), Some("text/plain; charset=utf-8"));
    let expected =
        [("name", "first"), ("", ""), ("name", "second"), ("a", "\u{1F980}"), ("name", "first")];
    assert_eq!(properties.pairs(), expected);
}

#[test]
fn the_properties_of_a_message_reach_every_subscriber_unaltered() {
    // [v5 MQTT-3.3.2-4] [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-16] [v5 MQTT-3.3.2-17]
    // [v5 MQTT-3.3.2-18] [v5 MQTT-3.3.2-20] [v5 MQTT-1.5.7-1]
    on_every_broker(|broker| {
        for qos in 0..=2 {
            let topic = broker.unique();
            let mut live = Client::start(broker, V5);
            live.subscribe(&topic, qos);
            let mut old = [V31, V311].map(|version| Client::start(broker, version));
            old.iter_mut().for_each(|client| client.subscribe(&topic, qos));
            let mut shared = Client::start(broker, V5);
            shared.subscribe(&format!("$share/group/{topic}"), qos);
            let away = Connect::new(V5, broker.unique()).persistent();
            let mut absent = Client::connect(broker, &away);
            absent.subscribe(&topic, qos);
            absent.vanish();
            let mut publisher = Client::start(broker, V5);
            publisher.publish(adorned(&topic, "adorned").retain(), qos);
            assert_adorned(&live.receive());
            assert_adorned(&shared.receive());
            for client in &mut old {
                assert_eq!(client.receive_payload(), "adorned");
            }
            let mut late = Client::start(broker, V5);
            late.subscribe(&topic, qos);
            assert_adorned(&late.receive());
            if qos > 0 {
                assert_adorned(&Client::connect(broker, &away).receive());
            }
        }
    });
}

#[test]
fn a_message_without_properties_gets_none_on_the_way() {
    // [v5 MQTT-2.2.2-1] [v5 MQTT-3.3.2-4] [v5 MQTT-3.3.2-17]
    on_every_broker(|broker| {
        for sending in [V31, V311, V5] {
            let topic = broker.unique();
            let mut subscriber = Client::start(broker, V5);
            subscriber.subscribe(&topic, 2);
            let mut publisher = Client::start(broker, sending);
            for qos in 0..=2 {
                publisher.publish_qos(&topic, qos, "plain");
                assert_eq!(subscriber.receive().properties.0, []);
            }
            // 0 is a value, and is handed on.
            if sending == V5 {
                let zero = publisher.message(&topic, "x").property(byte(id::PAYLOAD_FORMAT, 0));
                publisher.publish(zero, 1);
                let found = subscriber.receive().properties;
                assert_eq!(found.number(id::PAYLOAD_FORMAT), Some(0));
            }
        }
    });
}

#[test]
fn the_remaining_expiry_interval_is_handed_on() {
    // [v5 MQTT-3.3.2-6]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let away = Connect::new(V5, broker.unique()).persistent();
        let mut absent = Client::connect(broker, &away);
        absent.subscribe(&topic, 1);
        absent.vanish();
        let mut live = Client::start(broker, V5);
        live.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, V5);
        let message = publisher.message(&topic, "x").property(four(id::MESSAGE_EXPIRY, 1000));
        publisher.publish(message.clone().retain(), 1);
        let remaining = |client: &mut Client| {
            client.receive().properties.number(id::MESSAGE_EXPIRY).expect("it was given")
        };
        let found = remaining(&mut live);
        assert!((900..=1000).contains(&found), "live: {found}");
        std::thread::sleep(Duration::from_millis(2100));
        let found = remaining(&mut Client::connect(broker, &away));
        assert!((900..=998).contains(&found), "queued: {found}");
        let mut late = Client::start(broker, V5);
        late.subscribe(&topic, 1);
        let found = remaining(&mut late);
        assert!((900..=998).contains(&found), "retained: {found}");
    });
}

#[test]
fn a_message_that_expired_is_not_delivered() {
    // [v5 MQTT-3.3.2-5]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let away = [V311, V5].map(|version| Connect::new(version, broker.unique()).persistent());
        for connect in &away {
            let mut absent = Client::connect(broker, connect);
            absent.subscribe(&topic, 2);
            absent.vanish();
        }
        // A full window makes a message wait for a client that is there.
        let narrow = Connect::new(V5, broker.unique()).property(two(id::RECEIVE_MAXIMUM, 1));
        let mut stuck = Client::connect(broker, &narrow);
        stuck.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, V5);
        publisher.publish_qos(&topic, 1, "first");
        for qos in [1, 2] {
            let message = publisher.message(&topic, "fleeting");
            publisher.publish(message.property(four(id::MESSAGE_EXPIRY, 1)), qos);
        }
        publisher.publish_qos(&topic, 1, "last");
        std::thread::sleep(Duration::from_millis(2200));
        let mut clients: Vec<Client> =
            away.iter().map(|connect| Client::connect(broker, connect)).collect();
        clients.push(stuck);
        for mut client in clients {
            assert_eq!(client.receive_payload(), "first");
            assert_eq!(client.receive_payload(), "last");
            client.expect_nothing();
        }
    });
}

#[test]
fn a_retained_message_that_expired_is_not_delivered() {
    // [v5 MQTT-3.3.2-5]
    on_every_broker(|broker| {
        let root = broker.unique();
        let mut publisher = Client::start(broker, V5);
        let message = |leaf: &str| wire::Publish::new(V5, format!("{root}/{leaf}"), "x").retain();
        publisher.publish(message("short").property(four(id::MESSAGE_EXPIRY, 1)), 1);
        publisher.publish(message("long").property(four(id::MESSAGE_EXPIRY, 1000)), 1);
        std::thread::sleep(Duration::from_millis(2200));
        for version in [V311, V5] {
            let mut late = Client::start(broker, version);
            late.subscribe(&format!("{root}/short"), 1);
            late.subscribe(&format!("{root}/+"), 1);
            assert_eq!(late.receive().topic, format!("{root}/long"));
            late.expect_nothing();
        }
    });
}

#[test]
fn no_message_waits_longer_than_the_broker_lets_it() {
    // [v5 MQTT-3.3.2-6]
    on_every_broker_with("[mqtt]\nmessage_expiry_s_max = 2\n", |broker| {
        let root = broker.unique();
        let topic = |leaf: &str| format!("{root}/{leaf}");
        let away = Connect::new(V311, broker.unique()).persistent();
        let mut absent = Client::connect(broker, &away);
        absent.subscribe(&topic("#"), 1);
        absent.vanish();
        let mut live = Client::start(broker, V5);
        live.subscribe(&topic("#"), 1);
        let mut publisher = Client::start(broker, V5);
        let message = |leaf: &str| wire::Publish::new(V5, topic(leaf), "x").retain();
        let expiring = |leaf, seconds| message(leaf).property(four(id::MESSAGE_EXPIRY, seconds));
        let will = Connect::new(V5, broker.unique()).will(Will::new(topic("will"), "x").retain());
        publisher.publish(message("plain"), 1);
        publisher.publish(expiring("long", 1000), 1);
        publisher.publish(expiring("short", 1), 1);
        Client::connect(broker, &will).vanish();
        for (leaf, seconds) in [("plain", 2), ("long", 2), ("short", 1), ("will", 2)] {
            let found = live.receive();
            assert_eq!(found.topic, topic(leaf));
            assert_eq!(found.properties.number(id::MESSAGE_EXPIRY), Some(seconds), "{leaf}");
        }
        std::thread::sleep(Duration::from_millis(2200));
        Client::connect(broker, &away).expect_nothing();
        let mut late = Client::start(broker, V5);
        late.subscribe(&topic("#"), 1);
        late.expect_nothing();
    });
}

#[test]
fn a_response_topic_must_be_a_topic_name() {
    // [v5 MQTT-3.3.2-14]
    on_every_broker(|broker| {
        for topic in ["#", "a/+", "+"] {
            let mut client = Client::start(broker, V5);
            client.send(client.message("a", "x").property(text(id::RESPONSE_TOPIC, topic)).bytes());
            client.expect_end(&[0x81, 0x82, 0x90]);
            let will = Will::new("w", "x").property(text(id::RESPONSE_TOPIC, topic));
            let connect = Connect::new(V5, broker.unique()).will(will);
            Client::ask(broker, &connect).expect_refusal(&[0x81, 0x82, 0x90]);
        }
    });
}

#[test]
fn a_client_cannot_send_a_subscription_identifier() {
    // [v5 MQTT-3.3.4-6]
    on_every_broker(|broker| {
        for qos in 0..=2 {
            let mut client = Client::start(broker, V5);
            let number = wire::property(id::SUBSCRIPTION_ID, [1]);
            client.send(client.message("a", "x").qos(qos, 1).property(number).bytes());
            client.expect_end(&[0x82]);
        }
    });
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_to_be_is_refused_if_one_checks() {
    // [v5 MQTT-3.3.2-4] [v5 MQTT-3.4.2-1] [v5 MQTT-3.5.2-1] [v5 MQTT-4.3.3-9]
    on_every_broker_with("[mqtt]\npayload_utf8_validated = true\n", |broker| {
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, V5);
        subscriber.subscribe(&topic, 2);
        let claim = byte(id::PAYLOAD_FORMAT, 1);
        for qos in 0..=2 {
            let mut client = Client::start(broker, V5);
            let bad = client.message(&topic, b"\xC3\x28").property(claim.clone());
            client.send(bad.qos(qos, 5).bytes());
            if qos > 0 {
                match client.next() {
                    super::packet::Packet::Ack(first, ack) => {
                        let expected = [first::PUBACK, first::PUBREC][usize::from(qos - 1)];
                        assert_eq!((first, ack.packet_id, ack.reason), (expected, 5, 0x99));
                        // The packet identifier is free, the message is new.
                        let good = client.message(&topic, "text").property(claim.clone());
                        client.send(good.qos(qos, 5).bytes());
                        assert!(client.expect_ack(expected, 5).reason < 0x80);
                        if qos == 2 {
                            client.send(wire::ack(first::PUBREL, 5));
                            client.expect_ack(first::PUBCOMP, 5);
                        }
                        assert_eq!(subscriber.receive_payload(), "text");
                    }
                    super::packet::Packet::Disconnect(said) => {
                        assert_eq!(said.reason, 0x99);
                        client.expect_close();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        subscriber.expect_nothing();
        let will = Will::new("w", b"\xFF").property(claim);
        let connect = Connect::new(V5, broker.unique()).will(will);
        Client::ask(broker, &connect).expect_refusal(&[0x99]);
    });
}

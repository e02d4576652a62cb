//! SUBSCRIBE, UNSUBSCRIBE and their answers: chapters 3.8 to 3.11.

use super::brokers::{Broker, on_every_broker, on_every_broker_with, on_every_version};
use super::client::{Arrival, Client, PATIENCE};
use super::packet::{Packet, Publish};
use super::wire::Version::{self, V5, V31, V311};
use super::wire::{self, block, field, first, id};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_IF_NEW: u8 = 0x10;
const RETAIN_NEVER: u8 = 0x20;

#[test]
fn a_session_with_all_its_subscriptions_may_replace_them() {
    // [v5 MQTT-3.8.4-3]
    on_every_broker_with("[mqtt]\nsubscriptions_max = 2\n", |broker| {
        let topic = broker.unique();
        let shared = format!("$share/group/{topic}");
        let mut client = Client::start(broker, V5);
        assert_eq!(client.try_subscribe(&[(&topic, 1), (&shared, 1)]), [1, 1]);
        assert_eq!(client.try_subscribe(&[("more", 1), (&topic, 2), (&shared, 0)]), [0x97, 2, 0]);
    });
}

#[test]
fn very_many_filters_have_one_answer_before_what_follows_has_its_own() {
    // [v3.1.1 MQTT-3.8.4-4] [v3.1.1 MQTT-3.8.4-5] [v3.1.1 MQTT-3.10.4-6]
    // [v5 MQTT-3.8.4-5] [v5 MQTT-3.8.4-6] [v5 MQTT-3.10.4-6]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let filters: Vec<String> = (0..20_000).map(|number| format!("{topic}/{number}")).collect();
        let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (&**filter, 1)).collect();
        let all: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut client = Client::start(broker, version);
        let mut other = Client::start(broker, version);
        client.send(wire::subscribe(version, 1, &asked));
        client.send(wire::unsubscribe(version, 2, &all[1..]));
        client.send(wire::subscribe(version, 3, &[(all[1], 0)]));
        other.ping();
        assert_eq!(client.expect_suback(1), vec![1; filters.len()]);
        let ended = if version == V5 { all.len() - 1 } else { 0 };
        assert_eq!(client.expect_unsuback(2), vec![0; ended]);
        assert_eq!(client.expect_suback(3), [0]);
        for number in [2, 1, 0] {
            other.publish_qos(all[number], 1, all[number]);
        }
        assert_eq!(client.receive_payload(), all[1]);
        assert_eq!(client.receive_payload(), all[0]);
    });
}

#[test]
fn filters_that_take_more_memory_than_they_may_are_refused() {
    // [v5 MQTT-3.8.4-7]
    on_every_broker_with("[mqtt]\nsubscription_bytes_max = 65536\n", |broker| {
        let (topic, long) = (broker.unique(), "x".repeat(40_000));
        let (first, second) = (format!("{topic}/{long}/+"), format!("{long}/{topic}"));
        let mut client = Client::start(broker, V5);
        assert_eq!(client.try_subscribe(&[(&first, 1), (&second, 1), (&topic, 1)]), [1, 0x97, 1]);
        assert_eq!(client.try_subscribe(&[(&first, 0)]), [0]);
        client.unsubscribe(&[&first]);
        assert_eq!(client.try_subscribe(&[(&second, 1)]), [1]);
    });
}

/// A filter that no one may subscribe to is refused: the packet is malformed, or its filter gets
/// a failure. Both readings are legal; a grant is not.
#[track_caller]
pub fn expect_filter_refused(broker: &Broker, version: Version, filter: &str) {
    let mut client = Client::start(broker, version);
    client.send(wire::subscribe(version, 1, &[(filter, 0)]));
    match client.poll(PATIENCE) {
        Arrival::Closed => {}
        Arrival::Packet(Packet::Disconnect(said)) => {
            assert!([0x81, 0x82, 0x8F].contains(&said.reason), "{filter}: {said:?}");
            client.expect_close();
        }
        Arrival::Packet(Packet::SubAck(suback)) => {
            assert!(suback.reasons[0] >= 0x80, "{filter:?} was granted");
        }
        other => panic!("{filter}: {other:?}"),
    }
}

/// Subscribes with a subscription identifier.
#[track_caller]
fn subscribe_as(client: &mut Client, number: u32, filters: &[(&str, u8)]) {
    let packet_id = client.packet_id();
    let property = wire::property(id::SUBSCRIPTION_ID, wire::varint(number));
    client.send(wire::subscribe_with(V5, packet_id, &[property], filters));
    let granted = client.expect_suback(packet_id);
    assert!(granted.iter().all(|reason| *reason <= 2), "{granted:02x?}");
}

/// The copies of one message: everything before the marker that is published after it.
#[track_caller]
fn copies(subscriber: &mut Client, publisher: &mut Client, topic: &str, qos: u8) -> Vec<Publish> {
    publisher.publish_qos(topic, qos, "message");
    publisher.publish_qos(topic, qos, "marker");
    let mut found = Vec::new();
    loop {
        let publish = subscriber.receive();
        if publish.payload == b"marker" {
            // Its own copies follow; none of them belongs to what comes next.
            for _ in 1..found.len() {
                assert_eq!(subscriber.receive().payload, b"marker");
            }
            return found;
        }
        found.push(publish);
    }
}

#[test]
fn suback_has_a_code_for_each_filter_in_their_order() {
    // [v3.1.1 MQTT-3.8.4-5]
    // [v3.1.1 MQTT-3.8.4-1] [v3.1.1 MQTT-3.8.4-2] [v3.1.1 MQTT-3.8.4-4] [v3.1.1 MQTT-3.9.3-1]
    // [v3.1.1 MQTT-3.9.3-2] [v3.1.1 MQTT-2.3.1-7]
    // [v5 MQTT-3.8.4-1] [v5 MQTT-3.8.4-2] [v5 MQTT-3.8.4-5] [v5 MQTT-3.8.4-6]
    // [v5 MQTT-3.8.4-7] [v5 MQTT-3.9.3-1] [v5 MQTT-3.9.3-2] [v5 MQTT-2.2.1-6]
    // [v5 MQTT-2.2.2-1] [v5 MQTT-3.2.2-10]
    on_every_version(|broker, version| {
        let root = broker.unique();
        let names: Vec<String> = (0..9).map(|number| format!("{root}/{number}")).collect();
        let filters: Vec<(&str, u8)> = names
            .iter()
            .enumerate()
            .map(|(index, name)| (name.as_str(), [2, 0, 1, 1, 0, 2, 2, 2, 0][index]))
            .collect();
        let mut client = Client::start(broker, version);
        for packet_id in [1, 65_535, 0x0100] {
            client.send(wire::subscribe(version, packet_id, &filters));
            assert_eq!(client.expect_suback(packet_id), [2, 0, 1, 1, 0, 2, 2, 2, 0]);
        }
        let mut publisher = Client::start(broker, version);
        for (name, qos) in &filters {
            publisher.publish_qos(name, 2, name);
            let found = client.receive();
            assert_eq!((found.topic.as_str(), found.qos), (*name, *qos));
        }
        // The same filter twice in one packet: as if two packets had come.
        let twice = [(names[0].as_str(), 0), (names[0].as_str(), 1)];
        assert_eq!(client.try_subscribe(&twice), [0, 1]);
        let found = copies(&mut client, &mut publisher, &names[0], 2);
        assert_eq!(found.iter().map(|copy| copy.qos).collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn subscribe_and_unsubscribe_without_a_filter_are_protocol_errors() {
    // [v3.1.1 MQTT-3.8.3-3] [v3.1.1 MQTT-3.10.3-2] [v5 MQTT-3.8.3-2] [v5 MQTT-3.10.3-2]
    on_every_version(|broker, version| {
        let properties = if version == V5 { &[0][..] } else { &[] };
        for first in [first::SUBSCRIBE, first::UNSUBSCRIBE] {
            let mut client = Client::start(broker, version);
            client.send(wire::packet(first, &[&[0, 7], properties].concat()));
            client.expect_end(&[0x82]);
        }
    });
}

#[test]
fn reserved_bits_of_the_options_are_malformed() {
    // [v3.1.1 MQTT-3.8.3-4]
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-3.8.3-5]
    on_every_broker(|broker| {
        for version in [V311, V5] {
            let reserved: &[u8] =
                if version == V5 { &[0x40, 0x80] } else { &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80] };
            for bit in reserved {
                for qos in 0..=2 {
                    let mut client = Client::start(broker, version);
                    client.send(wire::subscribe(version, 7, &[("a", bit | qos)]));
                    client.expect_end(&[0x81]);
                }
            }
        }
    });
}

#[test]
fn a_subscription_of_qos_3_or_retain_handling_3_is_an_error() {
    // [v3.1.1 MQTT-3.8.3-4]
    // [v3.1.1 MQTT-4.8.0-1] [v5 MQTT-4.13.1-1] [v5 MQTT-3.8.3-5]
    on_every_version(|broker, version| {
        let mut client = Client::start(broker, version);
        client.send(wire::subscribe(version, 7, &[("a", 3)]));
        client.expect_end(&[0x81, 0x82]);
        if version == V5 {
            let mut client = Client::start(broker, version);
            client.send(wire::subscribe(version, 7, &[("a", 0x30)]));
            client.expect_end(&[0x81, 0x82]);
        }
    });
}

#[test]
fn a_filter_with_a_wildcard_out_of_place_is_refused() {
    // [v3.1.1 MQTT-4.7.1-2] [v3.1.1 MQTT-4.7.1-3] [v3.1.1 MQTT-4.7.3-1]
    // [v3.1.1 MQTT-3.8.3-2]
    // [v5 MQTT-4.7.1-1] [v5 MQTT-4.7.1-2] [v5 MQTT-4.7.3-1]
    on_every_version(|broker, version| {
        for filter in [
            "", "#/", "#/a", "a/#/b", "a#", "#a", "##", "a/b#", "a/#b", "+a", "a+", "a/b+",
            "a/+b/c", "++", "a/++", "+#", "#+",
        ] {
            expect_filter_refused(broker, version, filter);
        }
    });
}

#[test]
fn overlapping_subscriptions_deliver_with_the_highest_qos() {
    // [v3.1.1 MQTT-3.3.5-1] [v5 MQTT-3.3.4-2]
    on_every_version(|broker, version| {
        let root = broker.unique();
        let topic = format!("{root}/x/y");
        let mut subscriber = Client::start(broker, version);
        for (filter, qos) in [("x/#", 0), ("+/y", 2), ("#", 1), ("x/y", 0)] {
            subscriber.subscribe(&format!("{root}/{filter}"), qos);
        }
        let mut publisher = Client::start(broker, version);
        for qos in 0..=2 {
            let found = copies(&mut subscriber, &mut publisher, &topic, qos);
            // One copy, or one for each subscription.
            assert!([1, 4].contains(&found.len()), "{} copies", found.len());
            assert_eq!(found.iter().map(|copy| copy.qos).max(), Some(qos));
        }
    });
}

#[test]
fn a_message_carries_the_identifiers_of_all_its_subscriptions() {
    // [v5 MQTT-3.3.4-3] [v5 MQTT-3.3.4-4] [v5 MQTT-3.3.4-5]
    on_every_broker(|broker| {
        let root = broker.unique();
        let topic = format!("{root}/x/y");
        let mut subscriber = Client::start(broker, V5);
        subscribe_as(&mut subscriber, 1, &[(&format!("{root}/x/#"), 0)]);
        subscribe_as(&mut subscriber, 268_435_455, &[(&format!("{root}/+/y"), 2)]);
        subscribe_as(&mut subscriber, 300, &[(&format!("{root}/#"), 1), (&topic, 0)]);
        subscriber.subscribe(&format!("{root}/x/+"), 2);
        let mut publisher = Client::start(broker, V311);
        let found = copies(&mut subscriber, &mut publisher, &topic, 1);
        let mut ids: Vec<u32> =
            found.iter().flat_map(|copy| copy.properties.subscription_ids()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids, [1, 300, 268_435_455]);
        if found.len() > 1 {
            assert!(found.iter().all(|copy| copy.properties.subscription_ids().len() <= 1));
        }
        // Only those that match.
        let found = copies(&mut subscriber, &mut publisher, &format!("{root}/z"), 1);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].properties.subscription_ids(), [300]);
    });
}

#[test]
fn a_subscription_identifier_belongs_to_its_subscription() {
    // [v5 MQTT-3.3.4-3] [v5 MQTT-3.8.4-3]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut publisher = Client::start(broker, V5);
        publisher.publish(publisher.message(&topic, "kept").retain(), 1);
        let mut subscriber = Client::start(broker, V5);
        for (number, expected) in [(7, vec![7]), (9, vec![9])] {
            subscribe_as(&mut subscriber, number, &[(&topic, 1)]);
            let retained = subscriber.receive();
            assert_eq!(retained.payload, b"kept");
            assert_eq!(retained.properties.subscription_ids(), expected);
            publisher.publish_qos(&topic, 1, "live");
            assert_eq!(subscriber.receive().properties.subscription_ids(), expected);
        }
        // Replaced by one without.
        subscriber.subscribe(&topic, 1 | RETAIN_NEVER);
        publisher.publish_qos(&topic, 1, "live");
        assert!(subscriber.receive().properties.subscription_ids().is_empty());
    });
}

#[test]
fn a_subscription_identifier_is_kept_with_the_session() {
    // [v5 MQTT-3.3.4-3] [v5 MQTT-3.1.2-5]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = wire::Connect::new(V5, broker.unique()).persistent();
        let mut subscriber = Client::connect(broker, &connect);
        subscribe_as(&mut subscriber, 77, &[(&topic, 1)]);
        subscriber.vanish();
        let mut publisher = Client::start(broker, V5);
        publisher.publish_qos(&topic, 1, "while away");
        let mut subscriber = Client::connect(broker, &connect);
        publisher.publish_qos(&topic, 1, "live");
        for payload in ["while away", "live"] {
            let found = subscriber.receive();
            assert_eq!(found.payload, payload.as_bytes());
            assert_eq!(found.properties.subscription_ids(), [77]);
        }
    });
}

#[test]
fn a_subscription_identifier_of_zero_is_a_protocol_error() {
    // [v5 MQTT-4.13.1-1]
    on_every_broker(|broker| {
        let zero = wire::property(id::SUBSCRIPTION_ID, [0]);
        let one = wire::property(id::SUBSCRIPTION_ID, [1]);
        for properties in [vec![zero], vec![one.clone(), one]] {
            let mut client = Client::start(broker, V5);
            client.send(wire::subscribe_with(V5, 7, &properties, &[("a", 0)]));
            client.expect_end(&[0x82]);
        }
    });
}

#[test]
fn subscribing_again_replaces_the_subscription() {
    // [v3.1.1 MQTT-3.8.4-3] [v5 MQTT-3.8.4-3] [v5 MQTT-3.8.4-4]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut publisher = Client::start(broker, version);
        publisher.publish(publisher.message(&topic, "kept").retain(), 2);
        let mut subscriber = Client::start(broker, version);
        for qos in [2, 0, 1] {
            subscriber.subscribe(&topic, qos);
            let retained = subscriber.receive();
            assert_eq!((retained.payload.as_slice(), retained.qos), (&b"kept"[..], qos));
            let found = copies(&mut subscriber, &mut publisher, &topic, 2);
            assert_eq!(found.iter().map(|copy| copy.qos).collect::<Vec<_>>(), [qos]);
        }
    });
}

#[test]
fn no_message_is_lost_or_doubled_while_a_subscription_is_replaced() {
    // [v5 MQTT-3.8.4-4] [v3.1.1 MQTT-3.8.4-3]
    on_every_version(|broker, version| {
        const COUNT: usize = 300;
        let topic = broker.unique();
        let mut subscriber = Client::start(broker, version);
        subscriber.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, version);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..COUNT {
                    publisher.publish_qos(&topic, 1, &number.to_string());
                }
            });
            let mut next = 0;
            let mut changes = 0;
            while next < COUNT {
                if changes < 40 {
                    changes += 1;
                    let packet_id = subscriber.packet_id();
                    subscriber.send(wire::subscribe(version, packet_id, &[(&topic, 1)]));
                }
                match subscriber.next() {
                    Packet::Publish(publish) => {
                        assert_eq!(publish.payload, next.to_string().as_bytes());
                        subscriber.finish_delivery(&publish);
                        next += 1;
                    }
                    Packet::SubAck(suback) => assert_eq!(suback.reasons, [1]),
                    other => panic!("{other:?}"),
                }
            }
        });
    });
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    // [v5 MQTT-3.8.3-3]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut client = Client::start(broker, V5);
        let mut other = Client::start(broker, V5);
        client.subscribe(&topic, 2 | NO_LOCAL);
        other.subscribe(&topic, 2);
        for qos in 0..=2 {
            client.publish_qos(&topic, qos, "mine");
            assert_eq!(other.receive_payload(), "mine");
            other.publish(other.message(&topic, "theirs"), 0);
            assert_eq!(client.receive_payload(), "theirs");
            assert_eq!(other.receive_payload(), "theirs");
        }
        client.expect_nothing();
        // It goes by client id, also while the subscriber is away.
        let connect = wire::Connect::new(V5, broker.unique()).persistent();
        let mut client = Client::connect(broker, &connect);
        client.subscribe(&topic, 1 | NO_LOCAL);
        client.vanish();
        let mut client = Client::connect(broker, &connect);
        client.publish_qos(&topic, 1, "mine");
        client.expect_nothing();
    });
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    // [v5 MQTT-3.8.3-4]
    on_every_broker(|broker| {
        let mut client = Client::start(broker, V5);
        client.send(wire::subscribe(V5, 7, &[("$share/group/a", NO_LOCAL)]));
        client.expect_end(&[0x82]);
    });
}

#[test]
fn retain_as_published_keeps_the_flag() {
    // [v5 MQTT-3.3.1-12] [v5 MQTT-3.3.1-13]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut keeping = Client::start(broker, V5);
        keeping.subscribe(&topic, 2 | RETAIN_AS_PUBLISHED);
        let mut clearing = Client::start(broker, V5);
        clearing.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, V311);
        for qos in 0..=2 {
            publisher.publish(publisher.message(&topic, "retained").retain(), qos);
            publisher.publish_qos(&topic, qos, "plain");
            assert!(keeping.receive().retain);
            assert!(!keeping.receive().retain);
            assert!(!clearing.receive().retain);
            assert!(!clearing.receive().retain);
        }
        // What comes because one subscribes always has it.
        for options in [2, 2 | RETAIN_AS_PUBLISHED] {
            let mut late = Client::start(broker, V5);
            late.subscribe(&topic, options);
            assert!(late.receive().retain);
        }
    });
}

#[test]
fn retain_handling_decides_whether_retained_messages_are_sent() {
    // [v5 MQTT-3.3.1-9] [v5 MQTT-3.3.1-10] [v5 MQTT-3.3.1-11] [v5 MQTT-3.8.4-4]
    on_every_broker(|broker| {
        let root = broker.unique();
        let mut publisher = Client::start(broker, V5);
        for leaf in ["a", "b", "c"] {
            publisher.publish(publisher.message(format!("{root}/{leaf}"), leaf).retain(), 1);
        }
        for filter in [format!("{root}/a"), format!("{root}/+")] {
            let count = if filter.ends_with('+') { 3 } else { 1 };
            let mut client = Client::start(broker, V5);
            let mut expect = |options: u8, count: usize| {
                client.subscribe(&filter, 1 | options);
                for _ in 0..count {
                    assert!(client.receive().retain);
                }
                client.expect_nothing();
            };
            expect(RETAIN_NEVER, 0);
            expect(RETAIN_IF_NEW, 0);
            expect(0, count);
            expect(0, count);
            expect(RETAIN_IF_NEW, 0);
            expect(RETAIN_NEVER, 0);
            let mut client = Client::start(broker, V5);
            client.subscribe(&filter, 1 | RETAIN_IF_NEW);
            for _ in 0..count {
                assert!(client.receive().retain);
            }
            client.unsubscribe(&[&filter]);
            client.subscribe(&filter, 1 | RETAIN_IF_NEW);
            for _ in 0..count {
                assert!(client.receive().retain);
            }
            client.expect_nothing();
        }
    });
}

#[test]
fn a_subscription_that_lived_on_with_its_session_is_not_new() {
    // [v5 MQTT-3.3.1-10]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut publisher = Client::start(broker, V5);
        publisher.publish(publisher.message(&topic, "kept").retain(), 1);
        let connect = wire::Connect::new(V5, broker.unique()).persistent();
        let mut client = Client::connect(broker, &connect);
        client.subscribe(&topic, 1);
        client.receive();
        client.ping();
        client.vanish();
        let mut client = Client::connect(broker, &connect);
        client.subscribe(&topic, 1 | RETAIN_IF_NEW);
        client.expect_nothing();
    });
}

#[test]
fn unsubscribe_ends_what_it_names_exactly() {
    // [v3.1.1 MQTT-3.10.4-1] [v3.1.1 MQTT-3.10.4-2] [v3.1.1 MQTT-3.10.4-4]
    // [v3.1.1 MQTT-3.10.4-5] [v3.1.1 MQTT-3.10.4-6] [v3.1.1 MQTT-2.3.1-7]
    // [v5 MQTT-3.10.4-1] [v5 MQTT-3.10.4-2] [v5 MQTT-3.10.4-4] [v5 MQTT-3.10.4-5]
    // [v5 MQTT-3.10.4-6] [v5 MQTT-3.11.3-1] [v5 MQTT-3.11.3-2] [v5 MQTT-2.2.1-6]
    on_every_version(|broker, version| {
        let root = broker.unique();
        let name = |leaf: &str| format!("{root}/{leaf}");
        let (a, plus, hash) = (name("a"), name("+"), name("#"));
        let mut client = Client::start(broker, version);
        assert_eq!(client.try_subscribe(&[(&a, 0), (&plus, 0), (&hash, 0)]), [0, 0, 0]);
        let codes = |codes: &[u8]| if version == V5 { codes.to_vec() } else { Vec::new() };
        // Nothing of this is subscribed to, though some of it would match.
        let absent = [name("b"), name("a/"), name("A"), name("+/+")];
        let absent: Vec<&str> = absent.iter().map(String::as_str).collect();
        assert_eq!(client.unsubscribe(&absent), codes(&[0x11; 4]));
        assert_eq!(client.unsubscribe(&[&plus, "none", &a, &a]), codes(&[0, 0x11, 0, 0x11]));
        let mut publisher = Client::start(broker, version);
        let found = copies(&mut client, &mut publisher, &a, 0);
        assert_eq!(found.len(), 1, "the third subscription remains");
        assert_eq!(client.unsubscribe(&[&hash]), codes(&[0]));
        publisher.publish_qos(&a, 1, "unheard");
        client.expect_nothing();
        // The packet identifier comes back.
        for packet_id in [1, 0x0100, 65_535] {
            client.send(wire::unsubscribe(version, packet_id, &["x"]));
            match client.next() {
                Packet::UnsubAck(unsuback) => assert_eq!(unsuback.packet_id, packet_id),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn unsubscribe_completes_what_is_in_flight() {
    // [v3.1.1 MQTT-3.10.4-3] [v5 MQTT-3.10.4-3]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let connect = wire::Connect::new(version, broker.unique()).persistent();
        let mut client = Client::connect(broker, &connect);
        client.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        publisher.publish_qos(&topic, 1, "one");
        publisher.publish_qos(&topic, 2, "two");
        let (one, two) = (client.expect_publish(), client.expect_publish());
        client.unsubscribe(&[&topic]);
        client.send(wire::ack(first::PUBREC, two.packet_id));
        client.expect_ack(first::PUBREL, two.packet_id);
        client.vanish();
        let mut client = Client::connect(broker, &connect);
        let mut found = [client.next(), client.next()];
        found.sort_by_key(|packet| matches!(packet, Packet::Publish(_)));
        assert!(
            matches!(&found[0], Packet::Ack(first::PUBREL, it) if it.packet_id == two.packet_id)
        );
        assert!(matches!(&found[1], Packet::Publish(it) if it.packet_id == one.packet_id));
        client.acknowledge(first::PUBACK, one.packet_id);
        client.acknowledge(first::PUBCOMP, two.packet_id);
        client.expect_nothing();
    });
}

#[test]
fn a_bad_filter_in_unsubscribe_ends_nothing_else() {
    // [v3.1.1 MQTT-3.10.3-1] [v5 MQTT-3.10.3-1] [v5 MQTT-3.11.3-2]
    on_every_version(|broker, version| {
        for filter in ["", "a/#/b", "a+"] {
            let mut client = Client::start(broker, version);
            client.send(wire::unsubscribe(version, 1, &[filter]));
            match client.poll(PATIENCE) {
                Arrival::Closed => {}
                Arrival::Packet(Packet::Disconnect(said)) => {
                    assert!([0x81, 0x82, 0x8F].contains(&said.reason), "{said:?}");
                }
                Arrival::Packet(Packet::UnsubAck(unsuback)) => {
                    assert!(unsuback.reasons.iter().all(|reason| *reason >= 0x11));
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_message_published_after_suback_is_never_missed() {
    // [v3.1.1 MQTT-4.5.0-1] [v5 MQTT-4.5.0-1]
    on_every_version(|broker, version| {
        let mut publisher = Client::start(broker, version);
        for round in 0..30 {
            let topic = broker.unique();
            let mut subscriber = Client::start(broker, version);
            let filter = if round % 2 == 0 { topic.clone() } else { format!("{topic}/#") };
            subscriber.subscribe(&filter, 0);
            publisher.publish_qos(&topic, 0, "at once");
            assert_eq!(subscriber.receive_payload(), "at once");
        }
    });
}

#[test]
fn properties_of_subscribe_and_unsubscribe_are_read_over() {
    // [v5 MQTT-2.2.2-1]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut client = Client::start(broker, V5);
        let pairs = [wire::user("k", "v"), wire::user("k", "w")];
        client.send(wire::subscribe_with(V5, 1, &pairs, &[(&topic, 0)]));
        assert_eq!(client.expect_suback(1), [0]);
        let body = [&[0, 2][..], &block(&pairs), &field(&topic)].concat();
        client.send(wire::packet(first::UNSUBSCRIBE, &body));
        match client.next() {
            Packet::UnsubAck(unsuback) => assert_eq!(unsuback.reasons, [0]),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn mqtt_3_1_subscribes_like_its_successors() {
    // [v3.1.1 MQTT-3.8.4-1]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut client = Client::start(broker, V31);
        client.subscribe(&format!("{topic}/+"), 2);
        let mut publisher = Client::start(broker, V5);
        publisher.publish_qos(&format!("{topic}/x"), 2, "across versions");
        assert_eq!(client.receive_payload(), "across versions");
    });
}

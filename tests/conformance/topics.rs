//! Topic names, topic filters and how they match: chapter 4.7.

use super::brokers::{on_every_broker, on_every_version};
use super::client::{Arrival, Client, PATIENCE, QUIET};
use super::packet::Packet;
use super::wire::Version::V5;

/// Filter, topic name, whether they match. `{}` is a prefix of the test's own.
const MATCHES: &[(&str, &str, bool)] = &[
    // Examples of 4.7.1.2.
    ("{}/tennis/player1/#", "{}/tennis/player1", true),
    ("{}/tennis/player1/#", "{}/tennis/player1/ranking", true),
    ("{}/tennis/player1/#", "{}/tennis/player1/score/wimbledon", true),
    ("{}/tennis/player1/#", "{}/tennis/player10", false),
    ("{}/#", "{}", true),
    ("{}/#", "{}/", true),
    // Examples of 4.7.1.3.
    ("{}/tennis/+", "{}/tennis/player1", true),
    ("{}/tennis/+", "{}/tennis/player2", true),
    ("{}/tennis/+", "{}/tennis/player1/ranking", false),
    ("{}/+", "{}", false),
    ("{}/+", "{}/", true),
    ("+/{}", "/{}", true),
    ("/{}", "/{}", true),
    ("+", "/{}", false),
    ("+/+/#", "/{}/x", true),
    ("{}/+/tennis/#", "{}/sport/tennis", true),
    ("{}/+/tennis/#", "{}/sport/tennis/x/y", true),
    ("{}/+/tennis/#", "{}/tennis/x", false),
    ("{}/+/+/x", "{}/a/b/x", true),
    ("{}/+/+/x", "{}/a/x", false),
    // A level may be empty, and an empty level counts.
    ("{}//x", "{}//x", true),
    ("{}/x", "{}//x", false),
    ("{}/+/x", "{}//x", true),
    ("{}/", "{}", false),
    ("{}", "{}/", false),
    ("/{}", "{}", false),
    ("{}/+/+", "{}//", true),
    // Case, spaces, and letters that look alike are what they are.
    ("{}/ACCOUNTS", "{}/Accounts", false),
    ("{}/Accounts payable", "{}/Accounts payable", true),
    ("{}/Accounts payable", "{}/Accountspayable", false),
    ("{}/\u{C5}", "{}/A\u{30A}", false),
    ("{}/\u{C5}", "{}/\u{C5}", true),
    ("{}/\u{212B}", "{}/\u{C5}", false),
    ("{}/\u{10FFFD}", "{}/\u{10FFFD}", true),
    // A dollar is special in the first place only.
    ("{}/+", "{}/$x", true),
    ("{}/#", "{}/$SYS/x", true),
    ("{}/$x", "{}/$x", true),
];

#[test]
fn filters_match_by_level_and_character() {
    // [v3.1.1 MQTT-3.3.2-3] [v3.1.1 MQTT-4.7.1-2] [v3.1.1 MQTT-4.7.1-3]
    // [v3.1.1 MQTT-4.7.3-4] [v3.1.1 MQTT-3.8.3-2]
    // [v5 MQTT-3.3.2-3] [v5 MQTT-4.7.1-1] [v5 MQTT-4.7.1-2] [v5 MQTT-4.7.3-4]
    on_every_version(|broker, version| {
        let mut publisher = Client::start(broker, version);
        for (filter, topic, matches) in MATCHES {
            let root = broker.unique();
            let (filter, topic) = (filter.replace("{}", &root), topic.replace("{}", &root));
            let end = format!("{root}/the/end");
            let mut subscriber = Client::start(broker, version);
            subscriber.try_subscribe(&[(&filter, 0), (&end, 0)]);
            publisher.publish_qos(&topic, 0, "message");
            publisher.publish_qos(&end, 0, "end");
            let found = loop {
                // A filter may catch what other tests publish meanwhile.
                let publish = subscriber.receive();
                if publish.topic.contains(&root) {
                    break publish;
                }
            };
            let expected = if *matches { &topic } else { &end };
            assert_eq!(&found.topic, expected, "filter {filter:?}");
        }
    });
}

#[test]
fn a_leading_wildcard_does_not_match_a_leading_dollar() {
    // [v3.1.1 MQTT-4.7.2-1] [v5 MQTT-4.7.2-1]
    on_every_version(|broker, version| {
        let root = broker.unique();
        let mut wild = Client::start(broker, version);
        let (second, marker) = (format!("+/{root}"), format!("{root}/marker"));
        wild.try_subscribe(&[("#", 0), (&second, 0), ("+/+/#", 0)]);
        let mut named = Client::start(broker, version);
        let filter = format!("$test/{root}");
        named.try_subscribe(&[(&filter, 0), (&marker, 0)]);
        let mut publisher = Client::start(broker, version);
        publisher.publish_qos(&format!("$test/{root}"), 0, "special");
        publisher.publish_qos(&marker, 0, "marker");
        assert_eq!(named.receive_payload(), "special");
        loop {
            let found = wild.receive();
            assert!(!found.topic.starts_with('$'), "{found:?}");
            if found.topic == marker {
                break;
            }
        }
    });
}

#[test]
fn a_retained_message_below_a_dollar_is_found_by_its_name_only() {
    // [v3.1.1 MQTT-4.7.2-1] [v5 MQTT-4.7.2-1]
    on_every_version(|broker, version| {
        let root = broker.unique();
        let topic = format!("$test/{root}");
        let mut publisher = Client::start(broker, version);
        publisher.publish(publisher.message(&topic, "kept").retain(), 1);
        let mut wild = Client::start(broker, version);
        wild.subscribe(&format!("+/{root}"), 1);
        wild.subscribe(&format!("+/{root}/#"), 1);
        wild.expect_nothing();
        for filter in [&topic, &format!("$test/{root}/#")] {
            let mut named = Client::start(broker, version);
            named.subscribe(filter, 1);
            assert_eq!(named.receive_payload(), "kept");
        }
    });
}

#[test]
fn retained_messages_match_as_live_ones_do() {
    // [v3.1.1 MQTT-3.3.1-6] [v3.1.1 MQTT-4.7.3-4] [v5 MQTT-3.3.1-9] [v5 MQTT-4.7.3-4]
    on_every_broker(|broker| {
        let mut publisher = Client::start(broker, V5);
        for (filter, topic, matches) in MATCHES.iter().filter(|(filter, ..)| *filter != "+") {
            let root = broker.unique();
            let (filter, topic) = (filter.replace("{}", &root), topic.replace("{}", &root));
            publisher.publish(publisher.message(&topic, "kept").retain(), 1);
            let mut subscriber = Client::start(broker, V5);
            subscriber.subscribe(&filter, 0);
            let patience = if *matches { PATIENCE } else { QUIET };
            // A filter may catch what other tests retained meanwhile.
            let found = loop {
                match subscriber.poll(patience) {
                    Arrival::Packet(Packet::Publish(publish)) if publish.topic == topic => {
                        break true;
                    }
                    Arrival::Packet(Packet::Publish(_)) => {}
                    Arrival::Silence => break false,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(found, *matches, "filter {filter:?}, retained {topic:?}");
            publisher.publish(publisher.message(&topic, "").retain(), 1);
        }
    });
}

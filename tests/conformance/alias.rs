//! Topic aliases in both directions: 3.3.2.3.4.

use std::collections::HashMap;

use super::brokers::{on_every_broker, on_every_broker_with};
use super::client::Client;
use super::packet::Publish;
use super::wire::Version::V5;
use super::wire::{Connect, first, id, two};

fn alias(value: u16) -> Vec<u8> {
    two(id::TOPIC_ALIAS, value)
}

/// What a client must remember to know the topic of a message.
#[derive(Default)]
struct Aliases(HashMap<u32, String>);

impl Aliases {
    fn topic(&mut self, publish: &Publish) -> String {
        let Some(alias) = publish.properties.number(id::TOPIC_ALIAS) else {
            return publish.topic.clone();
        };
        if !publish.topic.is_empty() {
            self.0.insert(alias, publish.topic.clone());
        }
        self.0.get(&alias).expect("the alias was set on this connection").clone()
    }
}

#[test]
fn an_alias_stands_for_the_topic_it_was_set_to_last() {
    // [v5 MQTT-3.3.2-12]
    on_every_broker(|broker| {
        let root = broker.unique();
        let mut subscriber = Client::start(broker, V5);
        subscriber.subscribe(&format!("{root}/#"), 2);
        let mut publisher = Client::start(broker, V5);
        let (a, b) = (format!("{root}/a"), format!("{root}/b"));
        for qos in 0..=2 {
            publisher.publish(publisher.message(&a, "1").property(alias(1)), qos);
            publisher.publish(publisher.message("", "2").property(alias(1)), qos);
            publisher.publish(publisher.message(&b, "3").property(alias(1)), qos);
            publisher.publish(publisher.message("", "4").property(alias(1)), qos);
            publisher.publish(publisher.message(&a, "5"), qos);
            publisher.publish(publisher.message("", "6").property(alias(1)), qos);
            for (topic, payload) in [(&a, 1), (&a, 2), (&b, 3), (&b, 4), (&a, 5), (&b, 6)] {
                let found = subscriber.receive();
                assert_eq!((&found.topic, found.payload), (topic, payload.to_string().into()));
                assert!(!found.properties.has(id::TOPIC_ALIAS), "an alias is for one hop");
            }
        }
    });
}

#[test]
fn every_alias_up_to_the_maximum_is_accepted() {
    // [v5 MQTT-3.2.2-17] [v5 MQTT-3.3.2-9] [v5 MQTT-3.3.2-12]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut client = Client::start(broker, V5);
        let connack = client.connack.clone().expect("it is connected");
        let most = connack.properties.number(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
        let most = u16::try_from(most).expect("two bytes");
        client.subscribe(&format!("{topic}/#"), 0);
        for number in 1..=most {
            let message = client.message(format!("{topic}/{number}"), "");
            client.publish(message.property(alias(number)), 0);
            client.publish(client.message("", "again").property(alias(number)), 0);
            for _ in 0..2 {
                assert_eq!(client.receive().topic, format!("{topic}/{number}"));
            }
        }
        let beyond = client.message(&topic, "x").property(alias(most + 1));
        client.send(beyond.bytes());
        client.expect_end(&[0x94]);
    });
}

#[test]
fn the_maximum_that_a_client_was_told_holds_for_its_connection() {
    // [v5 MQTT-3.3.2-9]
    let most = |most: u16| format!("topic_alias_maximum = {most}");
    on_every_broker_with(&format!("[mqtt]\n{}\n", most(64)), |broker| {
        let topic = broker.unique();
        let mut client = Client::start(broker, V5);
        client.publish(client.message(&topic, "1").property(alias(64)), 1);
        let file = broker.directory().join("hawker.toml");
        let config = std::fs::read_to_string(&file).expect("the broker was started with it");
        std::fs::write(&file, config.replace(&most(64), &most(4))).expect("it is the test's");
        broker.signal("HUP");
        let told = || {
            let connack = Client::start(broker, V5).connack.expect("it is connected");
            connack.properties.number(id::TOPIC_ALIAS_MAXIMUM)
        };
        while told() != Some(4) {}
        client.publish(client.message("", "2").property(alias(64)), 1);
    });
}

#[test]
fn an_alias_of_zero_is_invalid() {
    // [v5 MQTT-3.3.2-8]
    on_every_broker(|broker| {
        for topic in ["a", ""] {
            let mut client = Client::start(broker, V5);
            client.send(client.message(topic, "x").property(alias(0)).bytes());
            client.expect_end(&[0x94]);
        }
    });
}

#[test]
fn an_alias_above_the_maximum_is_invalid() {
    // [v5 MQTT-3.2.2-17] [v5 MQTT-3.3.2-9]
    on_every_broker(|broker| {
        let mut client = Client::start(broker, V5);
        client.send(client.message("a", "x").property(alias(65_535)).bytes());
        client.expect_end(&[0x94]);
    });
}

#[test]
fn a_server_that_offers_no_aliases_takes_none() {
    // [v5 MQTT-3.2.2-18]
    on_every_broker_with("[mqtt]\ntopic_alias_maximum = 0\n", |broker| {
        let mut client = Client::start(broker, V5);
        let connack = client.connack.clone().expect("it is connected");
        assert_eq!(connack.properties.number(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0), 0);
        client.send(client.message("a", "x").property(alias(1)).bytes());
        client.expect_end(&[0x94]);
    });
}

#[test]
fn an_alias_that_was_never_set_is_a_protocol_error() {
    // [v5 MQTT-3.3.2-7]
    on_every_broker(|broker| {
        let connect = Connect::new(V5, broker.unique()).persistent();
        let mut client = Client::connect(broker, &connect);
        client.publish(client.message("a", "x").property(alias(2)), 1);
        client.send(client.message("", "x").property(alias(1)).bytes());
        client.expect_end(&[0x82]);
        // Nor does one live on with the session.
        let mut client = Client::connect(broker, &connect);
        assert!(client.connack.clone().expect("it is connected").session_present);
        client.send(client.message("", "x").property(alias(2)).bytes());
        client.expect_end(&[0x82]);
    });
}

#[test]
fn who_does_not_ask_for_aliases_gets_none() {
    // [v5 MQTT-3.1.2-26] [v5 MQTT-3.1.2-27] [v5 MQTT-3.3.2-11]
    on_every_broker(|broker| {
        let topic = broker.unique();
        for asked in [None, Some(0)] {
            let mut connect = Connect::new(V5, broker.unique());
            connect.properties =
                asked.map(|most| two(id::TOPIC_ALIAS_MAXIMUM, most)).into_iter().collect();
            let mut subscriber = Client::connect(broker, &connect);
            subscriber.subscribe(&topic, 0);
            let mut publisher = Client::start(broker, V5);
            for _ in 0..5 {
                publisher.publish_qos(&topic, 0, "x");
                assert_eq!(subscriber.receive().topic, topic);
            }
        }
    });
}

#[test]
fn aliases_to_a_client_stay_within_its_maximum_and_name_the_right_topics() {
    // [v5 MQTT-3.1.2-26] [v5 MQTT-3.3.2-8] [v5 MQTT-3.3.2-11]
    on_every_broker(|broker| {
        let root = broker.unique();
        for most in [1, 3, 65_535] {
            let connect =
                Connect::new(V5, broker.unique()).property(two(id::TOPIC_ALIAS_MAXIMUM, most));
            let mut subscriber = Client::connect(broker, &connect);
            subscriber.subscribe(&format!("{root}/#"), 2);
            let mut publisher = Client::start(broker, V5);
            let mut aliases = Aliases::default();
            for round in 0..90 {
                let topic = format!("{root}/{}", [0, 1, 0, 2, 3, 0, 40, round][round % 8]);
                let qos = u8::try_from(round % 3).expect("a QoS");
                publisher.publish_qos(&topic, qos, &topic);
                let found = subscriber.receive();
                assert_eq!(aliases.topic(&found), topic);
                assert_eq!(found.payload, topic.as_bytes());
            }
        }
    });
}

#[test]
fn a_message_sent_again_after_a_reconnect_does_not_lean_on_an_old_alias() {
    // [v5 MQTT-3.3.2-7] [v5 MQTT-4.4.0-1]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = Connect::new(V5, broker.unique())
            .persistent()
            .property(two(id::TOPIC_ALIAS_MAXIMUM, 5));
        let mut subscriber = Client::connect(broker, &connect);
        subscriber.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, V5);
        let mut sent = Vec::new();
        for payload in ["1", "2", "3"] {
            publisher.publish_qos(&topic, 1, payload);
            sent.push(subscriber.expect_publish().packet_id);
        }
        subscriber.vanish();
        let mut subscriber = Client::connect(broker, &connect);
        let mut aliases = Aliases::default();
        for (payload, packet_id) in ["1", "2", "3"].into_iter().zip(sent) {
            let found = subscriber.expect_publish();
            assert_eq!(aliases.topic(&found), topic);
            assert_eq!((found.payload.as_slice(), found.dup), (payload.as_bytes(), true));
            assert_eq!(found.packet_id, packet_id);
            subscriber.acknowledge(first::PUBACK, packet_id);
        }
    });
}

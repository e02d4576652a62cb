//! The will: chapters 3.1.2.5 to 3.1.2.7, 3.1.3.2 and 3.14.

use std::time::Duration;

use super::brokers::{Broker, on_every_broker, on_every_version};
use super::client::Client;
use super::wire::Version::{self, V5};
use super::wire::{self, Connect, Will, first, four, id, text, user};

/// An observer of a topic and a CONNECT with a will to it.
fn scene(broker: &Broker, version: Version) -> (Client, String, Connect) {
    let topic = broker.unique();
    let mut observer = Client::start(broker, version);
    observer.subscribe(&topic, 2);
    let will = Will::new(&topic, "the will");
    let connect = Connect::new(version, broker.unique()).will(will);
    (observer, topic, connect)
}

/// That the observer sees nothing but a marker that is published now.
#[track_caller]
fn expect_no_will(broker: &Broker, observer: &mut Client, topic: &str) {
    observer.expect_nothing();
    Client::start(broker, V5).publish_qos(topic, 1, "marker");
    assert_eq!(observer.receive_payload(), "marker");
}

#[test]
fn a_will_is_published_when_the_connection_breaks() {
    // [v3.1.1 MQTT-3.1.2-8] [v3.1.1 MQTT-3.1.2-9] [v3.1.1 MQTT-3.1.2-16] [v3.1.1 MQTT-3.1.2-10]
    // [v5 MQTT-3.1.2-7] [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.2-12] [v5 MQTT-3.1.2-14]
    // [v5 MQTT-3.1.2-10]
    on_every_version(|broker, version| {
        for qos in 0..=2 {
            let (mut observer, topic, mut connect) = scene(broker, version);
            connect.will = connect.will.map(|will| will.qos(qos));
            Client::connect(broker, &connect).vanish();
            let found = observer.receive();
            assert_eq!((found.payload.as_slice(), found.qos), (&b"the will"[..], qos));
            // Once, and not retained.
            expect_no_will(broker, &mut observer, &topic);
            let mut late = Client::start(broker, version);
            late.subscribe(&topic, 2);
            late.expect_nothing();
        }
    });
}

#[test]
fn a_will_to_be_retained_is_retained() {
    // [v3.1.1 MQTT-3.1.2-17] [v5 MQTT-3.1.2-15]
    on_every_version(|broker, version| {
        let (mut observer, topic, mut connect) = scene(broker, version);
        connect.will = connect.will.map(|will| will.retain().qos(1));
        Client::connect(broker, &connect).vanish();
        let found = observer.receive();
        assert_eq!((found.payload.as_slice(), found.retain), (&b"the will"[..], false));
        let mut late = Client::start(broker, version);
        late.subscribe(&topic, 2);
        let found = late.receive();
        assert_eq!((found.payload.as_slice(), found.retain), (&b"the will"[..], true));
    });
}

#[test]
fn a_clean_disconnect_discards_the_will() {
    // [v3.1.1 MQTT-3.1.2-10] [v3.1.1 MQTT-3.14.4-3] [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.2-10]
    // [v5 MQTT-3.14.4-3]
    on_every_version(|broker, version| {
        let (mut observer, topic, connect) = scene(broker, version);
        Client::connect(broker, &connect).disconnect();
        expect_no_will(broker, &mut observer, &topic);
        // Nor does it come when the session, kept for a while, ends.
        let connect = connect.persistent();
        Client::connect(broker, &connect).disconnect();
        Client::connect(broker, &Connect { clean: true, will: None, ..connect }).vanish();
        expect_no_will(broker, &mut observer, &topic);
    });
}

#[test]
fn a_client_without_a_will_leaves_none() {
    // [v3.1.1 MQTT-3.1.2-12] [v5 MQTT-3.1.2-7]
    on_every_version(|broker, version| {
        let (mut observer, topic, connect) = scene(broker, version);
        Client::connect(broker, &connect).vanish();
        assert_eq!(observer.receive_payload(), "the will");
        // The same client, the same session, another CONNECT.
        let silent = Connect { will: None, ..connect.persistent() };
        Client::connect(broker, &silent).vanish();
        expect_no_will(broker, &mut observer, &topic);
    });
}

#[test]
fn disconnect_with_will_publishes_it() {
    // [v5 MQTT-3.1.2-8] [v5 MQTT-3.14.4-3] [v5 MQTT-3.14.2-1]
    on_every_broker(|broker| {
        // Every reason but 0x00 means that the end is not a normal one.
        for reason in [0x04, 0x80, 0x83, 0x93] {
            let (mut observer, _, connect) = scene(broker, V5);
            let mut client = Client::connect(broker, &connect);
            client.send(wire::reason_with(first::DISCONNECT, reason, &[]));
            client.expect_close();
            assert_eq!(observer.receive_payload(), "the will", "{reason:#04x}");
        }
        let (mut observer, topic, connect) = scene(broker, V5);
        let mut client = Client::connect(broker, &connect);
        client.send(wire::reason_with(first::DISCONNECT, 0x00, &[]));
        client.expect_close();
        expect_no_will(broker, &mut observer, &topic);
    });
}

#[test]
fn a_protocol_error_publishes_the_will() {
    // [v3.1.1 MQTT-3.1.2-8] [v5 MQTT-3.1.2-8]
    on_every_version(|broker, version| {
        let (mut observer, _, connect) = scene(broker, version);
        let mut client = Client::connect(broker, &connect);
        client.send(connect.bytes());
        client.expect_end(&[0x82]);
        assert_eq!(observer.receive_payload(), "the will");
        let (mut observer, _, connect) = scene(broker, version);
        let mut client = Client::connect(broker, &connect);
        client.send([0x00, 0x00]);
        client.expect_end(&[0x81]);
        assert_eq!(observer.receive_payload(), "the will");
    });
}

#[test]
fn a_takeover_publishes_the_will_of_the_older_connection() {
    // [v3.1.1 MQTT-3.1.2-8] [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.4-3]
    on_every_version(|broker, version| {
        for kept in [false, true] {
            let (mut observer, topic, connect) = scene(broker, version);
            let connect = if kept { connect.persistent() } else { connect };
            let mut old = Client::connect(broker, &connect);
            let quiet = Connect { will: None, ..connect };
            let new = Client::connect(broker, &quiet);
            old.expect_end(&[0x8E]);
            assert_eq!(observer.receive_payload(), "the will");
            new.vanish();
            expect_no_will(broker, &mut observer, &topic);
        }
    });
}

#[test]
fn a_will_waits_for_its_delay_interval() {
    // [v5 MQTT-3.1.2-8]
    on_every_broker(|broker| {
        let (mut observer, _, connect) = scene(broker, V5);
        let mut connect = connect.persistent();
        connect.will = connect.will.map(|will| will.property(four(id::WILL_DELAY, 1)));
        Client::connect(broker, &connect).vanish();
        observer.expect_nothing();
        assert_eq!(observer.receive_payload(), "the will");
        // It is gone: nothing comes of the same session afterwards.
        Client::connect(broker, &Connect { will: None, ..connect }).vanish();
        observer.expect_nothing();
    });
}

#[test]
fn a_will_comes_at_the_end_of_the_session_if_that_is_earlier() {
    // [v5 MQTT-3.1.2-8] [v5 MQTT-4.1.0-2]
    on_every_broker(|broker| {
        let delayed = |connect: &Connect| {
            let will = connect.will.clone().map(|will| will.property(four(id::WILL_DELAY, 3600)));
            Connect { will, ..connect.clone() }
        };
        // The session ends with the connection.
        let (mut observer, _, connect) = scene(broker, V5);
        Client::connect(broker, &delayed(&connect)).vanish();
        assert_eq!(observer.receive_payload(), "the will");
        // The session expires.
        let (mut observer, _, connect) = scene(broker, V5);
        let connect = delayed(&connect).property(four(id::SESSION_EXPIRY, 1));
        Client::connect(broker, &connect).vanish();
        observer.expect_nothing();
        assert_eq!(observer.receive_payload(), "the will");
        // Another CONNECT ends the session.
        let (mut observer, _, connect) = scene(broker, V5);
        let connect = delayed(&connect).property(four(id::SESSION_EXPIRY, 3600));
        Client::connect(broker, &connect).vanish();
        observer.expect_nothing();
        let _new = Client::connect(broker, &Connect { will: None, clean: true, ..connect });
        assert_eq!(observer.receive_payload(), "the will");
    });
}

#[test]
fn a_connection_within_the_delay_interval_cancels_the_will() {
    // [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.3-9]
    on_every_broker(|broker| {
        let (mut observer, topic, connect) = scene(broker, V5);
        let mut connect = connect.persistent();
        connect.will = connect.will.map(|will| will.property(four(id::WILL_DELAY, 2)));
        Client::connect(broker, &connect).vanish();
        let again = Client::connect(broker, &Connect { will: None, ..connect.clone() });
        // A takeover that resumes the session is a connection within the interval, too.
        let mut old = Client::connect(broker, &connect);
        drop(again);
        let new = Client::connect(broker, &Connect { will: None, ..connect });
        old.expect_end(&[0x8E]);
        std::thread::sleep(Duration::from_millis(3200));
        expect_no_will(broker, &mut observer, &topic);
        drop(new);
    });
}

#[test]
fn a_takeover_with_clean_start_does_not_wait_for_the_delay() {
    // [v5 MQTT-3.1.2-8] [v5 MQTT-3.1.4-3]
    on_every_broker(|broker| {
        let (mut observer, _, connect) = scene(broker, V5);
        let mut connect = connect.persistent();
        connect.will = connect.will.map(|will| will.property(four(id::WILL_DELAY, 3600)));
        let mut old = Client::connect(broker, &connect);
        let _new = Client::connect(broker, &Connect { will: None, clean: true, ..connect });
        old.expect_end(&[0x8E]);
        assert_eq!(observer.receive_payload(), "the will");
    });
}

#[test]
fn the_properties_of_a_will_are_handed_on() {
    // [v5 MQTT-3.1.3-10] [v5 MQTT-3.3.2-4] [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-16]
    // [v5 MQTT-3.3.2-18] [v5 MQTT-3.3.2-20]
    on_every_broker(|broker| {
        let (mut observer, topic, connect) = scene(broker, V5);
        let will = Will::new(&topic, "text")
            .property(user("z", "1"))
            .property(wire::byte(id::PAYLOAD_FORMAT, 1))
            .property(four(id::MESSAGE_EXPIRY, 1000))
            .property(text(id::CONTENT_TYPE, "text/plain"))
            .property(user("a", "2"))
            .property(text(id::RESPONSE_TOPIC, "answer/here"))
            .property(text(id::CORRELATION_DATA, b"\x00\xFF"))
            .property(four(id::WILL_DELAY, 0))
            .property(user("z", "3"));
        Client::connect(broker, &connect.will(will)).vanish();
        let found = observer.receive().properties;
        assert_eq!(found.number(id::PAYLOAD_FORMAT), Some(1));
        let expiry = found.number(id::MESSAGE_EXPIRY).expect("it was given");
        assert!((900..=1000).contains(&expiry), "{expiry}");
        assert_eq!(found.text(id::CONTENT_TYPE), Some("text/plain"));
        assert_eq!(found.text(id::RESPONSE_TOPIC), Some("answer/here"));
        assert_eq!(found.data(id::CORRELATION_DATA), Some(&b"\x00\xFF"[..]));
        assert_eq!(found.pairs(), [("z", "1"), ("a", "2"), ("z", "3")]);
        assert!(!found.has(id::WILL_DELAY));
    });
}

#[test]
fn a_will_topic_must_be_a_topic_name() {
    // [v3.1.1 MQTT-4.7.1-1] [v3.1.1 MQTT-4.7.3-1] [v5 MQTT-4.7.0-1] [v5 MQTT-4.7.3-1]
    on_every_version(|broker, version| {
        for topic in ["", "#", "a/+", "+/a", "a#"] {
            let connect = Connect::new(version, broker.unique()).will(Will::new(topic, "x"));
            let mut client = Client::ask(broker, &connect);
            if version == V5 {
                client.expect_refusal(&[0x81, 0x82, 0x90]);
            } else {
                let answer = client.read_raw_to_end();
                assert!(answer.is_empty() || answer[3] != 0, "{topic:?}: {answer:02x?}");
            }
        }
    });
}

#[test]
fn a_will_and_a_password_are_bytes_of_any_kind() {
    // [v3.1.1 MQTT-3.1.3-1] [v5 MQTT-3.1.3-1]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut observer = Client::start(broker, version);
        observer.subscribe(&topic, 0);
        let payload: Vec<u8> = (0..=255).collect();
        let connect = Connect::new(version, broker.unique()).will(Will::new(&topic, &payload));
        Client::connect(broker, &connect).vanish();
        assert_eq!(observer.receive().payload, payload);
        let connect = connect.will(Will::new(&topic, ""));
        Client::connect(broker, &connect).vanish();
        assert_eq!(observer.receive().payload, b"");
    });
}

//! Sessions: how they begin, last and end: chapters 3.1.2.4, 3.1.2.11.2, 3.14 and 4.1.

use std::thread;
use std::time::Duration;

use super::brokers::{
    Broker, on_every_broker, on_every_broker_to_its_end, on_every_version, on_every_version_at_once,
};
use super::client::Client;
use super::packet::Packet;
use super::wire::Version::{self, V5, V31, V311};
use super::wire::{self, Connect, first, four, id};

fn expiring(broker: &Broker, seconds: u32) -> Connect {
    Connect::new(V5, broker.unique()).resume().property(four(id::SESSION_EXPIRY, seconds))
}

/// Whether a session was there; reads what a client is told about it.
fn session_present(broker: &Broker, connect: &Connect) -> bool {
    let client = Client::connect(broker, connect);
    let connack = client.connack.clone().expect("it is connected");
    client.vanish();
    connack.session_present
}

#[test]
fn session_present_tells_whether_a_session_was_resumed() {
    // [v3.1.1 MQTT-3.1.2-4] [v3.1.1 MQTT-3.1.2-6] [v3.1.1 MQTT-3.1.4-3]
    // [v3.1.1 MQTT-3.2.2-1] [v3.1.1 MQTT-3.2.2-2] [v3.1.1 MQTT-3.2.2-3]
    // [v5 MQTT-3.1.2-4] [v5 MQTT-3.1.2-5] [v5 MQTT-3.1.2-6] [v5 MQTT-3.1.4-4]
    // [v5 MQTT-3.2.2-2] [v5 MQTT-3.2.2-3]
    on_every_broker(|broker| {
        for version in [V311, V5] {
            let clean = Connect::new(version, broker.unique());
            let kept = clean.clone().persistent();
            let mut clean_and_kept = kept.clone();
            clean_and_kept.clean = true;
            for (connect, present) in [
                (&kept, false),
                (&kept, true),
                (&kept, true),
                (&clean, false),
                (&kept, false),
                (&kept, true),
                (&clean, false),
                (&clean, false),
                (&kept, false),
            ] {
                assert_eq!(session_present(broker, connect), present, "{connect:?}");
            }
            if version == V5 {
                assert!(!session_present(broker, &clean_and_kept));
                assert!(session_present(broker, &kept), "5.0: begun anew, kept afterwards");
            }
        }
    });
}

#[test]
fn mqtt_3_1_keeps_sessions_too() {
    // [v3.1.1 MQTT-3.1.2-4]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let kept = Connect::new(V31, broker.unique()).persistent();
        let mut client = Client::connect(broker, &kept);
        client.subscribe(&topic, 2);
        client.vanish();
        Client::start(broker, V31).publish_qos(&topic, 2, "while away");
        assert_eq!(Client::connect(broker, &kept).receive_payload(), "while away");
        let mut clean = Client::connect(broker, &Connect { clean: true, ..kept });
        Client::start(broker, V31).publish_qos(&topic, 2, "unheard");
        clean.expect_nothing();
    });
}

#[test]
fn a_resumed_session_has_its_subscriptions_and_its_messages_in_order() {
    // [v3.1.1 MQTT-3.1.2-5]
    // [v3.1.1 MQTT-3.1.2-4] [v3.1.1 MQTT-4.1.0-1] [v3.1.1 MQTT-4.5.0-1] [v3.1.1 MQTT-4.6.0-6]
    // [v3.1.1 MQTT-3.1.3-2]
    // [v5 MQTT-3.1.2-5] [v5 MQTT-3.1.2-23] [v5 MQTT-4.5.0-1] [v5 MQTT-4.6.0-5]
    // [v5 MQTT-3.1.3-2]
    on_every_version(|broker, version| {
        const COUNT: usize = 60;
        let (topic, gone) = (broker.unique(), broker.unique());
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut client = Client::connect(broker, &connect);
        client.try_subscribe(&[(&format!("{topic}/#"), 2), (&gone, 2)]);
        client.unsubscribe(&[&gone]);
        client.disconnect();
        let mut publisher = Client::start(broker, version);
        for number in 0..COUNT {
            let qos = 1 + u8::try_from(number % 2).expect("a small number");
            publisher.publish_qos(&format!("{topic}/{}", number % 7), qos, &number.to_string());
            publisher.publish_qos(&gone, qos, "unheard");
        }
        let mut client = Client::connect(broker, &connect);
        // Order holds for one QoS; nothing promises more.
        let mut next = [0, 1];
        for _ in 0..COUNT {
            let found = client.receive();
            let number = &mut next[usize::from(found.qos - 1)];
            assert_eq!(found.payload, number.to_string().as_bytes());
            assert!(!found.dup, "it is sent for the first time");
            *number += 2;
        }
        client.expect_nothing();
        publisher.publish_qos(&format!("{topic}/live"), 0, "live");
        assert_eq!(client.receive_payload(), "live");
    });
}

#[test]
fn a_clean_start_discards_everything() {
    // [v3.1.1 MQTT-3.1.2-6] [v5 MQTT-3.1.2-4]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let kept = Connect::new(version, broker.unique()).persistent();
        let mut client = Client::connect(broker, &kept);
        client.subscribe(&topic, 2);
        let mut publisher = Client::start(broker, version);
        publisher.publish_qos(&topic, 2, "in flight");
        client.expect_publish();
        client.vanish();
        publisher.publish_qos(&topic, 2, "queued");
        let mut client = Client::connect(broker, &Connect { clean: true, ..kept.clone() });
        publisher.publish_qos(&topic, 2, "not subscribed");
        client.expect_nothing();
        client.disconnect();
        Client::connect(broker, &kept).expect_nothing();
    });
}

#[test]
fn a_takeover_resumes_the_session_of_the_connection_it_ends() {
    // [v3.1.1 MQTT-3.1.4-2] [v5 MQTT-3.1.4-3] [v5 MQTT-4.1.0-1] [v3.1.1 MQTT-4.1.0-2]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique()).persistent();
        let mut old = Client::connect(broker, &connect);
        old.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, version);
        publisher.publish_qos(&topic, 1, "unacknowledged");
        let sent = old.expect_publish();
        let mut new = Client::connect(broker, &connect);
        old.expect_end(&[0x8E]);
        let connack = new.connack.clone().expect("it is connected");
        assert!(connack.session_present || version == V31);
        let again = new.receive();
        assert_eq!((again.packet_id, again.dup), (sent.packet_id, true));
        publisher.publish_qos(&topic, 1, "next");
        assert_eq!(new.receive_payload(), "next");
    });
}

#[test]
fn a_session_without_expiry_interval_ends_with_its_connection() {
    // [v3.1.1 MQTT-3.1.2-6] [v5 MQTT-4.1.0-2]
    on_every_broker(|broker| {
        let connect = Connect::new(V5, broker.unique()).resume();
        assert!(!session_present(broker, &connect));
        assert!(!session_present(broker, &connect));
        let connect = expiring(broker, 0);
        assert!(!session_present(broker, &connect));
        assert!(!session_present(broker, &connect));
    });
}

#[test]
fn a_session_is_discarded_when_its_expiry_interval_has_passed() {
    // [v5 MQTT-4.1.0-2] [v5 MQTT-3.1.2-23]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let short = expiring(broker, 1);
        let long = expiring(broker, u32::MAX);
        for connect in [&short, &long] {
            let mut client = Client::connect(broker, connect);
            client.subscribe(&topic, 1);
            client.vanish();
        }
        assert!(session_present(broker, &short), "not yet expired");
        thread::sleep(Duration::from_millis(2500));
        assert!(!session_present(broker, &short), "expired");
        assert!(session_present(broker, &long), "never expires");
    });
}

#[test]
fn a_session_does_not_expire_while_connected() {
    // [v5 MQTT-4.1.0-1] [v3.1.1 MQTT-4.1.0-2]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = expiring(broker, 1);
        let mut client = Client::connect(broker, &connect);
        client.subscribe(&topic, 1);
        thread::sleep(Duration::from_millis(2200));
        client.vanish();
        let client = Client::connect(broker, &connect);
        assert!(client.connack.expect("it is connected").session_present);
    });
}

#[test]
fn disconnect_may_change_the_session_expiry_interval() {
    // [v5 MQTT-3.1.2-23] [v5 MQTT-4.1.0-2]
    on_every_broker(|broker| {
        let leave = |connect: &Connect, seconds: u32| {
            let mut client = Client::connect(broker, connect);
            let change = [four(id::SESSION_EXPIRY, seconds)];
            client.send(wire::reason_with(first::DISCONNECT, 0, &change));
            client.expect_close();
        };
        let ended = expiring(broker, 3600);
        leave(&ended, 0);
        assert!(!session_present(broker, &ended), "to end at once");
        let prolonged = expiring(broker, 1);
        leave(&prolonged, 3600);
        thread::sleep(Duration::from_millis(2200));
        assert!(session_present(broker, &prolonged), "to last longer");
    });
}

#[test]
fn disconnect_cannot_keep_a_session_that_was_to_end() {
    // [v5 MQTT-4.13.1-1] [v5 MQTT-3.14.2-2]
    on_every_broker(|broker| {
        for connect in [Connect::new(V5, broker.unique()), expiring(broker, 0)] {
            let mut client = Client::connect(broker, &connect);
            let change = [four(id::SESSION_EXPIRY, 60)];
            client.send(wire::reason_with(first::DISCONNECT, 0, &change));
            client.expect_end(&[0x82]);
            // To say again what already holds is no error.
            let mut client = Client::connect(broker, &connect);
            let same = [four(id::SESSION_EXPIRY, 0)];
            client.send(wire::reason_with(first::DISCONNECT, 0, &same));
            client.expect_close();
        }
    });
}

#[test]
fn disconnect_is_the_last_packet_and_is_not_answered() {
    // [v3.1.1 MQTT-3.14.4-1] [v3.1.1 MQTT-3.14.4-2] [v5 MQTT-3.14.4-1] [v5 MQTT-3.14.4-2]
    on_every_version(|broker, version| {
        let topic = broker.unique();
        let mut observer = Client::start(broker, version);
        observer.subscribe(&topic, 0);
        let mut client = Client::start(broker, version);
        let after = [
            client.message(&topic, "before").bytes(),
            wire::disconnect(),
            client.message(&topic, "after").bytes(),
            wire::PINGREQ.to_vec(),
        ];
        client.send(after.concat());
        client.expect_close();
        assert_eq!(observer.receive_payload(), "before");
        Client::start(broker, version).publish_qos(&topic, 0, "later");
        assert_eq!(observer.receive_payload(), "later");
    });
}

#[test]
fn every_reason_of_a_leaving_client_is_understood() {
    // [v5 MQTT-3.14.2-1] [v5 MQTT-3.14.4-2]
    on_every_broker(|broker| {
        let known =
            [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        for reason in known {
            let mut client = Client::start(broker, V5);
            let why = [wire::text(id::REASON_STRING, "why"), wire::user("k", "v")];
            client.send(wire::reason_with(first::DISCONNECT, reason, &why));
            client.expect_close();
        }
    });
}

#[test]
fn a_stopping_broker_says_goodbye() {
    // [v5 MQTT-3.14.2-1] [v5 MQTT-3.14.4-1] [v5 MQTT-3.14.4-2]
    on_every_broker_to_its_end(|broker| {
        let mut clients: Vec<Client> = Version::ALL
            .into_iter()
            .cycle()
            .take(12)
            .map(|version| Client::start(&broker, version))
            .collect();
        let mut stranger = Client::open(&broker, V5);
        thread::scope(|scope| {
            scope.spawn(|| broker.stop());
            for client in &mut clients {
                client.expect_end(&[0x8B]);
            }
            stranger.expect_close();
        });
    });
}

#[test]
fn a_session_may_be_resumed_under_another_version() {
    // [v3.1.1 MQTT-3.1.3-2] [v5 MQTT-3.1.3-2]
    on_every_broker(|broker| {
        for (before, after) in [(V311, V5), (V5, V311), (V31, V311), (V5, V31)] {
            let (topic, id) = (broker.unique(), broker.unique());
            let mut client = Client::connect(broker, &Connect::new(before, &id).persistent());
            client.subscribe(&topic, 1);
            client.vanish();
            Client::start(broker, V311).publish_qos(&topic, 1, "across");
            let mut client = Client::connect(broker, &Connect::new(after, &id).persistent());
            assert_eq!(client.receive_payload(), "across", "{before:?} to {after:?}");
        }
    });
}

#[test]
fn a_session_that_ended_leaves_nothing_to_its_successor() {
    // [v3.1.1 MQTT-3.1.2-6] [v5 MQTT-3.1.2-6] [v5 MQTT-4.1.0-2]
    on_every_version_at_once(|broker, version: Version| {
        let topic = broker.unique();
        let connect = Connect::new(version, broker.unique());
        for _ in 0..5 {
            let mut client = Client::connect(broker, &connect);
            client.expect_nothing();
            client.subscribe(&topic, 1);
            let mut publisher = Client::start(broker, version);
            publisher.publish_qos(&topic, 1, "for this life");
            match client.next() {
                Packet::Publish(publish) => assert!(!publish.dup),
                other => panic!("{other:?}"),
            }
            client.vanish();
        }
    });
}

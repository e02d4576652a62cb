//! Queues that are full: what each policy loses, and who is told.

use std::time::Duration;

use super::brokers::{Broker, on_every_broker_with};
use super::client::{Arrival, Client, PATIENCE, QUIET};
use super::packet::Packet;
use super::wire::Version::{V5, V311};
use super::wire::{Connect, first};

/// A session that is away and is owed what is published to `topic`.
fn away(broker: &Broker, topic: &str, qos: u8) -> Connect {
    let connect = Connect::new(V311, broker.unique()).resume();
    let mut client = Client::connect(broker, &connect);
    client.subscribe(topic, qos);
    client.disconnect();
    connect
}

/// What a session gets when it comes back.
fn owed(broker: &Broker, connect: &Connect, count: usize) -> Vec<String> {
    let mut client = Client::connect(broker, connect);
    let payloads = (0..count).map(|_| client.receive_payload()).collect();
    client.expect_nothing();
    payloads
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let config = "[mqtt]\nqueue_messages_max = 5\nqueue_policy = \"drop-oldest\"\n";
    on_every_broker_with(config, |broker| {
        let topic = broker.unique();
        let session = away(broker, &topic, 1);
        let mut publisher = Client::start(broker, V5);
        for number in numbers(0..8) {
            assert_eq!(publisher.publish_qos(&topic, 1, &number), 0);
        }
        assert_eq!(owed(broker, &session, 5), numbers(3..8));
    });
}

#[test]
fn drop_newest_keeps_the_oldest() {
    let config = "[mqtt]\nqueue_messages_max = 5\nqueue_policy = \"drop-newest\"\n";
    on_every_broker_with(config, |broker| {
        let topic = broker.unique();
        let session = away(broker, &topic, 2);
        let mut publisher = Client::start(broker, V5);
        for number in numbers(0..8) {
            assert_eq!(publisher.publish_qos(&topic, 2, &number), 0);
        }
        assert_eq!(owed(broker, &session, 5), numbers(0..5));
    });
}

#[test]
fn refuse_publisher_tells_the_publisher() {
    let config = "[mqtt]\nqueue_messages_max = 5\nqueue_policy = \"refuse-publisher\"\n";
    on_every_broker_with(config, |broker| {
        for qos in [1, 2] {
            let topic = broker.unique();
            let session = away(broker, &topic, qos);
            let mut publisher = Client::start(broker, V5);
            for number in numbers(0..5) {
                assert_eq!(publisher.publish_qos(&topic, qos, &number), 0);
            }
            for _ in 0..3 {
                assert_eq!(publisher.publish_qos(&topic, qos, "refused"), 0x97);
            }
            // Who cannot be told is sent away, and may try again.
            let mut plain = Client::start(broker, V311);
            let message = plain.message(&topic, "refused").qos(qos, 7).bytes();
            plain.send(message);
            plain.expect_close();
            assert_eq!(owed(broker, &session, 5), numbers(0..5));
            assert_eq!(publisher.publish_qos(&topic, qos, "there is room"), 0);
        }
    });
}

#[test]
fn a_qos_2_message_that_somebody_has_is_not_refused_for_the_queue_of_another() {
    // [v3.1.1 MQTT-4.3.3-2]
    let config = "[mqtt]\nqueue_messages_max = 1\nqueue_policy = \"refuse-publisher\"\n";
    on_every_broker_with(config, |broker| {
        // On the shards of chance: where all three meet on one, the message is refused for all.
        for _ in 0..8 {
            let topic = broker.unique();
            away(broker, &topic, 2);
            Client::start(broker, V5).publish_qos(&topic, 1, "fills the queue");
            let mut there = Client::start(broker, V5);
            there.subscribe(&topic, 2);
            let connect = Connect::new(V311, broker.unique()).resume();
            for is_again in [false, true] {
                let mut publisher = Client::connect(broker, &connect);
                let message = publisher.message(&topic, "once").qos(2, 7);
                let message = if is_again { message.dup() } else { message };
                publisher.send(message.bytes());
                // PUBREC, or the end.
                publisher.poll(PATIENCE);
            }
            let mut count = 0;
            while let Arrival::Packet(Packet::Publish(publish)) = there.poll(QUIET) {
                there.finish_delivery(&publish);
                count += 1;
            }
            assert!(count <= 1, "a QoS 2 message came {count} times");
        }
    });
}

#[test]
fn a_full_queue_does_not_stop_what_others_get() {
    let config = "[mqtt]\nqueue_messages_max = 1\nqueue_policy = \"drop-newest\"\n";
    on_every_broker_with(config, |broker| {
        let topic = broker.unique();
        let session = away(broker, &topic, 1);
        let mut there = Client::start(broker, V5);
        there.subscribe(&topic, 1);
        let mut publisher = Client::start(broker, V5);
        for number in numbers(0..50) {
            assert_eq!(publisher.publish_qos(&topic, 1, &number), 0);
            assert_eq!(there.receive_payload(), number);
        }
        assert_eq!(owed(broker, &session, 1), numbers(0..1));
    });
}

#[test]
fn without_a_queue_who_is_there_gets_everything() {
    for policy in ["drop-oldest", "drop-newest", "refuse-publisher"] {
        let config = format!("[mqtt]\nqueue_messages_max = 0\nqueue_policy = \"{policy}\"\n");
        on_every_broker_with(&config, |broker| {
            let topic = broker.unique();
            let connect = Connect::new(V5, broker.unique()).persistent();
            let mut there = Client::connect(broker, &connect);
            there.subscribe(&topic, 2);
            let mut member = Client::start(broker, V5);
            member.subscribe(&format!("$share/group/{topic}"), 2);
            let mut publisher = Client::start(broker, V5);
            for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
                let ids = 100 * u16::from(qos)..100 * u16::from(qos) + 20;
                let message = |id: u16| publisher.message(&topic, id.to_string()).qos(qos, id);
                let messages: Vec<_> = ids.clone().map(|id| message(id).bytes()).collect();
                // At once, so that QoS 2 messages wait for the log together.
                publisher.send(messages.concat());
                for id in ids.clone() {
                    assert_eq!(publisher.expect_ack(answer, id).reason, 0);
                }
                for id in ids {
                    assert_eq!(there.receive_payload(), id.to_string());
                    assert_eq!(member.receive_payload(), id.to_string());
                }
            }
        });
    }
}

#[test]
fn queues_together_keep_to_their_memory() {
    let config = "[mqtt]\nqueue_memory_bytes_max = 1048576\n";
    on_every_broker_with(config, |broker| {
        let topic = broker.unique();
        let sessions: Vec<_> = (0..8).map(|_| away(broker, &topic, 1)).collect();
        let mut publisher = Client::start(broker, V5);
        // 8 queues of 3000 messages, each some 70 bytes beside its payload.
        for number in numbers(0..3000) {
            assert_eq!(publisher.publish_qos(&topic, 1, &number), 0);
        }
        let total: usize = sessions.iter().map(|session| count_owed(broker, session)).sum();
        assert!((1000..8 * 3000).contains(&total), "{total} of 24000 were kept");
    });
}

fn count_owed(broker: &Broker, session: &Connect) -> usize {
    let mut client = Client::connect(broker, session);
    let mut count = 0;
    while let Arrival::Packet(Packet::Publish(publish)) = client.poll(Duration::from_millis(300)) {
        client.finish_delivery(&publish);
        count += 1;
    }
    count
}

//! The order of messages: chapter 4.6, and what Hawker promises beyond it: the messages of one
//! publisher on one QoS reach each subscriber in the order sent, whatever their topics.

use std::collections::HashMap;
use std::thread;

use super::brokers::{Broker, on_every_broker};
use super::client::Client;
use super::wire::Version::{self, V5, V311};
use super::wire::{self, Connect};

/// Messages in flight at a time: no more than any server takes.
const BATCH: u16 = 20;

/// Publishes `count` numbered messages without waiting for each, and then for all.
fn publish_all(broker: &Broker, name: &str, topics: &[String], qos: u8, count: u16) {
    let mut publisher = Client::start(broker, V5);
    for number in 1..=count {
        let topic = &topics[usize::from(number) % topics.len()];
        let payload = format!("{name} {qos} {number}");
        publisher.send(publisher.message(topic, payload).qos(qos, number).bytes());
        if qos > 0 && number % BATCH == 0 {
            finish(&mut publisher, qos, number - BATCH + 1..=number);
        }
    }
    publisher.ping();
}

#[track_caller]
fn finish(publisher: &mut Client, qos: u8, numbers: std::ops::RangeInclusive<u16>) {
    use super::wire::first;
    for number in numbers.clone() {
        publisher.expect_ack(if qos == 1 { first::PUBACK } else { first::PUBREC }, number);
    }
    if qos == 2 {
        for number in numbers {
            publisher.send(wire::ack(first::PUBREL, number));
            publisher.expect_ack(first::PUBCOMP, number);
        }
    }
}

/// Receives `count` messages and demands that each publisher's are in order on each QoS.
#[track_caller]
fn expect_order(subscriber: &mut Client, count: usize) {
    let mut last: HashMap<String, u16> = HashMap::new();
    for _ in 0..count {
        let payload = subscriber.receive_payload();
        let (source, number) = payload.rsplit_once(' ').expect("as published");
        let number: u16 = number.parse().expect("as published");
        let before = last.insert(source.to_owned(), number).unwrap_or(0);
        assert_eq!(number, before + 1, "of {source}");
    }
}

#[test]
fn many_publishers_and_many_subscribers_keep_each_order() {
    // [v3.1.1 MQTT-4.6.0-5] [v3.1.1 MQTT-4.6.0-6] [v5 MQTT-4.6.0-5] [v5 MQTT-4.6.0-6]
    const COUNT: u16 = 200;
    on_every_broker(|broker| {
        let root = broker.unique();
        // On several shards, topics, publishers and subscribers have different homes.
        let topics: Vec<String> = (0..5).map(|number| format!("{root}/{number}")).collect();
        let mut subscribers: Vec<Client> = [(V311, "#"), (V5, "+"), (V5, "#"), (V311, "+")]
            .map(|(version, wildcard)| {
                let mut client = Client::start(broker, version);
                client.subscribe(&format!("{root}/{wildcard}"), 2);
                client
            })
            .into();
        thread::scope(|scope| {
            for qos in 0..=2 {
                for name in ["a", "b"] {
                    let topics = &topics;
                    scope.spawn(move || publish_all(broker, name, topics, qos, COUNT));
                }
            }
            for subscriber in &mut subscribers {
                scope.spawn(move || expect_order(subscriber, 6 * usize::from(COUNT)));
            }
        });
    });
}

#[test]
fn order_outlives_reconnects_of_the_subscriber() {
    // [v3.1.1 MQTT-4.6.0-1] [v3.1.1 MQTT-4.6.0-6] [v5 MQTT-4.6.0-1] [v5 MQTT-4.6.0-5]
    const COUNT: u16 = 400;
    on_every_broker(|broker| {
        for version in [V311, V5] {
            let topic = broker.unique();
            let connect = Connect::new(version, broker.unique()).persistent();
            let mut subscriber = Client::connect(broker, &connect);
            subscriber.subscribe(&topic, 1);
            let topics = [topic];
            thread::scope(|scope| {
                scope.spawn(|| publish_all(broker, "a", &topics, 1, COUNT));
                let mut next = 1;
                let mut since = 0;
                while next <= COUNT {
                    let found = subscriber.expect_publish();
                    let payload = String::from_utf8(found.payload.clone()).expect("text");
                    let number: u16 =
                        payload.rsplit(' ').next().expect("as published").parse().expect("one");
                    // After a reconnect, what was acknowledged too late comes again with DUP.
                    assert!(number == next || (number < next && found.dup), "{number}, not {next}");
                    next = next.max(number + 1);
                    subscriber.finish_delivery(&found);
                    since += 1;
                    if since == 37 {
                        since = 0;
                        subscriber.vanish();
                        subscriber = Client::connect(broker, &connect);
                    }
                }
                subscriber.vanish();
            });
        }
    });
}

#[test]
fn a_live_message_is_never_followed_by_an_older_retained_one() {
    // [v3.1.1 MQTT-3.3.1-6] [v5 MQTT-3.3.1-9] [v5 MQTT-4.6.0-5]
    const COUNT: u32 = 400;
    on_every_broker(|broker| {
        let root = broker.unique();
        let topic = format!("{root}/x");
        let mut publisher = Client::start(broker, V5);
        thread::scope(|scope| {
            let topic = &topic;
            scope.spawn(move || {
                for number in 1..=COUNT {
                    let message = publisher.message(topic, number.to_string());
                    publisher.publish(message.retain(), 1);
                }
            });
            for filter in [topic.clone(), format!("{root}/#"), format!("{root}/+")] {
                scope.spawn(move || {
                    let mut last = 0;
                    while last < COUNT {
                        last = follow(broker, V5, &filter, COUNT);
                    }
                });
            }
        });
    });
}

/// Subscribes and reads a few messages, whose numbers must grow. Gives the last one.
#[track_caller]
fn follow(broker: &Broker, version: Version, filter: &str, end: u32) -> u32 {
    let mut subscriber = Client::start(broker, version);
    subscriber.subscribe(filter, 1);
    let mut last = (0, false);
    for _ in 0..10 {
        let found = subscriber.receive();
        let payload = String::from_utf8(found.payload).expect("as published");
        let number: u32 = payload.parse().expect("as published");
        // One that is published while one subscribes may come both ways.
        let both_ways = number == last.0 && found.retain != last.1;
        assert!(number > last.0 || both_ways, "{number} after {last:?}");
        last = (number, found.retain);
        if number == end {
            break;
        }
    }
    last.0
}

#[test]
fn subscribers_who_come_while_it_is_published_miss_nothing_and_see_nothing_twice() {
    // [v3.1.1 MQTT-4.5.0-1] [v5 MQTT-4.5.0-1]
    const COUNT: u32 = 300;
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut publisher = Client::start(broker, V311);
        thread::scope(|scope| {
            let topic = &topic;
            scope.spawn(move || {
                for number in 1..=COUNT {
                    publisher.publish_qos(topic, 1, &number.to_string());
                }
                let end = publisher.message(topic, (COUNT + 1).to_string());
                publisher.publish(end.retain(), 1);
            });
            for _ in 0..4 {
                scope.spawn(move || {
                    let mut subscriber = Client::start(broker, V311);
                    subscriber.subscribe(topic, 1);
                    let mut last = None;
                    while last != Some(COUNT + 1) {
                        let number: u32 = subscriber.receive_payload().parse().expect("a number");
                        assert!(last.is_none_or(|last| number == last + 1), "{number}, {last:?}");
                        last = Some(number);
                    }
                });
            }
        });
    });
}

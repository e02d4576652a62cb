//! Shared subscriptions: chapter 4.8.2.

use super::brokers::{Broker, on_every_broker, on_every_broker_with};
use super::client::{Arrival, Client, PATIENCE, QUIET};
use super::packet::Packet;
use super::subscribe::expect_filter_refused;
use super::wire::Version::V5;
use super::wire::{self, Connect, first, two};

/// What the members of a group get until there is silence, acknowledged, by member.
#[track_caller]
fn drain(members: &mut [Client]) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); members.len()];
    let mut quiet = false;
    while !quiet {
        quiet = true;
        for (member, payloads) in members.iter_mut().zip(&mut found) {
            while let Arrival::Packet(packet) = member.poll(QUIET) {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                member.finish_delivery(&publish);
                payloads.push(String::from_utf8(publish.payload).expect("tests send text"));
                quiet = false;
            }
        }
    }
    found
}

/// Drains until `count` messages have come in all.
#[track_caller]
fn drain_count(members: &mut [Client], count: usize) -> Vec<Vec<String>> {
    let mut found = vec![Vec::new(); members.len()];
    let deadline = std::time::Instant::now() + PATIENCE;
    while found.iter().map(Vec::len).sum::<usize>() < count {
        assert!(std::time::Instant::now() < deadline, "only {found:?} of {count} came");
        for (more, payloads) in drain(members).into_iter().zip(&mut found) {
            payloads.extend(more);
        }
    }
    for (more, payloads) in drain(members).into_iter().zip(&mut found) {
        payloads.extend(more);
    }
    found
}

#[track_caller]
fn member(broker: &Broker, filter: &str, options: u8) -> Client {
    let mut client = Client::start(broker, V5);
    client.subscribe(filter, options);
    client
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:03}")).collect()
}

#[test]
fn each_message_goes_to_one_member() {
    // [v5 MQTT-4.8.2-1] [v5 MQTT-4.5.0-1]
    const COUNT: usize = 40;
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}/+");
        let mut members: Vec<Client> = (0..4).map(|_| member(broker, &filter, 1)).collect();
        let mut alone = member(broker, &format!("$share/other/{topic}/+"), 1);
        let mut plain = member(broker, &format!("{topic}/+"), 1);
        let mut publisher = Client::start(broker, V5);
        for qos in 0..=2 {
            for payload in numbers(COUNT) {
                publisher.publish_qos(&format!("{topic}/x"), qos, &payload);
            }
            let found = drain_count(&mut members, COUNT);
            let mut all = found.concat();
            all.sort();
            assert_eq!(all, numbers(COUNT), "QoS {qos}");
            for other in [&mut alone, &mut plain] {
                for payload in numbers(COUNT) {
                    assert_eq!(other.receive_payload(), payload);
                }
            }
        }
    });
}

#[test]
fn a_member_of_its_own_gets_everything_in_order() {
    // [v5 MQTT-4.8.2-1]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut only = member(broker, &format!("$share/g/{topic}/#"), 2);
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(50) {
            publisher.publish_qos(&format!("{topic}/a/b"), 1, &payload);
        }
        for payload in numbers(50) {
            assert_eq!(only.receive_payload(), payload);
        }
    });
}

#[test]
fn a_share_name_and_a_filter_are_required() {
    // [v5 MQTT-4.8.2-1] [v5 MQTT-4.8.2-2]
    on_every_broker(|broker| {
        for filter in [
            "$share/",
            "$share//",
            "$share//a",
            "$share/group",
            "$share/group/",
            "$share/gr+up/a",
            "$share/gr#up/a",
            "$share/+/a",
            "$share/#",
            "$share/#/a",
            "$share/group/a#",
            "$share/group/#/a",
            "$share/group/a+",
        ] {
            expect_filter_refused(broker, V5, filter);
        }
    });
}

#[test]
fn the_filter_after_the_share_name_may_begin_with_an_empty_level() {
    // [v5 MQTT-4.8.2-2]
    on_every_broker(|broker| {
        let topic = format!("/{}", broker.unique());
        let mut client = member(broker, &format!("$share/group/{topic}"), 0);
        Client::start(broker, V5).publish_qos(&topic, 0, "x");
        assert_eq!(client.receive().topic, topic);
    });
}

#[test]
fn the_granted_qos_of_the_member_is_respected() {
    // [v5 MQTT-4.8.2-3]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let mut members: Vec<Client> = (0..3).map(|qos| member(broker, &filter, qos)).collect();
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(30) {
            publisher.publish_qos(&topic, 2, &payload);
        }
        let mut count = 0;
        while count < 30 {
            for (granted, member) in (0..).zip(&mut members) {
                while let Arrival::Packet(packet) = member.poll(QUIET) {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    assert_eq!(publish.qos, granted);
                    member.finish_delivery(&publish);
                    count += 1;
                }
            }
        }
    });
}

#[test]
fn retained_messages_are_not_sent_to_a_shared_subscription() {
    // [v5 MQTT-3.3.1-9]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut publisher = Client::start(broker, V5);
        publisher.publish(publisher.message(&topic, "kept").retain(), 1);
        let mut client = member(broker, &format!("$share/group/{topic}"), 1);
        client.subscribe(&format!("$share/group/{topic}"), 1);
        client.expect_nothing();
        publisher.publish_qos(&topic, 1, "live");
        assert_eq!(client.receive_payload(), "live");
    });
}

#[test]
fn a_second_subscribe_does_not_count_twice() {
    // [v5 MQTT-3.8.4-3] [v5 MQTT-3.10.4-1]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let mut client = member(broker, &filter, 1);
        client.subscribe(&filter, 2);
        let mut publisher = Client::start(broker, V5);
        publisher.publish_qos(&topic, 2, "once");
        let found = client.receive();
        assert_eq!((found.payload.as_slice(), found.qos), (&b"once"[..], 2));
        client.expect_nothing();
        assert_eq!(client.unsubscribe(&[&topic, &filter, &filter]), [0x11, 0, 0x11]);
        publisher.publish_qos(&topic, 2, "unheard");
        client.expect_nothing();
    });
}

#[test]
fn a_shared_and_a_plain_subscription_of_one_client_are_independent() {
    // [v5 MQTT-3.3.4-2]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let mut client = member(broker, &topic, 1);
        client.subscribe(&format!("$share/a/{topic}"), 1);
        client.subscribe(&format!("$share/b/{topic}"), 1);
        Client::start(broker, V5).publish_qos(&topic, 1, "thrice");
        for _ in 0..3 {
            assert_eq!(client.receive_payload(), "thrice");
        }
        client.expect_nothing();
    });
}

#[test]
fn a_member_that_unsubscribes_leaves_the_rest_to_the_others() {
    // [v5 MQTT-3.10.4-1] [v5 MQTT-3.10.4-2]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let mut leaver = member(broker, &filter, 1);
        let mut stayer = member(broker, &filter, 1);
        assert_eq!(leaver.unsubscribe(&[&filter]), [0]);
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(10) {
            publisher.publish_qos(&topic, 1, &payload);
            assert_eq!(stayer.receive_payload(), payload);
        }
        leaver.expect_nothing();
    });
}

#[test]
fn a_qos_1_message_of_a_member_whose_session_ended_goes_to_another() {
    // [v5 MQTT-4.3.2-3]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let mut members = vec![member(broker, &filter, 1), member(broker, &filter, 1)];
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(10) {
            publisher.publish_qos(&topic, 1, &payload);
        }
        // The first takes its share and acknowledges nothing of it.
        let mut unsettled = Vec::new();
        while let Arrival::Packet(Packet::Publish(publish)) = members[0].poll(QUIET) {
            unsettled.push(publish);
        }
        let mut survivor = vec![members.remove(1)];
        members.remove(0).vanish();
        let mut found = drain_count(&mut survivor, 10).concat();
        found.sort();
        found.dedup();
        assert_eq!(found, numbers(10), "{} were left behind", unsettled.len());
    });
}

#[test]
fn a_qos_2_delivery_that_broke_off_is_completed_with_the_same_member() {
    // [v5 MQTT-4.8.2-4]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let connect = Connect::new(V5, broker.unique()).persistent();
        let mut chosen = Client::connect(broker, &connect);
        chosen.subscribe(&filter, 2);
        let mut publisher = Client::start(broker, V5);
        publisher.publish_qos(&topic, 2, "broken off");
        publisher.publish_qos(&topic, 2, "half way");
        let (first, second) = (chosen.expect_publish(), chosen.expect_publish());
        chosen.send(wire::ack(first::PUBREC, second.packet_id));
        chosen.expect_ack(first::PUBREL, second.packet_id);
        let mut other = member(broker, &filter, 2);
        chosen.vanish();
        other.expect_nothing();
        let mut chosen = Client::connect(broker, &connect);
        let mut found = [chosen.next(), chosen.next()];
        found.sort_by_key(|packet| matches!(packet, Packet::Publish(_)));
        assert!(
            matches!(&found[0], Packet::Ack(first::PUBREL, it) if it.packet_id == second.packet_id)
        );
        let Packet::Publish(again) = &found[1] else { panic!("{found:?}") };
        assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
        chosen.acknowledge(first::PUBCOMP, second.packet_id);
        chosen.finish_delivery(again);
        other.expect_nothing();
    });
}

#[test]
fn a_qos_2_message_of_a_member_whose_session_ended_goes_to_nobody() {
    // [v5 MQTT-4.8.2-5]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let mut chosen = member(broker, &filter, 2);
        let mut publisher = Client::start(broker, V5);
        publisher.publish_qos(&topic, 2, "broken off");
        chosen.expect_publish();
        let mut other = member(broker, &filter, 2);
        chosen.vanish();
        publisher.publish_qos(&topic, 2, "next");
        assert_eq!(other.receive_payload(), "next");
        other.expect_nothing();
    });
}

#[test]
fn a_message_that_a_member_rejects_goes_to_nobody() {
    // [v5 MQTT-4.8.2-6]
    on_every_broker(|broker| {
        for (qos, answer) in [(1, first::PUBACK), (2, first::PUBREC)] {
            let topic = broker.unique();
            let filter = format!("$share/group/{topic}");
            let mut chosen = member(broker, &filter, 2);
            let mut publisher = Client::start(broker, V5);
            publisher.publish_qos(&topic, qos, "unwanted");
            let id = chosen.expect_publish().packet_id;
            let mut other = member(broker, &filter, 2);
            chosen.forget(id);
            chosen.send(wire::ack_with(answer, id, 0x83, &[]));
            chosen.expect_nothing();
            chosen.vanish();
            other.expect_nothing();
            publisher.publish_qos(&topic, qos, "wanted");
            assert_eq!(other.receive_payload(), "wanted");
        }
    });
}

#[test]
fn a_member_with_a_full_window_does_not_hold_up_the_others() {
    // [v5 MQTT-3.3.4-9] [v5 MQTT-4.9.0-2]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let filter = format!("$share/group/{topic}");
        let narrow = Connect::new(V5, broker.unique()).property(two(wire::id::RECEIVE_MAXIMUM, 1));
        let mut stuck = Client::connect(broker, &narrow);
        stuck.subscribe(&filter, 1);
        let mut members = vec![member(broker, &filter, 1)];
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(20) {
            publisher.publish_qos(&topic, 1, &payload);
        }
        let held = stuck.expect_publish();
        let held = String::from_utf8(held.payload).expect("tests send text");
        let mut found = drain_count(&mut members, 19).concat();
        found.push(held);
        found.sort();
        assert_eq!(found, numbers(20));
        drop(stuck);
    });
}

#[test]
fn a_group_of_absent_members_keeps_its_messages() {
    // [v5 MQTT-4.5.0-1] [v5 MQTT-3.1.2-23]
    on_every_broker(|broker| {
        let topic = broker.unique();
        let connect = Connect::new(V5, broker.unique()).persistent();
        let mut client = Client::connect(broker, &connect);
        client.subscribe(&format!("$share/group/{topic}"), 1);
        client.vanish();
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(10) {
            publisher.publish_qos(&topic, 1, &payload);
        }
        let mut client = Client::connect(broker, &connect);
        for payload in numbers(10) {
            assert_eq!(client.receive_payload(), payload);
        }
    });
}

#[test]
fn a_queue_is_a_group_without_a_name() {
    on_every_broker(|broker| {
        if broker.is_foreign() {
            return; // An extension.
        }
        let topic = broker.unique();
        let filter = format!("$queue/{topic}/#");
        let mut members = vec![member(broker, &filter, 1), member(broker, &filter, 1)];
        let mut publisher = Client::start(broker, V5);
        for payload in numbers(20) {
            publisher.publish_qos(&format!("{topic}/x"), 1, &payload);
        }
        let found = drain_count(&mut members, 20);
        let mut all = found.concat();
        all.sort();
        assert_eq!(all, numbers(20));
        assert!(found.iter().all(|payloads| !payloads.is_empty()), "{found:?}");
        assert_eq!(members[0].unsubscribe(&[&filter]), [0]);
        publisher.publish_qos(&format!("{topic}/x"), 1, "rest");
        assert_eq!(members[1].receive_payload(), "rest");
    });
}

/// What each of three members of a group gets of what two publishers send to two topics.
fn spread(broker: &Broker) -> Vec<Vec<String>> {
    let root = broker.unique();
    let filter = format!("$share/group/{root}/+");
    let mut members: Vec<Client> = (0..3).map(|_| member(broker, &filter, 1)).collect();
    for publisher in ["a", "b"] {
        let mut client = Client::start(broker, V5);
        for number in 0..15 {
            for topic in ["s", "t"] {
                let payload = format!("{publisher} {topic} {number}");
                client.publish_qos(&format!("{root}/{topic}"), 1, &payload);
            }
        }
    }
    let found = drain_count(&mut members, 60);
    assert_eq!(found.concat().len(), 60);
    found
}

/// How many members got messages that begin so.
fn receivers(found: &[Vec<String>], of: impl Fn(&str) -> bool) -> usize {
    found.iter().filter(|payloads| payloads.iter().any(|payload| of(payload))).count()
}

#[test]
fn the_share_strategy_decides_who_gets_a_message() {
    let with = |strategy: &str, judge: fn(&[Vec<String>])| {
        let config = format!("[mqtt]\nshare_strategy = \"{strategy}\"\n");
        on_every_broker_with(&config, |broker| judge(&spread(broker)));
    };
    with("round-robin", |found| {
        assert!(found.iter().all(|payloads| payloads.len() == 20), "{found:?}");
    });
    with("random", |found| assert_eq!(receivers(found, |_| true), 3));
    with("sticky", |found| assert_eq!(receivers(found, |_| true), 1));
    with("hash-client", |found| {
        for publisher in ["a", "b"] {
            assert_eq!(receivers(found, |payload| payload.starts_with(publisher)), 1);
        }
    });
    with("hash-topic", |found| {
        for topic in [" s ", " t "] {
            assert_eq!(receivers(found, |payload| payload.contains(topic)), 1);
        }
    });
}

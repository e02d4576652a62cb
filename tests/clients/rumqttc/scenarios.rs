//! What works alike in both versions.

use std::collections::BTreeSet;

use super::peer::{Options, Peer, Site, next_of_any};
use super::{numbers, payloads};

/// A message arrives with the lower of its own QoS and that of the subscription.
pub(super) fn every_pair_of_qos<P: Peer>(site: &Site) {
    let mut publisher: P = site.connect("publisher");
    for granted in 0..=2 {
        let mut subscriber: P = site.connect(&format!("subscriber-{granted}"));
        let topic = site.topic(&granted.to_string());
        subscriber.subscribe(&topic, granted);
        for sent in 0..=2 {
            publisher.publish(&topic, b"payload", sent, false);
            let message = subscriber.expect(&topic, "payload");
            assert_eq!((message.qos, message.retain), (granted.min(sent), false));
        }
    }
}

/// A thousand messages, each once, in order.
pub(super) fn qos_2_is_exactly_once<P: Peer>(site: &Site) {
    let topic = site.topic("once");
    let mut subscriber: P = site.connect("subscriber");
    subscriber.subscribe(&topic, 2);
    let publisher: P = site.connect("publisher");
    for payload in numbers(1000) {
        publisher.send(&topic, payload.as_bytes(), 2, false);
    }
    assert_eq!(payloads(&mut subscriber, 1000), numbers(1000));
    publisher.send(&topic, b"fence", 2, false);
    subscriber.expect(&topic, "fence");
}

/// A retained message waits, flagged; an empty one clears it.
pub(super) fn retained_messages_wait_and_go<P: Peer>(site: &Site) {
    let topic = site.topic("lamp");
    let mut publisher: P = site.connect("publisher");
    publisher.publish(&topic, b"off", 1, true);
    publisher.publish(&topic, b"on", 1, true);
    let mut late: P = site.connect("late");
    late.subscribe(&topic, 1);
    assert!(late.expect(&topic, "on").retain);
    publisher.publish(&topic, b"", 1, true);
    assert!(!late.expect(&topic, "").retain);
    let mut later: P = site.connect("later");
    later.subscribe(&topic, 1);
    publisher.publish(&topic, b"fence", 1, false);
    later.expect(&topic, "fence");
}

/// A persistent session collects messages while its client is away, and is there again.
pub(super) fn a_session_keeps_messages<P: Peer>(site: &Site) {
    let topic = site.topic("queue");
    let (mut away, present) = site.persistent::<P>("away");
    assert!(!present, "a session out of nowhere");
    away.subscribe(&topic, 1);
    away.goodbye();
    let mut publisher: P = site.connect("publisher");
    for payload in numbers(200) {
        publisher.publish(&topic, payload.as_bytes(), 1, false);
    }
    let (mut back, present) = site.persistent::<P>("away");
    assert!(present, "the session is gone");
    assert_eq!(payloads(&mut back, 200), numbers(200));
    publisher.publish(&topic, b"fence", 1, false);
    back.expect(&topic, "fence");
    back.goodbye();
    let (_, present) = P::connect_with(site.options("away"));
    assert!(!present, "a clean start found a session");
}

/// A lost connection publishes the will; a goodbye discards it.
pub(super) fn a_lost_client_leaves_its_will<P: Peer>(site: &Site) {
    let topic = site.topic("will");
    let mut observer: P = site.connect("observer");
    observer.subscribe(&topic, 2);
    let with = |payload: &str| {
        let will = Some((topic.clone(), payload.to_owned()));
        P::connect_with(Options { will, ..site.options("client") }).0
    };
    with("never").goodbye();
    with("gone").lose();
    assert_eq!(observer.expect(&topic, "gone").qos, 1);
}

/// A mebibyte and more arrives as it was.
pub(super) fn a_large_payload<P: Peer>(site: &Site) {
    let topic = site.topic("large");
    let mut subscriber: P = site.connect("subscriber");
    subscriber.subscribe(&topic, 1);
    let mut publisher: P = site.connect("publisher");
    let payload: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    for qos in 0..=2 {
        publisher.publish(&topic, &payload, qos, false);
        assert!(subscriber.next().payload == payload, "QoS {qos}");
    }
}

/// Three members of a group get every message between them, each once.
pub(super) fn shared_subscription_shares<P: Peer>(site: &Site) {
    let shared = format!("$share/group/{}", site.topic("jobs"));
    let mut members: Vec<P> = (0..3)
        .map(|index| {
            let mut member: P = site.connect(&format!("member-{index}"));
            member.subscribe(&shared, 1);
            member.subscribe(&site.topic(&format!("fence/{index}")), 1);
            member
        })
        .collect();
    let mut publisher: P = site.connect("publisher");
    for payload in numbers(90) {
        publisher.publish(&site.topic("jobs"), payload.as_bytes(), 1, false);
    }
    // Each message goes by way of the group's shard, so nothing else can tell when it is there.
    let mut taken = BTreeSet::new();
    let mut shares = [0; 3];
    while taken.len() < 90 {
        let (index, message) = next_of_any(&mut members);
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(taken.insert(payload.clone()), "{payload} came twice");
        shares[index] += 1;
    }
    assert_eq!(taken, numbers(90).into_iter().collect());
    assert!(shares.iter().all(|share| *share > 0), "a member got nothing: {shares:?}");
    for (index, member) in members.iter_mut().enumerate() {
        let fence = site.topic(&format!("fence/{index}"));
        publisher.publish(&fence, b"fence", 1, false);
        member.expect(&fence, "fence");
    }
}

/// After UNSUBACK nothing more comes.
pub(super) fn unsubscribed_is_unsubscribed<P: Peer>(site: &Site) {
    let (one, other) = (site.topic("one"), site.topic("other"));
    let mut client: P = site.connect("client");
    client.subscribe(&one, 1);
    client.subscribe(&other, 1);
    let mut publisher: P = site.connect("publisher");
    publisher.publish(&one, b"before", 1, false);
    client.expect(&one, "before");
    client.unsubscribe(&one);
    publisher.publish(&one, b"after", 1, false);
    publisher.publish(&other, b"fence", 1, false);
    client.expect(&other, "fence");
}

/// A second connection of the same client id ends the first and takes its session.
pub(super) fn takeover<P: Peer>(site: &Site) {
    let topic = site.topic("queue");
    let (mut first, _) = site.persistent::<P>("client");
    first.subscribe(&topic, 1);
    let (mut second, present) = site.persistent::<P>("client");
    assert!(present, "the session is gone");
    first.await_end();
    second.publish(&topic, b"for the second", 1, false);
    second.expect(&topic, "for the second");
}

/// Forty clients, wherever they live, hand a message around in a ring, five times.
pub(super) fn many_clients_in_a_ring<P: Peer>(site: &Site) {
    let topic = |index: usize| site.topic(&format!("ring/{index}"));
    let count = 40;
    let mut ring: Vec<P> = (0..count)
        .map(|index| {
            let mut client: P = site.connect(&format!("client-{index}"));
            client.subscribe(&topic(index), 2);
            client
        })
        .collect();
    for round in 0..5 {
        for index in 0..count {
            let next = (index + 1) % count;
            let payload = format!("{round} from {index}");
            ring[index].send(&topic(next), payload.as_bytes(), (index % 3) as u8, false);
            let message = ring[next].expect(&topic(next), &payload);
            assert_eq!(usize::from(message.qos), index % 3);
        }
    }
}

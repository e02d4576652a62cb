//! What is counted.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use hawker::proto::{
    Cut, ForwardProperties, Frame, PACKET_SIZE_MAX, Packet, PacketId, Publish, PublishProperties,
    QoS, TopicName, Version,
};
use hawker::router::TopicTree;
use hawker::storage::{Kind, Log, LogOptions, News, Order, Urgency};

use crate::broker::{Broker, publishes};

/// Some work that is done again and again.
pub struct Scene {
    pub name: &'static str,
    /// How often a round does what is counted.
    pub per_round: u64,
    work: Work,
}

enum Work {
    Decode(Version),
    Encode(Version),
    Match(fn(usize) -> String),
    Deliver { qos: QoS, in_flight: u16, subscribers: u32 },
    Keep,
}

/// Packets, matches and records of a round.
const MANY: u64 = 100;

/// Filters of a tree.
const FILTERS: usize = 10_000;

impl Scene {
    pub const ALL: &'static [Scene] = &[
        Scene::codec("decode PUBLISH 3.1.1", Work::Decode(Version::V311)),
        Scene::codec("decode PUBLISH 5.0", Work::Decode(Version::V5)),
        Scene::codec("encode PUBLISH 3.1.1", Work::Encode(Version::V311)),
        Scene::codec("encode PUBLISH 5.0", Work::Encode(Version::V5)),
        Scene::codec("match exact", Work::Match(exact)),
        Scene::codec("match wildcards", Work::Match(wild)),
        Scene::deliver("one to one QoS 0", QoS::AtMostOnce, 100, 1),
        Scene::deliver("one to one QoS 1", QoS::AtLeastOnce, 100, 1),
        Scene::deliver("one to one QoS 2", QoS::ExactlyOnce, 100, 1),
        Scene::deliver("one to one QoS 0 one by one", QoS::AtMostOnce, 1, 1),
        Scene::deliver("one to one QoS 1 one by one", QoS::AtLeastOnce, 1, 1),
        Scene::deliver("fan-out QoS 0", QoS::AtMostOnce, 1, 100),
        Scene::deliver("fan-out QoS 1", QoS::AtLeastOnce, 1, 100),
        Scene::codec("keep and release a record", Work::Keep),
    ];

    const fn codec(name: &'static str, work: Work) -> Scene {
        Scene { name, per_round: MANY, work }
    }

    const fn deliver(name: &'static str, qos: QoS, in_flight: u16, subscribers: u32) -> Scene {
        let per_round = in_flight as u64 * subscribers as u64;
        Scene { name, per_round, work: Work::Deliver { qos, in_flight, subscribers } }
    }

    pub fn named(name: &str) -> Option<&'static Scene> {
        Scene::ALL.iter().find(|scene| scene.name == name)
    }

    /// Does what is counted `rounds` times, and what comes before it once.
    pub fn run(&self, rounds: u64) {
        match self.work {
            Work::Decode(version) => decode(version, rounds),
            Work::Encode(version) => encode(version, rounds),
            Work::Match(name) => match_topics(name, rounds),
            Work::Deliver { qos, in_flight, subscribers } => {
                let mut broker = Broker::new(qos, subscribers);
                let publishes = publishes(qos, in_flight);
                for _ in 0..rounds {
                    broker.deliver(&publishes);
                }
                broker.end(in_flight.into());
            }
            Work::Keep => keep(rounds),
        }
    }
}

fn publish(version: Version) -> Packet<'static> {
    let forward = ForwardProperties::from_encoded(b"\x03\x00\x10application/json");
    let properties = match version {
        Version::V5 => PublishProperties { forward, ..PublishProperties::NONE },
        Version::V31 | Version::V311 => PublishProperties::NONE,
    };
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: TopicName::new("chat/users/4711/messages").expect("it is legal"),
        packet_id: Some(PacketId::FIRST),
        properties,
        payload: &[b'x'; 64],
    })
}

fn decode(version: Version, rounds: u64) {
    let mut wire = Vec::new();
    publish(version).encode(version, &mut wire);
    for _ in 0..rounds * MANY {
        let cut = Frame::cut(black_box(&wire), PACKET_SIZE_MAX as u32).expect("it was encoded");
        let Cut::Whole { frame, .. } = cut else { unreachable!("all of it is there") };
        let packet = Packet::decode_from_client(version, frame).expect("it was encoded");
        black_box(&packet);
    }
}

fn encode(version: Version, rounds: u64) {
    let packet = publish(version);
    let mut wire = Vec::with_capacity(1024);
    for _ in 0..rounds * MANY {
        wire.clear();
        black_box(&packet).encode(version, &mut wire);
        black_box(&wire);
    }
}

fn exact(number: usize) -> String {
    format!("users/{number}/inbox")
}

fn wild(number: usize) -> String {
    format!("site/+/room/{number}/#")
}

/// Topics that one filter of ten thousand matches.
fn match_topics(filter: fn(usize) -> String, rounds: u64) {
    let mut tree = TopicTree::new([1, 2, 3, 4]);
    for number in 0..FILTERS {
        tree.entry_or_insert_with(&Arc::from(filter(number)), || number);
    }
    let topics: Vec<String> = (0..MANY as usize)
        .map(|number| filter(number * 97).replace('+', "any").replace('#', "lamp"))
        .collect();
    for _ in 0..rounds {
        let mut count = 0;
        for topic in &topics {
            tree.for_each_match(black_box(topic), |number| {
                black_box(number);
                count += 1;
            });
        }
        assert_eq!(count, topics.len(), "each is wanted once");
    }
}

/// A hundred records become durable together and are let go of.
fn keep(rounds: u64) {
    let segment_bytes = 1 << 20;
    let mut log = Log::new(LogOptions { shard: 0, segment_bytes, segments_max: 8 });
    obey(&mut log);
    let mut kept = Vec::new();
    for _ in 0..rounds {
        for _ in 0..MANY {
            let appended = log.append(1, Kind(1), &[black_box(&[b'x'; 64])], Urgency::Refusable);
            let sequence = appended.expect("there is room");
            log.hold(sequence);
            kept.push(sequence);
        }
        obey(&mut log);
        for sequence in kept.drain(..) {
            log.release(sequence, false);
        }
        obey(&mut log);
    }
}

fn obey(log: &mut Log) {
    while let Some(order) = log.poll() {
        match order {
            Order::Prepare { segment, .. } => {
                log.handle(News::Prepared { segment, pages: Bytes::new() });
            }
            Order::Commit(commit) => log.handle(News::Committed(commit)),
            Order::Recycle(_) => {}
        }
    }
}

//! What a message costs in a whole shard, from the bytes of its publisher to the bytes for its
//! subscribers and back to the last acknowledgement, without a kernel in between.
//!
//! The clients are part of what is measured: they cut packets out of what they are sent and answer
//! with acknowledgements, and do nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hawker::proto::{
    Connect, Cut, Frame, PACKET_SIZE_MAX, PacketId, PacketType, Publish, PublishProperties, QoS,
    ReasonCode, Subscribe, SubscribeFilters, SubscriptionOptions, TopicName, UserProperties,
    Version, encode_ack,
};
use hawker::shard::{
    ConnectionId, Input, Listener, Output, Peer, Policy, Seed, Shard, ShardId, ShardOptions,
    WriteBatch,
};
use hawker::time::Time;

const VERSION: Version = Version::V311;

const TOPIC: &str = "chat/rooms/4711/messages";

const PAYLOAD: [u8; 64] = [b'x'; 64];

/// The publisher's connection; the subscribers' follow.
const PUBLISHER: u32 = 0;

/// One publisher, its subscribers, and their shard.
struct Broker {
    shard: Shard,
    now: u64,
    clients: Vec<Client>,
    written: Vec<(ConnectionId, WriteBatch)>,
}

/// A client at the other end of a connection.
#[derive(Default)]
struct Client {
    /// What it answers with.
    replies: Vec<u8>,
    publishes_received: usize,
}

fn one_to_one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one to one");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for in_flight in [1, 100] {
            let mut broker = Broker::new(qos, 1);
            let publishes = publishes(qos, in_flight);
            group.throughput(Throughput::Elements(u64::from(in_flight)));
            group.bench_function(format!("QoS {}/{in_flight} in flight", qos as u8), |bencher| {
                bencher.iter(|| broker.deliver(&publishes));
            });
            broker.end(in_flight.into());
        }
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for subscribers in [1, 10, 100, 500] {
            let mut broker = Broker::new(qos, subscribers);
            let publishes = publishes(qos, 1);
            group.throughput(Throughput::Elements(u64::from(subscribers)));
            group.bench_function(format!("QoS {}/to {subscribers}", qos as u8), |bencher| {
                bencher.iter(|| broker.deliver(&publishes));
            });
            broker.end(1);
        }
    }
}

/// PUBLISH packets, one behind the other.
fn publishes(qos: QoS, count: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet_id in 1..=count {
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: TopicName::new(TOPIC).expect("it is legal"),
            packet_id: PacketId::new(packet_id),
            properties: PublishProperties::NONE,
            payload: &PAYLOAD,
        };
        publish.encode(VERSION, &mut bytes);
    }
    bytes
}

impl Broker {
    fn new(qos: QoS, subscribers: u32) -> Broker {
        let now = 1_000_000;
        let shard = Shard::new(ShardOptions {
            id: ShardId(0),
            count: 1,
            policy: Arc::new(Policy::default()),
            log: None,
            seed: Seed { placement: [1; 4], private: [2; 4] },
            now: Time::from_micros(now),
        });
        let mut broker = Broker { shard, now, clients: Vec::new(), written: Vec::new() };
        broker.connect(PUBLISHER);
        for slot in 1..=subscribers {
            broker.connect(slot);
            broker.subscribe(slot, qos);
        }
        broker
    }

    fn connect(&mut self, slot: u32) {
        self.clients.push(Client::default());
        let peer = Peer {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            listener: Listener { index: 0, loopback: true },
        };
        self.handle(Input::Accepted { connection: connection(slot), peer, certificate: None });
        let mut bytes = Vec::new();
        Connect::new(VERSION, &format!("client-{slot}")).encode(&mut bytes);
        self.receive(slot, &bytes);
    }

    fn subscribe(&mut self, slot: u32, qos: QoS) {
        let encoded =
            SubscribeFilters::encode_list(VERSION, &[(TOPIC, SubscriptionOptions::at(qos))]);
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).expect("it is not 0"),
            subscription_id: None,
            user_properties: UserProperties::NONE,
            filters: SubscribeFilters::from_encoded(VERSION, &encoded).expect("it is legal"),
        };
        let mut bytes = Vec::new();
        subscribe.encode(VERSION, &mut bytes);
        self.receive(slot, &bytes);
    }

    /// Publishes, and goes on until every subscriber has everything and all is acknowledged.
    fn deliver(&mut self, publishes: &[u8]) {
        self.now += 100;
        self.receive(PUBLISHER, publishes);
    }

    /// Bytes arrive from a client; everything that follows from them happens, in turns: all that
    /// was written arrives, then all that was answered is taken.
    fn receive(&mut self, slot: u32, bytes: &[u8]) {
        self.handle(Input::Received { connection: connection(slot), bytes });
        self.poll();
        let mut written = Vec::new();
        while !self.written.is_empty() {
            std::mem::swap(&mut written, &mut self.written);
            for (connection, batch) in written.drain(..) {
                self.arrive(connection, batch);
            }
            self.poll();
        }
    }

    fn arrive(&mut self, connection: ConnectionId, batch: WriteBatch) {
        let client = &mut self.clients[connection.slot as usize];
        for slice in batch.slices() {
            client.read(slice);
        }
        let replies = std::mem::take(&mut client.replies);
        self.handle(Input::Sent { connection, batch });
        if !replies.is_empty() {
            self.handle(Input::Received { connection, bytes: &replies });
        }
        let client = &mut self.clients[connection.slot as usize];
        client.replies = replies;
        client.replies.clear();
    }

    fn handle(&mut self, input: Input<'_>) {
        self.shard.handle(Time::from_micros(self.now), input);
    }

    fn poll(&mut self) {
        while let Some(output) = self.shard.poll() {
            match output {
                Output::Write { connection, batch } => self.written.push((connection, batch)),
                other => unreachable!("nobody leaves, nobody is slow: {other:?}"),
            }
        }
    }

    /// Panics if a message is missing or still owed.
    fn end(self, publishes: usize) {
        let (publisher, subscribers) = self.clients.split_first().expect("there is a publisher");
        assert_eq!(publisher.publishes_received, 0, "it did not subscribe");
        let received = subscribers[0].publishes_received;
        assert_eq!(received % publishes, 0, "all of each burst arrived");
        for subscriber in subscribers {
            assert_eq!(subscriber.publishes_received, received, "all got the same");
        }
        let census = self.shard.census();
        assert_eq!((census.queued, census.inflight, census.unreleased), (0, 0, 0), "all is done");
    }
}

fn connection(slot: u32) -> ConnectionId {
    ConnectionId { slot, generation: 1 }
}

impl Client {
    /// Answers whole packets.
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match Frame::cut(bytes, PACKET_SIZE_MAX as u32).expect("the shard wrote it") {
                Cut::Whole { frame, size } => {
                    self.answer(frame);
                    bytes = &bytes[size..];
                }
                Cut::Partial { .. } => unreachable!("payloads this small are copied"),
            }
        }
    }

    fn answer(&mut self, frame: Frame<'_>) {
        let (answer, packet_id_at) = match frame.packet_type() {
            PacketType::Publish => {
                self.publishes_received += 1;
                match frame.flags() >> 1 & 0b11 {
                    0 => return,
                    1 => (PacketType::PubAck, 2 + TOPIC.len()),
                    _ => (PacketType::PubRec, 2 + TOPIC.len()),
                }
            }
            PacketType::PubRec => (PacketType::PubRel, 0),
            PacketType::PubRel => (PacketType::PubComp, 0),
            _ => return,
        };
        let body = frame.body();
        let packet_id = u16::from_be_bytes([body[packet_id_at], body[packet_id_at + 1]]);
        let packet_id = PacketId::new(packet_id).expect("the shard wrote it");
        encode_ack(answer, VERSION, packet_id, ReasonCode::Success, &mut self.replies);
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
}

criterion_group! {
    name = shard;
    config = settings();
    targets = one_to_one, fan_out
}
criterion_main!(shard);

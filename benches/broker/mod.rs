//! A shard and the clients at its connections, without a kernel in between.
//!
//! The clients are part of what is measured: they cut packets out of what they are sent and answer
//! with acknowledgements, and do nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

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
pub struct Broker {
    shard: Shard,
    now: u64,
    clients: Vec<Client>,
    written: Vec<(ConnectionId, WriteBatch)>,
}

/// A client at the other end of a connection.
#[derive(Default)]
pub struct Client {
    /// What it answers with.
    pub replies: Vec<u8>,
    /// PUBLISH packets it was sent.
    pub publishes_received: usize,
    /// Its own that are acknowledged to the end.
    pub publishes_done: usize,
    /// Messages it has let go of at QoS 2.
    pub releases_received: usize,
}

/// A CONNECT packet.
pub fn connect(client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect::new(VERSION, client_id).encode(&mut bytes);
    bytes
}

/// A SUBSCRIBE packet for what is published.
pub fn subscribe(qos: QoS) -> Vec<u8> {
    let encoded = SubscribeFilters::encode_list(VERSION, &[(TOPIC, SubscriptionOptions::at(qos))]);
    let subscribe = Subscribe {
        packet_id: PacketId::FIRST,
        subscription_id: None,
        user_properties: UserProperties::NONE,
        filters: SubscribeFilters::from_encoded(VERSION, &encoded).expect("it is legal"),
    };
    let mut bytes = Vec::new();
    subscribe.encode(VERSION, &mut bytes);
    bytes
}

/// PUBLISH packets, one behind the other.
pub fn publishes(qos: QoS, count: u16) -> Vec<u8> {
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
    /// A shard at which everybody is connected and has subscribed.
    pub fn new(qos: QoS, subscribers: u32) -> Broker {
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
            broker.receive(slot, &subscribe(qos));
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
        self.receive(slot, &connect(&format!("client-{slot}")));
    }

    /// Publishes, and goes on until every subscriber has everything and all is acknowledged.
    pub fn deliver(&mut self, publishes: &[u8]) {
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
            assert_eq!(client.read(slice), slice.len(), "payloads this small are copied");
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
    pub fn end(self, publishes: usize) {
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
    /// Answers whole packets; how many bytes they have.
    pub fn read(&mut self, bytes: &[u8]) -> usize {
        let mut read = 0;
        while read < bytes.len() {
            match Frame::cut(&bytes[read..], PACKET_SIZE_MAX as u32).expect("the shard wrote it") {
                Cut::Whole { frame, size } => {
                    self.answer(frame);
                    read += size;
                }
                Cut::Partial { .. } => break,
            }
        }
        read
    }

    fn answer(&mut self, frame: Frame<'_>) {
        let (answer, packet_id_at) = match frame.packet_type() {
            PacketType::Publish => {
                self.publishes_received += 1;
                let topic_bytes =
                    usize::from(u16::from_be_bytes([frame.body()[0], frame.body()[1]]));
                match frame.flags() >> 1 & 0b11 {
                    0 => return,
                    1 => (PacketType::PubAck, 2 + topic_bytes),
                    _ => (PacketType::PubRec, 2 + topic_bytes),
                }
            }
            PacketType::PubRec => (PacketType::PubRel, 0),
            PacketType::PubRel => {
                self.releases_received += 1;
                (PacketType::PubComp, 0)
            }
            PacketType::PubAck | PacketType::PubComp => {
                self.publishes_done += 1;
                return;
            }
            _ => return,
        };
        let body = frame.body();
        let packet_id = u16::from_be_bytes([body[packet_id_at], body[packet_id_at + 1]]);
        let packet_id = PacketId::new(packet_id).expect("the shard wrote it");
        encode_ack(answer, VERSION, packet_id, ReasonCode::Success, &mut self.replies);
    }
}

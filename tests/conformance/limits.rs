//! What a client can cost: whoever sends much, or lies, or does not read, gets a bounded share
//! of memory and takes nothing from the others.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::brokers::{Broker, on_every_broker, on_every_broker_with};
use super::client::Client;
use super::wire::Version::{V5, V311};
use super::wire::{self, Connect, first};

const MIB: u64 = 1 << 20;

/// Resident memory of the broker; nothing to see of one that is not ours.
fn resident(broker: &Broker) -> u64 {
    if broker.is_foreign() {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// That the broker has not grown by more than this since.
fn expect_growth_below(broker: &Broker, before: u64, most: u64) {
    let growth = resident(broker).saturating_sub(before);
    assert!(growth < most, "grown by {} MiB, at most {} allowed", growth / MIB, most / MIB);
}

/// A connection that is let in and then only written to.
fn deaf(broker: &Broker, connect: &Connect) -> TcpStream {
    let mut stream = broker.connect();
    stream.write_all(&connect.bytes()).expect("the broker reads");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("the socket takes options");
    stream
}

/// Writes whole packets until `total` bytes are gone or the other side takes no more.
fn push(stream: &mut TcpStream, packet: &[u8], total: usize) {
    let chunk = packet.repeat(64 * 1024 / packet.len());
    let mut sent = 0;
    while sent < total {
        // Where a write broke off, the next one goes on, so that the packets stay whole.
        match stream.write(&chunk[sent % packet.len()..]) {
            Ok(count) => sent += count,
            Err(_) => return,
        }
    }
}

#[test]
fn who_sends_and_never_reads_is_bounded() {
    on_every_broker(|broker| {
        let subscribe = wire::subscribe(V311, 7, &[("a", 0)]);
        let publish = wire::Publish::new(V311, "a", "").qos(1, 7).bytes();
        let mut streams = Vec::new();
        let mut flood = || {
            for packet in [wire::PINGREQ, &subscribe, &publish] {
                let mut stream = deaf(broker, &Connect::new(V311, broker.unique()));
                push(&mut stream, packet, 48 << 20);
                broker.probe();
                streams.push(stream);
            }
        };
        // The first one fills buffers that all connections of a shard share, of 4 MiB each; the
        // second one may come to three shards that had no part in it.
        flood();
        let before = resident(broker);
        flood();
        expect_growth_below(broker, before, (40 + 3 * 4) * MIB);
    });
}

#[test]
fn a_flood_of_subscribes_is_bounded_and_holds_nobody_up() {
    on_every_broker(|broker| {
        broker.probe();
        let before = resident(broker);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut stream = deaf(broker, &Connect::new(V311, broker.unique()));
                let mut answers = stream.try_clone().expect("a socket can be cloned");
                scope.spawn(move || {
                    let subscribe = wire::subscribe(V311, 7, &[("a", 0)]);
                    push(&mut stream, &subscribe, 2 << 20);
                    let _ = stream.shutdown(Shutdown::Write);
                });
                // The answers are read, so that they are not what fills the memory.
                scope.spawn(move || io::copy(&mut answers, &mut io::sink()));
            }
            for _ in 0..5 {
                broker.probe();
                expect_growth_below(broker, before, 64 * MIB);
            }
        });
    });
}

#[test]
fn a_subscriber_that_never_reads_is_bounded() {
    on_every_broker_with("[mqtt]\nqueue_bytes_max = 4194304\n", |broker| {
        broker.probe();
        let before = resident(broker);
        let mut streams = Vec::new();
        for qos in [0, 1] {
            let topic = broker.unique();
            let mut stream = deaf(broker, &Connect::new(V5, broker.unique()));
            stream.write_all(&wire::subscribe(V5, 1, &[(&topic, qos)])).expect("the broker reads");
            streams.push(stream);
            let mut listener = Client::start(broker, V5);
            listener.subscribe(&topic, qos);
            let mut publisher = Client::start(broker, V5);
            // 64 MiB, which others receive meanwhile.
            let payload = "x".repeat(64 * 1024);
            for _ in 0..1024 {
                publisher.publish_qos(&topic, qos, &payload);
                assert_eq!(listener.receive().payload.len(), payload.len());
            }
        }
        expect_growth_below(broker, before, 40 * MIB);
    });
}

#[test]
fn a_length_alone_takes_no_memory() {
    on_every_broker(|broker| {
        broker.probe();
        let before = resident(broker);
        let mut streams = Vec::new();
        for _ in 0..200 {
            let mut stream = deaf(broker, &Connect::new(V311, broker.unique()));
            // 16 MiB are announced, which is allowed, and a few bytes come.
            let head = [&[first::PUBLISH, 0xF0, 0xFF, 0xFF, 0x07], &wire::field("a")[..]].concat();
            stream.write_all(&head).expect("the broker reads");
            streams.push(stream);
        }
        broker.probe();
        expect_growth_below(broker, before, 32 * MIB);
    });
}

#[test]
fn connections_leave_no_memory_behind() {
    on_every_broker(|broker| {
        let churn = |rounds: usize| {
            for round in 0..rounds {
                let mut client = Client::start(broker, V5);
                let topic = broker.unique();
                client.subscribe(&topic, 1);
                client.publish_qos(&topic, 1, "x");
                if round % 2 == 0 {
                    client.send([0x00, 0x00]);
                }
                client.vanish();
            }
        };
        churn(300);
        let before = resident(broker);
        churn(1500);
        expect_growth_below(broker, before, 8 * MIB);
    });
}

#[test]
fn an_alias_does_not_multiply_memory() {
    on_every_broker(|broker| {
        broker.probe();
        let before = resident(broker);
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = Client::start(broker, V5);
            // The longest topics there are, again and again on the same alias.
            for round in 0..200 {
                let topic = format!("{round}/{}", "x".repeat(60_000));
                let alias = wire::two(wire::id::TOPIC_ALIAS, 1);
                client.publish(client.message(topic, "").property(alias), 0);
            }
            client.ping();
            clients.push(client);
        }
        expect_growth_below(broker, before, 24 * MIB);
    });
}

//! What a message costs from one program to another, the kernel's part included: a broker of one
//! shard, and its publisher and subscriber at sockets of the machine itself.

#[allow(dead_code, reason = "there is a whole broker here")]
mod broker;
mod settings;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use broker::{Client, connect, publishes, subscribe};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hawker::Broker;
use hawker::config::{Config, Durability};
use hawker::proto::QoS;

fn deliver(criterion: &mut Criterion) {
    let mut config = Config {
        admin: None,
        shards: Some(1),
        durability: Durability::Memory,
        ..Config::default()
    };
    config.listeners.truncate(1);
    config.listeners[0].address.port = 0;
    let broker = Broker::start(&config).expect("it starts");
    let address = broker.addresses().next().expect("it listens");
    let mut group = criterion.benchmark_group("end to end");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for count in [1, 100] {
            let mut pair = Pair::new(address, qos);
            let publishes = publishes(qos, count);
            group.throughput(Throughput::Elements(count.into()));
            group.bench_function(format!("QoS {}/{count} at once", qos as u8), |bencher| {
                bencher.iter(|| pair.deliver(&publishes, count.into()));
            });
        }
    }
}

/// A publisher and a subscriber.
struct Pair {
    publisher: End,
    subscriber: End,
    qos: QoS,
}

/// One of them, at its end of a connection.
struct End {
    stream: TcpStream,
    client: Client,
    unread: Vec<u8>,
}

impl Pair {
    fn new(address: SocketAddr, qos: QoS) -> Pair {
        let publisher = End::new(address, "publisher");
        let mut subscriber = End::new(address, "subscriber");
        subscriber.stream.write_all(&subscribe(qos)).expect("it is connected");
        // The SUBACK.
        subscriber.hear();
        Pair { publisher, subscriber, qos }
    }

    /// Publishes some messages and goes on until all is acknowledged to the end.
    fn deliver(&mut self, publishes: &[u8], count: usize) {
        let (publisher, subscriber) = (&mut self.publisher, &mut self.subscriber);
        publisher.stream.write_all(publishes).expect("it is connected");
        subscriber.hear_until(|client| client.publishes_received == count);
        if self.qos > QoS::AtMostOnce {
            publisher.hear_until(|client| client.publishes_done == count);
        }
        if self.qos == QoS::ExactlyOnce {
            subscriber.hear_until(|client| client.releases_received == count);
        }
        (publisher.client, subscriber.client) = (Client::default(), Client::default());
    }
}

impl End {
    fn new(address: SocketAddr, client_id: &str) -> End {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("it is a socket");
        let mut end = End { stream, client: Client::default(), unread: Vec::new() };
        end.stream.write_all(&connect(client_id)).expect("it is connected");
        // The CONNACK.
        end.hear();
        end
    }

    fn hear_until(&mut self, is_enough: impl Fn(&Client) -> bool) {
        while !is_enough(&self.client) {
            self.hear();
        }
    }

    /// Reads what has come, or waits for it, and answers.
    fn hear(&mut self) {
        let mut bytes = [0; 64 << 10];
        let count = self.stream.read(&mut bytes).expect("it is connected");
        assert!(count > 0, "the broker stays");
        self.unread.extend_from_slice(&bytes[..count]);
        let read = self.client.read(&self.unread);
        self.unread.drain(..read);
        self.stream.write_all(&self.client.replies).expect("it is connected");
        self.client.replies.clear();
    }
}

criterion_group! {
    name = end_to_end;
    config = settings::settings();
    targets = deliver
}
criterion_main!(end_to_end);

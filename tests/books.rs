//! The books balance: what the broker counts is what clients have sent and got.
//!
//! Clients of this file count each byte and message themselves. Some are there and take
//! everything, one is away and is owed more than its queue holds. In the end nothing is missing:
//! what was not sent was dropped, and counted as that.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::{Broker, Setup};

const PUBLISHERS: u64 = 4;
const SUBSCRIBERS: u64 = 6;
/// Messages of each publisher at each QoS.
const MESSAGES: u64 = 40;
/// Of the one that is away; more than 2 x 40 x 4 are published for it.
const QUEUE_MESSAGES_MAX: u64 = 100;

/// At QoS 0, 1 and 2.
type ByQos = [u64; 3];

#[test]
fn what_is_counted_is_what_clients_sent_and_got() {
    let broker = Setup::shards(2)
        .config(&format!("[mqtt]\nqueue_messages_max = {QUEUE_MESSAGES_MAX}\n"))
        .start();
    let mut books = Books::default();
    let mut away = Client::connect(&broker, "away", false);
    away.subscribe("books/#");
    books.close(away);
    let mut subscribers: Vec<Client> =
        (0..SUBSCRIBERS).map(|n| Client::connect(&broker, &format!("s{n}"), true)).collect();
    subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe("books/#"));

    let mut publishers: Vec<Client> =
        (0..PUBLISHERS).map(|n| Client::connect(&broker, &format!("p{n}"), true)).collect();
    for n in 0..MESSAGES {
        for publisher in &mut publishers {
            for qos in 0..3 {
                publisher.publish(&format!("books/{n}"), qos);
            }
        }
        // They read as the messages come, so that no window and no outbox is full.
        for subscriber in &mut subscribers {
            subscriber.receive(3 * PUBLISHERS);
        }
    }
    publishers[0].publish("nobody/wants/it", 1);

    let each = PUBLISHERS * MESSAGES;
    let figures = Figures::of(&broker);
    assert_eq!(figures.total("connections"), PUBLISHERS + SUBSCRIBERS);
    assert_eq!(figures.total("listener_connections"), PUBLISHERS + SUBSCRIBERS);
    assert_eq!(figures.total("sessions"), PUBLISHERS + SUBSCRIBERS + 1);
    assert_eq!(figures.total("subscriptions"), SUBSCRIBERS + 1);
    assert_eq!(figures.total("inflight_messages"), 0);
    assert_eq!(figures.total("queued_messages"), QUEUE_MESSAGES_MAX);
    assert!(figures.total("queued_bytes") > 0);
    assert_eq!(figures.total("publishes_unmatched_total"), 1);
    assert_eq!(figures.total("dropped_away_total"), each, "QoS 0");
    assert_eq!(figures.total("dropped_queue_full_total"), 2 * each - QUEUE_MESSAGES_MAX);
    assert_eq!(figures.total("connects_accepted_total"), PUBLISHERS + SUBSCRIBERS + 1);
    assert!(figures.total("log_sync_seconds_count") > 0);
    assert!(figures.total("publish_acknowledge_seconds_count") > 0);
    assert!(figures.total("publish_acknowledge_seconds_count") <= 2 * each);

    // It comes back for what its queue holds.
    let mut away = Client::connect(&broker, "away", false);
    away.receive(QUEUE_MESSAGES_MAX);
    books.close(away);
    publishers.into_iter().chain(subscribers).for_each(|client| books.close(client));

    let figures = Figures::of(&broker);
    assert_eq!(figures.by_qos("publishes_received_qos"), books.published);
    assert_eq!(books.published, [each, each + 1, each]);
    assert_eq!(figures.by_qos("publishes_sent_qos"), books.got);
    assert_eq!(figures.total("publishes_resent_total"), 0);
    let dropped: u64 = figures
        .names()
        .filter(|name| name.starts_with("dropped_"))
        .map(|name| figures.total(name))
        .sum();
    let due = 3 * each * (SUBSCRIBERS + 1);
    assert_eq!(books.got.iter().sum::<u64>() + dropped, due, "sent or dropped");
    assert_eq!(figures.total("received_bytes_total"), books.bytes_sent);
    assert_eq!(figures.total("sent_bytes_total"), books.bytes_got);
    assert_eq!(figures.total("packets_received_total"), books.packets_sent);
    for gauge in ["connections", "listener_connections", "queued_messages", "queued_bytes"] {
        assert_eq!(figures.total(gauge), 0, "{gauge}");
    }
    assert_eq!(figures.total("inflight_messages"), 0);
    assert_eq!(figures.total("sessions"), 1, "the one that is kept");
    assert_eq!(figures.total("subscriptions"), 1);
}

/// What all clients together have done.
#[derive(Debug, Default)]
struct Books {
    bytes_sent: u64,
    bytes_got: u64,
    packets_sent: u64,
    published: ByQos,
    got: ByQos,
}

impl Books {
    /// Takes leave of a client and adds what it has counted.
    fn close(&mut self, mut client: Client) {
        client.send(0xE0, &[]);
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).expect("the broker closes");
        assert!(rest.is_empty(), "nothing is sent that nobody waits for: {rest:?}");
        let Client { books, .. } = client;
        self.bytes_sent += books.bytes_sent;
        self.bytes_got += books.bytes_got;
        self.packets_sent += books.packets_sent;
        for qos in 0..3 {
            self.published[qos] += books.published[qos];
            self.got[qos] += books.got[qos];
        }
    }
}

/// A client of MQTT 3.1.1 that counts.
struct Client {
    stream: TcpStream,
    packet_id: u16,
    books: Books,
}

impl Client {
    fn connect(broker: &Broker, client_id: &str, clean: bool) -> Client {
        let mut client = Client { stream: broker.connect(), packet_id: 0, books: Books::default() };
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.extend([u8::from(clean) << 1, 0, 60]);
        body.extend(text(client_id));
        client.send(0x10, &body);
        let (_, answer) = client.await_packet(0x20);
        assert_eq!(answer[1], 0, "{client_id} is let in");
        client
    }

    fn subscribe(&mut self, filter: &str) {
        let body = [&self.next_id()[..], &text(filter), &[2]].concat();
        self.send(0x82, &body);
        let (_, answer) = self.await_packet(0x90);
        assert_eq!(answer[2], 2, "granted as asked");
    }

    /// Waits until it is acknowledged.
    fn publish(&mut self, topic: &str, qos: u8) {
        let packet_id = if qos > 0 { self.next_id().to_vec() } else { Vec::new() };
        self.send(0x30 | qos << 1, &[&text(topic), &packet_id[..], b"payload"].concat());
        self.books.published[usize::from(qos)] += 1;
        if qos == 1 {
            self.await_packet(0x40);
        }
        if qos == 2 {
            self.await_packet(0x50);
            self.send(0x62, &packet_id);
            self.await_packet(0x70);
        }
    }

    /// Waits for so many messages, and acknowledges them to the end.
    fn receive(&mut self, count: u64) {
        let mut missing = count;
        let mut incomplete = 0;
        while missing > 0 || incomplete > 0 {
            let (first, body) = self.packet();
            match first & 0xF0 {
                0x30 => {
                    let qos = first >> 1 & 3;
                    self.books.got[usize::from(qos)] += 1;
                    missing = missing.checked_sub(1).expect("no more than are due");
                    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let packet_id = &body[end..][..2];
                    match qos {
                        0 => {}
                        1 => self.send(0x40, packet_id),
                        _ => {
                            self.send(0x50, packet_id);
                            incomplete += 1;
                        }
                    }
                }
                0x60 => {
                    self.send(0x70, &body);
                    incomplete -= 1;
                }
                other => panic!("packet {other:#x}"),
            }
        }
    }

    fn next_id(&mut self) -> [u8; 2] {
        self.packet_id += 1;
        self.packet_id.to_be_bytes()
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let length = u8::try_from(body.len()).expect("short packets");
        assert!(length < 128, "one byte says it");
        let packet = [&[first, length], body].concat();
        self.stream.write_all(&packet).expect("the broker reads");
        self.books.bytes_sent += packet.len() as u64;
        self.books.packets_sent += 1;
    }

    fn await_packet(&mut self, kind: u8) -> (u8, Vec<u8>) {
        let (first, body) = self.packet();
        assert_eq!(first & 0xF0, kind, "{body:?}");
        (first, body)
    }

    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a packet");
        assert!(head[1] < 128, "short packets");
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body).expect("a whole packet");
        self.books.bytes_got += 2 + body.len() as u64;
        (head[0], body)
    }
}

fn text(word: &str) -> Vec<u8> {
    [&(word.len() as u16).to_be_bytes(), word.as_bytes()].concat()
}

/// A scrape: sums over all labels, by name without the prefix.
#[derive(Debug)]
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn of(broker: &Broker) -> Figures {
        let admin = broker.admin().unwrap_or_else(|| panic!("no admin address: {}", broker.log()));
        let mut sums = BTreeMap::new();
        for line in scrape(admin).lines() {
            let Some(rest) = line.strip_prefix("hawker_") else { continue };
            let (series, value) = rest.rsplit_once(' ').expect("a value behind a space");
            let name = series.split('{').next().unwrap_or_default();
            let value: f64 = value.parse().expect("a number");
            *sums.entry(name.to_owned()).or_default() += value;
        }
        Figures(sums)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn total(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_else(|| panic!("no {name}")) as u64
    }

    fn by_qos(&self, name: &str) -> ByQos {
        [0, 1, 2].map(|qos| self.total(&format!("{name}{qos}_total")))
    }
}

fn scrape(admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).expect("the admin server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a fresh socket takes options");
    let request = b"GET /metrics HTTP/1.1\r\nHost: hawker\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("the admin server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an orderly end");
    answer
}

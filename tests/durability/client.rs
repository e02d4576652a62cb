//! A client of MQTT 3.1.1 that keeps its session state while connections and brokers come and go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// One connection.
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A packet: its first byte and what follows the length.
pub type Packet = (u8, Vec<u8>);

impl Link {
    /// Connects with a session that is kept; nothing if the broker is gone.
    pub fn open(address: SocketAddr, client_id: &str) -> io::Result<Link> {
        Link::open_with(address, client_id, 0)
    }

    /// Connects with a session that ends with the connection, as what was kept of it does now.
    pub fn open_clean(address: SocketAddr, client_id: &str) -> io::Result<Link> {
        Link::open_with(address, client_id, 2)
    }

    fn open_with(address: SocketAddr, client_id: &str, flags: u8) -> io::Result<Link> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut link = Link { stream, buffer: Vec::new() };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0];
        body.extend_from_slice(&(client_id.len() as u16).to_be_bytes());
        body.extend_from_slice(client_id.as_bytes());
        link.send(0x10, &body)?;
        match link.await_packet()? {
            (CONNACK, answer) if answer[1] == 0 => Ok(link),
            other => panic!("{client_id} was not let in: {other:?}"),
        }
    }

    /// Writes a packet.
    pub fn send(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let more = length >= 128;
            packet.push((length % 128) as u8 | if more { 128 } else { 0 });
            length /= 128;
            if !more {
                break;
            }
        }
        packet.extend_from_slice(body);
        self.stream.write_all(&packet)
    }

    /// The next packet, if one comes within a moment.
    pub fn poll(&mut self) -> io::Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.cut() {
                return Ok(Some(packet));
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next packet, which is sure to come.
    pub fn await_packet(&mut self) -> io::Result<Packet> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(packet) = self.poll()? {
                return Ok(packet);
            }
        }
        panic!("no answer in a minute");
    }

    fn cut(&mut self) -> Option<Packet> {
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = *self.buffer.get(at)?;
            length |= usize::from(byte & 127) << (7 * (at - 1));
            at += 1;
            if byte < 128 {
                break;
            }
        }
        let body = self.buffer.get(at..at + length)?.to_vec();
        let first = self.buffer[0];
        self.buffer.drain(..at + length);
        Some((first, body))
    }
}

/// Someone who publishes numbered messages and keeps what is not acknowledged.
pub struct Publisher {
    pub name: String,
    pub qos: u8,
    /// Messages in flight: number, packet identifier, and whether PUBREC has come.
    open: VecDeque<(u64, u16, bool)>,
    pub next: u64,
    /// All before this one were acknowledged.
    pub acknowledged: u64,
    /// The same, for those who look on.
    pub told: Arc<AtomicU64>,
    packet_id: u16,
}

impl Publisher {
    pub fn new(name: &str, qos: u8) -> Publisher {
        let (next, acknowledged, packet_id) = (0, 0, 0);
        Publisher {
            name: name.to_owned(),
            qos,
            open: VecDeque::new(),
            next,
            acknowledged,
            told: Arc::default(),
            packet_id,
        }
    }

    /// Publishes until the broker is gone, or until `last` messages are acknowledged.
    pub fn publish(&mut self, address: SocketAddr, window: usize, last: u64) {
        // The broker may be gone at any moment; what is not acknowledged is kept.
        let _ = self.try_publish(address, window, last);
    }

    fn try_publish(&mut self, address: SocketAddr, window: usize, last: u64) -> io::Result<()> {
        let mut link = Link::open(address, &self.name)?;
        for (number, packet_id, received) in self.open.clone() {
            match received {
                true => link.send(PUBREL, &packet_id.to_be_bytes())?,
                false => self.send(&mut link, number, packet_id, true)?,
            }
        }
        while !(self.next >= last && self.open.is_empty()) {
            while self.open.len() < window && self.next < last {
                self.packet_id = self.packet_id % 60_000 + 1;
                let (number, packet_id) = (self.next, self.packet_id);
                self.next += 1;
                self.open.push_back((number, packet_id, false));
                self.send(&mut link, number, packet_id, false)?;
            }
            if let Some((first, body)) = link.poll()? {
                self.hear(&mut link, first, u16::from_be_bytes([body[0], body[1]]))?;
            }
        }
        Ok(())
    }

    fn send(&self, link: &mut Link, number: u64, packet_id: u16, dup: bool) -> io::Result<()> {
        let topic = format!("load/{}", self.name);
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(&packet_id.to_be_bytes());
        body.extend_from_slice(&number.to_be_bytes());
        link.send(PUBLISH | self.qos << 1 | u8::from(dup) << 3, &body)
    }

    fn hear(&mut self, link: &mut Link, first: u8, packet_id: u16) -> io::Result<()> {
        let at = self.open.iter().position(|(_, other, _)| *other == packet_id);
        match first {
            PUBACK | PUBCOMP => {
                if let Some(at) = at {
                    self.open.remove(at);
                }
                self.acknowledged = self.open.front().map_or(self.next, |(number, ..)| *number);
                self.told.store(self.acknowledged, Ordering::SeqCst);
            }
            PUBREC => {
                if let Some(at) = at {
                    self.open[at].2 = true;
                }
                link.send(PUBREL, &packet_id.to_be_bytes())?;
            }
            other => panic!("a publisher got {other:#x}"),
        }
        Ok(())
    }
}

/// Someone who is owed messages, and what came of each publisher's.
pub struct Subscriber {
    pub name: String,
    /// QoS 2 messages received whose PUBREL has not come.
    received: BTreeSet<u16>,
    /// Numbers in the order in which they came, by topic; QoS 1 may repeat.
    pub heard: BTreeMap<String, Vec<u64>>,
}

impl Subscriber {
    pub fn new(name: &str) -> Subscriber {
        Subscriber { name: name.to_owned(), received: BTreeSet::new(), heard: BTreeMap::new() }
    }

    /// Subscribes once, at QoS 2; the broker answers.
    pub fn subscribe(&mut self, address: SocketAddr, filter: &str) {
        let mut link = Link::open(address, &self.name).expect("the broker runs");
        let mut body = vec![0, 1];
        body.extend_from_slice(&(filter.len() as u16).to_be_bytes());
        body.extend_from_slice(filter.as_bytes());
        body.push(2);
        link.send(SUBSCRIBE, &body).expect("the broker runs");
        let (first, answer) = link.await_packet().expect("the broker runs");
        assert_eq!((first, answer[2]), (SUBACK, 2));
    }

    /// Takes what comes until the broker is gone, or until nothing has come for a while.
    pub fn listen(&mut self, address: SocketAddr, quiet: Duration) {
        // The broker may be gone at any moment; the session goes on with the next one.
        let _ = self.try_listen(address, quiet);
    }

    fn try_listen(&mut self, address: SocketAddr, quiet: Duration) -> io::Result<()> {
        let mut link = Link::open(address, &self.name)?;
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            let Some((first, body)) = link.poll()? else { continue };
            last = Instant::now();
            match first & 0xf0 {
                PUBLISH => self.take(&mut link, first, &body)?,
                0x60 => {
                    let packet_id = u16::from_be_bytes([body[0], body[1]]);
                    self.received.remove(&packet_id);
                    link.send(PUBCOMP, &packet_id.to_be_bytes())?;
                }
                other => panic!("a subscriber got {other:#x}"),
            }
        }
        Ok(())
    }

    fn take(&mut self, link: &mut Link, first: u8, body: &[u8]) -> io::Result<()> {
        let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + topic_bytes].to_vec()).expect("it was ours");
        let (packet_id, payload) = body[2 + topic_bytes..].split_first_chunk().expect("QoS 1 or 2");
        let packet_id = u16::from_be_bytes(*packet_id);
        let number = u64::from_be_bytes(*payload.first_chunk().expect("it was ours"));
        let is_new = first & 0x06 == 0x02 || self.received.insert(packet_id);
        if is_new {
            self.heard.entry(topic).or_default().push(number);
        }
        let answer = if first & 0x06 == 0x02 { PUBACK } else { PUBREC };
        link.send(answer, &packet_id.to_be_bytes())
    }
}

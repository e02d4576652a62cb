//! One connection to a broker, blocking, that reads strictly and watches what always holds.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::brokers::Broker;
use super::packet::{self, Ack, ConnAck, Packet, Publish, Reason};
use super::wire::{self, Connect, Version, first, id};

/// When something that has not come counts as never coming.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long silence is listened to where no later message can prove it.
pub const QUIET: Duration = Duration::from_millis(60);

/// A client; its connection is cut when it is dropped, without a DISCONNECT.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    pub version: Version,
    pub id: String,
    /// Of the CONNACK, once there was one.
    pub connack: Option<ConnAck>,
    unread: Vec<u8>,
    /// Packets that came while another one was waited for.
    held: VecDeque<Packet>,
    packet_id: u16,
    packet_bytes_max: usize,
    topic_alias_max: u32,
    unacknowledged: Vec<u16>,
    receive_maximum: usize,
    /// Whether the specification's word "SHOULD" is enough.
    lenient: bool,
    last_sent: Vec<u8>,
}

/// What came, if anything.
#[derive(Debug)]
pub enum Arrival {
    Packet(Packet),
    Closed,
    Silence,
}

impl Client {
    /// A connection without a word said.
    pub fn open(broker: &Broker, version: Version) -> Client {
        let stream = TcpStream::connect(broker.address()).expect("the broker accepts");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        // A peer that stopped reading must not hang a test that pushes at it.
        stream.set_write_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
        Client {
            stream,
            version,
            id: String::new(),
            connack: None,
            unread: Vec::new(),
            held: VecDeque::new(),
            packet_id: 0,
            packet_bytes_max: usize::MAX,
            topic_alias_max: 0,
            unacknowledged: Vec::new(),
            receive_maximum: 65_535,
            lenient: broker.is_foreign(),
            last_sent: Vec::new(),
        }
    }

    /// Sends a CONNECT without awaiting its answer.
    pub fn ask(broker: &Broker, connect: &Connect) -> Client {
        let mut client = Client::open(broker, connect.version);
        client.ask_again(connect);
        client
    }

    /// Sends a CONNECT on this connection and keeps the limits it names.
    pub fn ask_again(&mut self, connect: &Connect) {
        self.id = String::from_utf8_lossy(&connect.client_id).into_owned();
        for property in &connect.properties {
            match property[..] {
                [id::MAXIMUM_PACKET_SIZE, a, b, c, d] if [a, b, c, d] != [0; 4] => {
                    self.packet_bytes_max = u32::from_be_bytes([a, b, c, d]) as usize;
                }
                [id::TOPIC_ALIAS_MAXIMUM, a, b] => {
                    self.topic_alias_max = u32::from(u16::from_be_bytes([a, b]));
                }
                [id::RECEIVE_MAXIMUM, a, b] => {
                    self.receive_maximum = usize::from(u16::from_be_bytes([a, b]));
                }
                _ => {}
            }
        }
        self.send(connect.bytes());
    }

    /// Connects and demands success.
    #[track_caller]
    pub fn connect(broker: &Broker, connect: &Connect) -> Client {
        let mut client = Client::ask(broker, connect);
        let connack = client.expect_connack();
        assert_eq!(connack.reason, 0, "{connect:?} was refused: {connack:?}");
        client
    }

    /// Connects with a clean start and a client id of its own.
    pub fn start(broker: &Broker, version: Version) -> Client {
        Client::connect(broker, &Connect::new(version, broker.unique()))
    }

    /// Sends bytes as they are. That the broker has closed is for the reading side to find.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.last_sent = bytes.as_ref().to_vec();
        if let Err(error) = self.stream.write_all(bytes.as_ref()) {
            let gone = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            assert!(gone, "writing failed: {error}");
        }
    }

    /// Ends the sending side and lets the other go on.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// What comes within `patience`.
    pub fn poll(&mut self, patience: Duration) -> Arrival {
        match self.held.pop_front() {
            Some(packet) => Arrival::Packet(packet),
            None => self.poll_stream(patience),
        }
    }

    fn poll_stream(&mut self, patience: Duration) -> Arrival {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(packet) = self.take() {
                self.watch(&packet);
                return Arrival::Packet(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(wait)).expect("a timeout above zero is taken");
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return self.closed(),
                Ok(count) => self.unread.extend(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if left.is_zero() => {
                        return Arrival::Silence;
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return self.closed(),
                    _ => panic!("reading failed: {error}"),
                },
            }
        }
    }

    fn closed(&self) -> Arrival {
        assert!(self.unread.is_empty(), "closed within a packet: {:02x?}", self.unread);
        Arrival::Closed
    }

    fn take(&mut self) -> Option<Packet> {
        let (header, end) = match packet::cut(&self.unread) {
            Ok(found) => found?,
            Err(error) => panic!("{error}: {:02x?}", self.unread),
        };
        assert!(
            end <= self.packet_bytes_max,
            "[MQTT-3.1.2-24] a packet of {end} bytes, at most {} were asked for",
            self.packet_bytes_max
        );
        let bytes: Vec<u8> = self.unread.drain(..end).collect();
        let packet = packet::read(self.version, bytes[0], &bytes[header..]);
        Some(packet.unwrap_or_else(|error| panic!("{error}: {bytes:02x?}")))
    }

    /// What holds for every packet of every test.
    fn watch(&mut self, packet: &Packet) {
        match packet {
            Packet::ConnAck(connack) => {
                // [v3.1.1 MQTT-3.2.0-1] [v5 MQTT-3.2.0-2]
                assert!(self.connack.is_none(), "a second CONNACK: {connack:?}");
                self.connack = Some(connack.clone());
            }
            Packet::Auth(_) => {}
            other => {
                let accepted = self.connack.as_ref().is_some_and(|connack| connack.reason == 0);
                assert!(accepted, "before a CONNACK that accepts: {other:?}");
            }
        }
        if let Packet::Publish(publish) = packet {
            self.watch_publish(publish);
        }
    }

    fn watch_publish(&mut self, publish: &Publish) {
        let alias = publish.properties.number(id::TOPIC_ALIAS).unwrap_or(0);
        let most = self.topic_alias_max;
        assert!(alias <= most, "[MQTT-3.3.2-11] topic alias {alias}, at most {most} was allowed");
        if publish.qos == 0 {
            return;
        }
        // [v3.1.1 MQTT-2.3.1-4] [v5 MQTT-2.2.1-4]
        let known = self.unacknowledged.contains(&publish.packet_id);
        assert!(!known, "packet identifier {} is in use", publish.packet_id);
        self.unacknowledged.push(publish.packet_id);
        let (count, most) = (self.unacknowledged.len(), self.receive_maximum);
        assert!(count <= most, "[MQTT-3.3.4-9] {count} messages in flight, at most {most} allowed");
    }

    /// The next packet.
    #[track_caller]
    pub fn next(&mut self) -> Packet {
        match self.poll(PATIENCE) {
            Arrival::Packet(packet) => packet,
            other => panic!("expected a packet, found {other:?}, after {}", self.said()),
        }
    }

    #[track_caller]
    pub fn expect_connack(&mut self) -> ConnAck {
        match self.next() {
            Packet::ConnAck(connack) => connack,
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    /// The next packet, which is a PUBLISH; not acknowledged.
    #[track_caller]
    pub fn expect_publish(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, found {other:?}"),
        }
    }

    /// The next message, acknowledged to the end of its QoS.
    #[track_caller]
    pub fn receive(&mut self) -> Publish {
        let publish = self.expect_publish();
        self.finish_delivery(&publish);
        publish
    }

    /// The next message, acknowledged; its payload is all that matters.
    #[track_caller]
    pub fn receive_payload(&mut self) -> String {
        String::from_utf8(self.receive().payload).expect("tests send text")
    }

    /// Acknowledges a message to the end of its QoS.
    #[track_caller]
    pub fn finish_delivery(&mut self, publish: &Publish) {
        match publish.qos {
            0 => {}
            1 => self.acknowledge(first::PUBACK, publish.packet_id),
            _ => {
                self.send(wire::ack(first::PUBREC, publish.packet_id));
                self.expect_ack(first::PUBREL, publish.packet_id);
                self.acknowledge(first::PUBCOMP, publish.packet_id);
            }
        }
    }

    /// The first packet that `wanted` takes; messages that come before it are kept for later.
    #[track_caller]
    fn await_packet<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        let held = self.held.iter().position(|packet| wanted(packet).is_some());
        if let Some(packet) = held.and_then(|index| self.held.remove(index)) {
            return wanted(&packet).expect("it was wanted a moment ago");
        }
        loop {
            match self.poll_stream(PATIENCE) {
                Arrival::Packet(packet) => match wanted(&packet) {
                    Some(found) => return found,
                    None if matches!(packet, Packet::Publish(_)) => self.held.push_back(packet),
                    None => panic!("expected {what}, found {packet:?}, after {}", self.said()),
                },
                other => panic!("expected {what}, found {other:?}, after {}", self.said()),
            }
        }
    }

    /// Sends the packet that ends a delivery: PUBACK or PUBCOMP.
    pub fn acknowledge(&mut self, first: u8, packet_id: u16) {
        self.forget(packet_id);
        self.send(wire::ack(first, packet_id));
    }

    /// Counts a packet identifier as free; for tests that write the acknowledgement themselves.
    pub fn forget(&mut self, packet_id: u16) {
        self.unacknowledged.retain(|id| *id != packet_id);
    }

    /// The next packet, which is this acknowledgement of this packet identifier.
    #[track_caller]
    pub fn expect_ack(&mut self, first: u8, packet_id: u16) -> Ack {
        self.await_packet(&format!("{first:#04x} of {packet_id}"), |packet| match packet {
            Packet::Ack(found, ack) if (*found, ack.packet_id) == (first, packet_id) => {
                Some(ack.clone())
            }
            _ => None,
        })
    }

    /// That the broker closes: in 5.0 after a DISCONNECT with one of the reason codes, before
    /// that without a word. Messages that were on their way are passed over.
    #[track_caller]
    pub fn expect_end(&mut self, reasons: &[u8]) {
        let mut said = None;
        loop {
            match self.poll(PATIENCE) {
                Arrival::Packet(Packet::Disconnect(Reason { reason, .. })) if said.is_none() => {
                    said = Some(reason);
                }
                Arrival::Packet(packet) if said.is_some() => {
                    panic!("after DISCONNECT: {packet:?}")
                }
                Arrival::Packet(_) => {}
                Arrival::Closed => break,
                Arrival::Silence => panic!("open, DISCONNECT {said:02x?}, after {}", self.said()),
            }
        }
        if self.version == Version::V5 && !self.lenient {
            let right = said.is_some_and(|reason| reasons.contains(&reason));
            let said = said.map_or("no DISCONNECT".into(), |it| format!("DISCONNECT {it:#04x}"));
            assert!(right, "{said}, expected {reasons:02x?}, after {}", self.said());
        }
    }

    /// That the broker refuses the CONNECT: CONNACK with one of the reason codes, then the end.
    #[track_caller]
    pub fn expect_refusal(&mut self, reasons: &[u8]) {
        match self.poll(PATIENCE) {
            Arrival::Packet(Packet::ConnAck(connack)) => {
                let reason = connack.reason;
                let right = reasons.contains(&reason) || (self.lenient && reason != 0);
                let said = self.said();
                assert!(right, "CONNACK {reason:#04x}, expected {reasons:02x?}, after {said}");
                self.expect_close();
            }
            Arrival::Closed if self.lenient => {}
            other => panic!("expected CONNACK, found {other:?}, after {}", self.said()),
        }
    }

    /// That nothing but the end comes.
    #[track_caller]
    pub fn expect_close(&mut self) {
        match self.poll(PATIENCE) {
            Arrival::Closed => {}
            other => panic!("expected the end, found {other:?}, after {}", self.said()),
        }
    }

    /// The bytes sent last, for messages.
    fn said(&self) -> String {
        let shown = &self.last_sent[..self.last_sent.len().min(120)];
        shown.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    }

    /// Reads until the broker closes, whatever it says before.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match self.poll(PATIENCE) {
                Arrival::Packet(packet) => packets.push(packet),
                Arrival::Closed => return packets,
                Arrival::Silence => panic!("the connection stays open after {packets:?}"),
            }
        }
    }

    /// Reads until the broker closes, without looking into what it says.
    #[track_caller]
    pub fn read_raw_to_end(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero is taken");
        let mut bytes = std::mem::take(&mut self.unread);
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("the connection stays open after {bytes:02x?}: {error}")
            }
            _ => bytes,
        }
    }

    /// That nothing is on its way: PINGRESP is the next packet and then there is silence.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        self.ping();
        self.expect_silence(QUIET);
    }

    /// That nothing comes for this long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        match self.poll(time) {
            Arrival::Silence => {}
            other => panic!("expected silence, found {other:?}"),
        }
    }

    /// A round trip: everything sent before has been taken.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(wire::PINGREQ);
        let found = self.next();
        assert_eq!(found, Packet::PingResp);
    }

    /// A packet identifier that was not used on this connection.
    pub fn packet_id(&mut self) -> u16 {
        self.packet_id += 1;
        self.packet_id
    }

    /// Subscribes to one filter, demands the QoS of the options, and leaves what follows unread.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: u8) {
        let granted = self.try_subscribe(&[(filter, options)]);
        assert_eq!(granted, [options & 3], "SUBACK for {filter}");
    }

    /// Subscribes and gives the reason codes. Messages that come before the SUBACK are kept
    /// for later.
    #[track_caller]
    pub fn try_subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let packet_id = self.packet_id();
        self.send(wire::subscribe(self.version, packet_id, filters));
        self.expect_suback(packet_id)
    }

    #[track_caller]
    pub fn expect_suback(&mut self, packet_id: u16) -> Vec<u8> {
        self.await_packet(&format!("SUBACK of {packet_id}"), |packet| match packet {
            Packet::SubAck(suback) if suback.packet_id == packet_id => Some(suback.reasons.clone()),
            _ => None,
        })
    }

    /// Unsubscribes and gives the reason codes, none before 5.0.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let packet_id = self.packet_id();
        self.send(wire::unsubscribe(self.version, packet_id, filters));
        self.expect_unsuback(packet_id)
    }

    #[track_caller]
    pub fn expect_unsuback(&mut self, packet_id: u16) -> Vec<u8> {
        self.await_packet(&format!("UNSUBACK of {packet_id}"), |packet| match packet {
            Packet::UnsubAck(unsuback) if unsuback.packet_id == packet_id => {
                Some(unsuback.reasons.clone())
            }
            _ => None,
        })
    }

    /// A message from this client, to be refined and given to [`Client::publish`].
    pub fn message(&self, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> wire::Publish {
        wire::Publish::new(self.version, topic, payload)
    }

    /// Publishes with this QoS and returns once it is acknowledged; the reason code tells how.
    #[track_caller]
    pub fn publish_qos(&mut self, topic: &str, qos: u8, payload: &str) -> u8 {
        let message = self.message(topic, payload);
        self.publish(message, qos)
    }

    /// Publishes with this QoS and returns once it is acknowledged; the reason code tells how.
    #[track_caller]
    pub fn publish(&mut self, message: wire::Publish, qos: u8) -> u8 {
        let packet_id = if qos == 0 { 0 } else { self.packet_id() };
        self.send(message.qos(qos, packet_id).bytes());
        match qos {
            0 => 0,
            1 => self.expect_ack(first::PUBACK, packet_id).reason,
            _ => {
                let reason = self.expect_ack(first::PUBREC, packet_id).reason;
                if reason < 0x80 {
                    self.send(wire::ack(first::PUBREL, packet_id));
                    self.expect_ack(first::PUBCOMP, packet_id);
                }
                reason
            }
        }
    }

    /// Says goodbye and waits for the broker to close.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send(wire::disconnect());
        self.read_to_end();
    }

    /// Goes without a word, and returns once the broker knows: a network that failed.
    #[track_caller]
    pub fn vanish(mut self) {
        self.finish_sending();
        while !matches!(self.poll(PATIENCE), Arrival::Closed) {}
    }
}

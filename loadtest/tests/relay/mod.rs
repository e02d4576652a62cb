//! A relay that passes messages on like a broker, and can be told to do one thing wrong.
//!
//! It is the other side in the harness's tests: an injected fault must be found. Without a fault
//! it is about the least work a broker can do, so it also shows what the harness itself can take.
//! It understands 3.1.1, clean sessions, and filters that are a topic or a topic and `#`.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use loadtest::poll::{Events, Interest, Poll};

/// What the relay does wrong, to the message with this number among those it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Nothing,
    /// It forgets the message.
    Lose(u64),
    /// It delivers the message twice.
    Repeat(u64),
    /// It delivers the message after the next one.
    Delay(u64),
    /// It flips a bit of the payload.
    Damage(u64),
    /// It delivers the message to a client that did not ask for it, too.
    Misroute(u64),
    /// It acknowledges a packet identifier that is not in use.
    AcknowledgeNothing(u64),
    /// It does not acknowledge the message.
    AcknowledgeNever(u64),
    /// It sends bytes that are no packet.
    Babble(u64),
    /// It closes the publisher's connection.
    HangUp(u64),
}

/// The key of the listener.
const LISTENER: u64 = u64::MAX - 1;

/// The relay.
pub(crate) struct Relay {
    listener: TcpListener,
    poll: Poll,
    fault: Fault,
    lines: Vec<Option<Line>>,
    exact: HashMap<Vec<u8>, Vec<usize>>,
    prefixes: Vec<(Vec<u8>, usize)>,
    passed_count: u64,
    delayed: Option<(usize, Vec<u8>)>,
    scratch: Vec<u8>,
    dirty: Vec<usize>,
}

struct Line {
    socket: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    is_blocked: bool,
    is_dirty: bool,
    packet_id: u16,
    must_close: bool,
}

impl Relay {
    /// A relay on `address`.
    pub(crate) fn bind(address: &str, fault: Fault) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let (poll, _) = Poll::new()?;
        poll.add(&listener, LISTENER, Interest::Read)?;
        Ok(Self {
            listener,
            poll,
            fault,
            lines: Vec::new(),
            exact: HashMap::new(),
            prefixes: Vec::new(),
            passed_count: 0,
            delayed: None,
            scratch: vec![0; 1 << 18],
            dirty: Vec::new(),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Relays for ever, or until the sockets fail.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::new(1024);
        loop {
            self.poll.wait(Duration::from_secs(1), &mut events)?;
            for event in events.iter() {
                match event.key {
                    LISTENER => self.accept()?,
                    key => {
                        if event.readable {
                            self.read(key as usize);
                        }
                        if event.writable {
                            self.mark(key as usize);
                        }
                    }
                }
            }
            self.flush()?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            self.poll.add(&socket, self.lines.len() as u64, Interest::Read)?;
            self.lines.push(Some(Line {
                socket,
                input: Vec::new(),
                output: Vec::new(),
                is_blocked: false,
                is_dirty: false,
                packet_id: 0,
                must_close: false,
            }));
        }
        Ok(())
    }

    fn read(&mut self, index: usize) {
        let Some(line) = &mut self.lines[index] else { return };
        let size = match line.socket.read(&mut self.scratch) {
            Ok(size) if size > 0 => size,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            _ => return self.close(index),
        };
        let mut input = std::mem::take(&mut line.input);
        input.extend_from_slice(&self.scratch[..size]);
        let mut at = 0;
        while let Some((first, start, end)) = packet(&input[at..]) {
            let whole = &input[at..at + end];
            at += end;
            if !self.take(index, first, whole, start) {
                return self.close(index);
            }
        }
        input.drain(..at);
        if let Some(line) = &mut self.lines[index] {
            line.input = input;
        }
    }

    fn close(&mut self, index: usize) {
        self.lines[index] = None;
        self.prefixes.retain(|(_, subscriber)| *subscriber != index);
        for subscribers in self.exact.values_mut() {
            subscribers.retain(|subscriber| *subscriber != index);
        }
    }

    /// False when the connection is to be closed.
    fn take(&mut self, index: usize, first: u8, whole: &[u8], start: usize) -> bool {
        let body = &whole[start..];
        match first >> 4 {
            1 => self.send(index, &[0x20, 2, 0, 0]),
            3 => return self.publish(index, first, body),
            // The subscriber's half of QoS 2, and the publisher's.
            5 => self.send(index, &[0x62, 2, body[0], body[1]]),
            6 => self.send(index, &[0x70, 2, body[0], body[1]]),
            8 => self.subscribe(index, body),
            12 => self.send(index, &[0xD0, 0]),
            14 => return false,
            _ => {}
        }
        true
    }

    fn subscribe(&mut self, index: usize, body: &[u8]) {
        let mut suback = vec![body[0], body[1]];
        let mut at = 2;
        while at < body.len() {
            let size = usize::from(body[at]) << 8 | usize::from(body[at + 1]);
            let filter = &body[at + 2..at + 2 + size];
            match filter.strip_suffix(b"#") {
                Some(prefix) => self.prefixes.push((prefix.to_vec(), index)),
                None => self.exact.entry(filter.to_vec()).or_default().push(index),
            }
            suback.push(body[at + 2 + size]);
            at += size + 3;
        }
        let mut out = vec![0x90, suback.len() as u8];
        out.append(&mut suback);
        self.send(index, &out);
    }

    fn publish(&mut self, index: usize, first: u8, body: &[u8]) -> bool {
        let qos = first >> 1 & 3;
        let topic_end = 2 + (usize::from(body[0]) << 8 | usize::from(body[1]));
        let topic = &body[2..topic_end];
        let number = self.passed_count;
        self.passed_count += 1;
        if self.fault == Fault::HangUp(number) {
            return false;
        }
        if qos > 0 && self.fault != Fault::AcknowledgeNever(number) {
            let kind = if qos == 1 { 0x40 } else { 0x50 };
            self.send(index, &[kind, 2, body[topic_end], body[topic_end + 1]]);
        }
        if self.fault == Fault::AcknowledgeNothing(number) {
            self.send(index, &[0x40, 2, 0xFD, 0xE8]);
        }
        let payload_start = topic_end + if qos > 0 { 2 } else { 0 };
        // Taken out for the time of the walk, so that lines can be written to.
        let exact = self.exact.get_mut(topic).map(std::mem::take);
        for &subscriber in exact.iter().flatten() {
            self.pass(number, subscriber, qos, &body[..topic_end], &body[payload_start..]);
        }
        if let (Some(subscribers), Some(place)) = (exact, self.exact.get_mut(topic)) {
            *place = subscribers;
        }
        for prefix_index in 0..self.prefixes.len() {
            let (prefix, subscriber) = &self.prefixes[prefix_index];
            if topic.starts_with(prefix) {
                let subscriber = *subscriber;
                self.pass(number, subscriber, qos, &body[..topic_end], &body[payload_start..]);
            }
        }
        true
    }

    fn pass(&mut self, number: u64, to: usize, qos: u8, topic: &[u8], payload: &[u8]) {
        match self.fault {
            Fault::Lose(n) if n == number => {}
            Fault::Repeat(n) if n == number => {
                self.deliver(to, qos, topic, payload);
                self.deliver(to, qos, topic, payload);
            }
            Fault::Delay(n) if n == number => {
                self.delayed = Some((to, [topic, payload].concat()));
            }
            Fault::Damage(n) if n == number => {
                let mut damaged = payload.to_vec();
                damaged[20] ^= 0x10;
                self.deliver(to, qos, topic, &damaged);
            }
            Fault::Misroute(n) if n == number => {
                self.deliver(to, qos, topic, payload);
                let others = (0..self.lines.len()).find(|&other| {
                    other != to && self.exact.values().flatten().any(|&known| known == other)
                });
                if let Some(other) = others {
                    self.deliver(other, qos, topic, payload);
                }
            }
            Fault::Babble(n) if n == number => self.send(to, &[0xF0, 0x00]),
            _ => self.deliver(to, qos, topic, payload),
        }
        if self
            .delayed
            .as_ref()
            .is_some_and(|(held_for, _)| *held_for == to && self.fault != Fault::Delay(number))
            && let Some((to, held)) = self.delayed.take()
        {
            let topic_end = 2 + (usize::from(held[0]) << 8 | usize::from(held[1]));
            self.deliver(to, qos, &held[..topic_end], &held[topic_end..]);
        }
    }

    fn deliver(&mut self, to: usize, qos: u8, topic: &[u8], payload: &[u8]) {
        let Some(line) = &mut self.lines[to] else { return };
        let packet_id_size = if qos > 0 { 2 } else { 0 };
        let out = &mut line.output;
        out.push(0x30 | qos << 1);
        let mut remaining = topic.len() + packet_id_size + payload.len();
        while remaining > 127 {
            out.push(remaining as u8 | 0x80);
            remaining >>= 7;
        }
        out.push(remaining as u8);
        out.extend_from_slice(topic);
        if qos > 0 {
            line.packet_id = line.packet_id % 60_000 + 1;
            out.extend_from_slice(&line.packet_id.to_be_bytes());
        }
        out.extend_from_slice(payload);
        self.mark(to);
    }

    fn send(&mut self, to: usize, bytes: &[u8]) {
        if let Some(line) = &mut self.lines[to] {
            line.output.extend_from_slice(bytes);
        }
        self.mark(to);
    }

    fn mark(&mut self, index: usize) {
        if let Some(line) = &mut self.lines[index]
            && !line.is_dirty
        {
            line.is_dirty = true;
            self.dirty.push(index);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        for index in std::mem::take(&mut self.dirty) {
            let Some(line) = &mut self.lines[index] else { continue };
            line.is_dirty = false;
            match line.socket.write(&line.output) {
                Ok(size) if size == line.output.len() => line.output.clear(),
                Ok(size) => drop(line.output.drain(..size)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => line.must_close = true,
            }
            if line.must_close {
                self.close(index);
                continue;
            }
            let is_blocked = !line.output.is_empty();
            if is_blocked != line.is_blocked {
                let interest = if is_blocked { Interest::ReadWrite } else { Interest::Read };
                self.poll.modify(&line.socket, index as u64, interest)?;
                line.is_blocked = is_blocked;
            }
        }
        Ok(())
    }
}

/// The first byte, where the body starts, and where the packet ends.
fn packet(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (mut at, mut remaining, mut shift) = (1, 0, 0);
    loop {
        let digit = *bytes.get(at)?;
        remaining |= usize::from(digit & 0x7F) << shift;
        at += 1;
        shift += 7;
        if digit & 0x80 == 0 {
            break;
        }
    }
    (bytes.len() >= at + remaining).then_some((bytes[0], at, at + remaining))
}

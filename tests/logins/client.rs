//! A client that says what it is told to say.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::support::Broker;

/// Bytes with their length before them.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128 * 128);
    let length = match body.len() {
        short if short < 128 => vec![short as u8],
        long => vec![(long % 128) as u8 | 0x80, (long / 128) as u8],
    };
    [&[first], &length[..], body].concat()
}

/// A client of 5.0 or 3.1.1 that says what is asked and reads answers.
pub struct Client {
    pub stream: TcpStream,
    level: u8,
}

impl Client {
    /// A user whose password is `secret`.
    pub fn log_in(
        broker: &Broker,
        level: u8,
        user: &str,
        will: Option<&str>,
    ) -> Result<Client, u8> {
        Client::enter(broker, level, (Some(user), Some(b"secret")), will)
    }

    /// Whoever says so; the code of CONNACK if it is refused.
    pub fn enter(
        broker: &Broker,
        level: u8,
        credentials: (Option<&str>, Option<&[u8]>),
        will: Option<&str>,
    ) -> Result<Client, u8> {
        Client::over(broker.connect(), level, credentials, will)
    }

    /// The same by a connection.
    pub fn over(
        mut stream: TcpStream,
        level: u8,
        (user, password): (Option<&str>, Option<&[u8]>),
        will: Option<&str>,
    ) -> Result<Client, u8> {
        let flag = |is_given, flag| if is_given { flag } else { 0 };
        let flags = 0x02
            | flag(user.is_some(), 0x80)
            | flag(password.is_some(), 0x40)
            | flag(will.is_some(), 0x04);
        let mut body = [field(b"MQTT"), vec![level, flags, 0, 60]].concat();
        let none: &[u8] = if level == 5 { &[0] } else { &[] };
        body.extend(none);
        body.extend(field(format!("{}-device", user.unwrap_or("some")).as_bytes()));
        if let Some(topic) = will {
            body.extend(none);
            body.extend(field(topic.as_bytes()));
            body.extend(field(b"gone"));
        }
        body.extend(user.map(|user| field(user.as_bytes())).unwrap_or_default());
        body.extend(password.map(field).unwrap_or_default());
        stream.write_all(&packet(0x10, &body)).expect("it reads");
        let mut client = Client { stream, level };
        let (first, body) = client.read();
        assert_eq!(first, 0x20);
        if body[1] == 0 { Ok(client) } else { Err(body[1]) }
    }

    pub fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a packet");
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body).expect("all of it");
        (head[0], body)
    }

    pub fn send(&mut self, first: u8, parts: &[&[u8]]) {
        let body = parts.concat();
        self.stream.write_all(&packet(first, &body)).expect("the broker reads");
    }

    fn properties(&self) -> &'static [u8] {
        if self.level == 5 { &[0] } else { &[] }
    }

    /// Publishes at QoS 1; the reason code of PUBACK, 0 where the version has none.
    pub fn publish(&mut self, topic: &str) -> u8 {
        let properties = self.properties();
        self.send(0x32, &[&field(topic.as_bytes()), &[0, 1], properties, b"hello"]);
        let (first, body) = self.read();
        assert_eq!(first, 0x40, "{body:?}");
        body.get(2).copied().unwrap_or(0)
    }

    /// Subscribes at QoS 1; the code of SUBACK.
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        let properties = self.properties();
        self.send(0x82, &[&[0, 2], properties, &field(filter.as_bytes()), &[1]]);
        let (first, body) = self.read();
        assert_eq!(first, 0x90);
        *body.last().expect("a code")
    }

    /// Whether a message of this topic comes before the answer to a ping that its publisher saw.
    pub fn gets(&mut self, topic: &str) -> bool {
        self.send(0xC0, &[]);
        let mut got = false;
        loop {
            match self.read() {
                (0xD0, _) => return got,
                (first, body) if first >> 4 == 3 => {
                    got |= body[2..].starts_with(topic.as_bytes());
                }
                (first, _) => panic!("{first:#x}"),
            }
        }
    }
}

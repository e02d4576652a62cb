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
    /// What its CONNACK said.
    pub connack: Vec<u8>,
    level: u8,
}

/// How a client comes.
#[derive(Clone, Copy)]
pub struct Entrance<'a> {
    pub level: u8,
    pub client_id: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub will: Option<&'a str>,
    pub will_retained: bool,
    /// Whether an earlier session is forgotten; otherwise this one is kept, before 5.0.
    pub clean: bool,
}

impl Entrance<'_> {
    /// A user whose password is `secret`.
    pub fn of<'a>(level: u8, client_id: &'a str, user: &'a str) -> Entrance<'a> {
        Entrance {
            level,
            client_id,
            user: Some(user),
            password: Some(b"secret"),
            will: None,
            will_retained: false,
            clean: true,
        }
    }

    pub fn packet(&self) -> Vec<u8> {
        let Entrance { level, user, password, will, .. } = *self;
        let flag = |is_given, flag| if is_given { flag } else { 0 };
        let flags = flag(self.clean, 0x02)
            | flag(user.is_some(), 0x80)
            | flag(password.is_some(), 0x40)
            | flag(will.is_some(), 0x04)
            | flag(self.will_retained, 0x20);
        let mut body = [field(b"MQTT"), vec![level, flags, 0, 60]].concat();
        let none: &[u8] = if level == 5 { &[0] } else { &[] };
        body.extend(none);
        body.extend(field(self.client_id.as_bytes()));
        if let Some(topic) = will {
            body.extend(none);
            body.extend(field(topic.as_bytes()));
            body.extend(field(b"gone"));
        }
        body.extend(user.map(|user| field(user.as_bytes())).unwrap_or_default());
        body.extend(password.map(field).unwrap_or_default());
        packet(0x10, &body)
    }
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
        stream: TcpStream,
        level: u8,
        (user, password): (Option<&str>, Option<&[u8]>),
        will: Option<&str>,
    ) -> Result<Client, u8> {
        let client_id = format!("{}-device", user.unwrap_or("some"));
        let (will_retained, clean, client_id) = (false, true, &*client_id);
        Client::come(
            stream,
            &Entrance { level, client_id, user, password, will, will_retained, clean },
        )
    }

    /// Comes by a connection; the code of CONNACK if it is refused.
    pub fn come(mut stream: TcpStream, entrance: &Entrance<'_>) -> Result<Client, u8> {
        stream.write_all(&entrance.packet()).expect("it reads");
        let mut client = Client { stream, connack: Vec::new(), level: entrance.level };
        let (first, body) = client.read();
        assert_eq!(first, 0x20);
        client.connack = body;
        if client.connack[1] == 0 { Ok(client) } else { Err(client.connack[1]) }
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

    /// Ends its connection and sees it end.
    pub fn leave(mut self) {
        self.send(0xE0, &[]);
        let _ = self.stream.read_to_end(&mut Vec::new());
    }

    pub fn properties(&self) -> &'static [u8] {
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

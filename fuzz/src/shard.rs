//! A shard under clients that send what the fuzzer says.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hawker::shard::{
    ConnectionId, Input, Listener, Output, Peer, Policy, Seed, Shard, ShardId, ShardOptions,
    WriteBatch,
};
use hawker::time::Time;

/// Clients that are connected at once.
const CLIENTS: usize = 4;

/// What every client begins with, so that the fuzzer need not find it out: 5.0, a client id of
/// its own, a session that is kept for a second.
const CONNECT: &[u8] =
    &[0x10, 20, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 1, 5, 0x11, 0, 0, 0, 1, 0, 2, b'c', b'0'];

struct World {
    shard: Shard,
    now: u64,
    clients: [Option<ConnectionId>; CLIENTS],
    generation: u32,
    written: Vec<(ConnectionId, WriteBatch)>,
}

/// Reads `stream` as steps: a byte that says who does what, then what it sends.
///
/// Panics if the shard does, or if it holds a connection or a session after everybody has left
/// and every session has expired.
pub fn drive_shard(stream: &[u8]) {
    let mut world = World::new();
    let mut rest = stream;
    while let [step, tail @ ..] = rest {
        let client = usize::from(step & 3);
        match step >> 2 & 7 {
            0 => world.leave(client),
            1 => world.pass(u64::from(*step >> 5) * 400_000),
            2 => world.confirm_writes(),
            _ => {
                let Some((length, tail)) = tail.split_first() else { break };
                let (bytes, tail) = tail.split_at(usize::from(*length).min(tail.len()));
                world.send(client, bytes);
                rest = tail;
                continue;
            }
        }
        rest = tail;
    }
    world.end();
}

impl World {
    fn new() -> World {
        let now = 1_000_000;
        let mut policy = Policy::default();
        policy.mqtt.session_expiry_s_max = 1;
        policy.mqtt.queue_messages_max = 16;
        policy.mqtt.receive_maximum = 8;
        let shard = Shard::new(ShardOptions {
            id: ShardId(0),
            count: 1,
            policy: Arc::new(policy),
            log: None,
            seed: Seed { placement: [1; 4], private: [2; 4] },
            now: Time::from_micros(now),
        });
        World { shard, now, clients: [None; CLIENTS], generation: 0, written: Vec::new() }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.shard.handle(Time::from_micros(self.now), input);
        while let Some(output) = self.shard.poll() {
            match output {
                Output::Write { connection, batch } => self.written.push((connection, batch)),
                Output::Close { connection, .. } => self.forget(connection),
                Output::Move { .. } | Output::Lane { .. } => unreachable!("there is one shard"),
                Output::Log(_) | Output::LogDamaged(_) => unreachable!("there is no log"),
                Output::Ask { .. } | Output::Consult { .. } | Output::AskRules { .. } => {
                    unreachable!("nobody is asked")
                }
                Output::Event(_) => unreachable!("nobody listens"),
                Output::LoginFailed(_) | Output::PauseReading(_) | Output::ResumeReading(_) => {}
            }
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.written.retain(|(other, _)| *other != connection);
        for client in &mut self.clients {
            if *client == Some(connection) {
                *client = None;
            }
        }
    }

    fn connection(&mut self, client: usize) -> ConnectionId {
        if let Some(connection) = self.clients[client] {
            return connection;
        }
        self.generation += 1;
        let connection = ConnectionId { slot: client as u32, generation: self.generation };
        self.clients[client] = Some(connection);
        let peer = Peer {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            listener: Listener { index: 0, loopback: true },
        };
        self.handle(Input::Accepted { connection, peer, certificate: None });
        let mut connect = CONNECT.to_vec();
        *connect.last_mut().expect("it has bytes") += client as u8;
        self.handle(Input::Received { connection, bytes: &connect });
        connection
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let connection = self.connection(client);
        if !bytes.is_empty() {
            self.handle(Input::Received { connection, bytes });
        }
    }

    fn leave(&mut self, client: usize) {
        if let Some(connection) = self.clients[client] {
            self.handle(Input::Closed { connection });
        }
        // What it asked for is acted on as its answers leave.
        while self.clients[client].is_some() {
            self.confirm_writes();
        }
    }

    fn confirm_writes(&mut self) {
        for (connection, batch) in std::mem::take(&mut self.written) {
            self.handle(Input::Sent { connection, batch });
        }
    }

    fn pass(&mut self, micros: u64) {
        self.now += micros;
        self.handle(Input::Timeout);
    }

    fn end(mut self) {
        for client in 0..CLIENTS {
            self.leave(client);
        }
        for _ in 0..4 {
            self.pass(1_000_000);
        }
        let census = self.shard.census();
        assert_eq!((census.connections, census.sessions), (0, 0), "everybody has left");
        assert_eq!((census.subscriptions, census.filters), (0, 0), "nobody is subscribed");
        assert_eq!((census.groups, census.group_queued), (0, 0), "no group has a member");
    }
}

//! What tests of the core begin with.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{
    ConnectionId, Input, Listener, Peer, Policy, Restored, Seed, Shard, ShardId, ShardOptions,
};
use crate::proto::Connect;
use crate::storage::Log;
use crate::time::Time;

/// When everything happens.
pub const NOW: Time = Time::from_micros(1_790_000_000_000_000);

/// The first of so many shards, with the defaults of the configuration.
pub fn shard(count: usize, log: Option<(Log, Restored)>) -> Shard {
    let seed = Seed { placement: [1; 4], private: [2; 4] };
    let policy = Arc::new(Policy::default());
    Shard::new(ShardOptions { id: ShardId(0), count, policy, log, seed, now: NOW })
}

/// A connection from this machine comes.
pub fn accept(now: Time, shard: &mut Shard, connection: ConnectionId) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let peer = Peer { address, listener: Listener { index: 0, loopback: true } };
    shard.handle(now, Input::Accepted { connection, peer, certificate: None });
}

/// A client of this machine comes and says this, and perhaps more.
pub fn connect(shard: &mut Shard, connection: ConnectionId, connect: &Connect<'_>, more: &[u8]) {
    connect_at(NOW, shard, connection, connect, more);
}

/// The same, at another time.
pub fn connect_at(
    now: Time,
    shard: &mut Shard,
    connection: ConnectionId,
    connect: &Connect<'_>,
    more: &[u8],
) {
    accept(now, shard, connection);
    let mut bytes = Vec::new();
    connect.encode(&mut bytes);
    bytes.extend(more);
    shard.handle(now, Input::Received { connection, bytes: &bytes });
}

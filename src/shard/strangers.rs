//! What strangers take: connections whose clients are not let in yet hold the part of a CONNECT that
//! has come, or all of it while they are asked about. Together they hold so much at most.
//!
//! Beyond that whoever holds most is let go. Honest clients say a CONNECT in one go, of some hundred
//! bytes; who fills memory has to hold much, in each of its connections, and of these one is always
//! larger than an honest client's. Not reading from strangers would be no way out: all of them would
//! wait for those who never end.

use std::collections::BTreeSet;

use super::Shard;
use super::connection::{Connection, Phase};
use super::effect::ConnectionId;
use super::limit::Limit;
use crate::time::Time;

/// However many shards there are, each has room for the largest CONNECT and what comes behind it.
const SHARE_BYTES_MIN: u64 = 1 << 20;

/// Invariants: `bytes` is the sum of what `by_bytes` says, which has each connection that holds
/// something once, as its `stranger_bytes` says.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    bytes: u64,
    by_bytes: BTreeSet<(u32, ConnectionId)>,
}

impl Strangers {
    fn put(&mut self, id: ConnectionId, before: u32, after: u32) {
        if before > 0 {
            self.by_bytes.remove(&(before, id));
        }
        if after > 0 {
            self.by_bytes.insert((after, id));
        }
        self.bytes = self.bytes - u64::from(before) + u64::from(after);
    }

    /// A connection is gone, or its client was let in.
    pub(super) fn forget(&mut self, connection: &mut Connection) {
        self.put(connection.id, std::mem::take(&mut connection.stranger_bytes), 0);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Connection {
    /// What is held for it until its client is let in.
    fn held_bytes(&self) -> u32 {
        let packet = match &self.phase {
            Phase::AwaitConnect => 0,
            Phase::Authenticating(authenticating) => authenticating.connect.len(),
            Phase::Verifying(verifying) => verifying.connect.len(),
            Phase::Active(_) => return 0,
        };
        u32::try_from(packet + self.partial.len()).unwrap_or(u32::MAX)
    }
}

impl Shard {
    /// A stranger has said more: if all of them hold too much by now, whoever holds most is let go.
    pub(super) fn weigh_stranger(&mut self, now: Time, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let held = connection.held_bytes();
        let before = std::mem::replace(&mut connection.stranger_bytes, held);
        self.strangers.put(id, before, held);
        let most = self.mqtt().connect_memory_bytes_max / self.count as u64;
        let most = most.max(SHARE_BYTES_MIN);
        while self.strangers.bytes > most
            && let Some(&(_, greatest)) = self.strangers.by_bytes.last()
        {
            self.metrics.strangers_let_go_total += 1;
            self.reached(Limit::ConnectMemory, "connections with large CONNECTs are let go");
            self.close(now, greatest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::{Asks, Verdict};
    use crate::config::Mqtt;
    use crate::proto::{Connect, Version};
    use crate::shard::fixture::{self, NOW};
    use crate::shard::{Input, Output, Policy};

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 1 }
    }

    /// The connections that were closed.
    fn closed(shard: &mut Shard) -> Vec<u32> {
        let mut closed = Vec::new();
        while let Some(output) = shard.poll() {
            if let Output::Close { connection, .. } = output {
                closed.push(connection.slot);
            }
        }
        closed
    }

    #[test]
    fn who_holds_most_is_let_go_and_who_is_let_in_holds_nothing() {
        let mut shard = fixture::shard(1, None);
        let mqtt = Mqtt { connect_memory_bytes_max: 1 << 20, ..Mqtt::default() };
        shard.policy = Arc::new(Policy { mqtt, asks: Asks::Credentials, ..Policy::default() });
        // 384 KiB - 1 behind a head of four bytes.
        let most = [&[0x10, 0xFB, 0xFF, 0x17][..], &vec![0; 350_000]].concat();
        let say = |shard: &mut Shard, slot: u32, bytes: &[u8]| {
            shard.handle(NOW, Input::Received { connection: id(slot), bytes });
        };
        for slot in 0..4 {
            fixture::accept(NOW, &mut shard, id(slot));
        }
        say(&mut shard, 0, &[0x10, 40, 0]);
        for slot in 1..3 {
            say(&mut shard, slot, &most);
        }
        assert_eq!((closed(&mut shard), shard.strangers.bytes()), (vec![], 3 + 2 * 350_004));
        say(&mut shard, 3, &most[..349_000]);
        assert_eq!(closed(&mut shard), [2], "of two that are as large");
        assert_eq!(shard.metrics().strangers_let_go_total, 1);
        // Who waits for a verdict holds its packet; who is refused or let in nothing.
        let mut connect = Connect::new(Version::V5, "ann");
        connect.credentials.user_name = Some("ann");
        fixture::connect(&mut shard, id(4), &connect, &[]);
        let held = 3 + 350_004 + 349_000;
        assert!(shard.strangers.bytes() > held, "the CONNECT");
        let verdict = Verdict::Deny;
        shard.handle(NOW, Input::Verdict { connection: id(4), verdict });
        assert_eq!(shard.strangers.bytes(), held);
        connect.credentials.user_name = None;
        shard.policy = Arc::new(Policy::default());
        fixture::connect(&mut shard, id(5), &connect, &[]);
        assert_eq!(shard.strangers.bytes(), held);
        for slot in [0, 1, 3] {
            shard.handle(NOW, Input::Closed { connection: id(slot) });
        }
        assert_eq!((shard.strangers.bytes(), shard.strangers.by_bytes.len()), (0, 0));
    }
}

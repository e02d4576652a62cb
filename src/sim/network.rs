//! Connections as byte streams that are cut anywhere, delayed, and lost.

use std::collections::VecDeque;

use super::random::Random;
use crate::shard::{ConnectionId, WriteBatch};

/// One network connection, from the client's socket to the shard that has it.
pub(super) struct Link {
    /// Whose.
    pub(super) owner: Owner,
    pub(super) place: Place,
    /// Client to broker.
    pub(super) up: Pipe,
    /// Broker to client.
    pub(super) down: Pipe,
    /// Bytes the broker's kernel holds for the shard.
    pub(super) arrived: Vec<u8>,
    /// The client's end of stream arrived behind them.
    pub(super) finished: bool,
    /// Reading is paused; so many reads that were under way already still come.
    pub(super) paused: Option<u32>,
    /// Reading was paused at some time: what the shard was handed it may not have looked at.
    pub(super) was_paused: bool,
    /// Bytes handed along from the shard that accepted the connection.
    pub(super) unread: Vec<u8>,
    /// What the client has sent and what the shard has been handed of it, in bytes.
    pub(super) sent: u64,
    pub(super) handed: u64,
    /// A write whose end has not been told.
    pub(super) writing: bool,
    /// What was written and is to be given back.
    pub(super) outstanding: VecDeque<(ConnectionId, WriteBatch)>,
    /// The client does not look at this connection any more.
    pub(super) abandoned: bool,
    /// The client does not read for now; what arrives waits here with the time it was written.
    pub(super) deaf: bool,
    pub(super) unheard: VecDeque<(Vec<u8>, u64)>,
    /// Why the broker may end it.
    pub(super) excused: bool,
    /// When the shard was last handed something.
    pub(super) handed_at: u64,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A client with an account, by its index.
    Client(usize),
    /// One without.
    Stranger(usize),
}

/// Which shard has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its way to a shard: accepted, or moved.
    Arriving(usize),
    /// There.
    At(usize, ConnectionId),
    /// Nowhere: closed at the broker's end.
    Gone,
}

/// One direction of a stream.
#[derive(Default)]
pub(super) struct Pipe {
    pieces: VecDeque<(Vec<u8>, u64)>,
    last_arrival: u64,
}

impl Link {
    pub(super) fn new(owner: Owner, shard: usize) -> Link {
        Link {
            owner,
            place: Place::Arriving(shard),
            up: Pipe::default(),
            down: Pipe::default(),
            arrived: Vec::new(),
            finished: false,
            paused: None,
            was_paused: false,
            unread: Vec::new(),
            sent: 0,
            handed: 0,
            writing: false,
            outstanding: VecDeque::new(),
            abandoned: false,
            deaf: false,
            unheard: VecDeque::new(),
            excused: false,
            handed_at: 0,
        }
    }

    /// Whether the shard was handed, and has looked at, everything the client ever sent.
    pub(super) fn is_heard(&self) -> bool {
        self.handed == self.sent && !self.was_paused
    }

    /// Everything that no shard has seen yet is lost.
    pub(super) fn lose_arriving(&mut self) {
        self.up.pieces.clear();
        self.arrived.clear();
    }
}

impl Pipe {
    /// Hands over bytes that are `stamp`ed with a time; the answer is when each piece arrives.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        now: u64,
        delay_max: u64,
        random: &mut Random,
    ) -> Vec<u64> {
        let mut rest = bytes;
        let mut arrivals = Vec::new();
        while !rest.is_empty() {
            let whole = random.chance(700) || arrivals.len() > 8;
            let length =
                if whole { rest.len() } else { random.between(1, rest.len() as u64) as usize };
            let (piece, after) = rest.split_at(length);
            rest = after;
            self.pieces.push_back((piece.to_vec(), now));
            arrivals.push(self.arrival(now, delay_max, random));
        }
        arrivals
    }

    /// When something sent now arrives: behind everything sent before.
    pub(super) fn arrival(&mut self, now: u64, delay_max: u64, random: &mut Random) -> u64 {
        self.last_arrival = self.last_arrival.max(now + random.below(delay_max + 1));
        self.last_arrival
    }

    /// The next piece arrives; nothing if it was lost.
    pub(super) fn arrive(&mut self) -> Option<(Vec<u8>, u64)> {
        self.pieces.pop_front()
    }

    /// The last of what is on its way is lost, and all behind it.
    pub(super) fn lose_tail(&mut self, random: &mut Random) {
        let kept = random.below(self.pieces.len() as u64 + 1) as usize;
        self.pieces.truncate(kept);
    }
}

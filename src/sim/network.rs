//! Connections as byte streams that are cut anywhere, delayed, and lost.

use std::collections::VecDeque;

use super::host::News;
use super::random::Random;
use super::wire;
use super::world::{Event, World};
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
    /// The shard was told of it.
    pub(super) told_end: bool,
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
            told_end: false,
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

impl World {
    pub(super) fn send_down(&mut self, link: usize, batch: &WriteBatch) {
        let mut bytes = Vec::with_capacity(batch.len());
        batch.slices().for_each(|slice| bytes.extend_from_slice(slice));
        self.trace.bytes(&bytes);
        self.describe(link, "is written", &bytes);
        let bytes = self.saboteur.downstream(bytes);
        self.put_down(link, &bytes);
    }

    fn describe(&mut self, link: usize, what: &str, bytes: &[u8]) {
        let (owner, now) = (self.links[link].owner, self.now);
        self.trace
            .event(now, format_args!("link {link} of {owner:?} {what} {} bytes", bytes.len()));
        if let (Owner::Client(client), true) = (owner, self.trace.is_written()) {
            let words = wire::describe(self.clients[client].protocol, bytes);
            self.trace.event(now, format_args!("  {words}"));
        }
    }

    /// Bytes on their way to the client, if it is still there to take them.
    fn put_down(&mut self, link: usize, bytes: &[u8]) {
        if self.links[link].abandoned {
            return;
        }
        let (now, delay) = (self.now, self.delays.network);
        for at in self.links[link].down.send(bytes, now, delay, &mut self.network) {
            self.plan_event(at, Event::Down(link));
        }
    }

    /// A new link; it reaches some shard some time later.
    pub(super) fn open(&mut self, owner: Owner) -> usize {
        let shard = self.network.below(self.plan.shards as u64) as usize;
        self.links.push(Link::new(owner, shard));
        let link = self.links.len() - 1;
        let at = self.now + self.network.below(self.delays.moving + 1);
        self.plan_event(at, Event::Arrive(link));
        link
    }

    /// A client sends.
    pub(super) fn send_up(&mut self, link: usize, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let (now, delay) = (self.now, self.delays.network);
        let mut bytes = bytes;
        if let Owner::Client(client) = self.links[link].owner {
            self.clients[client].last_sent_at = now;
            let is_v5 = self.workloads[client].is_v5();
            let (sent, forged) = self.saboteur.upstream(bytes, is_v5);
            bytes = sent;
            self.put_down(link, &forged);
        }
        self.describe(link, "sends", &bytes);
        self.links[link].sent += bytes.len() as u64;
        for at in self.links[link].up.send(&bytes, now, delay, &mut self.network) {
            self.plan_event(at, Event::Up(link));
        }
    }

    pub(super) fn up(&mut self, link: usize) {
        if let Some((bytes, _)) = self.links[link].up.arrive() {
            self.links[link].arrived.extend_from_slice(&bytes);
            self.tell_holder(link, News::Readable(link));
        }
    }

    /// The client closes its end; what it sent still arrives.
    pub(super) fn finish(&mut self, link: usize) {
        self.links[link].abandoned = true;
        let (now, delay) = (self.now, self.delays.network);
        let at = self.links[link].up.arrival(now, delay, &mut self.network);
        self.plan_event(at, Event::UpEnd(link));
    }

    /// The link breaks; of what the client sent a part still arrives, or nothing.
    pub(super) fn break_off(&mut self, link: usize, keeps_some: bool) {
        self.seen.resets += 1;
        self.links[link].abandoned = true;
        if keeps_some {
            self.links[link].up.lose_tail(&mut self.network);
            let (now, delay) = (self.now, self.delays.network);
            let at = self.links[link].up.arrival(now, delay, &mut self.network);
            self.plan_event(at, Event::UpEnd(link));
        } else {
            let at = self.now + self.network.below(self.delays.network + 1);
            self.plan_event(at, Event::Reset(link));
        }
    }

    pub(super) fn reset(&mut self, link: usize) {
        self.links[link].lose_arriving();
        self.links[link].finished = true;
        match self.links[link].place {
            Place::At(shard, _) => self.tell(shard, News::Closed(link)),
            // It is told when it arrives: the stream has ended.
            Place::Arriving(_) | Place::Gone => {}
        }
    }

    pub(super) fn down(&mut self, link: usize) {
        let Some((bytes, written_at)) = self.links[link].down.arrive() else { return };
        if self.links[link].deaf {
            self.links[link].unheard.push_back((bytes, written_at));
        } else {
            self.hear(link, &bytes, written_at);
        }
    }

    /// A client that did not read catches up.
    pub(super) fn listen(&mut self, link: usize) {
        self.links[link].deaf = false;
        while let Some((bytes, written_at)) = self.links[link].unheard.pop_front() {
            self.hear(link, &bytes, written_at);
        }
    }
}

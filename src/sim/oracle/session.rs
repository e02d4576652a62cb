//! What the oracle knows of a client's session: its subscriptions, and what it was sent.
//!
//! A subscription comes into being at some moment between SUBSCRIBE and SUBACK and ends at some
//! moment between UNSUBSCRIBE and UNSUBACK. The oracle does not know when; it keeps both bounds
//! and asks either whether a subscription *surely* existed throughout or whether it *possibly*
//! existed at some moment.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{MessageId, Tick};

/// One session of a client, from the CONNECT that began it to the one that replaced it.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Session {
    /// The client, by index.
    pub(in crate::sim) client: usize,
    /// Seconds it outlives its connection: at least, at most. A DISCONNECT that may have been
    /// lost and changed it makes them differ.
    pub(in crate::sim) expiry: (u32, u32),
    /// Microseconds when its connection ended: at the earliest, at the latest.
    pub(in crate::sim) detached: Option<(u64, u64)>,
    /// The link it was last seen on.
    pub(in crate::sim) link: usize,
    /// A CONNECT was sent that ends it.
    pub(in crate::sim) leaving: Option<Tick>,
    /// It is over.
    pub(in crate::sim) gone: Option<Tick>,
    pub(in crate::sim) holdings: Vec<Holding>,
    /// What reached the client, by message.
    pub(in crate::sim) copies: BTreeMap<MessageId, Copies>,
    /// Empty messages that reached the client, by topic.
    pub(in crate::sim) clears: BTreeMap<String, Vec<Tick>>,
    /// The latest message delivered of a publisher, at a QoS published and a QoS delivered.
    pub(in crate::sim) latest: BTreeMap<(usize, u8, u8), MessageId>,
    /// Messages published to be retained that reached the client live, by topic. Those it got at
    /// QoS 0 are not here, for they may pass messages of higher QoS that wait for its window, nor
    /// those that a group may have given to it.
    pub(in crate::sim) live_retained: BTreeMap<String, BTreeSet<MessageId>>,
    /// The last use of each packet identifier towards the client.
    pub(in crate::sim) flights: BTreeMap<u16, Flight>,
}

/// How often a message reached a session, retransmissions not counted.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::sim) struct Copies {
    /// With the retain flag clear.
    pub(in crate::sim) live: u32,
    /// With the retain flag set.
    pub(in crate::sim) flagged: u32,
}

impl Copies {
    pub(in crate::sim) fn total(self) -> u32 {
        self.live + self.flagged
    }
}

/// A QoS 1 or 2 message on its way to the client.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Flight {
    pub(in crate::sim) content: Content,
    pub(in crate::sim) qos: u8,
    /// The link it last came by.
    pub(in crate::sim) link: usize,
    pub(in crate::sim) stage: Stage,
    /// It may have been taken back: a group's may be another member's now, and one that its
    /// publisher was not told to be kept may be lost in a crash.
    pub(in crate::sim) revocable: bool,
}

/// What a PUBLISH carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Content {
    Message(MessageId),
    /// An empty message on this topic.
    Clear(String),
    /// Something a hostile client made up.
    Foreign,
}

/// How far the client has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Stage {
    /// PUBLISH received.
    Received,
    /// PUBREL received.
    Released,
    /// PUBACK or PUBCOMP sent.
    Done,
}

/// A subscription of a session.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Holding {
    pub(in crate::sim) key: FilterKey,
    pub(in crate::sim) asked: Tick,
    pub(in crate::sim) sure: Option<Tick>,
    pub(in crate::sim) leaving: Option<Tick>,
    pub(in crate::sim) gone: Option<Tick>,
    /// Its options, oldest first; a SUBSCRIBE with the same filter replaces them.
    pub(in crate::sim) versions: Vec<Options>,
}

/// A topic filter, and the group that shares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct FilterKey {
    pub(in crate::sim) group: Option<String>,
    pub(in crate::sim) filter: String,
}

impl FilterKey {
    /// As it is written in a SUBSCRIBE.
    pub(in crate::sim) fn text(&self) -> String {
        match &self.group {
            Some(group) => format!("$share/{group}/{}", self.filter),
            None => self.filter.clone(),
        }
    }
}

/// What a SUBSCRIBE asks for one filter, and since when it may and does apply.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Options {
    pub(in crate::sim) qos: u8,
    pub(in crate::sim) no_local: bool,
    pub(in crate::sim) retain_as_published: bool,
    pub(in crate::sim) retain_handling: u8,
    pub(in crate::sim) subscription_id: Option<u32>,
    pub(in crate::sim) asked: Tick,
    pub(in crate::sim) sure: Option<Tick>,
}

impl Options {
    /// The options byte of a SUBSCRIBE.
    pub(in crate::sim) fn byte(&self) -> u8 {
        self.qos
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | self.retain_handling << 4
    }
}

impl Holding {
    /// Whether it may have existed at some moment of `from..=to`.
    pub(in crate::sim) fn possible(&self, from: Tick, to: Tick) -> bool {
        self.asked <= to && self.gone.is_none_or(|gone| gone >= from)
    }

    /// Whether it existed at every moment of `from..=to`.
    pub(in crate::sim) fn certain(&self, from: Tick, to: Tick) -> bool {
        self.sure.is_some_and(|sure| sure <= from) && self.leaving.is_none_or(|at| at > to)
    }

    /// The options that may have applied at some moment of `from..=to`.
    pub(in crate::sim) fn options(&self, from: Tick, to: Tick) -> impl Iterator<Item = &Options> {
        self.versions.iter().enumerate().filter_map(move |(index, options)| {
            let replaced = self.versions[index + 1..].iter().find_map(|next| next.sure);
            (options.asked <= to && replaced.is_none_or(|at| at >= from)).then_some(options)
        })
    }
}

impl Session {
    pub(in crate::sim) fn new(client: usize, expiry: u32, link: usize) -> Session {
        Session {
            client,
            expiry: (expiry, expiry),
            detached: None,
            link,
            leaving: None,
            gone: None,
            holdings: Vec::new(),
            copies: BTreeMap::new(),
            clears: BTreeMap::new(),
            latest: BTreeMap::new(),
            live_retained: BTreeMap::new(),
            flights: BTreeMap::new(),
        }
    }

    /// Microseconds from which on it may be over, and from which on it is.
    pub(in crate::sim) fn ends(&self) -> (u64, u64) {
        let after = |at: u64, seconds: u32| match seconds {
            u32::MAX => u64::MAX,
            seconds => at.saturating_add(u64::from(seconds) * 1_000_000),
        };
        match self.detached {
            Some((first, last)) => (after(first, self.expiry.0), after(last, self.expiry.1)),
            None => (u64::MAX, u64::MAX),
        }
    }

    /// Its connection ended at `at`, or possibly before.
    pub(in crate::sim) fn detach(&mut self, at: u64) {
        self.detached = match self.detached {
            Some((first, _)) => Some((first, at)),
            None => Some((at, at)),
        };
    }

    /// It is replaced: nothing is owed to it any more.
    pub(in crate::sim) fn end(&mut self, tick: Tick) {
        self.leaving.get_or_insert(tick);
        self.gone = Some(tick);
        for holding in &mut self.holdings {
            holding.leaving.get_or_insert(tick);
            holding.gone.get_or_insert(tick);
        }
    }

    /// The CONNECT that will end it is on its way.
    pub(in crate::sim) fn leave(&mut self, tick: Tick) {
        self.leaving.get_or_insert(tick);
        for holding in &mut self.holdings {
            holding.leaving.get_or_insert(tick);
        }
    }

    /// The subscription with this key that was not given up.
    pub(in crate::sim) fn holding(&mut self, key: &FilterKey) -> Option<&mut Holding> {
        self.holdings.iter_mut().find(|h| h.key == *key && h.leaving.is_none() && h.gone.is_none())
    }

    /// Every options it ever asked for with a filter.
    pub(in crate::sim) fn options_of(&self, key: &FilterKey) -> impl Iterator<Item = &Options> {
        self.holdings.iter().filter(move |h| h.key == *key).flat_map(|h| &h.versions)
    }

    /// The SUBSCRIBE of `asked` was answered: what it asked for holds, unless an UNSUBSCRIBE sent
    /// after it was answered before; and what was given up before it is gone.
    pub(in crate::sim) fn grant(&mut self, key: &FilterKey, asked: Tick, tick: Tick) {
        let at = self.holdings.iter().position(|holding| {
            holding.key == *key && holding.versions.iter().any(|version| version.asked == asked)
        });
        let Some(at) = at else { return };
        for older in self.holdings[..at].iter_mut().filter(|older| older.key == *key) {
            older.gone.get_or_insert(tick);
        }
        let holding = &mut self.holdings[at];
        if holding.gone.is_some() {
            return;
        }
        holding.sure.get_or_insert(tick);
        for version in holding.versions.iter_mut().filter(|version| version.asked == asked) {
            version.sure = Some(tick);
        }
    }
}

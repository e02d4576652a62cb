//! What an operator follows for a while: one client, the topics of a filter, or an address.
//!
//! A shard holds [`TRACES_MAX`] traces, each with a bounded buffer that whoever started it drains
//! between turns. Without any, the way of a message pays for one look at [`Traces::is_on`]; with
//! one, connections that are followed are marked, and topics are compared with its filter. What
//! finds no room in a buffer is counted and not noted: nobody waits for a trace.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::Network;
use crate::proto::{PacketId, PacketType, QoS, ReasonCode, TopicFilter};
use crate::time::Time;

/// Traces that run at a time: a bit each in the mark of a connection.
pub const TRACES_MAX: usize = 8;

/// What one shard holds of one trace until it is drained.
const EVENTS_MAX: usize = 8192;
const BYTES_MAX: usize = 2 << 20;

/// Names a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub u64);

/// What is followed, how long and how closely.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its name.
    pub id: TraceId,
    /// What is followed.
    pub subject: Subject,
    /// Nothing is noted from then on.
    pub ends: Time,
    /// Bytes of payloads that are noted.
    pub payload_bytes_max: usize,
}

/// What a trace follows.
#[derive(Clone, Debug)]
pub enum Subject {
    /// One client, connected or away.
    Client(Arc<str>),
    /// Messages to topics that this filter matches, whoever publishes and gets them.
    Topic(Arc<str>),
    /// Everybody who connects from there.
    Address(Network),
}

/// What is done about a trace.
#[derive(Clone, Debug)]
pub enum TraceOrder {
    /// It begins.
    Start(Arc<Trace>),
    /// It ends; what was not drained is gone.
    Stop(TraceId),
}

/// Something that happened to what is followed.
#[derive(Clone, Debug)]
pub struct TraceEvent {
    /// When.
    pub at: Time,
    /// What.
    pub step: Step,
    /// Whose packet it is, or who is meant.
    pub client_id: Option<Arc<str>>,
    /// Where it is connected from.
    pub address: Option<SocketAddr>,
    /// Of the packet.
    pub packet_id: Option<PacketId>,
    /// Of the packet or decision.
    pub reason: Option<ReasonCode>,
    /// The message, if it is about one.
    pub message: Option<TracedMessage>,
    /// More of it, in words.
    pub detail: Option<Box<str>>,
}

/// A message as a trace shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedMessage {
    /// Its topic.
    pub topic: Box<str>,
    /// At which QoS.
    pub qos: QoS,
    /// Its retain flag.
    pub retain: bool,
    /// Whether it is sent again.
    pub dup: bool,
    /// Bytes of topic, properties and payload.
    pub bytes: usize,
    /// The beginning of its payload, as far as the trace asks for it.
    pub payload: Box<[u8]>,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A packet came from a client.
    Received(PacketType),
    /// A packet goes to a client.
    Sent(PacketType),
    /// The broker decided something.
    Decided(Decision),
}

/// What the broker decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Who it is is being asked.
    Asked,
    /// It is not let in, or its packet or message is not taken.
    Refused,
    /// Who wants a message was found.
    Routed,
    /// A message waits for its client.
    Queued,
    /// A client acknowledged a message.
    Delivered,
    /// A message is lost.
    Dropped,
    /// Nothing is read from a connection for a while.
    Paused,
    /// A newer connection has the client's session.
    TakenOver,
    /// A connection is over.
    Closed,
    /// A session is over.
    SessionEnded,
    /// The will of a client is published.
    WillPublished,
}

/// What was noted since the last time.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    /// In their order.
    pub events: Vec<TraceEvent>,
    /// Those that found no room.
    pub lost: u64,
}

/// The running traces of a shard.
///
/// Invariant: bit n of `running` is set if `slots[n]` holds a trace, and of `topics` if that
/// follows topics.
#[derive(Debug, Default)]
pub struct Traces {
    slots: [Option<Box<Running>>; TRACES_MAX],
    running: u8,
    topics: u8,
}

#[derive(Debug)]
struct Running {
    trace: Arc<Trace>,
    traced: Traced,
    bytes: usize,
}

impl Traces {
    /// Whether any runs.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.running != 0
    }

    /// Whether any follows topics.
    #[inline]
    pub fn follows_topics(&self) -> bool {
        self.topics != 0
    }

    /// Begins one; the bit that marks what it follows, unless there is no room for it.
    pub fn start(&mut self, trace: Arc<Trace>) -> Option<u8> {
        let index = self.slots.iter().position(Option::is_none)?;
        let bit = 1 << index;
        self.running |= bit;
        if matches!(trace.subject, Subject::Topic(_)) {
            self.topics |= bit;
        }
        self.slots[index] = Some(Box::new(Running { trace, traced: Traced::default(), bytes: 0 }));
        self.invariants();
        Some(bit)
    }

    pub fn stop(&mut self, id: TraceId) {
        let is_it = |slot: &Option<Box<Running>>| {
            slot.as_ref().is_some_and(|running| running.trace.id == id)
        };
        let Some(index) = self.slots.iter().position(is_it) else { return };
        self.slots[index] = None;
        self.running &= !(1 << index);
        self.topics &= !(1 << index);
        self.invariants();
    }

    /// What was noted of a trace since the last time; nothing if it does not run here.
    pub fn take(&mut self, id: TraceId) -> Option<Traced> {
        let running = self.slots.iter_mut().flatten().find(|running| running.trace.id == id)?;
        running.bytes = 0;
        Some(std::mem::take(&mut running.traced))
    }

    /// Bits of the traces that follow a client or its address.
    pub fn of_client(&self, client_id: Option<&str>, address: Option<IpAddr>) -> u8 {
        self.bits(|subject| match subject {
            Subject::Client(followed) => client_id == Some(followed),
            Subject::Address(network) => address.is_some_and(|one| network.contains(one)),
            Subject::Topic(_) => false,
        })
    }

    /// Bits of the traces that follow a topic.
    pub fn of_topic(&self, topic: &str) -> u8 {
        self.of_topics(|followed| {
            TopicFilter::new(followed).is_ok_and(|filter| filter.matches(topic))
        })
    }

    /// Bits of the traces that follow topics, as `is_meant` says of their filters.
    pub fn of_topics(&self, is_meant: impl Fn(&str) -> bool) -> u8 {
        if self.topics == 0 {
            return 0;
        }
        self.bits(|subject| matches!(subject, Subject::Topic(followed) if is_meant(followed)))
    }

    /// The marks of traces that still run.
    pub fn live(&self, marks: u8) -> u8 {
        marks & self.running
    }

    /// Notes something for the traces of these bits; each is told as much of the payload as it
    /// asks for.
    #[cold]
    pub fn note(&mut self, bits: u8, event: impl Fn(usize) -> TraceEvent) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(running) = slot.as_deref_mut().filter(|_| bits & 1 << index != 0) else {
                continue;
            };
            running.note(event(running.trace.payload_bytes_max));
        }
    }

    fn bits(&self, is_meant: impl Fn(&Subject) -> bool) -> u8 {
        let mut bits = 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let subject = slot.as_ref().map(|running| &running.trace.subject);
            bits |= u8::from(subject.is_some_and(&is_meant)) << index;
        }
        bits
    }

    fn invariants(&self) {
        for (index, slot) in self.slots.iter().enumerate() {
            let subject = slot.as_ref().map(|running| &running.trace.subject);
            assert_eq!(self.running >> index & 1 == 1, subject.is_some(), "each bit has a trace");
            let follows_topics = matches!(subject, Some(Subject::Topic(_)));
            assert_eq!(self.topics >> index & 1 == 1, follows_topics, "and topics their own");
        }
    }
}

impl Running {
    fn note(&mut self, event: TraceEvent) {
        if event.at >= self.trace.ends {
            return;
        }
        let bytes = event.held_bytes();
        if self.traced.events.len() >= EVENTS_MAX || self.bytes + bytes > BYTES_MAX {
            self.traced.lost += 1;
            return;
        }
        self.bytes += bytes;
        self.traced.events.push(event);
    }
}

impl TraceEvent {
    /// Something that happened, of which no more is known yet.
    pub fn new(at: Time, step: Step) -> TraceEvent {
        TraceEvent {
            at,
            step,
            client_id: None,
            address: None,
            packet_id: None,
            reason: None,
            message: None,
            detail: None,
        }
    }

    /// What it takes in a buffer; names that it shares with others are counted as its own.
    fn held_bytes(&self) -> usize {
        let message = self.message.as_ref();
        size_of::<TraceEvent>()
            + self.client_id.as_deref().map_or(0, str::len)
            + message.map_or(0, |message| message.topic.len() + message.payload.len())
            + self.detail.as_deref().map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(id: u64, subject: Subject) -> Arc<Trace> {
        let ends = Time::from_micros(1000);
        Arc::new(Trace { id: TraceId(id), subject, ends, payload_bytes_max: 4 })
    }

    fn event(at: u64, payload_bytes_max: usize) -> TraceEvent {
        let message = TracedMessage {
            topic: "a/b".into(),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            bytes: 9,
            payload: b"payload"[..payload_bytes_max.min(7)].into(),
        };
        let step = Step::Received(PacketType::Publish);
        TraceEvent { message: Some(message), ..TraceEvent::new(Time::from_micros(at), step) }
    }

    #[test]
    fn each_trace_gets_what_it_follows_until_it_ends() {
        let mut traces = Traces::default();
        assert!(!traces.is_on());
        let client = traces.start(trace(1, Subject::Client("c".into()))).expect("there is room");
        let topic = traces.start(trace(2, Subject::Topic("a/#".into()))).expect("there is room");
        let network: Network = "10.0.0.0/8".parse().expect("a network");
        let address = traces.start(trace(3, Subject::Address(network))).expect("there is room");
        assert!(traces.is_on() && traces.follows_topics());
        let near = Some("10.1.2.3".parse().expect("an address"));
        assert_eq!(traces.of_client(Some("c"), near), client | address);
        assert_eq!(traces.of_client(Some("d"), None), 0);
        assert_eq!((traces.of_topic("a/b"), traces.of_topic("b")), (topic, 0));

        traces.note(client | topic, |bytes| event(1, bytes));
        traces.note(topic, |bytes| event(1000, bytes));
        let noted = traces.take(TraceId(1)).expect("it runs");
        assert_eq!(noted.events.len(), 1);
        assert_eq!(&*noted.events[0].message.as_ref().expect("it has one").payload, b"payl");
        assert_eq!(traces.take(TraceId(2)).expect("it runs").events.len(), 1, "the other is late");
        assert!(traces.take(TraceId(1)).expect("it runs").events.is_empty());

        traces.stop(TraceId(2));
        assert_eq!((traces.of_topic("a/b"), traces.live(u8::MAX)), (0, client | address));
        assert!(traces.take(TraceId(2)).is_none());
        assert_eq!(traces.start(trace(4, Subject::Client("d".into()))), Some(topic));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut traces = Traces::default();
        let bit = traces.start(trace(1, Subject::Client("c".into()))).expect("there is room");
        for _ in 0..EVENTS_MAX + 7 {
            traces.note(bit, |bytes| event(1, bytes));
        }
        let traced = traces.take(TraceId(1)).expect("it runs");
        assert_eq!((traced.events.len(), traced.lost), (EVENTS_MAX, 7));
        let long = |_| TraceEvent { detail: Some("x".repeat(1 << 20).into()), ..event(1, 0) };
        (0..3).for_each(|_| traces.note(bit, long));
        let traced = traces.take(TraceId(1)).expect("it runs");
        assert_eq!((traced.events.len(), traced.lost), (1, 2));
    }

    #[test]
    fn there_are_no_more_than_there_is_room_for() {
        let mut traces = Traces::default();
        for id in 0..TRACES_MAX as u64 {
            assert!(traces.start(trace(id, Subject::Topic("#".into()))).is_some());
        }
        assert_eq!(traces.start(trace(9, Subject::Topic("#".into()))), None);
    }
}

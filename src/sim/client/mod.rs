//! A client that keeps to the specification: its half of every state machine.
//!
//! It decides nothing: what it does and when is the workload's affair. It turns wishes into
//! bytes, answers what it must, resends what a resumed session owes, and tells the oracle what it
//! sent and received.

mod hearing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::oracle::{
    ConnectFacts, FilterKey, MessageId, Options, Oracle, Tick, WillFacts, payload_of,
};
use super::wire::{
    self, AckKind, Connect, FilterOptions, Property, Protocol, Publish, Value, Will, property,
};

/// See the module.
pub(super) struct Client {
    /// In the oracle's account.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) state: State,
    /// The link it uses, or used last.
    pub(super) link: Option<usize>,
    /// Whether that link's CONNECT was answered.
    pub(super) answered: bool,
    /// How it connected.
    pub(super) how: How,
    /// It cannot know which session the broker has: it must begin a new one.
    pub(super) must_clean: bool,
    /// When it last handed bytes to the link, in microseconds.
    pub(super) last_sent_at: u64,

    input: Vec<u8>,
    /// PUBLISHes sent and not completed, oldest first.
    outgoing: VecDeque<Outgoing>,
    /// QoS 2 packet identifiers received and not released.
    unreleased: BTreeSet<u16>,
    requests: BTreeMap<u16, Request>,
    /// Acknowledgements not yet sent, in the order in which they are due. [MQTT-4.6.0-2, -3, -4]
    answers: VecDeque<(AckKind, u16)>,
    limits: Limits,
    aliases_out: BTreeMap<String, u16>,
    aliases_in: BTreeMap<u16, String>,
    pings: u32,
    last_packet_id: u16,
}

/// Whether it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Away,
    /// CONNECT sent, CONNACK awaited.
    Connecting,
    Connected,
}

/// What a client says of itself in CONNECT.
#[derive(Clone, Debug, Default)]
pub(super) struct How {
    pub(super) clean_start: bool,
    /// Seconds; before 5.0, 0 stands for a clean session and `u32::MAX` for another.
    pub(super) expiry: u32,
    pub(super) keep_alive: u16,
    pub(super) receive_maximum: Option<u16>,
    pub(super) alias_maximum: Option<u16>,
    pub(super) packet_bytes_max: Option<u32>,
    /// Message and delay in seconds.
    pub(super) will: Option<(MessageId, u32)>,
}

/// A PUBLISH of QoS 1 or 2 that is not completed.
#[derive(Clone, Debug)]
struct Outgoing {
    packet_id: u16,
    message: MessageId,
    qos: u8,
    /// PUBREC was received: PUBREL is to be sent, or was.
    released: bool,
    /// PUBREL was sent on an earlier connection, whose PUBCOMP may have been lost.
    repeated: bool,
}

/// A request whose answer is awaited.
#[derive(Clone, Debug)]
enum Request {
    Subscribe(Vec<(FilterKey, Options)>),
    /// And when it was sent.
    Unsubscribe(Tick, Vec<FilterKey>),
}

/// What the broker said of itself in CONNACK.
#[derive(Clone, Copy, Debug)]
struct Limits {
    receive_maximum: u16,
    alias_maximum: u16,
    keep_alive: u16,
}

/// What the bytes received mean for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Stay,
    /// The broker said goodbye with this reason code, or refused the connection.
    Leave(u8),
}

impl Client {
    pub(super) fn new(index: usize, name: String, protocol: Protocol) -> Client {
        Client {
            index,
            name,
            protocol,
            state: State::Away,
            link: None,
            answered: false,
            how: How::default(),
            must_clean: false,
            last_sent_at: 0,
            input: Vec::new(),
            outgoing: VecDeque::new(),
            unreleased: BTreeSet::new(),
            requests: BTreeMap::new(),
            answers: VecDeque::new(),
            limits: Limits { receive_maximum: 20, alias_maximum: 0, keep_alive: 0 },
            aliases_out: BTreeMap::new(),
            aliases_in: BTreeMap::new(),
            pings: 0,
            last_packet_id: 0,
        }
    }

    /// Opens a link with a CONNECT.
    pub(super) fn connect(&mut self, link: usize, how: How, oracle: &mut Oracle) -> Vec<u8> {
        let will =
            how.will.map(|(message, delay)| (message, delay, oracle.messages[message].clone()));
        oracle.connect_sent(
            self.index,
            link,
            ConnectFacts {
                clean_start: how.clean_start,
                expiry: how.expiry,
                receive_maximum: how.receive_maximum,
                packet_bytes_max: how.packet_bytes_max,
                will: how.will.map(|(message, delay)| WillFacts { message, delay }),
            },
        );
        let will = will.map(|(id, delay, message)| {
            let mut properties = message.properties.clone();
            if delay > 0 {
                properties.insert(0, Property::four(property::WILL_DELAY, delay));
            }
            let payload = payload_of(id, message.body);
            let (topic, qos, retain) = (message.topic, message.qos, message.retain);
            Will { topic, payload, qos, retain, properties }
        });
        self.start(link);
        let connect = Connect {
            protocol: self.protocol,
            clean_start: how.clean_start,
            keep_alive: how.keep_alive,
            client_id: self.name.clone(),
            will,
            properties: how.properties(),
        };
        self.must_clean |= how.clean_start;
        self.limits.keep_alive = how.keep_alive;
        self.how = how;
        wire::encode_connect(&connect)
    }

    fn start(&mut self, link: usize) {
        self.state = State::Connecting;
        self.link = Some(link);
        self.answered = false;
        self.input.clear();
        self.requests.clear();
        self.answers.clear();
        self.aliases_out.clear();
        self.aliases_in.clear();
        self.pings = 0;
        self.limits = Limits { receive_maximum: 20, alias_maximum: 0, keep_alive: 0 };
    }

    /// The link is gone, whoever ended it.
    pub(super) fn link_lost(&mut self) {
        self.state = State::Away;
        self.answers.clear();
        self.input.clear();
    }

    /// QoS 2 messages that the broker may never release.
    pub(super) fn let_go(&mut self, packet_ids: &[u16]) {
        self.unreleased.retain(|packet_id| !packet_ids.contains(packet_id));
    }

    /// Seconds of silence that the broker was promised not to exceed; 0 is none.
    pub(super) fn keep_alive(&self) -> u16 {
        self.limits.keep_alive
    }

    /// Whether one more QoS 1 or 2 message may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.len() < usize::from(self.limits.receive_maximum)
    }

    /// Whether acknowledgements wait to be sent.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether everything it began is completed.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Connected
            && self.outgoing.is_empty()
            && self.requests.is_empty()
            && self.answers.is_empty()
            && self.unreleased.is_empty()
            && self.pings == 0
    }

    /// What is not completed, for people.
    pub(super) fn backlog(&self) -> String {
        format!(
            "{} {:?}: {} messages, {} requests, {} unreleased, {} pings",
            self.name,
            self.state,
            self.outgoing.len(),
            self.requests.len(),
            self.unreleased.len(),
            self.pings
        )
    }

    /// Publishes a message; with an alias where the broker takes one and `alias` says so.
    pub(super) fn publish(&mut self, id: MessageId, alias: bool, oracle: &mut Oracle) -> Vec<u8> {
        let message = oracle.messages[id].clone();
        let packet_id = if message.qos > 0 { self.next_packet_id() } else { 0 };
        if message.qos > 0 {
            let (released, repeated) = (false, false);
            let outgoing =
                Outgoing { packet_id, message: id, qos: message.qos, released, repeated };
            self.outgoing.push_back(outgoing);
        }
        let mut publish = packet_of(id, packet_id, oracle);
        if alias && self.limits.alias_maximum > 0 {
            self.use_alias(&mut publish);
        }
        self.send_publish(id, &publish, oracle)
    }

    fn use_alias(&mut self, publish: &mut Publish) {
        let known = self.aliases_out.get(&publish.topic).copied();
        let next = self.aliases_out.len() as u16 % self.limits.alias_maximum + 1;
        let alias = known.unwrap_or(next);
        self.aliases_out.retain(|topic, taken| *taken != alias || *topic == publish.topic);
        self.aliases_out.insert(publish.topic.clone(), alias);
        publish.properties.push(Property::two(property::TOPIC_ALIAS, alias));
        if known.is_some() {
            publish.topic.clear();
        }
    }

    fn send_publish(&mut self, id: MessageId, publish: &Publish, oracle: &mut Oracle) -> Vec<u8> {
        oracle.publish_sent(id, self.link.expect("a connected client has a link"));
        wire::encode_publish(self.protocol, publish)
    }

    /// Subscribes.
    pub(super) fn subscribe(
        &mut self,
        mut asked: Vec<(FilterKey, Options)>,
        oracle: &mut Oracle,
    ) -> Vec<u8> {
        oracle.subscribe_sent(self.link.expect("a connected client has a link"), &mut asked);
        let packet_id = self.next_packet_id();
        let filters: Vec<FilterOptions> = asked
            .iter()
            .map(|(key, options)| FilterOptions { filter: key.text(), options: options.byte() })
            .collect();
        let id = asked.first().and_then(|(_, options)| options.subscription_id);
        let properties: Vec<Property> = id
            .map(|id| Property { id: property::SUBSCRIPTION_ID, value: Value::Variable(id) })
            .into_iter()
            .collect();
        self.requests.insert(packet_id, Request::Subscribe(asked));
        wire::encode_subscribe(self.protocol, packet_id, &properties, &filters)
    }

    /// Unsubscribes.
    pub(super) fn unsubscribe(&mut self, keys: Vec<FilterKey>, oracle: &mut Oracle) -> Vec<u8> {
        let link = self.link.expect("a connected client has a link");
        let tick = oracle.unsubscribe_sent(link, &keys);
        let packet_id = self.next_packet_id();
        let filters: Vec<String> = keys.iter().map(FilterKey::text).collect();
        self.requests.insert(packet_id, Request::Unsubscribe(tick, keys));
        wire::encode_unsubscribe(self.protocol, packet_id, &filters)
    }

    /// Asks whether anybody is there.
    pub(super) fn ping(&mut self) -> Vec<u8> {
        self.pings += 1;
        wire::encode_ping()
    }

    /// Says goodbye; code 4 leaves the will. `expiry` changes that of the session.
    pub(super) fn disconnect(
        &mut self,
        code: u8,
        expiry: Option<u32>,
        oracle: &mut Oracle,
    ) -> Vec<u8> {
        let link = self.link.expect("a connected client has a link");
        oracle.disconnect_sent(link, code == 0, expiry);
        let properties: Vec<Property> = expiry
            .map(|seconds| Property::four(property::SESSION_EXPIRY, seconds))
            .into_iter()
            .collect();
        wire::encode_disconnect(self.protocol, code, &properties)
    }

    /// Sends up to `count` of the acknowledgements that are due.
    pub(super) fn answer(&mut self, count: usize, oracle: &mut Oracle) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(link) = self.link.filter(|_| self.state == State::Connected) else { return bytes };
        for _ in 0..count {
            let Some((kind, packet_id)) = self.answers.pop_front() else { break };
            oracle.ack_sent(link, kind, packet_id);
            bytes.extend(wire::encode_ack(kind, packet_id));
        }
        bytes
    }

    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let id = self.last_packet_id;
            let taken = id == 0
                || self.requests.contains_key(&id)
                || self.outgoing.iter().any(|entry| entry.packet_id == id);
            if !taken {
                return id;
            }
        }
    }
}

impl How {
    fn properties(&self) -> Vec<Property> {
        let mut properties = Vec::new();
        if self.expiry > 0 {
            properties.push(Property::four(property::SESSION_EXPIRY, self.expiry));
        }
        if let Some(maximum) = self.receive_maximum {
            properties.push(Property::two(property::RECEIVE_MAXIMUM, maximum));
        }
        if let Some(maximum) = self.alias_maximum {
            properties.push(Property::two(property::ALIAS_MAXIMUM, maximum));
        }
        if let Some(maximum) = self.packet_bytes_max {
            properties.push(Property::four(property::MAXIMUM_PACKET, maximum));
        }
        properties
    }
}

/// The PUBLISH of a message.
fn packet_of(id: MessageId, packet_id: u16, oracle: &Oracle) -> Publish {
    let message = &oracle.messages[id];
    let mut properties = message.properties.clone();
    if let Some(seconds) = message.expiry {
        properties.push(Property::four(property::MESSAGE_EXPIRY, seconds));
    }
    Publish {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic: message.topic.clone(),
        packet_id,
        properties,
        payload: payload_of(id, message.body),
    }
}

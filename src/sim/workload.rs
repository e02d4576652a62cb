//! What clients do, and when: random, within what a good client may do.

use std::sync::Arc;

use super::client::{How, State};
use super::host::News;
use super::network::Place;
use super::oracle::{Body, Draft, FilterKey, MessageId, Options};
use super::plan::{Plan, SESSION_EXPIRY_S_MAX, WINDOWS};
use super::random::{Purpose, Random};
use super::wire::{Property, Protocol, Value, property};
use super::world::{Event, Phase, World};
use crate::config::Mqtt;
use crate::shard::Policy;

/// What one client is like.
pub(super) struct Workload {
    index: usize,
    pub(super) protocol: Protocol,
    /// An acknowledgement is on the agenda.
    pub(super) answer_planned: bool,
    acts: Random,
    manners: Random,
    sizes: Random,
    /// How often a SUBSCRIBE is dealt with in parts, of 1000.
    parted_permille: u64,
    topics: Vec<&'static str>,
    filters: Vec<&'static str>,
    /// How often it begins anew, of 1000.
    clean_permille: u64,
    subscription_ids: u32,
    /// The same on every connection: were it to shrink, the broker could neither send a QoS 2
    /// message again that the client holds half of, nor tell it so.
    packet_bytes_max: Option<u32>,
    large: bool,
}

impl Workload {
    pub(super) fn new(plan: &Plan, index: usize) -> Workload {
        let mut manners = Random::new(plan.seed, Purpose::Manners, index as u64);
        // Few topics in a run, so that clients meet; which ones, the seed decides for all.
        let mut common = Random::new(plan.seed, Purpose::Manners, u64::MAX);
        let mut of_all = Random::new(plan.seed, Purpose::Sizes, u64::MAX);
        let count = common.between(2, TOPICS.len() as u64) as usize;
        let first = common.below(TOPICS.len() as u64) as usize;
        let topics = TOPICS.iter().cycle().skip(first).take(count).copied().collect::<Vec<_>>();
        let filters = topics.iter().chain(&FILTERS).copied().collect();
        let protocol = *manners.pick(&[Protocol::V5, Protocol::V5, Protocol::V311, Protocol::V31]);
        let small = protocol == Protocol::V5 && manners.chance(100);
        Workload {
            index,
            protocol,
            packet_bytes_max: small.then_some(250),
            answer_planned: false,
            acts: Random::new(plan.seed, Purpose::Workload, index as u64),
            clean_permille: *manners.pick(&[50, 300, 900]),
            manners,
            sizes: Random::new(plan.seed, Purpose::Sizes, index as u64),
            parted_permille: *of_all.pick(&[0, 0, 0, 0, 0, 0, 100]),
            topics,
            filters,
            subscription_ids: 0,
            large: plan.large,
        }
    }

    /// A client of 5.0 that only does what it is told.
    pub(super) fn observer(plan: &Plan, index: usize) -> Workload {
        let workload = Workload::new(plan, index);
        Workload { protocol: Protocol::V5, packet_bytes_max: None, ..workload }
    }

    pub(super) fn client_id(&self) -> String {
        format!("client{}", self.index)
    }

    pub(super) fn is_v5(&self) -> bool {
        self.protocol == Protocol::V5
    }

    /// Time until the next act.
    pub(super) fn pause(&mut self, max: u64) -> u64 {
        self.acts.below(max + 1)
    }

    /// Time until acknowledgements are sent.
    pub(super) fn hesitation(&mut self, max: u64) -> u64 {
        self.manners.below(max + 1)
    }

    /// How many acknowledgements are sent at once.
    pub(super) fn patience(&mut self) -> usize {
        if self.manners.chance(600) { usize::MAX } else { self.manners.between(1, 3) as usize }
    }

    fn filter_key(&mut self) -> FilterKey {
        let filter = (*self.acts.pick(&self.filters)).to_owned();
        let shares = self.protocol != Protocol::V31 && self.acts.chance(200);
        let group = shares.then(|| (*self.acts.pick(&["g1", "g2"])).to_owned());
        FilterKey { group, filter }
    }

    fn options(&mut self, shared: bool, subscription_id: Option<u32>) -> Options {
        let v5 = self.is_v5();
        Options {
            qos: self.acts.below(3) as u8,
            no_local: v5 && !shared && self.acts.chance(200),
            retain_as_published: v5 && self.acts.chance(300),
            retain_handling: if v5 { *self.acts.pick(&[0, 0, 1, 2]) } else { 0 },
            subscription_id,
            asked: 0,
            sure: None,
        }
    }

    fn how(&mut self, must_clean: bool) -> How {
        let v5 = self.is_v5();
        let clean_start = must_clean || self.manners.chance(self.clean_permille);
        let expiry = match v5 {
            true => *self.manners.pick(&[0, 0, 1, 3, 3600, u32::MAX]),
            false if clean_start => 0,
            false => SESSION_EXPIRY_S_MAX,
        };
        How {
            clean_start,
            expiry,
            keep_alive: *self.manners.pick(&[0, 0, 2, 10, 60]),
            receive_maximum: self.manners.pick(&[None, Some(1), Some(2), Some(5)]).filter(|_| v5),
            alias_maximum: self.manners.pick(&[None, Some(1), Some(5)]).filter(|_| v5),
            packet_bytes_max: self.packet_bytes_max,
            will: None,
        }
    }

    fn draft(&mut self, qos: u8, is_will: bool) -> Draft {
        let retain = self.acts.chance(250);
        let clears = retain && !is_will && self.acts.chance(150);
        let padding_max = if self.large && self.acts.chance(300) { 20_000 } else { 40 };
        let expires = self.is_v5() && !is_will && self.acts.chance(50);
        Draft {
            publisher: self.index,
            topic: (*self.acts.pick(&self.topics)).to_owned(),
            qos,
            retain,
            body: match clears {
                true => Body::Empty,
                false => Body::Numbered { padding: self.manners.below(padding_max) as usize },
            },
            properties: self.properties(),
            expiry: expires.then(|| self.acts.between(1, 4) as u32),
            is_will,
        }
    }

    /// In ascending order of identifiers, as the oracle compares them.
    fn properties(&mut self) -> Vec<Property> {
        let mut properties = Vec::new();
        if !self.is_v5() {
            return properties;
        }
        let pair = Value::Pair("from".to_owned(), self.client_id());
        let candidates = [
            (property::PAYLOAD_FORMAT, Value::Byte(1)),
            (property::CONTENT_TYPE, Value::Text("text/plain".to_owned())),
            (property::CORRELATION_DATA, Value::Binary(vec![0, 1, 255])),
            (property::USER, pair.clone()),
            (property::USER, pair),
        ];
        for (id, value) in candidates {
            if self.manners.chance(150) {
                properties.push(Property { id, value });
            }
        }
        properties
    }
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    Publish,
    Subscribe,
    Unsubscribe,
    Ping,
    Disconnect,
    Finish,
    Break,
    TakeOver,
    FallSilent,
    StopReading,
}

impl World {
    /// A client's time has come.
    pub(super) fn act(&mut self, client: usize) {
        match self.phase {
            Phase::Chaos if self.steps_left > 0 => {
                self.steps_left -= 1;
                self.act_in_chaos(client);
                self.plan_act(client);
            }
            Phase::Calm => self.act_in_calm(client),
            Phase::Chaos | Phase::Still | Phase::Stopping => {}
        }
    }

    fn act_in_chaos(&mut self, client: usize) {
        if self.workloads[client].acts.chance(4) {
            self.reconfigure(client);
        }
        match self.clients[client].state {
            State::Away => self.connect_if_possible(client),
            State::Connecting => {
                if self.breaks.chance(self.plan.breaks_permille) {
                    self.break_link(client, false);
                }
            }
            State::Connected if self.is_silent(client) => {
                if self.breaks.chance(150) {
                    self.break_link(client, false);
                }
            }
            State::Connected => {
                let act = self.choose(client);
                self.perform(client, act);
            }
        }
    }

    /// Faults have stopped: whoever is away comes back, whoever is silent starts over.
    fn act_in_calm(&mut self, client: usize) {
        if self.clients[client].state != State::Away && self.is_silent(client) {
            self.break_link(client, false);
        }
        if self.clients[client].state == State::Away {
            self.connect_if_possible(client);
            if self.clients[client].state == State::Away {
                self.plan_act(client);
            }
        }
    }

    fn is_silent(&self, client: usize) -> bool {
        self.clients[client].link.is_some_and(|link| self.links[link].excused)
    }

    fn choose(&mut self, client: usize) -> Act {
        if self.breaks.chance(self.plan.breaks_permille) {
            const BAD: [Act; 6] = [
                Act::Finish,
                Act::Break,
                Act::Break,
                Act::TakeOver,
                Act::FallSilent,
                Act::StopReading,
            ];
            return *self.breaks.pick(&BAD);
        }
        const ACTS: [Act; 5] =
            [Act::Publish, Act::Subscribe, Act::Unsubscribe, Act::Ping, Act::Disconnect];
        ACTS[self.workloads[client].acts.weighted(&[60, 18, 5, 2, 3])]
    }

    fn perform(&mut self, client: usize, act: Act) {
        match act {
            Act::Publish => {
                for _ in 0..*self.workloads[client].acts.pick(&[1, 1, 2, 5]) {
                    let qos = self.workloads[client].acts.below(3) as u8;
                    self.publish_something(client, qos);
                }
            }
            Act::Subscribe => self.subscribe_to_something(client),
            Act::Unsubscribe => self.unsubscribe_from_something(client),
            Act::Ping => {
                let bytes = self.clients[client].ping();
                self.send(client, bytes);
            }
            Act::Disconnect => self.disconnect(client),
            Act::Finish => {
                self.finish(self.link_of(client));
                self.clients[client].link_lost();
            }
            Act::Break => {
                let keeps_some = self.breaks.chance(500);
                self.break_link(client, keeps_some);
            }
            Act::TakeOver => {
                self.seen.takeovers += 1;
                let old = self.link_of(client);
                self.links[old].abandoned = true;
                self.clients[client].link_lost();
                self.connect_if_possible(client);
            }
            Act::FallSilent => self.fall_silent(client, self.link_of(client)),
            Act::StopReading => {
                let link = self.link_of(client);
                self.links[link].deaf = true;
                let at = self.now + self.breaks.below(1_000_000);
                self.plan_event(at, Event::Listen(link));
            }
        }
    }

    fn link_of(&self, client: usize) -> usize {
        self.clients[client].link.expect("a client that is connected has a link")
    }

    fn send(&mut self, client: usize, bytes: Vec<u8>) {
        self.send_up(self.link_of(client), bytes);
    }

    pub(super) fn break_link(&mut self, client: usize, keeps_some: bool) {
        self.break_off(self.link_of(client), keeps_some);
        self.clients[client].link_lost();
    }

    /// Connects, unless the fate of an unanswered CONNECT is still open: a good client does not
    /// race against itself.
    fn connect_if_possible(&mut self, client: usize) {
        let Some(last) = self.clients[client].link else {
            return self.connect_somehow(client);
        };
        if self.clients[client].answered || self.links[last].place == Place::Gone {
            self.connect_somehow(client);
        } else if self.phase == Phase::Calm && !self.links[last].abandoned {
            self.break_off(last, false);
        }
    }

    fn connect_somehow(&mut self, client: usize) {
        let must_clean = self.clients[client].must_clean;
        let mut how = self.workloads[client].how(must_clean);
        if self.phase != Phase::Chaos {
            how.clean_start = must_clean;
            how.keep_alive = 60;
            if self.workloads[client].is_v5() {
                how.expiry = 3600;
            } else {
                how.expiry = if must_clean { 0 } else { SESSION_EXPIRY_S_MAX };
            }
        } else if self.workloads[client].acts.chance(300) {
            how.will = Some(self.will(client));
        }
        if let Some((will, delay)) = how.will {
            let message = &self.oracle.messages[will];
            self.trace.event(
                self.now,
                format_args!(
                    "will m{will} on {:?} at QoS {}, retain {}, after {delay} s",
                    message.topic, message.qos, message.retain
                ),
            );
        }
        self.connect(client, how);
    }

    fn will(&mut self, client: usize) -> (MessageId, u32) {
        let workload = &mut self.workloads[client];
        let delay = if workload.is_v5() { *workload.acts.pick(&[0, 0, 1, 3]) } else { 0 };
        let qos = workload.acts.below(3) as u8;
        let draft = workload.draft(qos, true);
        (self.oracle.compose(draft, self.links.len()), delay)
    }

    /// Publishes; at QoS 0 where the broker takes no more unacknowledged messages.
    pub(super) fn publish_something(&mut self, client: usize, qos: u8) {
        let qos = if self.clients[client].has_room() { qos } else { 0 };
        let draft = self.workloads[client].draft(qos, false);
        let alias = self.workloads[client].manners.chance(300);
        let id = self.oracle.compose(draft, self.link_of(client));
        let (now, name) = (self.now, &self.clients[client].name);
        let message = &self.oracle.messages[id];
        self.trace.event(
            now,
            format_args!(
                "{name} publishes m{id} on {:?} at QoS {qos}, retain {}, {:?}",
                message.topic, message.retain, message.body
            ),
        );
        let bytes = self.clients[client].publish(id, alias, &mut self.oracle);
        self.send(client, bytes);
    }

    fn subscribe_to_something(&mut self, client: usize) {
        let workload = &mut self.workloads[client];
        let id = if workload.is_v5() && workload.acts.chance(500) {
            workload.subscription_ids += 1;
            Some(workload.subscription_ids)
        } else {
            None
        };
        let mut asked: Vec<(FilterKey, Options)> = Vec::new();
        for _ in 0..*workload.acts.pick(&[1, 1, 2, 3]) {
            let key = workload.filter_key();
            let options = workload.options(key.group.is_some(), id);
            if asked.iter().all(|(other, _)| *other != key) {
                asked.push((key, options));
            }
        }
        if workload.sizes.chance(workload.parted_permille) {
            let options = Options { qos: 0, ..workload.options(true, id) };
            let key = |number| FilterKey { group: None, filter: format!("many/{number}/{LONG}") };
            asked.extend((0..MANY).map(|number| (key(number), options)));
        }
        self.subscribe(client, asked);
    }

    pub(super) fn subscribe(&mut self, client: usize, asked: Vec<(FilterKey, Options)>) {
        let (now, name) = (self.now, &self.clients[client].name);
        for (key, options) in &asked {
            self.trace
                .event(now, format_args!("{name} subscribes to {} with {options:?}", key.text()));
        }
        let bytes = self.clients[client].subscribe(asked, &mut self.oracle);
        self.send(client, bytes);
    }

    fn unsubscribe_from_something(&mut self, client: usize) {
        let held: Vec<FilterKey> = self.oracle.held(client).into_keys().collect();
        let workload = &mut self.workloads[client];
        let key = match held.is_empty() || workload.acts.chance(100) {
            true => workload.filter_key(),
            false => workload.acts.pick(&held).clone(),
        };
        self.unsubscribe(client, vec![key]);
    }

    pub(super) fn unsubscribe(&mut self, client: usize, keys: Vec<FilterKey>) {
        let (now, name) = (self.now, &self.clients[client].name);
        self.trace.event(now, format_args!("{name} unsubscribes from {keys:?}"));
        let bytes = self.clients[client].unsubscribe(keys, &mut self.oracle);
        self.send(client, bytes);
    }

    fn disconnect(&mut self, client: usize) {
        let v5 = self.workloads[client].is_v5();
        let may_change = v5 && self.clients[client].how.expiry > 0;
        let acts = &mut self.workloads[client].acts;
        let code = if v5 && acts.chance(200) { 4 } else { 0 };
        let expiry = may_change && acts.chance(300);
        let expiry = expiry.then(|| *acts.pick(&[0, 1, 3600]));
        self.say_goodbye(client, code, expiry);
    }

    /// DISCONNECT, and the client's end of the link is closed.
    pub(super) fn say_goodbye(&mut self, client: usize, code: u8, expiry: Option<u32>) {
        let link = self.link_of(client);
        let (now, name) = (self.now, &self.clients[client].name);
        self.trace.event(now, format_args!("{name} disconnects with {code:#x} and {expiry:?}"));
        let bytes = self.clients[client].disconnect(code, expiry, &mut self.oracle);
        self.links[link].excused = true;
        self.send_up(link, bytes);
        self.finish(link);
        self.clients[client].link_lost();
    }

    /// The operator changes limits that bind no client that is connected.
    fn reconfigure(&mut self, client: usize) {
        let random = &mut self.workloads[client].acts;
        let mut mqtt = self.plan.mqtt.clone();
        mqtt.inflight_messages_max = *random.pick(&WINDOWS);
        mqtt.outbox_bytes_max = *random.pick(&[1, 400, 1 << 20]);
        self.reconfigure_to(mqtt);
    }

    /// The operator gives every shard a new configuration.
    pub(super) fn reconfigure_to(&mut self, mqtt: Mqtt) {
        let policy = Arc::new(Policy { mqtt, ..Policy::default() });
        for shard in 0..self.plan.shards {
            self.tell(shard, News::Reconfigure(Arc::clone(&policy)));
        }
    }
}

/// Filters that nothing is published to, beside others in one SUBSCRIBE; their names.
const MANY: usize = 100;
const LONG: &str = "one of so many filters that all of them take more than one turn";

const TOPICS: [&str; 9] = ["a", "a/b", "a/b/c", "a/c", "b", "b/c", "/a", "a//b", "$t/a"];
const FILTERS: [&str; 11] =
    ["#", "+", "a/#", "a/+", "+/b", "+/+", "a/b/#", "/+", "$t/#", "+/+/c", "a/+/b"];

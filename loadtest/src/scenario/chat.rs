//! `chat`: people with several devices, who write to each other and in groups, see who is there,
//! and come and go.
//!
//! Every device has a persistent session, so everything sent while it is away must be there when
//! it returns. Presence is one message when a device comes and one when it goes: its own when it
//! goes in good order, its will when it breaks off. Watchers must see each of them once, in order.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::count::Count;
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::mqtt::Qos;
use crate::plan::{ClientPlan, Expected, Plan, StreamPlan};
use crate::report::{Better, Report};
use crate::settings::{QosLevel, Settings};
use crate::stamp::STAMP_SIZE;

/// How often devices are sent away and called back.
const CHURN_INTERVAL: Duration = Duration::from_millis(100);

/// The options.
#[derive(Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Chat {
    /// Users
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    pub users: u32,
    /// Devices of each user
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub devices: u32,
    /// Contacts that each user writes to and watches
    #[arg(long, default_value_t = 5)]
    pub contacts: u32,
    /// Groups
    #[arg(long, default_value_t = 40)]
    pub groups: u32,
    /// Members of each group
    #[arg(long, default_value_t = 10)]
    pub members: u32,
    /// Messages a second of all devices together
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// Share of the devices that leave each second
    #[arg(long, default_value_t = 0.02)]
    pub churn: f64,
    /// Share of those that break off, so that their will is sent
    #[arg(long, default_value_t = 0.5)]
    pub abrupt: f64,
    /// Seconds until a device returns
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub away: f64,
    /// Bytes of a payload, at least 16
    #[arg(long, default_value_t = 128)]
    pub payload: u32,
    /// QoS of messages and subscriptions, 1 or 2
    #[arg(long, default_value_t = QosLevel(Qos::AtLeastOnce))]
    pub qos: QosLevel,
    /// Unacknowledged messages of each device at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub in_flight: u16,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            users: 200,
            devices: 2,
            contacts: 5,
            groups: 40,
            members: 10,
            rate: 1000.0,
            churn: 0.02,
            abrupt: 0.5,
            away: 2.0,
            payload: 128,
            qos: QosLevel(Qos::AtLeastOnce),
            in_flight: 100,
        }
    }
}

impl Chat {
    /// Runs it once.
    pub fn run(&self, settings: &Settings) -> Result<Report, RunError> {
        let mut report = super::begin_report("chat", settings);
        self.describe(&mut report);
        let plan = self.plan(settings);
        let everybody = 0..plan.clients.len() as u32;
        let mut fleet = super::start(plan, usize::from(self.in_flight), settings)?;
        self.gather(&mut fleet, settings, everybody.clone())?;
        fleet.publish_at(self.rate);
        let mut churn = Churn::new(self, everybody.clone());
        churn.pass(&mut fleet, "warming up", settings.warmup);
        fleet.measure(true);
        let start = fleet.mark()?;
        churn.pass(&mut fleet, "measuring", settings.duration);
        let end = fleet.mark()?;
        fleet.measure(false);
        fleet.stop();
        churn.call_back_all(&fleet);
        fleet.wait_online("everybody returns", settings.patience, everybody.len())?;
        fleet.drain(settings.patience)?;
        fleet.presence(false);
        fleet.leave(everybody.clone(), false);
        fleet.wait("leaving", settings.patience, |tally| tally[Count::Online] == 0)?;
        fleet.clean(everybody, settings.patience);
        super::report_traffic(&mut report, &start, &end);
        let (politely, abruptly) = (f64::from(churn.polite_count), f64::from(churn.abrupt_count));
        report.figure("devices that left", "", politely, Better::Neither);
        report.figure("devices that broke off", "", abruptly, Better::Neither);
        super::report_outcome(&mut report, fleet.finish(settings.patience)?);
        settings.limits.judge(&mut report, 0);
        Ok(report)
    }

    fn describe(&self, report: &mut Report) {
        report.setting("users", self.users);
        report.setting("devices each", self.devices);
        report.setting("contacts each", self.contacts());
        report.setting("groups", self.groups);
        report.setting("members each", self.members());
        report.setting("rate", format!("{} msg/s", self.rate));
        report.setting("churn", format!("{} of all a second", self.churn));
        report.setting("payload", format!("{} B", self.payload));
        report.setting("QoS", self.qos);
    }

    /// Makes the sessions, and only then turns presence on: a message of presence is owed to
    /// every watcher, so every watcher must have subscribed before the first.
    fn gather(
        &self,
        fleet: &mut Fleet,
        settings: &Settings,
        everybody: Range<u32>,
    ) -> Result<(), RunError> {
        fleet.connect(everybody.clone(), settings.connect_rate);
        fleet.wait_online("making sessions", settings.patience, everybody.len())?;
        fleet.leave(everybody.clone(), false);
        fleet.wait("leaving", settings.patience, |tally| tally[Count::Online] == 0)?;
        fleet.presence(true);
        fleet.connect(everybody.clone(), settings.connect_rate);
        fleet.wait_online("coming with presence", settings.patience, everybody.len())
    }

    fn contacts(&self) -> u32 {
        self.contacts.min(self.users - 1)
    }

    fn members(&self) -> u32 {
        self.members.min(self.users)
    }

    fn plan(&self, settings: &Settings) -> Plan {
        let town = Town::new(self, format!("lt/{}/chat", settings.run_id));
        let (clients, streams) = town.settle();
        Plan {
            door: settings.door(clients.len()),
            qos: self.qos.0.max(Qos::AtLeastOnce),
            payload_size: (self.payload as usize).max(STAMP_SIZE),
            worker_count: settings.threads,
            cpus: settings.cpus.clone(),
            sample_every: 1,
            clients,
            streams,
            groups: Vec::new(),
        }
    }
}

/// Everybody, and who knows whom.
struct Town<'a> {
    chat: &'a Chat,
    prefix: String,
    /// By group.
    members: Vec<BTreeSet<u32>>,
    streams: Vec<StreamPlan>,
    /// By user: the streams that reach all devices of the user.
    heard: Vec<Vec<u32>>,
}

impl<'a> Town<'a> {
    fn new(chat: &'a Chat, prefix: String) -> Self {
        let mut dice = Dice(1);
        let group = |_| {
            let mut members = BTreeSet::new();
            while members.len() < chat.members() as usize {
                members.insert(dice.below(chat.users));
            }
            members
        };
        let members = (0..chat.groups).map(group).collect();
        let heard = vec![Vec::new(); chat.users as usize];
        Self { chat, prefix, members, streams: Vec::new(), heard }
    }

    /// The contacts of a user: the neighbours that follow, so that everybody has as many
    /// watchers as contacts.
    fn contacts(&self, user: u32) -> impl Iterator<Item = u32> + use<> {
        let users = self.chat.users;
        (1..=self.chat.contacts()).map(move |step| (user + step) % users)
    }

    fn groups_of(&self, user: u32) -> Vec<u32> {
        let groups = (0..).zip(&self.members).filter(|(_, members)| members.contains(&user));
        groups.map(|(group, _)| group).collect()
    }

    fn settle(mut self) -> (Vec<ClientPlan>, Vec<StreamPlan>) {
        let devices = self.chat.devices;
        let publishes: Vec<Range<u32>> =
            (0..self.chat.users * devices).map(|device| self.writes(device)).collect();
        let first_presence = self.streams.len() as u32;
        for device in 0..self.chat.users * devices {
            self.is_watched(device);
        }
        let heard: Vec<Arc<[u32]>> = std::mem::take(&mut self.heard)
            .into_iter()
            .map(|mut streams| {
                streams.sort_unstable();
                streams.into()
            })
            .collect();
        let client = |(device, publishes): (u32, Range<u32>)| {
            let user = device / devices;
            ClientPlan {
                id: format!("{}-{user}-{}", self.prefix.replace('/', "-"), device % devices),
                session_expiry_s: Some(3600),
                filters: self.filters(user),
                expects: Expected::List(Arc::clone(&heard[user as usize])),
                publishes,
                presence: Some(first_presence + device),
                affinity: user,
                ..ClientPlan::default()
            }
        };
        let clients = (0..).zip(publishes).map(client).collect();
        (clients, self.streams)
    }

    /// The streams a device publishes: one to each contact and each group of its user.
    fn writes(&mut self, device: u32) -> Range<u32> {
        let user = device / self.chat.devices;
        let first = self.streams.len() as u32;
        for contact in self.contacts(user) {
            let topic = format!("{}/user/{contact}", self.prefix);
            self.stream(device, topic, [contact]);
        }
        for group in self.groups_of(user) {
            let topic = format!("{}/group/{group}", self.prefix);
            let members: Vec<u32> = self.members[group as usize].iter().copied().collect();
            self.stream(device, topic, members);
        }
        first..self.streams.len() as u32
    }

    /// The stream of presence of a device: whoever has its user as a contact watches.
    fn is_watched(&mut self, device: u32) {
        let (user, users) = (device / self.chat.devices, self.chat.users);
        let topic = format!("{}/presence/{user}/{}", self.prefix, device % self.chat.devices);
        let watchers: Vec<u32> =
            (1..=self.chat.contacts()).map(|step| (user + users - step) % users).collect();
        self.stream(device, topic, watchers);
        if let Some(stream) = self.streams.last_mut() {
            // A will cannot know when it will be sent.
            stream.is_timed = false;
        }
    }

    fn stream(&mut self, device: u32, topic: String, users: impl IntoIterator<Item = u32>) {
        let stream = self.streams.len() as u32;
        let mut copies = 0;
        for user in users {
            self.heard[user as usize].push(stream);
            copies += self.chat.devices;
        }
        self.streams.push(StreamPlan { topic, publisher: device, copies, is_timed: true });
    }

    fn filters(&self, user: u32) -> Vec<String> {
        let mut filters = vec![format!("{}/user/{user}", self.prefix)];
        let groups = self.groups_of(user).into_iter();
        filters.extend(groups.map(|group| format!("{}/group/{group}", self.prefix)));
        let contacts = self.contacts(user);
        filters.extend(contacts.map(|contact| format!("{}/presence/{contact}/+", self.prefix)));
        filters
    }
}

/// Devices that come and go.
struct Churn {
    per_interval: f64,
    owed: f64,
    abrupt: f64,
    away: Duration,
    present: Vec<u32>,
    /// Who is away, and until when; in the order of leaving.
    absent: VecDeque<(Instant, u32)>,
    dice: Dice,
    polite_count: u32,
    abrupt_count: u32,
}

impl Churn {
    fn new(chat: &Chat, everybody: Range<u32>) -> Self {
        let per_second = chat.churn.clamp(0.0, 1.0) * everybody.len() as f64;
        Self {
            per_interval: per_second * CHURN_INTERVAL.as_secs_f64(),
            owed: 0.0,
            abrupt: chat.abrupt.clamp(0.0, 1.0),
            away: Duration::from_secs_f64(chat.away.clamp(0.0, 3600.0)),
            present: everybody.collect(),
            absent: VecDeque::new(),
            dice: Dice(2),
            polite_count: 0,
            abrupt_count: 0,
        }
    }

    /// Lets time pass with coming and going.
    fn pass(&mut self, fleet: &mut Fleet, stage: &'static str, duration: Duration) {
        let start = Instant::now();
        fleet.stage(stage);
        while start.elapsed() < duration {
            self.turn(fleet);
            fleet.idle(CHURN_INTERVAL);
        }
    }

    fn turn(&mut self, fleet: &Fleet) {
        let now = Instant::now();
        let returning = self.absent.iter().take_while(|(until, _)| *until <= now).count();
        let returning: Vec<u32> =
            self.absent.drain(..returning).map(|(_, client)| client).collect();
        if !returning.is_empty() {
            fleet.connect(returning.iter().copied(), 0.0);
            self.present.extend(returning);
        }
        self.owed += self.per_interval;
        let (mut polite, mut abrupt) = (Vec::new(), Vec::new());
        while self.owed >= 1.0 && !self.present.is_empty() {
            self.owed -= 1.0;
            let index = self.dice.below(self.present.len() as u32);
            let client = self.present.swap_remove(index as usize);
            self.absent.push_back((now + self.away, client));
            let is_abrupt = f64::from(self.dice.below(1000)) < 1000.0 * self.abrupt;
            if is_abrupt { abrupt.push(client) } else { polite.push(client) }
        }
        self.polite_count += polite.len() as u32;
        self.abrupt_count += abrupt.len() as u32;
        fleet.leave(polite, false);
        fleet.leave(abrupt, true);
    }

    fn call_back_all(&mut self, fleet: &Fleet) {
        let all: Vec<u32> = self.absent.drain(..).map(|(_, client)| client).collect();
        fleet.connect(all.iter().copied(), 0.0);
        self.present.extend(all);
    }
}

/// SplitMix64: the same town and the same comings and goings in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((mixed >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn town() -> (Vec<ClientPlan>, Vec<StreamPlan>) {
        let chat =
            Chat { users: 7, devices: 2, contacts: 2, groups: 3, members: 4, ..Chat::default() };
        Town::new(&chat, "t".to_string()).settle()
    }

    /// Whether a filter of the kinds used here selects a topic.
    fn selects(filter: &str, topic: &str) -> bool {
        match filter.strip_suffix('+') {
            Some(prefix) => topic.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/')),
            None => filter == topic,
        }
    }

    #[test]
    fn everybody_expects_what_the_filters_select_and_nothing_else() {
        let (clients, streams) = town();
        for client in &clients {
            for (index, stream) in (0..).zip(&streams) {
                let is_selected =
                    client.filters.iter().any(|filter| selects(filter, &stream.topic));
                let is_expected = client.expects.position(index).is_some();
                assert_eq!(is_expected, is_selected, "{} and {}", client.id, stream.topic);
            }
        }
    }

    #[test]
    fn copies_are_the_receivers() {
        let (clients, streams) = town();
        for (index, stream) in (0..).zip(&streams) {
            let receivers =
                clients.iter().filter(|client| client.expects.position(index).is_some()).count();
            assert_eq!(stream.copies as usize, receivers, "{}", stream.topic);
        }
    }

    #[test]
    fn every_stream_belongs_to_its_publisher() {
        let (clients, streams) = town();
        for (index, client) in (0..).zip(&clients) {
            let own = client.publishes.clone().chain(client.presence);
            for stream in own {
                assert_eq!(streams[stream as usize].publisher, index);
            }
        }
    }
}

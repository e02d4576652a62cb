//! The shapes of traffic: who publishes what to whom.

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::plan::{ClientPlan, Expected, Plan, StreamPlan};
use crate::report::Report;
use crate::settings::{QosLevel, Settings};
use crate::stamp::STAMP_SIZE;

/// How publishers and subscribers are related.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Each publisher has a topic and a subscriber of its own
    #[default]
    Pairs,
    /// Every subscriber gets everything, by one wildcard filter
    FanIn,
    /// Every subscriber gets everything, by a filter for each topic
    Broadcast,
    /// The subscribers share out the publishers' topics among them, many to each
    FanOut,
    /// Publishers with many topics, subscribers with wildcards of three kinds
    Wildcard,
    /// Groups that share the messages of all publishers
    Shared,
}

/// The options of a shape, and of its messages.
#[derive(Args, Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ShapeOptions {
    /// How publishers and subscribers are related
    #[arg(long, value_enum, default_value_t)]
    pub shape: Shape,
    /// Publishers
    #[arg(long, short, default_value_t = 50)]
    pub publishers: u32,
    /// Subscribers; in pairs as many as publishers, in `shared` the members of each group
    /// [default: 1 for fan-in, 500 for fan-out and broadcast, 3 a publisher for wildcard, 5 for
    /// shared]
    #[arg(long, short)]
    pub subscribers: Option<u32>,
    /// Topics of each publisher [default: 1, for wildcard 50]
    #[arg(long)]
    pub topics: Option<u32>,
    /// Groups, for `shared`
    #[arg(long, default_value_t = 1)]
    pub groups: u32,
    /// The filter of fan-in's subscribers [default: a prefix of the run and '#']
    #[arg(long)]
    pub filter: Option<String>,
    /// Filters beside the traffic that match nothing of it
    #[arg(long, default_value_t = 0)]
    pub idle_filters: u32,
    /// Connected clients beside the traffic, which hold the idle filters
    #[arg(long, default_value_t = 0)]
    pub idle_clients: u32,
    /// Bytes of a payload, at least 16
    #[arg(long, default_value_t = 64, value_parser = payload_size)]
    pub payload: u32,
    /// QoS of messages and subscriptions
    #[arg(long, default_value_t = QosLevel(crate::mqtt::Qos::AtMostOnce))]
    pub qos: QosLevel,
}

impl Default for ShapeOptions {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            publishers: 50,
            subscribers: None,
            topics: None,
            groups: 1,
            filter: None,
            idle_filters: 0,
            idle_clients: 0,
            payload: 64,
            qos: QosLevel(crate::mqtt::Qos::AtMostOnce),
        }
    }
}

fn payload_size(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(size) if size as usize >= STAMP_SIZE => Ok(size),
        _ => Err(format!("not a number of at least {STAMP_SIZE}")),
    }
}

impl ShapeOptions {
    /// The plan of this shape.
    #[must_use]
    pub fn plan(&self, settings: &Settings, sample_every: u64) -> Plan {
        let mut sketch = Sketch::new(self, settings);
        match self.shape {
            Shape::Pairs => sketch.pairs(),
            Shape::FanIn => sketch.fan_in(),
            Shape::Broadcast => sketch.broadcast(),
            Shape::FanOut => sketch.fan_out(),
            Shape::Wildcard => sketch.wildcard(),
            Shape::Shared => sketch.shared(),
        }
        sketch.idle();
        Plan {
            door: settings.door(sketch.clients.len()),
            qos: self.qos.0,
            payload_size: (self.payload as usize).max(STAMP_SIZE),
            worker_count: settings.threads,
            cpus: settings.cpus.clone(),
            sample_every,
            clients: sketch.clients,
            streams: sketch.streams,
            groups: sketch.groups,
        }
    }

    /// Notes the options in `report`.
    pub fn describe(&self, report: &mut Report) {
        let shape = self.shape.to_possible_value();
        report.setting("shape", shape.as_ref().map_or("", |value| value.get_name()));
        report.setting("publishers", self.publishers);
        report.setting("subscribers", self.subscribers());
        report.setting("topics a publisher", self.topics());
        report.setting("payload", format!("{} B", self.payload));
        report.setting("QoS", self.qos);
        if self.shape == Shape::Shared {
            report.setting("groups", self.groups);
        }
        if self.idle_filters + self.idle_clients > 0 {
            report.setting("idle filters", self.idle_filters);
            report.setting("idle clients", self.idle_clients);
        }
    }

    fn topics(&self) -> u32 {
        self.topics.unwrap_or(if self.shape == Shape::Wildcard { 50 } else { 1 }).max(1)
    }

    fn subscribers(&self) -> u32 {
        self.subscribers.unwrap_or(match self.shape {
            Shape::Pairs => self.publishers,
            Shape::FanIn => 1,
            Shape::Broadcast | Shape::FanOut => 500,
            Shape::Wildcard => self.publishers * 3,
            Shape::Shared => 5,
        })
    }
}

/// A plan in the making.
struct Sketch<'a> {
    options: &'a ShapeOptions,
    prefix: String,
    clients: Vec<ClientPlan>,
    streams: Vec<StreamPlan>,
    groups: Vec<Expected>,
}

impl<'a> Sketch<'a> {
    fn new(options: &'a ShapeOptions, settings: &Settings) -> Self {
        let prefix = format!("lt/{}", settings.run_id);
        let (clients, streams, groups) = (Vec::new(), Vec::new(), Vec::new());
        Self { options, prefix, clients, streams, groups }
    }

    /// One publisher with its streams; the topics end with their number among its own.
    fn publisher(&mut self, number: u32, copies: u32, topic: impl Fn(u32) -> String) {
        let publisher = self.clients.len() as u32;
        let first = self.streams.len() as u32;
        for topic_index in 0..self.options.topics() {
            let topic = topic(topic_index);
            self.streams.push(StreamPlan { topic, publisher, copies, is_timed: true });
        }
        self.clients.push(ClientPlan {
            id: format!("{}-p{number}", self.id_prefix()),
            publishes: first..self.streams.len() as u32,
            affinity: number,
            ..ClientPlan::default()
        });
    }

    fn subscriber(&mut self, number: u32, affinity: u32, filters: Vec<String>, expects: Expected) {
        self.clients.push(ClientPlan {
            id: format!("{}-s{number}", self.id_prefix()),
            filters,
            expects,
            affinity,
            ..ClientPlan::default()
        });
    }

    fn id_prefix(&self) -> String {
        self.prefix.replace('/', "-")
    }

    /// The streams of one publisher.
    fn streams_of(&self, publisher: u32) -> Expected {
        let topics = self.options.topics();
        Expected::range(publisher * topics..(publisher + 1) * topics)
    }

    fn all_streams(&self) -> Expected {
        Expected::range(0..self.streams.len() as u32)
    }

    fn pairs(&mut self) {
        let prefix = self.prefix.clone();
        let topic = |number, index| format!("{prefix}/p/{number}/{index}");
        for number in 0..self.options.publishers {
            self.publisher(number, 1, |index| topic(number, index));
            let filters = (0..self.options.topics()).map(|index| topic(number, index)).collect();
            self.subscriber(number, number, filters, self.streams_of(number));
        }
    }

    fn fan_in(&mut self) {
        let prefix = self.prefix.clone();
        let subscribers = self.options.subscribers();
        for number in 0..self.options.publishers {
            self.publisher(number, subscribers, |index| format!("{prefix}/in/{number}/{index}"));
        }
        let filter = self.options.filter.clone().unwrap_or_else(|| format!("{prefix}/in/#"));
        for number in 0..subscribers {
            self.subscriber(number, number, vec![filter.clone()], self.all_streams());
        }
    }

    fn broadcast(&mut self) {
        let prefix = self.prefix.clone();
        let subscribers = self.options.subscribers();
        for number in 0..self.options.publishers {
            self.publisher(number, subscribers, |index| format!("{prefix}/all/{number}/{index}"));
        }
        let filters: Vec<String> = self.streams.iter().map(|stream| stream.topic.clone()).collect();
        for number in 0..subscribers {
            self.subscriber(number, number, filters.clone(), self.all_streams());
        }
    }

    fn fan_out(&mut self) {
        let prefix = self.prefix.clone();
        let (publishers, subscribers) = (self.options.publishers, self.options.subscribers());
        let topic = |number, index| format!("{prefix}/out/{number}/{index}");
        for number in 0..publishers {
            let copies = share(subscribers, publishers, number);
            self.publisher(number, copies, |index| topic(number, index));
        }
        for number in 0..subscribers {
            let publisher = number % publishers;
            let filters = (0..self.options.topics()).map(|index| topic(publisher, index));
            self.subscriber(number, number, filters.collect(), self.streams_of(publisher));
        }
    }

    fn wildcard(&mut self) {
        let prefix = self.prefix.clone();
        let (publishers, subscribers) = (self.options.publishers, self.options.subscribers());
        for number in 0..publishers {
            let copies = share(subscribers, publishers, number);
            let topic = |index| format!("{prefix}/w/{number}/{index}/state");
            self.publisher(number, copies, topic);
        }
        for number in 0..subscribers {
            let publisher = number % publishers;
            let filter = match number / publishers % 3 {
                0 => format!("{prefix}/w/{publisher}/+/state"),
                1 => format!("{prefix}/w/{publisher}/#"),
                _ => format!("{prefix}/+/{publisher}/+/state"),
            };
            self.subscriber(number, number, vec![filter], self.streams_of(publisher));
        }
    }

    fn shared(&mut self) {
        let prefix = self.prefix.clone();
        let groups = self.options.groups;
        for number in 0..self.options.publishers {
            self.publisher(number, groups, |index| format!("{prefix}/sh/{number}/{index}"));
        }
        for group in 0..groups {
            self.groups.push(self.all_streams());
            for member in 0..self.options.subscribers() {
                let filter = format!("$share/{}-g{group}/{prefix}/sh/#", self.id_prefix());
                let number = group * self.options.subscribers() + member;
                self.subscriber(number, group, vec![filter], self.all_streams());
                if let Some(client) = self.clients.last_mut() {
                    client.group = Some(group);
                }
            }
        }
    }

    /// Filters next to those of the traffic, in the same branches of the tree.
    fn idle(&mut self) {
        let filters = self.options.idle_filters;
        let clients = match self.options.idle_clients {
            0 if filters > 0 => 10,
            count => count,
        };
        for number in 0..clients {
            let own = (number..filters).step_by(clients as usize).map(|filter| {
                let branch = filter % self.options.publishers.max(1);
                match filter % 3 {
                    0 => format!("{}/w/{branch}/{filter}/idle", self.prefix),
                    1 => format!("{}/w/{branch}/+/idle/{filter}", self.prefix),
                    _ => format!("{}/idle/{filter}/#", self.prefix),
                }
            });
            let filters = own.collect();
            self.clients.push(ClientPlan {
                id: format!("{}-i{number}", self.id_prefix()),
                filters,
                affinity: number,
                ..ClientPlan::default()
            });
        }
    }
}

/// How many of `subscribers` fall to publisher `number` when they are dealt out in turn.
fn share(subscribers: u32, publishers: u32, number: u32) -> u32 {
    subscribers / publishers + u32::from(number < subscribers % publishers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Common;

    /// Whether `filter` selects `topic`, by section 4.7 of the specification.
    fn selects(filter: &str, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for part in filter.split('/') {
            match (part, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (name, Some(level)) if name == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    fn plan(shape: Shape) -> Plan {
        let options = ShapeOptions {
            shape,
            publishers: 4,
            subscribers: Some(6),
            topics: Some(3),
            groups: 2,
            idle_filters: 40,
            ..ShapeOptions::default()
        };
        let mut plan = options.plan(&Common::default().resolve().expect("valid"), 1);
        plan.worker_count = 3;
        plan.place();
        plan
    }

    const ALL: [Shape; 6] = [
        Shape::Pairs,
        Shape::FanIn,
        Shape::Broadcast,
        Shape::FanOut,
        Shape::Wildcard,
        Shape::Shared,
    ];

    #[test]
    fn everybody_expects_what_the_filters_select_and_nothing_else() {
        for shape in ALL {
            let plan = plan(shape);
            for client in &plan.clients {
                for (index, stream) in (0..).zip(&plan.streams) {
                    let is_selected = client.filters.iter().any(|filter| {
                        let filter =
                            filter.strip_prefix("$share/").map_or(filter.as_str(), |rest| {
                                rest.split_once('/').expect("a group and a filter").1
                            });
                        selects(filter, &stream.topic)
                    });
                    let is_expected = client.expects.position(index).is_some();
                    assert_eq!(is_expected, is_selected, "{shape:?} {client:?} {}", stream.topic);
                }
            }
        }
    }

    #[test]
    fn copies_are_the_receivers_and_a_group_is_one() {
        for shape in ALL {
            let plan = plan(shape);
            for (index, stream) in (0..).zip(&plan.streams) {
                let hears = |expected: &Expected| expected.position(index).is_some();
                let alone = plan.clients.iter().filter(|client| client.group.is_none());
                let alone = alone.filter(|client| hears(&client.expects)).count();
                let groups = plan.groups.iter().filter(|expected| hears(expected)).count();
                assert_eq!(stream.copies as usize, alone + groups, "{shape:?} {}", stream.topic);
            }
        }
    }

    #[test]
    fn the_members_of_a_group_share_a_worker() {
        let plan = plan(Shape::Shared);
        for group in 0..2 {
            let members = plan.clients.iter().filter(|client| client.group == Some(group));
            let workers: Vec<u16> = members.map(|client| client.worker).collect();
            assert_eq!(workers.len(), 6);
            assert!(workers.iter().all(|worker| *worker == workers[0]));
        }
    }
}

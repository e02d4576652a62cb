//! What rules leave open: a service decides it, and what it said is remembered for a while.
//!
//! A packet that waits for the service waits as one does that a hook is asked about: its connection
//! is not read from meanwhile, and nobody else waits.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::Pause;
use super::consult::{Client, Consulting};
use super::effect::{ConnectionId, Output};
use super::{Key, Shard};
use crate::auth::Action;
use crate::message::Message;
use crate::proto::QoS;
use crate::time::Time;

/// That a service decides what no rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleService {
    /// Seconds that an answer is remembered for the same client; 0 is not at all.
    pub remembered_s: u32,
}

/// What a client wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Which of the two.
    pub action: Action,
    /// A topic name, or a filter without its `$share/...`.
    pub topic: Box<str>,
    /// The QoS of the message, or that is asked for.
    pub qos: QoS,
    /// Whether the message is to be retained.
    pub retain: bool,
}

/// What the service is asked about a client.
#[derive(Clone, Debug)]
pub struct RuleQuestion {
    /// Who.
    pub client: Client,
    /// The name of the listener it came to.
    pub listener: Box<str>,
    /// The common name of its certificate, if it has shown one.
    pub common_name: Option<Box<str>>,
    /// What it wants to do, each to be allowed or not. Its packet holds them, too, while it waits.
    pub acts: Arc<[Act]>,
    /// The will that is asked about, rather than a packet of a connection.
    pub will: Option<Key>,
}

impl RuleQuestion {
    /// Whether somebody waits for the answer: a connection that is ended takes its packet along.
    pub fn is_waited_for(&self) -> bool {
        self.will.is_some() || Arc::strong_count(&self.acts) > 1
    }
}

/// Whether a client may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// With this QoS at most.
    Do(QoS),
    /// So a subscription, of which its client gets what it may read.
    DoPart(QoS),
    /// A rule denies it, or none allows it.
    Not,
    /// No rule decides, and the service is to be asked.
    Ask,
}

/// Answers of the service about one client. Bounded: what is beyond is asked again.
#[derive(Debug)]
pub struct Rulings(HashMap<Box<str>, Answers, ahash::RandomState>);

/// What was said of each act on one topic, and until when that holds.
type Answers = [Option<(bool, Time)>; ACTS];

/// Topics whose answers are remembered for one client; beyond them all are forgotten.
const TOPICS_MAX: usize = 64;

/// Longer topics are asked about each time.
const TOPIC_BYTES_MAX: usize = 256;

/// Acts on one topic: three QoS, retained or not, and as many subscriptions.
const ACTS: usize = 9;

fn index(action: Action, qos: QoS, retain: bool) -> usize {
    match action {
        Action::Publish => qos as usize * 2 + usize::from(retain),
        Action::Subscribe => 6 + qos as usize,
    }
}

impl Rulings {
    fn new(hasher: ahash::RandomState) -> Rulings {
        Rulings(HashMap::with_hasher(hasher))
    }

    fn find(&self, now: Time, topic: &str, index: usize) -> Option<bool> {
        let (allowed, until) = self.0.get(topic)?[index]?;
        (now < until).then_some(allowed)
    }

    fn put(&mut self, topic: &str, index: usize, allowed: bool, until: Time) {
        if topic.len() > TOPIC_BYTES_MAX {
            return;
        }
        if self.0.len() >= TOPICS_MAX && !self.0.contains_key(topic) {
            self.0.clear();
        }
        self.0.entry(topic.into()).or_default()[index] = Some((allowed, until));
    }
}

impl Act {
    /// To publish a message.
    pub fn publish(message: &Message) -> Act {
        let (topic, qos, retain) = (message.topic().into(), message.qos, message.retain);
        Act { action: Action::Publish, topic, qos, retain }
    }

    fn index(&self) -> usize {
        index(self.action, self.qos, self.retain)
    }
}

impl Shard {
    /// What is left open: what the service said of it, or that it is to be asked.
    #[cold]
    pub(super) fn left_open(
        &self,
        id: ConnectionId,
        action: Action,
        topic: &str,
        qos: QoS,
        retain: bool,
    ) -> May {
        if self.policy.rule_service.is_none() {
            return May::Not;
        }
        let active = self.connections.get(id).and_then(|c| c.active());
        let rulings = active.and_then(|active| active.rulings.as_deref());
        let index = index(action, qos, retain);
        match rulings.and_then(|rulings| rulings.find(self.now, topic, index)) {
            Some(true) => May::Do(QoS::ExactlyOnce),
            Some(false) => May::Not,
            None => May::Ask,
        }
    }

    /// Asks the service about a packet; what arrives meanwhile waits.
    pub(super) fn ask_service(&mut self, id: ConnectionId, acts: Vec<Act>, waits: Consulting) {
        let Some(question) = self.rule_question(id, acts) else { return };
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            active.ruling = Some(Box::new((Arc::clone(&question.acts), waits)));
        }
        self.pause(id, Pause::Verdict);
        self.outputs.push_back(Output::AskRules { connection: id, question: Box::new(question) });
    }

    /// A question about a connected client.
    pub(super) fn rule_question(
        &mut self,
        id: ConnectionId,
        acts: Vec<Act>,
    ) -> Option<RuleQuestion> {
        let client = self.client(id)?;
        let connection = self.connections.get(id)?;
        Some(RuleQuestion {
            client,
            listener: self.policy.listener_name(connection.peer.listener).into(),
            common_name: connection.common_name().map(Box::from),
            acts: acts.into(),
            will: None,
        })
    }

    /// The service has answered about a packet: which of the acts are allowed.
    pub(super) fn handle_ruling(&mut self, now: Time, id: ConnectionId, allowed: &[bool]) {
        let hasher = self.hasher.clone();
        let remembered_s = self.policy.rule_service.map_or(0, |service| service.remembered_s);
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(active) = active else { return };
        let Some((acts, waits)) = active.ruling.take().map(|ruling| *ruling) else { return };
        if remembered_s > 0 {
            let rulings = active.rulings.get_or_insert_with(|| Box::new(Rulings::new(hasher)));
            for (act, allowed) in acts.iter().zip(allowed) {
                rulings.put(&act.topic, act.index(), *allowed, now.after_seconds(remembered_s));
            }
        }
        match waits {
            Consulting::Publish(message, owed) => {
                let is_allowed = allowed.first().copied().unwrap_or(false);
                self.publish_as_ruled(now, id, &message, owed, is_allowed);
            }
            Consulting::Subscribe { packet_id, subscription_id, filters, mut ruled } => {
                // In the order of the filters, some of which were not asked about.
                let mut answers = acts.iter().zip(allowed).peekable();
                for ((filter, options), ruled) in filters.iter().zip(&mut ruled) {
                    let topic = super::share::filter_of(filter).unwrap_or(filter);
                    let is_it = |act: &Act| *act.topic == *topic && act.qos == options.qos;
                    *ruled |= answers.next_if(|(act, _)| is_it(act)).is_some_and(|(_, is)| *is);
                }
                let waits = Consulting::Subscribe { packet_id, subscription_id, filters, ruled };
                self.subscribe_as_ruled(now, id, waits);
            }
        }
        self.advised(now, id);
    }

    /// A packet was decided upon: its connection is read from again, unless somebody else is asked.
    pub(super) fn advised(&mut self, now: Time, id: ConnectionId) {
        let active = self.connections.get(id).and_then(|c| c.active());
        if active.is_none_or(|active| active.consulting.is_none() && active.ruling.is_none()) {
            self.unpause(now, id, Pause::Verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_remembered_for_a_while_and_for_so_many_topics() {
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let mut rulings = Rulings::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let publish = index(Action::Publish, QoS::AtLeastOnce, false);
        rulings.put("a", publish, true, at(10));
        assert_eq!(rulings.find(at(9), "a", publish), Some(true));
        assert_eq!(rulings.find(at(10), "a", publish), None);
        for other in [
            index(Action::Publish, QoS::AtLeastOnce, true),
            index(Action::Publish, QoS::ExactlyOnce, false),
            index(Action::Subscribe, QoS::AtLeastOnce, false),
        ] {
            assert_eq!(rulings.find(at(9), "a", other), None);
        }
        rulings.put(&"x".repeat(TOPIC_BYTES_MAX + 1), publish, true, at(10));
        for number in 1..TOPICS_MAX {
            rulings.put(&number.to_string(), publish, false, at(10));
        }
        assert_eq!(rulings.find(at(9), "a", publish), Some(true));
        rulings.put("one more", publish, false, at(10));
        assert_eq!(rulings.0.len(), 1);
    }
}

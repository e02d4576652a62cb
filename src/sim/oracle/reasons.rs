//! Why a session may get a message: everything that was asked for and may have held.

use super::Oracle;
use super::message::{MessageId, Tick, matches};
use super::session::{FilterKey, Holding, Options, Session};

/// What may have made the broker send a message to a session.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons {
    /// Options of subscriptions that are not shared.
    pub(super) plain: Vec<Options>,
    /// Those of groups, and the groups.
    pub(super) shared: Vec<Options>,
    pub(super) group_keys: Vec<FilterKey>,
    /// SUBSCRIBEs that may be answered with the message as a retained one.
    pub(super) questions: Vec<Options>,
    /// Options the answers may come with: those of the moment when they are sent.
    pub(super) answers: Vec<Options>,
    /// Whether some subscription that is not shared surely matched when it was published, and
    /// the least QoS it can have had.
    pub(super) certain_qos: Option<u8>,
    /// Subscription identifiers that must be named.
    pub(super) certain_ids: Vec<u32>,
}

impl Oracle {
    /// Everything that can have caused a delivery of the message to the session.
    ///
    /// A message of a group waits for a member: whoever joins later may get it.
    pub(super) fn reasons(&self, session: usize, id: MessageId) -> Reasons {
        let (message, session) = (&self.messages[id], &self.sessions[session]);
        let from = match message.will_of {
            Some(link) => self.links[link].ended.map_or(Tick::MAX, |(tick, _)| tick),
            None => message.first_sent,
        };
        let to = message.routed_before().min(self.tick);
        let mut reasons = Reasons::default();
        for holding in session.holdings.iter().filter(|h| matches(&h.key.filter, &message.topic)) {
            if holding.key.group.is_some() {
                if self.group_existed(&holding.key, from, to) && holding.possible(from, self.tick) {
                    reasons.add_group(session, holding);
                }
                continue;
            }
            let own = message.publisher == session.client;
            let options = holding.options(from, to).filter(|o| !(own && o.no_local));
            if holding.possible(from, to) {
                reasons.plain.extend(options);
            }
            reasons.add_certain(holding, from, to, own);
            if message.retain {
                reasons.add_questions(session, holding);
            }
        }
        reasons
    }

    /// Whether a group possibly had a member at some moment of `from..=to`.
    fn group_existed(&self, key: &FilterKey, from: Tick, to: Tick) -> bool {
        let holdings = self.sessions.iter().flat_map(|session| &session.holdings);
        holdings.filter(|h| h.key == *key).any(|holding| holding.possible(from, to))
    }
}

impl Reasons {
    pub(super) fn all_live(&self) -> impl Iterator<Item = &Options> {
        self.plain.iter().chain(&self.shared)
    }

    /// Overlapping subscriptions of a session get one copy, each group may give one more.
    pub(super) fn live_max(&self, routings: u32) -> u32 {
        routings * (u32::from(!self.plain.is_empty()) + self.group_keys.len() as u32)
    }

    fn add_certain(&mut self, holding: &Holding, from: Tick, to: Tick, own: bool) {
        let options = || holding.options(from, to);
        if !holding.certain(from, to) || options().any(|options| own && options.no_local) {
            return;
        }
        let least = options().map(|options| options.qos).min();
        self.certain_qos = self.certain_qos.max(least);
        let mut ids: Vec<Option<u32>> = options().map(|options| options.subscription_id).collect();
        ids.dedup();
        if let [Some(id)] = ids[..] {
            self.certain_ids.push(id);
        }
    }

    /// The group may have given it to the session when its subscription had other options.
    fn add_group(&mut self, session: &Session, holding: &Holding) {
        if !self.group_keys.contains(&holding.key) {
            self.group_keys.push(holding.key.clone());
            self.shared.extend(session.options_of(&holding.key));
        }
    }

    fn add_questions(&mut self, session: &Session, holding: &Holding) {
        for (index, options) in holding.versions.iter().enumerate() {
            let answered = match options.retain_handling {
                0 => true,
                1 => index == 0 || holding.sure.is_none_or(|sure| sure > options.asked),
                _ => false,
            };
            if answered {
                self.questions.push(*options);
                self.answers.extend(session.options_of(&holding.key));
            }
        }
    }
}

/// Whether the session surely had the message routed to it, and at which QoS at least.
pub(super) fn certain_qos(
    session: &Session,
    topic: &str,
    own: bool,
    from: Tick,
    to: Tick,
) -> Option<u8> {
    let mut reasons = Reasons::default();
    for holding in &session.holdings {
        if holding.key.group.is_none() && matches(&holding.key.filter, topic) {
            reasons.add_certain(holding, from, to, own);
        }
    }
    reasons.certain_qos
}

/// Whether some subscription outside of groups may have had it routed to the session.
pub(super) fn possibly_plain(session: &Session, topic: &str, from: Tick, to: Tick) -> bool {
    session.holdings.iter().any(|holding| {
        holding.key.group.is_none()
            && matches(&holding.key.filter, topic)
            && holding.possible(from, to)
    })
}

/// The groups of which the session may be a member for a topic.
pub(super) fn groups_of<'a>(
    session: &'a Session,
    topic: &'a str,
) -> impl Iterator<Item = (&'a FilterKey, &'a Holding)> {
    session
        .holdings
        .iter()
        .filter(move |h| h.key.group.is_some() && matches(&h.key.filter, topic))
        .map(|holding| (&holding.key, holding))
}

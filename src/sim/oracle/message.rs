//! What was published, by whom and when: the oracle's own account.

use crate::sim::wire::{Property, Value, property};

/// A point in the order of everything the oracle was told.
pub(in crate::sim) type Tick = u64;

/// A message's position in the account.
pub(in crate::sim) type MessageId = usize;

/// One application message that some client handed to its connection, or left as its will.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Message {
    /// The client, by index.
    pub(in crate::sim) publisher: usize,
    pub(in crate::sim) topic: String,
    pub(in crate::sim) qos: u8,
    pub(in crate::sim) retain: bool,
    pub(in crate::sim) body: Body,
    /// Those every receiver of 5.0 must get, message expiry aside.
    pub(in crate::sim) properties: Vec<Property>,
    /// Seconds after which it need not and must not be delivered.
    pub(in crate::sim) expiry: Option<u32>,
    /// The link it was last handed to.
    pub(in crate::sim) link: usize,
    /// When it was first and last handed to a link.
    pub(in crate::sim) first_sent: Tick,
    pub(in crate::sim) last_sent: Tick,
    /// Microseconds at `first_sent`.
    pub(in crate::sim) sent_at: u64,
    /// How often it was handed to a link.
    pub(in crate::sim) sends: u32,
    /// How often the broker crashed, or had no room, when it may have had it and had not
    /// acknowledged it.
    pub(in crate::sim) doubts: u32,
    pub(in crate::sim) fate: Fate,
    /// All was quiet since: no copy is on its way between shards any more.
    pub(in crate::sim) over: Option<Tick>,
    /// Set for wills: the link whose end publishes it.
    pub(in crate::sim) will_of: Option<usize>,
}

/// What the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Body {
    /// The message's number, then as many bytes that follow from it.
    Numbered { padding: usize },
    /// Nothing: with the retain flag it clears the topic, without it cannot be told apart.
    Empty,
}

/// How far the broker is known to have taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Fate {
    /// Not known yet.
    Open,
    /// Accepted: acknowledged, or certainly routed at this tick.
    Kept(Tick),
    /// Answered with an error: the publisher knows that it was not taken.
    Refused,
    /// Its publisher will not ask again; its shard took it before this tick or never. Copies for
    /// other shards may be on their way.
    Abandoned(Tick),
}

impl Message {
    /// Whether a copy of it says no more than its topic.
    pub(in crate::sim) fn is_clear(&self) -> bool {
        self.body == Body::Empty
    }

    /// After this tick it has no further effect on what is retained or routed.
    pub(in crate::sim) fn settled(&self) -> Option<Tick> {
        match self.fate {
            Fate::Kept(tick) | Fate::Abandoned(tick) => Some(tick),
            Fate::Open | Fate::Refused => None,
        }
    }

    /// When it was surely accepted.
    pub(in crate::sim) fn kept(&self) -> Option<Tick> {
        match self.fate {
            Fate::Kept(tick) => Some(tick),
            _ => None,
        }
    }

    /// The latest tick at which it can have met a subscription. Of a QoS 1 message that was sent
    /// again, copies of an earlier sending may still be on their way; one of QoS 2 goes to the
    /// other shards again after a crash, and meets who subscribed meanwhile.
    pub(in crate::sim) fn routed_before(&self) -> Tick {
        let once = match self.qos {
            1 => self.sends <= 1,
            _ => self.doubts == 0,
        };
        self.kept().filter(|_| once).or(self.over).unwrap_or(Tick::MAX)
    }

    /// How often the broker may have routed it to somebody who gets it at `qos`: it knows a QoS 2
    /// message again, but those who get less than was published may get it before it is kept.
    pub(in crate::sim) fn routings_max(&self, qos: u8) -> u32 {
        let sends = if self.qos == 1 { self.sends.max(1) } else { 1 };
        let once = self.qos == 2 && qos == 2 && self.will_of.is_none();
        if once { sends } else { sends + self.doubts }
    }

    /// Whether every publication of `self` came before every one of `other`.
    pub(in crate::sim) fn is_before(&self, other: &Message) -> bool {
        let same_link_order = self.publisher == other.publisher
            && self.will_of.is_none()
            && other.will_of.is_none()
            && self.last_sent < other.first_sent;
        same_link_order || self.settled().is_some_and(|tick| tick < other.first_sent)
    }
}

/// The payload of message `id`.
pub(in crate::sim) fn payload_of(id: MessageId, body: Body) -> Vec<u8> {
    match body {
        Body::Empty => Vec::new(),
        Body::Numbered { padding } => {
            let mut payload = format!("m{id};").into_bytes();
            payload.extend((0..padding).map(|at| b'a' + ((id + at) % 26) as u8));
            payload
        }
    }
}

/// The number a payload begins with.
pub(in crate::sim) fn number_of(payload: &[u8]) -> Option<MessageId> {
    let end = payload.iter().position(|&byte| byte == b';')?;
    std::str::from_utf8(payload.get(1..end)?).ok()?.parse().ok().filter(|_| payload[0] == b'm')
}

/// What a receiver must get of a message's properties, and the expiry and subscription
/// identifiers it got beside them.
pub(in crate::sim) struct Received {
    pub(in crate::sim) forwarded: Vec<Property>,
    pub(in crate::sim) expiry: Option<u32>,
    pub(in crate::sim) subscription_ids: Vec<u32>,
}

impl Received {
    pub(in crate::sim) fn from(properties: &[Property]) -> Received {
        let mut received =
            Received { forwarded: Vec::new(), expiry: None, subscription_ids: Vec::new() };
        for property in properties {
            match (property.id, &property.value) {
                (property::MESSAGE_EXPIRY, Value::Four(seconds)) => {
                    received.expiry = Some(*seconds);
                }
                (property::SUBSCRIPTION_ID, Value::Variable(id)) => {
                    received.subscription_ids.push(*id);
                }
                (property::TOPIC_ALIAS, _) => {}
                _ => received.forwarded.push(property.clone()),
            }
        }
        received
    }
}

/// Whether `topic` matches `filter`, by the words of section 4.7 and nothing faster.
pub(in crate::sim) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    matches_levels(&filter, &topic)
}

fn matches_levels(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        ([wanted, filter @ ..], [level, topic @ ..]) => {
            (*wanted == "+" || wanted == level) && matches_levels(filter, topic)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_examples_of_the_specification_say() {
        for topic in
            ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/w"]
        {
            assert!(matches("sport/tennis/player1/#", topic), "{topic}");
        }
        assert!(matches("sport/#", "sport"));
        assert!(matches("#", "sport"));
        assert!(matches("sport/tennis/+", "sport/tennis/player1"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("sport/+", "sport"));
        assert!(matches("sport/+", "sport/"));
        assert!(matches("+/+", "/finance") && matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
        assert!(
            !matches("#", "$SYS/x") && !matches("+/x", "$SYS/x") && matches("$SYS/#", "$SYS/x")
        );
    }

    #[test]
    fn a_payload_names_its_message() {
        assert_eq!(number_of(&payload_of(42, Body::Numbered { padding: 9 })), Some(42));
        assert_eq!(number_of(b"m;"), None);
        assert_eq!(number_of(b""), None);
    }
}

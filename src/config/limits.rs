//! What a rule holds each client to that it is about.

use super::error::Problem;
use super::found::Found;

/// Limits of one client, beside those of `[mqtt]`: the lower one holds. What is not limited has
/// the largest value that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections of its user at a time, by whatever client ids.
    pub connections_max: u32,
    /// Largest packet taken from it.
    pub packet_bytes_max: u32,
    /// Deepest topic name or filter.
    pub topic_levels_max: u16,
    /// Longest topic name or filter.
    pub topic_bytes_max: u16,
    /// Subscriptions of its session.
    pub subscriptions_max: u32,
    /// QoS 1 and 2 messages taken from it before the first is acknowledged.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages sent to it and not yet acknowledged.
    pub inflight_messages_max: u16,
    /// Messages that wait for it.
    pub queue_messages_max: u32,
    /// Longest its session is kept.
    pub session_expiry_s_max: u32,
    /// Longest keep-alive; 0 is any.
    pub keep_alive_s_max: u16,
    /// Whether what it publishes may be retained at all.
    pub retain_available: bool,
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            connections_max: u32::MAX,
            packet_bytes_max: u32::MAX,
            topic_levels_max: u16::MAX,
            topic_bytes_max: u16::MAX,
            subscriptions_max: u32::MAX,
            receive_maximum: u16::MAX,
            inflight_messages_max: u16::MAX,
            queue_messages_max: u32::MAX,
            session_expiry_s_max: u32::MAX,
            keep_alive_s_max: 0,
            retain_available: true,
        }
    }
}

impl ClientLimits {
    /// Its keys in a rule.
    pub(super) const KEYS: [&str; 11] = [
        "connections_max",
        "packet_bytes_max",
        "topic_levels_max",
        "topic_bytes_max",
        "subscriptions_max",
        "receive_maximum",
        "inflight_messages_max",
        "queue_messages_max",
        "session_expiry_s_max",
        "keep_alive_s_max",
        "retain_available",
    ];

    /// What both allow.
    pub fn and(self, other: ClientLimits) -> ClientLimits {
        ClientLimits {
            connections_max: self.connections_max.min(other.connections_max),
            packet_bytes_max: self.packet_bytes_max.min(other.packet_bytes_max),
            topic_levels_max: self.topic_levels_max.min(other.topic_levels_max),
            topic_bytes_max: self.topic_bytes_max.min(other.topic_bytes_max),
            subscriptions_max: self.subscriptions_max.min(other.subscriptions_max),
            receive_maximum: self.receive_maximum.min(other.receive_maximum),
            inflight_messages_max: self.inflight_messages_max.min(other.inflight_messages_max),
            queue_messages_max: self.queue_messages_max.min(other.queue_messages_max),
            session_expiry_s_max: self.session_expiry_s_max.min(other.session_expiry_s_max),
            keep_alive_s_max: shorter(self.keep_alive_s_max, other.keep_alive_s_max),
            retain_available: self.retain_available && other.retain_available,
        }
    }

    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == ClientLimits::default()
    }

    /// Whether a topic name or filter is neither too deep nor too long.
    pub fn allows_topic(&self, topic: &str) -> bool {
        let levels = || topic.bytes().filter(|byte| *byte == b'/').count() + 1;
        topic.len() <= usize::from(self.topic_bytes_max)
            && (topic.len() < usize::from(self.topic_levels_max)
                || levels() <= usize::from(self.topic_levels_max))
    }

    /// Takes the value of one of its keys.
    pub(super) fn read(&mut self, name: &str, found: &Found<'_>, problems: &mut Vec<Problem>) {
        match name {
            "connections_max" => self.connections_max = number(found, problems, 1, u32::MAX),
            "packet_bytes_max" => self.packet_bytes_max = number(found, problems, 128, u32::MAX),
            "topic_levels_max" => self.topic_levels_max = short(found, problems, 1),
            "topic_bytes_max" => self.topic_bytes_max = short(found, problems, 1),
            "subscriptions_max" => self.subscriptions_max = number(found, problems, 1, u32::MAX),
            "receive_maximum" => self.receive_maximum = short(found, problems, 1),
            "inflight_messages_max" => self.inflight_messages_max = short(found, problems, 1),
            "queue_messages_max" => self.queue_messages_max = number(found, problems, 0, u32::MAX),
            "session_expiry_s_max" => {
                self.session_expiry_s_max = number(found, problems, 0, u32::MAX);
            }
            "keep_alive_s_max" => self.keep_alive_s_max = short(found, problems, 0),
            _ => match found.boolean() {
                Some(available) => self.retain_available = available,
                None => problems.push(found.unsuitable("true or false".to_owned(), None)),
            },
        }
    }
}

/// The shorter of two keep-alives, of which 0 is the longest.
fn shorter(one: u16, other: u16) -> u16 {
    match (one, other) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    }
}

fn short(found: &Found<'_>, problems: &mut Vec<Problem>, least: u32) -> u16 {
    number(found, problems, least, u16::MAX.into()) as u16
}

fn number(found: &Found<'_>, problems: &mut Vec<Problem>, least: u32, most: u32) -> u32 {
    let number = found.integer().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| (least..=most).contains(number)).unwrap_or_else(|| {
        problems.push(found.unsuitable(format!("a whole number from {least} to {most}"), None));
        most
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_holds() {
        let one = ClientLimits {
            connections_max: 3,
            keep_alive_s_max: 60,
            retain_available: false,
            ..ClientLimits::default()
        };
        let other = ClientLimits {
            connections_max: 5,
            queue_messages_max: 0,
            keep_alive_s_max: 0,
            ..ClientLimits::default()
        };
        let both = ClientLimits { queue_messages_max: 0, ..one };
        assert_eq!((one.and(other), other.and(one)), (both, both));
        assert!(ClientLimits::default().and(ClientLimits::default()).is_unlimited());
        assert!(!both.is_unlimited());
    }

    #[test]
    fn topics_have_levels_and_bytes() {
        let limits =
            ClientLimits { topic_levels_max: 3, topic_bytes_max: 8, ..ClientLimits::default() };
        for topic in ["a/b/c", "a", "abcdefgh", "//", "ab/cd/ef"] {
            assert!(limits.allows_topic(topic), "{topic}");
        }
        for topic in ["a/b/c/d", "///", "abcdefghi"] {
            assert!(!limits.allows_topic(topic), "{topic}");
        }
    }
}

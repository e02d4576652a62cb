//! Topic names and topic filters: both exist only if they are legal.

/// A topic name: at least one character, no wildcard, no U+0000. [MQTT-4.7.3-1, -2, 3.3.2-2]
///
/// Empty only inside a PUBLISH of 5.0 that uses a topic alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

/// A topic filter: at least one character, wildcards only as whole levels, `#` only as the
/// last, no U+0000. [MQTT-4.7.1-1, -2, -3, 4.7.3-1, -2]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a>(&'a str);

/// What a SUBSCRIBE packet names: a filter, perhaps within a shared group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriptionFilter<'a> {
    /// Every subscriber gets every message.
    Plain(TopicFilter<'a>),
    /// `$share/{group}/{filter}`, or `$queue/{filter}` whose group is `""`: one member gets each.
    Shared {
        /// The share name; empty for `$queue`.
        group: &'a str,
        /// The filter within the group.
        filter: TopicFilter<'a>,
    },
}

/// Why a string is no topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No character at all. [MQTT-4.7.3-1]
    Empty,
    /// U+0000. [MQTT-4.7.3-2]
    Null,
    /// Longer than 65,535 bytes. [MQTT-4.7.3-3]
    TooLong,
    /// `+` or `#` in a topic name, or not as a whole level, or `#` before the last level.
    Wildcard,
    /// `$share` without a share name or a filter, or a share name with a wildcard.
    /// [MQTT-4.8.2-1, -2]
    ShareName,
}

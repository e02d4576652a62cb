//! Topic names and topic filters: both exist only if they are legal.

use std::fmt;
use std::str::Split;

use super::DecodeError;

/// A topic name: at least one character, no wildcard, no U+0000. [MQTT-4.7.3-1, -2, 3.3.2-2]
///
/// Empty only inside a PUBLISH of 5.0 that uses a topic alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

/// A topic filter: at least one character, wildcards only as whole levels, `#` only as the
/// last, no U+0000. [MQTT-4.7.1-1, -2, 4.7.3-1, -2]
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

impl<'a> SubscriptionFilter<'a> {
    /// The filter, without the group if it is one's.
    pub fn within_group(self) -> TopicFilter<'a> {
        match self {
            SubscriptionFilter::Plain(filter) | SubscriptionFilter::Shared { filter, .. } => filter,
        }
    }
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

impl<'a> TopicName<'a> {
    /// The topic name that this string is.
    pub fn new(name: &'a str) -> Result<TopicName<'a>, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        check_length(name)?;
        check_name_bytes(name.as_bytes())?;
        Ok(TopicName(name))
    }

    /// No topic name: the topic alias beside it says which.
    #[inline]
    pub fn empty() -> TopicName<'static> {
        TopicName("")
    }

    /// The topic name of a string that was one before.
    #[inline]
    pub(crate) fn from_checked(name: &'a str) -> TopicName<'a> {
        debug_assert!(name.is_empty() || TopicName::new(name).is_ok());
        TopicName(name)
    }

    /// The topic name of a string field; may be empty.
    #[inline]
    pub(super) fn from_field(bytes: &'a [u8]) -> Result<TopicName<'a>, DecodeError> {
        let name = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?; // [MQTT-3.3.2-1]
        check_name_bytes(bytes).map_err(DecodeError::TopicName)?;
        Ok(TopicName::from_checked(name))
    }

    /// As a string.
    #[inline]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Whether a topic alias stands for it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its levels; each may be empty.
    #[inline]
    pub fn levels(&self) -> Split<'a, char> {
        self.0.split('/')
    }
}

impl<'a> TopicFilter<'a> {
    /// The topic filter that this string is. Shared subscriptions are no filters but name one,
    /// see [`SubscriptionFilter`].
    pub fn new(filter: &'a str) -> Result<TopicFilter<'a>, TopicError> {
        if filter.is_empty() {
            return Err(TopicError::Empty);
        }
        check_characters(filter)?;
        check_wildcards(filter)?;
        Ok(TopicFilter(filter))
    }

    /// The topic filter of a string that was one before.
    #[inline]
    pub(crate) fn from_checked(filter: &'a str) -> TopicFilter<'a> {
        debug_assert!(TopicFilter::new(filter).is_ok());
        TopicFilter(filter)
    }

    /// As a string.
    #[inline]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Its levels; each may be empty, `+` or, if last, `#`.
    #[inline]
    pub fn levels(&self) -> Split<'a, char> {
        self.0.split('/')
    }

    /// Whether it may match more than one topic name.
    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Whether a message on `topic` is meant. Level by level as the specification tells it; the
    /// router has a faster way for many filters, and tests that compare it to this one.
    pub fn matches(&self, topic: &str) -> bool {
        // A leading wildcard means no topic that begins with `$`. [MQTT-4.7.2-1]
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = topic.split('/');
        for filter_level in self.levels() {
            // `#` means its parent too: "sport/#" matches "sport".
            if filter_level == "#" {
                return true;
            }
            match topic_levels.next() {
                Some(level) if filter_level == "+" || filter_level == level => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

impl<'a> SubscriptionFilter<'a> {
    /// The filter, and the group if it is a shared one. Shared subscriptions are of 5.0, but
    /// clients of the older versions write them too and other brokers let them.
    pub fn parse(text: &'a str) -> Result<SubscriptionFilter<'a>, TopicError> {
        check_characters(text)?;
        if let Some(group_and_filter) = text.strip_prefix("$share/") {
            let (group, filter) = group_and_filter.split_once('/').ok_or(TopicError::ShareName)?; // [MQTT-4.8.2-2]
            if group.is_empty() || group.contains(['+', '#']) {
                return Err(TopicError::ShareName); // [MQTT-4.8.2-1]
            }
            return SubscriptionFilter::shared(group, filter);
        }
        match text.strip_prefix("$queue/") {
            Some(filter) => SubscriptionFilter::shared("", filter),
            None => TopicFilter::new(text).map(SubscriptionFilter::Plain),
        }
    }

    fn shared(group: &'a str, filter: &'a str) -> Result<SubscriptionFilter<'a>, TopicError> {
        if filter.is_empty() {
            return Err(TopicError::ShareName);
        }
        Ok(SubscriptionFilter::Shared { group, filter: TopicFilter::new(filter)? })
    }

    /// The filter that topics are matched with.
    #[inline]
    pub fn topic_filter(&self) -> TopicFilter<'a> {
        match *self {
            SubscriptionFilter::Plain(filter) | SubscriptionFilter::Shared { filter, .. } => filter,
        }
    }

    /// Whether it is shared.
    #[inline]
    pub fn is_shared(&self) -> bool {
        matches!(self, SubscriptionFilter::Shared { .. })
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// As the client wrote it.
impl fmt::Display for SubscriptionFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubscriptionFilter::Plain(filter) => write!(f, "{filter}"),
            SubscriptionFilter::Shared { group: "", filter } => write!(f, "$queue/{filter}"),
            SubscriptionFilter::Shared { group, filter } => write!(f, "$share/{group}/{filter}"),
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicError::Empty => "is empty",
            TopicError::Null => "contains U+0000",
            TopicError::TooLong => "is longer than 65535 bytes",
            TopicError::Wildcard => "has a wildcard where none may be",
            TopicError::ShareName => "lacks a legal share name or a filter after it",
        })
    }
}

impl std::error::Error for TopicError {}

fn check_characters(text: &str) -> Result<(), TopicError> {
    check_length(text)?;
    if text.as_bytes().contains(&0) { Err(TopicError::Null) } else { Ok(()) }
}

fn check_length(text: &str) -> Result<(), TopicError> {
    if text.len() > usize::from(u16::MAX) { Err(TopicError::TooLong) } else { Ok(()) }
}

/// No U+0000 and no wildcard. One pass without an exit, so that it becomes vector code; which of
/// the two it was is asked only on the way out.
#[inline]
fn check_name_bytes(bytes: &[u8]) -> Result<(), TopicError> {
    let forbidden = bytes.iter().fold(false, |found, byte| found | matches!(byte, 0 | b'+' | b'#'));
    if !forbidden {
        return Ok(());
    }
    Err(if bytes.contains(&0) { TopicError::Null } else { TopicError::Wildcard })
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        let legal = match level {
            "+" => true,
            "#" => levels.next().is_none(),   // [MQTT-4.7.1-2]
            _ => !level.contains(['+', '#']), // [MQTT-4.7.1-2]
        };
        if !legal {
            return Err(TopicError::Wildcard);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap_or_else(|error| panic!("{text:?} {error}"))
    }

    #[test]
    fn a_topic_name_has_characters_but_no_wildcard_and_no_null() {
        for legal in ["a", "/", "a//b", "$SYS/x", " ", "\u{FEFF}", "\u{FFFF}", "a b/\u{E4}"] {
            assert_eq!(TopicName::new(legal).map(|name| name.as_str()), Ok(legal));
        }
        // [MQTT-4.7.3-1, -2, 4.7.0-1]
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a\0"), Err(TopicError::Null));
        for wild in ["#", "+", "a/+/b", "a+"] {
            assert_eq!(TopicName::new(wild), Err(TopicError::Wildcard));
        }
    }

    #[test]
    fn topics_end_at_65535_bytes() {
        // [MQTT-4.7.3-3]
        let longest = "a".repeat(65_535);
        let longer = "a".repeat(65_536);
        assert!(TopicName::new(&longest).is_ok());
        assert!(TopicFilter::new(&longest).is_ok());
        assert_eq!(TopicName::new(&longer), Err(TopicError::TooLong));
        assert_eq!(TopicFilter::new(&longer), Err(TopicError::TooLong));
        assert_eq!(SubscriptionFilter::parse(&longer), Err(TopicError::TooLong));
    }

    #[test]
    fn wildcards_of_a_filter_are_whole_levels_and_the_last_may_be_a_hash() {
        for legal in ["#", "+", "/", "+/+", "sport/#", "/+", "+/tennis/#", "sport/+/player1"] {
            assert!(TopicFilter::new(legal).is_ok(), "{legal}");
        }
        // [MQTT-4.7.1-1, -2], the examples of the specification among them.
        for illegal in ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "#/", "##", "+a/b"] {
            assert_eq!(TopicFilter::new(illegal), Err(TopicError::Wildcard), "{illegal}");
        }
        assert_eq!(TopicFilter::new(""), Err(TopicError::Empty));
        assert_eq!(TopicFilter::new("a/\0"), Err(TopicError::Null));
    }

    #[test]
    fn a_filter_without_wildcards_matches_itself_alone() {
        assert!(filter("/finance").matches("/finance"));
        for topic in ["finance", "/Finance", "/finance/", "/finance/x", "/", ""] {
            assert!(!filter("/finance").matches(topic), "{topic}");
        }
        assert!(!filter("/finance").has_wildcard());
    }

    #[test]
    fn a_hash_matches_what_is_below_and_its_parent() {
        let players = filter("sport/tennis/player1/#");
        assert!(players.has_wildcard());
        for topic in ["", "/ranking", "/score/wimbledon", "/"] {
            assert!(players.matches(&format!("sport/tennis/player1{topic}")), "{topic}");
        }
        for topic in ["sport/tennis/player10", "sport/tennis", "sport"] {
            assert!(!players.matches(topic), "{topic}");
        }
        assert!(filter("#").matches("a") && filter("#").matches("/"));
    }

    #[test]
    fn a_plus_matches_one_level() {
        assert!(filter("sport/tennis/+").matches("sport/tennis/player1"));
        assert!(!filter("sport/tennis/+").matches("sport/tennis/player1/ranking"));
        assert!(!filter("sport/+").matches("sport"));
        assert!(filter("sport/+").matches("sport/"));
        for matching in ["+/+", "/+"] {
            assert!(filter(matching).matches("/finance"), "{matching}");
        }
        assert!(!filter("+").matches("/finance"));
        assert!(filter("+/b/#").matches("a/b"));
    }

    #[test]
    fn a_leading_wildcard_does_not_match_a_topic_that_begins_with_a_dollar() {
        // [MQTT-4.7.2-1]
        for wild in ["#", "+", "+/monitor/Clients", "+/#"] {
            assert!(!filter(wild).matches("$SYS/monitor/Clients"), "{wild}");
            assert!(!filter(wild).matches("$SYS"), "{wild}");
        }
        assert!(filter("$SYS/#").matches("$SYS/monitor/Clients"));
        assert!(filter("$SYS/monitor/+").matches("$SYS/monitor/Clients"));
        assert!(filter("a/+").matches("a/$b"));
    }

    #[test]
    fn a_shared_filter_names_its_group() {
        let shared = |group, text| Ok(SubscriptionFilter::Shared { group, filter: filter(text) });
        assert_eq!(SubscriptionFilter::parse("$share/g/a/#"), shared("g", "a/#"));
        assert_eq!(SubscriptionFilter::parse("$share/g//"), shared("g", "/"));
        assert_eq!(SubscriptionFilter::parse("$queue/a/+"), shared("", "a/+"));
        for plain in ["$share", "$queue", "$shared/g/a", "a/$share/b/c", "/$share/g/a"] {
            assert_eq!(
                SubscriptionFilter::parse(plain),
                Ok(SubscriptionFilter::Plain(filter(plain))),
            );
        }
    }

    #[test]
    fn a_shared_filter_without_group_or_filter_is_none() {
        // [MQTT-4.8.2-1, -2]
        for text in [
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$queue/",
        ] {
            assert_eq!(SubscriptionFilter::parse(text), Err(TopicError::ShareName), "{text}");
        }
        assert_eq!(SubscriptionFilter::parse("$share/g/a#"), Err(TopicError::Wildcard));
        assert_eq!(SubscriptionFilter::parse("$share/g\0/a"), Err(TopicError::Null));
        assert_eq!(SubscriptionFilter::parse(""), Err(TopicError::Empty));
    }

    #[test]
    fn a_subscription_is_displayed_as_the_client_wrote_it() {
        for text in ["a/+", "$share/g/a/#", "$queue/a"] {
            let parsed = SubscriptionFilter::parse(text).expect("legal");
            assert_eq!(parsed.to_string(), text);
        }
    }
}

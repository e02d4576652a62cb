//! `[[auth.rules]]`: what clients may do.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use toml::de::DeTable;

use super::error::{Fault, Problem};
use super::found::{Found, Lines};
use super::kind::{Kind, nearest};
use super::limits::ClientLimits;

/// One rule: whom it is about, and what they may and may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// These users; empty: all, and those who named none.
    pub users: Vec<String>,
    /// Those who belong to one of these groups; empty: all.
    pub groups: Vec<String>,
    /// These client ids; empty: all.
    pub client_ids: Vec<String>,
    /// Those who come from these networks; empty: from anywhere.
    pub networks: Vec<Network>,
    /// Those who come to the listeners with these names; empty: to any.
    pub listeners: Vec<String>,
    /// Topic filters of what they may publish.
    pub publish: Vec<String>,
    /// Topic filters of what they may subscribe to.
    pub subscribe: Vec<String>,
    /// Topic filters of what they may not publish, whatever else allows it.
    pub deny_publish: Vec<String>,
    /// Topic filters of what they may not subscribe to, whatever else allows it.
    pub deny_subscribe: Vec<String>,
    /// The highest QoS that is allowed.
    pub qos_max: u8,
    /// Whether what they publish may be retained.
    pub retain: bool,
    /// Messages a second that each of them may publish; 0: any number.
    pub messages_per_s_max: u32,
    /// Bytes a second that each of them may send; 0: any number.
    pub bytes_per_s_max: u32,
    /// What else each of them is held to.
    pub limits: ClientLimits,
    /// One of the lists of filters is there, if only to say that nothing is allowed.
    pub is_given: bool,
}

impl Default for RuleConfig {
    fn default() -> RuleConfig {
        RuleConfig {
            users: Vec::new(),
            groups: Vec::new(),
            client_ids: Vec::new(),
            networks: Vec::new(),
            listeners: Vec::new(),
            publish: Vec::new(),
            subscribe: Vec::new(),
            deny_publish: Vec::new(),
            deny_subscribe: Vec::new(),
            qos_max: 2,
            retain: true,
            messages_per_s_max: 0,
            bytes_per_s_max: 0,
            limits: ClientLimits::default(),
            is_given: false,
        }
    }
}

impl RuleConfig {
    /// Whether it is about topics, rather than about limits alone.
    pub fn decides(&self) -> bool {
        let lists = [&self.publish, &self.subscribe, &self.deny_publish, &self.deny_subscribe];
        self.is_given || lists.iter().any(|list| !list.is_empty())
    }

    /// A rule as an inline table of TOML, as the lines of a password file have it.
    ///
    /// # Errors
    ///
    /// What should stand there.
    pub fn parse(text: &str) -> Result<RuleConfig, &'static str> {
        let expected = "after the hash stands a rule such as { publish = [\"own/%u/#\"] }";
        let text = format!("rule = {}", text.trim());
        let lines = Lines::new(Path::new(""), text.as_bytes());
        let table = DeTable::parse(&text).map_err(|_| expected)?;
        let mut problems = Vec::new();
        let mut entries = Found::entries_of(table.get_ref(), &lines, "");
        let (_, found) = entries.pop().ok_or(expected)?;
        let rule = rule(&found, &mut problems).filter(|_| entries.is_empty());
        rule.filter(|_| problems.is_empty()).ok_or(expected)
    }

    /// The rule as [`RuleConfig::parse`] takes it.
    pub fn inline(&self) -> String {
        let lists = [("publish", &self.publish), ("subscribe", &self.subscribe)];
        let lists = lists.iter().filter(|(_, filters)| !filters.is_empty());
        // Strings of JSON are strings of TOML, which those of Rust are not always.
        let list = |list: &[String]| serde_json::json!(list).to_string();
        let lists: Vec<String> =
            lists.map(|(key, filters)| format!("{key} = {}", list(filters))).collect();
        format!("{{ {} }}", lists.join(", "))
    }
}

/// `ADDRESS/BITS`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    const EXPECTED: &str = "a network such as \"10.0.0.0/8\"";

    /// That of so many bits around an address.
    pub fn around(address: IpAddr, bits: u8) -> Network {
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
                IpAddr::from((u32::from(address) & mask).to_be_bytes())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
                IpAddr::from((u128::from(address) & mask).to_be_bytes())
            }
        };
        Network { address, bits }
    }

    /// Its first address, or as it was written.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of an address decide.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether an address is in it; one of IPv4 written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let wide = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        let same_kind = self.address.is_ipv4() == address.to_canonical().is_ipv4();
        let differing = wide(self.address) ^ wide(address);
        same_kind && differing.leading_zeros() >= u32::from(self.bits)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(drop)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(drop))?;
        if bits <= most { Ok(Network { address, bits }) } else { Err(()) }
    }
}

fn network(found: &Found<'_>) -> Option<Network> {
    found.as_text()?.parse().ok()
}

/// A list of networks.
pub(super) struct Networks;

impl Kind for Networks {
    type Value = Vec<Network>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<Network>> {
        found.each(&self.expected(), Network::EXPECTED, problems, network)
    }

    fn expected(&self) -> String {
        "a list of networks such as [\"10.0.0.0/8\", \"::1\"]".to_owned()
    }

    fn show(&self, networks: &Vec<Network>) -> Option<String> {
        let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
        (!networks.is_empty()).then(|| format!("{networks:?}"))
    }

    fn sample(&self) -> Option<String> {
        Some("[\"10.0.0.0/8\"]".to_owned())
    }
}

/// Groups and their users.
pub(super) struct Groups;

impl Kind for Groups {
    type Value = BTreeMap<String, Vec<String>>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Self::Value> {
        let Some(entries) = found.entries() else {
            problems.push(found.unsuitable(self.expected(), None));
            return None;
        };
        let mut groups = BTreeMap::new();
        for (name, found) in entries {
            let users = found.each("a list of user names", "a user name", problems, name_of);
            groups.insert(name.to_owned(), users.unwrap_or_default());
        }
        Some(groups)
    }

    fn expected(&self) -> String {
        "a table of group = [\"user\", ...]".to_owned()
    }

    fn show(&self, _groups: &Self::Value) -> Option<String> {
        None
    }
}

/// A list of rules.
pub(super) struct RuleList;

const KEYS: [&str; 13] = [
    "users",
    "groups",
    "client_ids",
    "networks",
    "listeners",
    "publish",
    "subscribe",
    "deny_publish",
    "deny_subscribe",
    "qos_max",
    "retain",
    "messages_per_s_max",
    "bytes_per_s_max",
];

/// Those of them that allow or deny topics.
const LISTS: [&str; 4] = ["publish", "subscribe", "deny_publish", "deny_subscribe"];

impl Kind for RuleList {
    type Value = Vec<RuleConfig>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<RuleConfig>> {
        let Some(items) = found.items() else {
            problems.push(found.unsuitable(self.expected(), None));
            return None;
        };
        Some(items.iter().filter_map(|item| rule(item, problems)).collect())
    }

    fn expected(&self) -> String {
        "[[auth.rules]] tables of users, groups, client_ids, networks, listeners, publish, subscribe, \
         deny_publish, deny_subscribe, qos_max, retain, messages_per_s_max, bytes_per_s_max and "
            .to_owned()
            + &ClientLimits::KEYS.join(", ")
    }

    fn show(&self, rules: &Vec<RuleConfig>) -> Option<String> {
        rules.is_empty().then(|| "[]".to_owned())
    }
}

fn rule(found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<RuleConfig> {
    let Some(entries) = found.entries() else {
        problems.push(found.unsuitable("a table".to_owned(), None));
        return None;
    };
    let mut rule = RuleConfig::default();
    for (name, found) in entries {
        rule.is_given |= LISTS.contains(&name);
        match name {
            "users" => rule.users = condition(&found, "a user name", problems, name_of),
            "groups" => rule.groups = condition(&found, "the name of a group", problems, name_of),
            "client_ids" => rule.client_ids = condition(&found, "a client id", problems, name_of),
            "listeners" => {
                rule.listeners = condition(&found, "the name of a listener", problems, name_of);
            }
            "networks" => {
                rule.networks = condition(&found, Network::EXPECTED, problems, network);
            }
            "publish" => rule.publish = filters(&found, problems),
            "subscribe" => rule.subscribe = filters(&found, problems),
            "deny_publish" => rule.deny_publish = filters(&found, problems),
            "deny_subscribe" => rule.deny_subscribe = filters(&found, problems),
            "qos_max" => match found.integer() {
                Some(qos @ 0..=2) => rule.qos_max = qos as u8,
                _ => problems.push(found.unsuitable("0, 1 or 2".to_owned(), None)),
            },
            "messages_per_s_max" | "bytes_per_s_max" => {
                let limit = found.integer().and_then(|limit| u32::try_from(limit).ok());
                match (limit, name) {
                    (Some(limit), "messages_per_s_max") => rule.messages_per_s_max = limit,
                    (Some(limit), _) => rule.bytes_per_s_max = limit,
                    (None, _) => {
                        let expected = format!("a whole number from 0 to {}", u32::MAX);
                        problems.push(found.unsuitable(expected, None));
                    }
                }
            }
            "retain" => match found.boolean() {
                Some(retain) => rule.retain = retain,
                None => problems.push(found.unsuitable("true or false".to_owned(), None)),
            },
            _ if ClientLimits::KEYS.contains(&name) => rule.limits.read(name, &found, problems),
            _ => {
                let nearest =
                    nearest(name, KEYS.into_iter().chain(ClientLimits::KEYS)).map(str::to_owned);
                problems.push(found.problem(Fault::UnknownKey { nearest }));
            }
        }
    }
    Some(rule)
}

/// Whom a rule is about. Without the key that is everybody, and an empty list, which reads as
/// nobody, must not come to the same.
fn condition<'a, T>(
    found: &Found<'a>,
    element: &str,
    problems: &mut Vec<Problem>,
    take: impl Fn(&Found<'a>) -> Option<T>,
) -> Vec<T> {
    let list = format!("a list, each {element}");
    let taken = found.each(&list, element, problems, take);
    if taken.as_ref().is_some_and(Vec::is_empty) {
        let reason = format!("empty; give {element}, or remove the key if it is about all");
        problems.push(found.problem(Fault::Conflict { reason }));
    }
    taken.unwrap_or_default()
}

fn name_of(found: &Found<'_>) -> Option<String> {
    found.as_text().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn filters(found: &Found<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let list = "a list of topic filters, in which %u and %c stand for user and client id";
    let element = "a topic filter, in which %u, %c and %{cert.cn} alone stand for something";
    let filter =
        |item: &Found<'_>| item.as_text().filter(|text| is_filter_of_rule(text)).map(str::to_owned);
    found.each(list, element, problems, filter).unwrap_or_default()
}

/// Whether a text can be a topic filter of a rule: what reads like a mark in it is one.
pub fn is_filter_of_rule(filter: &str) -> bool {
    let is_known =
        |mark: &str| ["%u", "%c", "%{cert.cn}"].iter().any(|known| mark.starts_with(known));
    let reads_like_one =
        |mark: &str| mark[1..].starts_with(|next: char| next == '{' || next.is_ascii_alphabetic());
    let mut marks = filter.match_indices('%').map(|(at, _)| &filter[at..]);
    is_filter(filter) && marks.all(|mark| is_known(mark) || !reads_like_one(mark))
}

/// Whether a text can be a topic filter.
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut legal = !filter.is_empty() && filter.len() <= 65_535 && !filter.contains('\0');
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        legal &= !wild || level == "+" || (level == "#" && levels.peek().is_none());
    }
    legal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_limits() {
        let rule = RuleConfig::parse(
            "{ connections_max = 2, packet_bytes_max = 200, topic_levels_max = 3, \
             topic_bytes_max = 20, subscriptions_max = 2, receive_maximum = 3, \
             inflight_messages_max = 4, queue_messages_max = 0, session_expiry_s_max = 0, \
             keep_alive_s_max = 20, retain_available = false }",
        );
        let limits = ClientLimits {
            connections_max: 2,
            packet_bytes_max: 200,
            topic_levels_max: 3,
            topic_bytes_max: 20,
            subscriptions_max: 2,
            receive_maximum: 3,
            inflight_messages_max: 4,
            queue_messages_max: 0,
            session_expiry_s_max: 0,
            keep_alive_s_max: 20,
            retain_available: false,
        };
        assert_eq!(rule, Ok(RuleConfig { limits, ..RuleConfig::default() }));
        let wrong = [
            "connections_max = 0",
            "packet_bytes_max = 100",
            "topic_levels_max = 65536",
            "receive_maximum = 0",
            "retain_available = 1",
            "queue_messages_max = -1",
            "inflight_max = 3",
        ];
        for wrong in wrong {
            assert!(RuleConfig::parse(&format!("{{ {wrong} }}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let publish = ["own/%u/#", "a\\\"b'c", "\u{200b}\u{e9}\u{1f980}", "a b"];
        let publish = publish.map(str::to_owned).to_vec();
        let rule = RuleConfig { publish, is_given: true, ..RuleConfig::default() };
        assert_eq!(RuleConfig::parse(&rule.inline()), Ok(rule));
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().expect("a network");
            network.contains(address.parse().expect("an address"))
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.1", "10.0.0.1") && !holds("10.0.0.1", "10.0.0.2"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fe80::/10", "fe80::1") && holds("10.0.0.0/8", "::ffff:10.1.1.1"));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}

//! What clients may do: rules, and what they come to for one client.
//!
//! Where there is no rule everybody may do everything; once there is one, be it a list of nothing,
//! only what a rule allows and none denies. A subscription is allowed if a rule covers every topic
//! it can match, and denied if one that denies meets any of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::Rates;
use super::fault::LineFault;
use crate::config::{ClientLimits, Network, RuleConfig, is_filter};
use crate::proto::QoS;

/// Every rule, and the users of each group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Only what is allowed may be done, even where nothing is.
    decides: bool,
    groups: BTreeMap<String, Vec<String>>,
    /// How much those may send whom they are about, and what else they are held to.
    limits: Vec<(Whom, Rates, ClientLimits)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    whom: Whom,
    entry: Entry,
}

/// Whom a rule is about: everybody whom every list that is not empty names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Whom {
    users: Vec<String>,
    /// Those who named no user.
    anonymous: bool,
    groups: Vec<String>,
    client_ids: Vec<String>,
    networks: Vec<Network>,
    listeners: Vec<String>,
}

/// What it says; `%u`, `%c` and `%{cert.cn}` in the filter stand for user, client id and the common
/// name of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    place: Place,
    action: Action,
    denies: bool,
    filter: Box<str>,
    qos_max: QoS,
    retain: bool,
}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the configuration, counted from 0.
    Rule(usize),
    /// In this line of the `acl_file`, which says `topic`: marks are none there, and it goes before
    /// what `pattern` says.
    AclTopic(usize),
    /// In this line of it, which says `pattern`.
    AclPattern(usize),
    /// With what is known of its user alone.
    Own,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message is published, as a will too.
    Publish,
    /// A subscription is made.
    Subscribe,
}

/// Who does it.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// The user that was proved; nothing for those who named none.
    pub user: Option<&'a str>,
    /// Groups it belongs to, beside those that name it.
    pub groups: &'a [Box<str>],
    /// The client id.
    pub client_id: &'a str,
    /// Where it comes from.
    pub address: IpAddr,
    /// The name of the listener it came to.
    pub listener: &'a str,
    /// The common name of its certificate, if it has shown one.
    pub common_name: Option<&'a str>,
}

/// What one client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Entry>);

impl Rules {
    /// Those of a configuration, whose groups have these users.
    pub fn of(configs: &[RuleConfig], groups: &BTreeMap<String, Vec<String>>) -> Rules {
        let (mut rules, mut limits, mut decides) = (Vec::new(), Vec::new(), false);
        for (index, config) in configs.iter().enumerate() {
            decides |= config.decides();
            let whom = Whom {
                users: config.users.clone(),
                anonymous: false,
                groups: config.groups.clone(),
                client_ids: config.client_ids.clone(),
                networks: config.networks.clone(),
                listeners: config.listeners.clone(),
            };
            let rates = Rates {
                messages_per_s: config.messages_per_s_max,
                bytes_per_s: config.bytes_per_s_max,
            };
            if !rates.is_unlimited() || !config.limits.is_unlimited() {
                limits.push((whom.clone(), rates, config.limits));
            }
            let lists = [
                (Action::Publish, false, &config.publish),
                (Action::Subscribe, false, &config.subscribe),
                (Action::Publish, true, &config.deny_publish),
                (Action::Subscribe, true, &config.deny_subscribe),
            ];
            for (action, denies, filters) in lists {
                for filter in filters {
                    let qos_max = QoS::from_bits(config.qos_max).unwrap_or(QoS::ExactlyOnce);
                    let (filter, retain) = (filter.as_str().into(), config.retain);
                    let place = Place::Rule(index);
                    let entry = Entry { place, action, denies, filter, qos_max, retain };
                    rules.push(Rule { whom: whom.clone(), entry });
                }
            }
        }
        Rules { rules, decides, groups: groups.clone(), limits }
    }

    /// Adds those of an `acl_file` of Mosquitto: `topic` lines for those without a user, below
    /// `user NAME` for that user, and `pattern` lines for everybody. As there, the former decide
    /// where they allow or deny, and of lines of one kind those that deny go first. A file that
    /// allows nobody anything does just that, as there: it may have been cut short.
    ///
    /// # Errors
    ///
    /// The lines that are wrong, at least one.
    pub fn add_acl(&mut self, text: &str) -> Result<(), Vec<LineFault>> {
        self.decides = true;
        let mut whom = Whom { anonymous: true, ..Whom::default() };
        let mut faults = Vec::new();
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            if let Err(reason) = self.add_acl_line(&mut whom, line, text) {
                faults.push(LineFault { line, reason });
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// `whom` is whom the `topic` lines are about from here on.
    fn add_acl_line(
        &mut self,
        whom: &mut Whom,
        line: usize,
        text: &str,
    ) -> Result<(), &'static str> {
        let (word, rest) = text.split_once(char::is_whitespace).ok_or(
            "expected \"user NAME\", \"topic [ACCESS] FILTER\" or \"pattern [ACCESS] FILTER\"",
        )?;
        let rest = rest.trim();
        match word {
            "user" => *whom = Whom { users: vec![rest.to_owned()], ..Whom::default() },
            "topic" => self.add_acl_rule(whom, Place::AclTopic(line), rest)?,
            "pattern" => self.add_acl_rule(&Whom::default(), Place::AclPattern(line), rest)?,
            _ => return Err("a line begins with user, topic or pattern"),
        }
        Ok(())
    }

    fn add_acl_rule(&mut self, whom: &Whom, place: Place, rest: &str) -> Result<(), &'static str> {
        let (access, filter) = match rest.split_once(char::is_whitespace) {
            Some((access @ ("read" | "write" | "readwrite" | "deny"), filter)) => {
                (access, filter.trim())
            }
            // As in Mosquitto, a filter with a space in it is told by the access before it.
            Some(_) => return Err("the access is none of read, write, readwrite and deny"),
            None => ("readwrite", rest),
        };
        if !is_filter(filter) {
            return Err("not a topic filter: + has a level to itself, and so has #, the last one");
        }
        let actions: &[Action] = match access {
            "read" => &[Action::Subscribe],
            "write" => &[Action::Publish],
            _ => &[Action::Publish, Action::Subscribe],
        };
        for action in actions {
            let entry = Entry {
                place,
                action: *action,
                denies: access == "deny",
                filter: filter.into(),
                qos_max: QoS::ExactlyOnce,
                retain: true,
            };
            self.rules.push(Rule { whom: whom.clone(), entry });
        }
        Ok(())
    }

    /// Whether there is none: everybody may do everything.
    pub fn is_empty(&self) -> bool {
        !self.decides
    }

    /// How much one client may send, and what else it is held to: the tightest of all rules.
    pub fn limits(&self, actor: Actor<'_>) -> (Rates, ClientLimits) {
        let applying = self.limits.iter().filter(|(whom, ..)| whom.includes(actor, &self.groups));
        let none = (Rates::default(), ClientLimits::default());
        applying.fold(none, |(rates, limits), (_, more_rates, more_limits)| {
            (rates.and(*more_rates), limits.and(*more_limits))
        })
    }

    /// What is surely denied to a client of whom no more is known than its client id, and maybe
    /// that it proved a user or none: by rules that ask for nothing else, unless what an `acl_file`
    /// allows that user goes before.
    pub fn sure_denials(&self, user: Option<Option<&str>>, client_id: &str) -> Grants {
        let actor = Actor {
            user: user.flatten(),
            groups: &[],
            client_id,
            address: IpAddr::from([0, 0, 0, 0]),
            listener: "",
            common_name: None,
        };
        let is_sure = |rule: &&Rule| {
            let Rule { whom, entry } = rule;
            let overrules = matches!(entry.place, Place::AclTopic(_));
            let is_overruled = matches!(entry.place, Place::AclPattern(_)) && user.is_none();
            (entry.denies || overrules)
                && (user.is_some() || !whom.anonymous)
                && !is_overruled
                && whom.networks.is_empty()
                && whom.listeners.is_empty()
        };
        self.grants_by(actor, is_sure)
    }

    /// What they come to for one client.
    pub fn grants(&self, actor: Actor<'_>) -> Grants {
        self.grants_by(actor, |_| true)
    }

    /// What those of them come to that are of a kind.
    fn grants_by(&self, actor: Actor<'_>, is_of_kind: impl Fn(&&Rule) -> bool) -> Grants {
        let applying = self.rules.iter().filter(is_of_kind);
        let applying = applying.filter(|rule| rule.whom.includes(actor, &self.groups));
        let entries = applying.filter_map(|Rule { entry, .. }| {
            Some(Entry { filter: filled(entry, actor)?.into(), ..entry.clone() })
        });
        Grants(entries.collect())
    }
}

impl Whom {
    fn includes(&self, actor: Actor<'_>, groups: &BTreeMap<String, Vec<String>>) -> bool {
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|other| other == name)
        };
        let user = match actor.user {
            Some(user) => !self.anonymous && among(&self.users, user),
            None => self.users.is_empty(),
        };
        let belongs = |group: &String| {
            let has = |user: &str| {
                groups.get(group).is_some_and(|users| users.iter().any(|other| other == user))
            };
            actor.groups.iter().any(|other| **other == **group) || actor.user.is_some_and(has)
        };
        user && (self.groups.is_empty() || self.groups.iter().any(belongs))
            && among(&self.client_ids, actor.client_id)
            && among(&self.listeners, actor.listener)
            && (self.networks.is_empty()
                || self.networks.iter().any(|network| network.contains(actor.address)))
    }
}

/// The filter with names in place of their marks. Nothing is allowed by a name that would make
/// another filter of it, and what is denied to anybody there is denied to that one.
fn filled(entry: &Entry, actor: Actor<'_>) -> Option<String> {
    let mut filled = entry.filter.to_string();
    match entry.place {
        Place::AclTopic(_) => return Some(filled),
        // Mosquitto allows such a name nothing by a pattern, be there a mark in it or not.
        Place::AclPattern(_) if !entry.denies => {
            let names = [actor.user.unwrap_or_default(), actor.client_id];
            if names.iter().any(|name| name.contains(['+', '#'])) {
                return None;
            }
        }
        _ => {}
    }
    let marks = [
        ("%u", actor.user.unwrap_or_default()),
        ("%{cert.cn}", actor.common_name.unwrap_or_default()),
        ("%c", actor.client_id),
    ];
    for (mark, value) in marks {
        if filled.contains(mark) {
            if value.is_empty() {
                return None;
            }
            if value.contains(['+', '#', '/', '%']) {
                let before = entry.filter.split('/').take_while(|level| !level.contains('%'));
                return entry.denies.then(|| before.chain(["#"]).collect::<Vec<_>>().join("/"));
            }
            filled = filled.replace(mark, value);
        }
    }
    Some(filled)
}

impl Grants {
    /// These and those.
    pub fn join(&mut self, other: Grants) {
        self.0.extend(other.0.into_iter().map(|entry| Entry { place: Place::Own, ..entry }));
    }

    /// Whether a message may be published.
    pub fn may_publish(&self, topic: &str, qos: QoS, retain: bool) -> bool {
        let is_within = |entry: &Entry| qos <= entry.qos_max && (entry.retain || !retain);
        self.allows(Action::Publish, topic, is_within)
    }

    /// Whether something is allowed of a topic by an entry that suits, and denied by none.
    fn allows(&self, action: Action, topic: &str, suits: impl Fn(&Entry) -> bool) -> bool {
        let about = |entry: &&Entry| entry.action == action && covers(&entry.filter, topic);
        let mut allowed = false;
        for entry in self.0.iter().filter(about) {
            if entry.denies && !self.is_overruled(entry, topic, covers) {
                return false;
            }
            allowed |= !entry.denies && suits(entry);
        }
        allowed
    }

    /// Whether a rule that denies does not count for a topic or filter, as an `acl_file` allows it
    /// in a line that goes before.
    fn is_overruled(&self, denies: &Entry, narrow: &str, reaches: fn(&str, &str) -> bool) -> bool {
        let overrules = |entry: &Entry| {
            let is_before = matches!(entry.place, Place::AclTopic(_)) && !entry.denies;
            is_before && entry.action == denies.action && reaches(&entry.filter, narrow)
        };
        matches!(denies.place, Place::AclPattern(_)) && self.0.iter().any(overrules)
    }

    /// The rule that denies an action at a topic, or at some of a filter.
    fn denial(&self, action: Action, narrow: &str) -> Option<&Entry> {
        let denies =
            |entry: &&Entry| entry.denies && entry.action == action && meets(&entry.filter, narrow);
        let mut denying = self.0.iter().filter(denies);
        denying.find(|entry| !self.is_overruled(entry, narrow, covers))
    }

    /// Whether a rule denies it to publish there, rather than that none allows it.
    pub fn denies_publish(&self, topic: &str) -> bool {
        self.denial(Action::Publish, topic).is_some()
    }

    /// Whether a rule denies the subscription, rather than that none allows it.
    pub fn denies_subscribe(&self, filter: &str) -> bool {
        self.denial(Action::Subscribe, filter).is_some()
    }

    /// As [`Grants::may_publish`], and by which rule, or for want of which.
    pub fn explain_publish(&self, topic: &str, qos: QoS, retain: bool) -> (bool, String) {
        if let Some(entry) = self.denial(Action::Publish, topic) {
            return (false, format!("{} denies {:?}", entry.place, entry.filter));
        }
        let about = |entry: &&Entry| entry.action == Action::Publish && !entry.denies;
        let covering: Vec<&Entry> =
            self.0.iter().filter(about).filter(|entry| covers(&entry.filter, topic)).collect();
        let fits = |entry: &&&Entry| qos <= entry.qos_max && (entry.retain || !retain);
        if let Some(entry) = covering.iter().find(fits) {
            return (true, format!("{} allows {:?}", entry.place, entry.filter));
        }
        let why = match covering.first() {
            Some(Entry { place, filter, qos_max, .. }) if qos > *qos_max => {
                format!("{place} allows {filter:?} up to QoS {} alone", *qos_max as u8)
            }
            Some(Entry { place, filter, .. }) => {
                format!("{place} allows {filter:?}, but not to be retained")
            }
            None => "there are rules, and none allows it".to_owned(),
        };
        (false, why)
    }

    /// Whether a message may be read of a subscription that reaches further.
    pub fn may_read(&self, topic: &str) -> bool {
        self.allows(Action::Subscribe, topic, |_| true)
    }

    /// The QoS of a subscription of which a part may be read, at most; nothing if no part may.
    pub fn may_subscribe_to_part(&self, filter: &str) -> Option<QoS> {
        let mut qos_max = None;
        for entry in self.0.iter().filter(|entry| entry.action == Action::Subscribe) {
            if entry.denies
                && covers(&entry.filter, filter)
                && !self.is_overruled(entry, filter, meets)
            {
                return None;
            }
            if !entry.denies && meets(&entry.filter, filter) {
                qos_max = Some(qos_max.map_or(entry.qos_max, |qos| entry.qos_max.min(qos)));
            }
        }
        qos_max
    }

    /// Why a subscription may not be made.
    pub fn explain_refused(&self, filter: &str) -> String {
        match self.denial(Action::Subscribe, filter) {
            Some(entry) => format!("{} denies {:?}", entry.place, entry.filter),
            None => "there are rules, and none allows all of it".to_owned(),
        }
    }

    /// The QoS at which a subscription may be made, at most; nothing if it may not.
    pub fn may_subscribe(&self, filter: &str) -> Option<QoS> {
        let entries = self.0.iter().filter(|entry| entry.action == Action::Subscribe);
        let mut greatest = None;
        for entry in entries {
            if entry.denies
                && meets(&entry.filter, filter)
                && !self.is_overruled(entry, filter, covers)
            {
                return None;
            }
            if !entry.denies && covers(&entry.filter, filter) {
                greatest = greatest.max(Some(entry.qos_max));
            }
        }
        greatest
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Rule(index) => write!(f, "auth.rules[{index}]"),
            Place::AclTopic(line) | Place::AclPattern(line) => {
                write!(f, "line {line} of auth.acl_file")
            }
            Place::Own => f.write_str("a rule of its user alone"),
        }
    }
}

/// Whether every topic that `narrow` matches, a topic or a filter, is matched by `wide`, too.
fn covers(wide: &str, narrow: &str) -> bool {
    if narrow.starts_with('$') && wide.starts_with(['+', '#']) {
        return false;
    }
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether some topic is matched by both filters.
pub fn meets(one: &str, other: &str) -> bool {
    let apart = |plain: &str, wild: &str| plain.starts_with('$') && wild.starts_with(['+', '#']);
    if apart(one, other) || apart(other, one) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn actor<'a>(user: Option<&'a str>, client_id: &'a str) -> Actor<'a> {
        Actor {
            user,
            client_id,
            address: IpAddr::from([10, 0, 0, 1]),
            listener: "lan",
            groups: &[],
            common_name: None,
        }
    }

    fn acl(text: &str) -> Rules {
        let mut rules = Rules::default();
        rules.add_acl(text).unwrap_or_else(|faults| panic!("{faults:?}"));
        rules
    }

    #[test]
    fn an_acl_file_of_mosquitto_says_what_it_says_there() {
        let rules =
            acl("# everybody without a name\ntopic read news/#\n\nuser ann\ntopic chat/+\n\
             topic deny chat/secret\ntopic write log/ann\n\npattern readwrite own/%u/%c/#\n");
        let nobody = rules.grants(actor(None, "c"));
        assert_eq!(nobody.may_subscribe("news/today"), Some(QoS::ExactlyOnce));
        assert_eq!(nobody.may_subscribe("chat/room"), None);
        assert!(!nobody.may_publish("news/today", QoS::AtMostOnce, false));
        let ann = rules.grants(actor(Some("ann"), "phone"));
        assert!(ann.may_publish("chat/room", QoS::ExactlyOnce, true));
        assert!(!ann.may_publish("chat/secret", QoS::AtMostOnce, false));
        assert_eq!(ann.may_subscribe("chat/+"), None, "it would meet what is denied");
        assert_eq!(ann.may_subscribe("chat/room"), Some(QoS::ExactlyOnce));
        assert!(ann.may_publish("log/ann", QoS::AtLeastOnce, false));
        assert_eq!(ann.may_subscribe("log/ann"), None);
        assert!(ann.may_publish("own/ann/phone/x", QoS::AtMostOnce, false));
        assert!(!ann.may_publish("own/ann/tablet/x", QoS::AtMostOnce, false));
        assert_eq!(ann.may_subscribe("news/today"), None, "that was for those without a name");
    }

    #[test]
    fn in_topic_lines_of_an_acl_file_marks_are_none() {
        let rules = acl("user ann\ntopic own/%u/#\ntopic deny shut/%c\ntopic shut/+\n");
        let ann = rules.grants(actor(Some("ann"), "phone"));
        let may = |topic| ann.may_publish(topic, QoS::AtMostOnce, false);
        assert!(may("own/%u/x") && !may("own/ann/x"));
        assert!(may("shut/phone") && !may("shut/%c"));
    }

    #[test]
    fn topic_lines_of_an_acl_file_go_before_its_patterns() {
        let rules = acl("topic read a/open\n\nuser ann\ntopic read a/x\ntopic a/y/#\n\n\
                         user bob\ntopic deny b/#\n\n\
                         pattern a/#\npattern deny a/#\npattern b/#\n");
        let ann = rules.grants(actor(Some("ann"), "c"));
        let may = |topic| ann.may_publish(topic, QoS::AtMostOnce, false);
        assert!(may("a/y/1") && !may("a/x") && !may("a/z") && may("b/1"));
        assert!(!ann.explain_publish("a/x", QoS::AtMostOnce, false).0);
        assert!(ann.explain_publish("a/y/1", QoS::AtMostOnce, false).0);
        assert!(ann.may_read("a/x") && ann.may_read("a/y/1") && !ann.may_read("a/z"));
        assert_eq!(ann.may_subscribe("a/x"), Some(QoS::ExactlyOnce));
        assert_eq!((ann.may_subscribe("a/#"), ann.denies_subscribe("a/#")), (None, true));
        assert_eq!(ann.may_subscribe_to_part("a/#"), Some(QoS::ExactlyOnce));
        assert_eq!(ann.may_subscribe_to_part("a/z"), None);
        let bob = rules.grants(actor(Some("bob"), "c"));
        assert!(!bob.may_read("b/1") && !bob.may_read("a/x") && !bob.may_read("a/open"));
        let nobody = rules.grants(actor(None, "c"));
        assert!(nobody.may_read("a/open") && nobody.may_read("b/1") && !nobody.may_read("a/x"));
    }

    #[test]
    fn a_name_that_holds_wildcards_is_allowed_nothing_by_patterns() {
        let rules = acl("user a#\ntopic read own\n\npattern read news/#\n");
        let may = |user, client_id, topic| rules.grants(actor(user, client_id)).may_read(topic);
        assert!(may(Some("ann"), "c", "news/1") && may(None, "c", "news/1"));
        for (user, client_id) in [(Some("a+"), "c"), (Some("ann"), "c#"), (None, "+")] {
            assert!(!may(user, client_id, "news/1"), "{user:?} {client_id}");
        }
        assert!(may(Some("a#"), "c", "own"), "that is a line of its own");
    }

    #[test]
    fn what_is_surely_denied_needs_no_more_than_a_name() {
        let of = |networks: &str| {
            RuleConfig::parse(&format!("{{ {networks} deny_publish = ['own/%u/x'] }}"))
        };
        let mut rules = Rules::of(
            &[
                of("").expect("a rule"),
                RuleConfig::parse("{ networks = ['10.0.0.0/8'], deny_publish = ['lan'] }")
                    .expect("a rule"),
                RuleConfig::parse("{ users = ['bob'], deny_publish = ['bob'] }").expect("a rule"),
            ],
            &BTreeMap::new(),
        );
        let acl = "topic deny nobody\n\nuser ann\ntopic kept\n\npattern deny kept\npattern #\n";
        rules.add_acl(acl).expect("it is right");
        let denied = |user, topic| rules.sure_denials(user, "c").denies_publish(topic);
        assert!(denied(Some(Some("ann")), "own/ann/x") && !denied(None, "own/ann/x"));
        assert!(denied(Some(Some("bob")), "bob") && !denied(Some(Some("ann")), "bob"));
        assert!(denied(Some(None), "nobody") && !denied(None, "nobody"));
        assert!(denied(Some(Some("bob")), "kept") && !denied(Some(Some("ann")), "kept"));
        assert!(!denied(None, "kept") && !denied(Some(Some("ann")), "lan"));
    }

    #[test]
    fn a_list_of_nothing_allows_nothing() {
        let of = |config: RuleConfig| Rules::of(&[config], &BTreeMap::new());
        for rules in [
            of(RuleConfig { is_given: true, ..RuleConfig::default() }),
            of(RuleConfig::parse("{ publish = [], subscribe = [] }").expect("a rule")),
            acl(""),
            acl("# topic #\nuser ann\n"),
        ] {
            assert!(!rules.is_empty());
            let ann = rules.grants(actor(Some("ann"), "c"));
            assert!(!ann.may_publish("x", QoS::AtMostOnce, false));
            assert_eq!(ann.may_subscribe("x"), None);
        }
        assert!(of(RuleConfig::parse("{ connections_max = 1 }").expect("a limit")).is_empty());
        assert!(Rules::default().is_empty());
    }

    #[test]
    fn a_name_that_holds_wildcards_matches_nothing() {
        let rules = acl("pattern own/%u/#\npattern by/%c/#\n");
        for evil in ["+", "#", "a/b", "%c"] {
            let grants = rules.grants(actor(Some(evil), "c"));
            assert_eq!(grants.may_subscribe("own/+/#"), None, "{evil}");
            assert_eq!(grants.may_subscribe("own/#"), None, "{evil}");
            assert_eq!(rules.grants(actor(Some("u"), evil)).may_subscribe("by/#"), None, "{evil}");
        }
        assert!(!rules.grants(actor(None, "c")).may_publish("own//x", QoS::AtMostOnce, false));
    }

    #[test]
    fn a_name_that_holds_wildcards_is_no_way_around_what_is_denied() {
        let rules = acl("pattern own/#\npattern deny own/%u/%c/secret\n");
        let may = |user, client_id, topic| {
            rules.grants(actor(user, client_id)).may_publish(topic, QoS::AtMostOnce, false)
        };
        assert!(!may(Some("ann"), "c", "own/ann/c/secret"));
        assert!(may(Some("ann"), "c", "own/bob/c/secret"));
        assert!(!may(Some("a/b"), "c", "own/a/b/c/secret"));
        assert!(!may(Some("%c"), "c", "own/%c/c/secret"));
        assert!(!may(Some("ann"), "a/b", "own/ann/a/b/secret"));
        assert!(may(None, "a/b", "own/bob/c/secret"), "there is no place of nobody's");
    }

    #[test]
    fn rules_name_networks_listeners_and_limits() {
        let rule = RuleConfig {
            users: vec!["ann".into()],
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
            listeners: vec!["lan".into()],
            publish: vec!["a/#".into()],
            subscribe: vec!["a/#".into()],
            qos_max: 1,
            retain: false,
            messages_per_s_max: 10,
            ..RuleConfig::default()
        };
        let all =
            RuleConfig { messages_per_s_max: 20, bytes_per_s_max: 7, ..RuleConfig::default() };
        let rates =
            |actor| Rules::of(&[rule.clone(), all.clone()], &BTreeMap::new()).limits(actor).0;
        let both = Rates { messages_per_s: 10, bytes_per_s: 7 };
        assert_eq!(rates(actor(Some("ann"), "c")), both);
        assert_eq!(rates(actor(None, "c")), Rates { messages_per_s: 20, bytes_per_s: 7 });
        assert!(Rules::of(std::slice::from_ref(&all), &BTreeMap::new()).is_empty());
        let rules = Rules::of(&[rule], &BTreeMap::new());
        let ann = rules.grants(actor(Some("ann"), "c"));
        assert!(ann.may_publish("a/b", QoS::AtLeastOnce, false));
        assert!(!ann.may_publish("a/b", QoS::ExactlyOnce, false));
        assert!(!ann.may_publish("a/b", QoS::AtMostOnce, true));
        assert_eq!(ann.may_subscribe("a/b"), Some(QoS::AtLeastOnce));
        let elsewhere = Actor { address: IpAddr::from([11, 0, 0, 1]), ..actor(Some("ann"), "c") };
        assert_eq!(rules.grants(elsewhere), Grants::default());
        let other_door = Actor { listener: "wan", ..actor(Some("ann"), "c") };
        assert_eq!(rules.grants(other_door), Grants::default());
    }

    #[test]
    fn it_is_told_by_which_rule_something_is_allowed() {
        let limited = RuleConfig {
            publish: vec!["low/#".into()],
            qos_max: 1,
            retain: false,
            ..RuleConfig::default()
        };
        let mut rules = Rules::of(&[limited], &BTreeMap::new());
        rules.add_acl("pattern write own/%u/#\npattern deny own/%u/secret\n").expect("it is right");
        let grants = rules.grants(actor(Some("ann"), "c"));
        for (topic, qos, retain, expected) in [
            ("low/a", QoS::AtLeastOnce, false, (true, "auth.rules[0] allows \"low/#\"")),
            ("low/a", QoS::ExactlyOnce, false, (false, "up to QoS 1")),
            ("low/a", QoS::AtMostOnce, true, (false, "not to be retained")),
            ("own/ann/a", QoS::ExactlyOnce, true, (true, "line 1 of auth.acl_file")),
            ("own/ann/secret", QoS::AtMostOnce, false, (false, "line 2 of auth.acl_file denies")),
            ("else", QoS::AtMostOnce, false, (false, "none allows it")),
        ] {
            let (allowed, why) = grants.explain_publish(topic, qos, retain);
            assert_eq!(allowed, expected.0, "{topic}: {why}");
            assert!(why.contains(expected.1), "{topic}: {why}");
            assert_eq!(allowed, grants.may_publish(topic, qos, retain), "{topic}");
        }
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = "topic a\n\ntopics b\ntopic read a/#/b\ntopic readwrit a/#\nuser\n";
        let faults = Rules::default().add_acl(text).expect_err("it is wrong");
        let beginnings = [
            (3, "a line begins with user, topic or pattern"),
            (4, "not a topic filter"),
            (5, "the access is none of"),
            (6, "expected"),
        ];
        assert_eq!(faults.len(), beginnings.len());
        for (fault, (line, beginning)) in faults.iter().zip(beginnings) {
            assert!(fault.line == line && fault.reason.starts_with(beginning), "{fault}");
        }
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just("")];
        (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(levels, wild)| {
            let filter = levels.join("/");
            if wild { format!("{filter}/#") } else { filter }
        })
    }

    fn topic() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("c"), Just("")];
        prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        /// What a filter that is covered matches is matched by the one that covers it; where both
        /// match, they meet.
        #[test]
        fn covering_and_meeting_are_about_topics(
            one in filter(), other in filter(), topic in topic(),
        ) {
            let (matches_one, matches_other) = (covers(&one, &topic), covers(&other, &topic));
            if covers(&one, &other) && matches_other {
                prop_assert!(matches_one);
            }
            if matches_one && matches_other {
                prop_assert!(meets(&one, &other) && meets(&other, &one));
            }
        }
    }
}

//! Who is connected from where, and who is kept out: for all shards together, as clients may come
//! to any. Asked when a connection begins or ends and when a login fails, never for a message.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::bans::{BanFile, Bans, By, Sentence};
use super::failures::Failures;
use crate::auth::{Banned, place};
use crate::config::ListenerConfig;
use crate::login::SecretsError;
use crate::metrics::Label;
use crate::shard::Gatekeeper;
use crate::time::Time;

/// Client ids that are counted as they come; beyond them all counts begin anew.
const FLAPS_MAX: usize = 100_000;

// An id can have 64 KiB; what is remembered of all has less than 4 MiB.
const _: () = assert!(size_of::<(u64, Flaps)>() * FLAPS_MAX < 4 << 20);

/// Bans that are copied or changed while shards wait.
const BANS_PART: usize = 256;

/// The longest that an address waits which guesses, well below a client's own patience.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// What may be accepted at once after silence: as much as in one second.
const BURST_NANOS: u64 = 1_000_000_000;

/// How many connections a listener takes, and how fast; 0 is any number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) connections_max: u32,
    pub(super) connections_per_address_max: u32,
    pub(super) connections_per_s_max: u32,
}

/// When somebody is kept out.
#[derive(Clone, Copy, Debug)]
pub(super) struct BanRule {
    /// Failed logins of an address that lead to it; 0 is never.
    pub(super) failures: u32,
    /// How long it lasts, and how long failures are remembered.
    pub(super) duration: Duration,
    /// How often a client id may come in the window; 0 is as often as it likes.
    pub(super) flapping_connects: u32,
    /// See there.
    pub(super) flapping_window: Duration,
}

/// See the module.
pub(crate) struct Visitors {
    listeners: Vec<Limits>,
    state: Mutex<State>,
    /// Where bans outlive the broker. Never locked while `state` is.
    file: Option<Mutex<BanFile>>,
    /// The bans changed by themselves.
    changed: Notify,
}

struct State {
    rule: BanRule,
    /// By listener.
    connections: Vec<u32>,
    /// When what was accepted would have come at the rate that is allowed (GCRA), by listener.
    paces_nanos: Vec<u64>,
    /// By listener and address.
    by_address: HashMap<(usize, IpAddr), u32>,
    failures: Failures,
    bans: Bans,
    /// How often client ids came, by a hash of each that nobody outside can aim at: ids are long.
    flaps: HashMap<u64, Flaps>,
    /// Connections of each user that rules bound.
    users: HashMap<Box<str>, u32>,
}

/// Why an operator cannot keep somebody out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BanRefusal {
    /// Programs of this machine never are.
    Loopback,
    /// There are as many as can be.
    Full,
}

/// A client id that comes again and again.
#[derive(Clone, Copy)]
struct Flaps {
    count: u32,
    since: Time,
}

/// A connection that is counted until this is dropped.
pub(super) struct Visit {
    visitors: Arc<Visitors>,
    listener: usize,
    address: IpAddr,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its address is banned.
    Banned,
    /// `connections_max` of the listener.
    Full,
    /// `connections_per_address_max` of the listener.
    AddressFull,
}

impl Label for Refusal {
    const NAME: &'static str = "why";
    const VALUES: &'static [&'static str] = &["ban", "listener", "address"];

    fn index(self) -> usize {
        self as usize
    }
}

impl Visitors {
    /// Visitors of these listeners, with the bans of a file if there is one.
    pub(super) fn new(
        listeners: &[ListenerConfig],
        rule: BanRule,
        kept: Option<(BanFile, Bans)>,
    ) -> Arc<Visitors> {
        let limits = |listener: &ListenerConfig| Limits {
            connections_max: listener.terms.connections_max,
            connections_per_address_max: listener.terms.connections_per_address_max,
            connections_per_s_max: listener.terms.connections_per_s_max,
        };
        Visitors::with_limits(listeners.iter().map(limits).collect(), rule, kept)
    }

    fn with_limits(
        listeners: Vec<Limits>,
        rule: BanRule,
        kept: Option<(BanFile, Bans)>,
    ) -> Arc<Visitors> {
        let (file, bans) = kept.unzip();
        let state = State {
            rule,
            connections: vec![0; listeners.len()],
            paces_nanos: vec![0; listeners.len()],
            by_address: HashMap::new(),
            failures: Failures::default(),
            bans: bans.unwrap_or_default(),
            flaps: HashMap::new(),
            users: HashMap::new(),
        };
        let (state, file) = (Mutex::new(state), file.map(Mutex::new));
        Arc::new(Visitors { listeners, state, file, changed: Notify::new() })
    }

    /// Goes on by another rule; who is banned stays so, but for failed logins or flapping if that
    /// leads to nothing any more.
    pub(super) fn set_rule(&self, rule: BanRule) {
        let mut state = self.state();
        state.rule = rule;
        let holds = |by| match by {
            By::Operator => true,
            By::Logins => rule.failures > 0,
            By::Flapping => rule.flapping_connects > 0,
        };
        state.bans.retain(|_, sentence| holds(sentence.by));
        drop(state);
        self.changed.notify_one();
    }

    /// A connection begins: it is counted as long as what comes back is kept.
    pub(super) fn enter(
        self: &Arc<Visitors>,
        now: Time,
        listener: usize,
        address: IpAddr,
    ) -> Result<Box<Visit>, Refusal> {
        let limits = self.listeners.get(listener).copied().unwrap_or_default();
        let mut state = self.state();
        // By the address itself: a ban may be about less than what counts as one.
        if state.bans.holds_address(now, address) {
            return Err(Refusal::Banned);
        }
        let address = place(address);
        let is_reached = |count: u32, max: u32| max > 0 && count >= max;
        if is_reached(state.connections[listener], limits.connections_max) {
            return Err(Refusal::Full);
        }
        let here = state.by_address.get(&(listener, address)).copied().unwrap_or(0);
        if is_reached(here, limits.connections_per_address_max) {
            return Err(Refusal::AddressFull);
        }
        state.connections[listener] += 1;
        if limits.connections_per_address_max > 0 {
            state.by_address.insert((listener, address), here + 1);
        }
        Ok(Box::new(Visit { visitors: Arc::clone(self), listener, address }))
    }

    /// How many connections each of `shards` may accept at a listener now, by its rate.
    ///
    /// # Errors
    ///
    /// When there may be one again, if there may be none.
    pub(super) fn acceptable(
        &self,
        now: Time,
        listener: usize,
        shards: usize,
    ) -> Result<usize, Time> {
        let Some(cost) = self.cost_nanos(listener) else { return Ok(usize::MAX) };
        let now_nanos = now.as_micros() * 1000;
        let due = self.state().paces_nanos[listener].max(now_nanos);
        match (now_nanos + BURST_NANOS).saturating_sub(due) / cost {
            0 => Err(Time::from_micros((due + cost - BURST_NANOS).div_ceil(1000))),
            count => Ok((count as usize).div_ceil(shards)),
        }
    }

    /// A connection was accepted: counted where a listener has a rate.
    pub(super) fn accepted(&self, now: Time, listener: usize) {
        let Some(cost) = self.cost_nanos(listener) else { return };
        let pace = &mut self.state().paces_nanos[listener];
        *pace = (now.as_micros() * 1000).max(*pace) + cost;
    }

    /// The time that one connection of a listener takes up, if it has a rate.
    fn cost_nanos(&self, listener: usize) -> Option<u64> {
        let per_s = self.listeners.get(listener)?.connections_per_s_max;
        (per_s > 0).then(|| BURST_NANOS / u64::from(per_s))
    }

    /// A login from an address failed. Whether it is banned from now on; programs of this machine,
    /// a proxy among them, never are.
    pub(super) fn failed(&self, now: Time, address: IpAddr) -> bool {
        let address = place(address);
        let mut state = self.state();
        let rule = state.rule;
        if rule.failures == 0 || address.is_loopback() {
            return false;
        }
        let until = now.after(rule.duration);
        let count = state.failures.count(now, address, until);
        if count.is_none_or(|count| count < rule.failures) {
            return false;
        }
        state.failures.forget(address);
        let why = "too many failed logins".to_owned();
        let sentence = Sentence { until, why, by: By::Logins };
        let is_banned = state.bans.put(now, Banned::address(address), sentence);
        drop(state);
        self.changed.notify_one();
        is_banned
    }

    /// Keeps somebody out.
    pub(crate) fn ban(
        &self,
        now: Time,
        whom: Banned,
        duration: Duration,
        why: String,
    ) -> Result<Sentence, BanRefusal> {
        if let Banned::Network(network) = &whom
            && network.address().is_loopback()
        {
            return Err(BanRefusal::Loopback);
        }
        let sentence = Sentence { until: now.after(duration), why, by: By::Operator };
        match self.state().bans.put(now, whom, sentence.clone()) {
            true => Ok(sentence),
            false => Err(BanRefusal::Full),
        }
    }

    /// Lets somebody in again and forgets its failures; whether it was kept out.
    pub(crate) fn unban(&self, now: Time, whom: &Banned) -> bool {
        let mut state = self.state();
        match whom {
            Banned::Network(network) => state.failures.forget_network(network),
            Banned::ClientId(client_id) => {
                let flapper = state.flapper(client_id);
                state.flaps.remove(&flapper);
            }
            Banned::User(_) => {}
        }
        state.bans.remove(whom).is_some_and(|sentence| sentence.until > now)
    }

    /// Who is kept out, in order.
    pub(crate) fn bans(&self, now: Time) -> Vec<(Banned, Sentence)> {
        let mut bans = self.copied_bans();
        bans.retain(|(_, sentence)| sentence.until > now);
        bans
    }

    /// All bans in order, each as it was at some time of the call: no shard waits for all of it.
    fn copied_bans(&self) -> Vec<(Banned, Sentence)> {
        let mut bans: Vec<(Banned, Sentence)> = Vec::new();
        loop {
            let last = bans.last().map(|(whom, _)| whom);
            let part = self.state().bans.part(last, BANS_PART);
            let is_last = part.len() < BANS_PART;
            bans.extend(part);
            if is_last {
                return bans;
            }
        }
    }

    /// Lets the bans and their file say the same: takes what was changed there and writes what was
    /// changed here. Those who are kept out by it from now on. Reads and writes a file, so it is
    /// not for a task that others wait for.
    pub(crate) fn sync_bans(&self, now: Time) -> Result<Vec<Banned>, SecretsError> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Bans::of(self.copied_bans());
        let merged = file.merge(&before)?;
        let mut changes = merged.changes_since(&before).into_iter();
        while changes.len() > 0 {
            let mut state = self.state();
            for (whom, sentence) in changes.by_ref().take(BANS_PART) {
                state.bans.change(whom, sentence);
            }
        }
        file.write(now, &Bans::of(self.copied_bans()))?;
        Ok(merged.beyond(&before))
    }

    /// Comes back once bans have changed by themselves.
    pub(super) async fn bans_changed(&self) {
        self.changed.notified().await;
    }

    /// How long an address that guesses waits for its next answer: nothing after up to three
    /// failed logins, then twice as long after each, five seconds at most.
    pub(super) fn patience(&self, now: Time, address: IpAddr) -> Duration {
        match self.state().failures.of(now, place(address)) {
            ..3 => Duration::ZERO,
            count => PATIENCE_MAX.min(Duration::from_millis(100 << (count - 3).min(10))),
        }
    }

    /// Connections now, by listener.
    pub(crate) fn connections(&self) -> Vec<u32> {
        self.state().connections.clone()
    }

    /// Addresses and networks that are kept out now: a walk over all bans.
    pub(super) fn banned(&self, now: Time) -> usize {
        let state = self.state();
        let networks = state.bans.lasting(now);
        networks.filter(|(whom, _)| matches!(whom, Banned::Network(_))).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a client id is counted by.
    fn flapper(&self, client_id: &str) -> u64 {
        self.flaps.hasher().hash_one(client_id)
    }
}

impl Gatekeeper for Visitors {
    fn is_banned(&self, now: Time, client_id: &str, user: Option<&str>) -> bool {
        self.state().bans.holds_name(now, client_id, user)
    }

    fn comes(&self, now: Time, client_id: &str) -> bool {
        let mut state = self.state();
        let rule = state.rule;
        if rule.flapping_connects == 0 {
            return false;
        }
        let flapper = state.flapper(client_id);
        if state.flaps.len() >= FLAPS_MAX && !state.flaps.contains_key(&flapper) {
            state.flaps.clear();
        }
        let flaps = state.flaps.entry(flapper).or_insert(Flaps { count: 0, since: now });
        if now.since(flaps.since) >= rule.flapping_window {
            *flaps = Flaps { count: 0, since: now };
        }
        flaps.count += 1;
        if flaps.count <= rule.flapping_connects {
            return false;
        }
        state.flaps.remove(&flapper);
        let why = "connects too often".to_owned();
        let sentence = Sentence { until: now.after(rule.duration), why, by: By::Flapping };
        let is_banned = state.bans.put(now, Banned::ClientId(client_id.into()), sentence);
        drop(state);
        self.changed.notify_one();
        if is_banned {
            tracing::warn!(%client_id, "kept out for auth.ban_s: it connects too often");
        }
        is_banned
    }

    fn enter(&self, user: &str, connections_max: u32) -> bool {
        let mut state = self.state();
        match state.users.get_mut(user) {
            Some(count) if *count >= connections_max => return false,
            Some(count) => *count += 1,
            None => drop(state.users.insert(user.into(), 1)),
        }
        true
    }

    fn leave(&self, user: &str) {
        let mut state = self.state();
        if let Some(count) = state.users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                state.users.remove(user);
            }
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.visitors.state();
        state.connections[self.listener] -= 1;
        let key = (self.listener, self.address);
        if let Some(count) = state.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                state.by_address.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BanRule = BanRule {
        failures: 3,
        duration: Duration::from_secs(10),
        flapping_connects: 0,
        flapping_window: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_are_counted_while_they_last() {
        let limits =
            Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let visitors = Visitors::with_limits(vec![limits, Limits::default()], RULE, None);
        let enter = |listener, from| visitors.enter(at(1), listener, address(from));
        let first = enter(0, "10.0.0.1").unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let second = enter(0, "::ffff:10.0.0.1").unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(enter(0, "10.0.0.1").err(), Some(Refusal::AddressFull));
        let third = enter(0, "10.0.0.2").unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(enter(0, "10.0.0.3").err(), Some(Refusal::Full));
        assert_eq!(visitors.connections(), [3, 0]);
        let others: Vec<_> = (0..10).map(|_| enter(1, "10.0.0.1")).collect();
        assert!(others.iter().all(Result::is_ok), "another listener has its own limits");
        drop((first, third));
        assert!(enter(0, "10.0.0.1").is_ok());
        drop(second);
        drop(others);
        assert!(visitors.state().by_address.is_empty());
        assert_eq!(visitors.state().connections, [0, 0]);
    }

    #[test]
    fn as_many_are_accepted_as_may_be_in_a_second() {
        let limits = Limits { connections_per_s_max: 10, ..Limits::default() };
        let visitors = Visitors::with_limits(vec![limits, Limits::default()], RULE, None);
        assert_eq!(visitors.acceptable(at(1), 0, 1), Ok(10));
        assert_eq!(visitors.acceptable(at(1), 0, 4), Ok(3), "a part of it for each shard");
        assert_eq!(visitors.acceptable(at(1), 1, 4), Ok(usize::MAX));
        let (mut now, mut count) = (at(1), 0);
        while now < at(11) {
            match visitors.acceptable(now, 0, 4) {
                Ok(part) => (0..part).for_each(|_| {
                    visitors.accepted(now, 0);
                    count += 1;
                }),
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
        }
        assert!((108..=113).contains(&count), "10 at once, 100 in ten seconds: {count}");
    }

    #[test]
    fn connections_of_a_user_are_counted_while_they_last() {
        let visitors = Visitors::with_limits(vec![Limits::default()], RULE, None);
        let enter = |user, max| Gatekeeper::enter(&*visitors, user, max);
        assert!(enter("ann", 2) && enter("ann", 2) && enter("bob", 1));
        assert!(!enter("ann", 2) && !enter("bob", 1));
        visitors.leave("ann");
        assert!(enter("ann", 2) && !enter("ann", 2));
        visitors.leave("bob");
        visitors.leave("ann");
        visitors.leave("ann");
        assert!(visitors.state().users.is_empty());
    }

    #[test]
    fn an_operator_keeps_an_address_out_for_a_while() {
        let visitors = Visitors::with_limits(vec![Limits::default()], RULE, None);
        let is_out = |now, from| visitors.enter(now, 0, address(from)).err();
        let minute = Duration::from_secs(60);
        let whom = |name| Banned::new("address", name).expect("a network");
        let ban = visitors.ban(at(1), whom("2001:db8::1"), minute, "noise".into());
        assert_eq!(ban.map(|ban| ban.until), Ok(at(61)));
        assert_eq!(is_out(at(60), "2001:db8::7"), Some(Refusal::Banned));
        assert_eq!(is_out(at(61), "2001:db8::7"), None);
        assert_eq!(
            visitors.ban(at(1), whom("::ffff:127.0.0.1"), minute, String::new()),
            Err(BanRefusal::Loopback)
        );
        for now in 2..5 {
            visitors.failed(at(now), address("10.0.0.1"));
        }
        let bans = visitors.bans(at(5));
        let bys: Vec<_> = bans.iter().map(|(_, sentence)| sentence.by).collect();
        assert_eq!(bys, [By::Logins, By::Operator]);
        assert!(visitors.unban(at(5), &whom("10.0.0.1")));
        assert!(!visitors.unban(at(5), &whom("10.0.0.1")));
        assert_eq!(is_out(at(5), "10.0.0.1"), None);
        assert!(visitors.unban(at(5), &whom("2001:db8::ffff")));
        assert!(visitors.bans(at(5)).is_empty());
    }

    #[test]
    fn a_ban_may_be_about_less_than_what_counts_as_one_address() {
        let visitors = Visitors::with_limits(vec![Limits::default()], RULE, None);
        let is_out = |from| visitors.enter(at(2), 0, address(from)).err();
        let ban = |name| {
            let whom = Banned::new("address", name).expect("a network");
            visitors
                .ban(at(1), whom, Duration::from_secs(60), String::new())
                .expect("there is room");
        };
        ban("2001:db8::1/128");
        ban("2001:db8:0:1::/128");
        assert_eq!(is_out("2001:db8::1"), Some(Refusal::Banned));
        assert_eq!(is_out("2001:db8::2"), None);
        assert_eq!(is_out("2001:db8:0:1::7"), None, "its network is not meant");
    }

    #[test]
    fn bans_beyond_a_part_are_copied_and_kept() {
        let path = std::env::temp_dir().join(format!("hawker-bans-{}", std::process::id()));
        let visitors = |kept| Visitors::with_limits(vec![Limits::default()], RULE, Some(kept));
        let first = visitors(BanFile::open(&path).expect("there is none yet"));
        let count = 2 * BANS_PART + 1;
        let whom = |number: usize| Banned::ClientId(format!("{number:05}").into());
        for number in 0..count {
            let ban = first.ban(at(1), whom(number), Duration::from_secs(60), String::new());
            ban.expect("there is room");
        }
        let whoms = |visitors: &Visitors| {
            visitors.bans(at(2)).into_iter().map(|(whom, _)| whom).collect::<Vec<_>>()
        };
        assert_eq!(whoms(&first), (0..count).map(whom).collect::<Vec<_>>());
        first.sync_bans(at(2)).expect("it can be written");
        let second = visitors(BanFile::open(&path).expect("it was written"));
        assert_eq!(whoms(&second), whoms(&first));
        std::fs::write(&path, "").expect("a file");
        assert_eq!(first.sync_bans(at(2)).expect("it is right"), []);
        assert_eq!(whoms(&first), [], "all were lifted by hand");
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn who_comes_too_often_is_kept_out_for_a_while() {
        let rule = BanRule { flapping_connects: 3, ..RULE };
        let visitors = Visitors::with_limits(vec![Limits::default()], rule, None);
        assert!((0..3).all(|now| !visitors.comes(at(now), "pump")));
        assert!(!visitors.comes(at(4), "other"));
        assert!(visitors.comes(at(5), "pump"));
        assert!(visitors.is_banned(at(14), "pump", None));
        assert!(!visitors.is_banned(at(15), "pump", None));
        assert!((60..63).all(|now| !visitors.comes(at(now), "pump")));
        assert!((120..123).all(|now| !visitors.comes(at(now), "pump")), "a new window");
        visitors.set_rule(RULE);
        assert!((123..140).all(|now| !visitors.comes(at(now), "pump")));
        visitors.set_rule(rule);
        let (long, other) = ("x".repeat(60_000), "x".repeat(60_001));
        assert!((200..203).all(|now| !visitors.comes(at(now), &long)));
        visitors.unban(at(203), &Banned::ClientId(other.into()));
        assert!(visitors.comes(at(203), &long));
        assert!((220..223).all(|now| !visitors.comes(at(now), &long)));
        visitors.unban(at(223), &Banned::ClientId((&*long).into()));
        assert!(!visitors.comes(at(223), &long), "who is let in again is counted anew");
    }

    #[test]
    fn who_fails_too_often_is_kept_out_for_a_while() {
        let visitors = Visitors::with_limits(vec![Limits::default()], RULE, None);
        let is_out = |now, from| visitors.enter(now, 0, address(from)).err();
        let failed = |now, from| visitors.failed(now, address(from));
        assert!(!failed(at(1), "2001:db8::1") && !failed(at(2), "2001:db8::2"));
        assert_eq!(is_out(at(2), "2001:db8::1"), None);
        assert!(failed(at(3), "2001:db8::3"), "a network of 64 bits is one address");
        assert_eq!(is_out(at(12), "2001:db8::9"), Some(Refusal::Banned));
        assert_eq!(is_out(at(12), "2001:db8:1::9"), None);
        assert_eq!((visitors.banned(at(12)), visitors.banned(at(13))), (1, 0));
        assert_eq!(is_out(at(13), "2001:db8::9"), None);
        assert!(!failed(at(14), "2001:db8::1"), "what was before is forgotten");
        for now in 0..10 {
            assert!(!failed(at(now), "127.0.0.1"), "never this machine");
        }
        let off = BanRule { failures: 0, ..RULE };
        visitors.set_rule(off);
        assert!((0..10).all(|now| !failed(at(now), "10.0.0.1")));
        assert_eq!(is_out(at(9), "10.0.0.1"), None);
    }
}

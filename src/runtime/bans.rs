//! Who is kept out, why and until when, and the file in which that outlives the broker.
//!
//! A line of the file is a ban: `{"client_id": "pump-7", "until": "2026-12-31T23:59:59Z", "why":
//! "floods"}`. `address` (also a network) or `user` can stand in place of `client_id`; without `until`
//! it lasts until somebody lifts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use x509_cert::der::DateTime;

use crate::auth::{Banned, LineFault};
use crate::config::Network;
use crate::login::SecretsError;
use crate::sys::replace_file;
use crate::time::Time;

/// Bans there can be; more belong into the firewall.
pub(crate) const BANS_MAX: usize = 10_000;

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// How long.
    pub(crate) until: Time,
    /// Why.
    pub(crate) why: String,
    /// Who decided it.
    pub(crate) by: By,
}

/// Who decided a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// Somebody.
    Operator,
    /// `auth.ban_failures`.
    Logins,
    /// `auth.flapping_connects`.
    Flapping,
}

/// All bans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bans {
    all: BTreeMap<Banned, Sentence>,
    /// Those that end, in the order in which they do.
    by_end: BTreeSet<(Time, Banned)>,
    /// The lengths of the networks among them, each with how many there are: an address is looked
    /// for once for each.
    lengths: BTreeMap<u8, usize>,
    /// Bans of users and client ids.
    names: usize,
}

impl Bans {
    /// Adds or replaces one, until a whole second, as the file has it; false if there are as many
    /// as there can be.
    pub(crate) fn put(&mut self, now: Time, whom: Banned, mut sentence: Sentence) -> bool {
        if sentence.until != Time::NEVER {
            let seconds = sentence.until.as_micros().div_ceil(1_000_000);
            sentence.until = Time::from_micros(seconds * 1_000_000);
        }
        if self.all.len() >= BANS_MAX && !self.all.contains_key(&whom) {
            match self.by_end.first().cloned() {
                Some((until, ended)) if until <= now => drop(self.remove(&ended)),
                _ => return false,
            }
        }
        self.remove(&whom);
        if sentence.until != Time::NEVER {
            self.by_end.insert((sentence.until, whom.clone()));
        }
        self.count(&whom, true);
        self.all.insert(whom, sentence);
        true
    }

    /// All of these, in any order.
    pub(crate) fn of(all: Vec<(Banned, Sentence)>) -> Bans {
        let mut bans = Bans::default();
        for (whom, sentence) in all {
            bans.put(Time::default(), whom, sentence);
        }
        bans
    }

    /// Up to so many in order, behind one or from the first.
    pub(crate) fn part(
        &self,
        behind: Option<&Banned>,
        count_max: usize,
    ) -> Vec<(Banned, Sentence)> {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let part = self.all.range((from, Bound::Unbounded)).take(count_max);
        part.map(|(whom, sentence)| (whom.clone(), sentence.clone())).collect()
    }

    /// Whoever is kept out otherwise than before, and how.
    pub(crate) fn changes_since(&self, before: &Bans) -> Vec<(Banned, Option<Sentence>)> {
        let whoms: BTreeSet<&Banned> = self.all.keys().chain(before.all.keys()).collect();
        let is_changed = |whom: &&Banned| self.all.get(whom) != before.all.get(whom);
        let change = |whom: &Banned| (whom.clone(), self.all.get(whom).cloned());
        whoms.into_iter().filter(is_changed).map(change).collect()
    }

    /// Makes one of [`Bans::changes_since`].
    pub(crate) fn change(&mut self, whom: Banned, sentence: Option<Sentence>) {
        match sentence {
            Some(sentence) => drop(self.put(Time::default(), whom, sentence)),
            None => drop(self.remove(&whom)),
        }
    }

    pub(crate) fn remove(&mut self, whom: &Banned) -> Option<Sentence> {
        let removed = self.all.remove(whom)?;
        self.by_end.remove(&(removed.until, whom.clone()));
        self.count(whom, false);
        Some(removed)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Banned, &Sentence) -> bool) {
        let gone: Vec<Banned> = self
            .all
            .iter()
            .filter(|(whom, sentence)| !keep(whom, sentence))
            .map(|(whom, _)| whom.clone())
            .collect();
        for whom in gone {
            self.remove(&whom);
        }
    }

    fn count(&mut self, whom: &Banned, is_added: bool) {
        let count = match whom {
            Banned::Network(network) => self.lengths.entry(length(network)).or_default(),
            Banned::User(_) | Banned::ClientId(_) => &mut self.names,
        };
        *count = if is_added { *count + 1 } else { *count - 1 };
        self.lengths.retain(|_, count| *count > 0);
    }

    /// Whether an address is kept out.
    pub(crate) fn holds_address(&self, now: Time, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.lengths.is_empty() || address.is_loopback() {
            return false;
        }
        let is_v6 = address.is_ipv6();
        let mut lengths = self.lengths.keys().filter(|length| (**length >= V6) == is_v6);
        lengths.any(|length| {
            let bits = if is_v6 { length - V6 } else { *length };
            let network = Banned::Network(Network::around(address, bits));
            self.all.get(&network).is_some_and(|sentence| sentence.until > now)
        })
    }

    /// Whether a client is kept out by its client id or user.
    pub(crate) fn holds_name(&self, now: Time, client_id: &str, user: Option<&str>) -> bool {
        let holds = |whom| self.all.get(&whom).is_some_and(|sentence| sentence.until > now);
        self.names > 0
            && (holds(Banned::ClientId(client_id.into()))
                || user.is_some_and(|user| holds(Banned::User(user.into()))))
    }

    /// Those that last, in order.
    pub(crate) fn lasting(&self, now: Time) -> impl Iterator<Item = (&Banned, &Sentence)> {
        self.all.iter().filter(move |(_, sentence)| sentence.until > now)
    }

    /// What became of a file that others may have changed: the changes of both sides since they
    /// agreed on `base`. Where both changed the same, the file wins.
    pub(crate) fn merged(&self, base: &Bans, file: &Bans) -> Bans {
        let mut merged = file.clone();
        for (whom, ours) in self.changes_since(base) {
            if file.all.get(&whom) == base.all.get(&whom) {
                merged.change(whom, ours);
            }
        }
        merged
    }

    /// Bans that are not among others.
    pub(crate) fn beyond(&self, others: &Bans) -> Vec<Banned> {
        self.all.keys().filter(|whom| !others.all.contains_key(*whom)).cloned().collect()
    }

    /// The lines of a file.
    pub(crate) fn parse(text: &str) -> Result<Bans, LineFault> {
        let mut bans = Bans::default();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let fault = |reason| LineFault { line: index + 1, reason };
            let written: Line = serde_json::from_str(line).map_err(|_| fault(EXPECTED))?;
            let (whom, sentence) = written.ban().map_err(fault)?;
            if !bans.put(Time::default(), whom, sentence) {
                return Err(fault("there are more than 10000 bans; use the firewall"));
            }
        }
        Ok(bans)
    }

    fn text(&self, now: Time) -> String {
        let mut text = String::from(HEAD);
        for (whom, sentence) in self.lasting(now) {
            let line = serde_json::to_string(&Line::of(whom, sentence));
            text.push_str(&line.expect("texts can be written"));
            text.push('\n');
        }
        text
    }
}

/// Networks of IPv6 are counted above those of IPv4.
const V6: u8 = 33;

fn length(network: &Network) -> u8 {
    match network.address() {
        IpAddr::V4(_) => network.bits(),
        IpAddr::V6(_) => V6 + network.bits(),
    }
}

const HEAD: &str = "# Who is kept out. hawker ctl ban and unban change it; what is changed here by \
                    hand\n# the broker takes on SIGHUP.\n";

const EXPECTED: &str = "expected {\"address\", \"user\" or \"client_id\": \"NAME\", \"until\": \
                        \"2026-12-31T23:59:59Z\", \"why\": \"TEXT\"}, until and why if you like";

/// A line of the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    by: Option<By>,
}

impl Line {
    fn of(whom: &Banned, sentence: &Sentence) -> Line {
        let mut line = Line { why: sentence.why.clone(), by: Some(sentence.by), ..Line::default() };
        let name = Some(whom.name());
        match whom {
            Banned::Network(_) => line.address = name,
            Banned::User(_) => line.user = name,
            Banned::ClientId(_) => line.client_id = name,
        }
        line.until = (sentence.until != Time::NEVER).then(|| written(sentence.until));
        line
    }

    fn ban(self) -> Result<(Banned, Sentence), &'static str> {
        let Line { address, user, client_id, until, why, by } = self;
        let whom = match (address, user, client_id) {
            (Some(name), None, None) => {
                Banned::new("address", &name).ok_or("address: no address or network")?
            }
            (None, Some(name), None) => Banned::new("user", &name).ok_or("user: it is empty")?,
            (None, None, Some(name)) => {
                Banned::new("client_id", &name).ok_or("client_id: it is empty")?
            }
            _ => return Err("one of address, user and client_id says whom it is about"),
        };
        let until = match until {
            Some(text) => read(&text).ok_or("until: expected 2026-12-31T23:59:59Z, in UTC")?,
            None => Time::NEVER,
        };
        Ok((whom, Sentence { until, why, by: by.unwrap_or(By::Operator) }))
    }
}

/// A time in UTC, to the second.
fn written(time: Time) -> String {
    let since_1970 = Duration::from_micros(time.as_micros());
    DateTime::from_unix_duration(since_1970).unwrap_or(DateTime::INFINITY).to_string()
}

/// The time that [`written`] writes.
fn read(text: &str) -> Option<Time> {
    let since_1970 = text.parse::<DateTime>().ok()?.unix_duration();
    Some(Time::from_micros(since_1970.as_micros() as u64))
}

/// The file, and what it said when the broker last read or wrote it.
#[derive(Debug)]
pub(crate) struct BanFile {
    path: PathBuf,
    agreed: Bans,
}

impl BanFile {
    /// What a file says; nothing if there is none yet.
    pub(crate) fn open(path: &Path) -> Result<(BanFile, Bans), SecretsError> {
        let bans = BanFile::read(path)?;
        Ok((BanFile { path: path.to_path_buf(), agreed: bans.clone() }, bans))
    }

    fn read(path: &Path) -> Result<Bans, SecretsError> {
        let unreadable = |error| SecretsError::Unreadable(path.to_path_buf(), error);
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unreadable(error)),
        };
        Bans::parse(&text).map_err(|fault| SecretsError::Wrong(path.to_path_buf(), vec![fault]))
    }

    /// Takes what was changed in the file and adds what the broker has changed: what both come to.
    pub(crate) fn merge(&mut self, ours: &Bans) -> Result<Bans, SecretsError> {
        let file = BanFile::read(&self.path)?;
        let merged = ours.merged(&self.agreed, &file);
        self.agreed = file;
        Ok(merged)
    }

    /// Writes bans if the file does not say the same.
    pub(crate) fn write(&mut self, now: Time, bans: &Bans) -> Result<(), SecretsError> {
        if *bans == self.agreed {
            return Ok(());
        }
        replace_file(&self.path, 0o640, bans.text(now).as_bytes())
            .map_err(|error| SecretsError::Unwritable(self.path.clone(), error))?;
        self.agreed = bans.clone();
        Ok(())
    }
}

/// Whether a text is a file of bans, and says the same once it is written: for the fuzzer.
#[cfg(feature = "fuzz")]
pub fn parse_bans(text: &str) -> Result<(), LineFault> {
    let bans = Bans::parse(text)?;
    let again = Bans::parse(&bans.text(Time::default()))?;
    let lasting = |bans: &Bans| bans.lasting(Time::default()).count();
    assert_eq!(lasting(&bans), lasting(&again), "what is written is read again");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn sentence(until: Time, why: &str) -> Sentence {
        Sentence { until, why: why.to_owned(), by: By::Operator }
    }

    fn whom(kind: &str, name: &str) -> Banned {
        Banned::new(kind, name).expect("a ban")
    }

    #[test]
    fn networks_and_names_are_found() {
        let mut bans = Bans::default();
        for (kind, name) in [
            ("address", "10.0.0.0/8"),
            ("address", "192.0.2.7"),
            ("address", "2001:db8::1"),
            ("user", "ann"),
            ("client_id", "pump"),
        ] {
            assert!(bans.put(at(0), whom(kind, name), sentence(at(10), "")));
        }
        let holds = |address: &str| bans.holds_address(at(9), address.parse().expect("an address"));
        assert!(holds("10.255.0.1") && holds("192.0.2.7") && holds("::ffff:10.0.0.1"));
        assert!(holds("2001:db8::ffff"), "a network of 64 bits is one address");
        assert!(!holds("11.0.0.1") && !holds("192.0.2.8") && !holds("2001:db8:0:1::1"));
        assert!(bans.holds_name(at(9), "pump", None) && bans.holds_name(at(9), "x", Some("ann")));
        assert!(!bans.holds_name(at(9), "ann", Some("pump")) && !bans.holds_name(at(9), "x", None));
        assert!(!bans.holds_name(at(10), "pump", Some("ann")), "it has ended");
        assert!(!bans.holds_address(at(10), [10, 0, 0, 1].into()));
        let all = whom("address", "0.0.0.0/0");
        bans.put(at(0), all.clone(), sentence(at(10), ""));
        assert!(!bans.holds_address(at(9), [127, 0, 0, 1].into()), "never this machine");
        assert!(bans.holds_address(at(9), [11, 0, 0, 1].into()));
        bans.remove(&all);
        assert!(!bans.holds_address(at(9), [11, 0, 0, 1].into()));
    }

    #[test]
    fn a_file_says_again_what_was_written() {
        let mut bans = Bans::default();
        let day = at(1_790_000_000);
        bans.put(day, whom("address", "10.0.0.0/8"), sentence(Time::NEVER, "noise"));
        bans.put(day, whom("user", "a \"quoted\"\nname"), sentence(at(1_800_000_000), ""));
        bans.put(day, whom("address", "2001:db8::1/128"), sentence(Time::NEVER, "one alone"));
        bans.put(day, whom("address", "2001:db8::1"), sentence(Time::NEVER, "its network"));
        bans.put(day, whom("address", "192.0.2.7"), sentence(Time::NEVER, ""));
        let mapped = whom("address", "::ffff:10.0.0.1/112");
        assert_eq!(mapped, whom("address", "10.0.0.0/16"));
        bans.put(day, mapped, sentence(Time::NEVER, ""));
        let flapping = Sentence { by: By::Flapping, ..sentence(at(1_790_000_100), "flaps") };
        bans.put(day, whom("client_id", "pump"), flapping);
        assert_eq!(Bans::parse(&bans.text(day)), Ok(bans.clone()));
        let later = Bans::parse(&bans.text(at(1_790_000_100))).expect("it is right");
        assert_eq!(bans.beyond(&later), [whom("client_id", "pump")], "what has ended is left out");
    }

    #[test]
    fn a_wrong_line_is_named() {
        let right = "# by hand\n\n{\"user\": \"ann\"}\n{\"address\": \"::1/64\", \"why\": \"x\"}\n";
        assert_eq!(Bans::parse(right).map(|bans| bans.all.len()), Ok(2));
        for wrong in [
            "nonsense",
            "{}",
            "{\"user\": \"ann\", \"client_id\": \"x\"}",
            "{\"user\": \"\"}",
            "{\"address\": \"10.0.0.0/33\"}",
            "{\"user\": \"ann\", \"until\": \"tomorrow\"}",
            "{\"user\": \"ann\", \"until\": \"2026-02-30T00:00:00Z\"}",
            "{\"user\": \"ann\", \"reason\": \"x\"}",
        ] {
            let fault = Bans::parse(&format!("{right}{wrong}\n")).expect_err(wrong);
            assert_eq!(fault.line, 5, "{wrong}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!((written(at(seconds)).as_str(), read(text)), (text, Some(at(seconds))));
        }
        for wrong in ["2026-13-01T00:00:00Z", "2026-01-01 00:00:00Z", "2026-01-01T24:00:00Z", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn one_that_has_ended_makes_room_for_the_next() {
        let mut bans = Bans::default();
        let numbered = |number: usize| whom("client_id", &number.to_string());
        for number in 0..BANS_MAX {
            let until = if number % 2 == 0 { at(10) } else { Time::NEVER };
            assert!(bans.put(at(1), numbered(number), sentence(until, "")));
        }
        assert!(!bans.put(at(9), whom("user", "ann"), sentence(at(20), "")));
        assert!(bans.put(at(9), numbered(0), sentence(Time::NEVER, "")), "it is among them");
        assert!(bans.put(at(10), whom("user", "ann"), sentence(at(20), "")));
        assert_eq!(bans.all.len(), BANS_MAX, "the others were not looked at");
        assert!(bans.remove(&numbered(1)).is_some());
        assert_eq!(bans.by_end.len(), BANS_MAX / 2 - 1, "those that end, and no other");
        assert!(bans.part(None, BANS_MAX).iter().any(|(whom, _)| *whom == numbered(0)));
    }

    #[test]
    fn changes_of_both_sides_are_kept() {
        let of = |names: &[(&str, &str)]| {
            let mut bans = Bans::default();
            for (name, why) in names {
                bans.put(at(0), whom("user", name), sentence(at(10), why));
            }
            bans
        };
        let base = of(&[("a", ""), ("b", ""), ("c", "")]);
        let ours = of(&[("a", ""), ("c", "ours"), ("d", "")]);
        let file = of(&[("b", ""), ("c", "file"), ("e", "")]);
        assert_eq!(ours.merged(&base, &file), of(&[("c", "file"), ("d", ""), ("e", "")]));
        assert_eq!(ours.merged(&base, &base), ours);
        assert_eq!(base.merged(&base, &file), file);
    }
}

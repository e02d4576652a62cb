//! The kinds of values a key can take: how one is read, described and written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::auth::{ScramVerifier, ScramVerifierError};
use super::error::{Fault, Problem};
use super::found::Found;
use super::listener::{ListenAddress, ListenerConfig};
use super::log;
use crate::proto::Version;

/// A kind of value.
pub(super) trait Kind {
    /// What it becomes.
    type Value;

    /// Takes what was found, or says why not.
    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Self::Value>;

    /// What may stand there, as the end of "expected ...".
    fn expected(&self) -> String;

    /// As TOML; `None` if there is no way to write it, which means that the key is left out.
    fn show(&self, value: &Self::Value) -> Option<String>;

    /// A value to show in the example where the default cannot be written.
    fn sample(&self) -> Option<String> {
        None
    }

    /// The value again in larger units, for people.
    fn gloss(&self, _value: &Self::Value) -> Option<String> {
        None
    }
}

/// Ties a kind to the type of its field, so that the numbers in its range have that type.
pub(super) fn of<T, K: Kind<Value = T>>(kind: K) -> K {
    kind
}

/// A whole number.
pub(super) struct Number<T> {
    range: RangeInclusive<T>,
    unit: &'static str,
}

pub(super) fn count<T>(range: RangeInclusive<T>) -> Number<T> {
    Number { range, unit: "" }
}

pub(super) fn bytes<T>(range: RangeInclusive<T>) -> Number<T> {
    Number { range, unit: " of bytes" }
}

pub(super) fn milliseconds<T>(range: RangeInclusive<T>) -> Number<T> {
    Number { range, unit: " of milliseconds" }
}

pub(super) fn seconds<T>(range: RangeInclusive<T>) -> Number<T> {
    Number { range, unit: " of seconds" }
}

impl<T: TryFrom<i128> + PartialOrd + Display + Copy + Into<u64>> Kind for Number<T> {
    type Value = T;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<T> {
        let number = found.integer();
        let fitting = number.and_then(|number| T::try_from(number).ok());
        let value = fitting.filter(|value| self.range.contains(value));
        if value.is_none() {
            let quoted_number = number.is_none() && found.as_text().is_some_and(is_number);
            let mend = quoted_number.then(|| "write it without quotes".to_owned());
            problems.push(found.unsuitable(self.expected(), mend));
        }
        value
    }

    fn expected(&self) -> String {
        let (min, max) = (self.range.start(), self.range.end());
        format!("a whole number{} from {min} to {max}", self.unit)
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(value.to_string())
    }

    fn gloss(&self, value: &T) -> Option<String> {
        let value: u64 = (*value).into();
        let whole = |unit: u64| value >= unit && value.is_multiple_of(unit);
        match self.unit {
            " of bytes" if whole(1 << 30) => Some(format!("{} GiB", value >> 30)),
            " of bytes" if whole(1 << 20) => Some(format!("{} MiB", value >> 20)),
            " of bytes" if whole(1 << 10) => Some(format!("{} KiB", value >> 10)),
            " of milliseconds" if whole(1000) => Some(format!("{} s", value / 1000)),
            _ => None,
        }
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<i128>().is_ok()
}

/// `true` or `false`.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<bool> {
        let value = found.boolean();
        if value.is_none() {
            problems.push(found.unsuitable(self.expected(), None));
        }
        value
    }

    fn expected(&self) -> String {
        "true or false".to_owned()
    }

    fn show(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }

    fn sample(&self) -> Option<String> {
        Some("false".to_owned())
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<T> {
        let text = found.as_text();
        let chosen = text.and_then(|text| self.0.iter().find(|(word, _)| *word == text));
        if chosen.is_none() {
            let words = self.0.iter().map(|(word, _)| *word);
            let nearest = text.and_then(|text| nearest(text, words));
            let mend = nearest.map(|word| format!("did you mean \"{word}\"?"));
            problems.push(found.unsuitable(self.expected(), mend));
        }
        chosen.map(|(_, value)| *value)
    }

    fn expected(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match words.as_slice() {
            [but_last @ .., last] if !but_last.is_empty() => {
                format!("{} or {last}", but_last.join(", "))
            }
            words => words.concat(),
        }
    }

    fn show(&self, value: &T) -> Option<String> {
        self.0.iter().find(|(_, of_word)| of_word == value).map(|(word, _)| format!("\"{word}\""))
    }
}

/// The candidate that a mistyped word was probably meant to be.
pub(super) fn nearest<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let lower = text.to_ascii_lowercase();
    let distance = |candidate: &&'c str| strsim::damerau_levenshtein(&lower, candidate);
    let far = (text.len() / 3).max(2);
    let near = candidates.into_iter().min_by_key(distance)?;
    (distance(&near) <= far).then_some(near)
}

/// A key that may be left out.
pub(super) struct Optional<K>(pub(super) K);

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Self::Value> {
        self.0.read(found, problems).map(Some)
    }

    fn expected(&self) -> String {
        self.0.expected()
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        value.as_ref().and_then(|value| self.0.show(value))
    }

    fn sample(&self) -> Option<String> {
        self.0.sample()
    }
}

/// A kind with a value for the example.
pub(super) struct Sampled<K>(pub(super) K, pub(super) &'static str);

impl<K: Kind> Kind for Sampled<K> {
    type Value = K::Value;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Self::Value> {
        self.0.read(found, problems)
    }

    fn expected(&self) -> String {
        self.0.expected()
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        self.0.show(value)
    }

    fn sample(&self) -> Option<String> {
        Some(self.1.to_owned())
    }
}

/// A text that something of ours can be made from.
pub(super) struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, Option<String>>,
    show: fn(&T) -> String,
}

impl<T> Kind for Text<T> {
    type Value = T;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<T> {
        let parsed = found.as_text().ok_or(None).and_then(self.parse);
        parsed.map_err(|mend| problems.push(found.unsuitable(self.expected(), mend))).ok()
    }

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(format!("{:?}", (self.show)(value)))
    }
}

/// Where clients connect.
pub(super) fn listen_address() -> Text<ListenAddress> {
    Text {
        expected: "\"tcp://HOST:PORT\"",
        parse: |text| text.parse().map_err(|error| Some(format!("{error}"))),
        show: ListenAddress::to_string,
    }
}

/// Where the admin server listens, or `"off"`.
pub(super) fn admin_address() -> Text<Option<SocketAddr>> {
    Text {
        expected: "\"ADDRESS:PORT\" or \"off\"",
        parse: |text| match text {
            "off" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let example = "an address and a port, such as 127.0.0.1:18083 or [::1]:18083";
                Some(example.to_owned())
            }),
        },
        show: |value| value.map_or("off".to_owned(), |address| address.to_string()),
    }
}

/// A folder.
pub(super) fn folder() -> Text<PathBuf> {
    Text {
        expected: "the path of a folder",
        parse: |text| match text {
            "" => Err(Some("\".\" is the working directory".to_owned())),
            text if text.contains('\0') => Err(None),
            text => Ok(PathBuf::from(text)),
        },
        show: |value: &PathBuf| Path::display(value).to_string(),
    }
}

/// A file to be read.
pub(super) fn file() -> Text<PathBuf> {
    Text {
        expected: "the path of a file",
        parse: |text| match text {
            "" => Err(None),
            text if text.contains('\0') => Err(None),
            text => Ok(PathBuf::from(text)),
        },
        show: |value: &PathBuf| Path::display(value).to_string(),
    }
}

/// The path of a WebSocket.
pub(super) fn web_path() -> Text<String> {
    Text {
        expected: "a path that begins with /, without query, or \"*\"",
        parse: |text| {
            let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
            let fits = text.len() <= 1024 && text.bytes().all(legal);
            if text == ListenerConfig::ANY_PATH || text.starts_with('/') && fits {
                Ok(text.to_owned())
            } else {
                Err(None)
            }
        },
        show: String::clone,
    }
}

/// Origins of web pages.
pub(super) struct Origins;

impl Kind for Origins {
    type Value = Vec<String>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
        let legal = |text: &&str| {
            let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
            rest.is_some_and(|host| !host.is_empty() && !host.contains('/'))
        };
        let element = "an origin such as \"https://example.org\", without a path";
        found.each(&self.expected(), element, problems, |item| {
            item.as_text().filter(legal).map(str::to_owned)
        })
    }

    fn expected(&self) -> String {
        "a list of origins such as [\"https://example.org\"], without a path".to_owned()
    }

    fn show(&self, origins: &Vec<String>) -> Option<String> {
        (!origins.is_empty()).then(|| format!("{origins:?}"))
    }

    fn sample(&self) -> Option<String> {
        Some("[\"https://example.org\"]".to_owned())
    }
}

/// Versions of MQTT.
pub(super) struct Versions;

impl Kind for Versions {
    type Value = Vec<Version>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<Version>> {
        let version = |item: &Found<'_>| {
            let text = item.as_text()?;
            Version::ALL.into_iter().find(|version| version.to_string() == text)
        };
        let element = "\"3.1\", \"3.1.1\" or \"5.0\"";
        let versions = found.each(&self.expected(), element, problems, version)?;
        if versions.is_empty() {
            problems.push(found.unsuitable(self.expected(), None));
        }
        Some(versions).filter(|versions| !versions.is_empty())
    }

    fn expected(&self) -> String {
        "one or more of [\"3.1\", \"3.1.1\", \"5.0\"]".to_owned()
    }

    fn show(&self, versions: &Vec<Version>) -> Option<String> {
        let versions: Vec<String> = versions.iter().map(Version::to_string).collect();
        Some(format!("{versions:?}"))
    }
}

/// A network interface.
pub(super) fn interface() -> Text<String> {
    Text {
        expected: "the name of a network interface, of 1 to 15 bytes",
        parse: |text| {
            let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
            let fits = (1..=15).contains(&text.len()) && text.bytes().all(legal);
            if fits { Ok(text.to_owned()) } else { Err(None) }
        },
        show: String::clone,
    }
}

/// A short name for logs and metrics.
pub(super) fn name() -> Text<String> {
    Text {
        expected: "a name of 1 to 64 printable ASCII characters",
        parse: |text| {
            let legal =
                (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
            if legal { Ok(text.to_owned()) } else { Err(None) }
        },
        show: String::clone,
    }
}

/// Log levels, also by module.
pub(super) fn log_levels() -> Text<String> {
    Text {
        expected: "a level (off, error, warn, info, debug, trace), or levels by module such as \
                   \"info,hawker::runtime=debug\"",
        parse: |text| match log::fault_in_levels(text) {
            None => Ok(text.to_owned()),
            Some(part) => Err(Some(format!("mend {part:?}"))),
        },
        show: String::clone,
    }
}

/// The beginning of a topic name.
pub(super) fn topic_prefix() -> Text<String> {
    Text {
        expected: "the beginning of a topic name, of 1 to 1024 bytes without +, # and control \
                   characters",
        parse: |text| {
            let legal = |char: char| !char.is_control() && char != '+' && char != '#';
            let fits = (1..=1024).contains(&text.len()) && text.chars().all(legal);
            if fits { Ok(text.to_owned()) } else { Err(None) }
        },
        show: String::clone,
    }
}

/// A word or a name.
pub(super) fn word() -> Text<String> {
    Text {
        expected: "a text of 1 to 1024 bytes",
        parse: |text| match (1..=1024).contains(&text.len()) {
            true => Ok(text.to_owned()),
            false => Err(None),
        },
        show: String::clone,
    }
}

fn is_web_url(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(char::is_whitespace))
}

/// Where a web service is.
pub(super) fn web_url() -> Text<String> {
    Text {
        expected: "a URL, http://... or https://...",
        parse: |text| if is_web_url(text) { Ok(text.to_owned()) } else { Err(None) },
        show: String::clone,
    }
}

/// A file, or where a web service is.
pub(super) fn source() -> Text<String> {
    Text {
        expected: "the path of a file, or a URL, http://... or https://...",
        parse: |text| match !text.is_empty() && (is_web_url(text) || !text.contains("://")) {
            true => Ok(text.to_owned()),
            false => Err(None),
        },
        show: String::clone,
    }
}

/// Numbers of CPUs, as an array or as the kernel writes them: `0-3,8`.
pub(super) struct Cpus;

/// The kernel's own bound, CONFIG_NR_CPUS at its largest.
const CPU_MAX: usize = 8191;

impl Kind for Cpus {
    type Value = Vec<usize>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Vec<usize>> {
        let numbers = match found.as_text() {
            Some(text) => parse_cpus(text),
            None => {
                let element = format!("a CPU number up to {CPU_MAX}");
                Some(found.each(&self.expected(), &element, problems, cpu)?)
            }
        };
        let distinct =
            |numbers: &Vec<usize>| numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len();
        let cpus = numbers.filter(|numbers| !numbers.is_empty() && distinct(numbers));
        if cpus.is_none() {
            problems.push(found.unsuitable(self.expected(), None));
        }
        cpus
    }

    fn expected(&self) -> String {
        format!("different CPU numbers up to {CPU_MAX}, as [0, 1, 2, 3] or \"0-3\"")
    }

    fn show(&self, cpus: &Vec<usize>) -> Option<String> {
        Some(format!("{cpus:?}"))
    }

    fn sample(&self) -> Option<String> {
        Some("\"0-3\"".to_owned())
    }
}

fn cpu(found: &Found<'_>) -> Option<usize> {
    let number = usize::try_from(found.integer()?).ok()?;
    (number <= CPU_MAX).then_some(number)
}

/// The kernel's list format: numbers and ranges with commas between.
fn parse_cpus(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
        if cpus.len() > CPU_MAX + 1 {
            return None;
        }
    }
    Some(cpus)
}

/// The verifiers of users, by name.
pub(super) struct Verifiers;

impl Kind for Verifiers {
    type Value = BTreeMap<String, ScramVerifier>;

    fn read(&self, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<Self::Value> {
        let Some(entries) = found.entries() else {
            let mend = "write it into the configuration file".to_owned();
            problems.push(found.unsuitable(self.expected(), Some(mend)));
            return None;
        };
        let mut users = BTreeMap::new();
        for (user, found) in entries {
            if let Some(verifier) = verifier(user, &found, problems) {
                users.insert(user.to_owned(), verifier);
            }
        }
        Some(users)
    }

    fn expected(&self) -> String {
        "a table of user = \"verifier\", which `hawker scram USER` prints".to_owned()
    }

    fn show(&self, _users: &Self::Value) -> Option<String> {
        None
    }
}

fn verifier(user: &str, found: &Found<'_>, problems: &mut Vec<Problem>) -> Option<ScramVerifier> {
    if user.is_empty() || user.len() > 1024 || user.chars().any(char::is_control) {
        let reason = "a user name has 1 to 1024 bytes and no control characters".to_owned();
        problems.push(found.problem(Fault::Conflict { reason }));
        return None;
    }
    // What was found is not repeated: it may hold keys.
    let text = found.as_text().ok_or(ScramVerifierError::Shape);
    let fault = |error: ScramVerifierError| Fault::Unsuitable {
        found: "no SCRAM verifier".to_owned(),
        expected: error.to_string(),
        mend: Some("`hawker scram USER` prints one".to_owned()),
    };
    let parsed = text.and_then(str::parse);
    parsed.map_err(|error| problems.push(found.problem(fault(error)))).ok()
}

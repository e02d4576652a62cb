//! Writes `docs/conformance.md`: which statement is enforced where, and which test shows it.
//!
//! The statements and who is bound by each are kept by hand in `normative.tsv`; where and which
//! is read from the ids in `src/` and `tests/`. A test compares the page with what it should be;
//! `HAWKER_BLESS=1` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/conformance.md";
const STATEMENTS: &str = include_str!("normative.tsv");

/// A version of the specification with normative statements; 3.1 has none with numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edition {
    V5,
    V311,
}

/// What the ids in the source are: 5.0 unless they say otherwise.
type Key = (Edition, String);

/// A row of `normative.tsv`.
#[derive(Debug)]
struct Statement {
    edition: Edition,
    id: &'static str,
    binds: &'static str,
    /// The id of 5.0 that says the same.
    same: &'static str,
    text: &'static str,
}

/// Where each id stands.
#[derive(Debug, Default)]
struct Places {
    enforced: BTreeMap<Key, BTreeSet<String>>,
    shown: BTreeMap<Key, BTreeSet<String>>,
}

#[test]
fn the_page_about_conformance_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page(&statements(), &places(root));
    let path = root.join(PAGE);
    if std::env::var_os("HAWKER_BLESS").is_some() {
        fs::write(&path, page).expect("the page can be written");
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{PAGE} is not what the code says: HAWKER_BLESS=1 writes it anew");
}

#[test]
fn every_id_in_the_sources_is_one_of_the_specification() {
    let known: BTreeSet<Key> =
        statements().iter().map(|it| (it.edition, it.id.to_owned())).collect();
    let places = places(Path::new(env!("CARGO_MANIFEST_DIR")));
    let unknown: Vec<_> = places
        .shown
        .iter()
        .chain(&places.enforced)
        .filter(|(key, _)| !known.contains(key))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn ids_are_read_in_every_notation() {
    let read = |line: &str| -> Vec<String> {
        ids(line).into_iter().map(|(edition, id)| format!("{edition:?} {id}")).collect()
    };
    assert_eq!(read("x // [MQTT-3.1.4-2] y"), ["V5 MQTT-3.1.4-2"]);
    assert_eq!(read("[MQTT-3.1.2-22 of 3.1.1]"), ["V311 MQTT-3.1.2-22"]);
    assert_eq!(read("[MQTT-3.1.2-12, -14 of 3.1.1]"), ["V5 MQTT-3.1.2-12", "V311 MQTT-3.1.2-14"]);
    assert_eq!(
        read("[MQTT-1.5.4-1, 1.5.3-1, -2 of 3.1.1]"),
        ["V5 MQTT-1.5.4-1", "V311 MQTT-1.5.3-1", "V311 MQTT-1.5.3-2"]
    );
    assert_eq!(
        read("[v3.1.1 MQTT-1.5.3-1] [v5 MQTT-4.2-1]"),
        ["V311 MQTT-1.5.3-1", "V5 MQTT-4.2-1"]
    );
    assert_eq!(
        read("[MQTT-4.7.3-1, -2, 3.3.2-2]"),
        ["V5 MQTT-4.7.3-1", "V5 MQTT-4.7.3-2", "V5 MQTT-3.3.2-2"]
    );
    assert_eq!(read("[MQTT-4.8.2-3 to -5]").len(), 3);
    assert_eq!(read("[MQTT-3.14.4-1, reason 0x8B]"), ["V5 MQTT-3.14.4-1"]);
    assert_eq!(read("[v3.1.1 MQTT-3.3.1.-1]"), ["V311 MQTT-3.3.1.-1"]);
    assert!(read("[`MQTT`] [x] [MQTT]").is_empty());
}

fn statements() -> Vec<Statement> {
    STATEMENTS
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().expect("five fields a line");
            let edition = if field() == "5.0" { Edition::V5 } else { Edition::V311 };
            Statement { edition, id: field(), binds: field(), same: field(), text: field() }
        })
        .inspect(|it| assert!(matches!(it.binds, "server" | "client" | "both" | "format")))
        .collect()
}

fn places(root: &Path) -> Places {
    let mut places = Places::default();
    for folder in ["src", "tests"] {
        for path in sources(&root.join(folder)) {
            let text = fs::read_to_string(&path).expect("sources are text");
            let name = path.strip_prefix(root).expect("it is below").display().to_string();
            read_source(&name, &text, &mut places);
        }
    }
    places
}

/// The Rust files below a folder, in order. This file's ids are examples.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).expect("the folder is there");
    for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
        if path.ends_with("src/sim") {
            // The simulation's oracle judges; it neither enforces nor tests on its own.
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("report.rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Takes the ids of one file. An id belongs to the item it stands in, or before which it stands
/// as documentation; below `#[test]` it belongs to the test.
fn read_source(name: &str, text: &str, places: &mut Places) {
    let in_tests = name.starts_with("tests/") || name.contains("/tests");
    let mut tests_begin = in_tests;
    let mut pending: Vec<Key> = Vec::new();
    let mut is_test = false;
    let mut item = String::new();
    for line in text.lines() {
        let code = line.trim_start();
        tests_begin |= code.starts_with("mod tests");
        is_test |= code == "#[test]";
        if let Some(found) = item_name(code) {
            item = found.to_owned();
            let target =
                if is_test || tests_begin { &mut places.shown } else { &mut places.enforced };
            let place = place(name, &item, is_test || in_tests);
            for key in pending.drain(..) {
                target.entry(key).or_default().insert(place.clone());
            }
            is_test = false;
        }
        let found = ids(line);
        if code.starts_with("///") || code.starts_with("#[") {
            pending.extend(found);
            continue;
        }
        let target = if tests_begin { &mut places.shown } else { &mut places.enforced };
        for key in found {
            target.entry(key).or_default().insert(place(name, &item, tests_begin));
        }
    }
}

/// `proto/topic.rs`, `check`.
fn place(file: &str, item: &str, test: bool) -> String {
    let file = file.strip_prefix("tests/conformance/").unwrap_or(file);
    let file = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    match (item, test) {
        ("", _) => format!("`{file}`"),
        (_, true) => format!("`{file}::{item}`"),
        (_, false) => format!("`{file}`: `{item}`"),
    }
}

/// The name of the function or type that a line begins.
fn item_name(code: &str) -> Option<&str> {
    let mut rest = code;
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = ["fn ", "struct ", "enum ", "trait "]
        .into_iter()
        .find_map(|keyword| rest.strip_prefix(keyword))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

/// The ids in brackets: `[MQTT-3.1.4-2]`, `[MQTT-4.7.3-1, -2]`, `[MQTT-4.8.2-3 to -6]`,
/// `[MQTT-3.1.2-22 of 3.1.1]`, `[v5 MQTT-…]`, `[v3.1.1 MQTT-…]`.
fn ids(line: &str) -> Vec<Key> {
    let mut found = Vec::new();
    for group in line.split('[').skip(1).filter_map(|rest| rest.split_once(']')) {
        match group.0.split_once("MQTT-") {
            Some(("v3.1.1 ", list)) => {
                found.extend(expand(list).map(|id| (Edition::V311, id)));
            }
            Some(("" | "v5 ", list)) => found.extend(of_5_0(list)),
            _ => {}
        }
    }
    found
}

/// Ids of 5.0. After ` of 3.1.1` the last one is not, nor are those just before it that share a
/// section which it names: `1.5.4-1, 1.5.3-1, -2 of 3.1.1`.
fn of_5_0(list: &str) -> Vec<Key> {
    let Some(list) = list.strip_suffix(" of 3.1.1") else {
        return expand(list).map(|id| (Edition::V5, id)).collect();
    };
    let parts: Vec<&str> = list.split(", ").collect();
    let named = parts.iter().rposition(|part| !part.starts_with('-')).unwrap_or(0);
    let first = if named == 0 { parts.len() - 1 } else { named };
    let edition = |index| if index < first { Edition::V5 } else { Edition::V311 };
    expand(list).enumerate().map(|(index, id)| (edition(index), id)).collect()
}

/// `4.7.3-1, -2, 3.3.2-2` and `4.8.2-3 to -6`, written out.
fn expand(list: &str) -> impl Iterator<Item = String> {
    let mut found: Vec<String> = Vec::new();
    let mut section = "";
    for part in list.split(',').map(str::trim) {
        let (from, to) = part.split_once(" to -").unwrap_or((part, ""));
        let Some((before, number)) = from.rsplit_once('-') else { continue };
        let Ok(first) = number.parse::<u32>() else { continue };
        section = if before.is_empty() { section } else { before.trim_start_matches("MQTT-") };
        let last = to.parse().unwrap_or(first);
        found.extend((first..=last).map(|number| format!("MQTT-{section}-{number}")));
    }
    found.into_iter()
}

impl Statement {
    /// Whether a server can break it.
    fn binds_server(&self) -> bool {
        self.binds != "client"
    }

    fn key(&self) -> Key {
        (self.edition, self.id.to_owned())
    }

    /// Where it is enforced, or where the same statement of 5.0 is.
    fn enforced<'a>(&self, places: &'a Places) -> Option<&'a BTreeSet<String>> {
        let own = places.enforced.get(&self.key());
        own.or_else(|| places.enforced.get(&(Edition::V5, self.same.to_owned())))
    }
}

fn page(statements: &[Statement], places: &Places) -> String {
    let mut page = String::from(HEAD);
    let gaps: Vec<&Statement> = statements
        .iter()
        .filter(|it| it.binds_server() && !places.shown.contains_key(&it.key()))
        .collect();
    let bound = statements.iter().filter(|it| it.binds_server()).count();
    let _ = writeln!(
        page,
        "Of {} statements {bound} bind a server; {} of these have a test, {} have none.\n",
        statements.len(),
        bound - gaps.len(),
        gaps.len()
    );
    page.push_str("## Gaps\n\nStatements that bind a server and that no test shows:\n\n");
    for it in &gaps {
        let _ = writeln!(page, "- {} [{}]: {}", it.edition.name(), it.id, escaped(it.text));
    }
    if gaps.is_empty() {
        page.push_str("None.\n");
    }
    for edition in [Edition::V5, Edition::V311] {
        let _ = writeln!(page, "\n## MQTT {}\n", edition.name());
        page.push_str("| Id | Statement | Binds | Enforced in | Shown by |\n");
        page.push_str("|---|---|---|---|---|\n");
        for it in statements.iter().filter(|it| it.edition == edition) {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                it.id.trim_start_matches("MQTT-"),
                escaped(it.text),
                it.binds,
                cell(it.enforced(places)),
                cell(places.shown.get(&it.key())),
            );
        }
    }
    page
}

impl Edition {
    fn name(self) -> &'static str {
        match self {
            Edition::V5 => "5.0",
            Edition::V311 => "3.1.1",
        }
    }
}

fn cell(places: Option<&BTreeSet<String>>) -> String {
    let list: Vec<&str> = places.into_iter().flatten().map(String::as_str).collect();
    list.join("<br>")
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

const HEAD: &str = "\
# Conformance

Every normative statement of MQTT 5.0 and 3.1.1: whom it binds, where Hawker enforces it, and
which test shows that it holds. MQTT 3.1 numbers no statements; the tests run on it, too.

This page is written by a test from the ids in `src/` and `tests/`; write it anew with
`HAWKER_BLESS=1 cargo test --test conformance report`.

- *Binds*: `server` or `client` alone, `both`, or `format`: a rule about bytes, which a server
  must follow when it writes and check when it reads.
- *Enforced in*: file below `src/` and function. A statement of 3.1.1 without a place of its own
  shows that of the statement of 5.0 that says the same. An empty cell means that no comment
  names the statement, often because there is nothing to enforce: a feature that is always on.
- *Shown by*: tests of the real binary by `file::test` below `tests/conformance/`, where each runs
  on 1, 2, 3 and 8 shards, and tests beside the code by their path. That a packet from the broker
  is legal is shown by every test, which reads through `packet.rs`.

";

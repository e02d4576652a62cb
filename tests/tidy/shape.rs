//! The shape of the code: how long, how named, how careful.

use crate::source::{Source, is_test, item_end, root, sources};

/// Everything of ours in Rust.
const EVERYTHING: &[&str] = &["src", "tests", "benches", "loadtest", "fuzz"];
/// Lines of a file; past 500 it is time to look for the missing noun.
const FILE_LINES_MAX: usize = 1000;
/// Lines of a function that can be seen whole.
const FUNCTION_LINES_SEEN: usize = 70;
/// Functions longer than that, of a thousand.
const LONG_FUNCTIONS_PER_MILLE_MAX: usize = 25;
/// The files that talk to the kernel in its own terms, each block argued.
const UNSAFE_FILES: &[&str] = &[
    "src/runtime/arrival.rs",
    "src/runtime/buffers.rs",
    "src/runtime/disk.rs",
    "src/runtime/driver.rs",
    "src/runtime/mailbox.rs",
    "src/runtime/receiving.rs",
    "src/runtime/ring.rs",
    "src/runtime/sending.rs",
    "src/runtime/socket.rs",
    "src/sys/ring.rs",
    "src/sys/signal.rs",
];
/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "types", "manager", "helpers", "misc"];

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources(EVERYTHING)
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "more than {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_can_be_seen_whole() {
    let mut lengths: Vec<(usize, String)> = sources(&["src"])
        .iter()
        .filter(|source| !is_test(&source.path))
        .flat_map(functions)
        .collect();
    lengths.sort();
    let Some((median, _)) = lengths.get(lengths.len() / 2) else { return };
    let long: Vec<String> = lengths
        .iter()
        .filter(|(lines, _)| *lines > FUNCTION_LINES_SEEN)
        .map(|(lines, name)| format!("{name}: {lines} lines"))
        .collect();
    println!("{} functions, median of {median} lines", lengths.len());
    println!("longer than {FUNCTION_LINES_SEEN}:\n{}", long.join("\n"));
    let allowed = lengths.len() * LONG_FUNCTIONS_PER_MILLE_MAX / 1000;
    assert!(long.len() <= allowed, "at most {allowed} of these:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let mut left = Vec::new();
    for source in sources(EVERYTHING) {
        for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
            if source.code.contains(word) {
                left.push(format!("{}: {word}", source.path));
            }
        }
        // Put together here, so that this file does not find itself.
        for word in [["FIX", "ME"].concat(), ["TO", "DO"].concat(), ["XX", "X"].concat()] {
            if source.text.split(|c: char| !c.is_alphanumeric()).any(|found| found == word) {
                left.push(format!("{}: {word}", source.path));
            }
        }
    }
    assert!(left.is_empty(), "finish or remove:\n{}", left.join("\n"));
}

#[test]
fn files_are_named_for_what_they_hold() {
    for source in sources(EVERYTHING) {
        let empty =
            source.path.trim_end_matches(".rs").split('/').find(|part| EMPTY_NAMES.contains(part));
        assert_eq!(empty, None, "{}: the noun is not found yet", source.path);
    }
}

#[test]
fn unsafe_code_is_in_named_files_alone() {
    for source in sources(&["src", "loadtest"]) {
        let named = UNSAFE_FILES.contains(&source.path.as_str());
        let has = source.words("unsafe").next().is_some();
        assert!(named || !has, "{}: unsafe code in a file without its name here", source.path);
        assert!(has || !named, "{}: named here, and safe", source.path);
    }
    for path in UNSAFE_FILES {
        assert!(root().join(path).exists(), "{path}: named here, and gone");
    }
}

/// Name and lines of each function with a body.
fn functions(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for offset in source.words("fn") {
        let rest = &source.code[offset..];
        let name: String = rest[2..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let end = item_end(&source.code, offset);
        // A type such as `fn(u8)` has no name, a declaration no body.
        if !name.is_empty() && source.code[offset..end].ends_with('}') {
            let lines = source.line(end) - source.line(offset) + 1;
            found.push((lines, format!("{}:{} {name}", source.path, source.line(offset))));
        }
    }
    found
}

//! Whose code comes along, under which terms, and from where.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Licences under which the code of others may come along. MPL-2.0 asks for its own files alone;
/// CDLA-Permissive-2.0 is of a list of certificates.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--all-features", "--offline", "--locked"]);
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("no packages: {other}"),
    }
}

/// Whether a licence can be chosen: one of those after OR, with all of those after AND.
fn is_allowed(licence: &str) -> bool {
    let licence = licence.replace(['(', ')'], "").replace('/', " OR ");
    licence
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|choice| LICENCES.contains(&choice.trim())))
}

#[test]
fn everything_comes_under_terms_that_are_allowed() {
    let refused: Vec<String> = packages()
        .iter()
        .map(|package| (package["name"].as_str(), package["license"].as_str().unwrap_or("none")))
        .filter(|(_, licence)| !is_allowed(licence))
        .map(|(name, licence)| format!("{name:?}: {licence}"))
        .collect();
    assert!(refused.is_empty(), "licences that are not allowed: {refused:#?}");
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0") && !is_allowed("MIT AND GPL-3.0"));
}

#[test]
fn everything_comes_from_the_registry_or_from_here() {
    let sources: BTreeSet<String> = packages()
        .iter()
        .filter_map(|package| package["source"].as_str().map(str::to_owned))
        .filter(|source| !source.starts_with("registry+"))
        .collect();
    assert!(sources.is_empty(), "{sources:?}");
}

//! What dashboards and alerts ask for is what the broker counts.

use std::collections::BTreeSet;
use std::fs;

use hawker::metrics::ShardMetrics;

use crate::source::root;

/// Files beside the dashboards that name metrics.
const OTHER_FILES: &[&str] = &["grafana/alerts.yaml"];

/// The dashboards, as `grafana/build` writes them.
fn dashboards() -> Vec<String> {
    let folder = fs::read_dir(root().join("grafana/dashboards")).expect("it is ours");
    let names = folder.map(|entry| entry.expect("it is ours").file_name());
    names.map(|name| format!("grafana/dashboards/{}", name.to_string_lossy())).collect()
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("it is ours")
}

/// Every word of a text that begins like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("hawker_").map(|(at, _)| at);
    let word = |at: usize| {
        let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let word: String = text[at..].chars().take_while(is_part).collect();
        // The series of a histogram.
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(&word).to_owned()
    };
    starts.map(word).collect()
}

/// Every metric that is exported: the counters of shards, and what `src/control` adds.
fn exported() -> BTreeSet<String> {
    let metrics = ShardMetrics::default();
    let counters = metrics.entries().into_iter().map(|(name, ..)| format!("hawker_{name}"));
    let control = text("src/control/mod.rs");
    let families = control.split("family(\"").skip(1).filter_map(|rest| rest.split('"').next());
    counters.chain(families.map(|name| format!("hawker_{name}"))).collect()
}

#[test]
fn every_metric_that_is_asked_for_is_exported() {
    let exported = exported();
    for file in dashboards().into_iter().chain(OTHER_FILES.iter().map(ToString::to_string)) {
        let asked = named(&text(&file));
        assert!(asked.len() > 3, "{file} asks for something");
        let unknown: Vec<_> = asked.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

#[test]
fn every_metric_is_on_a_dashboard() {
    let shown: BTreeSet<String> = dashboards().iter().flat_map(|file| named(&text(file))).collect();
    let exported = exported();
    let missing: Vec<_> = exported.difference(&shown).collect();
    assert!(missing.is_empty(), "no graph shows {missing:?}");
}

//! What dashboards and alerts ask for is what the broker counts.

use std::collections::BTreeSet;
use std::fs;

use hawker::metrics::ShardMetrics;

use crate::source::root;

/// The files that name metrics.
const FILES: &[&str] = &["grafana/dashboards/overview.json", "grafana/alerts.yaml"];

/// Every word of a text that begins like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("hawker_").map(|(at, _)| at);
    let word = |at: usize| {
        let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let word: String = text[at..].chars().take_while(is_part).collect();
        // The series of a histogram.
        word.trim_end_matches("_bucket").to_owned()
    };
    starts.map(word).collect()
}

/// Every metric that is exported: the counters of shards, and what `src/control` adds.
fn exported() -> BTreeSet<String> {
    let metrics = ShardMetrics::default();
    let counters = metrics.entries().into_iter().map(|(name, ..)| format!("hawker_{name}"));
    let control = fs::read_to_string(root().join("src/control/mod.rs")).expect("it is ours");
    let families = control.split("family(\"").skip(1).filter_map(|rest| rest.split('"').next());
    counters.chain(families.map(|name| format!("hawker_{name}"))).collect()
}

#[test]
fn every_metric_that_is_asked_for_is_exported() {
    let exported = exported();
    for file in FILES {
        let text = fs::read_to_string(root().join(file)).expect("it is ours");
        let asked = named(&text);
        assert!(asked.len() > 3, "{file} asks for something");
        let unknown: Vec<_> = asked.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

#[test]
fn every_counter_is_shown_or_not_worth_it() {
    let dashboard = fs::read_to_string(root().join(FILES[0])).expect("it is ours");
    let shown = named(&dashboard);
    // Received, but not as messages: of use beside the bytes only.
    let left_out = ["hawker_connections_accepted_total", "hawker_packets_received_total"];
    let left_out = left_out.map(str::to_owned).into_iter().collect();
    let missing: Vec<_> = exported().difference(&shown).cloned().collect();
    let missing: BTreeSet<String> = missing.into_iter().collect();
    assert_eq!(missing, left_out, "a metric is in no graph");
}

//! What dashboards and alerts ask for is what the broker counts, and each alert is explained.

use std::collections::BTreeSet;
use std::fs;

use hawker::metrics::ShardMetrics;

use crate::source::root;

/// Files beside the dashboards that name metrics.
const OTHER_FILES: &[&str] = &[ALERTS, "grafana/alerts-test.yaml"];
const ALERTS: &str = "grafana/alerts.yaml";

/// The dashboards, as `grafana/build` writes them.
fn dashboards() -> Vec<String> {
    let folder = fs::read_dir(root().join("grafana/dashboards")).expect("it is ours");
    let names = folder.map(|entry| entry.expect("it is ours").file_name());
    names.map(|name| format!("grafana/dashboards/{}", name.to_string_lossy())).collect()
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("it is ours")
}

/// How our metrics begin: those of every process have names that others gave.
const PREFIXES: &[&str] = &["hawker_", "process_"];

/// Every word of a text that begins like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let starts = PREFIXES.iter().flat_map(|prefix| text.match_indices(prefix)).map(|(at, _)| at);
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
    let counted = metrics.entries().into_iter().map(|metric| format!("hawker_{}", metric.name));
    let control = text("src/control/metrics.rs");
    let families = control.split("family(\"").skip(1).filter_map(|rest| rest.split('"').next());
    counted.chain(families.map(str::to_owned)).collect()
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

#[test]
fn every_alert_has_a_section_of_the_runbook_and_a_test() {
    let (alerts, tests, runbook) =
        (text(ALERTS), text("grafana/alerts-test.yaml"), text("docs/runbook.md"));
    let names: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "no test has {name} fire");
        let url = format!("runbook_url: \"docs/runbook.md#{}\"", name.to_lowercase());
        assert_eq!(alerts.matches(&url).count(), 1, "{name} names its section once");
    }
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## Hawker"));
    let sections: Vec<String> = sections.map(|name| format!("Hawker{name}")).collect();
    let [alerts, sections] =
        [names.iter().map(ToString::to_string).collect(), sections].map(BTreeSet::from_iter);
    assert_eq!(alerts, sections, "alerts, and sections of the runbook");
}

//! What an operator sees: dashboards and alerts against the real binary.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{answers, is_present, run};

#[test]
fn dashboards_are_what_the_script_makes() {
    if !is_present(answers("python3"), "python3") {
        return;
    }
    run(Command::new(grafana("build")).arg("--check"));
}

#[test]
fn alerts_fire_when_they_should_and_not_otherwise() {
    let promtool = promtool();
    if !is_present(answers(&promtool), "promtool") {
        return;
    }
    run(Command::new(&promtool).args(["check", "config"]).arg(grafana("prometheus.yaml")));
    run(Command::new(&promtool).args(["test", "rules"]).arg(grafana("alerts-test.yaml")));
}

#[test]
fn everything_that_is_asked_has_an_answer() {
    if !is_present(answers("python3"), "python3") || !is_present(answers(promtool()), "promtool") {
        return;
    }
    run(Command::new(grafana("check")).arg(env!("CARGO_BIN_EXE_hawker")));
}

/// A file of `grafana`.
fn grafana(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(name)
}

/// That of `make clients`, or the system's.
fn promtool() -> PathBuf {
    let own = "tests/clients/prometheus/usr/bin/promtool";
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(own);
    if own.exists() { own } else { PathBuf::from("promtool") }
}

//! What an operator sees: dashboards and alerts against the real binary.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::is_present;

#[test]
fn dashboards_are_what_the_script_makes() {
    if !is_present(answers("python3"), "python3") {
        return;
    }
    run(Command::new(grafana("build")).arg("--check"));
}

#[test]
fn alerts_fire_when_they_should_and_not_otherwise() {
    if !is_present(answers("promtool"), "promtool") {
        return;
    }
    run(Command::new("promtool").args(["check", "config"]).arg(grafana("prometheus.yaml")));
    run(Command::new("promtool").args(["test", "rules"]).arg(grafana("alerts-test.yaml")));
}

/// A file of `grafana`.
fn grafana(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(name)
}

/// Whether there is such a command.
fn answers(command: &str) -> bool {
    let mut command = Command::new(command);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command to its end and fails with what it said.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{said}{complained}");
}

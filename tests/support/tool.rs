//! Programs of others that a test drives.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether a test can go on. Where a program is missing it says so, or fails where
/// `HAWKER_TEST_CLIENTS=required`, as `make test` has it.
pub fn is_present(present: bool, what: &str) -> bool {
    if !present {
        let required = env::var_os("HAWKER_TEST_CLIENTS").is_some_and(|value| value == "required");
        assert!(!required, "{what} is missing: make clients");
        eprintln!("skipped: {what} is missing: make clients");
    }
    present
}

/// Whether there is such a command.
pub fn answers(command: impl AsRef<OsStr>) -> bool {
    let mut command = Command::new(command);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command to its end and fails with what it said.
pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{said}{complained}");
}

/// A file of `dashboard`.
pub fn dashboard(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard").join(name)
}

/// Whether there is Node with what the dashboard is built of.
pub fn has_node() -> bool {
    is_present(answers("node"), "node")
        && is_present(dashboard("node_modules/.fulfilled").exists(), "the dashboard's packages")
}

/// Whether there is a browser with what drives it.
pub fn has_browser() -> bool {
    has_node() && is_present(answers("chromium"), "chromium")
}

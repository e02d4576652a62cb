//! Clients that are scripts: one file that knows its scenarios by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Broker, Setup, certificate, is_present};

/// An interpreter with a script that runs `SCENARIO HOST PORT VERSION PREFIX [foreign]` and
/// answers `list`; `SCHEME` and `CERTIFICATE` in its environment say how to connect.
pub(crate) struct Script {
    /// Below `tests/clients`, or a command of the system.
    pub(crate) interpreter: &'static str,
    /// Below `tests/clients`.
    pub(crate) script: &'static str,
    /// Below `tests/clients`: there once the client is installed.
    pub(crate) installed: &'static str,
}

impl Script {
    /// Runs a scenario against a fresh broker that listens by `scheme` and fails with what the
    /// script said.
    pub(crate) fn run_over(
        &self,
        scheme: &'static str,
        scenario: &str,
        version: &str,
        shards: usize,
    ) {
        if !self.is_installed() {
            return;
        }
        let broker = match scheme {
            "tcp" => Broker::start(shards),
            _ => Setup::shards(shards).scheme(scheme).start(),
        };
        let mut command = self.command();
        command.args([scenario, &broker.address().ip().to_string()]);
        command.args([&broker.port().to_string(), version, &broker.unique()]);
        command.env("SCHEME", scheme).env("CERTIFICATE", certificate());
        if broker.is_foreign() {
            command.arg("foreign");
        }
        let (succeeded, said) = outcome(&mut command);
        assert!(succeeded, "{scenario} by {scheme}, MQTT {version}, {shards} shards:\n{said}");
    }

    /// Checks that the tests name every scenario the script has, and no other.
    pub(crate) fn check_named(&self, named: &[&str]) {
        if !self.is_installed() {
            return;
        }
        let (succeeded, said) = outcome(self.command().arg("list"));
        assert!(succeeded, "{said}");
        let has: BTreeSet<&str> = said.lines().collect();
        let named: BTreeSet<&str> = named.iter().copied().collect();
        assert_eq!(named, has, "scenarios named by tests, and those of {}", self.script);
    }

    fn is_installed(&self) -> bool {
        is_present(below(self.installed).exists(), self.installed)
    }

    fn command(&self) -> Command {
        let own = below(self.interpreter);
        let interpreter = if own.exists() { own } else { PathBuf::from(self.interpreter) };
        let mut command = Command::new(interpreter);
        command.arg(below(self.script));
        command
    }
}

/// Runs a command to its end: whether it succeeded, and all it said.
pub(crate) fn outcome(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().expect("the interpreter can be started");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

fn below(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// Makes each scenario a test in a module that has a `run`, and `NAMES` of them all.
macro_rules! scenarios {
    ($($scenario:ident)*) => {
        #[allow(dead_code)] // one module of each list is compared with its script
        pub(super) const NAMES: &[&str] = &[$(stringify!($scenario)),*];
        $(
            #[test]
            fn $scenario() {
                run(stringify!($scenario));
            }
        )*
    };
}
pub(crate) use scenarios;

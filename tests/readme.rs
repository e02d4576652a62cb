//! The first-use paths of README.md, run as they are written.
//!
//! What a shell block says is run without a change. So that tests neither need nor disturb port
//! 1883, ./data and the settings of whoever runs them, the environment says otherwise: it
//! overrules the broker's defaults and file, and it tells mosquitto-clients the port.
//!
//! `PROFILE=release`, as `make test` has it, runs what users run. Without it the first path
//! builds with the quicker dev profile; the third one names `--release` itself.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use support::Directory;

/// When what has not come counts as never; a build from nothing is part of it.
const PATIENCE: Duration = Duration::from_secs(1200);

#[test]
fn first_use_make_run_and_two_terminals() {
    if !clients_are_installed() {
        return;
    }
    let directory = Directory::new();
    let broker = Terminal::open(&block("### 1. Run it", 0), &environment(&directory, None));
    let address = broker.await_ready();

    let environment = environment(&directory, Some(address));
    let listening = Terminal::open(&block("### 2. Talk to it", 0), &environment);
    let speak = block("### 2. Talk to it", 1);
    let expected = text_block("### 2. Talk to it");
    let heard = (0..600).find_map(|_| {
        // A reader starts to speak when the first terminal listens; here it is tried.
        let output = finish(&speak, &environment);
        assert!(output.status.success(), "{speak} failed");
        listening.lines.recv_timeout(Duration::from_millis(100)).ok()
    });
    assert_eq!(heard.as_deref(), Some(expected.trim_end()));
}

#[test]
fn first_use_configuration_file() {
    if !clients_are_installed() {
        return;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("hawker.toml");
    assert!(!own.exists(), "{} is in the way of this test: move it", own.display());
    let _removed = Removed(&own);
    let directory = Directory::new();
    let broker = Terminal::open(&block("### 3. Configure it", 0), &environment(&directory, None));
    let address = broker.await_ready();

    // The file's limit holds: of 1100 messages the last 1000 wait.
    let environment = environment(&directory, Some(address));
    let subscribe = "mosquitto_sub -i away -c -q 1 -t waiting";
    assert!(finish(&format!("{subscribe} -E"), &environment).status.success());
    let publish = "seq 1100 | mosquitto_pub -q 1 -l -t waiting";
    assert!(finish(publish, &environment).status.success());
    let waited = finish(&format!("{subscribe} -W 60 -C 1000"), &environment);
    let expected: String = (101..=1100).map(|number| format!("{number}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&waited.stdout), expected);
}

/// A shell that runs a block, and what it prints.
struct Terminal {
    child: Child,
    lines: Receiver<String>,
}

impl Terminal {
    fn open(block: &str, environment: &[(String, String)]) -> Terminal {
        let mut child = shell(block, environment)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash can be started");
        let (sender, lines) = channel();
        let follow = |stream: Box<dyn Read + Send>| {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    eprintln!("{line}");
                    let _ = sender.send(line);
                }
            });
        };
        follow(Box::new(child.stdout.take().expect("stdout is piped")));
        follow(Box::new(child.stderr.take().expect("stderr is piped")));
        Terminal { child, lines }
    }

    /// The broker's address, once it takes connections.
    fn await_ready(&self) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        let mut address = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the broker gets ready");
            address = address.or_else(|| support::listening(&line));
            if line.contains("hawker is ready") {
                return address.expect("the broker said where it listens");
            }
        }
    }
}

impl Drop for Terminal {
    /// Ctrl-C.
    fn drop(&mut self) {
        let group = self.child.id();
        let _ = Command::new("sh").args(["-c", &format!("kill -INT -{group}")]).status();
        let _ = self.child.wait();
    }
}

/// A file that a block made, removed when the test ends.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

fn shell(block: &str, environment: &[(String, String)]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-e", "-c", block]).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.envs(environment.iter().cloned()).stdin(Stdio::null());
    command
}

fn finish(block: &str, environment: &[(String, String)]) -> Output {
    shell(block, environment).output().expect("bash can be started")
}

/// What keeps a block away from the machine's own port, data and settings.
fn environment(directory: &Directory, address: Option<SocketAddr>) -> Vec<(String, String)> {
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    if let Some(address) = address {
        let settings = format!("-h {}\n-p {}\n", address.ip(), address.port());
        directory.write("mosquitto_sub", &settings);
        directory.write("mosquitto_pub", &settings);
    }
    let profile = std::env::var("PROFILE").unwrap_or_else(|_| "dev".to_owned());
    [
        ("PROFILE", profile),
        ("HAWKER_LISTEN", "tcp://127.0.0.1:0".to_owned()),
        ("HAWKER_ADMIN", "127.0.0.1:0".to_owned()),
        ("HAWKER_DATA_DIR", path("data")),
        ("XDG_CONFIG_HOME", directory.path().to_string_lossy().into_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The `index`-th shell block below a heading of README.md.
fn block(heading: &str, index: usize) -> String {
    blocks(heading, "```sh").swap_remove(index)
}

/// The only text block below a heading of README.md.
fn text_block(heading: &str) -> String {
    blocks(heading, "```text").swap_remove(0)
}

fn blocks(heading: &str, fence: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(path).expect("README.md is readable");
    let section = readme.lines().skip_while(|line| *line != heading).skip(1);
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in section.take_while(|line| !line.starts_with("##")) {
        match &mut open {
            None if line == fence => open = Some(String::new()),
            None => {}
            Some(text) if line == "```" => {
                found.push(std::mem::take(text));
                open = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert!(!found.is_empty(), "no {fence} below {heading:?} in README.md");
    found
}

fn clients_are_installed() -> bool {
    let installed = Command::new("mosquitto_sub").arg("--help").output().is_ok();
    support::is_present(installed, "mosquitto-clients")
}

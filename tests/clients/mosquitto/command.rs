//! The commands as child processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Broker;

/// When a line that has not come counts as never.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a message looks like among the notes of `-d`: topic, QoS, retain flag, payload.
const FORMAT: &str = "message %t %q %r %p";

/// Whether the commands are there.
pub(super) fn is_installed() -> bool {
    Command::new("mosquitto_sub").arg("--help").output().is_ok()
}

/// A broker, a version of the protocol, and names of one test alone.
pub(super) struct Site {
    port: String,
    /// As `-V` takes it.
    pub(super) version: &'static str,
    prefix: String,
}

/// A mosquitto_sub whose subscriptions are in place.
pub(super) struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

/// The next message of whichever subscriber gets one, and which it is.
pub(super) fn next_of_any(subscribers: &mut [Subscriber]) -> (usize, String) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for (index, subscriber) in subscribers.iter_mut().enumerate() {
            let line = subscriber.lines.try_recv().unwrap_or_default();
            if let Some(message) = line.strip_prefix("message ") {
                return (index, message.to_owned());
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no subscriber got a message");
}

impl Site {
    pub(super) fn new(broker: &Broker, version: &'static str) -> Site {
        Site { port: broker.port().to_string(), version, prefix: broker.unique() }
    }

    /// A topic or client id of this test alone.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // Line by line, so that a SUBACK is seen when it comes and not with the first message.
        let mut command = Command::new("stdbuf");
        command.args(["--output=L", program]);
        command.args(["-h", "127.0.0.1", "-p", &self.port, "-V", self.version]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs mosquitto_pub to its end.
    pub(super) fn publish(&self, arguments: &[&str]) {
        self.publish_from(arguments, b"");
    }

    /// Runs mosquitto_pub to its end with this input.
    pub(super) fn publish_from(&self, arguments: &[&str], input: &[u8]) {
        let mut child = self
            .command("mosquitto_pub", arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub can be started");
        child.stdin.take().expect("stdin is piped").write_all(input).expect("it reads its input");
        let status = child.wait().expect("a child can be waited for");
        assert!(status.success(), "mosquitto_pub {arguments:?}: {status}");
    }

    /// Starts mosquitto_sub and waits for its SUBACK.
    pub(super) fn subscriber(&self, arguments: &[&str]) -> Subscriber {
        self.subscriber_with(FORMAT, arguments)
    }

    /// Starts mosquitto_sub with a format of its own, which begins with `message `.
    pub(super) fn subscriber_with(&self, format: &str, arguments: &[&str]) -> Subscriber {
        let mut subscriber = self.follow("mosquitto_sub", &["-d", "-F", format], arguments);
        subscriber.line("Subscribed");
        subscriber
    }

    /// Starts mosquitto_rr, which asks and waits for the answer.
    pub(super) fn requester(&self, arguments: &[&str]) -> Subscriber {
        self.follow("mosquitto_rr", &["-F", FORMAT], arguments)
    }

    fn follow(&self, program: &str, first: &[&str], rest: &[&str]) -> Subscriber {
        let mut child = self
            .command(program, &[first, rest].concat())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto-clients can be started");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Subscriber { child, lines }
    }

    /// Runs mosquitto_sub to its end, for 30 seconds at most, and hands back the messages it printed.
    pub(super) fn collect(&self, arguments: &[&str]) -> Vec<String> {
        let mut all = vec!["-F", FORMAT, "-W", "30"];
        all.extend(arguments);
        let output =
            self.command("mosquitto_sub", &all).output().expect("mosquitto_sub can be started");
        assert!(output.status.success(), "mosquitto_sub {arguments:?}: {}", output.status);
        messages_of(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Subscriber {
    /// The next message, as its format says.
    pub(super) fn next(&mut self) -> String {
        let line = self.line("message ");
        line["message ".len()..].to_owned()
    }

    /// Checks that the next message is this one.
    pub(super) fn expect(&mut self, message: &str) {
        assert_eq!(self.next(), message);
    }

    /// Kills it, so that it cannot say goodbye.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
    }

    /// Waits for its end and hands back the messages that were not taken.
    pub(super) fn finish(mut self) -> Vec<String> {
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "it ended with {status}");
        messages_of(&self.lines.iter().collect::<Vec<_>>().join("\n"))
    }

    /// The next line that begins with `start`.
    fn line(&mut self, start: &str) -> String {
        let mut passed = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with(start) => return line,
                Ok(line) => passed.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {start:?} after {passed:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended after {passed:?}"),
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn messages_of(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_prefix("message ")).map(str::to_owned).collect()
}

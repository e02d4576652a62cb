//! A broker process: started, awaited, watched and stopped.
//!
//! `HAWKER_TEST_BROKER=HOST:PORT` points the tests that only need *a* broker at one that runs
//! already. That is how the client tests themselves are tested: against another broker.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Directory, permit};

/// The line after which every listener accepts.
const READY: &str = "hawker is ready";
/// What stands before a bound MQTT address in the log, and the scheme between them.
const LISTENING: &str = "listening on ";
/// When a start or a stop that has not happened counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
/// Log lines shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// How a broker is to be started.
#[derive(Debug)]
pub struct Setup {
    shards: usize,
    config: Option<String>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    listens: bool,
    scheme: &'static str,
    files: Vec<(&'static str, PathBuf)>,
    limits: String,
}

/// A certificate for `localhost` and 127.0.0.1 that is its own issuer.
pub fn certificate() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls/certificate.pem")
}

/// A running broker, killed on drop.
#[derive(Debug)]
pub struct Broker {
    child: Option<Child>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    log: Arc<Log>,
    directory: Option<Directory>,
}

impl Setup {
    /// `hawker run` with this many shards, on a loopback port of the kernel's choice.
    pub fn shards(shards: usize) -> Setup {
        Setup {
            shards,
            config: None,
            arguments: Vec::new(),
            variables: Vec::new(),
            listens: true,
            scheme: "tcp",
            files: Vec::new(),
            limits: String::new(),
        }
    }

    /// Lets the broker have this many descriptors.
    pub fn descriptors(self, count: usize) -> Setup {
        self.limit("-n", count)
    }

    /// Lets no file become larger than this.
    pub fn file_bytes(self, bytes: usize) -> Setup {
        self.limit("-f", bytes / 512)
    }

    fn limit(mut self, option: &str, value: usize) -> Setup {
        self.limits += &format!("ulimit {option} {value} && ");
        self
    }

    /// Listens by `tls`, `ws` or `wss` instead, with [`certificate`].
    pub fn scheme(mut self, scheme: &'static str) -> Setup {
        self.scheme = scheme;
        self
    }

    /// Adds a configuration file with this text.
    pub fn config(mut self, toml: &str) -> Setup {
        self.config = Some(toml.to_owned());
        self
    }

    /// Puts a copy of a file into the broker's directory.
    pub fn file(mut self, name: &'static str, from: &Path) -> Setup {
        self.files.push((name, from.to_path_buf()));
        self
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Adds an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Setup {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves the listeners to the configuration file, whose first one is the broker's address.
    pub fn own_listeners(mut self) -> Setup {
        self.listens = false;
        self
    }

    /// Starts the broker on a directory of its own and waits until it is ready.
    pub fn start(self) -> Broker {
        self.start_in(Directory::new())
    }

    /// Starts the broker on a directory that an earlier one may have used.
    pub fn start_in(self, directory: Directory) -> Broker {
        for (name, from) in &self.files {
            directory.copy(from, name);
        }
        let mut child = self
            .command(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker's binary can be started");
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().expect("stdout is piped"));
        log.follow(child.stderr.take().expect("stderr is piped"));
        let Some((address, admin)) = log.await_ready(&mut child) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the broker did not get ready; it said:\n{}", log.tail());
        };
        Broker { child: Some(child), address, admin, log, directory: Some(directory) }
    }

    fn command(&self, directory: &Directory) -> Command {
        let binary = env!("CARGO_BIN_EXE_hawker");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{}exec \"$0\" \"$@\"", self.limits), binary]);
        command.arg("run").current_dir(directory.path());
        if let Some(toml) = &self.config {
            let file = directory.write("hawker.toml", toml);
            permit(&file, 0o600);
            command.arg("-c").arg(file);
        }
        if self.listens {
            command.args(["--listen", &format!("{}://127.0.0.1:0", self.scheme)]);
            command.env("HAWKER_TLS__CERTIFICATE", certificate());
            let key = certificate().with_file_name("key.pem");
            command.env("HAWKER_TLS__KEY", directory.copy(&key, "listener-key.pem"));
        }
        command.args(["--shards", &self.shards.to_string()]);
        command.arg("--data-dir").arg(directory.join("data"));
        command.args(["--admin", "127.0.0.1:0"]);
        command.args(&self.arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Broker {
    /// A broker with this many shards and defaults otherwise.
    pub fn start(shards: usize) -> Broker {
        match env::var("HAWKER_TEST_BROKER") {
            Ok(address) => Broker::elsewhere(&address),
            Err(_) => Setup::shards(shards).start(),
        }
    }

    /// Whether this is another broker than Hawker, whose choices may differ where the
    /// specification leaves one.
    pub fn is_foreign(&self) -> bool {
        self.child.is_none()
    }

    /// Where MQTT is spoken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port MQTT is spoken on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where HTTP is spoken, if the broker said so.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// A connection without a word said.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the broker accepts");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
        stream
    }

    /// The process id.
    ///
    /// # Panics
    ///
    /// If the broker was not started here.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker was started here").id()
    }

    /// The directory it runs in; its data is below in `data`.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("the broker was started here").path()
    }

    /// Everything it has said so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until it has said something that contains `words`.
    pub fn await_log(&self, words: &str) {
        let found = self.log.wait_until(|lines| lines.iter().any(|line| line.contains(words)));
        assert!(found, "the broker never said {words:?}");
    }

    /// Sends a signal by name: `TERM`, `HUP`, `INT`.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`: no unsafe code and no package that may be missing.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status()
            .expect("sh can be started");
        assert!(status.success(), "kill -{name} failed");
    }

    /// Asks it to stop, waits for its end, and hands its directory to the next one.
    pub fn terminate(mut self) -> (ExitStatus, Directory) {
        self.signal("TERM");
        let status = self.await_exit();
        (status, self.directory.take().expect("the broker was started here"))
    }

    /// Kills it as a power cut would and hands its directory to the next one.
    pub fn kill(mut self) -> Directory {
        let child = self.child.as_mut().expect("the broker was started here");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
        self.directory.take().expect("the broker was started here")
    }

    /// Waits for its end.
    pub fn await_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let child = self.child.as_mut().expect("the broker was started here");
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the broker did not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A name that no other test uses, for client ids and topics on a shared broker.
    pub fn unique(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("t{}-{count}", std::process::id())
    }

    fn elsewhere(address: &str) -> Broker {
        let address = address
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .unwrap_or_else(|| panic!("HAWKER_TEST_BROKER={address} is not HOST:PORT"));
        Broker { child: None, address, admin: None, log: Arc::default(), directory: None }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            if thread::panicking() {
                eprintln!("the broker's log:\n{}", self.log.tail());
            }
        }
    }
}

/// What a broker prints, line by line, taken by a thread a stream.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn follow(self: &Arc<Log>, stream: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lines.lock().expect("no holder panics").push(line);
                log.grown.notify_all();
            }
        });
    }

    /// The MQTT address and the admin address once the broker is ready; nothing if it ends first.
    fn await_ready(&self, child: &mut Child) -> Option<(SocketAddr, Option<SocketAddr>)> {
        let mut ended = false;
        let ready = self.wait_until(|lines| {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            ended || lines.iter().any(|line| line.contains(READY))
        });
        let lines = self.lines.lock().expect("no holder panics");
        let address = lines.iter().find_map(|line| listening(line))?;
        let admin = lines.iter().find_map(|line| address_after(line, "http://"));
        (ready && !ended).then_some((address, admin))
    }

    /// Whether `condition` came true in time. It is asked again at each line, and now and then.
    fn wait_until(&self, mut condition: impl FnMut(&[String]) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().expect("no holder panics");
        loop {
            if condition(&lines) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            let pause = Duration::from_millis(20);
            lines = self.grown.wait_timeout(lines, pause).expect("no holder panics").0;
        }
    }

    fn text(&self) -> String {
        self.lines.lock().expect("no holder panics").join("\n")
    }

    fn tail(&self) -> String {
        let lines = self.lines.lock().expect("no holder panics");
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// The MQTT address that a log line names.
pub fn listening(line: &str) -> Option<SocketAddr> {
    address_after(&line[line.find(LISTENING)?..], "://")
}

/// The socket address that follows `mark` in a log line, text or JSON.
fn address_after(line: &str, mark: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(mark)? + mark.len()..];
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)));
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

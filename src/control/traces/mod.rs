//! The traces that operators have started: each is a task that drains the shards, writes lines of
//! JSON to a file of bounded size, and lets readers follow.

mod file;
mod line;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{interval, timeout};

use self::file::TraceFile;
use crate::config::{Config, Network};
use crate::runtime::Inquiry;
use crate::shard::{Subject, TRACES_MAX, Trace, TraceEvent, TraceId, TraceOrder};
use crate::time::Time;

/// How often the shards are asked what they noted.
const DRAIN_INTERVAL: Duration = Duration::from_millis(200);

/// Traces that are over and still listed; the oldest goes first, with its file.
const ENDED_MAX: usize = 16;

/// How long the file of a trace is kept.
const FILE_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How often it is seen whether any is old.
const TIDY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Lines that a reader who comes late is given, and their bytes.
const RECENT_MAX: usize = 2000;
const RECENT_BYTES_MAX: usize = 1 << 20;

/// See the module.
pub(super) struct Traces {
    folder: PathBuf,
    inquiry: Inquiry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    count: u64,
    /// Oldest first.
    list: Vec<Arc<Following>>,
}

/// What an operator asks for.
pub(super) struct Order {
    pub(super) subject: Subject,
    pub(super) duration: Duration,
    pub(super) payload_bytes_max: usize,
    /// Who asks.
    pub(super) by: String,
}

/// Why nothing is followed.
#[derive(Debug)]
pub(super) enum TraceError {
    /// As many run as can.
    TooMany,
    /// The file cannot be made.
    File(PathBuf, std::io::Error),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::TooMany => write!(f, "{TRACES_MAX} traces run already; stop one"),
            TraceError::File(path, error) => {
                write!(f, "{}: {error}; admin_trace_folder says where traces go", path.display())
            }
        }
    }
}

/// One trace.
pub(super) struct Following {
    trace: Arc<Trace>,
    started: Time,
    by: String,
    path: PathBuf,
    progress: Mutex<Progress>,
    /// The number of the last line.
    last: watch::Sender<u64>,
    stop: Notify,
}

struct Progress {
    file: TraceFile,
    lines: u64,
    lost: u64,
    /// The last lines and their numbers.
    recent: VecDeque<(u64, Bytes)>,
    recent_bytes: usize,
    /// When it ended, and why.
    ended: Option<(Time, String)>,
}

impl Traces {
    pub(super) fn new(config: &Config, inquiry: Inquiry) -> Traces {
        let folder = match &config.admin_trace_folder {
            Some(folder) => folder.clone(),
            None => config.data_dir.join("traces"),
        };
        Traces { folder, inquiry, state: Mutex::default() }
    }

    /// Begins to follow something; whatever comes after this is noted. `clock` says what time it
    /// is.
    pub(super) async fn start(
        &self,
        clock: impl Fn() -> Time + Send + 'static,
        order: Order,
    ) -> Result<Arc<Following>, TraceError> {
        let following = self.list_new(clock(), order)?;
        let (inquiry, started) = (self.inquiry.clone(), Arc::clone(&following));
        // It goes on if whoever asked does not wait.
        let begin = tokio::spawn(async move {
            // A shard that is silent now follows once it comes to it.
            let _ = inquiry.trace(&TraceOrder::Start(Arc::clone(&started.trace))).await;
            tokio::spawn(run(inquiry, started, clock));
        });
        let _ = begin.await;
        Ok(following)
    }

    fn list_new(&self, now: Time, order: Order) -> Result<Arc<Following>, TraceError> {
        let mut state = self.state();
        if state.list.iter().filter(|one| one.is_running()).count() >= TRACES_MAX {
            return Err(TraceError::TooMany);
        }
        state.count += 1;
        let id = TraceId(state.count);
        let name = format!("trace-{}-{}.jsonl", now.as_micros() / 1000, id.0);
        let path = self.folder.join(name);
        let file = TraceFile::create(&path).map_err(|error| TraceError::File(path.clone(), error));
        let progress = Progress {
            file: file?,
            lines: 0,
            lost: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
            ended: None,
        };
        let Order { subject, duration, payload_bytes_max, by } = order;
        let trace = Arc::new(Trace { id, subject, ends: now.after(duration), payload_bytes_max });
        let following = Arc::new(Following {
            trace,
            started: now,
            by,
            path,
            progress: Mutex::new(progress),
            last: watch::Sender::new(0),
            stop: Notify::new(),
        });
        state.list.push(Arc::clone(&following));
        state.forget_old(now);
        Ok(following)
    }

    /// Forgets what is old, as long as the broker runs.
    pub(super) async fn tidy(&self, clock: impl Fn() -> Time) {
        let mut hours = interval(TIDY_INTERVAL);
        loop {
            hours.tick().await;
            self.state().forget_old(clock());
            file::remove_old(&self.folder, FILE_KEPT);
        }
    }

    /// All that are listed, the newest first.
    pub(super) fn list(&self, now: Time) -> Vec<Arc<Following>> {
        let mut state = self.state();
        state.forget_old(now);
        state.list.iter().rev().cloned().collect()
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<Following>> {
        self.state().list.iter().find(|one| one.trace.id.0 == id).cloned()
    }

    /// Takes one that is over from the list, with its file.
    pub(super) fn forget(&self, id: u64) {
        self.state().list.retain(|one| {
            let goes = one.trace.id.0 == id && !one.is_running();
            if goes {
                one.remove_file();
            }
            !goes
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets those that ended long ago, and those beyond what is listed.
    fn forget_old(&mut self, now: Time) {
        let ended = self.list.iter().filter(|one| !one.is_running()).count();
        let mut surplus = ended.saturating_sub(ENDED_MAX);
        self.list.retain(|one| {
            let Some(at) = one.progress().ended.as_ref().map(|(at, _)| *at) else { return true };
            let goes = surplus > 0 || now.since(at) >= FILE_KEPT;
            surplus = surplus.saturating_sub(usize::from(goes));
            if goes {
                one.remove_file();
            }
            !goes
        });
    }
}

impl Following {
    pub(super) fn id(&self) -> u64 {
        self.trace.id.0
    }

    pub(super) fn is_running(&self) -> bool {
        self.progress().ended.is_none()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends it after what was noted so far.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until it is over, a moment at most.
    pub(super) async fn ended(&self) {
        let mut last = self.last.subscribe();
        let over = async { while self.is_running() && last.changed().await.is_ok() {} };
        // A shard that does not answer is waited for by the task alone.
        let _ = timeout(2 * DRAIN_INTERVAL + Duration::from_secs(2), over).await;
    }

    /// Lines behind number `after` that are still in memory.
    pub(super) fn lines_after(&self, after: u64) -> Vec<(u64, Bytes)> {
        let progress = self.progress();
        progress.recent.iter().filter(|(number, _)| *number > after).cloned().collect()
    }

    /// Tells when there are more lines.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// What there is to say of it.
    pub(super) fn shown(&self) -> Value {
        let progress = self.progress();
        let mut value = json!({
            "id": self.id(),
            "state": if progress.ended.is_none() { "running" } else { "ended" },
            "started_at_ms": self.started.as_micros() / 1000,
            "ends_at_ms": self.trace.ends.as_micros() / 1000,
            "ended_at_ms": progress.ended.as_ref().map(|(at, _)| at.as_micros() / 1000),
            "ended_by": progress.ended.as_ref().map(|(_, why)| why),
            "by": self.by,
            "payload_bytes": self.trace.payload_bytes_max,
            "events": progress.lines,
            "lost": progress.lost,
            "file": self.path,
            "file_bytes": progress.file.bytes(),
        });
        let (name, subject) = subject_of(&self.trace.subject);
        value[name] = json!(subject);
        value
    }

    fn remove_file(&self) {
        // Somebody may have taken it away.
        let _ = std::fs::remove_file(&self.path);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the shards noted; the error of the file, or that it is full.
    fn take_in(&self, now: Time, shards: Vec<crate::shard::Traced>) -> Result<(), String> {
        let mut progress = self.progress();
        let lost: u64 = shards.iter().map(|traced| traced.lost).sum();
        let mut events: Vec<(usize, TraceEvent)> = shards
            .into_iter()
            .enumerate()
            .flat_map(|(shard, traced)| traced.events.into_iter().map(move |event| (shard, event)))
            .collect();
        // Within a shard they keep their order.
        events.sort_by_key(|(_, event)| event.at);
        for (shard, event) in &events {
            progress.add(|number| line::event(number, *shard, event))?;
        }
        if lost > 0 {
            progress.lost += lost;
            progress.add(|number| line::lost(number, now, lost))?;
        }
        progress.file.flush().map_err(|error| error.to_string())?;
        drop(progress);
        self.tell();
        Ok(())
    }

    fn end(&self, now: Time, why: String) {
        let mut progress = self.progress();
        tracing::info!(target: "hawker::audit", id = self.id(), %why, "a trace ended");
        // The file may be what ended it; readers are told anyway.
        let _ = progress.add(|number| line::ended(number, now, &why));
        let _ = progress.file.flush();
        progress.ended = Some((now, why));
        drop(progress);
        self.tell();
    }

    /// Who waits looks again.
    fn tell(&self) {
        let lines = self.progress().lines;
        self.last.send_replace(lines);
    }
}

impl Progress {
    fn add(&mut self, line: impl Fn(u64) -> Value) -> Result<(), String> {
        let number = self.lines + 1;
        let line = Bytes::from(line(number).to_string());
        self.lines = number;
        self.recent_bytes += line.len();
        self.recent.push_back((number, line.clone()));
        while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some((_, oldest)) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.len();
        }
        self.file.write_line(&line)
    }
}

/// Drains the shards until the trace is over.
async fn run(inquiry: Inquiry, following: Arc<Following>, clock: impl Fn() -> Time) {
    let id = following.trace.id;
    let mut ticks = interval(DRAIN_INTERVAL);
    let why = loop {
        let is_stopped = tokio::select! {
            _ = ticks.tick() => false,
            () = following.stop.notified() => true,
        };
        let is_over = clock() >= following.trace.ends;
        match inquiry.take_traced(id).await {
            Ok(shards) => {
                if let Err(why) = following.take_in(clock(), shards) {
                    break why;
                }
            }
            Err(silent) if is_stopped || is_over => break silent.to_string(),
            // It may come back, and says then what it has noted.
            Err(_) => {}
        }
        if is_stopped {
            break "it was stopped".to_owned();
        }
        if is_over {
            break "its time is over".to_owned();
        }
    };
    // A shard that is silent stops once it comes to it.
    let _ = inquiry.trace(&TraceOrder::Stop(id)).await;
    following.end(clock(), why);
}

/// A subject by the name that it has in an order.
pub(super) fn subject_of(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::Client(client_id) => ("client_id", client_id.to_string()),
        Subject::Topic(filter) => ("filter", filter.to_string()),
        Subject::Address(network) => ("address", address(network)),
    }
}

/// A network of one address is that.
fn address(network: &Network) -> String {
    let text = network.to_string();
    let single = text.strip_suffix("/32").filter(|address| !address.contains(':'));
    single.or_else(|| text.strip_suffix("/128")).unwrap_or(&text).to_owned()
}

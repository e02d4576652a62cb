//! The control thread: one tokio runtime beside the shards, never on the path of a message.
//!
//! Serves `/healthz`, `/readyz`, `/version` and `/metrics` on the admin address, and the dashboard
//! at `/`.

mod dashboard;

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::cli::VERSION;
use crate::metrics::Durations;
use crate::runtime::{Counted, Counter, RunError};

/// How long a scrape waits for the shards.
const COUNT_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes the admin address, before anything else has started.
pub(crate) fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, RunError> {
    let Some(address) = address else { return Ok(None) };
    let admin = |error| RunError::Admin(address, error);
    let listener = TcpListener::bind(address).map_err(admin)?;
    listener.set_nonblocking(true).map_err(admin)?;
    Ok(Some(listener))
}

/// The control thread.
pub(crate) struct Control {
    handle: Handle,
    /// Dropped, it ends the thread.
    running: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts it.
    pub(crate) fn start() -> io::Result<Control> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let work = move || {
            // Whatever is sent or not: it ends.
            let _ = runtime.block_on(ended);
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(work)?;
        Ok(Control { handle, running, thread })
    }

    /// Where tasks beside the shards run.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves the admin address.
    pub(crate) fn serve(&self, listener: TcpListener, counter: Counter) {
        if let Ok(address) = listener.local_addr() {
            tracing::info!("admin on http://{address}");
        }
        self.handle.spawn(async {
            let serve = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, routes(counter)).await
            };
            if let Err(error) = serve.await {
                tracing::error!("the admin server ended: {error}");
            }
        });
    }

    /// Ends it with all its tasks.
    pub(crate) fn stop(self) {
        drop(self.running);
        // A panic has been reported.
        let _ = self.thread.join();
    }
}

fn routes(counter: Counter) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/version", get(|| async { format!("{VERSION}\n") }))
        .route("/metrics", get(metrics))
        .merge(dashboard::routes())
        .with_state(counter)
}

/// Ready means: every shard turns.
async fn ready(State(counter): State<Counter>) -> impl IntoResponse {
    match count(&counter).await {
        Some(_) => (StatusCode::OK, "ready\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n"),
    }
}

async fn metrics(State(counter): State<Counter>) -> impl IntoResponse {
    match count(&counter).await {
        Some(counted) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (StatusCode::OK, kind, exposition(&counted, &counter)).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response(),
    }
}

/// What every shard has counted, or nothing if one does not answer.
async fn count(counter: &Counter) -> Option<Vec<Counted>> {
    let (answer, mut answers) = mpsc::unbounded_channel();
    let shards = counter.ask(&answer);
    let collect = async {
        let mut counted = Vec::new();
        while counted.len() < shards {
            counted.push(answers.recv().await?);
        }
        counted.sort_by_key(|counted| counted.shard);
        Some(counted)
    };
    tokio::time::timeout(COUNT_TIMEOUT, collect).await.ok().flatten()
}

/// The text format of Prometheus.
fn exposition(counted: &[Counted], counter: &Counter) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Counted) -> u64| {
        let _ = writeln!(text, "# HELP hawker_{name} {help}\n# TYPE hawker_{name} {kind}");
        for shard in counted {
            let _ = writeln!(text, "hawker_{name}{{shard=\"{}\"}} {}", shard.shard, value(shard));
        }
    };
    family("connections", "gauge", "Connections now.", &|c| c.connections as u64);
    family("sessions", "gauge", "Sessions now, connected or away.", &|c| c.sessions as u64);
    let help = "Connections that a ban or a listener's limit kept out.";
    family("connections_kept_out_total", "counter", help, &|c| c.kept_out);
    family("ring_enters_total", "counter", "Calls of io_uring_enter.", &|c| c.enters);
    family("turns_total", "counter", "Turns of the shard's loop.", &|c| c.turns);
    family("log_segments", "gauge", "Segments of the log.", &|c| c.log.segments);
    family("log_bytes", "gauge", "Bytes from the log's oldest record to its end.", &|c| {
        c.log.bytes
    });
    let help = "Bytes of messages in the log that are owed or retained.";
    family("log_live_bytes", "gauge", help, &|c| c.log.live_bytes);
    family("log_messages", "gauge", "Those messages.", &|c| c.log.messages);
    let help = "1 while messages that must be kept are refused for want of room.";
    family("log_full", "gauge", help, &|c| u64::from(c.log.is_full));
    family("log_commits_total", "counter", "Commits of the log.", &|c| c.commits);
    let names = counted.first().map(|first| first.metrics.entries()).unwrap_or_default();
    for (index, (name, help, _)) in names.iter().enumerate() {
        family(name, "counter", help, &|c| c.metrics.entries()[index].2);
    }
    let help = "Work of one turn of the shard's loop.";
    text += &histogram_family("turn_seconds", help, counted, &|c| &c.turn_times);
    let mut process_family = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(text, "# HELP hawker_{name} {help}\n# TYPE hawker_{name} {kind}");
        let _ = writeln!(text, "hawker_{name} {value}");
    };
    let help = "Damaged places of the log that were left out at the start.";
    process_family("log_damages", "gauge", help, counter.log_damages);
    text
}

fn histogram_family(
    name: &str,
    help: &str,
    counted: &[Counted],
    value: &dyn Fn(&Counted) -> &Durations,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# HELP hawker_{name} {help}\n# TYPE hawker_{name} histogram");
    for one in counted {
        let (shard, durations) = (one.shard, value(one));
        let mut all = 0;
        for (bound, count) in durations.cumulative() {
            let bound = bound.map_or("+Inf".to_owned(), |micros| seconds(micros).to_string());
            let labels = format!("shard=\"{shard}\",le=\"{bound}\"");
            let _ = writeln!(text, "hawker_{name}_bucket{{{labels}}} {count}");
            all = count;
        }
        let sum = seconds(durations.sum_micros);
        let _ = writeln!(text, "hawker_{name}_sum{{shard=\"{shard}\"}} {sum}");
        let _ = writeln!(text, "hawker_{name}_count{{shard=\"{shard}\"}} {all}");
    }
    text
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

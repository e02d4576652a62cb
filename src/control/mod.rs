//! The control thread: one tokio runtime beside the shards, never on the path of a message.
//!
//! Serves `/healthz`, `/readyz`, `/version` and `/metrics` on the admin address, the dashboard at
//! `/`, and the admin API below `/api/v1`. What `/metrics` tells is in `metrics`, how it is written
//! in `exposition`; what the broker tells MQTT clients of itself is in `sys_topics`.

mod access;
mod api;
mod dashboard;
mod exposition;
mod metrics;
mod sys_topics;
mod traces;

pub(crate) use access::{Access, OWN_HEADER};
pub(crate) use api::Api;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::exposition::Format;
use crate::cli::VERSION;
use crate::runtime::{Counted, Counter, Desk, RunError};

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
    pub(crate) fn serve(&self, listener: TcpListener, counter: Counter, api: Api) {
        if let Ok(address) = listener.local_addr() {
            tracing::info!("admin on http://{address}");
        }
        self.handle.spawn(async {
            let serve = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let routes = routes(counter).nest("/api/v1", api.router());
                let service = routes.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).await
            };
            if let Err(error) = serve.await {
                tracing::error!("the admin server ended: {error}");
            }
        });
    }

    /// Lets the broker say of itself what `$SYS/` is for.
    pub(crate) fn announce(&self, desk: Arc<Desk>) {
        self.handle.spawn(sys_topics::run(desk));
    }

    /// Lets bans outlive the broker.
    pub(crate) fn keep_bans(&self, desk: Arc<Desk>) {
        self.handle.spawn(async move { desk.keep_bans().await });
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
        .route("/metrics", get(scrape))
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

async fn scrape(State(counter): State<Counter>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::asked_for(accept.unwrap_or_default());
    match count(&counter).await {
        Some(counted) => {
            let kind = [(header::CONTENT_TYPE, format.content_type())];
            (StatusCode::OK, kind, metrics::text(format, &counted, &counter)).into_response()
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

//! The admin API, `/api/v1`: JSON for programs, dashboards and `hawker ctl`.
//!
//! [`ROUTES`] is the table of everything there is; the router and the OpenAPI document are made
//! from it. A request is judged (`access`), then its role is held against that of the route, then
//! the route's handler answers. Shards are asked by bounded looks and never waited for by another.

mod backup;
mod bans;
mod call;
mod clients;
mod config;
mod drops;
mod explain;
mod openapi;
mod overview;
mod publish;
mod refusal;
mod retained;
mod route;
mod schema;
mod stream;
mod subscribe;
mod subscriptions;
mod traces;

pub(super) use overview::{dropped, received, sent};
pub(crate) use refusal::Refusal;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use self::backup::Tickets;
use self::call::Call;
use self::route::{ROUTES, Route};
use super::access::Who;
use super::traces::Traces;
use crate::config::Config;
use crate::local::Publisher;
use crate::runtime::Desk;
use crate::time::Time;

/// Largest request taken.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Streams of messages at a time.
const STREAMS_MAX: usize = 64;

/// Everything the API answers from.
pub(crate) struct Api {
    desk: Arc<Desk>,
    started: Time,
    /// As the broker was started.
    config: Config,
    /// Publishes what is posted.
    publisher: Mutex<Option<Publisher>>,
    streams: Arc<Semaphore>,
    traces: Traces,
    tickets: Tickets,
}

/// What a handler comes to.
type Answer = Result<Response, Refusal>;

impl Api {
    pub(crate) fn new(config: &Config, desk: Arc<Desk>) -> Api {
        Api {
            started: desk.clock.now(),
            config: config.clone(),
            publisher: Mutex::new(None),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            traces: Traces::new(config, desk.inquiry.clone()),
            tickets: Tickets::default(),
            desk,
        }
    }

    /// Everything below `/api/v1`.
    pub(crate) fn router(self) -> Router {
        let api = Arc::new(self);
        let tidied = Arc::clone(&api);
        tokio::spawn(async move { tidied.traces.tidy(|| tidied.now()).await });
        let mut router = Router::new();
        for route in ROUTES {
            let handler = move |State(api): State<Arc<Api>>,
                                ConnectInfo(from): ConnectInfo<SocketAddr>,
                                path: RawPathParams,
                                request: Request| async move {
                match perform(api, route, from, &path, request).await {
                    Ok(response) => response,
                    Err(refusal) => refusal.into_response(),
                }
            };
            let filter = MethodFilter::try_from(Method::from(route.verb));
            let filter = filter.expect("the verbs of routes are methods");
            router = router.route(route.path, on(filter, handler));
        }
        let unknown = || async {
            Refusal::not_found("there is no such route; GET /api/v1/openapi.json names all")
        };
        let other_method = || async {
            let message = "the route has other methods; GET /api/v1/openapi.json names them";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        };
        router.fallback(unknown).method_not_allowed_fallback(other_method).with_state(api)
    }

    fn now(&self) -> Time {
        self.desk.clock.now()
    }
}

async fn perform(
    api: Arc<Api>,
    route: &'static Route,
    from: SocketAddr,
    path: &RawPathParams,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let who = match holder(&api, path) {
        Some(who) => api.desk.access.judge_place(&parts.headers).map(|()| who)?,
        None => api.desk.access.judge(api.now(), from, &parts.method, &parts.headers)?,
    };
    who.require(route.role, "this")?;
    if parts.method == Method::HEAD && route.streams.is_some() {
        let message = "this is a stream, which begins with the question; ask with GET";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message));
    }
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let message = format!("a request has at most {BODY_BYTES_MAX} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let query = call::pairs(parts.uri.query().unwrap_or_default())?;
    route.judge_query(&query)?;
    let call = Call { api, who, path, query, body };
    (route.handler)(call).await
}

/// Who was given the ticket that a path names, if it does: a link of a page can send no token.
fn holder(api: &Api, path: &RawPathParams) -> Option<Who> {
    let (_, ticket) = path.iter().find(|(name, _)| *name == "ticket")?;
    api.tickets.holder(ticket)
}

/// A document as the answer.
fn answer(status: StatusCode, value: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, value.to_string()).into_response()
}

fn ok(value: &Value) -> Answer {
    Ok(answer(StatusCode::OK, value))
}

/// A page of a list: one row more than `limit` tells that there is another.
fn page<T>(rows: &mut Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Value {
    if rows.len() <= limit {
        return Value::Null;
    }
    rows.truncate(limit);
    rows.last().map_or(Value::Null, |last| json!(cursor(last)))
}

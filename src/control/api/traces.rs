//! Traces: following one client, topic filter or address for a while.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::call::{Call, whole};
use super::stream::{named, streamed};
use super::subscribe::{EVENTS_WAITING_MAX, SILENCE_MAX, stream_permit};
use super::{Answer, Refusal, ok};
use crate::config::{Network, is_filter};
use crate::control::traces::{Following, Order, TraceError, subject_of};
use crate::shard::Subject;

/// Longest trace, in minutes: a day.
pub(super) const MINUTES_MAX: u64 = 1440;

/// How long one is unless the order says otherwise.
const MINUTES_DEFAULT: u64 = 10;

/// Most of a payload that can be asked for.
pub(super) const PAYLOAD_BYTES_MAX: usize = 4096;

/// Bytes of a file that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    client_id: Option<String>,
    filter: Option<String>,
    address: Option<String>,
    #[serde(default = "Wish::minutes", deserialize_with = "whole")]
    minutes: u64,
    #[serde(default, deserialize_with = "whole")]
    payload_bytes: usize,
}

impl Wish {
    fn minutes() -> u64 {
        MINUTES_DEFAULT
    }

    fn subject(&self) -> Result<Subject, Refusal> {
        match (&self.client_id, &self.filter, &self.address) {
            (Some(client_id), None, None) if !client_id.is_empty() => {
                Ok(Subject::Client(client_id.as_str().into()))
            }
            (None, Some(filter), None) if is_filter(filter) => {
                Ok(Subject::Topic(filter.as_str().into()))
            }
            (None, Some(filter), None) => {
                Err(Refusal::wrong(format!("filter {filter:?} is no topic filter")))
            }
            (None, None, Some(address)) => {
                let network = address.parse::<Network>().map(Subject::Address);
                network.map_err(|()| {
                    let expected = "an address, or a network such as 10.0.0.0/8";
                    Refusal::wrong(format!("address {address:?}: expected {expected}"))
                })
            }
            _ => Err(Refusal::wrong("give one of client_id, filter and address")),
        }
    }
}

pub(super) async fn start(call: Call) -> Answer {
    let wish: Wish = call.document()?;
    let subject = wish.subject()?;
    let minutes = wish.minutes;
    if !(1..=MINUTES_MAX).contains(&minutes) {
        return Err(Refusal::wrong(format!("minutes: expected 1 to {MINUTES_MAX}")));
    }
    let payload_bytes_max = wish.payload_bytes;
    if payload_bytes_max > PAYLOAD_BYTES_MAX {
        return Err(Refusal::wrong(format!("payload_bytes: expected 0 to {PAYLOAD_BYTES_MAX}")));
    }
    let (name, followed) = subject_of(&subject);
    let duration = Duration::from_secs(60 * minutes);
    let order = Order { subject, duration, payload_bytes_max, by: call.who.name.clone() };
    let clock = {
        let api = Arc::clone(&call.api);
        move || api.now()
    };
    let following = call.api.traces.start(clock, order).await.map_err(|error| match error {
        TraceError::TooMany => Refusal::new(StatusCode::CONFLICT, "too_many_traces", error),
        TraceError::File(..) => Refusal::new(StatusCode::CONFLICT, "trace_not_written", error),
    })?;
    let what = format!("{name} {followed} for {minutes} min, {payload_bytes_max} payload bytes");
    call.audit("trace", &what);
    ok(&following.shown())
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn list(call: Call) -> Answer {
    let traces = call.api.traces.list(call.api.now());
    let traces: Vec<Value> = traces.iter().map(|one| one.shown()).collect();
    ok(&json!({ "traces": traces }))
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn one(call: Call) -> Answer {
    ok(&find(&call)?.shown())
}

/// Ends one that runs; forgets one that is over.
pub(super) async fn end(call: Call) -> Answer {
    let following = find(&call)?;
    let id = following.id();
    if following.is_running() {
        following.stop();
        following.ended().await;
        call.audit("stop trace", &id.to_string());
    } else {
        call.api.traces.forget(id);
        call.audit("forget trace", &id.to_string());
    }
    ok(&following.shown())
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn events(call: Call) -> Answer {
    let following = find(&call)?;
    let after = call.value("after", "the number of an event")?.unwrap_or(0);
    let permit = stream_permit(&call)?;
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
    tokio::spawn(tell(following, after, sender, permit));
    Ok(streamed("text/event-stream", [], receiver))
}

/// Hands lines on until the trace is over or its reader gone.
async fn tell(
    following: Arc<Following>,
    mut after: u64,
    events: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
) {
    let mut news = following.news();
    // The first word opens the stream before there is an event.
    if events.send(Bytes::from_static(b": following\n\n")).await.is_err() {
        return;
    }
    loop {
        news.mark_unchanged();
        let is_running = following.is_running();
        let lines = following.lines_after(after);
        if let Some((first, _)) = lines.first()
            && *first > after + 1
            && after > 0
        {
            let skipped = json!({ "direction": "trace", "event": "skipped", "detail": format!(
                "{} events went by unread; the file has them", first - after - 1
            )});
            if events.send(Bytes::from(format!("data: {skipped}\n\n"))).await.is_err() {
                return;
            }
        }
        for (number, line) in lines {
            after = number;
            let line = String::from_utf8_lossy(&line);
            let event = Bytes::from(format!("id: {number}\ndata: {line}\n\n"));
            if events.send(event).await.is_err() {
                return;
            }
        }
        if !is_running {
            return;
        }
        tokio::select! {
            changed = timeout(SILENCE_MAX, news.changed()) => match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    if events.send(Bytes::from_static(b": quiet\n\n")).await.is_err() {
                        return;
                    }
                }
            },
            () = events.closed() => return,
        }
    }
}

/// The file as it is now.
pub(super) async fn log(call: Call) -> Answer {
    let following = find(&call)?;
    let path = following.path().to_owned();
    let file = tokio::task::spawn_blocking(move || std::fs::File::open(path)).await;
    let gone = || Refusal::not_found(format!("{} is gone", following.path().display()));
    let mut file = file.map_err(|_| gone())?.map_err(|_| gone())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = file.read(&mut chunk) {
            if sender.blocking_send(Bytes::copy_from_slice(&chunk[..count])).is_err() {
                return;
            }
        }
    });
    let name = following.path().file_name().and_then(|name| name.to_str()).unwrap_or("trace");
    Ok(streamed("application/jsonl", [named(name)], receiver))
}

fn find(call: &Call) -> Result<Arc<Following>, Refusal> {
    let id = call.part("id");
    let found = id.parse().ok().and_then(|id| call.api.traces.find(id));
    found.ok_or_else(|| Refusal::not_found(format!("no trace {id:?} runs or is remembered")))
}

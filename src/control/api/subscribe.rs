//! Messages as they come: a stream of events.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use super::call::Call;
use super::stream::streamed;
use super::{Answer, Refusal};
use crate::config::Role;
use crate::local::{LocalError, LocalMessage, Subscription};
use crate::proto::QoS;

/// How long nothing is said at most, so that those between do not think the stream dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Streams that viewers leave to operators.
const STREAMS_RESERVED: usize = 16;

/// Events that wait for the network; behind them the broker's own queue begins.
pub(super) const EVENTS_WAITING_MAX: usize = 64;

pub(super) async fn stream(call: Call) -> Answer {
    let filter = call.text("filter").ok_or_else(|| Refusal::wrong("give a filter"))?;
    let bits = call.value("qos", "0, 1 or 2")?.unwrap_or(0);
    let qos = QoS::from_bits(bits).ok_or_else(|| Refusal::wrong("qos: expected 0, 1 or 2"))?;
    if filter.starts_with("$share/") {
        // What one member gets, no other does.
        call.who.require(Role::Operator, "a shared subscription")?;
    }
    let permit = stream_permit(&call)?;
    let subscription = call.api.desk.locals.subscribe(&[(filter, qos)]).await;
    let subscription = subscription.map_err(|error| match error {
        LocalError::Topic => Refusal::wrong(format!("filter {filter:?} is no topic filter")),
        LocalError::Refused(_) => Refusal::new(StatusCode::CONFLICT, "not_subscribed", error),
        LocalError::Gone => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_subscribed", error),
    })?;
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
    tokio::spawn(tell(subscription, sender, permit));
    Ok(streamed("text/event-stream", [], receiver))
}

/// Room for one more stream; viewers leave some to others.
pub(super) fn stream_permit(call: &Call) -> Result<OwnedSemaphorePermit, Refusal> {
    let streams = &call.api.streams;
    let is_free = call.who.role > Role::Viewer || streams.available_permits() > STREAMS_RESERVED;
    let permit = is_free.then(|| Arc::clone(streams).try_acquire_owned().ok()).flatten();
    permit.ok_or_else(|| {
        let message = "there are as many streams as there can be; end one";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", message)
    })
}

/// Hands messages on until the reader is gone.
async fn tell(
    mut subscription: Subscription,
    events: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
) {
    // The first word opens the stream before there is a message.
    let mut next = Bytes::from_static(b": subscribed\n\n");
    loop {
        if events.send(next).await.is_err() {
            return;
        }
        let silence = sleep_until(Instant::now() + SILENCE_MAX);
        next = tokio::select! {
            message = subscription.next() => match message {
                Some(message) => event(&message),
                None => return,
            },
            () = silence => Bytes::from_static(b": quiet\n\n"),
            () = events.closed() => return,
        };
    }
}

fn event(message: &LocalMessage) -> Bytes {
    let value = json!({
        "topic": message.topic,
        "payload": str::from_utf8(&message.payload).ok(),
        "payload_base64": STANDARD.encode(&message.payload),
        "qos": message.qos as u8,
        "retain": message.retain,
    });
    Bytes::from(format!("data: {value}\n\n"))
}

//! Messages are published, one or many.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, whole};
use super::{Answer, Api, Refusal, answer, ok};
use crate::local::{LocalError, LocalMessage, Publisher};
use crate::proto::{QoS, ReasonCode, TopicName};
use crate::shard::is_own_topic;

/// Messages of one request.
pub(super) const BATCH_MAX: usize = 1000;

/// A message as it is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    qos: u8,
    #[serde(default)]
    retain: bool,
}

pub(super) async fn one(call: Call) -> Answer {
    let message = taken(call.document::<Posted>()?)?;
    let (topic, bytes) = (message.topic.clone(), message.payload.len());
    let publisher = call.api.publisher().await?;
    let outcome = publisher.publish(message).await;
    let value = call.api.outcome(&outcome).await;
    call.audit("publish", &format!("{topic}, {bytes} bytes"));
    match outcome {
        Ok(_) => ok(&value),
        Err(LocalError::Gone) => Ok(answer(StatusCode::SERVICE_UNAVAILABLE, &value)),
        Err(_) => Ok(answer(StatusCode::CONFLICT, &value)),
    }
}

pub(super) async fn batch(call: Call) -> Answer {
    let posted = call.document::<Vec<Posted>>()?;
    if posted.len() > BATCH_MAX {
        return Err(Refusal::wrong(format!("a batch has at most {BATCH_MAX} messages")));
    }
    // All of them or none.
    let messages = posted.into_iter().map(taken).collect::<Result<Vec<_>, _>>()?;
    let count = messages.len();
    let publisher = call.api.publisher().await?;
    let outcomes = all(messages.into_iter().map(|message| publisher.publish(message))).await;
    let mut values = Vec::new();
    for outcome in &outcomes {
        values.push(call.api.outcome(outcome).await);
    }
    call.audit("publish", &format!("a batch of {count} messages"));
    ok(&Value::Array(values))
}

fn taken(posted: Posted) -> Result<LocalMessage, Refusal> {
    let Posted { topic, payload, payload_base64, qos, retain } = posted;
    TopicName::new(&topic).map_err(|error| Refusal::wrong(format!("topic {topic:?}: {error}")))?;
    if is_own_topic(&topic) {
        return Err(Refusal::wrong(format!("topic {topic:?}: $SYS is the broker's own")));
    }
    let qos = QoS::from_bits(qos).ok_or_else(|| Refusal::wrong("qos: expected 0, 1 or 2"))?;
    let payload = match (payload, payload_base64) {
        (Some(_), Some(_)) => {
            return Err(Refusal::wrong("give payload or payload_base64, not both"));
        }
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|error| Refusal::wrong(format!("payload_base64: {error}")))?,
        (None, None) => Vec::new(),
    };
    Ok(LocalMessage { topic, payload: payload.into(), qos, retain })
}

impl Api {
    /// The client within the process that publishes what is posted.
    pub(super) async fn publisher(&self) -> Result<Publisher, Refusal> {
        let mut kept = self.publisher.lock().await;
        // An operator may have ended its connection.
        if let Some(publisher) = kept.as_ref().filter(|publisher| !publisher.is_over()) {
            return Ok(publisher.clone());
        }
        let publisher = self.desk.locals.publisher().await.map_err(|error| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_published", error)
        })?;
        *kept = Some(publisher.clone());
        Ok(publisher)
    }

    /// What came of a message.
    pub(super) async fn outcome(&self, outcome: &Result<ReasonCode, LocalError>) -> Value {
        let (code, reason) = match outcome {
            Ok(reason) | Err(LocalError::Refused(reason)) => (reason.as_u8(), reason.to_string()),
            Err(error) => {
                // The next request connects anew.
                *self.publisher.lock().await = None;
                (ReasonCode::UnspecifiedError.as_u8(), error.to_string())
            }
        };
        let mut value = json!({ "reason": reason, "reason_code": code });
        if outcome.is_err() {
            let message = format!("the broker did not take the message: {reason}");
            value["error"] = json!({ "code": "not_published", "message": message });
        }
        value
    }
}

/// Awaits all at once; they begin in their order.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    enum Stage<F: Future> {
        Pending(Pin<Box<F>>),
        Done(F::Output),
    }
    let mut stages: Vec<Stage<F>> = futures.map(|f| Stage::Pending(Box::pin(f))).collect();
    // What is pinned is behind a box of its own; the outputs may move.
    poll_fn(|context| {
        let mut is_done = true;
        for stage in &mut stages {
            let Stage::Pending(future) = stage else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(output) => *stage = Stage::Done(output),
                Poll::Pending => is_done = false,
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let output = |stage| match stage {
        Stage::Done(output) => Some(output),
        Stage::Pending(_) => None,
    };
    stages.into_iter().filter_map(output).collect()
}

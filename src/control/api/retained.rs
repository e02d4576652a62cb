//! Retained messages.

use std::sync::Arc;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::call::{Call, cursor};
use super::{Answer, Refusal, answer, ok, page};
use crate::local::LocalMessage;
use crate::message::Message;
use crate::proto::{QoS, TopicFilter};
use crate::shard::{RetainedQuery, RetainedRow, Shard, is_own_topic};

/// Bytes of a payload that a list shows.
const PREVIEW_BYTES_MAX: usize = 120;

pub(super) async fn list(call: Call) -> Answer {
    let limit = call.limit()?;
    let filter = call.text("filter").unwrap_or_default();
    if !filter.is_empty() {
        TopicFilter::new(filter).map_err(|error| Refusal::wrong(format!("filter: {error}")))?;
    }
    let query = RetainedQuery {
        filter: filter.to_owned(),
        search: call.search(),
        after: call.cursor()?,
        count_max: limit + 1,
    };
    let look = move |shard: &Shard, now, place| shard.look_at_retained(now, place, &query);
    let (mut rows, total) = call.api.desk.inquiry.look_through(limit + 1, look).await?;
    let next_cursor = page(&mut rows, limit, |row: &RetainedRow| cursor(row.0.topic()));
    let retained: Vec<Value> = rows.iter().map(|row| row_of(&row.0)).collect();
    ok(&json!({ "retained": retained, "next_cursor": next_cursor, "total": total }))
}

pub(super) async fn one(call: Call) -> Answer {
    let message = find(&call).await?;
    let payload = message.payload();
    let mut value = row_of(&message);
    value["payload_base64"] = json!(STANDARD.encode(payload));
    if let Ok(text) = str::from_utf8(payload) {
        value["payload"] = json!(text);
    }
    ok(&value)
}

pub(super) async fn delete(call: Call) -> Answer {
    let topic = find(&call).await?.topic().to_owned();
    if is_own_topic(&topic) {
        return Err(Refusal::wrong("$SYS is the broker's own; mqtt.sys_interval_s turns it off"));
    }
    let publisher = call.api.publisher().await?;
    let message = LocalMessage {
        topic: topic.clone(),
        qos: QoS::AtLeastOnce,
        retain: true,
        ..LocalMessage::default()
    };
    let outcome = publisher.publish(message).await;
    let mut value = call.api.outcome(&outcome).await;
    call.audit("delete retained", &topic);
    value["topic"] = json!(topic);
    match outcome {
        Ok(_) => ok(&value),
        Err(_) => Ok(answer(StatusCode::CONFLICT, &value)),
    }
}

async fn find(call: &Call) -> Result<Arc<Message>, Refusal> {
    let topic = call.part("topic").to_owned();
    let name = topic.clone();
    let look = move |shard: &Shard, now| shard.look_at_retained_of(now, &name);
    let found = call.api.desk.inquiry.look(look).await?.into_iter().flatten().next();
    found.ok_or_else(|| Refusal::not_found(format!("no message is retained at {topic:?}")))
}

fn row_of(message: &Message) -> Value {
    let payload = message.payload();
    let mut value = json!({
        "topic": message.topic(),
        "bytes": payload.len(),
        "qos": message.qos as u8,
        // A stamp is microseconds above six bits of the publisher's shard.
        "retained_at_ms": (message.stamp.0 >> 6) / 1000,
    });
    if let Some(preview) = preview(payload) {
        value["payload_preview"] = json!(preview);
    }
    value
}

/// The beginning of a payload that is text.
fn preview(payload: &[u8]) -> Option<&str> {
    let part = &payload[..payload.len().min(PREVIEW_BYTES_MAX)];
    match str::from_utf8(part) {
        Ok(text) => Some(text),
        // The cut went through a character.
        Err(error) if error.error_len().is_none() && part.len() < payload.len() => {
            str::from_utf8(&part[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_ends_at_a_character() {
        let long = "\u{e4}".repeat(PREVIEW_BYTES_MAX);
        let odd = format!("a{long}");
        assert_eq!(preview(long.as_bytes()).map(str::len), Some(PREVIEW_BYTES_MAX));
        assert_eq!(preview(odd.as_bytes()).map(str::len), Some(PREVIEW_BYTES_MAX - 1));
        assert_eq!(preview(b"\xff\x00"), None);
        assert_eq!(preview("\u{e4}".as_bytes().split_at(1).0), None);
        assert_eq!(preview(b""), Some(""));
    }
}

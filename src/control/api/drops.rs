//! What was lost or refused last.

use serde_json::{Value, json};

use super::call::Call;
use super::clients::millis;
use super::{Answer, Refusal, ok, page};
use crate::proto::TopicFilter;
use crate::shard::{DropKey, DropQuery, DropRow, Shard, ShardId, Why};
use crate::time::Time;

pub(super) async fn list(call: Call) -> Answer {
    let limit = call.limit()?;
    if let Some(filter) = call.text("filter") {
        TopicFilter::new(filter).map_err(|error| Refusal::wrong(format!("filter: {error}")))?;
    }
    let query = DropQuery {
        search: call.search(),
        client_id: call.text("client_id").map(str::to_owned),
        filter: call.text("filter").map(str::to_owned),
        why: call.text("why").map(reason).transpose()?,
        leaves_out_away: ["why", "client_id", "filter", "search"]
            .iter()
            .all(|narrowed| call.text(narrowed).is_none()),
        after: call.text("cursor").map(place).transpose()?,
        count_max: limit + 1,
        ..DropQuery::default()
    };
    let look = move |shard: &Shard, _, place| shard.look_at_drops(place, &query);
    let (mut rows, total) = call.api.desk.inquiry.look_through(limit + 1, look).await?;
    let next_cursor = page(&mut rows, limit, |row: &DropRow| {
        let DropKey { at, shard, number } = row.key;
        format!("{}.{}.{number}", at.as_micros(), shard.0)
    });
    let drops: Vec<Value> = rows.iter().map(shown).collect();
    ok(&json!({ "drops": drops, "next_cursor": next_cursor, "total": total }))
}

/// A loss as lists show it.
pub(super) fn shown(row: &DropRow) -> Value {
    let (key, dropped) = (row.key, &row.dropped);
    json!({
        "at_ms": millis(key.at),
        "shard": key.shard.0,
        "number": key.number,
        "publisher": dropped.publisher.as_deref(),
        "receiver": dropped.receiver.as_deref(),
        "topic": &*dropped.topic,
        "qos": dropped.qos as u8,
        "bytes": dropped.bytes,
        "why": dropped.why.name(),
        "meaning": dropped.why.meaning(),
        "detail": dropped.detail,
    })
}

fn reason(name: &str) -> Result<Why, Refusal> {
    let found = Why::ALL.into_iter().find(|why| why.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Why::ALL.iter().map(|why| why.name()).collect();
        Refusal::wrong(format!("why={name:?}: expected one of {}", names.join(", ")))
    })
}

fn place(cursor: &str) -> Result<DropKey, Refusal> {
    let mut parts = cursor.split('.').map(str::parse::<u64>);
    let key = match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(at)), Some(Ok(shard)), Some(Ok(number))) => u8::try_from(shard)
            .ok()
            .map(|shard| DropKey { at: Time::from_micros(at), shard: ShardId(shard), number }),
        _ => None,
    };
    key.ok_or_else(|| Refusal::wrong("cursor: give what next_cursor of the last page said"))
}

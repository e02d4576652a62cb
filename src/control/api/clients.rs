//! Clients, connected or away.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, cursor};
use super::{Answer, Refusal, ok, page, subscriptions};
use crate::proto::Version;
use crate::shard::{ClientQuery, ClientRow, SubscriptionQuery};
use crate::time::Time;

/// Subscriptions that a client's own page shows.
const SUBSCRIPTIONS_MAX: usize = 1000;

pub(super) async fn list(call: Call) -> Answer {
    let limit = call.limit()?;
    let connected = match call.text("state") {
        None => None,
        Some("connected") => Some(true),
        Some("away") => Some(false),
        Some(other) => {
            return Err(Refusal::wrong(format!("state={other:?}: expected connected or away")));
        }
    };
    let after = call.cursor()?.map(Arc::from);
    let query = ClientQuery { search: call.search(), connected, after, count_max: limit + 1 };
    let look = move |shard: &crate::shard::Shard, _, place| shard.look_at_clients(place, &query);
    let (mut rows, total) = call.api.desk.inquiry.look_through(limit + 1, look).await?;
    let next_cursor = page(&mut rows, limit, |row: &ClientRow| cursor(&row.client_id));
    let clients: Vec<Value> = rows.iter().map(shown).collect();
    ok(&json!({ "clients": clients, "next_cursor": next_cursor, "total": total }))
}

pub(super) async fn one(call: Call) -> Answer {
    let client_id: Arc<str> = call.part("client_id").into();
    let look = {
        let client_id = Arc::clone(&client_id);
        move |shard: &crate::shard::Shard, _| shard.look_at_client(&client_id)
    };
    let found = call.api.desk.inquiry.look(look).await?;
    let found = found.into_iter().enumerate().find_map(|(shard, view)| Some((shard, view?)));
    let (home, view) = found.ok_or_else(|| unknown(&client_id))?;
    let query = SubscriptionQuery {
        count_max: SUBSCRIPTIONS_MAX,
        session: Some(view.place),
        ..SubscriptionQuery::default()
    };
    let look =
        move |shard: &crate::shard::Shard, _, place| shard.look_at_subscriptions(place, &query);
    let inquiry = &call.api.desk.inquiry;
    let (mut rows, _) = inquiry.look_through_one(home, SUBSCRIPTIONS_MAX, look).await?;
    // Another session may have its place by now.
    rows.retain(|row| row.key.client_id == client_id);
    let mut client = shown(&view.row);
    client["session_expiry_s"] = json!(view.session_expiry_s);
    client["keep_alive_s"] = json!(view.keep_alive_s);
    client["will"] = json!(view.has_will);
    client["queued_bytes"] = json!(view.queued_bytes);
    client["inflight_in"] = json!(view.inflight_in);
    client["shard"] = json!(home);
    client["subscriptions_list"] = rows.iter().map(subscriptions::options).collect();
    ok(&client)
}

pub(super) async fn kick(call: Call) -> Answer {
    let client_id: Arc<str> = call.part("client_id").into();
    let forget = match call.text("session") {
        None | Some("keep") => false,
        Some("forget") => true,
        Some(other) => {
            return Err(Refusal::wrong(format!("session={other:?}: expected keep or forget")));
        }
    };
    let known = call.api.desk.inquiry.kick(&client_id, forget).await?;
    let kicked = known.ok_or_else(|| unknown(&client_id))?;
    // It may have been the client by which this API publishes: the next message takes another.
    *call.api.publisher.lock().await = None;
    call.audit(if forget { "kick and forget" } else { "kick" }, &client_id);
    ok(&json!({
        "client_id": &*client_id,
        "was_connected": kicked.was_connected,
        "session": if kicked.is_kept { "kept" } else { "forgotten" },
    }))
}

fn unknown(client_id: &str) -> Refusal {
    Refusal::not_found(format!("no client {client_id:?} is connected or has a session"))
}

/// A client as lists show it.
pub(super) fn shown(row: &ClientRow) -> Value {
    json!({
        "client_id": &*row.client_id,
        "user": row.user,
        "connected": row.connected_at.is_some(),
        "address": row.address,
        "listener": row.listener,
        "protocol": row.version.map(protocol),
        "subscriptions": row.subscriptions,
        "queued": row.queued,
        "inflight": row.inflight,
        "connected_at_ms": row.connected_at.map(millis),
        "disconnected_at_ms": row.detached_at.map(millis),
    })
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

/// Milliseconds of 1970.
pub(super) fn millis(time: Time) -> u64 {
    time.as_micros() / 1000
}

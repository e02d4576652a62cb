//! What would become of a message: whether it may be published, and who would get it; and what
//! became of the last ones.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, whole};
use super::clients::shown;
use super::subscriptions::Match;
use super::{Answer, Refusal, drops, ok};
use crate::config::QueuePolicy;
use crate::proto::QoS;
use crate::shard::{DropQuery, Intent, QueueBounds, Rights, Shard};

/// Losses that are told of.
const HAPPENED_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    client_id: String,
    topic: String,
    #[serde(default, deserialize_with = "whole")]
    qos: u8,
    #[serde(default)]
    retain: bool,
    user: Option<String>,
}

pub(super) async fn explain(call: Call) -> Answer {
    let Question { client_id, topic, qos, retain, user } = call.document()?;
    let qos = QoS::from_bits(qos).ok_or_else(|| Refusal::wrong("qos: expected 0, 1 or 2"))?;
    let (matches, total) = call.api.matches(&topic).await?;
    let intent = Intent { client_id: client_id.clone(), user, topic: topic.clone(), qos, retain };
    let inquiry = &call.api.desk.inquiry;
    let look = move |shard: &Shard, _| (shard.look_at_rights(&intent), shard.look_at_bounds());
    let seen = inquiry.look(look).await?;
    let is_log_full = seen.iter().any(|(_, bounds)| bounds.is_log_full);
    let Some(&(_, bounds)) = seen.first() else { return Err(Refusal::not_found("no shard")) };
    let mut rights: Vec<Rights> = seen.into_iter().map(|(rights, _)| rights).collect();
    // Its home knows best; those where it is not all say the same.
    let home = rights.iter().position(|rights| rights.client.is_some()).unwrap_or(0);
    let rights = rights.swap_remove(home);
    let happened = happened(&call, &client_id, &topic).await?;
    let fates: Vec<Value> = matches.iter().map(|one| fate(one, &client_id, qos, bounds)).collect();
    let outcome = match (rights.is_allowed, matches.is_empty()) {
        (false, _) => "refused",
        (true, true) => "nobody gets it",
        (true, false) => "delivered",
    };
    ok(&json!({
        "client_id": client_id,
        "client": rights.client.as_ref().map(shown),
        "topic": topic,
        "qos": qos as u8,
        "retain": retain,
        "publish": {
            "allowed": rights.is_allowed,
            "by": rights.why,
            "judged": match rights.is_connected {
                true => "as it is connected",
                false => "as if it connected, by the rules of the configuration alone",
            },
        },
        "log_full": is_log_full,
        "outcome": outcome,
        "matches": fates,
        "total": total,
        "happened": happened,
    }))
}

/// What this client's messages to a topic came to lately, as far as they were lost. Of those that
/// were lost on another shard than the publisher's it is not known who published them.
async fn happened(call: &Call, client_id: &str, topic: &str) -> Result<Vec<Value>, Refusal> {
    let query = DropQuery {
        publisher: Some(client_id.to_owned()),
        topic: Some(topic.to_owned()),
        count_max: HAPPENED_MAX,
        ..DropQuery::default()
    };
    let look = move |shard: &Shard, _, place| shard.look_at_drops(place, &query);
    let (rows, _) = call.api.desk.inquiry.look_through(HAPPENED_MAX, look).await?;
    Ok(rows.iter().map(drops::shown).collect())
}

fn fate(one: &Match, publisher: &str, published: QoS, bounds: QueueBounds) -> Value {
    let qos = one.qos.min(published);
    let is_connected = one.client.connected_at.is_some();
    let room = (bounds.messages_max as usize).saturating_sub(one.client.queued);
    let what = match &one.group {
        _ if one.no_local && *one.client.client_id == *publisher => "left out: no local".to_owned(),
        Some(group) if group.is_there => {
            format!("one member of the group gets it; {} wait for the group", group.queued)
        }
        Some(_) => "another member of the group gets it, or it waits: this one is away".to_owned(),
        None if is_connected && one.client.queued == 0 => "sent at once".to_owned(),
        None if !is_connected && qos == QoS::AtMostOnce && !bounds.qos0 => {
            "dropped: away, and QoS 0 does not wait".to_owned()
        }
        None if room > 0 => format!("waits behind {} messages", one.client.queued),
        None => match bounds.policy {
            QueuePolicy::DropOldest => "waits, and the oldest message is dropped for it".to_owned(),
            QueuePolicy::DropNewest => "dropped: the queue is full".to_owned(),
            QueuePolicy::RefusePublisher => "refused: the queue is full".to_owned(),
        },
    };
    let mut value = one.shown();
    value["qos"] = json!(qos as u8);
    value["queue_messages_max"] = json!(bounds.messages_max);
    value["queue_room"] = json!(room);
    value["what"] = json!(what);
    if let Some(group) = &one.group {
        value["group"] = json!(group.name);
    }
    value
}

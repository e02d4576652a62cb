//! Subscriptions: all of them, or those that match a topic.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::call::{Call, cursor};
use super::clients::shown;
use super::{Answer, Api, Refusal, ok, page};
use crate::proto::{QoS, TopicName};
use crate::shard::{
    ClientRow, MemberId, Shard, Subscribed, SubscriptionKey, SubscriptionQuery, SubscriptionRow,
    share_of,
};

/// Sessions and groups that each shard names for a topic.
const MATCHES_MAX: usize = 1000;

/// Stands between client id and filter in a cursor: in neither of them.
const SEPARATOR: char = '\0';

/// Somebody who gets what is published to a topic.
pub(super) struct Match {
    pub(super) client: ClientRow,
    pub(super) filter: String,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) group: Option<Group>,
}

/// The shared group by which it does, or another member.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) queued: usize,
    /// Whether the member takes messages now.
    pub(super) is_there: bool,
}

pub(super) async fn list(call: Call) -> Answer {
    let limit = call.limit()?;
    let after = call.cursor()?;
    if let Some(topic) = call.text("topic") {
        return matching(&call, topic).await;
    }
    let after = after.as_deref().and_then(|cursor| cursor.split_once(SEPARATOR));
    let after = after.map(|(client_id, filter)| SubscriptionKey {
        client_id: client_id.into(),
        filter: filter.into(),
    });
    let query =
        SubscriptionQuery { search: call.search(), after, count_max: limit + 1, session: None };
    let look = move |shard: &Shard, _, place| shard.look_at_subscriptions(place, &query);
    let (mut rows, total) = call.api.desk.inquiry.look_through(limit + 1, look).await?;
    let next_cursor = page(&mut rows, limit, |row: &SubscriptionRow| {
        cursor(&format!("{}{SEPARATOR}{}", row.key.client_id, row.key.filter))
    });
    let subscription = |row: &SubscriptionRow| {
        let mut shown = options(row);
        shown["client_id"] = json!(&*row.key.client_id);
        shown
    };
    let subscriptions: Vec<Value> = rows.iter().map(subscription).collect();
    ok(&json!({ "subscriptions": subscriptions, "next_cursor": next_cursor, "total": total }))
}

async fn matching(call: &Call, topic: &str) -> Answer {
    let (matches, total) = call.api.matches(topic).await?;
    let shown = |one: &Match| {
        let mut value = json!({
            "client_id": &*one.client.client_id,
            "filter": one.filter,
            "qos": one.qos as u8,
            "no_local": one.no_local,
            "connected": one.client.connected_at.is_some(),
        });
        if let Some(group) = &one.group {
            value["group"] = json!(group.name);
        }
        value
    };
    let subscriptions: Vec<Value> = matches.iter().map(shown).collect();
    ok(&json!({ "subscriptions": subscriptions, "next_cursor": null, "total": total }))
}

/// A subscription without its client.
pub(super) fn options(row: &SubscriptionRow) -> Value {
    let (filter, options) = (&*row.key.filter, row.subscription.options);
    let mut value = json!({
        "filter": filter,
        "qos": options.qos as u8,
        "no_local": options.no_local,
        "retain_as_published": options.retain_as_published,
        "subscription_id": Some(row.subscription.subscription_id).filter(|id| *id != 0),
    });
    if let Some((group, _)) = share_of(filter) {
        value["group"] = json!(group);
    }
    value
}

impl Api {
    /// Who gets what is published to a topic, in the order of client ids, and how many sessions
    /// and groups there are.
    pub(super) async fn matches(&self, topic: &str) -> Result<(Vec<Match>, usize), Refusal> {
        let legal =
            TopicName::new(topic).map_err(|error| Refusal::wrong(format!("topic: {error}")));
        legal?;
        let name = topic.to_owned();
        let look = move |shard: &Shard, _| shard.look_at_topic(&name, MATCHES_MAX);
        let found = self.desk.inquiry.look(look).await?;
        let total = found.iter().map(|(_, count)| count).sum();
        let (mut matches, mut members) = (Vec::new(), Vec::new());
        for subscribed in found.into_iter().flat_map(|(found, _)| found) {
            match subscribed {
                Subscribed::Client { client, filter, qos, no_local } => {
                    matches.push(Match { client: *client, filter, qos, no_local, group: None });
                }
                Subscribed::Group { name, members: found, queued } => {
                    let (group, filter) = share_of(&name).unwrap_or(("", &name));
                    for (id, qos, is_there) in found {
                        let group = Group { name: group.to_owned(), queued, is_there };
                        members.push((id, filter.to_owned(), qos, group));
                    }
                }
            }
        }
        let rows = self.members(members.iter().map(|(id, ..)| *id).collect()).await?;
        for (id, filter, qos, group) in members {
            if let Some(client) = rows.get(&id).cloned() {
                matches.push(Match { client, filter, qos, no_local: false, group: Some(group) });
            }
        }
        matches.sort_by(|a, b| {
            (&a.client.client_id, &a.filter).cmp(&(&b.client.client_id, &b.filter))
        });
        Ok((matches, total))
    }

    async fn members(
        &self,
        members: Vec<MemberId>,
    ) -> Result<HashMap<MemberId, ClientRow>, Refusal> {
        if members.is_empty() {
            return Ok(HashMap::new());
        }
        let look = move |shard: &Shard, _| shard.look_at_members(&members);
        Ok(self.desk.inquiry.look(look).await?.into_iter().flatten().collect())
    }
}

impl Match {
    /// With what there is to know of the client.
    pub(super) fn shown(&self) -> Value {
        let mut value = shown(&self.client);
        value["filter"] = json!(self.filter);
        value["qos"] = json!(self.qos as u8);
        value
    }
}

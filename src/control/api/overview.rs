//! The broker as a whole, its shards and its listeners.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::{Answer, Api, Refusal, ok};
use crate::cli::VERSION;
use crate::control::count;
use crate::metrics::{ShardMetrics, Value as Counter};
use crate::runtime::Counted;

pub(super) async fn overview(call: Call) -> Answer {
    let api = &call.api;
    let counted = api.counted().await?;
    let sum = |value: fn(&Counted) -> u64| counted.iter().map(value).sum::<u64>();
    let uptime_s = api.now().since(api.started).as_secs();
    ok(&json!({
        "version": VERSION,
        "uptime_s": uptime_s,
        "node": crate::sys::node_name(),
        "role": "single",
        "durability": api.config.durability.name(),
        "shards": counted.len(),
        "connections": sum(|one| one.connections as u64),
        "sessions": sum(|one| one.sessions as u64),
        "subscriptions": sum(|one| one.holdings.subscriptions as u64),
        "retained": sum(|one| one.holdings.retained_messages as u64),
        "retained_bytes": sum(|one| one.holdings.retained_bytes),
        "queued": sum(|one| one.holdings.queued_messages as u64),
        "queue_memory_bytes": sum(|one| one.holdings.queued_bytes),
        "inflight": sum(|one| one.holdings.inflight_messages as u64),
        "messages_received_total": sum(|one| received(&one.metrics)),
        "messages_sent_total": sum(|one| sent(&one.metrics)),
        "messages_dropped_total": sum(|one| dropped(&one.metrics)),
        "bytes_received_total": sum(|one| one.metrics.received_bytes_total),
        "bytes_sent_total": sum(|one| one.metrics.sent_bytes_total),
        "listeners": api.listeners(),
        "admin": { "who": call.who.name, "role": call.who.role.name() },
    }))
}

pub(super) async fn shards(call: Call) -> Answer {
    let counted = call.api.counted().await?;
    let shard = |one: &Counted| {
        let counters = one.metrics.entries().into_iter();
        let counters: Map<String, Value> =
            counters.map(|one| (one.name.to_owned(), json!(number(&one.value)))).collect();
        json!({
            "shard": one.shard,
            "connections": one.connections,
            "sessions": one.sessions,
            "turns_total": one.turns,
            "ring_enters_total": one.enters,
            "connections_kept_out_total": one.kept_out.counts().map(|(_, count)| count).sum::<u64>(),
            "queued": one.holdings.queued_messages,
            "subscriptions": one.holdings.subscriptions,
            "retained": one.holdings.retained_messages,
            "log": log_of(one),
            "counters": counters,
        })
    };
    ok(&counted.iter().map(shard).collect())
}

pub(super) async fn listeners(call: Call) -> Answer {
    ok(&call.api.listeners())
}

pub(super) async fn log(call: Call) -> Answer {
    let counted = call.api.counted().await?;
    let shard = |one: &Counted| {
        let mut log = log_of(one);
        log["shard"] = json!(one.shard);
        log
    };
    let at_start = call.api.desk.counter.log.map_or(0, |log| log.damages as u64);
    ok(&json!({
        "durability": call.api.config.durability.name(),
        "damages": at_start + counted.iter().map(|one| one.log.damages).sum::<u64>(),
        "shards": counted.iter().map(shard).collect::<Vec<_>>(),
    }))
}

fn log_of(one: &Counted) -> Value {
    json!({
        "segments": one.log.segments,
        "bytes": one.log.bytes,
        "live_bytes": one.log.live_bytes,
        "messages": one.log.messages,
        "full": one.log.is_full,
        "commits_total": one.commits,
    })
}

/// A counter as a number: of one with labels the sum, of durations how many there were.
fn number(value: &Counter<'_>) -> u64 {
    match value {
        Counter::Count(count) => *count,
        Counter::Tally(_, counts) => counts.iter().map(|(_, count)| count).sum(),
        Counter::Durations(durations) => {
            durations.cumulative().map(|(_, count)| count).max().unwrap_or(0)
        }
    }
}

/// PUBLISH packets received.
pub(in crate::control) fn received(metrics: &ShardMetrics) -> u64 {
    metrics.publishes_received_qos0_total
        + metrics.publishes_received_qos1_total
        + metrics.publishes_received_qos2_total
}

/// PUBLISH packets sent, repetitions included.
pub(in crate::control) fn sent(metrics: &ShardMetrics) -> u64 {
    metrics.publishes_sent_qos0_total
        + metrics.publishes_sent_qos1_total
        + metrics.publishes_sent_qos2_total
        + metrics.publishes_resent_total
}

/// Messages that somebody did not get, or that were not taken.
pub(in crate::control) fn dropped(metrics: &ShardMetrics) -> u64 {
    let named = metrics.entries().into_iter();
    named.filter(|one| one.name.starts_with("dropped_")).map(|one| number(&one.value)).sum()
}

impl Api {
    /// What every shard has counted.
    pub(super) async fn counted(&self) -> Result<Vec<Counted>, Refusal> {
        count(&self.desk.counter).await.ok_or(Refusal::from(crate::runtime::Silent))
    }

    fn listeners(&self) -> Value {
        let connections = self.desk.visitors.connections();
        let listener = |(index, listener): (usize, &crate::config::ListenerConfig)| {
            let bound = self.desk.listeners.iter().filter(|(other, _)| *other == index);
            let addresses: Vec<&str> = bound.map(|(_, address)| address.as_str()).collect();
            Some(json!({
                "name": listener.name,
                "address": addresses.first()?,
                "addresses": addresses,
                "scheme": listener.address.scheme.name(),
                "connections": connections.get(index).copied().unwrap_or(0),
            }))
        };
        self.config.listeners.iter().enumerate().filter_map(listener).collect()
    }
}

//! `$SYS/broker/...`: what the broker says of itself to MQTT clients, under Mosquitto's names.
//!
//! Every [`Reloader::sys_interval`] the shards are asked, and what has changed is announced: it is
//! retained, so that who subscribes later gets it at once, and in memory alone (`shard::announce`).
//!
//! [`Reloader::sys_interval`]: crate::runtime::Reloader::sys_interval

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::api::{dropped, received, sent};
use super::count;
use crate::cli::VERSION;
use crate::metrics::ShardMetrics;
use crate::runtime::{Counted, Desk, Silent};
use crate::sys::Usage;
use crate::time::Time;

/// How often it is seen whether they are wanted again.
const PAUSE: Duration = Duration::from_secs(1);

/// The averages, by the minutes that they look back.
const MINUTES: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// Announces until the broker ends.
pub(super) async fn run(desk: Arc<Desk>) {
    let started = desk.clock.now();
    let mut told = Told::default();
    loop {
        let interval = desk.reloader.sys_interval();
        if interval.is_zero() {
            sleep(PAUSE).await;
            continue;
        }
        if let Ok(figures) = figures(&desk, started).await {
            let news = told.news(&figures);
            if !news.is_empty() {
                desk.inquiry.announce(news);
            }
        }
        sleep(interval).await;
    }
}

/// The broker at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    at: Time,
    uptime_s: u64,
    clients: Clients,
    queued: u64,
    retained: u64,
    subscriptions: u64,
    heap_bytes: u64,
    totals: Totals,
}

/// Who is there.
#[derive(Clone, Copy, Debug, Default)]
struct Clients {
    connected: u64,
    away: u64,
    expired: u64,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    packets_received: u64,
    publishes_received: u64,
    publishes_sent: u64,
    dropped: u64,
    bytes_received: u64,
    bytes_sent: u64,
    payload_bytes_received: u64,
    payload_bytes_sent: u64,
    sockets: u64,
    connections: u64,
}

/// One of them.
type Total = fn(&Totals) -> u64;

impl Totals {
    /// Names of their averages.
    const LOADS: [(&str, Total); 9] = [
        ("messages/received", |totals| totals.packets_received),
        ("messages/sent", |totals| totals.publishes_sent),
        ("publish/received", |totals| totals.publishes_received),
        ("publish/sent", |totals| totals.publishes_sent),
        ("publish/dropped", |totals| totals.dropped),
        ("bytes/received", |totals| totals.bytes_received),
        ("bytes/sent", |totals| totals.bytes_sent),
        ("sockets", |totals| totals.sockets),
        ("connections", |totals| totals.connections),
    ];

    fn add(&mut self, metrics: &ShardMetrics) {
        self.packets_received += metrics.packets_received_total;
        self.publishes_received += received(metrics);
        self.publishes_sent += sent(metrics);
        self.dropped += dropped(metrics);
        self.bytes_received += metrics.received_bytes_total;
        self.bytes_sent += metrics.sent_bytes_total;
        self.payload_bytes_received += metrics.publish_received_bytes_total;
        self.payload_bytes_sent += metrics.publish_sent_bytes_total;
        self.sockets += metrics.connections_accepted_total;
        self.connections += metrics.connects_accepted_total;
    }
}

async fn figures(desk: &Desk, started: Time) -> Result<Figures, Silent> {
    let counted = count(&desk.counter).await.ok_or(Silent)?;
    let sum = |value: fn(&Counted) -> usize| counted.iter().map(value).sum::<usize>() as u64;
    let mut totals = Totals::default();
    counted.iter().for_each(|one| totals.add(&one.metrics));
    let (sessions, connections) = (sum(|one| one.sessions), sum(|one| one.connections));
    let clients = Clients {
        // A connection whose CONNECT has not come has no session.
        connected: connections.min(sessions),
        away: sessions.saturating_sub(connections),
        expired: counted.iter().map(|one| one.metrics.sessions_expired_total).sum(),
    };
    let at = desk.clock.now();
    Ok(Figures {
        at,
        uptime_s: at.since(started).as_secs(),
        clients,
        queued: sum(|one| one.holdings.queued_messages),
        retained: sum(|one| one.holdings.retained_messages),
        subscriptions: sum(|one| one.holdings.subscriptions),
        heap_bytes: Usage::read().resident_bytes.unwrap_or(0),
        totals,
    })
}

/// What was announced, and what the averages need of it.
#[derive(Default)]
struct Told {
    values: HashMap<String, String>,
    last: Option<(Time, Totals)>,
    /// By load and minutes: so many a minute.
    loads: [[f64; MINUTES.len()]; Totals::LOADS.len()],
    clients_max: u64,
    heap_bytes_max: u64,
}

impl Told {
    /// The topics whose values have changed, with these.
    fn news(&mut self, figures: &Figures) -> Vec<(Arc<str>, Bytes)> {
        self.average(figures);
        self.clients_max = self.clients_max.max(figures.clients.connected + figures.clients.away);
        self.heap_bytes_max = self.heap_bytes_max.max(figures.heap_bytes);
        let mut news = Vec::new();
        for (name, value) in self.values_of(figures) {
            if self.values.get(&name) != Some(&value) {
                let topic = format!("$SYS/broker/{name}");
                news.push((topic.into(), Bytes::from(value.clone())));
                self.values.insert(name, value);
            }
        }
        news
    }

    /// Moves the averages on, as Mosquitto does: exponentially weighted, in counts a minute.
    fn average(&mut self, figures: &Figures) {
        let (before, last) = self.last.unwrap_or((figures.at, Totals::default()));
        let elapsed_s = figures.at.since(before).as_secs_f64();
        self.last = Some((figures.at, figures.totals));
        if elapsed_s <= 0.0 {
            return;
        }
        for ((_, total), loads) in Totals::LOADS.iter().zip(&mut self.loads) {
            let grown = total(&figures.totals).saturating_sub(total(&last));
            let rate = grown as f64 * 60.0 / elapsed_s;
            for ((_, minutes), load) in MINUTES.iter().zip(loads) {
                let weight = (-elapsed_s / (60.0 * minutes)).exp();
                *load = rate + weight * (*load - rate);
            }
        }
    }

    fn values_of(&self, figures: &Figures) -> Vec<(String, String)> {
        let Figures { clients, totals, queued, retained, subscriptions, .. } = figures;
        let stored = queued + retained;
        let numbers = [
            ("clients/connected", clients.connected),
            ("clients/active", clients.connected),
            ("clients/disconnected", clients.away),
            ("clients/inactive", clients.away),
            ("clients/total", clients.connected + clients.away),
            ("clients/maximum", self.clients_max),
            ("clients/expired", clients.expired),
            ("messages/received", totals.packets_received),
            ("messages/sent", totals.publishes_sent),
            ("messages/stored", stored),
            ("store/messages/count", stored),
            ("publish/messages/received", totals.publishes_received),
            ("publish/messages/sent", totals.publishes_sent),
            ("publish/messages/dropped", totals.dropped),
            ("publish/bytes/received", totals.payload_bytes_received),
            ("publish/bytes/sent", totals.payload_bytes_sent),
            ("bytes/received", totals.bytes_received),
            ("bytes/sent", totals.bytes_sent),
            ("subscriptions/count", *subscriptions),
            ("retained messages/count", *retained),
            ("heap/current", figures.heap_bytes),
            ("heap/maximum", self.heap_bytes_max),
        ];
        let version = ("version".to_owned(), format!("hawker version {VERSION}"));
        let uptime = ("uptime".to_owned(), format!("{} seconds", figures.uptime_s));
        let numbers = numbers.map(|(name, value)| (name.to_owned(), value.to_string()));
        let loads = Totals::LOADS.iter().zip(&self.loads).flat_map(|((name, _), loads)| {
            let minutes = MINUTES.iter().zip(loads);
            minutes.map(move |((minutes, _), load)| {
                (format!("load/{name}/{minutes}"), format!("{load:.2}"))
            })
        });
        [version, uptime].into_iter().chain(numbers).chain(loads).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, packets_received: u64) -> Figures {
        let totals = Totals { packets_received, ..Totals::default() };
        let at = Time::from_micros(seconds * 1_000_000);
        Figures { at, uptime_s: seconds, totals, ..Figures::default() }
    }

    fn value(news: &[(Arc<str>, Bytes)], topic: &str) -> Option<String> {
        let found = news.iter().find(|(name, _)| **name == *topic)?;
        Some(String::from_utf8_lossy(&found.1).into_owned())
    }

    #[test]
    fn what_has_not_changed_is_not_announced_again() {
        let mut told = Told::default();
        let first = told.news(&at(10, 5));
        assert_eq!(value(&first, "$SYS/broker/uptime").as_deref(), Some("10 seconds"));
        assert_eq!(value(&first, "$SYS/broker/messages/received").as_deref(), Some("5"));
        assert!(first.len() > 40, "{first:?}");
        let second = told.news(&at(20, 5));
        assert_eq!(second.len(), 1, "{second:?}");
    }

    #[test]
    fn averages_come_near_a_steady_rate_the_short_ones_first() {
        let mut told = Told::default();
        let mut last = Vec::new();
        for round in 0..=12 {
            last.extend(told.news(&at(round * 10, round * 100)));
        }
        let load = |minutes: &str| {
            let topic = format!("$SYS/broker/load/messages/received/{minutes}");
            let of_it = last.iter().rev().find(|(name, _)| **name == *topic);
            let text = String::from_utf8_lossy(&of_it.expect("it is there").1).into_owned();
            text.parse::<f64>().expect("a number")
        };
        // 600 a minute, for two minutes.
        assert!((500.0..600.0).contains(&load("1min")), "{}", load("1min"));
        assert!(load("1min") > load("5min") && load("5min") > load("15min"));
    }
}

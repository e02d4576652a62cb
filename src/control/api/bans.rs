//! Who is kept out: addresses, users and client ids.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, whole};
use super::clients::millis;
use super::{Answer, Refusal, ok};
use crate::auth::Banned;
use crate::runtime::{BanRefusal, By, Sentence};
use crate::time::Time;

/// Longest ban: a year. Longer ones belong into the firewall.
pub(super) const SECONDS_MAX: u64 = 31_536_000;

/// Longest reason, in characters.
pub(super) const WHY_CHARS_MAX: usize = 256;

/// How many seconds the ban lasts, of whom, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    address: Option<String>,
    user: Option<String>,
    client_id: Option<String>,
    #[serde(deserialize_with = "whole")]
    seconds: u64,
    #[serde(default)]
    why: String,
}

impl Order {
    fn whom(&self) -> Result<Banned, Refusal> {
        match (&self.address, &self.user, &self.client_id) {
            (Some(name), None, None) => whom("address", name),
            (None, Some(name), None) => whom("user", name),
            (None, None, Some(name)) => whom("client_id", name),
            _ => Err(Refusal::wrong("one of address, user and client_id says whom it is about")),
        }
    }
}

fn whom(kind: &str, name: &str) -> Result<Banned, Refusal> {
    Banned::new(kind, name).ok_or_else(|| match kind {
        "address" => Refusal::wrong(format!("{name:?} is no address and no network")),
        _ => Refusal::wrong(format!("{kind}: it is empty")),
    })
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn list(call: Call) -> Answer {
    let now = call.api.now();
    let bans = call.api.desk.visitors.bans(now);
    ok(&bans.iter().map(|(whom, sentence)| shown(now, whom, sentence)).collect())
}

pub(super) async fn ban(call: Call) -> Answer {
    let order: Order = call.document()?;
    let whom = order.whom()?;
    let Order { seconds, why, .. } = order;
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Refusal::wrong(format!("seconds: expected 1 to {SECONDS_MAX}")));
    }
    if why.chars().count() > WHY_CHARS_MAX {
        return Err(Refusal::wrong(format!("why: expected {WHY_CHARS_MAX} characters at most")));
    }
    let (now, desk) = (call.api.now(), &call.api.desk);
    let what = format!("{whom} for {seconds} s: {why}");
    let ban = desk.visitors.ban(now, whom.clone(), Duration::from_secs(seconds), why);
    let ban = ban.map_err(|refusal| match refusal {
        BanRefusal::Loopback => {
            let message = "programs of this machine are never kept out";
            Refusal::new(StatusCode::CONFLICT, "own_machine", message)
        }
        BanRefusal::Full => {
            let message = "there are as many bans as there can be; use the firewall";
            Refusal::new(StatusCode::CONFLICT, "too_many_bans", message)
        }
    })?;
    desk.inquiry.let_go(&whom);
    call.audit("ban", &what);
    kept(&call).await?;
    ok(&shown(now, &whom, &ban))
}

pub(super) async fn unban(call: Call) -> Answer {
    let (kind, name) = (call.text("kind").unwrap_or("address"), call.part("name"));
    if !matches!(kind, "address" | "user" | "client_id") {
        let expected = "expected address, user or client_id";
        return Err(Refusal::wrong(format!("kind={kind:?}: {expected}")));
    }
    let found =
        Banned::new(kind, name).filter(|whom| call.api.desk.visitors.unban(call.api.now(), whom));
    let whom = found.ok_or_else(|| Refusal::not_found(format!("{name:?} is not kept out")))?;
    call.audit("unban", &whom.to_string());
    kept(&call).await?;
    ok(&json!({ "kind": whom.kind(), "name": whom.name(), whom.kind(): whom.name() }))
}

/// Writes the file of bans, if there is one.
async fn kept(call: &Call) -> Result<(), Refusal> {
    call.api.desk.sync_bans().await.map_err(|error| {
        tracing::error!("bans are not kept: {error}");
        let message = format!("done, but not for longer than the broker runs: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "ban_file", message)
    })
}

fn shown(now: Time, whom: &Banned, sentence: &Sentence) -> Value {
    let lasts = sentence.until != Time::NEVER;
    json!({
        "kind": whom.kind(),
        "name": whom.name(),
        whom.kind(): whom.name(),
        "until_ms": lasts.then(|| millis(sentence.until)),
        "seconds_left": lasts.then(|| sentence.until.since(now).as_secs()),
        "why": sentence.why,
        "by": match sentence.by {
            By::Operator => "operator",
            By::Logins => "logins",
            By::Flapping => "flapping",
        },
    })
}

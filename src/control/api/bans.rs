//! Addresses that are kept out.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, whole};
use super::clients::millis;
use super::{Answer, Refusal, ok};
use crate::runtime::{Ban, BanRefusal};
use crate::time::Time;

/// Longest ban: a year. Longer ones belong into the firewall.
pub(super) const SECONDS_MAX: u64 = 31_536_000;

/// Longest reason, in characters.
pub(super) const WHY_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    address: IpAddr,
    #[serde(deserialize_with = "whole")]
    seconds: u64,
    #[serde(default)]
    why: String,
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn list(call: Call) -> Answer {
    let now = call.api.now();
    let bans = call.api.desk.visitors.bans(now);
    ok(&bans.iter().map(|ban| shown(now, ban)).collect())
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn ban(call: Call) -> Answer {
    let Order { address, seconds, why } = call.document()?;
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Refusal::wrong(format!("seconds: expected 1 to {SECONDS_MAX}")));
    }
    if why.chars().count() > WHY_CHARS_MAX {
        return Err(Refusal::wrong(format!("why: expected {WHY_CHARS_MAX} characters at most")));
    }
    let now = call.api.now();
    let what = format!("{address} for {seconds} s: {why}");
    let ban = call.api.desk.visitors.ban(now, address, Duration::from_secs(seconds), why);
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
    call.audit("ban", &what);
    ok(&shown(now, &ban))
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn unban(call: Call) -> Answer {
    let text = call.part("address");
    let address: IpAddr =
        text.parse().map_err(|_| Refusal::wrong(format!("{text:?} is no address")))?;
    if !call.api.desk.visitors.unban(call.api.now(), address) {
        return Err(Refusal::not_found(format!("{address} is not kept out")));
    }
    call.audit("unban", text);
    ok(&json!({ "address": address }))
}

fn shown(now: Time, ban: &Ban) -> Value {
    json!({
        "address": ban.address,
        "until_ms": millis(ban.until),
        "seconds_left": ban.until.since(now).as_secs(),
        "why": ban.why.as_deref().unwrap_or("too many failed logins"),
        "by": if ban.why.is_some() { "operator" } else { "logins" },
    })
}

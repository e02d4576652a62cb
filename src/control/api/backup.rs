//! A backup, as a stream of bytes: to who sends a token, or to who has a ticket.
//!
//! A browser saves a large file without holding it only where a link leads to it, and a link sends
//! no token. So a page has a backup begun, learns whether that went well, and is given a ticket: the
//! last part of a path that leads to this backup, once, for a moment. Wherever that path is noted
//! down, it is worth nothing by then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::time::sleep;
use x509_cert::der::DateTime;

use super::call::Call;
use super::stream::{named, streamed};
use super::{Answer, Refusal, ok};
use crate::control::access::Who;
use crate::runtime::{Backup, BackupError};

/// How long a ticket waits for its backup to be fetched. What the backup holds takes room.
const TICKET_KEPT: Duration = Duration::from_secs(10);

/// Bytes of a ticket: more than anybody tries out in its time.
const TICKET_BYTES: usize = 16;

/// The ticket there is, if any: there is one backup at a time.
#[derive(Default)]
pub(super) struct Tickets(Mutex<Option<Ticket>>);

struct Ticket {
    text: String,
    who: Who,
    backup: Backup,
}

impl Tickets {
    /// Who was given this ticket.
    pub(super) fn holder(&self, text: &str) -> Option<Who> {
        self.lock().as_ref().filter(|ticket| ticket.is(text)).map(|ticket| ticket.who.clone())
    }

    fn put(&self, ticket: Ticket) {
        *self.lock() = Some(ticket);
    }

    /// The backup of this ticket, which is worth nothing from now on.
    fn take(&self, text: &str) -> Option<Backup> {
        self.lock().take_if(|ticket| ticket.is(text)).map(|ticket| ticket.backup)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn is(&self, text: &str) -> bool {
        self.text.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Refusal {
        let (status, code) = match error {
            BackupError::NothingKept => (StatusCode::CONFLICT, "nothing_kept"),
            BackupError::Busy => (StatusCode::CONFLICT, "backup_running"),
            BackupError::NotMet => (StatusCode::SERVICE_UNAVAILABLE, "shards_busy"),
            BackupError::Silent => (StatusCode::SERVICE_UNAVAILABLE, "shard_silent"),
        };
        Refusal::new(status, code, error)
    }
}

pub(super) async fn take(call: Call) -> Answer {
    Ok(sent(begin(&call).await?))
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn state(call: Call) -> Answer {
    let figures = call.api.desk.backups.figures();
    let running = figures.running.map(|running| {
        json!({
            "taken_at_ms": ms(running.taken_at),
            "bytes": running.bytes,
            "sent_bytes": running.sent_bytes,
        })
    });
    let last = (figures.completed > 0).then(|| {
        json!({
            "taken_at_ms": ms(figures.last_at),
            "bytes": figures.last_bytes,
            "seconds": figures.last_duration.as_secs_f64(),
        })
    });
    let ended_early = figures
        .ended_early
        .map(|ended| json!({ "taken_at_ms": ms(ended.taken_at), "why": ended.why }));
    ok(&json!({ "running": running, "last": last, "ended_early": ended_early }))
}

/// Begins one that waits for a browser.
pub(super) async fn prepare(call: Call) -> Answer {
    let backup = begin(&call).await?;
    let text = drawn()?;
    let answer = ok(&json!({
        "ticket": text,
        "file": file_name(backup.taken_at),
        "bytes": backup.bytes,
        "taken_at_ms": ms(backup.taken_at),
    }));
    let Call { api, who, .. } = call;
    api.tickets.put(Ticket { text: text.clone(), who, backup });
    tokio::spawn(async move {
        sleep(TICKET_KEPT).await;
        drop(api.tickets.take(&text));
    });
    answer
}

#[expect(clippy::unused_async, reason = "a handler like the others")]
pub(super) async fn fetch(call: Call) -> Answer {
    let backup = call.api.tickets.take(call.part("ticket"));
    backup.map(sent).ok_or_else(|| {
        Refusal::not_found(format!(
            "a ticket is good once, and for {TICKET_KEPT:?}; POST /api/v1/backups makes one"
        ))
    })
}

async fn begin(call: &Call) -> Result<Backup, Refusal> {
    let backup = call.api.desk.backups.begin().await?;
    call.audit("backup", &format!("{} bytes", backup.bytes));
    Ok(backup)
}

fn sent(backup: Backup) -> Response {
    let length = (header::CONTENT_LENGTH, backup.bytes.to_string());
    let headers = [length, named(&file_name(backup.taken_at))];
    streamed("application/x-tar", headers, backup.chunks)
}

fn drawn() -> Result<String, Refusal> {
    let mut secret = [0; TICKET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| {
        let message = format!("the kernel has no random numbers: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random_numbers", message)
    })?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

fn ms(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// The time of the backup, in UTC.
fn file_name(taken_at: Duration) -> String {
    match DateTime::from_unix_duration(taken_at) {
        Ok(at) => format!(
            "hawker-{:04}{:02}{:02}-{:02}{:02}{:02}.tar",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minutes(),
            at.seconds()
        ),
        Err(_) => "hawker.tar".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_time() {
        assert_eq!(file_name(Duration::from_secs(1_795_276_242)), "hawker-20261121-155042.tar");
    }
}

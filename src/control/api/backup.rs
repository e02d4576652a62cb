//! A backup, as a stream of bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;
use x509_cert::der::DateTime;

use super::call::Call;
use super::{Answer, Refusal};
use crate::runtime::BackupError;

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
    let backup = call.api.desk.backups.begin().await?;
    call.audit("backup", &format!("{} bytes", backup.bytes));
    let name = format!("attachment; filename=\"{}\"", file_name(backup.taken_at));
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, backup.bytes.to_string()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(Chunks(backup.chunks))).into_response())
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

/// If it ends early there are fewer bytes than its length says, which every client sees.
struct Chunks(mpsc::Receiver<Bytes>);

impl Stream for Chunks {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(Ok))
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

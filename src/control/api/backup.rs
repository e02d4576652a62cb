//! A backup, as a stream of bytes.

use std::time::Duration;

use axum::http::{StatusCode, header};
use x509_cert::der::DateTime;

use super::call::Call;
use super::stream::{named, streamed};
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
    let length = (header::CONTENT_LENGTH, backup.bytes.to_string());
    let headers = [length, named(&file_name(backup.taken_at))];
    Ok(streamed("application/x-tar", headers, backup.chunks))
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

//! `hawker log`: looks at a data directory without changing it.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::RUN_FAILED;
use crate::runtime::recovery::{self, Past, RecoveryError};
use crate::storage::OnDamage;

/// Says of each shard whether its log is whole, and what it holds.
pub(super) fn verify(directory: &Path) -> ExitCode {
    let folders = match recovery::logs(directory) {
        Ok(folders) => folders,
        Err(error) => return fail(&error.into()),
    };
    let mut outcome = ExitCode::SUCCESS;
    for (shard, (folder, segment_bytes)) in folders.into_iter().enumerate() {
        match Past::read(folder, shard, segment_bytes, OnDamage::Refuse) {
            Ok(past) => say(&sum(shard, &past)),
            Err(error) => outcome = fail(&error),
        }
    }
    outcome
}

fn sum(shard: usize, past: &Past) -> String {
    let sessions = past.image.sessions.len();
    let owed: usize = past.image.sessions.values().map(|session| session.queue.len()).sum();
    let (retained, segments) = (past.image.retained.len(), past.log.segments.len());
    let cut = match past.log.loss {
        Some(loss) => format!("; cut at {}: what follows was not acknowledged", loss.at.0),
        None => String::new(),
    };
    format!(
        "shard {shard}: whole; {segments} segments, {sessions} sessions that are owed {owed} messages, \
         {retained} retained{cut}"
    )
}

/// Prints every record, one JSON object a line, those behind damage included.
pub(super) fn inspect(directory: &Path) -> ExitCode {
    let folders = match recovery::logs(directory) {
        Ok(folders) => folders,
        Err(error) => return fail(&error.into()),
    };
    for (shard, (folder, segment_bytes)) in folders.into_iter().enumerate() {
        let print = |record: &crate::storage::RecordRef<'_>| {
            let says = crate::shard::describe(record);
            let object = json!({
                "shard": shard,
                "sequence": record.sequence.0,
                "time_micros": record.time_micros,
                "kind": record.kind.0,
                "bytes": record.payload.len(),
                "says": says,
            });
            say(&object.to_string());
        };
        match recovery::visit(&folder, shard, segment_bytes, print) {
            Ok(damage) => {
                for damage in damage {
                    say(&json!({ "shard": shard, "damage": damage.to_string() }).to_string());
                }
            }
            Err(error) => return fail(&error),
        }
    }
    ExitCode::SUCCESS
}

fn say(line: &str) {
    // Whoever closed the pipe has seen enough.
    let _ = writeln!(io::stdout(), "{line}");
}

fn fail(error: &RecoveryError) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(RUN_FAILED)
}

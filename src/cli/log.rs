//! `hawker log` and `hawker import`: what a data directory keeps, read, mended, carried elsewhere.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::RUN_FAILED;
use crate::backup::{self, ImportError};
use crate::runtime::clock::Clock;
use crate::runtime::recovery::{self, Past, RecoveryError};
use crate::storage::OnDamage;

/// Says of each shard whether its log is whole, and what it holds.
pub(super) fn verify(directory: &Path) -> ExitCode {
    let folders = match recovery::logs(directory) {
        Ok(folders) => folders,
        Err(error) => return fail(&RecoveryError::from(error)),
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
        Err(error) => return fail(&RecoveryError::from(error)),
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

/// Prints everything that is kept as JSON lines.
pub(super) fn export(directory: &Path) -> ExitCode {
    // Held until all is read: no broker starts on the directory meanwhile.
    let (_directory, pasts) = match recovery::read(directory) {
        Ok(read) => read,
        Err(error) => return fail(&error),
    };
    match backup::export(&pasts, &mut BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("cannot write: {error}")),
    }
}

/// Reads an export, or what Mosquitto kept, into a new data directory.
pub(super) fn import(file: Option<&Path>, mosquitto: bool, directory: &Path) -> ExitCode {
    let now = Clock::start().now();
    let file = file.filter(|file| *file != Path::new("-"));
    let imported = match file {
        Some(file) if mosquitto => std::fs::read(file)
            .map_err(ImportError::Read)
            .and_then(|db| backup::mosquitto::import(&db, directory, now)),
        Some(file) => File::open(file)
            .map_err(ImportError::Read)
            .and_then(|file| backup::import(BufReader::new(file), directory, now)),
        None => backup::import(io::stdin().lock(), directory, now),
    };
    let from = file.map_or("standard input".into(), |file| file.display().to_string());
    match imported {
        Ok(imported) => {
            say(&format!("{from}: {imported} are in {} now", directory.display()));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format_args!("{from}: {error}")),
    }
}

/// Takes damage out of a data directory.
pub(super) fn salvage(directory: &Path) -> ExitCode {
    match recovery::salvage(directory) {
        Ok(Some(report)) => report.iter().for_each(|line| say(line)),
        Ok(None) => say("nothing is damaged"),
        Err(error) => return fail(&error),
    }
    ExitCode::SUCCESS
}

fn say(line: &str) {
    // Whoever closed the pipe has seen enough.
    let _ = writeln!(io::stdout(), "{line}");
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(RUN_FAILED)
}

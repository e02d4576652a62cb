//! What this process may have: locked memory and open files, and who may look into it.

use rustix::io::Result;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};

use super::{Finding, in_words};

const LOCKED_MEMORY: &str = "locked memory";
const OPEN_FILES: &str = "open files";

/// glommio makes no executor below this.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// What one shard pins: glommio's 64 KiB of file buffers in each of its three rings. Rings and
/// rings of buffers themselves are not counted against this limit.
const LOCKED_BYTES_PER_SHARD: u64 = 3 * (64 << 10);

/// Descriptors beside connections: rings, eventfds and listeners of a shard, and the process's own.
const FILES_PER_SHARD: u64 = 32;
const FILES_PER_PROCESS: u64 = 64;
/// Connections below which a limit is worth a warning.
const CONNECTIONS_WANTED: u64 = 60_000;

/// Raises both limits as far as they can be raised without privileges.
pub fn raise() -> std::io::Result<()> {
    for resource in [Resource::Memlock, Resource::Nofile] {
        raise_one(resource)?;
    }
    Ok(())
}

fn raise_one(resource: Resource) -> Result<()> {
    let limit = getrlimit(resource);
    if limit.current == limit.maximum {
        return Ok(());
    }
    setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum })
}

/// Keeps the memory of this process, passwords and keys among it, out of core dumps and from other
/// processes of its user; root can still look.
pub fn seal() -> std::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Connections that the limit of open files leaves room for; absent if there is no limit.
pub fn connections_max(shards: usize) -> Option<u64> {
    Some(getrlimit(Resource::Nofile).current?.saturating_sub(own_files(shards)))
}

/// The number that connections' descriptors stay below, so that there are some left for files, those
/// of the log first of all; absent if there is no limit.
pub fn connections_end(shards: usize) -> Option<u64> {
    Some(getrlimit(Resource::Nofile).current?.saturating_sub(own_files(shards) / 2))
}

/// Descriptors that the broker needs for itself.
fn own_files(shards: usize) -> u64 {
    FILES_PER_PROCESS + shards as u64 * FILES_PER_SHARD
}

pub(super) fn locked_memory(shards: usize) -> Finding {
    judge_locked(getrlimit(Resource::Memlock).maximum, shards)
}

pub(super) fn open_files(shards: usize) -> Finding {
    judge_files(getrlimit(Resource::Nofile).maximum, shards)
}

/// `limit` is the hard one, `None` for no limit: the soft one is raised to it at the start.
fn judge_locked(limit: Option<u64>, shards: usize) -> Finding {
    let wanted = LOCKED_BYTES_MIN.max(shards as u64 * LOCKED_BYTES_PER_SHARD);
    let mend = format!(
        "sudo prlimit --pid $$ --memlock={bytes}:{bytes} for this shell; systemd: \
         LimitMEMLOCK=infinity; docker run --ulimit memlock=-1",
        bytes = wanted.next_power_of_two().max(8 << 20)
    );
    match limit {
        None => Finding::ok(LOCKED_MEMORY, "no limit".to_owned()),
        Some(limit) if limit < LOCKED_BYTES_MIN => {
            let (limit, min) = (in_words(limit), in_words(LOCKED_BYTES_MIN));
            Finding::problem(LOCKED_MEMORY, format!("{limit}; executors want {min}"), mend)
        }
        Some(limit) if limit < wanted => {
            let (limit, wanted) = (in_words(limit), in_words(wanted));
            let what =
                format!("{limit}; {shards} shards would pin {wanted}, and read files slower");
            Finding::warning(LOCKED_MEMORY, what, mend)
        }
        Some(limit) => Finding::ok(LOCKED_MEMORY, in_words(limit)),
    }
}

/// `limit` is the hard one, `None` for no limit: the soft one is raised to it at the start.
fn judge_files(limit: Option<u64>, shards: usize) -> Finding {
    let ours = own_files(shards);
    let mend = "sudo prlimit --pid $$ --nofile=1048576:1048576 for this shell; systemd: \
                LimitNOFILE=1048576; docker run --ulimit nofile=1048576:1048576"
        .to_owned();
    let Some(limit) = limit else { return Finding::ok(OPEN_FILES, "no limit".to_owned()) };
    match limit.saturating_sub(ours) {
        0 => {
            let what = format!("{limit} are too few: {shards} shards need {ours} for themselves");
            Finding::problem(OPEN_FILES, what, mend)
        }
        connections if connections < CONNECTIONS_WANTED => {
            let what = format!("{limit}: room for about {connections} connections");
            Finding::warning(OPEN_FILES, what, mend)
        }
        connections => {
            Finding::ok(OPEN_FILES, format!("{limit}: room for about {connections} connections"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn locked_memory_must_do_for_an_executor_and_should_for_every_shard() {
        let verdict = |limit, shards| judge_locked(limit, shards).verdict;
        assert_eq!(verdict(Some(64 << 10), 1), Verdict::Problem, "the default before 5.16");
        assert_eq!(verdict(Some(512 << 10), 1), Verdict::Ok);
        assert_eq!(verdict(Some(8 << 20), 42), Verdict::Ok, "the default since");
        assert_eq!(verdict(Some(8 << 20), 64), Verdict::Warning);
        assert_eq!(verdict(None, 64), Verdict::Ok);
    }

    #[test]
    fn the_remedy_for_locked_memory_is_enough() {
        let mend = judge_locked(Some(0), 64).mend.expect("a remedy");
        assert!(mend.contains("--memlock=16777216:16777216"), "{mend}");
    }

    #[test]
    fn open_files_bound_the_connections() {
        let verdict = |limit, shards| judge_files(limit, shards).verdict;
        assert_eq!(verdict(Some(96), 1), Verdict::Problem);
        assert_eq!(verdict(Some(1024), 1), Verdict::Warning);
        assert_eq!(verdict(Some(1024), 64), Verdict::Problem);
        assert_eq!(verdict(Some(1 << 20), 64), Verdict::Ok);
        assert_eq!(verdict(None, 64), Verdict::Ok);
        assert_eq!(judge_files(Some(4096), 2).what, "4096: room for about 3968 connections");
    }

    #[test]
    fn raising_a_limit_leaves_none_below_its_bound() {
        raise().expect("a soft limit can always be raised to the hard one");
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}

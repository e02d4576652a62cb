//! Facts about the machine and its kernel, and what they mean for the broker.
//!
//! `hawker doctor` prints what [`check`] finds, and `hawker run` refuses where it finds a
//! [`Verdict::Problem`]. Each file here reads the facts of one noun in one function and judges
//! them in another that is given them, so that the judgements can be tested on any machine.
//! `notify` is the other direction, what the broker says to whoever started it, and `file` how a file
//! is replaced whole.
//! Nothing here is for a shard: it reads files and asks resolvers.

mod cgroup;
mod clock;
mod cpu;
mod disk;
mod exposure;
mod file;
mod kernel;
mod limit;
mod memory;
mod network;
mod notify;
mod process;
mod ring;
mod signal;

use std::path::Path;

use crate::config::Config;

pub use cpu::usable_cpus;
pub use file::replace as replace_file;
pub use limit::{connections_end, connections_max, raise as raise_limits, seal};
pub(crate) use network::{interface_mend, patiently};
pub use notify::ServiceManager;
pub use process::Usage;
pub use signal::expect_file_faults;

/// Something found out about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub subject: &'static str,
    /// What it means for the broker.
    pub verdict: Verdict,
    /// What was found and why it matters, in one line.
    pub what: String,
    /// What mends it: a command, where one command can.
    pub mend: Option<String>,
}

/// What a [`Finding`] means for the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing is to be done.
    Ok,
    /// The broker runs, and not as well as it could.
    Warning,
    /// The broker cannot run.
    Problem,
}

impl Finding {
    /// All is well.
    pub fn ok(subject: &'static str, what: String) -> Finding {
        Finding { subject, verdict: Verdict::Ok, what, mend: None }
    }

    /// It runs, and not as well as it could.
    pub fn warning(subject: &'static str, what: String, mend: String) -> Finding {
        Finding { subject, verdict: Verdict::Warning, what, mend: Some(mend) }
    }

    /// It cannot run.
    pub fn problem(subject: &'static str, what: String, mend: String) -> Finding {
        Finding { subject, verdict: Verdict::Problem, what, mend: Some(mend) }
    }
}

/// Everything there is to say about running `config` on this machine.
pub fn check(config: &Config) -> Vec<Finding> {
    let cpus = usable_cpus();
    let shards = shards(config, cpus.len());
    let mut findings = vec![
        kernel::version(),
        ring::works(),
        limit::locked_memory(shards),
        limit::open_files(shards),
        network::accept_queue(),
        network::handshake_queue(),
        cpu::affinity(config, &cpus, shards),
        cpu::quota(shards),
        memory::available(),
        memory::huge_pages(),
        clock::date(),
        clock::source(),
    ];
    findings.extend(disk::data_dir(&config.data_dir, config.durability));
    findings.extend(network::listeners(&config.listeners));
    findings.extend(exposure::findings(config));
    findings
}

/// What this machine calls itself.
pub fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How many shards the configuration means on a machine with so many usable CPUs.
pub fn shards(config: &Config, usable_cpus: usize) -> usize {
    let cpus = config.cpus.as_ref().map_or(usable_cpus, Vec::len);
    config.shards.unwrap_or(cpus).clamp(1, SHARDS_MAX)
}

/// The most shards a broker can have.
const SHARDS_MAX: usize = crate::shard::ShardId::COUNT_MAX;

/// A file the kernel makes up; `None` where this kernel, or container, has none.
fn kernel_file(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// In the unit that reads best.
fn in_words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let unit = (1..=4).rev().find(|power| bytes >> (10 * power) > 0);
    match unit {
        Some(power) => format!("{} {}", bytes >> (10 * power), UNITS[power - 1]),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_says_what_and_those_that_complain_say_how_to_mend_it() {
        for finding in check(&Config::default()) {
            assert!(!finding.what.is_empty(), "{finding:?}");
            assert_eq!(finding.mend.is_some(), finding.verdict != Verdict::Ok, "{finding:?}");
            assert!(!finding.what.contains('\n'), "{finding:?}");
        }
    }

    #[test]
    fn shards_follow_what_is_asked_for_then_the_cpus_named_then_the_machine() {
        let mut config = Config::default();
        assert_eq!(shards(&config, 6), 6);
        assert_eq!(shards(&config, 96), 64);
        config.cpus = Some(vec![0, 2]);
        assert_eq!(shards(&config, 6), 2);
        config.shards = Some(5);
        assert_eq!(shards(&config, 6), 5);
    }

    #[test]
    fn bytes_are_told_in_the_largest_whole_unit() {
        assert_eq!(in_words(1023), "1023 bytes");
        assert_eq!(in_words(1024), "1 KiB");
        assert_eq!(in_words(u64::MAX), "16777215 TiB");
    }
}

//! What a process costs: CPU time and resident memory, from /proc.

use std::fmt;
use std::fs;
use std::io;

/// A process that is watched: the broker, or the harness itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    directory: String,
}

/// What a process has used up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds in user mode, of all threads that are and were.
    pub user_s: f64,
    /// CPU seconds in the kernel, likewise.
    pub system_s: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
}

/// Why a process cannot be watched.
#[derive(Debug)]
pub enum ProcessError {
    /// /proc does not let it be read.
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// /proc has another format than this harness knows.
    Unparsable {
        /// The file.
        path: String,
    },
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(f, "{path}: {error}"),
            Self::Unparsable { path } => write!(f, "{path}: not in the format of proc(5)"),
        }
    }
}

impl std::error::Error for ProcessError {}

impl Process {
    /// The process with this number; it must exist.
    pub fn watch(pid: u32) -> Result<Self, ProcessError> {
        let process = Self { directory: format!("/proc/{pid}") };
        process.usage()?;
        Ok(process)
    }

    /// The harness.
    #[must_use]
    pub fn own() -> Self {
        Self { directory: "/proc/self".to_string() }
    }

    /// What it has used.
    pub fn usage(&self) -> Result<Usage, ProcessError> {
        let stat_path = format!("{}/stat", self.directory);
        let statm_path = format!("{}/statm", self.directory);
        let (user_ticks, system_ticks) =
            cpu_ticks(&read(&stat_path)?).ok_or(ProcessError::Unparsable { path: stat_path })?;
        let pages = resident_pages(&read(&statm_path)?)
            .ok_or(ProcessError::Unparsable { path: statm_path })?;
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Usage {
            user_s: user_ticks as f64 / ticks_per_second,
            system_s: system_ticks as f64 / ticks_per_second,
            resident_bytes: pages * rustix::param::page_size() as u64,
        })
    }

    /// Its command line, for the report.
    #[must_use]
    pub fn command_line(&self) -> Option<String> {
        let bytes = fs::read(format!("{}/cmdline", self.directory)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some(text.split('\0').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
    }
}

impl Usage {
    /// CPU seconds in both modes.
    #[must_use]
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

fn read(path: &str) -> Result<String, ProcessError> {
    fs::read_to_string(path)
        .map_err(|error| ProcessError::Unreadable { path: path.to_string(), error })
}

/// utime and stime of /proc/PID/stat. The name in parentheses may hold anything, so the fields
/// are counted from its last parenthesis.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some((user, system))
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 1 2 3 4 55 66 7 8 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some((55, 66)));
        assert_eq!(cpu_ticks("12 (a) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn resident_pages_are_the_second_number() {
        assert_eq!(resident_pages("900 321 4 5 0 6 0\n"), Some(321));
        assert_eq!(resident_pages("900"), None);
    }

    #[test]
    fn the_harness_itself_can_be_watched() {
        let usage = Process::own().usage().expect("readable");
        assert!(usage.resident_bytes > 0);
        assert!(Process::watch(u32::MAX).is_err());
    }
}

//! What this process uses, as the kernel tells it.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, getrlimit};

use super::kernel_file;

/// What this process uses now. What the kernel does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Bytes of memory that are in use.
    pub resident_bytes: Option<u64>,
    /// Bytes of address space.
    pub virtual_bytes: Option<u64>,
    /// Descriptors that are open.
    pub open_fds: Option<u64>,
    /// Descriptors that may be open; absent where there is no limit.
    pub max_fds: Option<u64>,
    /// Processor time of all threads, in seconds.
    pub cpu_seconds: Option<f64>,
    /// When it started, in seconds since 1970.
    pub started: Option<f64>,
}

impl Usage {
    /// Reads it.
    pub fn read() -> Usage {
        let status = kernel_file("/proc/self/status").unwrap_or_default();
        let stat = kernel_file("/proc/self/stat").unwrap_or_default();
        let system = kernel_file("/proc/stat").unwrap_or_default();
        Usage {
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::Nofile).current,
            cpu_seconds: ticks(&stat, CPU_USER).zip(ticks(&stat, CPU_KERNEL)).map(|(a, b)| a + b),
            started: ticks(&stat, STARTED).zip(booted(&system)).map(|(since, at)| at + since),
        }
    }
}

/// Places in `/proc/PID/stat`, counted from the state, which is the first after the name.
const CPU_USER: usize = 11;
const CPU_KERNEL: usize = 12;
const STARTED: usize = 19;

/// A field of `/proc/PID/stat` that counts ticks, in seconds.
fn ticks(stat: &str, place: usize) -> Option<f64> {
    // The name may hold spaces and parentheses of its own.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').nth(place)?.parse().ok()?;
    Some(ticks as f64 / clock_ticks_per_second() as f64)
}

/// When the machine was booted, in seconds since 1970.
fn booted(system: &str) -> Option<f64> {
    system.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(count << 10)
}

/// The kernel counts them since 6.2; before, the size of the folder is 0.
fn open_fds() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // One of them reads the folder.
        0 => (fs::read_dir(FOLDER).ok()?.count() as u64).checked_sub(1),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_of_everything() {
        let before = Usage::read();
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/proc/self/stat")).collect();
        let usage = Usage::read();
        assert!(usage.resident_bytes > Some(1 << 20), "{usage:?}");
        assert!(usage.virtual_bytes > usage.resident_bytes, "{usage:?}");
        assert!(usage.open_fds >= before.open_fds.map(|count| count + 8), "{usage:?}");
        assert!(usage.open_fds <= usage.max_fds, "{usage:?}");
        assert!(usage.cpu_seconds >= before.cpu_seconds, "{usage:?}");
        // After this was written, and before the next century.
        assert!((1.7e9..4.1e9).contains(&usage.started.unwrap_or_default()), "{usage:?}");
        drop(files);
    }

    #[test]
    fn a_name_may_hold_what_separates_fields() {
        let stat = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 200 300 0 0 20 0 5 0 1000 9";
        let ticks =
            |place| ticks(stat, place).map(|seconds| seconds * clock_ticks_per_second() as f64);
        assert_eq!((ticks(CPU_USER), ticks(CPU_KERNEL)), (Some(200.0), Some(300.0)));
        assert_eq!(ticks(STARTED), Some(1000.0));
    }
}

//! How much memory there is, and in which pages it comes.

use super::{Finding, cgroup, in_words, kernel_file};

const SUBJECT: &str = "memory";

/// Below this a few thousand clients with queues are too many.
const BYTES_WANTED: u64 = 256 << 20;

pub(super) fn available() -> Finding {
    let files = cgroup::contents("memory", "memory.max", "memory.limit_in_bytes");
    // Version 1 writes "no limit" as a number just below 2^63.
    let limits = files.iter().filter_map(|file| file.text.parse::<u64>().ok());
    let limit = limits.filter(|limit| *limit < 1 << 60).min();
    let info = kernel_file("/proc/meminfo").unwrap_or_default();
    judge(limit, field(&info, "MemAvailable:"))
}

/// A line of `/proc/meminfo`, in bytes.
fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn judge(limit: Option<u64>, available: Option<u64>) -> Finding {
    let limited = limit.map(|limit| format!(", limited to {}", in_words(limit)));
    let free = available.map_or("unknown".to_owned(), in_words);
    let what = format!("{free} available{}", limited.unwrap_or_default());
    let usable = limit.into_iter().chain(available).min();
    if usable.is_none_or(|usable| usable >= BYTES_WANTED) {
        return Finding::ok(SUBJECT, what);
    }
    let what = format!("{what}: the kernel ends the broker where that is used up");
    let mend = "docker run --memory 1g, systemd: MemoryMax=1G; or lower mqtt.sessions_max, \
                mqtt.queue_bytes_max and mqtt.retained_bytes_max";
    Finding::warning(SUBJECT, what, mend.to_owned())
}

pub(super) fn huge_pages() -> Finding {
    judge_pages(kernel_file("/sys/kernel/mm/transparent_hugepage/enabled").as_deref())
}

/// `always [madvise] never`: the one in brackets holds.
fn judge_pages(setting: Option<&str>) -> Finding {
    const SUBJECT: &str = "huge pages";
    let chosen = setting.and_then(|text| text.split_once('[')?.1.split_once(']'));
    match chosen.map(|(chosen, _)| chosen) {
        Some("always") => Finding::warning(
            SUBJECT,
            "transparent huge pages are always on: many small tables take more memory than they \
             hold, and making a page room can take milliseconds"
                .to_owned(),
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
        ),
        Some(other) => Finding::ok(SUBJECT, format!("transparent huge pages: {other}")),
        None => Finding::ok(SUBJECT, "this kernel has no transparent ones".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn the_smaller_of_limit_and_memory_counts() {
        let verdict = |limit, available| judge(limit, available).verdict;
        assert_eq!(verdict(None, Some(8 << 30)), Verdict::Ok);
        assert_eq!(verdict(Some(64 << 20), Some(8 << 30)), Verdict::Warning);
        assert_eq!(verdict(Some(8 << 30), Some(64 << 20)), Verdict::Warning);
        assert_eq!(verdict(None, None), Verdict::Ok);
    }

    #[test]
    fn the_kernels_table_is_read() {
        let info = "MemTotal:       49368188 kB\nMemAvailable:   47000000 kB\n";
        assert_eq!(field(info, "MemAvailable:"), Some(47_000_000 * 1024));
        assert_eq!(field(info, "MemFree:"), None);
        assert_eq!(field("MemAvailable: lots", "MemAvailable:"), None);
    }

    #[test]
    fn the_setting_in_brackets_is_the_one_that_holds() {
        assert_eq!(judge_pages(Some("[always] madvise never")).verdict, Verdict::Warning);
        assert_eq!(judge_pages(Some("always [madvise] never")).verdict, Verdict::Ok);
        assert_eq!(judge_pages(Some("")).verdict, Verdict::Ok);
        assert_eq!(judge_pages(None).verdict, Verdict::Ok);
    }
}

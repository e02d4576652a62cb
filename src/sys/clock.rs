//! Whether the clock can be believed, and what it costs to ask.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Finding, kernel_file};

/// 2025-01-01: earlier than any build of this, so no clock that is right shows less.
const DATE_MIN_S: u64 = 1_735_689_600;
/// 2100-01-01: certificates and expiries end before.
const DATE_MAX_S: u64 = 4_102_444_800;

pub(super) fn date() -> Finding {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    judge_date(since_epoch.map_or(0, |time| time.as_secs()))
}

fn judge_date(seconds: u64) -> Finding {
    const SUBJECT: &str = "clock";
    let year = 1970 + seconds / 31_556_952;
    if (DATE_MIN_S..DATE_MAX_S).contains(&seconds) {
        return Finding::ok(SUBJECT, format!("it says {year}"));
    }
    let what =
        format!("it says {year}: message and session expiry that outlive a restart go wrong");
    Finding::warning(SUBJECT, what, "sudo timedatectl set-ntp true".to_owned())
}

pub(super) fn source() -> Finding {
    let folder = "/sys/devices/system/clocksource/clocksource0/";
    let read = |name: &str| kernel_file(format!("{folder}{name}"));
    let current = read("current_clocksource");
    judge_source(current.as_deref(), &read("available_clocksource").unwrap_or_default())
}

/// Clocks that are read without a system call.
const FAST: [&str; 7] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "riscv_clocksource",
    "timebase",
    "tod",
];

fn judge_source(current: Option<&str>, available: &str) -> Finding {
    const SUBJECT: &str = "clock source";
    let Some(current) = current else {
        return Finding::ok(SUBJECT, "cannot be read here".to_owned());
    };
    if FAST.contains(&current) {
        return Finding::ok(SUBJECT, current.to_owned());
    }
    let what = format!("{current}: each look at the clock is a system call");
    let better = available.split_whitespace().find(|name| FAST.contains(name));
    let mend = match better {
        Some(better) => format!(
            "echo {better} | sudo tee \
             /sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        None => "this machine offers no better one; another kind of virtual machine may".to_owned(),
    };
    Finding::warning(SUBJECT, what, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn a_date_from_before_this_was_written_is_wrong() {
        assert_eq!(judge_date(0).verdict, Verdict::Warning);
        assert_eq!(judge_date(DATE_MIN_S), Finding::ok("clock", "it says 2025".to_owned()));
        assert_eq!(judge_date(DATE_MAX_S).verdict, Verdict::Warning);
        assert_eq!(judge_date(u64::MAX).verdict, Verdict::Warning);
    }

    #[test]
    fn a_slow_clock_is_exchanged_for_a_fast_one_if_there_is_one() {
        assert_eq!(judge_source(Some("tsc"), "tsc hpet").verdict, Verdict::Ok);
        assert_eq!(judge_source(None, "").verdict, Verdict::Ok);
        let mend = judge_source(Some("hpet"), "hpet tsc acpi_pm").mend.expect("a remedy");
        assert!(mend.starts_with("echo tsc |"), "{mend}");
        assert_eq!(judge_source(Some("xen"), "xen").verdict, Verdict::Warning);
    }
}

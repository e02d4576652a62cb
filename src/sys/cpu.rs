//! Which CPUs this process may use, and how much of them.

use rustix::thread::{CpuSet, sched_getaffinity};

use super::{Finding, cgroup, kernel_file};
use crate::config::Config;

const SUBJECT: &str = "CPUs";

/// The CPUs this thread may run on, in order; those of `taskset` and of a container's cpuset.
pub fn usable_cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    // A machine with more CPUs than the set can hold still has its first one.
    if cpus.is_empty() { vec![0] } else { cpus }
}

pub(super) fn affinity(config: &Config, usable: &[usize], shards: usize) -> Finding {
    judge_affinity(config.cpus.as_deref(), usable, shards)
}

fn judge_affinity(asked: Option<&[usize]>, usable: &[usize], shards: usize) -> Finding {
    let missing: Vec<&usize> =
        asked.unwrap_or_default().iter().filter(|cpu| !usable.contains(cpu)).collect();
    let cpus = asked.map_or(usable.len(), <[usize]>::len);
    if !missing.is_empty() {
        let what = format!("this process may not use {missing:?} of those that cpus names");
        let mend = format!("name some of {usable:?}, or start with a wider taskset or cpuset");
        return Finding::problem(SUBJECT, what, mend);
    }
    if shards > cpus {
        let what = format!("{shards} shards share {cpus} CPUs, which is slow");
        return Finding::warning(SUBJECT, what, format!("--shards {cpus}"));
    }
    Finding::ok(SUBJECT, format!("{} usable, {shards} shards", usable.len()))
}

pub(super) fn quota(shards: usize) -> Finding {
    let v2 = cgroup::contents("cpu", "cpu.max", "cpu.cfs_quota_us");
    let hundredths = v2.iter().filter_map(|file| {
        let period = kernel_file(file.path.with_file_name("cpu.cfs_period_us"));
        hundredths(&file.text, period.as_deref())
    });
    judge_quota(hundredths.min(), shards)
}

/// Hundredths of a CPU: from `cpu.max` (`"150000 100000"` or `"max 100000"`), or from the quota
/// of version 1 (-1 for none) and its period.
fn hundredths(quota: &str, period: Option<&str>) -> Option<u64> {
    let alone = || period.map(|period| (quota, period));
    let (quota, period) = quota.split_once(' ').or_else(alone)?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(100)?.checked_div(period)
}

fn judge_quota(hundredths: Option<u64>, shards: usize) -> Finding {
    let Some(hundredths) = hundredths else {
        return Finding::ok("CPU quota", "none".to_owned());
    };
    let quota = format!("{}.{:02} CPUs", hundredths / 100, hundredths % 100);
    if hundredths >= shards as u64 * 100 {
        return Finding::ok("CPU quota", quota);
    }
    let what =
        format!("{quota} for {shards} shards: the kernel stops them for the rest of a period");
    let fitting = (hundredths / 100).max(1);
    let mend = format!("--shards {fitting}, or docker run --cpus {shards}");
    Finding::warning("CPU quota", what, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn this_process_may_use_some_cpu() {
        assert!(!usable_cpus().is_empty());
    }

    #[test]
    fn a_cpu_out_of_reach_is_a_problem_and_too_few_are_slow() {
        let verdict =
            |asked: Option<&[usize]>, shards| judge_affinity(asked, &[0, 2], shards).verdict;
        assert_eq!(verdict(None, 2), Verdict::Ok);
        assert_eq!(verdict(None, 3), Verdict::Warning);
        assert_eq!(verdict(Some(&[2]), 1), Verdict::Ok);
        assert_eq!(verdict(Some(&[2]), 2), Verdict::Warning);
        assert_eq!(verdict(Some(&[1]), 1), Verdict::Problem);
    }

    #[test]
    fn quotas_of_both_versions_are_read() {
        assert_eq!(hundredths("150000 100000", None), Some(150));
        assert_eq!(hundredths("max 100000", None), None);
        assert_eq!(hundredths("50000", Some("100000")), Some(50));
        assert_eq!(hundredths("-1", Some("100000")), None);
        assert_eq!(hundredths("1 0", None), None);
        assert_eq!(hundredths("", None), None);
    }

    #[test]
    fn a_quota_below_the_shards_is_worth_a_warning() {
        assert_eq!(judge_quota(None, 8).verdict, Verdict::Ok);
        assert_eq!(judge_quota(Some(800), 8).verdict, Verdict::Ok);
        let finding = judge_quota(Some(150), 4);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.what.starts_with("1.50 CPUs for 4 shards"), "{}", finding.what);
        assert_eq!(finding.mend.as_deref(), Some("--shards 1, or docker run --cpus 4"));
    }
}

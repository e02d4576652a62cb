//! Limits of the control groups around this process.

use std::path::{Path, PathBuf};

use super::kernel_file;

/// A limit's files from this process's group up to the root, those that exist: `v2` in the one
/// hierarchy of version 2, `v1` in that of a version 1 controller.
pub(super) fn contents(controller: &str, v2: &str, v1: &str) -> Vec<PathAndText> {
    let groups = kernel_file("/proc/self/cgroup").unwrap_or_default();
    let candidates = candidates(&groups, controller, v2, v1);
    let read = |path: PathBuf| kernel_file(&path).map(|text| PathAndText { path, text });
    candidates.into_iter().filter_map(read).collect()
}

/// One of these files.
pub(super) struct PathAndText {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Where the files would be, by the lines of `/proc/self/cgroup`: `number:controllers:path`.
fn candidates(groups: &str, controller: &str, v2: &str, v1: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => (PathBuf::from("/sys/fs/cgroup"), v2),
            list if list.split(',').any(|name| name == controller) => {
                (Path::new("/sys/fs/cgroup").join(list), v1)
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        found.extend(group.ancestors().map(|group| root.join(group).join(file)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: &str) -> Vec<String> {
        let paths = candidates(groups, "cpu", "cpu.max", "cpu.cfs_quota_us");
        paths.into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_group_of_version_2_is_looked_at_with_all_above_it() {
        assert_eq!(
            names("0::/system.slice/hawker.service"),
            [
                "/sys/fs/cgroup/system.slice/hawker.service/cpu.max",
                "/sys/fs/cgroup/system.slice/cpu.max",
                "/sys/fs/cgroup/cpu.max",
            ]
        );
        assert_eq!(names("0::/"), ["/sys/fs/cgroup/cpu.max"]);
    }

    #[test]
    fn a_group_of_version_1_is_looked_at_in_its_controllers_hierarchy() {
        assert_eq!(
            names("4:memory:/a\n1:cpu,cpuacct:/docker/x"),
            [
                "/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us",
                "/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
            ]
        );
        assert!(names("nonsense").is_empty());
    }
}

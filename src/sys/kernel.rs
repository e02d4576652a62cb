//! The kernel's version.

use super::Finding;

const SUBJECT: &str = "kernel";

/// The first with everything the rings need: `IORING_SETUP_DEFER_TASKRUN` came last.
const VERSION_MIN: (u32, u32) = (6, 1);

pub(super) fn version() -> Finding {
    judge(&rustix::system::uname().release().to_string_lossy())
}

fn judge(release: &str) -> Finding {
    let mend = "boot a kernel of 6.1 or newer; in a container it is the host's. On Debian and \
                Ubuntu: sudo apt full-upgrade && sudo reboot"
        .to_owned();
    match parse(release) {
        Some(version) if version >= VERSION_MIN => Finding::ok(SUBJECT, release.to_owned()),
        Some(_) => Finding::problem(SUBJECT, format!("{release} is older than 6.1"), mend),
        None => Finding::warning(SUBJECT, format!("cannot tell the age of {release:?}"), mend),
    }
}

/// `6.12.3-amd64` and its like: the first two numbers.
fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn kernels_since_6_1_will_do() {
        let verdict = |release| judge(release).verdict;
        for good in ["6.1.0-18-amd64", "6.12.3", "6.18.44-fc-v657", "10.0-rc1", "6.1+"] {
            assert_eq!(verdict(good), Verdict::Ok, "{good}");
        }
        for old in ["6.0.19", "5.15.0-91-generic", "4.18.0-553.el8.x86_64", "3.10"] {
            assert_eq!(verdict(old), Verdict::Problem, "{old}");
        }
        for odd in ["", "six", "6", "99999999999.1"] {
            assert_eq!(verdict(odd), Verdict::Warning, "{odd}");
        }
    }
}

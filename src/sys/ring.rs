//! Whether io_uring really works: the rings a shard needs are made and used once.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;

use io_uring::{IoUring, opcode};

use super::{Finding, kernel_file};

const SUBJECT: &str = "io_uring";

/// What can go wrong, told apart by what mends it.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The kernel has no io_uring, or a filter says so (ENOSYS).
    Absent { seccomp: bool },
    /// Someone forbids it (EPERM, EACCES).
    Forbidden { sysctl: Option<String>, seccomp: bool },
    /// The kernel does not know what we ask for (EINVAL).
    Outdated,
    /// No memory may be pinned for it (ENOMEM).
    Memory,
    /// The ring was made and does not turn.
    Broken(String),
}

pub(super) fn works() -> Finding {
    judge(turn().err().map(|error| fault(&error)))
}

/// Makes a ring as a shard does, sends one NOP round it and registers a ring of buffers.
fn turn() -> io::Result<()> {
    let mut ring: IoUring =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(RING_ENTRIES)?;
    let nop = opcode::Nop::new().build().user_data(NOP_TAG);
    // SAFETY: a NOP refers to no memory.
    unsafe { ring.submission().push(&nop) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let completion = ring.completion().next();
    let completion = completion.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    if completion.user_data() != NOP_TAG || completion.result() != 0 {
        return Err(io::Error::other(format!("a NOP came back as {completion:?}")));
    }
    register_buffers(&ring)
}

const RING_ENTRIES: u32 = 8;
const NOP_TAG: u64 = 0x6861_776b_6572;

/// Room for a ring of 256 buffers of 16 bytes each, on a page as the kernel wants it.
const BUFFER_RING: Layout = match Layout::from_size_align(4096, 4096) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};
const BUFFER_RING_ENTRIES: u16 = 256;

fn register_buffers(ring: &IoUring) -> io::Result<()> {
    // SAFETY: the layout's size is not zero.
    let memory = unsafe { alloc_zeroed(BUFFER_RING) };
    if memory.is_null() {
        handle_alloc_error(BUFFER_RING);
    }
    // SAFETY: the memory has the size and alignment of 256 entries and outlives the registration,
    // which ends right below, or never began.
    let registered = unsafe {
        ring.submitter().register_buf_ring_with_flags(memory as u64, BUFFER_RING_ENTRIES, 0, 0)
    };
    let result = registered.and_then(|()| ring.submitter().unregister_buf_ring(0));
    // SAFETY: allocated above with this layout; the kernel has pinned the page itself, if it still
    // knows it, and nothing of ours refers to it.
    unsafe { dealloc(memory, BUFFER_RING) };
    result
}

fn fault(error: &io::Error) -> Fault {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Fault::Absent { seccomp: is_filtered() },
        Some(libc::EPERM | libc::EACCES) => Fault::Forbidden {
            sysctl: kernel_file("/proc/sys/kernel/io_uring_disabled"),
            seccomp: is_filtered(),
        },
        Some(libc::EINVAL) => Fault::Outdated,
        Some(libc::ENOMEM) => Fault::Memory,
        _ => Fault::Broken(error.to_string()),
    }
}

/// Whether a seccomp filter holds for this thread.
fn is_filtered() -> bool {
    kernel_file("/proc/thread-self/status").is_some_and(|status| filtered(&status))
}

/// Whether a seccomp filter holds for the thread of this `/proc/PID/status`.
fn filtered(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

fn judge(fault: Option<Fault>) -> Finding {
    let problem =
        |what: &str, mend: &str| Finding::problem(SUBJECT, what.to_owned(), mend.to_owned());
    let by_sysctl =
        matches!(&fault, Some(Fault::Forbidden { sysctl: Some(level), .. }) if level != "0");
    match fault {
        None => Finding::ok(SUBJECT, "rings turn, and take rings of buffers".to_owned()),
        // Docker's filter answers EPERM, that of Podman ENOSYS.
        Some(Fault::Absent { seccomp: true } | Fault::Forbidden { seccomp: true, .. })
            if !by_sysctl =>
        {
            problem(
                "a seccomp filter forbids it: container runtimes do so by default",
                "docker run --security-opt seccomp=unconfined, or with a profile that allows \
                 io_uring_setup, io_uring_enter and io_uring_register; in a systemd unit: \
                 SystemCallFilter=@io-uring",
            )
        }
        Some(Fault::Absent { .. }) => problem(
            "this kernel has none (ENOSYS): built without CONFIG_IO_URING, or a sandbox such as \
             gVisor",
            "boot a distribution's kernel of 6.1 or newer; in a sandbox, use another runtime: \
             docker run --runtime runc",
        ),
        Some(Fault::Forbidden { sysctl: Some(level), .. }) if by_sysctl => problem(
            &format!(
                "kernel.io_uring_disabled is {level}: {}",
                match level.as_str() {
                    "1" => "only a privileged group may use it",
                    _ => "nobody may use it",
                }
            ),
            "sudo sysctl -w kernel.io_uring_disabled=0",
        ),
        Some(Fault::Forbidden { .. }) => problem(
            "it is forbidden (EPERM) by a security module",
            "sudo ausearch -m avc -ts recent shows SELinux's reason, sudo dmesg AppArmor's",
        ),
        Some(Fault::Outdated) => problem(
            "the kernel does not know SINGLE_ISSUER and DEFER_TASKRUN (EINVAL), which came with \
             6.1",
            "boot a kernel of 6.1 or newer",
        ),
        Some(Fault::Memory) => problem(
            "the kernel gives no memory for a ring (ENOMEM)",
            "raise the memory limit of the container, and for this shell the locked memory: sudo \
             prlimit --pid $$ --memlock=67108864:67108864",
        ),
        Some(Fault::Broken(error)) => {
            problem(&format!("a ring was made and does not turn: {error}"), "boot another kernel")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_who_forbids_it() {
        let mend = |sysctl: Option<&str>, seccomp| {
            let sysctl = sysctl.map(str::to_owned);
            judge(Some(Fault::Forbidden { sysctl, seccomp })).mend.expect("a remedy")
        };
        assert!(mend(Some("2"), true).contains("sysctl"));
        assert!(mend(Some("1"), false).contains("sysctl"));
        assert!(mend(Some("0"), true).contains("seccomp"));
        assert!(mend(None, true).contains("seccomp"));
        assert!(mend(Some("0"), false).contains("SELinux"));
    }

    #[test]
    fn errors_are_told_apart() {
        let of = |code| fault(&io::Error::from_raw_os_error(code));
        assert!(matches!(of(libc::ENOSYS), Fault::Absent { .. }));
        assert_eq!(of(libc::EINVAL), Fault::Outdated);
        assert_eq!(of(libc::ENOMEM), Fault::Memory);
        assert!(matches!(of(libc::EPERM), Fault::Forbidden { .. }));
        assert!(matches!(of(libc::EIO), Fault::Broken(_)));
    }

    #[test]
    fn a_filter_is_seen_in_the_status() {
        assert!(filtered("Name:\thawker\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!filtered("Name:\thawker\nSeccomp:\t0\nSeccomp_filters:\t0\n"));
        assert!(!filtered(""));
    }
    /// A container's filter, in one thread: io_uring_setup fails with `code`.
    fn works_behind_filter(code: i32) -> Finding {
        let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            libc::sock_filter {
                jf: 1,
                ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32)
            },
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | code as u32),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let thread = std::thread::spawn(move || {
            let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
            // SAFETY: takes numbers alone.
            let sealed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            // SAFETY: the kernel copies the program, which lives until the call returns.
            let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
            assert_eq!((sealed, set), (0, 0), "{}", io::Error::last_os_error());
            works()
        });
        thread.join().expect("the filter is set and the thread ends")
    }

    #[test]
    fn a_containers_filter_is_found_out_whatever_it_answers() {
        for code in [libc::EPERM, libc::ENOSYS] {
            let finding = works_behind_filter(code);
            assert!(finding.what.starts_with("a seccomp filter forbids it"), "{finding:?}");
        }
    }
}

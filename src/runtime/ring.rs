//! A shard's io_uring: what is submitted, what completed, how it sleeps.
//!
//! One `io_uring_enter` a turn submits everything the last turn asked for and takes what has
//! completed. The ring is made with `DEFER_TASKRUN`: the kernel works on completions only inside
//! that call, so nothing interrupts a turn, and a turn that does not wait must still enter with
//! `GETEVENTS` to be given what is ready.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

/// Entries of the submission queue; more submissions in one turn enter the ring early.
const SUBMISSIONS: u32 = 1024;

/// Entries of the completion queue; beyond them the kernel keeps completions back (`NODROP`).
const COMPLETIONS: u32 = 8192;

/// One shard's ring. Made and used on one thread.
pub(super) struct Ring {
    uring: IoUring,
    /// Calls of `io_uring_enter` so far.
    pub(super) enters: u64,
}

/// A completion, copied out of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: u64,
    /// A count, or a negated errno.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether a multishot operation goes on.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The buffer the kernel chose.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

impl Ring {
    /// A ring for the calling thread.
    pub(super) fn new() -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        Ok(Ring { uring, enters: 0 })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.uring.submitter()
    }

    /// Makes sure that so many operations that belong together are submitted together.
    pub(super) fn reserve(&mut self, count: usize) -> io::Result<()> {
        let submissions = self.uring.submission();
        if submissions.capacity() - submissions.len() >= count {
            return Ok(());
        }
        drop(submissions);
        self.enters += 1;
        self.uring.submit().map(drop)
    }

    /// Queues an operation for the next enter.
    ///
    /// # Safety
    ///
    /// Everything the operation points to stays valid and in place until it has completed.
    pub(super) unsafe fn push(&mut self, operation: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the caller keeps what the operation points to.
            if unsafe { self.uring.submission().push(operation) }.is_ok() {
                return Ok(());
            }
            self.enters += 1;
            self.uring.submit()?;
        }
    }

    /// Submits what was queued and takes what is ready; waits for something if `wait` says how
    /// long at most.
    pub(super) fn enter(&mut self, wait: Option<Wait>) -> io::Result<()> {
        let (want, timeout) = match wait {
            None => (0, None),
            Some(Wait::Forever) => (1, None),
            Some(Wait::AtMost(duration)) => (1, Some(Timespec::from(duration))),
        };
        let mut args = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            args = args.timespec(timeout);
        }
        if want == 0 && self.is_idle() {
            return Ok(());
        }
        self.enters += 1;
        match self.uring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            // The time is over; a signal came; completions wait to be taken first.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an enter that does not wait would change nothing.
    fn is_idle(&mut self) -> bool {
        let submissions = self.uring.submission();
        submissions.is_empty() && !submissions.taskrun() && !submissions.cq_overflow()
    }

    /// Moves what has completed into `completions`.
    pub(super) fn take(&mut self, completions: &mut impl Extend<Completion>) {
        completions.extend(self.uring.completion().map(|entry| Completion {
            token: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }
}

/// How long to sleep for something to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Forever,
    AtMost(Duration),
}

//! Signals that the kernel sends for a file: without this they end the process without a word.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::ptr;

/// What is said where a mapped file cannot be read.
const UNREADABLE: &str = "hawker: a file of the data directory was shortened, or its disk cannot be \
                          read (SIGBUS); nothing more is acknowledged and the process ends. Look at \
                          the disk (dmesg, smartctl) and who else writes to the data directory, then \
                          start again: that names the segment which is damaged, if one is\n";

/// Lets a write beyond the limit of a file's size fail (SIGXFSZ), and a mapped file that cannot be
/// read end the process with status 1 and a line on standard error (SIGBUS).
///
/// # Errors
///
/// If the kernel does not take it.
pub fn expect_file_faults() -> io::Result<()> {
    // SAFETY: all zeros is an action: the default one, with no flags and an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    take(libc::SIGXFSZ, &action)?;
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = unreadable;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    take(libc::SIGBUS, &action)
}

fn take(signal: libc::c_int, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action lives through the call, and its handler calls nothing but what signal
    // handlers may.
    match unsafe { libc::sigaction(signal, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn unreadable(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands over what it knows of the signal, as SA_SIGINFO asks.
    let code = unsafe { (*info).si_code };
    if code != libc::BUS_ADRERR {
        // Not for a file: what it would have done is done when this returns and it comes again.
        // SAFETY: takes numbers alone, and may be called here.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // SAFETY: the text is as long as it says; may be called here.
    unsafe { libc::write(libc::STDERR_FILENO, UNREADABLE.as_ptr().cast(), UNREADABLE.len()) };
    // SAFETY: takes a number, and may be called here.
    unsafe { libc::_exit(1) }
}

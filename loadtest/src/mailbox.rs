//! What reaches a worker from outside: commands of the conductor, and word from other workers that
//! its publishers got window back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::count::Gauge;
use crate::desk::Pacing;
use crate::poll::Waker;

/// What the conductor tells a worker to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Connect these slots at this rate; zero is as fast as possible.
    Connect {
        /// The clients.
        slots: Vec<u32>,
        /// New connections a second.
        per_second: f64,
    },
    /// Disconnect these slots, in good order or by a reset.
    Leave {
        /// The clients.
        slots: Vec<u32>,
        /// No DISCONNECT, no FIN: the broker must find out, and send the wills.
        is_abrupt: bool,
    },
    /// Dial again after failures and losses, or not.
    Redial(Option<Duration>),
    /// Publish at this pacing, up to a number of messages a stream in all.
    Publish {
        /// The pacing.
        pacing: Pacing,
        /// The number.
        limit: u64,
    },
    /// Announce presence and leave wills, from the next connection on, or not.
    Presence(bool),
    /// Connect only to end sessions, from the next connection on, or not.
    Clean(bool),
    /// Publish in an open loop, this worker's share of the whole rate.
    PublishAt {
        /// Messages a second of this worker.
        per_second: f64,
        /// When the first is due, on the run's clock.
        start_us: u64,
    },
    /// Start to record latencies anew, or stop.
    Measure(bool),
    /// Close everything and return the findings.
    Finish,
}

/// What the conductor and the other workers share with one worker.
#[derive(Debug)]
pub struct Mailbox {
    commands: Mutex<Vec<Command>>,
    kicks: Mutex<Vec<u32>>,
    is_full: AtomicBool,
    waker: Waker,
    /// The worker's counts, as of its last turn.
    pub gauge: Gauge,
    /// The first few reasons why connections ended.
    pub remarks: Mutex<Vec<String>>,
}

/// Reasons kept by each worker: enough to see what is wrong.
const REMARKS_MAX: usize = 5;

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            commands: Mutex::default(),
            kicks: Mutex::default(),
            is_full: AtomicBool::new(false),
            waker,
            gauge: Gauge::default(),
            remarks: Mutex::default(),
        }
    }

    /// Hands over a command.
    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.knock();
    }

    /// Hands over publishers that got window back, and empties `slots`.
    pub(crate) fn kick(&self, slots: &mut Vec<u32>) {
        self.kicks.lock().unwrap_or_else(PoisonError::into_inner).append(slots);
        self.knock();
    }

    /// Takes what has arrived: commands, and publishers to look at; nothing when nothing has.
    pub(crate) fn take(&self, kicks: &mut Vec<u32>) -> Vec<Command> {
        if !self.is_full.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        kicks.append(&mut self.kicks.lock().unwrap_or_else(PoisonError::into_inner));
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn knock(&self) {
        if !self.is_full.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    pub(crate) fn remark(&self, text: impl FnOnce() -> String) {
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if remarks.len() < REMARKS_MAX {
            remarks.push(text());
        }
    }
}

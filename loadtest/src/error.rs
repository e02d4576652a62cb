//! Why a run could not be done, or not to its end. What a broker does wrong is not an error but a
//! finding: see [`Faults`](crate::report::Faults).

use std::fmt;
use std::io;

use crate::broker::ProcessError;
use crate::count::{Count, Tally};

/// Why a run could not be done.
#[derive(Debug)]
pub enum RunError {
    /// The descriptor limit is too low for this many connections.
    TooFewDescriptors {
        /// Descriptors needed.
        needed: usize,
        /// Descriptors allowed.
        allowed: u64,
    },
    /// The system refused something the harness needs.
    System(io::Error),
    /// The broker's process cannot be watched.
    Broker(ProcessError),
    /// A stage made no progress for too long, or clients were refused.
    Stuck {
        /// The stage.
        stage: &'static str,
        /// The counts then.
        tally: Box<Tally>,
        /// What connections said.
        remarks: Vec<String>,
    },
    /// A worker panicked.
    WorkerLost,
    /// A command given for the scenario failed.
    CommandFailed(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewDescriptors { needed, allowed } => {
                write!(f, "{needed} file descriptors are needed, the limit is {allowed}; ")?;
                write!(f, "raise it (ulimit -n) or use fewer clients")
            }
            Self::System(error) => write!(f, "{error}"),
            Self::Broker(error) => write!(f, "broker process: {error}"),
            Self::Stuck { stage, tally, remarks } => {
                write!(
                    f,
                    "stage '{stage}' does not get on: {} online, {} arriving, {} failed, \
                     {} refused, {} dropped, {} sent, {} acknowledged, {} delivered of {}",
                    tally[Count::Online],
                    tally[Count::Arriving],
                    tally[Count::ConnectFailed],
                    tally[Count::Refused],
                    tally[Count::Dropped],
                    tally[Count::Sent],
                    tally[Count::Acknowledged],
                    tally[Count::Delivered],
                    tally[Count::Owed],
                )?;
                remarks.iter().try_for_each(|remark| write!(f, "\n  {remark}"))
            }
            Self::WorkerLost => write!(f, "a worker thread of the harness panicked"),
            Self::CommandFailed(text) => write!(f, "{text}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<ProcessError> for RunError {
    fn from(error: ProcessError) -> Self {
        Self::Broker(error)
    }
}

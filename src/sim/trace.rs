//! What happened, as a hash and, when asked for, as text.

use std::collections::VecDeque;
use std::fmt;

/// The trace of a run. Its hash is the same for the same seed, on every machine; a difference
/// between two runs betrays a clock, an address or an unseeded map in what was simulated.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Lines>,
}

/// The text of the last events; absent in ordinary runs, for formatting costs more than the run.
/// A failing run is simply run again with it.
#[derive(Debug)]
struct Lines {
    last: VecDeque<String>,
    kept_max: usize,
    printed: bool,
}

/// Whether a run writes down what happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Only the hash.
    #[default]
    Hash,
    /// The last events are kept for the report of a failure.
    Last(usize),
    /// Every event goes to standard output as it happens.
    Print,
}

impl Trace {
    pub(super) fn new(verbosity: Verbosity) -> Trace {
        let lines = match verbosity {
            Verbosity::Hash => None,
            Verbosity::Last(kept_max) => Some((kept_max, false)),
            Verbosity::Print => Some((LAST_EVENTS, true)),
        };
        let lines =
            lines.map(|(kept_max, printed)| Lines { last: VecDeque::new(), kept_max, printed });
        Trace { hash: 0xCBF2_9CE4_8422_2325, events: 0, lines }
    }

    /// Takes a number into the hash.
    pub(super) fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    /// Takes bytes into the hash.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
        self.number(bytes.len() as u64);
    }

    /// Counts an event at a time and, if anybody wants to read it, writes it down.
    pub(super) fn event(&mut self, now: u64, line: fmt::Arguments<'_>) {
        self.events += 1;
        let Some(lines) = &mut self.lines else { return };
        let line = format!("{:>12.6} {line}", now as f64 / 1e6);
        if lines.printed {
            println!("{line}");
        }
        if lines.last.len() == lines.kept_max {
            lines.last.pop_front();
        }
        lines.last.push_back(line);
    }

    /// Whether anybody wants to read what happens.
    pub(super) fn is_written(&self) -> bool {
        self.lines.is_some()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn last(self) -> Vec<String> {
        self.lines.map(|lines| lines.last.into()).unwrap_or_default()
    }
}

/// How many events the report of a failure shows.
pub(super) const LAST_EVENTS: usize = 60;

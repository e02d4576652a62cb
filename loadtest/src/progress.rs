//! Live progress: a line that renews itself on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::count::{Count, Tally};

/// How often a plain line is written while a stage lasts.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How often the rates of the line are renewed.
const RATE_INTERVAL: Duration = Duration::from_millis(500);

/// Where progress is shown.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    stage: String,
    shown: Instant,
    rated: (Instant, Tally),
    rates: (f64, f64),
}

impl Progress {
    /// Progress on standard error.
    #[must_use]
    pub fn new(is_quiet: bool) -> Self {
        let bar = (!is_quiet && stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {wide_msg}");
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        let rated = (now, Tally::default());
        Self { bar, is_quiet, stage: String::new(), shown: now, rated, rates: (0.0, 0.0) }
    }

    /// A new stage of the run begins.
    pub fn stage(&mut self, name: &str) {
        self.stage = name.to_string();
        self.shown = Instant::now();
        if self.bar.is_none() && !self.is_quiet {
            eprintln!("{name}");
        }
    }

    /// Shows the counts.
    pub fn show(&mut self, tally: &Tally) {
        if self.is_quiet {
            return;
        }
        self.renew_rates(tally);
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.line(tally));
                bar.tick();
            }
            None if self.shown.elapsed() >= PLAIN_INTERVAL => {
                self.shown = Instant::now();
                eprintln!("  {}", self.line(tally));
            }
            None => {}
        }
    }

    fn renew_rates(&mut self, tally: &Tally) {
        let elapsed = self.rated.0.elapsed();
        if elapsed >= RATE_INTERVAL {
            let rate = |count| tally.since(&self.rated.1, count) as f64 / elapsed.as_secs_f64();
            self.rates = (rate(Count::Sent), rate(Count::Delivered));
            self.rated = (Instant::now(), tally.clone());
        }
    }

    fn line(&self, tally: &Tally) -> String {
        let faults = tally[Count::Duplicated]
            + tally[Count::OutOfOrder]
            + tally[Count::Corrupt]
            + tally[Count::Misrouted];
        format!(
            "{}: {} online, {} sent ({:.0}/s), {} delivered ({:.0}/s), {faults} faults",
            self.stage,
            tally[Count::Online],
            tally[Count::Sent],
            self.rates.0,
            tally[Count::Delivered],
            self.rates.1,
        )
    }

    /// The run is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

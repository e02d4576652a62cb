//! Log lines, from the shards to standard error without a shard ever waiting.
//!
//! A line is made where it is logged, put into a bounded queue and written by a thread of its
//! own. Where the queue is full the line is dropped and counted.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFormat};

/// Lines that wait for whoever reads standard error; at some 200 bytes each, a few megabytes.
const LINES_WAITING_MAX: usize = 16_384;

/// What can be changed and asked while the process runs.
struct Running {
    levels: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Writes the lines still waiting when it is dropped.
#[must_use = "logging ends when the guard is dropped"]
pub struct Guard {
    _worker: WorkerGuard,
}

/// Begins to log for the whole process. A second call changes nothing but the levels.
pub fn start(log: &LogConfig) -> Guard {
    let builder = NonBlockingBuilder::default().lossy(true).thread_name("log");
    let (writer, worker) = builder.buffered_lines_limit(LINES_WAITING_MAX).finish(io::stderr());
    let dropped = writer.error_counter();
    let (targets, levels) = reload::Layer::new(targets(&log.level));
    let started = Registry::default().with(targets).with(lines(log.format, writer)).try_init();
    match started {
        Ok(()) => drop(RUNNING.set(Running { levels, dropped })),
        Err(_) => set_levels(&log.level),
    }
    Guard { _worker: worker }
}

/// Changes how much is logged, as a reload of the configuration asks for.
pub fn set_levels(levels: &str) {
    if let Some(running) = RUNNING.get() {
        // It fails only where logging has ended.
        let _ = running.levels.reload(targets(levels));
    }
}

/// Lines lost so far because nobody took those before them.
pub fn dropped_lines() -> u64 {
    RUNNING.get().map_or(0, |running| running.dropped.dropped_lines() as u64)
}

/// The configuration has checked the levels; where this library knows better, `info` it is.
fn targets(levels: &str) -> Targets {
    let targets = levels.parse();
    let targets = targets.unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    // It warns of each client that names the broker by its address.
    match levels.contains("rustls") {
        true => targets,
        false => targets.with_target("rustls::msgs", tracing::Level::ERROR),
    }
}

fn lines<S>(format: LogFormat, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_writer(writer).with_ansi(colours).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(writer).json().flatten_event(true).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn levels_hold_for_a_module_and_what_is_below_it() {
        let targets = targets("warn,hawker::runtime=debug");
        assert!(targets.would_enable("hawker::runtime::ring", &Level::DEBUG));
        assert!(!targets.would_enable("hawker::shard", &Level::INFO));
        assert!(targets.would_enable("hawker::shard", &Level::WARN));
    }

    #[test]
    fn every_level_the_configuration_takes_is_known_here() {
        for level in ["off", "error", "warn", "info", "debug", "trace", "a::b=off,info"] {
            assert!(level.parse::<Targets>().is_ok(), "{level}");
        }
    }
}

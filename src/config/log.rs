//! The `[log]` table: what is logged and how.

use super::kind::{self, Choice, Kind as _};
use super::table::table;

table! {
    /// What the broker says on its standard error.
    ///
    /// Log lines leave through a bounded queue and a thread of their own: where whoever reads
    /// them is slow, lines are dropped and counted, and no client waits.
    pub struct LogConfig in "log" {
        /// How much is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`, also by module
        /// as in `info,hawker::runtime=debug`. From `debug` on there are lines for single
        /// packets: for hunting, not for keeping.
        pub level: String = "info".to_owned(), kind::log_levels(), Live;

        /// How a line looks: `text` for people, `json` for machines, one object a line.
        pub format: LogFormat = LogFormat::Text, Choice(LogFormat::WORDS), Restart;
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    const WORDS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

/// The part of a list of levels that is none, if there is one.
pub(super) fn fault_in_levels(levels: &str) -> Option<&str> {
    const WORDS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let module = |name: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        !name.is_empty() && name.bytes().all(legal)
    };
    let sound = |part: &str| match part.split_once('=') {
        Some((name, level)) => module(name) && WORDS.contains(&level),
        None => WORDS.contains(&part),
    };
    levels.split(',').find(|part| !sound(part))
}

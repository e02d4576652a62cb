//! What can stand on the command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use super::ctl::Ctl;
use super::manual::Shell;
use crate::config::{Role, ScramVerifier, Source};

/// An MQTT broker for Linux servers.
#[derive(Debug, Parser)]
#[command(
    name = "hawker",
    version = super::VERSION,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 the broker failed, or this machine cannot run it; \
                  2 the command line or the configuration is wrong."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the broker until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    Run(Settings),
    /// Say everything that is wrong with a configuration file; the environment plays no part.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Say whether this machine can run the broker as configured, and what mends it.
    Doctor {
        #[command(flatten)]
        settings: Settings,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Look at a data directory, or mend it.
    Log {
        #[command(subcommand)]
        action: LogAction,
    },
    /// Read what `hawker log export` printed into a data directory that keeps nothing yet.
    Import {
        /// The file; standard input if absent or -.
        file: Option<PathBuf>,
        /// The file is Mosquitto's mosquitto.db.
        #[arg(long, requires = "file")]
        mosquitto: bool,
        /// The data directory; made if missing.
        #[arg(long, value_name = "DIR", default_value = "./data")]
        data_dir: PathBuf,
    },
    /// Change a password file, auth.password_file.
    Passwd {
        #[command(subcommand)]
        action: PasswdAction,
    },
    /// Make a token of the admin API.
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Ask a running broker, or tell it, by its admin API.
    Ctl(Ctl),
    /// Print the script that has a shell complete this command line.
    ///
    /// bash: hawker completions bash > ~/.local/share/bash-completion/completions/hawker
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual's first page, for man -l -; all pages are written to a folder.
    Man {
        /// The folder, made if missing, such as /usr/local/share/man/man1.
        folder: Option<PathBuf>,
    },
    /// Ask for a user's password and print the line for [auth.scram_users].
    ///
    /// The password comes from the terminal, or is the first line of standard input.
    Scram {
        /// The user's name.
        user: String,
        /// Rounds of hashing: more make guessing dear, and every login of the client, too.
        #[arg(long, value_name = "N", default_value_t = super::scram::ITERATIONS_DEFAULT)]
        #[arg(value_parser = clap::value_parser!(u32).range(iterations()))]
        iterations: u32,
    },
}

/// What to do with a password file.
#[derive(Debug, Subcommand)]
pub(super) enum PasswdAction {
    /// Give a user a password, an old one or a new one; SIGHUP tells a broker that runs.
    ///
    /// The password comes from the terminal, or is the first line of standard input.
    Add {
        /// The file; made if missing.
        file: PathBuf,
        /// The user's name.
        user: String,
        /// A topic filter that the user may publish to; without any rule the user may do what the
        /// configuration allows, and a password alone leaves the rules that are there.
        #[arg(long, value_name = "FILTER")]
        allow_publish: Vec<String>,
        /// A topic filter that the user may subscribe to.
        #[arg(long, value_name = "FILTER")]
        allow_subscribe: Vec<String>,
    },
    /// Take a user out.
    Remove {
        /// The file.
        file: PathBuf,
        /// The user's name.
        user: String,
    },
    /// Print the names of all users.
    List {
        /// The file.
        file: PathBuf,
    },
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenAction {
    /// Print a new token, this once, and the text for admin_tokens.
    Add {
        /// What the log calls its holder.
        name: String,
        /// viewer, operator or admin.
        #[arg(value_parser = role)]
        role: Role,
    },
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|expected| format!("expected {expected}"))
}

/// What to do with a data directory.
#[derive(Debug, Subcommand)]
pub(super) enum LogAction {
    /// Say of each shard's log whether it is whole and what it holds; exit code 1 if it is not.
    Verify {
        /// The data directory.
        directory: PathBuf,
    },
    /// Print every record as a JSON object, one a line.
    Inspect {
        /// The data directory.
        directory: PathBuf,
    },
    /// Print sessions, what they are owed and retained messages as JSON lines, for `hawker import`.
    Export {
        /// The data directory of a broker that does not run.
        directory: PathBuf,
    },
    /// Take damage out: keep the damaged logs aside with a report, go on with all that is whole.
    Salvage {
        /// The data directory of a broker that does not run.
        directory: PathBuf,
    },
}

fn iterations() -> std::ops::RangeInclusive<i64> {
    ScramVerifier::ITERATIONS_MIN.into()..=ScramVerifier::ITERATIONS_MAX.into()
}

/// What overrules the configuration. Values are texts here: the configuration reads them and
/// words the errors.
#[derive(Args, Debug)]
#[command(after_help = "Flags overrule the environment (HAWKER_SHARDS, HAWKER_MQTT__..., see \
                        docs/config.md), which overrules the file.")]
pub(super) struct Settings {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "HAWKER_CONFIG")]
    config: Option<PathBuf>,
    /// Where clients connect; may be given several times [default: tcp://127.0.0.1:1883 and
    /// tcp://[::1]:1883].
    #[arg(long, value_name = "tcp://HOST:PORT")]
    listen: Vec<String>,
    /// Threads that own clients, 1 to 64 [default: one for each usable CPU].
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// The CPUs they are pinned to, such as 0-3,8 [default: all usable].
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,
    /// Where data is kept [default: ./data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// What an acknowledgement promises [default: fsync].
    #[arg(long, value_name = "WHERE", value_parser = PossibleValuesParser::new(["fsync", "os", "memory"]))]
    durability: Option<String>,
    /// Where the admin server listens, or off [default: 127.0.0.1:18083].
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// How much is logged, such as debug or info,hawker::runtime=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How a log line looks [default: text].
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["text", "json"]))]
    log_format: Option<String>,
}

impl Settings {
    /// These flags over the environment over the file.
    pub(super) fn source(self) -> Source {
        let source = Source::new().environment(std::env::vars_os());
        let source = self.config.into_iter().fold(source, Source::file);
        let flags = [
            ("--shards", "shards", self.shards),
            ("--cpus", "cpus", self.cpus),
            ("--data-dir", "data_dir", self.data_dir),
            ("--durability", "durability", self.durability),
            ("--admin", "admin", self.admin),
            ("--log", "log.level", self.log),
            ("--log-format", "log.format", self.log_format),
        ];
        let source = flags.into_iter().fold(source, |source, (flag, key, value)| match value {
            Some(value) => source.flag(flag, key, vec![value]),
            None => source,
        });
        if self.listen.is_empty() {
            source
        } else {
            source.flag("--listen", "listeners", self.listen)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::{Config, ConfigError};

    fn load(line: &str) -> Result<Config, ConfigError> {
        let arguments = Arguments::try_parse_from(line.split(' ')).expect("a good command line");
        let Command::Run(settings) = arguments.command else { panic!("{arguments:?}") };
        settings.source().load()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_reaches_its_key() {
        let config = load(
            "hawker run --listen tcp://127.0.0.1:0 --listen tcp://[::]:2 --shards 3 --cpus 0-1,7 \
             --data-dir /x --durability memory --admin off --log hawker=trace --log-format json",
        );
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let addresses: Vec<_> = config.listeners.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(addresses, ["tcp://127.0.0.1:0", "tcp://[::]:2"]);
        assert_eq!(config.shards, Some(3));
        assert_eq!(config.cpus, Some(vec![0, 1, 7]));
        assert_eq!(config.data_dir, PathBuf::from("/x"));
        assert_eq!(config.durability, crate::config::Durability::Memory);
        assert_eq!(config.admin, None);
        assert_eq!(config.log.level, "hawker=trace");
        assert_eq!(config.log.format, crate::config::LogFormat::Json);
    }

    #[test]
    fn a_wrong_flag_is_refused_in_the_words_of_the_configuration() {
        let error = load("hawker run --shards 65").expect_err("too many").to_string();
        assert_eq!(error, "--shards: shards: found \"65\", expected a whole number from 1 to 64");
    }

    #[test]
    fn no_command_and_unknown_commands_are_usage_errors() {
        let code = |line: &str| {
            Arguments::try_parse_from(line.split(' ')).expect_err("a bad command line").exit_code()
        };
        for line in ["hawker", "hawker walk", "hawker run --shard 1", "hawker check-config"] {
            assert_eq!(code(line), i32::from(super::super::USAGE_WRONG), "{line}");
        }
        assert_eq!(code("hawker --version"), 0);
        assert_eq!(code("hawker run --durability disk"), 2);
        assert_eq!(code("hawker scram --iterations 1 alice"), 2);
    }
}

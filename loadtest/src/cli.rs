//! The command line, scenario files, and what follows from them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Deserialize;

use crate::compare::RunSet;
use crate::error::RunError;
use crate::html;
use crate::report::Report;
use crate::scenario::chat::Chat;
use crate::scenario::connect::Connect;
use crate::scenario::offline::Offline;
use crate::scenario::rate::Rate;
use crate::scenario::throughput::Throughput;
use crate::settings::{Common, Settings, SettingsError};
use crate::table;

/// Drives an MQTT broker and counts every message
#[derive(Parser, Debug)]
#[command(name = "hawker-loadtest", version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand, Debug)]
enum Action {
    #[command(flatten)]
    Scenario(Scenario),
    /// Run the scenario of a file; flags win over it
    Run {
        /// The file
        file: PathBuf,
    },
    /// Compare two results
    Compare {
        /// The first
        a: PathBuf,
        /// The second, which the ratios are to
        b: PathBuf,
    },
    /// Draw a result as an HTML page
    Report {
        /// The result
        json: PathBuf,
        /// The page
        html: PathBuf,
    },
}

/// What to do to the broker.
#[derive(Subcommand, Clone, Debug)]
pub enum Scenario {
    /// Ramp, hold and reconnect storm
    Connect(Connect),
    /// A closed loop, as fast as the broker can
    Throughput(Throughput),
    /// An open loop at a given rate
    Rate(Rate),
    /// Messages for sessions that are away, with or without a crash
    Offline(Offline),
    /// Users with several devices, groups, presence with wills, churn
    Chat(Chat),
}

/// A scenario file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScenarioFile {
    #[serde(default)]
    common: Common,
    connect: Option<Connect>,
    throughput: Option<Throughput>,
    rate: Option<Rate>,
    offline: Option<Offline>,
    chat: Option<Chat>,
}

/// Why nothing could be run, or not to the end.
#[derive(Debug)]
pub enum CliError {
    /// A file cannot be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file's content is wrong.
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The settings are wrong.
    Settings(SettingsError),
    /// The run broke off.
    Run(RunError),
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Content { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Settings(error) => write!(f, "{error}"),
            Self::Run(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CliError {}

/// Everything `main` does. The exit code is 0 when every limit held, 1 when one did not, and 2
/// when the run could not be done.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn act(cli: Cli) -> Result<bool, CliError> {
    match cli.action {
        Action::Scenario(scenario) => run_rounds(&scenario, cli.common),
        Action::Run { file } => {
            let (scenario, common) = read_scenario(&file)?;
            run_rounds(&scenario, cli.common.or(common))
        }
        Action::Compare { a, b } => {
            let set = RunSet { runs: read_set(&a)?.runs, against: read_set(&b)?.runs };
            print!("{}", table::run_set(&set));
            match &cli.common.html {
                Some(path) => write(path, &html::page(&set)).map(|()| true),
                None => Ok(true),
            }
        }
        Action::Report { json, html } => {
            write(&html, &html::page(&read_set(&json)?)).map(|()| true)
        }
    }
}

fn run_rounds(scenario: &Scenario, common: Common) -> Result<bool, CliError> {
    let settings = common.resolve().map_err(CliError::Settings)?;
    let against = settings.against();
    let mut set = RunSet::default();
    for _ in 0..settings.rounds {
        set.runs.push(run_once(scenario, &settings)?);
        if let Some(against) = &against {
            set.against.push(run_once(scenario, against)?);
        }
    }
    if set.runs.len() + set.against.len() > 1 {
        print!("{}", table::run_set(&set));
    }
    if let Some(path) = &settings.json {
        write(path, &to_json(&set, path)?)?;
    }
    if let Some(path) = &settings.html {
        write(path, &html::page(&set))?;
    }
    Ok(set.runs.iter().chain(&set.against).all(Report::is_passed))
}

fn run_once(scenario: &Scenario, settings: &Settings) -> Result<Report, CliError> {
    let report = match scenario {
        Scenario::Connect(connect) => connect.run(settings),
        Scenario::Throughput(throughput) => throughput.run(settings),
        Scenario::Rate(rate) => rate.run(settings),
        Scenario::Offline(offline) => offline.run(settings),
        Scenario::Chat(chat) => chat.run(settings),
    };
    let report = report.map_err(CliError::Run)?;
    print!("{}", table::report(&report));
    Ok(report)
}

fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|error| CliError::File { path: path.to_path_buf(), error })
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| CliError::File { path: path.to_path_buf(), error })
}

fn to_json(set: &RunSet, path: &Path) -> Result<String, CliError> {
    serde_json::to_string_pretty(set)
        .map_err(|error| CliError::Content { path: path.to_path_buf(), reason: error.to_string() })
}

fn read_set(path: &Path) -> Result<RunSet, CliError> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| CliError::Content { path: path.to_path_buf(), reason: error.to_string() })
}

fn read_scenario(path: &Path) -> Result<(Scenario, Common), CliError> {
    let content = |reason: String| CliError::Content { path: path.to_path_buf(), reason };
    parse_scenario(&read(path)?).map_err(content)
}

/// The scenario and settings of a file's text.
pub fn parse_scenario(text: &str) -> Result<(Scenario, Common), String> {
    let file: ScenarioFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let given = [
        file.connect.map(Scenario::Connect),
        file.throughput.map(Scenario::Throughput),
        file.rate.map(Scenario::Rate),
        file.offline.map(Scenario::Offline),
        file.chat.map(Scenario::Chat),
    ];
    let mut scenarios = given.into_iter().flatten();
    match (scenarios.next(), scenarios.next()) {
        (Some(scenario), None) => Ok((scenario, file.common)),
        (None, _) => Err("no table names a scenario, such as [throughput]".to_string()),
        (Some(_), Some(_)) => Err("more than one table names a scenario".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_scenario_file_that_we_ship_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("readable").path();
            let (_, common) = read_scenario(&path).expect("a valid scenario");
            common.resolve().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
        assert!(count > 10, "only {count} files");
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let text = "[common]\nduration = 3\nthreads = 2\n[rate.speed]\nrate = 5";
        let (scenario, file) = parse_scenario(text).expect("valid");
        let cli = Cli::parse_from(["x", "run", "f.toml", "--threads", "4"]);
        let settings = cli.common.or(file).resolve().expect("valid");
        assert_eq!((settings.threads, settings.duration.as_secs()), (4, 3));
        assert_eq!(settings.patience.as_secs(), 10);
        let Scenario::Rate(rate) = scenario else { panic!("{scenario:?}") };
        assert_eq!((rate.speed.rate, rate.speed.in_flight), (5.0, 1000));
    }

    #[test]
    fn what_a_file_says_wrong_is_named() {
        let cases = [
            ("", "no table names a scenario"),
            ("[rate]\n[chat]", "more than one table"),
            ("[rate.traffic]\npublisher = 5", "unknown field `publisher`"),
            ("[rate.traffic]\nqos = 3", "QoS 3 is none of 0, 1 and 2"),
            ("[rate.traffic]\nshape = 'star'", "unknown variant `star`"),
            ("[rage]", "unknown field `rage`"),
        ];
        for (text, expected) in cases {
            let error = parse_scenario(text).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        let refused = |flags: &[&str]| {
            let words = ["x", "connect"].iter().chain(flags);
            Cli::parse_from(words).common.resolve().expect_err("impossible").to_string()
        };
        assert_eq!(refused(&["--threads", "0"]), "threads must be between 1 and 1024");
        assert_eq!(refused(&["--rounds", "0"]), "rounds must be at least 1");
        assert!(refused(&["--duration=-1"]).starts_with("duration must be"));
        assert!(refused(&["--compare-with", "127.0.0.1:1,x"]).starts_with("compare-with"));
        assert!(refused(&["--target", "nowhere"]).starts_with("target 'nowhere'"));
    }
}

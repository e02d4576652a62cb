//! The command line: flags, environment and file become a configuration, which runs.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done, stopped as asked, or nothing to mend |
//! | 1 | the broker failed, or this machine cannot run it |
//! | 2 | the command line or the configuration is wrong |

mod arguments;
mod ctl;
mod doctor;
mod log;
pub mod logging;
mod manual;
mod passwd;
mod prompt;
mod scram;
mod token;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{Config, Source};
use crate::embed::Hooks;
use crate::runtime::{self, doors};
use crate::sys::{self, Finding, Verdict};
use arguments::{Arguments, Command, LogAction, PasswdAction, TokenAction};

/// What this build calls itself: version and commit.
pub const VERSION: &str = env!("HAWKER_VERSION");

const RUN_FAILED: u8 = 1;
const USAGE_WRONG: u8 = 2;

/// Does what the command line of this process asks for.
pub fn main() -> ExitCode {
    if let Err(error) = sys::expect_file_faults() {
        let _ =
            writeln!(io::stderr(), "a file that cannot be read would end this silently: {error}");
    }
    match Arguments::parse().command {
        Command::Run(settings) => run(settings.source()),
        Command::CheckConfig { file } => check_config(&file),
        Command::Doctor { settings, json } => match settings.source().load() {
            Ok(config) => doctor::examine(&config, json),
            Err(error) => refuse(&error),
        },
        Command::Log { action: LogAction::Verify { directory } } => log::verify(&directory),
        Command::Log { action: LogAction::Inspect { directory } } => log::inspect(&directory),
        Command::Log { action: LogAction::Export { directory } } => log::export(&directory),
        Command::Log { action: LogAction::Salvage { directory } } => log::salvage(&directory),
        Command::Import { file, mosquitto, data_dir } => {
            log::import(file.as_deref(), mosquitto, &data_dir)
        }
        Command::Passwd { action } => passwd(&action),
        Command::Token { action: TokenAction::Add { name, role } } => {
            match token::add(&name, role) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refuse(&error),
            }
        }
        Command::Ctl(ctl) => match ctl.run() {
            // Whoever closed the pipe has seen enough.
            Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "{error}");
                ExitCode::from(RUN_FAILED)
            }
        },
        Command::Completions { shell } => done(manual::complete(shell)),
        Command::Man { folder } => done(manual::manual(folder.as_deref())),
        Command::Scram { user, iterations } => match scram::print(&user, iterations) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error),
        },
    }
}

fn done(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(RUN_FAILED)
        }
    }
}

fn passwd(action: &PasswdAction) -> ExitCode {
    let outcome = match action {
        PasswdAction::Add { file, user, allow_publish, allow_subscribe } => {
            passwd::add(file, user, allow_publish, allow_subscribe)
        }
        PasswdAction::Remove { file, user } => passwd::remove(file, user),
        PasswdAction::List { file } => passwd::list(file),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn run(source: Source) -> ExitCode {
    let (config, origins) = match source.load_with_origins() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    let _logging = logging::start(&config.log);
    tracing::info!(
        version = VERSION,
        config = source.path().map(tracing::field::debug),
        "starting"
    );
    if !can_run(&config) {
        return ExitCode::from(RUN_FAILED);
    }
    match crate::runtime::run(&config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", config.blame(&origins, error.file(), &error));
            ExitCode::from(if error.is_of_configuration() { USAGE_WRONG } else { RUN_FAILED })
        }
    }
}

/// Takes what the machine gives and says what it does not; refuses only what cannot work.
fn can_run(config: &Config) -> bool {
    if let Err(error) = sys::raise_limits() {
        tracing::warn!("the limits of this process stay as they are: {error}");
    }
    if let Err(error) = sys::seal() {
        tracing::warn!("a core dump of this process would hold passwords and keys: {error}");
    }
    let findings = sys::check(config);
    findings.iter().for_each(log_finding);
    findings.iter().all(|finding| finding.verdict != Verdict::Problem)
}

fn log_finding(finding: &Finding) {
    let (subject, mend) = (finding.subject, finding.mend.as_deref());
    match finding.verdict {
        Verdict::Ok => tracing::debug!(subject, "{}", finding.what),
        Verdict::Warning => tracing::warn!(subject, mend, "{}", finding.what),
        Verdict::Problem => tracing::error!(subject, mend, "{}", finding.what),
    }
}

fn check_config(file: &Path) -> ExitCode {
    let (config, origins) = match Source::new().file(file).load_with_origins() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    let doors = doors::open(&config)
        .map(drop)
        .map_err(|error| config.blame(&origins, error.file(), &error));
    let policy = runtime::policy(&config, &Hooks::default(), None)
        .map(drop)
        .map_err(|error| config.blame(&origins, Some(error.file()), &error));
    let wrong: Vec<String> = [doors, policy].into_iter().filter_map(Result::err).collect();
    if !wrong.is_empty() {
        let _ = writeln!(io::stderr(), "{}", wrong.join("\n"));
        return ExitCode::from(USAGE_WRONG);
    }
    // Whoever closed the pipe has the exit code.
    let _ = writeln!(io::stdout(), "{}: ok", file.display());
    ExitCode::SUCCESS
}

fn refuse(error: &dyn Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(USAGE_WRONG)
}

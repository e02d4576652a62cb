//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was given. Later variants overrule earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: it is the built-in one.
    Default,
    /// In the configuration file.
    File {
        /// As it was named on the command line.
        file: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// On the command line.
    Flag {
        /// With its dashes.
        flag: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { file, line } => write!(f, "{}:{line}", file.display()),
            Origin::Environment { variable } => f.write_str(variable),
            Origin::Flag { flag } => f.write_str(flag),
        }
    }
}

/// Why there is no [`super::Config`]; always the operator's to mend.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read at all.
    Unreadable {
        /// As it was named on the command line.
        file: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Everybody on the machine can read the file, and there are secrets in it.
    Exposed {
        /// As it was named on the command line.
        file: PathBuf,
        /// Which keys hold them.
        keys: Vec<String>,
    },
    /// Everything that is wrong, in the order of the file, then environment, then flags.
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, error } => {
                write!(f, "{}: cannot be read: {error}", file.display())
            }
            ConfigError::Exposed { file, keys } => write!(
                f,
                "{0}: everybody on this machine can read it, and it holds what helps to log in \
                 ({1}); `chmod o-rwx {0}`",
                file.display(),
                keys.join(", ")
            ),
            ConfigError::Invalid { problems } => {
                for (index, problem) in problems.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::Unreadable { error, .. } => Some(error),
            ConfigError::Exposed { .. } | ConfigError::Invalid { .. } => None,
        }
    }
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The full name of the key, such as `mqtt.receive_maximum`; empty where the file could not
    /// be taken apart.
    pub key: String,
    /// What.
    pub fault: Fault,
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The file is not TOML here.
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// There is no such key.
    UnknownKey {
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// The value has the wrong type or is out of range.
    Unsuitable {
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
        /// How to get there, where the range does not say it already.
        mend: Option<String>,
    },
    /// A table lacks a key that has no default.
    Missing {
        /// What may stand there.
        expected: String,
    },
    /// Two values that are possible alone and not together.
    Conflict {
        /// Why, and what to change.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax { message } => write!(f, "not TOML: {message}"),
            Fault::UnknownKey { nearest: Some(nearest) } => {
                write!(f, "unknown key; did you mean {nearest}?")
            }
            Fault::UnknownKey { nearest: None } => {
                f.write_str("unknown key; remove it, or find its name in docs/config.md")
            }
            Fault::Unsuitable { found, expected, mend } => {
                write!(f, "found {found}, expected {expected}")?;
                mend.iter().try_for_each(|mend| write!(f, "; {mend}"))
            }
            Fault::Missing { expected } => write!(f, "missing; add it: {expected}"),
            Fault::Conflict { reason } => f.write_str(reason),
        }
    }
}

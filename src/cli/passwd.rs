//! `hawker passwd`: the lines of a password file.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::prompt::{self, PromptError};
use crate::auth::{PasswordHash, Passwords};
use crate::config::{RuleConfig, is_filter_of_rule};
use crate::sys::replace_file;

/// Why a password file was left as it was.
#[derive(Debug)]
pub(super) enum PasswdError {
    /// The name cannot stand in a line.
    User,
    /// There is no password.
    Prompt(PromptError),
    /// A rule is about a text that is no topic filter.
    Filter(String),
    /// The file is not written here.
    Mosca(PathBuf),
    /// The file has no line of this user.
    Unknown(PathBuf, String),
    /// The file holds a line that is wrong.
    Wrong(PathBuf, String),
    /// The file cannot be read or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for PasswdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswdError::User => {
                f.write_str("a user name has 1 to 1024 bytes, no colon and no control characters")
            }
            PasswdError::Prompt(error) => error.fmt(f),
            PasswdError::Filter(filter) => write!(
                f,
                "{filter:?} is no topic filter, in which %u, %c and %{{cert.cn}} alone stand for \
                 something, or has control characters"
            ),
            PasswdError::Mosca(file) => write!(
                f,
                "{}: a credentials.json of Mosca is read and not written; begin a new file",
                file.display()
            ),
            PasswdError::Unknown(file, user) => {
                write!(f, "{}: there is no user {user:?}", file.display())
            }
            PasswdError::Wrong(file, fault) => write!(f, "{}:{fault}", file.display()),
            PasswdError::Io(file, error) => write!(f, "{}: {error}", file.display()),
        }
    }
}

impl std::error::Error for PasswdError {}

/// Gives a user a password, and a rule if it grants anything; the file is made if missing.
pub(super) fn add(
    file: &Path,
    user: &str,
    publish: &[String],
    subscribe: &[String],
) -> Result<(), PasswdError> {
    let legal = (1..=1024).contains(&user.len())
        && !user.starts_with('#')
        && !user.chars().any(|char| char == ':' || char.is_control());
    if !legal {
        return Err(PasswdError::User);
    }
    let is_legal = |filter: &str| is_filter_of_rule(filter) && !filter.contains(char::is_control);
    if let Some(wrong) = publish.iter().chain(subscribe).find(|filter| !is_legal(filter)) {
        return Err(PasswdError::Filter(wrong.clone()));
    }
    let mut lines = if file.exists() { read(file)? } else { Vec::new() };
    let password = prompt::password(user).map_err(PasswdError::Prompt)?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| failed(file, io::Error::other(error.to_string())))?;
    let mut line = format!("{user}:{}", PasswordHash::encode(password.as_bytes(), &salt));
    let earlier = lines.iter_mut().find(|line| is_of(line, user));
    let rule = match (publish, subscribe) {
        ([], []) => {
            earlier.as_deref().and_then(|line| line.splitn(3, ':').nth(2)).map(str::to_owned)
        }
        _ => {
            let (publish, subscribe) = (publish.to_vec(), subscribe.to_vec());
            Some(RuleConfig { publish, subscribe, ..RuleConfig::default() }.inline())
        }
    };
    if let Some(rule) = rule {
        line.push(':');
        line.push_str(&rule);
    }
    let done = match earlier {
        Some(earlier) => {
            *earlier = line;
            "has a new password"
        }
        None => {
            lines.push(line);
            "is added"
        }
    };
    write(file, &lines)?;
    let _ = writeln!(
        io::stdout(),
        "{user} {done} in {}; a running broker takes it when it reads its configuration again",
        file.display()
    );
    Ok(())
}

/// Takes a user out of the file.
pub(super) fn remove(file: &Path, user: &str) -> Result<(), PasswdError> {
    let mut lines = read(file)?;
    let before = lines.len();
    lines.retain(|line| !is_of(line, user));
    if lines.len() == before {
        return Err(PasswdError::Unknown(file.to_path_buf(), user.to_owned()));
    }
    write(file, &lines)
}

/// Prints the users of the file.
pub(super) fn list(file: &Path) -> Result<(), PasswdError> {
    let lines = read(file)?;
    let users = lines.iter().filter(|line| !line.starts_with('#'));
    for (user, _) in users.filter_map(|line| line.split_once(':')) {
        // Whoever closed the pipe has seen enough.
        let _ = writeln!(io::stdout(), "{user}");
    }
    Ok(())
}

fn is_of(line: &str, user: &str) -> bool {
    line.split_once(':').is_some_and(|(of, _)| of == user)
}

fn failed(file: &Path, error: io::Error) -> PasswdError {
    PasswdError::Io(file.to_path_buf(), error)
}

fn read(file: &Path) -> Result<Vec<String>, PasswdError> {
    let text = fs::read_to_string(file).map_err(|error| failed(file, error))?;
    if text.trim_start().starts_with('{') {
        return Err(PasswdError::Mosca(file.to_path_buf()));
    }
    Passwords::parse(&text)
        .map_err(|fault| PasswdError::Wrong(file.to_path_buf(), fault.to_string()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Its owner and group alone can read it.
fn write(file: &Path, lines: &[String]) -> Result<(), PasswdError> {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    replace_file(file, 0o640, text.as_bytes()).map_err(|error| failed(file, error))
}

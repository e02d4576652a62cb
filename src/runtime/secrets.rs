//! Files that say who may enter, read once and at each reload.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::auth::{LineFault, Passwords, Rules};
use crate::config::AuthConfig;

/// Why such a file cannot be used.
#[derive(Debug)]
pub enum SecretsError {
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// Everybody on the machine can read it.
    Exposed(PathBuf),
    /// A line of it is wrong.
    Wrong(PathBuf, LineFault),
}

impl fmt::Display for SecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretsError::Unreadable(file, error) => {
                write!(f, "{}: cannot be read: {error}", file.display())
            }
            SecretsError::Exposed(file) => write!(
                f,
                "{0}: everybody on this machine can read it; `chmod o-rwx {0}`",
                file.display()
            ),
            SecretsError::Wrong(file, fault) => write!(f, "{}:{fault}", file.display()),
        }
    }
}

impl std::error::Error for SecretsError {}

/// The users of a password file.
///
/// # Errors
///
/// See [`SecretsError`].
pub fn passwords(file: &Path) -> Result<Passwords, SecretsError> {
    let unreadable = |error| SecretsError::Unreadable(file.to_path_buf(), error);
    let mode = fs::metadata(file).map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(SecretsError::Exposed(file.to_path_buf()));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    Passwords::parse(&text).map_err(|fault| SecretsError::Wrong(file.to_path_buf(), fault))
}

/// What clients may do: the rules of the configuration and of the file it names.
///
/// # Errors
///
/// See [`SecretsError`].
pub fn rules(config: &AuthConfig) -> Result<Rules, SecretsError> {
    let mut rules = Rules::of(&config.rules);
    if let Some(file) = &config.acl_file {
        let text = fs::read_to_string(file);
        let text = text.map_err(|error| SecretsError::Unreadable(file.clone(), error))?;
        rules.add_acl(&text).map_err(|fault| SecretsError::Wrong(file.clone(), fault))?;
    }
    Ok(rules)
}

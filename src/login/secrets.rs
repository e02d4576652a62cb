//! Files that say who may enter, read once and at each reload.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::auth::{LineFault, Passwords, Rules};
use crate::config::AuthConfig;

/// Wrong lines of a file that are told; it may be none of ours at all.
const FAULTS_TOLD_MAX: usize = 20;

/// Why such a file cannot be used.
#[derive(Debug)]
pub enum SecretsError {
    /// It cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It cannot be written.
    Unwritable(PathBuf, io::Error),
    /// Everybody on the machine can read it.
    Exposed(PathBuf),
    /// These lines of it are wrong, at least one.
    Wrong(PathBuf, Vec<LineFault>),
    /// It is not what it should be.
    Unsuitable(PathBuf, &'static str),
}

impl SecretsError {
    /// What is wrong with a file as a whole.
    pub fn of_file(file: &Path, reason: &'static str) -> SecretsError {
        SecretsError::Unsuitable(file.to_path_buf(), reason)
    }

    /// Which file it is about.
    pub fn file(&self) -> &Path {
        match self {
            SecretsError::Unreadable(file, _)
            | SecretsError::Unwritable(file, _)
            | SecretsError::Exposed(file)
            | SecretsError::Wrong(file, _)
            | SecretsError::Unsuitable(file, _) => file,
        }
    }
}

impl fmt::Display for SecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretsError::Unreadable(file, error) => {
                write!(f, "{}: cannot be read: {error}", file.display())
            }
            SecretsError::Unwritable(file, error) => {
                write!(f, "{}: cannot be written: {error}", file.display())
            }
            SecretsError::Exposed(file) => write!(
                f,
                "{0}: everybody on this machine can read it; `chmod o-rwx {0}`",
                file.display()
            ),
            SecretsError::Wrong(file, faults) => {
                for (index, fault) in faults.iter().take(FAULTS_TOLD_MAX).enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}:{fault}", file.display())?;
                }
                match faults.len().saturating_sub(FAULTS_TOLD_MAX) {
                    0 => Ok(()),
                    more => write!(f, "\n{}: {more} more lines are wrong", file.display()),
                }
            }
            SecretsError::Unsuitable(file, reason) => write!(f, "{}: {reason}", file.display()),
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
    let text = secret(file)?;
    Passwords::parse(&text).map_err(|fault| SecretsError::Wrong(file.to_path_buf(), vec![fault]))
}

/// The text of a file that not everybody may read, wiped after use.
///
/// # Errors
///
/// See [`SecretsError`].
pub fn secret(file: &Path) -> Result<Zeroizing<String>, SecretsError> {
    check_hidden(file)?;
    text(file).map(Zeroizing::new)
}

/// The text of a file.
///
/// # Errors
///
/// [`SecretsError::Unreadable`].
pub fn text(file: &Path) -> Result<String, SecretsError> {
    fs::read_to_string(file).map_err(|error| SecretsError::Unreadable(file.to_path_buf(), error))
}

/// Whether a file is kept from others than its owner and group.
///
/// # Errors
///
/// [`SecretsError::Unreadable`] or [`SecretsError::Exposed`].
pub fn check_hidden(file: &Path) -> Result<(), SecretsError> {
    let metadata = fs::metadata(file);
    let metadata = metadata.map_err(|error| SecretsError::Unreadable(file.to_path_buf(), error))?;
    if metadata.is_dir() {
        return Err(SecretsError::of_file(file, "this is a folder, expected a file"));
    }
    match metadata.permissions().mode() & 0o007 {
        0 => Ok(()),
        _ => Err(SecretsError::Exposed(file.to_path_buf())),
    }
}

/// What clients may do: the rules of the configuration and of the file it names.
///
/// # Errors
///
/// See [`SecretsError`].
pub fn rules(config: &AuthConfig) -> Result<Rules, SecretsError> {
    let mut rules = Rules::of(&config.rules, &config.groups);
    if let Some(file) = &config.acl_file {
        rules.add_acl(&text(file)?).map_err(|faults| SecretsError::Wrong(file.clone(), faults))?;
    }
    Ok(rules)
}

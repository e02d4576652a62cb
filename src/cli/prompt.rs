//! Passwords from the terminal, or from the first line of standard input: never an argument, which
//! others on the machine can see.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

const PASSWORD_BYTES_MAX: usize = 1024;

/// Why there is no password.
#[derive(Debug)]
pub(super) enum PromptError {
    /// It is empty, too long, or no text.
    Unsuitable,
    /// The two that were typed are not the same.
    Mistyped,
    /// The terminal failed.
    Io(io::Error),
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromptError::Unsuitable => {
                write!(f, "a password has 1 to {PASSWORD_BYTES_MAX} bytes of text")
            }
            PromptError::Mistyped => f.write_str("the two passwords are not the same"),
            PromptError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PromptError {}

impl From<io::Error> for PromptError {
    fn from(error: io::Error) -> PromptError {
        PromptError::Io(error)
    }
}

/// Asks twice for a user's password at a terminal, or reads it from standard input.
pub(super) fn password(user: &str) -> Result<Zeroizing<String>, PromptError> {
    if io::stdin().is_terminal() { ask_twice(user) } else { read_line() }
}

fn read_line() -> Result<Zeroizing<String>, PromptError> {
    let mut bytes = Zeroizing::new(Vec::new());
    // Room for the password and its line's end; what is longer is refused below.
    let mut input = io::stdin().lock().take(PASSWORD_BYTES_MAX as u64 + 2);
    input.read_until(b'\n', &mut bytes)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| PromptError::Unsuitable)?;
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let fits = (1..=PASSWORD_BYTES_MAX).contains(&password.len());
    if fits { Ok(Zeroizing::new(password.to_owned())) } else { Err(PromptError::Unsuitable) }
}

fn ask_twice(user: &str) -> Result<Zeroizing<String>, PromptError> {
    let _silence = Silence::begin()?;
    let ask = |question: &str| {
        write!(io::stderr(), "{question}: ")?;
        let answer = read_line();
        writeln!(io::stderr())?;
        answer
    };
    let password = ask(&format!("Password for {user}"))?;
    if *ask("Again")? == *password { Ok(password) } else { Err(PromptError::Mistyped) }
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing is left to try where the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

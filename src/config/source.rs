//! Where a configuration comes from, to be asked again on SIGHUP.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::draft::Draft;
use super::effective::Origins;
use super::error::{ConfigError, Fault, Origin, Problem};
use super::{Config, reference};

/// A file, an environment and flags; what comes later overrules what comes before.
#[derive(Clone, Debug, Default)]
pub struct Source {
    file: Option<PathBuf>,
    environment: Vec<(String, OsString)>,
    flags: Vec<Flag>,
}

#[derive(Clone, Debug)]
struct Flag {
    name: &'static str,
    key: &'static str,
    values: Vec<String>,
}

/// What the environment variables of ours begin with.
const PREFIX: &str = "HAWKER_";

/// Variables named like flags rather than keys.
const SHORT_VARIABLES: [(&str, &str); 3] = [
    ("HAWKER_LISTEN", "listeners"),
    ("HAWKER_LOG", "log.level"),
    ("HAWKER_LOG_FORMAT", "log.format"),
];

/// Largest file taken: a hundred thousand users and more.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// The variable that names the file; the command line reads it.
const FILE_VARIABLE: &str = "HAWKER_CONFIG";

impl Source {
    /// Nothing but the defaults.
    pub fn new() -> Source {
        Source::default()
    }

    /// With a file, read anew by every [`Source::load`].
    pub fn file(mut self, file: impl Into<PathBuf>) -> Source {
        self.file = Some(file.into());
        self
    }

    /// With the environment variables that are Hawker's.
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Source {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            // Compose files and unit files write `X=` for "not set".
            (!value.is_empty()).then_some((name, value))
        };
        self.environment.extend(variables.into_iter().filter_map(ours));
        self.environment.sort();
        self
    }

    /// With a flag that sets a key; only `listeners` takes several values.
    pub fn flag(mut self, name: &'static str, key: &'static str, values: Vec<String>) -> Source {
        self.flags.push(Flag { name, key, values });
        self
    }

    /// The file that is read.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Asks all of it again.
    ///
    /// Reads a file, so it is for the thread that starts and controls, not for a shard.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_with_origins().map(|(config, _)| config)
    }

    /// As [`Source::load`], and says where each value that is not the built-in one comes from.
    pub fn load_with_origins(&self) -> Result<(Config, Origins), ConfigError> {
        let mut draft = Draft::default();
        let mut is_exposed = false;
        if let Some(file) = &self.file {
            let (bytes, mode) = read_bounded(file)
                .map_err(|error| ConfigError::Unreadable { file: file.clone(), error })?;
            is_exposed = mode & 0o007 != 0;
            draft.take_file(file, &bytes);
        }
        for (variable, value) in &self.environment {
            take_variable(&mut draft, variable, value);
        }
        for flag in &self.flags {
            let origin = Origin::Flag { flag: flag.name };
            let values: Vec<&str> = flag.values.iter().map(String::as_str).collect();
            match (flag.key, values.as_slice()) {
                ("listeners", addresses) => draft.take_addresses(origin, addresses),
                (key, values) => {
                    values.iter().for_each(|value| draft.take_text(key, origin.clone(), value));
                }
            }
        }
        let origins = draft.origins.clone();
        let config = draft.finish()?;
        if let Some(file) = self.file.as_ref().filter(|_| is_exposed) {
            let keys = config.secrets_in_file(&origins);
            if !keys.is_empty() {
                return Err(ConfigError::Exposed { file: file.clone(), keys });
            }
        }
        Ok((config, origins))
    }
}

/// What is in a file, and who may read it.
fn read_bounded(file: &Path) -> io::Result<(Vec<u8>, u32)> {
    let mut bytes = Vec::new();
    let file = File::open(file)?;
    let metadata = file.metadata()?;
    // What is no file, such as a pipe, is nobody else's.
    let mode = if metadata.is_file() { metadata.permissions().mode() } else { 0 };
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok((bytes, mode))
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn take_variable(draft: &mut Draft, variable: &str, value: &OsString) {
    let origin = Origin::Environment { variable: variable.to_owned() };
    let short = SHORT_VARIABLES.iter().find(|(name, _)| *name == variable).map(|(_, key)| *key);
    let long = || reference::settable_keys().into_iter().find(|key| variable_of(key) == variable);
    let Some(key) = short.map(str::to_owned).or_else(long) else {
        return refuse_unknown(draft, variable, origin);
    };
    let Some(text) = value.to_str() else {
        let found = format!("{value:?}");
        let fault = Fault::Unsuitable { found, expected: "UTF-8".to_owned(), mend: None };
        return draft.report(Problem { origin, key, fault });
    };
    if key == "listeners" {
        let addresses: Vec<&str> = text.split(',').map(str::trim).collect();
        return draft.take_addresses(origin, &addresses);
    }
    draft.take_text(&key, origin, text);
}

/// Refuses a variable that was probably meant for us and leaves the others in peace: an
/// orchestrator sets `HAWKER_SERVICE_HOST` and its like for a service called hawker.
fn refuse_unknown(draft: &mut Draft, variable: &str, origin: Origin) {
    if variable == FILE_VARIABLE || is_of_orchestrator(variable) {
        return;
    }
    let nearest = nearest_variable(variable);
    if nearest.is_some() || variable.contains("__") {
        let fault = Fault::UnknownKey { nearest };
        draft.report(Problem { origin, key: String::new(), fault });
    }
}

fn is_of_orchestrator(variable: &str) -> bool {
    variable.contains("_SERVICE_") || variable.ends_with("_PORT") || variable.contains("_PORT_")
}

fn nearest_variable(variable: &str) -> Option<String> {
    let short = SHORT_VARIABLES.iter().map(|(name, _)| (*name).to_owned());
    let long = reference::settable_keys().into_iter().map(|key| variable_of(&key));
    let distance = |name: &String| strsim::damerau_levenshtein(name, variable);
    let near = short.chain(long).min_by_key(distance)?;
    let far = (variable.len() - PREFIX.len()) / 3;
    (distance(&near) <= far).then_some(near)
}

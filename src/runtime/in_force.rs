//! What is in force: the figures of the configuration that runs, and how it came to run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock;
use super::doors::Entry;
use crate::config::{Config, ListenerConfig};

/// Changed by a reload, read by a scrape.
pub(crate) struct InForce(Mutex<Figures>);

/// What is in force at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// `mqtt.sessions_max`
    pub(crate) sessions_max: u32,
    /// `mqtt.queue_memory_bytes_max`
    pub(crate) queue_memory_bytes_max: u64,
    /// When the certificates that a listener shows end, since 1970: by its name and their file.
    pub(crate) certificates_end: Vec<(String, PathBuf, Duration)>,
    /// When the lists of revoked certificates of a listener have to be replaced, since 1970.
    pub(crate) revoked_end: Vec<(String, Duration)>,
    /// Reloads that were applied.
    pub(crate) reloads_applied: u64,
    /// Reloads that were refused.
    pub(crate) reloads_refused: u64,
    /// Whether the last of them was applied, or the start is the last.
    pub(crate) is_last_applied: bool,
    /// When that was, since 1970.
    pub(crate) last_at: Duration,
}

impl InForce {
    /// What the broker starts with.
    pub(super) fn new(config: &Config, doors: &[Entry]) -> Arc<InForce> {
        let mut figures = Figures { is_last_applied: true, ..Figures::default() };
        figures.read(config, doors);
        figures.last_at = clock::since_1970();
        Arc::new(InForce(Mutex::new(figures)))
    }

    /// From now on this is.
    pub(super) fn applied(&self, config: &Config, doors: &[Entry]) {
        let mut figures = self.lock();
        figures.read(config, doors);
        figures.reloads_applied += 1;
        (figures.is_last_applied, figures.last_at) = (true, clock::since_1970());
    }

    /// What was to be is not.
    pub(super) fn refused(&self) {
        let mut figures = self.lock();
        figures.reloads_refused += 1;
        (figures.is_last_applied, figures.last_at) = (false, clock::since_1970());
    }

    pub(crate) fn figures(&self) -> Figures {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    fn read(&mut self, config: &Config, doors: &[Entry]) {
        self.sessions_max = config.mqtt.sessions_max;
        self.queue_memory_bytes_max = config.mqtt.queue_memory_bytes_max;
        let entries = || config.listeners.iter().zip(doors);
        let of_entry = |(listener, entry): (&ListenerConfig, &'_ Entry)| {
            let ends = entry.certificates_end().iter();
            ends.map(|(file, end)| (listener.name.clone(), file.clone(), *end)).collect::<Vec<_>>()
        };
        self.certificates_end = entries().flat_map(of_entry).collect();
        let revoked_end = |(listener, entry): (&ListenerConfig, &Entry)| {
            Some((listener.name.clone(), entry.revoked_end()?))
        };
        self.revoked_end = entries().filter_map(revoked_end).collect();
        let now = clock::since_1970();
        for (listener, _) in self.revoked_end.iter().filter(|(_, end)| *end <= now) {
            tracing::warn!(
                "{listener}: a list in client_crl has expired: no client of its issuer is let in \
                 until there is a new one"
            );
        }
    }
}

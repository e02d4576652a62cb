//! The configuration is read again, on SIGHUP or because an operator asks: it is applied as a whole or
//! not at all.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::in_force::InForce;
use super::mailbox::{Letter, Mailbox};
use super::visitors::Visitors;
use super::{ban_rule, clock, doors, policy};
use crate::config::{Config, Origins, Setting, Source};
use crate::control::Access;
use crate::embed::Hooks;
use crate::login::{SecretsError, Verifier};
use crate::shard::Porter;

/// A configuration that runs, and who goes by it.
pub(crate) struct Reloader {
    running: Mutex<Running>,
    /// `mqtt.sys_interval_s`; on its own, so that nobody who asks waits for files to be read.
    sys_interval_s: AtomicU32,
    goes_by: GoesBy,
}

/// Who goes by it.
pub(super) struct GoesBy {
    pub(super) mailboxes: Arc<Vec<Mailbox>>,
    pub(super) visitors: Arc<Visitors>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) in_force: Arc<InForce>,
    /// Who may use the admin server.
    pub(super) access: Arc<Access>,
}

struct Running {
    /// As the broker was started: what only a restart changes is still as it says.
    started: (Config, Origins),
    config: Config,
    /// Absent: the program that the broker is part of decides.
    source: Option<Source>,
    /// Where its values were given.
    origins: Origins,
}

/// Why nothing changed.
#[derive(Debug)]
pub(crate) enum ReloadError {
    /// The broker was started with a configuration of no source.
    NoSource,
    /// What is wrong.
    Wrong(String),
}

impl Reloader {
    pub(super) fn new(config: &Config, goes_by: GoesBy) -> Reloader {
        let running = Running {
            started: (config.clone(), Origins::new()),
            config: config.clone(),
            source: None,
            origins: Origins::new(),
        };
        Reloader {
            running: Mutex::new(running),
            sys_interval_s: AtomicU32::new(config.mqtt.sys_interval_s.into()),
            goes_by,
        }
    }

    /// From where the configuration is read again.
    pub(super) fn set_source(&self, source: Source) {
        let running = &mut *self.running();
        // It was right a moment ago; if it is not any more, nobody knows where values came from.
        running.origins =
            source.load_with_origins().map(|(_, origins)| origins).unwrap_or_default();
        running.started.1.clone_from(&running.origins);
        running.source = Some(source);
    }

    /// Applies what the configuration says now; nothing of it if anything is wrong. The keys that
    /// wait for a restart. Reads files, so it is not for a task that others wait for.
    pub(crate) fn reload(&self) -> Result<Vec<&'static str>, ReloadError> {
        let running = &mut *self.running();
        let source = running.source.as_ref().ok_or(ReloadError::NoSource)?;
        let outcome = match source.load_with_origins() {
            Ok((config, origins)) => {
                self.apply(running, config, origins).map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("\n{error}")),
        };
        match outcome {
            Ok(waiting) => {
                tracing::info!("configuration reloaded");
                Ok(waiting)
            }
            Err(error) => {
                tracing::error!("configuration not reloaded, nothing changed: {error}");
                self.goes_by.in_force.refused();
                Err(ReloadError::Wrong(error.trim_start().to_owned()))
            }
        }
    }

    fn apply(
        &self,
        running: &mut Running,
        config: Config,
        origins: Origins,
    ) -> Result<Vec<&'static str>, Box<dyn Error>> {
        let waiting = running.started.0.waiting_for_restart(&config);
        // Which listeners there are waits for a restart: connections are known by their place
        // among those that run, and so are their doors and rules.
        let config = Config { listeners: running.config.listeners.clone(), ..config };
        let doors =
            doors::open(&config).map_err(|error| config.blame(&origins, error.file(), &error))?;
        let blame = |error: SecretsError| config.blame(&origins, Some(error.file()), &error);
        if !waiting.is_empty() {
            tracing::warn!(keys = %waiting.join(", "), "changed, but only a restart applies it");
        }
        let (policy, chain) =
            policy(&config, &Hooks::default(), Some(Porter(self.goes_by.visitors.clone())))
                .map_err(blame)?;
        let GoesBy { mailboxes, visitors, verifier, in_force, access } = &self.goes_by;
        for whom in visitors.sync_bans(clock::wall()).map_err(blame)? {
            Mailbox::send_all(mailboxes, || Letter::LetGo(whom.clone()));
        }
        verifier.set_chain(chain)?;
        crate::cli::logging::set_levels(&config.log.level);
        visitors.set_rule(ban_rule(&config));
        access.set(&config);
        self.sys_interval_s.store(config.mqtt.sys_interval_s.into(), Ordering::Relaxed);
        for mailbox in mailboxes.iter() {
            mailbox.send(Letter::Reconfigure(Arc::clone(&policy)));
            mailbox.send(Letter::Doors(Arc::clone(&doors)));
        }
        in_force.applied(&config, &doors);
        (running.config, running.origins) = (config, origins);
        Ok(waiting)
    }

    /// How often `$SYS/` is told of; zero: not at all.
    pub(crate) fn sys_interval(&self) -> Duration {
        Duration::from_secs(self.sys_interval_s.load(Ordering::Relaxed).into())
    }

    /// Every key, its value in force and where that comes from; secrets are left out.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let running = self.running();
        let (started, origins) = &running.started;
        let settings = running.config.settings(&running.origins).into_iter();
        let pairs = settings.zip(started.settings(origins));
        pairs.map(|(read, started)| if read.needs_restart { started } else { read }).collect()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

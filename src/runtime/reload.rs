//! SIGHUP: the configuration is read again, and applied as a whole or not at all.

use std::error::Error;
use std::sync::Arc;

use super::in_force::InForce;
use super::mailbox::{Letter, Mailbox};
use super::visitors::Visitors;
use super::{ban_rule, doors, policy};
use crate::config::{Config, Source};
use crate::embed::Hooks;
use crate::login::Verifier;

/// A configuration that runs, where it came from, and who goes by it.
pub(super) struct Reloading {
    pub(super) running: Config,
    pub(super) source: Source,
    pub(super) mailboxes: Arc<Vec<Mailbox>>,
    pub(super) visitors: Arc<Visitors>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) in_force: Arc<InForce>,
}

impl Reloading {
    /// Applies what the configuration says now; nothing of it if anything is wrong.
    pub(super) fn reload(&mut self) {
        let config = match self.source.load() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("configuration not reloaded, nothing changed:\n{error}");
                return self.in_force.refused();
            }
        };
        match self.apply(config) {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => {
                tracing::error!("configuration not reloaded, nothing changed: {error}");
                self.in_force.refused();
            }
        }
    }

    fn apply(&mut self, config: Config) -> Result<(), Box<dyn Error>> {
        let waiting = self.running.waiting_for_restart(&config);
        // Which listeners there are waits for a restart: connections are known by their place
        // among those that run, and so are their doors and rules.
        let config = Config { listeners: self.running.listeners.clone(), ..config };
        let doors = doors::open(&config)?;
        if !waiting.is_empty() {
            tracing::warn!(keys = %waiting.join(", "), "changed, but only a restart applies it");
        }
        let (policy, chain) = policy(&config, &Hooks::default())?;
        self.verifier.set_chain(chain)?;
        crate::cli::logging::set_levels(&config.log.level);
        self.visitors.set_rule(ban_rule(&config));
        for mailbox in self.mailboxes.iter() {
            mailbox.send(Letter::Reconfigure(Arc::clone(&policy)));
            mailbox.send(Letter::Doors(Arc::clone(&doors)));
        }
        self.in_force.applied(&config, &doors);
        self.running = config;
        Ok(())
    }
}

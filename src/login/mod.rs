//! Who somebody is, found out beside the shards: it takes its time.
//!
//! A [`Chain`] has links, each of which knows a client, knows that it is not who it says, or does
//! not know it: users with passwords, tokens, a web service. The first that knows decides. What is
//! known of users with passwords and of tokens is known here; the service is asked by threads of
//! its own, so that one that is slow keeps nobody waiting whom it has nothing to do with.

mod keys;
mod password;
mod queue;
mod remember;
mod rules;
pub(crate) mod secrets;
mod service;
mod threads;
mod token;
mod web;

use self::password::Users;
use self::rules::RuleAdviser;
use self::service::Service;
use self::token::Tokens;
use crate::auth::{Asks, Login, Verdict};
use crate::config::AuthConfig;

pub use self::secrets::SecretsError;
pub(crate) use self::threads::Verifier;
#[cfg(feature = "fuzz")]
pub use self::token::{judge_token, sign_token};

/// Everybody who knows clients, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Chain {
    users: Option<Users>,
    tokens: Option<Tokens>,
    service: Option<Service>,
    /// Who knows what clients may do where rules leave it open.
    rules: Option<RuleAdviser>,
}

impl Chain {
    /// The links that a configuration names.
    ///
    /// # Errors
    ///
    /// The first file that is wrong.
    pub(crate) fn open(config: &AuthConfig) -> Result<Chain, SecretsError> {
        let passwords = config.password_file.as_deref().map(secrets::passwords).transpose()?;
        Ok(Chain {
            users: passwords.map(Users::new),
            tokens: Tokens::open(config)?,
            service: Service::open(config)?,
            rules: RuleAdviser::open(config)?,
        })
    }

    /// Whose CONNECT it is to be asked about.
    pub(crate) fn asks(&self) -> Asks {
        match (&self.service, self.users.is_some() || self.tokens.is_some()) {
            (Some(_), _) => Asks::Everybody,
            (None, true) => Asks::Credentials,
            (None, false) => Asks::Nobody,
        }
    }

    /// What can be said without asking anybody else.
    fn judge(&self, login: &Login) -> Verdict {
        let users = self.users.as_ref().map_or(Verdict::Ignore, |users| users.judge(login));
        if users != Verdict::Ignore {
            return users;
        }
        let tokens = self.tokens.as_ref().map_or(Verdict::Ignore, |tokens| tokens.judge(login));
        if tokens == Verdict::Ignore && self.service.is_none() {
            // Who does not exist takes as long to be refused as who does.
            self.users.iter().for_each(|users| users.judge_in_vain(login));
        }
        tokens
    }
}

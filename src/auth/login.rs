//! What a client says of itself, and what comes of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Rules;
use crate::time::Time;

/// A CONNECT whose sender is still to be known.
pub struct Login {
    /// The user name.
    pub user: Option<Box<str>>,
    /// The password, or what stands in its place.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// The client id; empty if the broker is to choose one.
    pub client_id: Box<str>,
    /// Where it comes from.
    pub address: IpAddr,
    /// The name of the listener it came to.
    pub listener: Box<str>,
    /// The common name of its certificate, if it has shown one.
    pub common_name: Option<Box<str>>,
}

/// Passwords do not belong in logs.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whose CONNECT is asked about before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    /// Nobody's: who gives a user name is taken as anybody else.
    #[default]
    Nobody,
    /// Those with a user name or a password.
    Credentials,
    /// Everybody's.
    Everybody,
}

/// Who a client has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Option<Box<str>>,
    /// Groups it belongs to, beside those of the configuration.
    pub groups: Vec<Box<str>>,
    /// Rules for it alone.
    pub rules: Rules,
    /// When its proof ends, and its connection with it.
    pub expires: Time,
}

impl Identity {
    /// A user of whom no more is known.
    pub fn user(name: impl Into<Box<str>>) -> Identity {
        Identity { user: Some(name.into()), ..Identity::default() }
    }
}

impl Default for Identity {
    fn default() -> Identity {
        Identity { user: None, groups: Vec::new(), rules: Rules::default(), expires: Time::NEVER }
    }
}

/// What is said of a [`Login`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is who it says.
    Allow(Arc<Identity>),
    /// It is not; whoever says so too often is kept out.
    Deny,
    /// It is known, and may not enter, or not any more.
    Forbid,
    /// Nobody knows it.
    Ignore,
    /// Too many wait to be asked about.
    Busy,
    /// Whoever would know cannot be asked.
    Unavailable,
}

//! Who may enter: passwords, and the built-in method of enhanced authentication.
//!
//! Knows no packet and does no IO: a [`ScramServer`] is handed one message of the client at a
//! time and answers with its own; [`Passwords`] are the text of a file, and checking one against
//! its [`PasswordHash`] is the driver's to do, away from the shards. A [`Login`] is what a client
//! says of itself, a [`Verdict`] what is said of it. [`CertificateNames`] are whom a checked
//! certificate is of. [`Rules`] say what clients may do, [`Banned`] whom a ban is about.

mod ban;
mod certificate;
mod fault;
mod login;
mod nonce;
mod password;
mod rate;
mod rules;
mod scram;

pub use ban::{Banned, place};
pub use certificate::{
    CertificateNames, Revoked, certificate_end, certificate_hosts, revocation_list_end,
};
pub use fault::LineFault;
pub use login::{Asks, Identity, Login, Verdict};
pub use nonce::Nonces;
pub use password::{PasswordHash, Passwords};
pub use rate::Rates;
pub use rules::{Action, Actor, Grants, Rules, meets};
pub use scram::{ScramError, ScramServer, ScramUsers};

//! Who may enter: the built-in method of enhanced authentication.
//!
//! Knows no packet and does no IO: a [`ScramServer`] is handed one message of the client at a
//! time and answers with its own.

mod scram;

pub use scram::{ScramError, ScramServer, ScramUsers};

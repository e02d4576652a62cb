//! `hawker token`: a token of the admin API, and the text by which the broker knows it.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::config::{AdminToken, Role};

/// Too many to be guessed, ever.
const TOKEN_BYTES: usize = 32;

/// Makes a token and prints it, this once.
pub(super) fn add(name: &str, role: Role) -> io::Result<()> {
    let mut secret = [0; TOKEN_BYTES];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let token = URL_SAFE_NO_PAD.encode(secret);
    let entry = entry(name, role, &token)?;
    writeln!(io::stdout(), "{token}")?;
    writeln!(
        io::stderr(),
        "Above is the token; it is not shown again. Add this text to admin_tokens, then SIGHUP:\n\
         \"{entry}\""
    )
}

fn entry(name: &str, role: Role, token: &str) -> io::Result<AdminToken> {
    let sha256 = Sha256::digest(token).into();
    let entry = AdminToken { name: name.to_owned(), role, sha256 };
    // A name that the configuration would refuse is refused here.
    entry.to_string().parse().map_err(|reason: &str| io::Error::other(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_one_that_the_configuration_takes() {
        let entry = entry("ops", Role::Viewer, "correct horse battery staple").expect("it is");
        let hash = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";
        assert_eq!(entry.to_string(), format!("ops:viewer:{hash}"));
        assert!(super::entry("a:b", Role::Viewer, "x").is_err());
    }
}

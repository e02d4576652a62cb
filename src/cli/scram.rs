//! `hawker scram`: from a password to the line of `[auth.scram_users]` that can check it.
//!
//! SCRAM prepares names and passwords with SASLprep (RFC 4013). Printable ASCII is what it leaves
//! as it is, so that alone is taken here: any client then hashes the same bytes.

use std::fmt;
use std::io::{self, Write as _};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::prompt::{self, PromptError};
use crate::config::ScramVerifier;

/// What RFC 7677 thought right in 2015; a device too weak for it has `--iterations 4096`.
pub(super) const ITERATIONS_DEFAULT: u32 = 15_000;

const SALT_BYTES: usize = 16;
/// Why no line was printed.
#[derive(Debug)]
pub(super) enum ScramError {
    /// The name has characters that SASLprep would change or forbid.
    User,
    /// The password has.
    Characters,
    /// There is none.
    Prompt(PromptError),
    /// The system's entropy, or the output, failed.
    Io(io::Error),
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScramError::User => f.write_str("a user name has 1 to 1024 printable ASCII characters"),
            ScramError::Characters => f.write_str(
                "a password has printable ASCII characters alone (SASLprep changes others, and not \
                 every client does)",
            ),
            ScramError::Prompt(error) => error.fmt(f),
            ScramError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ScramError {}

impl From<io::Error> for ScramError {
    fn from(error: io::Error) -> ScramError {
        ScramError::Io(error)
    }
}

/// Asks for the password and prints the line.
pub(super) fn print(user: &str, iterations: u32) -> Result<(), ScramError> {
    if !(1..=1024).contains(&user.len()) || !is_plain(user) {
        return Err(ScramError::User);
    }
    let password = prompt::password(user).map_err(ScramError::Prompt)?;
    if !is_plain(&password) {
        return Err(ScramError::Characters);
    }
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    let verifier = verifier(password.as_bytes(), &salt, iterations);
    writeln!(io::stdout(), "{} = \"{verifier}\"", toml_key(user))?;
    Ok(())
}

/// RFC 5802, section 3.
fn verifier(password: &[u8], salt: &[u8], iterations: u32) -> ScramVerifier {
    let salted_password: [u8; 32] =
        pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations);
    let client_key = hmac(&salted_password, b"Client Key");
    let stored_key = Sha256::digest(client_key).into();
    let server_key = hmac(&salted_password, b"Server Key");
    ScramVerifier { iterations, salt: salt.to_vec(), stored_key, server_key }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn toml_key(user: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if user.bytes().all(bare) {
        return user.to_owned();
    }
    format!("\"{}\"", user.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// The exchange of RFC 7677, section 3: with our keys the client's proof checks, and the
    /// server's signature is theirs.
    #[test]
    fn the_keys_are_those_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("Base64");
        let verifier = verifier(b"pencil", &salt, 4096);
        let message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac(&verifier.server_key, message);
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

        let proof =
            STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").expect("Base64");
        let client_signature = hmac(&verifier.stored_key, message);
        let client_key: Vec<u8> =
            proof.iter().zip(client_signature).map(|(left, right)| left ^ right).collect();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(client_key)), verifier.stored_key);
    }

    #[test]
    fn the_line_can_stand_in_the_file() {
        let verifier = verifier(b"pencil", &[7; SALT_BYTES], 4096);
        assert_eq!(verifier.to_string().parse(), Ok(verifier));
        assert_eq!(toml_key("alice-1"), "alice-1");
        assert_eq!(toml_key(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }

    #[test]
    fn only_what_saslprep_leaves_alone_is_taken() {
        assert!(is_plain("correct horse ~!"));
        assert!(!is_plain("p\u{e4}ss") && !is_plain("tab\t"));
    }
}

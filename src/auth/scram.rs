//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! ```text
//! client                                    server
//!   n,,n=user,r=cnonce               ->       start
//!                                    <-   r=cnonce+snonce,s=salt,i=iterations
//!   c=biws,r=cnonce+snonce,p=proof   ->       finish
//!                                    <-   v=signature
//! ```
//!
//! The server never sees the password, and keeps only what checks it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::config::{AuthConfig, ScramVerifier};

/// The users that can prove themselves.
#[derive(Clone, Debug, Default)]
pub struct ScramUsers(BTreeMap<String, ScramVerifier>);

impl ScramUsers {
    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is kept of a user's password. For somebody unknown, something that looks like it and
    /// that no proof fits: who asks cannot tell which users there are.
    fn verifier(&self, user: &str, decoy_key: &[u8]) -> (ScramVerifier, bool) {
        if let Some(verifier) = self.0.get(user) {
            return (verifier.clone(), true);
        }
        let decoy = sign(decoy_key, user.as_bytes());
        let sample = self.0.values().next();
        let salt_bytes = sample.map_or(16, |verifier| verifier.salt.len()).min(decoy.len());
        let verifier = ScramVerifier {
            iterations: sample.map_or(ScramVerifier::ITERATIONS_MIN, |v| v.iterations),
            salt: decoy[..salt_bytes].to_vec(),
            stored_key: sign(&decoy, b"stored"),
            server_key: sign(&decoy, b"server"),
        };
        (verifier, false)
    }
}

impl From<&AuthConfig> for ScramUsers {
    fn from(config: &AuthConfig) -> ScramUsers {
        ScramUsers(config.scram_users.clone())
    }
}

/// Why a client has not proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// The proof does not fit, or there is no such user.
    NotAuthorized,
    /// A message is not of the form that RFC 5802 gives it.
    Malformed,
    /// The client insists on binding the exchange to a TLS channel.
    ChannelBinding,
    /// The client wants to act for another user.
    AuthorizationIdentity,
    /// The client uses an extension that must be understood.
    Extension,
    /// The nonce is not the one that was sent.
    Nonce,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScramError::NotAuthorized => "the proof does not fit",
            ScramError::Malformed => "malformed SCRAM message",
            ScramError::ChannelBinding => "channel binding is not supported",
            ScramError::AuthorizationIdentity => "acting for another user is not supported",
            ScramError::Extension => "unknown mandatory SCRAM extension",
            ScramError::Nonce => "the nonce is not the one that was sent",
        })
    }
}

impl std::error::Error for ScramError {}

/// An exchange that waits for the client's proof.
pub struct ScramServer {
    user: String,
    verifier: ScramVerifier,
    is_known: bool,
    /// What the client's `c=` must say: its header, in Base64.
    binding: String,
    nonce: String,
    /// `client-first-message-bare "," server-first-message`.
    messages: String,
}

/// Neither nonces nor keys belong in logs.
impl fmt::Debug for ScramServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramServer").field("user", &self.user).finish_non_exhaustive()
    }
}

impl ScramServer {
    /// Takes the client's first message; returns the exchange and the answer. `nonce` is drawn
    /// for this exchange, `decoy_key` for the broker.
    ///
    /// # Errors
    ///
    /// Every [`ScramError`] but [`ScramError::NotAuthorized`]: that is told at the end.
    pub fn start(
        client_first: &[u8],
        users: &ScramUsers,
        nonce: &[u8],
        decoy_key: &[u8],
    ) -> Result<(ScramServer, Vec<u8>), ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(identity), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ScramError::Malformed);
        };
        match flag {
            // `y`: the client would bind to a channel and believes we cannot; it is right.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        }
        let mut attributes = bare.split(',');
        let first = attributes.next().ok_or(ScramError::Malformed)?;
        if first.starts_with("m=") {
            return Err(ScramError::Extension);
        }
        let user = unescape(first.strip_prefix("n=").ok_or(ScramError::Malformed)?)?;
        match identity.strip_prefix("a=") {
            Some(identity) if unescape(identity)? == user => {}
            Some(_) => return Err(ScramError::AuthorizationIdentity),
            None if identity.is_empty() => {}
            None => return Err(ScramError::Malformed),
        }
        let client_nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r="));
        let client_nonce = client_nonce.filter(|nonce| is_nonce(nonce));
        let client_nonce = client_nonce.ok_or(ScramError::Malformed)?;

        let (verifier, is_known) = users.verifier(&user, decoy_key);
        let nonce = format!("{client_nonce}{}", STANDARD.encode(nonce));
        let server_first =
            format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let binding = STANDARD.encode(format!("{flag},{identity},"));
        let messages = format!("{bare},{server_first}");
        let server = ScramServer { user, verifier, is_known, binding, nonce, messages };
        Ok((server, server_first.into_bytes()))
    }

    /// Takes the client's proof; returns who it is and the server's own proof.
    ///
    /// # Errors
    ///
    /// [`ScramError::NotAuthorized`] for a wrong password and an unknown user alike.
    pub fn finish(self, client_final: &[u8]) -> Result<(String, Vec<u8>), ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|attribute| attribute.strip_prefix("c="));
        if binding.ok_or(ScramError::Malformed)? != self.binding {
            return Err(ScramError::ChannelBinding);
        }
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r="));
        if nonce.ok_or(ScramError::Malformed)? != self.nonce {
            return Err(ScramError::Nonce);
        }
        let signed = format!("{},{without_proof}", self.messages);
        let signature = sign(&self.verifier.stored_key, signed.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, mask)| *byte ^= mask);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        // The comparison is made for unknown users too, and takes the same time wherever the
        // keys differ.
        if !is_same(&stored_key, &self.verifier.stored_key) | !self.is_known {
            return Err(ScramError::NotAuthorized);
        }
        let signature = sign(&self.verifier.server_key, signed.as_bytes());
        Ok((self.user, format!("v={}", STANDARD.encode(signature)).into_bytes()))
    }
}

fn sign(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// A user name as written: `=2C` is a comma, `=3D` an equals sign, no other `=` may stand.
fn unescape(name: &str) -> Result<String, ScramError> {
    let mut parts = name.split('=');
    let mut user = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(ScramError::Malformed),
        };
        user.push(character);
        user.push_str(rest);
    }
    if user.is_empty() { Err(ScramError::Malformed) } else { Ok(user) }
}

/// Printable ASCII without a comma, at least one.
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    /// The user of RFC 7677, section 3: `user` with the password `pencil`.
    fn users() -> ScramUsers {
        let verifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
                        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
                        :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let verifier: ScramVerifier = verifier.parse().expect("a verifier");
        ScramUsers(BTreeMap::from([("user".to_owned(), verifier)]))
    }

    /// The exchange of RFC 7677, whose server nonce is not Base64.
    fn exchange() -> ScramServer {
        let (mut server, _) = ScramServer::start(FIRST.as_bytes(), &users(), b"", b"").unwrap();
        server.nonce.push_str("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        server.messages = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            server.nonce
        );
        server
    }

    #[test]
    fn the_exchange_of_rfc_7677_succeeds() {
        let (user, answer) = exchange().finish(FINAL.as_bytes()).unwrap();
        assert_eq!(user, "user");
        assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn the_first_answer_holds_both_nonces_the_salt_and_the_count() {
        let (_, answer) = ScramServer::start(FIRST.as_bytes(), &users(), &[0; 3], b"").unwrap();
        let expected = "r=rOprNGfwEbeRWgbNEkqOAAAA,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }

    #[test]
    fn a_wrong_proof_and_an_unknown_user_look_alike() {
        let wrong = FINAL.replace("p=dHzb", "p=AAAA");
        assert_eq!(exchange().finish(wrong.as_bytes()).unwrap_err(), ScramError::NotAuthorized);
        let first = FIRST.replace("n=user", "n=nobody");
        let (server, answer) =
            ScramServer::start(first.as_bytes(), &users(), &[1; 24], b"key").unwrap();
        let (_, again) = ScramServer::start(first.as_bytes(), &users(), &[1; 24], b"key").unwrap();
        assert_eq!(answer, again, "a decoy does not change");
        assert!(answer.ends_with(b",i=4096"));
        let text = format!("c=biws,r={},p={}", server.nonce, STANDARD.encode([7; 32]));
        assert_eq!(server.finish(text.as_bytes()).unwrap_err(), ScramError::NotAuthorized);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let cases = [
            ("p=tls-unique,,n=user,r=abc", ScramError::ChannelBinding),
            ("n,a=other,n=user,r=abc", ScramError::AuthorizationIdentity),
            ("n,,m=ext,n=user,r=abc", ScramError::Extension),
            ("n,,n=us=2Ger,r=abc", ScramError::Malformed),
            ("n,,n=,r=abc", ScramError::Malformed),
            ("n,,n=user,r=", ScramError::Malformed),
            ("n,,n=user", ScramError::Malformed),
            ("", ScramError::Malformed),
        ];
        for (first, expected) in cases {
            let error = ScramServer::start(first.as_bytes(), &users(), b"", b"").unwrap_err();
            assert_eq!(error, expected, "{first}");
        }
        let other = FINAL.replace("rOpr", "Xxxx");
        assert_eq!(exchange().finish(other.as_bytes()).unwrap_err(), ScramError::Nonce);
        let other = FINAL.replace("c=biws", "c=eSws");
        assert_eq!(exchange().finish(other.as_bytes()).unwrap_err(), ScramError::ChannelBinding);
    }

    #[test]
    fn user_names_may_hold_commas_and_equals_signs() {
        assert_eq!(unescape("a=2Cb=3Dc").unwrap(), "a,b=c");
    }

    #[test]
    fn no_changed_bit_is_accepted() {
        for index in 0..FINAL.len() {
            for bit in 0..8 {
                let mut text = FINAL.as_bytes().to_vec();
                text[index] ^= 1 << bit;
                assert!(exchange().finish(&text).is_err(), "byte {index}, bit {bit}");
            }
            assert!(exchange().finish(&FINAL.as_bytes()[..index]).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_client_make_it_panic(
            first in prop::collection::vec(any::<u8>(), 0..80),
            last in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let _ = ScramServer::start(&first, &users(), &[0; 24], b"key");
            prop_assert!(exchange().finish(&last).is_err());
        }
    }
}

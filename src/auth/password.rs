//! User names and passwords: a file of hashes, and how one is checked.
//!
//! A line of the file is `user:hash`. Hashes are Argon2id, as `hawker passwd` writes them, and what
//! Mosquitto writes: `$argon2id$`, `$7$` (PBKDF2 with SHA-512) and `$6$` (one round of SHA-512).
//! Checking takes its time on purpose: never on a shard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHash as Encoded, PasswordVerifier as _, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use super::fault::LineFault;

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// Argon2id, in the PHC format.
    Argon2id(Box<str>),
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        /// Rounds.
        iterations: u32,
        /// Drawn for this password.
        salt: Box<[u8]>,
        /// Of the password and the salt.
        hash: Box<[u8]>,
    },
    /// SHA-512 of the password and the salt: quick to guess, taken for those who move over.
    Sha512 {
        /// Drawn for this password.
        salt: Box<[u8]>,
        /// Of the password and the salt.
        hash: Box<[u8]>,
    },
}

/// Keys do not belong in logs.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PasswordHash::Argon2id(_) => "Argon2id(..)",
            PasswordHash::Pbkdf2 { .. } => "Pbkdf2(..)",
            PasswordHash::Sha512 { .. } => "Sha512(..)",
        })
    }
}

/// The users of a password file.
#[derive(Clone, Debug, Default)]
pub struct Passwords {
    users: BTreeMap<Box<str>, Arc<PasswordHash>>,
}

/// Rounds of PBKDF2 that are carried out at most, some seconds of work.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Memory that an Argon2id hash may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 1 << 20;

impl Passwords {
    /// Reads a file: a line a user, empty ones and those that begin with `#` aside.
    ///
    /// # Errors
    ///
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Passwords, LineFault> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |reason| LineFault { line: index + 1, reason };
            let (user, hash) = line.split_once(':').ok_or(fault("no \"user:hash\""))?;
            if user.is_empty() {
                return Err(fault("no user name before the colon"));
            }
            let hash = PasswordHash::parse(hash.trim_end()).map_err(fault)?;
            if users.insert(user.into(), Arc::new(hash)).is_some() {
                return Err(fault("the user has a line already"));
            }
        }
        Ok(Passwords { users })
    }

    /// What is kept of a user's password.
    pub fn get(&self, user: &str) -> Option<&Arc<PasswordHash>> {
        self.users.get(user)
    }

    /// What is kept of somebody's, to be checked in vain for those who do not exist.
    pub fn any(&self) -> Option<&Arc<PasswordHash>> {
        self.users.values().next()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl PasswordHash {
    fn parse(text: &str) -> Result<PasswordHash, &'static str> {
        let broken = "the hash is not whole";
        let bytes = |salt: &str, hash: &str| {
            let decode = |text: &str| STANDARD.decode(text).map(Vec::into_boxed_slice);
            let (salt, hash) = decode(salt).ok().zip(decode(hash).ok()).ok_or(broken)?;
            if hash.len() == 64 { Ok((salt, hash)) } else { Err(broken) }
        };
        if text.starts_with("$argon2id$") {
            let encoded = Encoded::new(text).map_err(|_| broken)?;
            let params = Params::try_from(&encoded).map_err(|_| broken)?;
            if params.m_cost() > MEMORY_KIB_MAX || encoded.hash.is_none() {
                return Err("the hash asks for too much memory, or is not whole");
            }
            return Ok(PasswordHash::Argon2id(text.into()));
        }
        let parts: Vec<&str> = text.split('$').collect();
        match parts[..] {
            ["", "7", iterations, salt, hash] => {
                let iterations = iterations.parse().map_err(|_| broken)?;
                if !(1..=ITERATIONS_MAX).contains(&iterations) {
                    return Err("the rounds are none, or too many");
                }
                let (salt, hash) = bytes(salt, hash)?;
                Ok(PasswordHash::Pbkdf2 { iterations, salt, hash })
            }
            ["", "6", salt, hash] => {
                let (salt, hash) = bytes(salt, hash)?;
                Ok(PasswordHash::Sha512 { salt, hash })
            }
            _ => Err("no hash that is known: $argon2id$, $7$ or $6$; `hawker passwd` writes one"),
        }
    }

    /// Whether it is this password's. Takes milliseconds and memory as the hash has it.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            PasswordHash::Argon2id(encoded) => Encoded::new(encoded)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            PasswordHash::Pbkdf2 { iterations, salt, hash } => {
                let mut own = [0; 64];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut own);
                own.ct_eq(hash).into()
            }
            PasswordHash::Sha512 { salt, hash } => {
                let own = Sha512::new().chain_update(password).chain_update(salt).finalize();
                own.as_slice().ct_eq(hash).into()
            }
        }
    }

    /// The line of a password file for this password, with Argon2id (19 MiB, two rounds: the first
    /// choice of OWASP) and a salt that was drawn for it.
    ///
    /// # Panics
    ///
    /// Never: the parameters are legal.
    pub fn encode(password: &[u8], salt: &[u8; 16]) -> String {
        let params = Params::new(19 << 10, 2, 1, None).expect("legal parameters");
        let mut hash = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut hash)
            .expect("legal lengths");
        let base64 = base64::engine::general_purpose::STANDARD_NO_PAD;
        format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", base64.encode(salt), base64.encode(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, password: &str) -> bool {
        let passwords = Passwords::parse(line).unwrap_or_else(|fault| panic!("{fault}"));
        passwords.get("ann").expect("she has a line").verify(password.as_bytes())
    }

    #[test]
    fn what_is_written_is_read() {
        let line = format!("ann:{}\n", PasswordHash::encode(b"secret", &[7; 16]));
        assert!(check(&line, "secret") && !check(&line, "Secret") && !check(&line, ""));
    }

    /// Lines that `mosquitto_passwd` 2.0.11 wrote for the password `secret`.
    #[test]
    fn what_mosquitto_writes_is_read() {
        let pbkdf2 = "ann:$7$101$63NVWLzgBFy07tWG$o9rBIpBfWyR41Y6yBL1p02KYCqQLwFca\
             Kgur0dTKU6udNFIkCBRNULB1ji4ovMTvPDuznSZoIdH4pQnZGP3FrQ==";
        let sha512 = "ann:$6$jQfirfIG1Ug46Xeu$YDLYMPg9ZZueR58byA8C/j8XaRB9pGixWgmS\
             KJNJt7Yp4gpeOEqpPVumedTzvbL0JUd2pWbOqKbgb+EtVKTruA==";
        for line in [pbkdf2, sha512] {
            assert!(check(line, "secret") && !check(line, "secre"), "{line}");
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let fault = |text: &str| Passwords::parse(text).map(|users| users.len()).unwrap_err();
        assert_eq!(fault("# users\n\nann"), LineFault { line: 3, reason: "no \"user:hash\"" });
        assert_eq!(fault(":$6$a$b").reason, "no user name before the colon");
        assert!(fault("ann:secret").reason.starts_with("no hash that is known"));
        assert!(fault("ann:$7$0$YQ==$YQ==").reason.contains("rounds"));
        assert!(fault("ann:$argon2id$v=19$m=1,t=1").reason.contains("not whole"));
        let line = format!("ann:{}\n", PasswordHash::encode(b"x", &[0; 16]));
        assert_eq!(fault(&format!("{line}{line}")).line, 2);
    }

    #[test]
    fn a_hash_cannot_ask_for_all_memory() {
        let hash = PasswordHash::encode(b"x", &[0; 16]).replace("m=19456", "m=4194304");
        assert!(Passwords::parse(&format!("ann:{hash}")).is_err());
    }
}

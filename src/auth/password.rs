//! User names and passwords: a file of hashes, and how one is checked.
//!
//! A line of the file is `user:hash`, or `user:hash:{ publish = [...], subscribe = [...] }` with a
//! rule for this user alone. Hashes are Argon2id, as `hawker passwd` writes them, and what
//! Mosquitto writes: `$argon2id$`, `$7$` (PBKDF2 with SHA-512) and `$6$` (one round of SHA-512). A
//! file that begins with `{` is a credentials.json of Mosca. Checking takes its time on purpose:
//! never on a shard.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHash as Encoded, PasswordVerifier as _, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use super::fault::LineFault;
use super::{Identity, Rules};
use crate::config::RuleConfig;

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// Argon2id, in the PHC format.
    Argon2id(Box<str>),
    /// PBKDF2 with HMAC.
    Pbkdf2 {
        /// Of what the HMAC is.
        digest: Digest,
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

/// A hash function that an HMAC can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// Of Mosca.
    Sha1,
    /// Of Mosquitto.
    Sha512,
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
    users: BTreeMap<Box<str>, Arc<User>>,
}

/// A user of a password file.
#[derive(Clone, Debug)]
pub struct User {
    /// What is kept of the password.
    pub hash: PasswordHash,
    /// Who it is that knows it.
    pub identity: Arc<Identity>,
}

impl User {
    fn new(name: &str, hash: PasswordHash, rule: Option<RuleConfig>) -> Arc<User> {
        let rules = rule.map(|rule| Rules::of(&[rule], &BTreeMap::new())).unwrap_or_default();
        let identity = Arc::new(Identity { rules, ..Identity::user(name) });
        Arc::new(User { hash, identity })
    }
}

/// Rounds of PBKDF2 that are carried out at most, some seconds of work.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Bytes of a hash of Mosca's.
const MOSCA_HASH_BYTES: usize = 128;

/// Memory that an Argon2id hash may ask for, in KiB.
const MEMORY_KIB_MAX: u32 = 1 << 20;

impl Passwords {
    /// Reads a file: a line a user, empty ones and those that begin with `#` aside.
    ///
    /// # Errors
    ///
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Passwords, LineFault> {
        if text.trim_start().starts_with('{') {
            return Passwords::parse_mosca(text);
        }
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
            let (hash, rule) = match hash.split_once(':') {
                Some((hash, rule)) => (hash, Some(RuleConfig::parse(rule).map_err(fault)?)),
                None => (hash, None),
            };
            let hash = PasswordHash::parse(hash.trim_end()).map_err(fault)?;
            if users.insert(user.into(), User::new(user, hash, rule)).is_some() {
                return Err(fault("the user has a line already"));
            }
        }
        Ok(Passwords { users })
    }

    /// `{"user": {"salt": ..., "hash": ..., "authorizePublish": GLOB, "authorizeSubscribe": GLOB}}`.
    fn parse_mosca(text: &str) -> Result<Passwords, LineFault> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            salt: String,
            hash: String,
            authorize_publish: Option<String>,
            authorize_subscribe: Option<String>,
        }
        let shape = "not as Mosca writes it: \"user\": {\"salt\", \"hash\", \"authorizePublish\", \
                     \"authorizeSubscribe\"}";
        let entries: BTreeMap<String, Entry> = serde_json::from_str(text.trim_end())
            .map_err(|error| LineFault { line: error.line().max(1), reason: shape })?;
        let mut users = BTreeMap::new();
        for (name, entry) in entries {
            let place = text.find(&format!("\"{name}\"")).unwrap_or_default();
            let line = text[..place].lines().count().max(1);
            let fault = |reason| LineFault { line, reason };
            let bytes = |text: &str| STANDARD.decode(text).map(Vec::into_boxed_slice);
            let (Ok(salt), Ok(hash)) = (bytes(&entry.salt), bytes(&entry.hash)) else {
                return Err(fault("the hash is not whole"));
            };
            if hash.len() != MOSCA_HASH_BYTES {
                return Err(fault("the hash is not whole"));
            }
            let filter = |glob: Option<String>| {
                match glob {
                Some(glob) => filter_of_glob(&glob).ok_or(fault(
                    "a pattern that no topic filter says: ** is taken at the end, * as a whole level",
                )),
                None => Ok("#".to_owned()),
            }
            };
            let rule = RuleConfig {
                publish: vec![filter(entry.authorize_publish)?],
                subscribe: vec![filter(entry.authorize_subscribe)?],
                ..RuleConfig::default()
            };
            // Everything is what those have whom no rule is about.
            let is_open = rule.publish == ["#"] && rule.subscribe == ["#"];
            let hash =
                PasswordHash::Pbkdf2 { digest: Digest::Sha1, iterations: 10_000, salt, hash };
            let user = User::new(&name, hash, Some(rule).filter(|_| !is_open));
            users.insert(name.into_boxed_str(), user);
        }
        Ok(Passwords { users })
    }

    /// A user.
    pub fn get(&self, user: &str) -> Option<&Arc<User>> {
        self.users.get(user)
    }

    /// Somebody whose password is checked in vain for those who do not exist.
    pub fn any(&self) -> Option<&Arc<User>> {
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
                Ok(PasswordHash::Pbkdf2 { digest: Digest::Sha512, iterations, salt, hash })
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
            PasswordHash::Pbkdf2 { digest, iterations, salt, hash } => {
                let mut own = vec![0; hash.len()];
                match digest {
                    Digest::Sha1 => pbkdf2_hmac::<Sha1>(password, salt, *iterations, &mut own),
                    Digest::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut own),
                }
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

/// The topic filter that says what a pattern of Mosca's says, if one does.
fn filter_of_glob(glob: &str) -> Option<String> {
    let last = glob.split('/').count() - 1;
    let level = |(index, level): (usize, &str)| match level {
        "**" => (index == last).then_some("#".to_owned()),
        "*" => Some("+".to_owned()),
        plain => {
            (!plain.contains(|char| "*?[]{}()!@+#\\".contains(char))).then(|| plain.to_owned())
        }
    };
    let levels: Option<Vec<String>> = glob.split('/').enumerate().map(level).collect();
    levels.map(|levels| levels.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Actor;
    use crate::proto::QoS;

    fn check(line: &str, password: &str) -> bool {
        let passwords = Passwords::parse(line).unwrap_or_else(|fault| panic!("{fault}"));
        passwords.get("ann").expect("she has a line").hash.verify(password.as_bytes())
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
        // What is broken off has its last line named, not one behind it.
        assert_eq!(fault("{\n\"ann\": {\n").line, 2);
    }

    /// The file that `mosca adduser ann secret --authorize-publish 'own/*/**'` wrote.
    #[test]
    fn what_mosca_writes_is_read() {
        let text = include_str!("../../tests/support/mosca-credentials.json");
        assert!(check(text, "secret") && !check(text, "Secret"));
        let passwords = Passwords::parse(text).expect("the file of Mosca's");
        let grants = |user: &str| {
            let identity = &passwords.get(user).expect("a user of the file").identity;
            identity.rules.grants(Actor {
                user: Some(user),
                groups: &[],
                client_id: "c",
                address: [127, 0, 0, 1].into(),
                listener: "",
                common_name: None,
            })
        };
        assert!(grants("ann").may_publish("own/x/y/z", QoS::AtMostOnce, true));
        assert!(!grants("ann").may_publish("other", QoS::AtMostOnce, true));
        assert_eq!(grants("ann").may_subscribe("#"), Some(QoS::ExactlyOnce));
        assert!(passwords.get("bob").expect("bob").identity.rules.is_empty());
        let wrong = text.replace("own/*/**", "own/**/x");
        assert!(Passwords::parse(&wrong).unwrap_err().reason.starts_with("a pattern"));
        assert!(Passwords::parse("{\n\"a\": 1}").unwrap_err().line == 2);
    }

    #[test]
    fn a_line_may_hold_a_rule() {
        let hash = PasswordHash::encode(b"x", &[0; 16]);
        let line = format!("ann:{hash}:{{ publish = [\"own/%u/#\"] }}");
        let passwords = Passwords::parse(&line).expect("a line with a rule");
        assert!(!passwords.get("ann").expect("ann").identity.rules.is_empty());
        let wrong = Passwords::parse(&format!("ann:{hash}:{{ publish = 1 }}")).unwrap_err();
        assert!(wrong.reason.starts_with("after the hash"), "{wrong}");
    }

    #[test]
    fn a_hash_cannot_ask_for_all_memory() {
        let hash = PasswordHash::encode(b"x", &[0; 16]).replace("m=19456", "m=4194304");
        assert!(Passwords::parse(&format!("ann:{hash}")).is_err());
    }
}

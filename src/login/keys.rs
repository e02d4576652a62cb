//! The keys that tokens are signed with.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey};
use ureq::Agent;

use crate::config::without_password;

/// Bytes of a secret: fewer can be guessed from one token (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How soon keys are fetched again because a token names one that is not known, or because they
/// could not be fetched.
const FETCH_AGAIN: Duration = Duration::from_secs(10);

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// A key, and the algorithms it may be used with.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Keys do not belong in logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether a token that says so can be signed with it.
    pub(super) fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        let named = self.id.as_deref().zip(id).is_none_or(|(own, named)| own == named);
        named && self.algorithms.contains(&algorithm)
    }
}

/// Those that are known now.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// None before the first fetch.
    known: Arc<RwLock<Option<Arc<[Key]>>>>,
    /// Asks for another fetch.
    fetch: Option<SyncSender<()>>,
}

impl Keys {
    /// Those of a file's text.
    pub(super) fn parse(text: &str) -> Result<Keys, &'static str> {
        let known = Arc::new(RwLock::new(Some(parse(text)?.into())));
        Ok(Keys { known, fetch: None })
    }

    /// Those of a JWK set that is fetched again and again, by a thread that ends with them.
    pub(super) fn fetched(url: String, refresh: Duration) -> Keys {
        let known = Arc::new(RwLock::new(None));
        let (fetch, asked) = sync_channel(1);
        let weak = Arc::downgrade(&known);
        let agent: Agent =
            Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).build().into();
        let work = move || {
            loop {
                let keys = fetch_once(&agent, &url);
                let Some(known) = weak.upgrade() else { return };
                let pause = match keys {
                    Ok(keys) => {
                        *known.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.into());
                        refresh
                    }
                    Err(error) => {
                        let url = without_password(&url);
                        tracing::warn!(%url, "the keys of tokens stay as they are: {error}");
                        FETCH_AGAIN.min(refresh)
                    }
                };
                drop(known);
                // Who asks too soon waits, and nobody after it has to ask.
                std::thread::sleep(FETCH_AGAIN.min(pause) / 2);
                match asked.recv_timeout(pause) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let started = std::thread::Builder::new().name("login-keys".to_owned()).spawn(work);
        if let Err(error) = started {
            tracing::error!("the keys of tokens are not fetched: {error}");
        }
        Keys { known, fetch: Some(fetch) }
    }

    /// Those that are known; nothing before the first fetch.
    pub(super) fn known(&self) -> Option<Arc<[Key]>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token names a key that is not among them.
    pub(super) fn miss(&self) {
        if let Some(fetch) = &self.fetch {
            // Full: somebody has asked.
            let _ = fetch.try_send(());
        }
    }
}

fn fetch_once(agent: &Agent, url: &str) -> Result<Vec<Key>, String> {
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    of_set(&text).map_err(str::to_owned)
}

fn parse(text: &str) -> Result<Vec<Key>, &'static str> {
    if text.trim_start().starts_with('{') {
        return of_set(text);
    }
    if text.contains("-----BEGIN ") {
        return of_pem(text);
    }
    let secret = text.trim_end_matches(['\r', '\n']).as_bytes();
    if secret.len() < SECRET_BYTES_MIN {
        return Err("a secret has at least 32 bytes; `openssl rand -base64 48` draws one");
    }
    let key = DecodingKey::from_secret(secret);
    Ok(vec![Key { id: None, algorithms: HMAC.to_vec(), key }])
}

fn of_pem(text: &str) -> Result<Vec<Key>, &'static str> {
    let end = "-----END PUBLIC KEY-----";
    let blocks = text.split_inclusive(end).filter(|block| block.contains("-----BEGIN "));
    let key = |block: &str| {
        let pem = block.trim().as_bytes();
        let rsa = || Some((RSA.to_vec(), DecodingKey::from_rsa_pem(pem).ok()?));
        // Of which curve it is its length says: 65 bytes of P-256, 97 of P-384.
        let curve = vec![Algorithm::ES256, Algorithm::ES384];
        let elliptic = || Some((curve, DecodingKey::from_ec_pem(pem).ok()?));
        let edwards = || Some((vec![Algorithm::EdDSA], DecodingKey::from_ed_pem(pem).ok()?));
        let (algorithms, key) = rsa().or_else(elliptic).or_else(edwards)?;
        Some(Key { id: None, algorithms, key })
    };
    let keys: Option<Vec<Key>> = blocks.map(key).collect();
    keys.filter(|keys| !keys.is_empty())
        .ok_or("no public key: \"-----BEGIN PUBLIC KEY-----\" of RSA, P-256, P-384 or Ed25519")
}

fn of_set(text: &str) -> Result<Vec<Key>, &'static str> {
    let set: JwkSet = serde_json::from_str(text).map_err(|_| "no JWK set: {\"keys\": [...]}")?;
    // Keys of a kind that is not known here sign tokens for somebody else.
    let keys: Vec<Key> = set.keys.iter().filter_map(of_jwk).collect();
    if keys.is_empty() { Err("the JWK set has no key that signs") } else { Ok(keys) }
}

fn of_jwk(jwk: &Jwk) -> Option<Key> {
    let of_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA,
        AlgorithmParameters::OctetKey(_) => HMAC,
        AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
    };
    let said = jwk.common.key_algorithm.and_then(algorithm);
    let fits = |algorithm: &&Algorithm| said.is_none_or(|said| said == **algorithm);
    let algorithms: Vec<Algorithm> = of_kind.iter().filter(fits).copied().collect();
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let id = jwk.common.key_id.clone();
    (!algorithms.is_empty()).then_some(Key { id, algorithms, key })
}

fn algorithm(of: KeyAlgorithm) -> Option<Algorithm> {
    of.to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        assert!(parse("short").unwrap_err().starts_with("a secret has"));
        assert!(parse("{}").unwrap_err().starts_with("no JWK set"));
        assert!(parse("{\"keys\": []}").unwrap_err().starts_with("the JWK set"));
        assert!(parse("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").is_err());
        assert_eq!(parse(&"x".repeat(32)).map(|keys| keys.len()), Ok(1));
    }

    #[test]
    fn a_public_key_is_never_a_secret() {
        let jwk = "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\", \"kid\": \"1\"}, \
                   {\"kty\": \"EC\", \"crv\": \"P-256\", \"alg\": \"ES256\", \
                   \"x\": \"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\", \
                   \"y\": \"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}";
        let keys = parse(jwk).expect("two keys");
        assert!(keys[0].fits(Algorithm::HS256, Some("1")) && keys[0].fits(Algorithm::HS512, None));
        assert!(!keys[0].fits(Algorithm::HS256, Some("2")));
        assert!(keys[1].fits(Algorithm::ES256, Some("any")));
        assert!(!keys[1].fits(Algorithm::HS256, None) && !keys[1].fits(Algorithm::RS256, None));
    }
}

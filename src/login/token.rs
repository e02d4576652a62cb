//! Tokens in place of passwords (RFC 7519).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::keys::Keys;
use super::secrets::{self, SecretsError};
use crate::auth::{Identity, Login, Rules, Verdict};
use crate::config::{AuthConfig, RuleConfig, is_filter};
use crate::runtime::clock;
use crate::time::Time;

/// Whose tokens are taken, and what they have to say.
#[derive(Debug)]
pub(super) struct Tokens {
    keys: Keys,
    user_claim: String,
    issuer: Option<String>,
    audience: Option<String>,
}

type Claims = Map<String, Value>;

impl Tokens {
    /// Those that a configuration asks for.
    pub(super) fn open(config: &AuthConfig) -> Result<Option<Tokens>, SecretsError> {
        let Some(source) = &config.jwt_keys else { return Ok(None) };
        let keys = if source.contains("://") {
            Keys::fetched(source.clone(), Duration::from_secs(config.jwt_refresh_s.into()))
        } else {
            let file = Path::new(source);
            // Public keys are no secret.
            let text = Zeroizing::new(secrets::text(file)?);
            if !text.contains("-----BEGIN ") {
                secrets::check_hidden(file)?;
            }
            Keys::parse(&text).map_err(|reason| SecretsError::of_file(file, reason))?
        };
        Ok(Some(Tokens {
            keys,
            user_claim: config.jwt_user_claim.clone(),
            issuer: config.jwt_issuer.clone(),
            audience: config.jwt_audience.clone(),
        }))
    }

    pub(super) fn judge(&self, login: &Login) -> Verdict {
        let password = login.password.as_deref();
        let token = password.and_then(|password| str::from_utf8(password).ok());
        let Some((token, header)) = token.and_then(|t| Some((t, decode_header(t).ok()?))) else {
            return Verdict::Ignore;
        };
        let Some(keys) = self.keys.known() else { return Verdict::Unavailable };
        let id = header.kid.as_deref();
        let mut verdict = Verdict::Deny;
        let mut fitting = keys.iter().filter(|key| key.fits(header.alg, id)).peekable();
        if fitting.peek().is_none() {
            self.keys.miss();
        }
        for key in fitting {
            let mut validation = Validation::new(header.alg);
            validation.leeway = 0;
            validation.validate_nbf = true;
            validation.required_spec_claims.clear();
            match &self.audience {
                Some(audience) => validation.set_audience(&[audience]),
                None => validation.validate_aud = false,
            }
            if let Some(issuer) = &self.issuer {
                validation.set_issuer(&[issuer]);
            }
            if self.audience.is_some() {
                validation.required_spec_claims.insert("aud".to_owned());
            }
            if self.issuer.is_some() {
                validation.required_spec_claims.insert("iss".to_owned());
            }
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(token) => return self.identify(token.claims),
                Err(error) => match error.kind() {
                    // Whose signature is right is not guessing.
                    ErrorKind::ExpiredSignature
                    | ErrorKind::ImmatureSignature
                    | ErrorKind::InvalidAudience
                    | ErrorKind::InvalidIssuer
                    | ErrorKind::MissingRequiredClaim(_) => verdict = Verdict::Forbid,
                    _ => {}
                },
            }
        }
        verdict
    }

    fn identify(&self, claims: Claims) -> Verdict {
        let Some(user) = claims.get(&self.user_claim).and_then(Value::as_str) else {
            tracing::info!(claim = %self.user_claim, "a token does not name its user");
            return Verdict::Forbid;
        };
        let Some(rules) = claims.get("acl").map_or(Some(Rules::default()), rules) else {
            tracing::info!(user, "a token's acl is not one");
            return Verdict::Forbid;
        };
        let groups = claims.get("groups").and_then(Value::as_array);
        let groups = groups.into_iter().flatten().filter_map(Value::as_str).map(Box::from);
        // A time that is no number holds for nothing, rather than for ever.
        let is_wrong = |name: &&str| claims.get(*name).is_some_and(|time| !time.is_number());
        if let Some(claim) = ["exp", "nbf"].into_iter().find(is_wrong) {
            tracing::info!(user, claim, "a token's time is no number");
            return Verdict::Forbid;
        }
        let expires = claims.get("exp").and_then(Value::as_f64);
        let expires = expires.map_or(Time::NEVER, |s| Time::from_micros((s * 1e6) as u64));
        // On that second it is over (RFC 7519, section 4.1.4).
        if expires <= clock::wall() {
            return Verdict::Forbid;
        }
        Verdict::Allow(Arc::new(Identity {
            user: Some(user.into()),
            groups: groups.collect(),
            rules,
            expires,
        }))
    }
}

/// What a token comes to where tokens are signed with this secret: for the fuzzer.
#[cfg(feature = "fuzz")]
pub fn judge_token(secret: &str, token: &[u8]) -> Verdict {
    let keys = Keys::parse(secret).expect("the secret is long enough");
    let tokens = Tokens { keys, user_claim: "sub".to_owned(), issuer: None, audience: None };
    tokens.judge(&Login {
        user: None,
        password: Some(Zeroizing::new(token.to_vec())),
        client_id: "fuzzer".into(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        listener: "".into(),
        common_name: None,
    })
}

/// A token that says this, signed with the secret; nothing if it is no JSON object.
#[cfg(feature = "fuzz")]
pub fn sign_token(secret: &str, claims: &[u8]) -> Option<String> {
    let claims: Claims = serde_json::from_slice(claims).ok()?;
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).ok()
}

/// What a token grants: `{"pub": [...], "sub": [...], "all": [...]}`, as EMQX has it.
fn rules(acl: &Value) -> Option<Rules> {
    let acl = acl.as_object()?;
    let filters = |name: &str| -> Option<Vec<String>> {
        let Some(value) = acl.get(name) else { return Some(Vec::new()) };
        let filter = |value: &Value| {
            let filter = value.as_str()?;
            let filter = filter.replace("${clientid}", "%c").replace("${username}", "%u");
            is_filter(&filter).then_some(filter)
        };
        value.as_array()?.iter().map(filter).collect()
    };
    let (mut publish, mut subscribe) = (filters("pub")?, filters("sub")?);
    let all = filters("all")?;
    publish.extend(all.iter().cloned());
    subscribe.extend(all);
    // Nothing may be granted, which is not the same as everything.
    let rule = RuleConfig { publish, subscribe, is_given: true, ..RuleConfig::default() };
    Some(Rules::of(&[rule], &Default::default()))
}

//! Who may use the admin API, and from where.
//!
//! Without any token, programs of this machine may, as long as nobody stands between: a web page
//! elsewhere, a name that was made to mean this machine, or a proxy. With tokens, their holders.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::api::Refusal;
use crate::config::{AdminToken, Config, Role};
use crate::time::Time;

/// Wrong tokens from one address after which it has to wait.
const FAILURES_MAX: u32 = 10;

/// How long it waits, and how long wrong tokens are remembered.
const FAILURES_KEPT: Duration = Duration::from_secs(60);

/// Addresses whose wrong tokens are remembered; beyond them all are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// The header that a web page elsewhere cannot send unasked.
pub(crate) const OWN_HEADER: &str = "x-hawker";

/// What proxies add.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// See the module.
pub(crate) struct Access {
    /// Whether only this machine reaches the admin address.
    is_local: bool,
    rules: RwLock<Rules>,
    failures: Mutex<HashMap<IpAddr, (u32, Time)>>,
}

struct Rules {
    tokens: Vec<AdminToken>,
    hosts: Vec<String>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// The name of the token; `local` without.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// From where.
    pub(crate) address: SocketAddr,
}

impl Who {
    /// Refuses something to whom has a lesser role.
    pub(crate) fn require(&self, role: Role, what: &str) -> Result<(), Refusal> {
        if self.role >= role {
            return Ok(());
        }
        let (needed, name, is) = (role.name(), &self.name, self.role.name());
        let message = format!("{what} needs a token of the role {needed}; {name} is {is}");
        Err(Refusal::new(StatusCode::FORBIDDEN, "role_too_low", message))
    }
}

impl Access {
    pub(crate) fn new(config: &Config) -> Access {
        Access {
            is_local: config.admin.is_some_and(|admin| admin.ip().is_loopback()),
            rules: RwLock::new(Rules::of(config)),
            failures: Mutex::default(),
        }
    }

    /// Goes on by another configuration.
    pub(crate) fn set(&self, config: &Config) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Rules::of(config);
    }

    /// Whether it takes a token to ask.
    pub(crate) fn has_tokens(&self) -> bool {
        !self.rules.read().unwrap_or_else(PoisonError::into_inner).tokens.is_empty()
    }

    /// Whether a request comes from where one may, whoever asks.
    pub(crate) fn judge_place(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).check_host(headers)?;
        check_site(headers)
    }

    /// Who asks, if that may ask at all.
    pub(crate) fn judge(
        &self,
        now: Time,
        address: SocketAddr,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Who, Refusal> {
        self.judge_place(headers)?;
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let who = match bearer(headers) {
            Some(token) => self.holder(&rules, now, address, token)?,
            None => self.local(&rules, address, headers)?,
        };
        let is_plain = bearer(headers).is_none() && !headers.contains_key(OWN_HEADER);
        if *method != Method::GET && *method != Method::HEAD && is_plain && !has_json(headers) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "guard_missing",
                "a request that changes something needs the header Content-Type: \
                 application/json or X-Hawker: 1, so that no form of a web page can send it",
            ));
        }
        Ok(who)
    }

    fn holder(
        &self,
        rules: &Rules,
        now: Time,
        address: SocketAddr,
        token: &str,
    ) -> Result<Who, Refusal> {
        let place = address.ip().to_canonical();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, until)) = failures.get(&place)
            && *until > now
            && *count >= FAILURES_MAX
        {
            let message = "too many wrong tokens from this address; wait a minute";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message));
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // Each is compared: how long it takes says nothing of which one is near.
        let is_it = |token: &&AdminToken| bool::from(token.sha256.ct_eq(&hash));
        let found = rules.tokens.iter().filter(is_it).fold(None, |_, token| Some(token));
        if let Some(AdminToken { name, role, .. }) = found {
            failures.remove(&place);
            return Ok(Who { name: name.clone(), role: *role, address });
        }
        if failures.len() >= ADDRESSES_MAX {
            failures.clear();
        }
        let entry = failures.entry(place).or_insert((0, now));
        if entry.1 <= now {
            entry.0 = 0;
        }
        *entry = (entry.0 + 1, now.after(FAILURES_KEPT));
        tracing::warn!(target: "hawker::audit", from = %address, "a wrong token");
        let message = "the token is not known; `hawker token add NAME ROLE` makes one";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "token_unknown", message))
    }

    fn local(
        &self,
        rules: &Rules,
        address: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Who, Refusal> {
        let is_near = self.is_local && address.ip().to_canonical().is_loopback();
        let is_direct = !PROXY_HEADERS.iter().any(|name| headers.contains_key(*name));
        if rules.tokens.is_empty() && is_near && is_direct {
            return Ok(Who { name: "local".to_owned(), role: Role::Admin, address });
        }
        let message = match rules.tokens.is_empty() {
            true => {
                "without tokens the API answers programs of this machine alone, at an admin \
                 address of the machine itself and not through a proxy; `hawker token add NAME \
                 ROLE` makes a token for admin_tokens"
            }
            false => "send a token: Authorization: Bearer TOKEN",
        };
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "token_needed", message))
    }
}

impl Rules {
    fn of(config: &Config) -> Rules {
        Rules { tokens: config.admin_tokens.clone(), hosts: config.admin_hosts.clone() }
    }

    /// An address is never the name of somebody else; a name may be.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = text(headers, header::HOST.as_str()).unwrap_or_default();
        let name = without_port(host).to_ascii_lowercase();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if is_address || name == "localhost" || self.hosts.contains(&name) {
            return Ok(());
        }
        let message = format!("{name:?} is no name of this server; add it to admin_hosts");
        Err(Refusal::new(StatusCode::FORBIDDEN, "host_unknown", message))
    }
}

/// A browser says from which page a request comes.
fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let site = text(headers, "sec-fetch-site");
    let is_same_site = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text(headers, header::HOST.as_str()).unwrap_or_default();
    let is_same_origin = text(headers, header::ORIGIN.as_str()).is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host))
    });
    if is_same_site && is_same_origin {
        return Ok(());
    }
    let message = "a web page of another site may not ask this";
    Err(Refusal::new(StatusCode::FORBIDDEN, "cross_site", message))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    // What is there and no text is not what it should be.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = text(headers, header::AUTHORIZATION.as_str())?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn has_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1:5000";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        [("host", "127.0.0.1:18083")].iter().chain(lines).map(line).collect()
    }

    fn with_token(token: &str, role: Role) -> Access {
        let sha256 = Sha256::digest(token).into();
        let token = AdminToken { name: "ops".into(), role, sha256 };
        let admin = Some("0.0.0.0:1".parse().expect("an address"));
        Access::new(&Config { admin, admin_tokens: vec![token], ..Config::default() })
    }

    fn asked(
        access: &Access,
        from: &str,
        method: &Method,
        lines: &[(&'static str, &str)],
    ) -> Result<Role, &'static str> {
        let (now, from) = (Time::from_micros(1), from.parse().expect("an address"));
        let who = access.judge(now, from, method, &headers(lines));
        who.map(|who| who.role).map_err(|refusal| refusal.code)
    }

    #[test]
    fn without_tokens_this_machine_alone_may_ask() {
        let access = Access::new(&Config::default());
        let ask = |from, lines: &[_]| asked(&access, from, &Method::GET, lines);
        assert_eq!(ask(LOCAL, &[]), Ok(Role::Admin));
        assert_eq!(ask("[::1]:5000", &[]), Ok(Role::Admin));
        assert_eq!(ask("10.0.0.1:5000", &[]), Err("token_needed"));
        assert_eq!(ask(LOCAL, &[("x-forwarded-for", "10.0.0.1")]), Err("token_needed"));
        assert_eq!(ask(LOCAL, &[("authorization", "Bearer x")]), Err("token_unknown"));
        let admin = Some("0.0.0.0:18083".parse().expect("an address"));
        let wide = Access::new(&Config { admin, ..Config::default() });
        assert_eq!(asked(&wide, LOCAL, &Method::GET, &[]), Err("token_needed"));
    }

    #[test]
    fn pages_and_names_of_others_are_refused() {
        let access = Access::new(&Config::default());
        let ask = |lines: &[_]| asked(&access, LOCAL, &Method::GET, lines);
        assert_eq!(ask(&[("sec-fetch-site", "cross-site")]), Err("cross_site"));
        assert_eq!(ask(&[("sec-fetch-site", "same-site")]), Err("cross_site"));
        assert_eq!(ask(&[("sec-fetch-site", "same-origin")]), Ok(Role::Admin));
        assert_eq!(ask(&[("origin", "https://evil.example")]), Err("cross_site"));
        assert_eq!(ask(&[("origin", "null")]), Err("cross_site"));
        assert_eq!(ask(&[("origin", "http://127.0.0.1:18083")]), Ok(Role::Admin));
        let host = |access: &Access, host: &str| {
            let headers = [(header::HOST, host.parse().expect("a value"))].into_iter().collect();
            let from = LOCAL.parse().expect("an address");
            access.judge(Time::from_micros(1), from, &Method::GET, &headers).map_err(|r| r.code)
        };
        for name in ["localhost", "LOCALHOST:18083", "[::1]:18083", "10.0.0.1"] {
            assert!(host(&access, name).is_ok(), "{name}");
        }
        for name in ["evil.example:18083", "localhost.evil.example", ""] {
            assert_eq!(host(&access, name).err(), Some("host_unknown"), "{name}");
        }
        let admin_hosts = vec!["broker.example".to_owned()];
        access.set(&Config { admin_hosts, ..Config::default() });
        assert!(host(&access, "Broker.example:443").is_ok());
    }

    #[test]
    fn what_changes_something_is_no_form() {
        let access = Access::new(&Config::default());
        let ask = |lines: &[_]| asked(&access, LOCAL, &Method::POST, lines);
        assert_eq!(ask(&[]), Err("guard_missing"));
        assert_eq!(ask(&[("content-type", "text/plain")]), Err("guard_missing"));
        assert_eq!(ask(&[("content-type", "application/json; charset=utf-8")]), Ok(Role::Admin));
        assert_eq!(ask(&[("x-hawker", "1")]), Ok(Role::Admin));
        let access = with_token("t", Role::Operator);
        let bearer = [("authorization", "Bearer t")];
        assert_eq!(asked(&access, LOCAL, &Method::DELETE, &bearer), Ok(Role::Operator));
    }

    #[test]
    fn who_guesses_tokens_has_to_wait() {
        let access = with_token("right", Role::Viewer);
        let ask = |from: &str, token: &str| {
            asked(&access, from, &Method::GET, &[("authorization", token)])
        };
        assert_eq!(asked(&access, LOCAL, &Method::GET, &[]), Err("token_needed"));
        for _ in 0..FAILURES_MAX {
            assert_eq!(ask("10.0.0.1:1", "Bearer wrong"), Err("token_unknown"));
        }
        assert_eq!(ask("10.0.0.1:2", "Bearer right"), Err("too_many_failures"));
        assert_eq!(ask("10.0.0.2:1", "bearer right"), Ok(Role::Viewer));
        let later = Time::from_micros(1).after(FAILURES_KEPT);
        let headers = headers(&[("authorization", "Bearer right")]);
        let from = "10.0.0.1:1".parse().expect("an address");
        assert!(access.judge(later, from, &Method::GET, &headers).is_ok());
    }
}

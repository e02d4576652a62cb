//! A web service that knows clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::remember::Remembered;
use super::secrets::SecretsError;
use super::web::{Reply, Web};
use crate::auth::{Identity, Login, Rules, Verdict};
use crate::config::{AuthConfig, RuleConfig, is_filter};
use crate::runtime::clock;
use crate::time::Time;

/// Where the service is, and what it said.
pub(super) struct Service {
    web: Web,
    /// How long what it allows is remembered.
    lasts: Duration,
    allowed: Remembered<Arc<Identity>>,
}

/// Its token does not belong in logs.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("url", &self.web.place()).finish_non_exhaustive()
    }
}

/// What is asked, in JSON.
#[derive(Serialize)]
struct Question<'a> {
    user: Option<&'a str>,
    /// As text, if it is one.
    password: Option<&'a str>,
    /// In Base64, if it is no text.
    password_base64: Option<String>,
    client_id: &'a str,
    address: String,
    listener: &'a str,
    common_name: Option<&'a str>,
}

/// What it answers, in JSON.
#[derive(Deserialize)]
struct Answer {
    result: Finding,
    user: Option<Box<str>>,
    #[serde(default)]
    groups: Vec<Box<str>>,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    deny_publish: Option<Vec<String>>,
    deny_subscribe: Option<Vec<String>>,
    expires_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    Allow,
    Deny,
    Ignore,
}

impl Service {
    /// The service that a configuration names.
    pub(super) fn open(config: &AuthConfig) -> Result<Option<Service>, SecretsError> {
        let Some(url) = config.http_url.clone() else { return Ok(None) };
        Ok(Some(Service {
            web: Web::open(url, config)?,
            lasts: Duration::from_secs(config.http_cache_s.into()),
            allowed: Remembered::new(),
        }))
    }

    /// Requests at a time.
    pub(super) fn connections(&self) -> usize {
        self.web.connections()
    }

    pub(super) fn judge(&self, login: &Login) -> Verdict {
        let bytes = |text: &Option<Box<str>>| text.as_deref().unwrap_or("\0").as_bytes().to_vec();
        let tag = self.allowed.tag([
            &bytes(&login.user),
            login.password.as_deref().map_or(b"\0", |password| password),
            login.client_id.as_bytes(),
            login.address.to_string().as_bytes(),
            login.listener.as_bytes(),
            &bytes(&login.common_name),
        ]);
        if let Some(identity) = self.allowed.get(&tag) {
            return Verdict::Allow(identity);
        }
        let verdict = self.ask(login).unwrap_or_else(|error| {
            tracing::warn!(url = %self.web.place(), %error, "nobody is let in: the service does not answer");
            Verdict::Unavailable
        });
        if let Verdict::Allow(identity) = &verdict
            && !self.lasts.is_zero()
        {
            // Who comes once its time is over is asked about anew.
            let left = identity.expires.since(clock::wall());
            self.allowed.put(tag, Arc::clone(identity), Some(self.lasts.min(left)));
        }
        verdict
    }

    fn ask(&self, login: &Login) -> Result<Verdict, Box<dyn std::error::Error>> {
        let password = login.password.as_deref();
        let text = password.and_then(|password| str::from_utf8(password).ok());
        let question = Question {
            user: login.user.as_deref(),
            password: text,
            password_base64: password.filter(|_| text.is_none()).map(|p| STANDARD.encode(p)),
            client_id: &login.client_id,
            address: login.address.to_string(),
            listener: &login.listener,
            common_name: login.common_name.as_deref(),
        };
        let answer: Answer = match self.web.ask(&question)? {
            Reply::Allow => return Ok(Verdict::Allow(Arc::new(said_itself(login)))),
            Reply::Deny => return Ok(Verdict::Deny),
            Reply::Said(answer) => answer,
        };
        Ok(match answer.result {
            Finding::Allow => Verdict::Allow(Arc::new(answer.identity(login)?)),
            Finding::Deny => Verdict::Deny,
            Finding::Ignore => Verdict::Ignore,
        })
    }
}

fn said_itself(login: &Login) -> Identity {
    Identity { user: login.user.clone(), ..Identity::default() }
}

impl Answer {
    fn identity(self, login: &Login) -> Result<Identity, String> {
        let lists = [&self.publish, &self.subscribe, &self.deny_publish, &self.deny_subscribe];
        let rule = RuleConfig {
            is_given: lists.iter().any(|list| list.is_some()),
            publish: self.publish.unwrap_or_default(),
            subscribe: self.subscribe.unwrap_or_default(),
            deny_publish: self.deny_publish.unwrap_or_default(),
            deny_subscribe: self.deny_subscribe.unwrap_or_default(),
            ..RuleConfig::default()
        };
        let filters = [&rule.publish, &rule.subscribe, &rule.deny_publish, &rule.deny_subscribe];
        if let Some(wrong) = filters.into_iter().flatten().find(|filter| !is_filter(filter)) {
            return Err(format!("{wrong:?} is no topic filter"));
        }
        let expires = self.expires_s.map_or(Time::NEVER, |seconds| {
            clock::wall().after(Duration::from_secs(seconds.min(1 << 32)))
        });
        Ok(Identity {
            user: self.user.or_else(|| login.user.clone()),
            groups: self.groups,
            rules: Rules::of(&[rule], &Default::default()),
            expires,
        })
    }
}

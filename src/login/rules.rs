//! A web service that knows what clients may do, where rules leave it open.

use serde::{Deserialize, Serialize};

use super::secrets::SecretsError;
use super::web::{Reply, Web};
use crate::auth::Action;
use crate::config::AuthConfig;
use crate::shard::{Act, RuleQuestion};

/// See the module.
#[derive(Debug)]
pub(super) struct RuleAdviser(Web);

/// What is asked, in JSON.
#[derive(Serialize)]
struct Question<'a> {
    user: Option<&'a str>,
    client_id: &'a str,
    address: String,
    listener: &'a str,
    common_name: Option<&'a str>,
    action: &'static str,
    topic: &'a str,
    qos: u8,
    retain: bool,
}

/// What it answers, in JSON.
#[derive(Deserialize)]
struct Answer {
    result: Finding,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    Allow,
    Deny,
    /// It does not know: nobody else is left to be asked.
    Ignore,
}

impl RuleAdviser {
    /// The service that a configuration names.
    pub(super) fn open(config: &AuthConfig) -> Result<Option<RuleAdviser>, SecretsError> {
        let url = config.http_rules_url.clone();
        url.map(|url| Web::open(url, config).map(RuleAdviser)).transpose()
    }

    /// Requests at a time.
    pub(super) fn connections(&self) -> usize {
        self.0.connections()
    }

    /// Asks about one act; nothing if the service fails.
    pub(super) fn advise(&self, question: &RuleQuestion, act: &Act) -> Option<bool> {
        match self.allows(question, act) {
            Ok(is_allowed) => Some(is_allowed),
            Err(error) => {
                let url = self.0.place();
                tracing::warn!(%url, %error, "refused: the service for rules does not answer");
                None
            }
        }
    }

    fn allows(&self, asked: &RuleQuestion, act: &Act) -> Result<bool, Box<dyn std::error::Error>> {
        let question = Question {
            user: asked.client.user.as_deref(),
            client_id: &asked.client.client_id,
            address: asked.client.address.ip().to_string(),
            listener: &asked.listener,
            common_name: asked.common_name.as_deref(),
            action: match act.action {
                Action::Publish => "publish",
                Action::Subscribe => "subscribe",
            },
            topic: &act.topic,
            qos: act.qos as u8,
            retain: act.retain,
        };
        Ok(match self.0.ask::<Answer>(&question)? {
            Reply::Allow | Reply::Said(Answer { result: Finding::Allow }) => true,
            Reply::Deny | Reply::Said(Answer { result: Finding::Deny | Finding::Ignore }) => false,
        })
    }
}

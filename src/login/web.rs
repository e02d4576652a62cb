//! Questions to a web service: JSON by POST, over connections that are kept.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use super::secrets::{self, SecretsError};
use crate::config::{AuthConfig, without_password};

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where a service is, and how it is asked.
pub(super) struct Web {
    url: String,
    agent: Agent,
    bearer: Option<String>,
    connections: usize,
}

/// What a service answers.
pub(super) enum Reply<A> {
    /// 204.
    Allow,
    /// 401 or 403.
    Deny,
    /// 200, and this.
    Said(A),
}

/// Its token does not belong in logs.
impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("url", &self.place()).finish_non_exhaustive()
    }
}

impl Web {
    /// A service at this URL, asked as the configuration says.
    pub(super) fn open(url: String, config: &AuthConfig) -> Result<Web, SecretsError> {
        let connections = usize::from(config.http_connections);
        let token = config.http_token_file.as_deref().map(secrets::secret).transpose()?;
        let bearer = token
            .map(|token| format!("Bearer {}", token.lines().next().unwrap_or_default().trim()));
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.http_timeout_ms.into())))
            .max_idle_connections_per_host(connections)
            .max_idle_connections(connections)
            // Another place would learn of passwords.
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        Ok(Web { url, agent: agent.into(), bearer, connections })
    }

    /// Where it is, for logs: without the password that may stand there.
    pub(super) fn place(&self) -> String {
        without_password(&self.url)
    }

    /// Requests at a time.
    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn ask<A: DeserializeOwned>(
        &self,
        question: &impl Serialize,
    ) -> Result<Reply<A>, Box<dyn std::error::Error>> {
        let mut request = self.agent.post(&self.url);
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        let mut response = request.send_json(question)?;
        match response.status().as_u16() {
            200 => {}
            204 => return Ok(Reply::Allow),
            401 | 403 => return Ok(Reply::Deny),
            status => return Err(format!("status {status}").into()),
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        Ok(Reply::Said(body.read_json()?))
    }
}

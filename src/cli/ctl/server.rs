//! The admin server of a broker, as a client of HTTP sees it.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

use crate::login::{SecretsError, secrets};

/// How long an answer may take; a stream may be silent for longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Rows of a page.
const LIMIT_MAX: usize = 1000;

/// Why nothing was done.
#[derive(Debug)]
pub(in crate::cli) enum CtlError {
    /// The file of the token is of no use.
    Token(SecretsError),
    /// The server cannot be reached, or does not speak as it should.
    Http(String),
    /// The server said no, and why.
    Refused(String),
    /// The configuration was wrong; what was printed says how.
    NotApplied,
    /// A stream ended.
    Ended,
    /// A file that is there already.
    There(PathBuf),
    /// What came could not be written.
    File(PathBuf, io::Error),
    /// Less came than was announced.
    Short {
        /// What came, in bytes.
        came: u64,
        /// What was announced.
        announced: u64,
    },
    /// The terminal failed.
    Io(io::Error),
}

impl CtlError {
    /// Whether nobody reads what is printed.
    pub(in crate::cli) fn is_broken_pipe(&self) -> bool {
        matches!(self, CtlError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CtlError::Token(error) => error.fmt(f),
            CtlError::Http(error) => {
                write!(f, "{error}; does the broker run, and is --admin right?")
            }
            CtlError::Refused(message) => f.write_str(message),
            CtlError::NotApplied => f.write_str("nothing changed"),
            CtlError::There(path) => {
                let path = path.display();
                write!(f, "{path} is there already; --force overwrites it once all has come")
            }
            CtlError::File(path, error) => {
                write!(f, "{}: {error}; nothing is left of it", path.display())
            }
            CtlError::Short { came, announced } => write!(
                f,
                "{came} bytes of {announced} came, then the broker ended the download; its log \
                 says why"
            ),
            CtlError::Ended => f.write_str("the broker ended the stream"),
            CtlError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CtlError {}

impl From<io::Error> for CtlError {
    fn from(error: io::Error) -> CtlError {
        CtlError::Io(error)
    }
}

/// See the module.
pub(super) struct Server {
    url: String,
    agent: Agent,
    /// For answers that do not end.
    patient: Agent,
    bearer: Option<String>,
}

impl Server {
    pub(super) fn new(admin: &str, token_file: Option<&Path>) -> Result<Server, CtlError> {
        let token = token_file.map(secrets::secret).transpose().map_err(CtlError::Token)?;
        let bearer = token
            .map(|token| format!("Bearer {}", token.lines().next().unwrap_or_default().trim()));
        // As `run --admin` has it.
        let scheme = if admin.contains("://") { "" } else { "http://" };
        // Another place would learn of the token.
        let config = || Agent::config_builder().max_redirects(0).http_status_as_error(false);
        Ok(Server {
            url: format!("{scheme}{}/api/v1", admin.trim_end_matches('/')),
            agent: config().timeout_global(Some(TIMEOUT)).build().into(),
            patient: config().timeout_connect(Some(TIMEOUT)).build().into(),
            bearer,
        })
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CtlError> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        answered(request.call())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, CtlError> {
        let mut request = self.agent.delete(format!("{}{path}", self.url));
        request = request.header(crate::control::OWN_HEADER, "1");
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        answered(request.call())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CtlError> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        request = request.header("Content-Type", "application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        answered(request.send(body.to_string()))
    }

    /// The rows of as many pages as it takes.
    pub(super) fn pages(&self, path: &str, rows: &str, limit: usize) -> Result<Value, CtlError> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let wanted = (limit - found.len()).clamp(1, LIMIT_MAX);
            let mut page = self.get(&format!("{path}&limit={wanted}{cursor}"))?;
            if let Some(more) = page[rows].as_array_mut() {
                found.append(more);
            }
            let next = page["next_cursor"].as_str();
            match next.filter(|_| found.len() < limit) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(json!({ rows: found, "total": page["total"] })),
            }
        }
    }

    /// A stream of events, line by line.
    pub(super) fn events(&self, path: &str) -> Result<BufReader<impl Read + use<>>, CtlError> {
        Ok(BufReader::new(self.stream(path)?.into_body().into_reader()))
    }

    /// A file, and how many bytes it has.
    pub(super) fn download(&self, path: &str) -> Result<(u64, impl Read + use<>), CtlError> {
        let body = self.stream(path)?.into_body();
        let bytes = body.content_length();
        let bytes = bytes.ok_or_else(|| CtlError::Http("a file without its length".to_owned()))?;
        Ok((bytes, body.into_reader()))
    }

    fn stream(&self, path: &str) -> Result<Response<ureq::Body>, CtlError> {
        let mut request = self.patient.get(format!("{}{path}", self.url));
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        let response = request.call().map_err(|error| CtlError::Http(error.to_string()))?;
        if !response.status().is_success() {
            return Err(answered(Ok(response)).err().unwrap_or(CtlError::Ended));
        }
        Ok(response)
    }
}

fn answered(response: Result<Response<ureq::Body>, ureq::Error>) -> Result<Value, CtlError> {
    let http = |error: ureq::Error| CtlError::Http(error.to_string());
    let mut response = response.map_err(http)?;
    let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let text = text.map_err(http)?;
    let status = response.status();
    let value: Value = serde_json::from_str(&text)
        .map_err(|_| CtlError::Http(format!("{status}, and no answer of a Hawker")))?;
    match value["error"]["message"].as_str() {
        Some(message) => Err(CtlError::Refused(message.to_owned())),
        None => Ok(value),
    }
}

/// A name as a part of a path or query.
pub(super) fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte));
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_in_a_url() {
        assert_eq!(escaped("a/b c+\u{e4}"), "a%2Fb%20c%2B%C3%A4");
        assert_eq!(escaped("a-b_c.d~9"), "a-b_c.d~9");
    }
}

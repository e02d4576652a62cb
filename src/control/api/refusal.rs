//! Why something was not done, as the API says it.

use std::fmt::Display;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer;
use crate::runtime::Silent;

/// Answered as `{"error": {"code", "message"}}`.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A word for programs.
    pub(crate) code: &'static str,
    /// What to do about it, for people.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Display) -> Refusal {
        Refusal { status, code, message: message.to_string() }
    }

    /// What was asked for does not exist.
    pub(super) fn not_found(message: impl Display) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The question or order makes no sense.
    pub(super) fn wrong(message: impl Display) -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", message)
    }
}

impl From<Silent> for Refusal {
    fn from(silent: Silent) -> Refusal {
        let message = format!("{silent}; it is stuck, or the broker stops");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "shard_silent", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal { status, code, message } = self;
        answer(status, &json!({ "error": { "code": code, "message": message } }))
    }
}

//! Answers that come part by part.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

/// What is handed on as it comes. If it ends early, there are fewer bytes than its length says,
/// where it says one, which every client sees.
struct Parts(mpsc::Receiver<Bytes>);

impl Stream for Parts {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.0.poll_recv(context).map(|part| part.map(Ok))
    }
}

/// A stream of this kind, which nobody between keeps or takes for another.
pub(super) fn streamed<const N: usize>(
    kind: &'static str,
    more: [(HeaderName, String); N],
    parts: mpsc::Receiver<Bytes>,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    // Those of `more` are others.
    (headers, more, Body::from_stream(Parts(parts))).into_response()
}

/// That a browser keeps the answer as a file of this name.
pub(super) fn named(file: &str) -> (HeaderName, String) {
    (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file}\""))
}

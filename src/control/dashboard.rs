//! The dashboard: a page, its style and its scripts, carried within the binary.
//!
//! What is embedded is made of the sources in `dashboard/`. Their names stay the same from build
//! to build, so a digest of all of them stands in their path: behind it a browser may keep them
//! for ever, and a page of an older broker does not mix with the scripts of a newer one. The page
//! knows nothing that is not public; whatever it shows it asks of the API, with the reader's token.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// What a browser is to take a file for, and the file.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset {
            name: $name,
            kind: $kind,
            bytes: include_bytes!(concat!("dashboard/assets/", $name)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("app.css", "text/css; charset=utf-8"),
    asset!("app.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("licenses.txt", "text/plain; charset=utf-8"),
    asset!("mqtt.js", "text/javascript; charset=utf-8"),
    asset!("theme.js", "text/javascript; charset=utf-8"),
];

const PAGE: &str = include_str!("dashboard/index.html");

/// Scripts and styles of this origin alone; connections to it, and to WebSocket listeners for the
/// client tool, which are other ports.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Bytes of the digest that stand in the path: enough to tell builds apart.
const DIGEST_BYTES: usize = 8;

static DIGEST: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new_with_prefix(PAGE);
    for asset in ASSETS {
        hash.update(asset.bytes);
    }
    hash.finalize()[..DIGEST_BYTES].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
});

/// The page with the digest in the paths of what it needs. They are relative, for proxies that
/// put the broker below a folder.
static PAGE_SERVED: LazyLock<String> =
    LazyLock::new(|| PAGE.replace("./assets/", &format!("./assets/{}/", *DIGEST)));

/// `/` and `/assets`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/assets/{digest}/{name}", get(asset))
}

/// Asked for again each time, so that a new broker shows its own page.
async fn page(headers: HeaderMap) -> Response {
    let body = PAGE_SERVED.as_bytes();
    answer(&headers, "no-cache", "text/html; charset=utf-8", body)
}

async fn asset(Path((digest, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let found = ASSETS.iter().find(|asset| digest == *DIGEST && asset.name == name);
    match found {
        Some(asset) => answer(&headers, FOREVER, asset.kind, asset.bytes),
        None => {
            (StatusCode::NOT_FOUND, "not of this broker: load the page again\n").into_response()
        }
    }
}

const FOREVER: &str = "public, max-age=31536000, immutable";

fn answer(
    asked: &HeaderMap,
    cached: &'static str,
    kind: &'static str,
    body: &'static [u8],
) -> Response {
    let tag = format!("\"{}\"", *DIGEST);
    let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| names(known, &tag));
    let headers = [
        (header::CACHE_CONTROL, cached),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::ETAG, tag.as_str()),
    ];
    if is_known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

/// Whether a list of tags has this one, which a proxy may have made a weak one.
fn names(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_what_is_carried_and_nothing_else() {
        let links: Vec<&str> =
            PAGE.split("./assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(links.len() >= 3, "a script, a style and an icon: {links:?}");
        for link in links {
            assert!(ASSETS.iter().any(|asset| asset.name == link), "{link} is not carried");
        }
        assert!(!PAGE.contains("://"), "the page asks nothing of others");
        assert!(PAGE_SERVED.contains(&format!("\"./assets/{}/app.js\"", *DIGEST)));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        let status = |headers: &HeaderMap| answer(headers, FOREVER, "text/plain", b"").status();
        assert_eq!(status(&headers), StatusCode::OK);
        let known = format!("\"older\", W/\"{}\"", *DIGEST);
        headers.insert(header::IF_NONE_MATCH, known.parse().expect("it is ASCII"));
        assert_eq!(status(&headers), StatusCode::NOT_MODIFIED);
    }
}

//! Backups that a browser saves: begun with a token, fetched with a ticket.

use std::io::{Read as _, Write as _};

use serde_json::Value;

use super::support::{Broker, Setup};
use super::{TOKEN, TOKEN_HASH, get, open, request, until};

const BEARER: &str = "Authorization: Bearer correct horse battery staple";

/// What is answered to a request with these lines in its head, as it comes.
fn fetched(broker: &Broker, ticket: &str, lines: &str) -> Vec<u8> {
    let mut stream = open(broker);
    let head = format!(
        "GET /api/v1/backups/{ticket} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    answer
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    &answer[end + 4..]
}

fn begun(broker: &Broker) -> Value {
    let answer = request(broker, "POST", "/backups", &[BEARER], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn ticket(begun: &Value) -> &str {
    begun["ticket"].as_str().expect("a text")
}

fn state(broker: &Broker) -> Value {
    request(broker, "GET", "/backups", &[BEARER], "").body
}

#[test]
fn a_ticket_leads_to_a_backup_once() {
    assert!(BEARER.ends_with(TOKEN));
    let config = format!("admin_tokens = [\"root:admin:{TOKEN_HASH}\"]\n");
    let broker = Setup::shards(1).config(&config).start();
    let none = serde_json::json!({ "running": null, "last": null, "ended_early": null });
    assert_eq!(state(&broker), none);
    let first = begun(&broker);
    assert_eq!(state(&broker)["running"]["taken_at_ms"], first["taken_at_ms"]);
    let second = request(&broker, "POST", "/backups", &[BEARER], "");
    assert_eq!((second.status, second.code()), (409, "backup_running"));

    // Neither a guess nor a page of another site, and that costs the ticket nothing.
    let wrong = request(&broker, "GET", "/backups/AAAAAAAAAAAAAAAAAAAAAA", &[], "");
    assert_eq!((wrong.status, wrong.code()), (401, "token_needed"));
    let path = format!("/backups/{}", ticket(&first));
    let elsewhere = request(&broker, "GET", &path, &["Sec-Fetch-Site: cross-site"], "");
    assert_eq!((elsewhere.status, elsewhere.code()), (403, "cross_site"));

    let answer = fetched(&broker, ticket(&first), "Sec-Fetch-Site: same-origin\r\n");
    let head = String::from_utf8_lossy(&answer[..answer.len() - body(&answer).len()]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let file = first["file"].as_str().expect("a text");
    assert!(head.contains(&format!("content-disposition: attachment; filename=\"{file}\"")));
    assert_eq!(first["bytes"], body(&answer).len());
    until(|| state(&broker)["running"].is_null());
    assert_eq!(state(&broker)["last"]["taken_at_ms"], first["taken_at_ms"]);
    assert_eq!(request(&broker, "GET", &path, &[], "").status, 401);
    assert_eq!(request(&broker, "GET", &path, &[BEARER], "").status, 404);
    broker.await_log("action=\"backup\"");
    assert!(!broker.log().contains(ticket(&first)), "it is in no log");
}

#[test]
fn a_backup_that_nobody_fetches_ends_early() {
    let broker = Setup::shards(1).start();
    let answer = request(&broker, "POST", "/backups", &["X-Hawker: 1"], "");
    let first = answer.body;
    until(|| !get(&broker, "/backups")["ended_early"].is_null());
    let ended = &get(&broker, "/backups")["ended_early"];
    assert_eq!(ended["taken_at_ms"], first["taken_at_ms"]);
    assert_eq!(ended["why"], "its reader left");
    let path = format!("/backups/{}", ticket(&first));
    assert_eq!(request(&broker, "GET", &path, &[], "").status, 404);
    let next = request(&broker, "POST", "/backups", &["X-Hawker: 1"], "").body;
    assert_eq!(next["bytes"], body(&fetched(&broker, ticket(&next), "")).len());
}

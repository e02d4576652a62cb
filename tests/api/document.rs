//! The API is what its document says: Schemathesis asks every route what the document allows, and
//! what it does not, and compares the answers with it.

use std::process::Command;

use super::support::{Broker, Directory, Setup, is_present, run};
use super::{Client, TOKEN, TOKEN_HASH, get, request};

/// Where `make clients` puts it.
const SCHEMATHESIS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/.venv/bin/schemathesis");

/// Has all of its checks look at each route that ends by itself, but those that are left out.
fn check(broker: &Broker, headers: &[&str], left_out: Option<&str>) {
    let present = std::path::Path::new(SCHEMATHESIS).exists();
    if !is_present(present, "schemathesis") {
        return;
    }
    // It keeps notes where it runs.
    let directory = Directory::new();
    let admin = broker.admin().expect("it says so");
    let mut command = Command::new(SCHEMATHESIS);
    command.current_dir(directory.path()).env("NO_PROXY", "*").arg("run");
    command.arg(format!("http://{admin}/api/v1/openapi.json"));
    command.args(["--checks", "all", "--seed", "1", "--max-examples", "15", "--no-color"]);
    for stream in
        ["subscribe", "backup", "backups/{ticket}", "traces/{id}/events", "traces/{id}/log"]
    {
        command.args(["--exclude-path", &format!("/api/v1/{stream}")]);
    }
    command.args(["--request-timeout", "20", "--suppress-health-check", "all"]);
    for header in headers {
        command.args(["-H", header]);
    }
    if let Some(check) = left_out {
        command.args(["--exclude-checks", check]);
    }
    run(&mut command);
}

/// A broker with something to show, under names that a document may give as examples.
fn lived_in(setup: Setup) -> Broker {
    let broker = setup.start();
    let mut client = Client::connect(broker.address(), "sensor-17", 600);
    client.publish("plant/1/state", "on", true);
    client.subscribe("plant/+/set", 1);
    client.leave();
    broker
}

#[test]
fn every_route_answers_as_the_document_says() {
    let setup = Setup::shards(2).argument("--durability").argument("memory");
    check(&lived_in(setup), &["X-Hawker: 1"], None);
}

#[test]
fn every_route_answers_as_the_document_says_to_who_has_a_token() {
    let config = format!("admin_tokens = [\"root:admin:{TOKEN_HASH}\"]\n");
    let broker = Setup::shards(1).config(&config).start();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    // With tokens that are not known: after ten of them an address waits for a minute.
    check(&broker, &[&bearer], Some("ignored_auth"));
    let document = request(&broker, "GET", "/openapi.json", &[&bearer], "").body;
    assert!(document["security"][0]["token"].is_array(), "{document}");
    for (path, verbs) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").expect("it is below");
        let path = path.replace(['{', '}'], "");
        for verb in verbs.as_object().expect("verbs").keys() {
            let answer = request(&broker, &verb.to_ascii_uppercase(), &path, &["X-Hawker: 1"], "");
            assert_eq!((answer.status, answer.code()), (401, "token_needed"), "{verb} {path}");
        }
    }
    let open = lived_in(Setup::shards(1).argument("--durability").argument("memory"));
    assert_eq!(get(&open, "/openapi.json")["security"], serde_json::json!([]));
}

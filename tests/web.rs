//! The dashboard: what the binary serves, and what a browser makes of it.
//!
//! The tests in the browser are in `dashboard/test`. They drive a mock of the API, once for each
//! width and theme, and then the real binary.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use support::{Broker, Setup, certificate, dashboard, has_browser, has_node, run};

#[test]
fn the_page_is_served_with_its_headers() {
    let broker = Setup::shards(1).start();
    let admin = broker.admin().expect("it says where");
    let page = get(admin, "/", &[]);
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    assert_careful(&page);

    let links: Vec<&str> =
        page.body.split("\"./").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        let asset = get(admin, &format!("/{link}"), &[]);
        assert_eq!(asset.status, 200, "{link}");
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        let kind = match link.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(asset.header("content-type"), kind, "{link}");
        assert_careful(&asset);
        let known = get(admin, &format!("/{link}"), &[("If-None-Match", asset.header("etag"))]);
        assert_eq!((known.status, known.body.as_str()), (304, ""), "{link}");
    }
}

#[test]
fn files_of_another_build_are_not_found() {
    let broker = Setup::shards(1).start();
    let admin = broker.admin().expect("it says where");
    for path in ["/assets/0123456789abcdef/app.js", "/assets/app.js", "/assets/../src/main.rs"] {
        assert_eq!(get(admin, path, &[]).status, 404, "{path}");
    }
}

#[test]
fn what_is_committed_is_what_the_sources_make() {
    if has_node() {
        run(Command::new("node").arg(dashboard("test/committed.mjs")));
    }
}

/// What one does at one width and in one theme.
macro_rules! looks {
    ($($name:ident $look:literal)+) => {
        $(#[test]
        fn $name() {
            if has_browser() {
                run(Command::new("node").arg(dashboard("test/main.mjs")).env("LOOK", $look));
            }
        })+
    };
}

looks! {
    wide_and_light "1280-light"
    wide_and_dark "1280-dark"
    narrow_and_light "390-light"
    narrow_and_dark "390-dark"
}

#[test]
fn the_real_broker_in_a_browser() {
    if !has_browser() {
        return;
    }
    let broker = Setup::shards(2).scheme("ws").start();
    let admin = broker.admin().expect("it says where");
    if get(admin, "/api/v1/overview", &[]).status == 404 {
        eprintln!("skipped: this broker has no API");
        return;
    }
    run(Command::new("node")
        .arg(dashboard("test/main.mjs"))
        .env("BROKER", format!("http://{admin}"))
        .env("WS", web_socket(&broker)));
}

/// The page's client, MQTT.js, by a `wss://` listener whose certificate the browser is told to take.
#[test]
fn a_browser_speaks_mqtt_within_tls() {
    if !has_browser() {
        return;
    }
    let broker = Setup::shards(2).scheme("wss").start();
    let admin = broker.admin().expect("it says where");
    run(Command::new("node")
        .arg(dashboard("test/main.mjs"))
        .env("BROKER", format!("http://{admin}"))
        .env("WS", format!("wss://{}/mqtt", broker.address()))
        .env("CERTIFICATE", certificate())
        .env("LOOK", "1280-light")
        .env("ONLY", "the_client_tool_speaks_mqtt"));
}

fn web_socket(broker: &Broker) -> String {
    format!("ws://{}/mqtt", broker.address())
}

/// No script of others, in no frame, and nothing is guessed.
fn assert_careful(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'self'", "connect-src 'self' ws: wss:", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|found| found == part), "{part} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("etag").starts_with('"'), "{answer:?}");
}

/// What was answered, the names of headers in lower case.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value)
    }
}

fn get(admin: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(admin).expect("the admin address accepts");
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends with an empty line");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    Answer {
        status: status.expect("the first line has a status"),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

//! A web service that knows what clients may do.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::client::{Client, Entrance, field};
use super::service::Service;
use super::support::{Broker, Directory, Setup};
use super::users;

/// A broker that asks a service what its users may do, with rules before it.
fn broker(service: &Service, directory: &Directory, more: &str, rules: &str) -> Broker {
    users(directory);
    let file = directory.join("passwords");
    Setup::shards(2).config(&config(service, &file, more, rules)).start()
}

fn config(service: &Service, passwords: &Path, more: &str, rules: &str) -> String {
    let (file, url) = (passwords.display(), service.url());
    format!("[auth]\npassword_file = '{file}'\nhttp_rules_url = '{url}'\n{more}{rules}")
}

fn enter(broker: &Broker, level: u8, user: &str) -> Client {
    Client::log_in(broker, level, user, None).expect("a right password")
}

fn says(result: &str) -> (u16, String) {
    (200, json!({ "result": result }).to_string())
}

#[test]
fn a_service_decides_what_rules_leave_open() {
    let directory = Directory::new();
    let service = Service::start(vec![
        says("allow"),
        says("deny"),
        says("ignore"),
        (204, String::new()),
        (403, String::new()),
        (500, String::new()),
        (200, "nonsense".to_owned()),
        says("allow"),
    ]);
    let rules = "[[auth.rules]]\npublish = ['free/#']\nsubscribe = ['free/#']\n\
                 deny_publish = ['closed/#']\ndeny_subscribe = ['closed/#']\n";
    let broker = broker(&service, &directory, "http_rules_cache_s = 0\n", rules);
    let mut ann = enter(&broker, 5, "ann");
    assert_eq!((ann.publish("free/x"), ann.subscribe("free/#")), (0x10, 1));
    assert_eq!((ann.publish("closed/x"), ann.subscribe("closed/x")), (0x87, 0x87));
    assert_eq!(service.asked().len(), 0, "rules decided");
    let codes: Vec<u8> = (0..7).map(|_| ann.publish("open/x")).collect();
    let expected = [0x10, 0x87, 0x87, 0x10, 0x87, 0x87, 0x87];
    assert_eq!(codes, expected, "allow, deny, ignore, 204, 403, 500, nonsense");
    assert_eq!(ann.subscribe("open/#"), 1);
    let asked = service.asked();
    let question = |action, topic: &str| {
        json!({
            "user": "ann", "client_id": "ann-device", "address": "127.0.0.1",
            "listener": asked[0].1["listener"], "common_name": null,
            "action": action, "topic": topic, "qos": 1, "retain": false,
        })
    };
    assert_eq!(asked[0].1, question("publish", "open/x"));
    assert_eq!(asked[7].1, question("subscribe", "open/#"));
    assert!(asked[0].1["listener"].is_string());
}

#[test]
fn answers_are_remembered_for_the_same_client() {
    let directory = Directory::new();
    let service = Service::start(vec![says("allow"), says("deny"), says("allow")]);
    let broker = broker(&service, &directory, "http_rules_cache_s = 600\n", "");
    let (mut ann, mut bob) = (enter(&broker, 5, "ann"), enter(&broker, 4, "bob"));
    for _ in 0..3 {
        assert_eq!(ann.publish("a"), 0x10);
    }
    assert_eq!(service.asked().len(), 1);
    for _ in 0..3 {
        assert_eq!(ann.publish("b"), 0x87);
    }
    assert_eq!(service.asked().len(), 2, "another topic");
    assert_eq!(bob.publish("a"), 0);
    assert_eq!(service.asked().len(), 3, "another client");
    for _ in 0..2 {
        assert_eq!(bob.subscribe("$share/group/a"), 1);
    }
    assert_eq!(service.asked().len(), 4, "another action");
    assert_eq!(service.asked()[3].1["topic"], "a", "its group says nothing of what it gets");
    drop(ann);
    assert_eq!(
        enter(&broker, 5, "ann").publish("b"),
        0x10,
        "what was said ended with her connection"
    );
}

#[test]
fn what_one_user_was_allowed_is_not_anothers() {
    let directory = Directory::new();
    let service = Service::start(vec![says("allow")]);
    let broker = broker(&service, &directory, "", "");
    let device = |broker: &Broker, user| {
        let entrance = Entrance { clean: false, ..Entrance::of(4, "device", user) };
        Client::come(broker.connect(), &entrance).expect("a right password")
    };
    let mut ann = device(&broker, "ann");
    assert_eq!(ann.subscribe("secret"), 1);
    ann.leave();
    let ann = device(&broker, "ann");
    assert_eq!(ann.connack[0], 1, "her session goes on");
    ann.leave();
    // Nor is it after a restart, be it with other shards, or on another machine.
    let config = config(&service, &directory.join("passwords"), "", "");
    let restarted = |directory, shards| Setup::shards(shards).config(&config).start_in(directory);
    let broker = restarted(broker.kill(), 3);
    let ann = device(&broker, "ann");
    assert_eq!(ann.connack[0], 1, "her session goes on");
    ann.leave();
    let old = broker.kill();
    let exported = hawker(&["log", "export"], &old.join("data"), &[]);
    let line = r#"{"session_user":{"client_id":"device","user":"ann"}}"#;
    assert!(exported.lines().any(|other| other == line), "{exported}");
    let new = Directory::new();
    hawker(&["import", "--data-dir"], &new.join("data"), exported.as_bytes());
    assert_eq!(hawker(&["log", "export"], &new.join("data"), &[]), exported);
    let broker = restarted(new, 2);
    let mut eve = enter(&broker, 4, "eve");
    assert_eq!(eve.publish("secret"), 0);
    let mut bob = device(&broker, "bob");
    assert_eq!(bob.connack[0], 0, "he begins one");
    assert_eq!(eve.publish("secret"), 0);
    assert!(!bob.gets("secret"));
    bob.leave();
    let broker = restarted(broker.kill(), 2);
    assert_eq!(device(&broker, "bob").connack[0], 1, "it is his by now");
    assert_eq!(device(&broker, "ann").connack[0], 0, "and not hers");
}

/// What `hawker` prints that is told a data directory and reads this.
fn hawker(arguments: &[&str], data: &Path, input: &[u8]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(arguments)
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the broker's binary can be started");
    child.stdin.take().expect("it is piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("texts are UTF-8")
}

#[test]
fn who_waits_for_the_service_waits_alone() {
    let directory = Directory::new();
    let service = Service::start(vec![(0, String::new())]);
    let rules = "[[auth.rules]]\nusers = ['bob']\npublish = ['#']\nsubscribe = ['#']\n";
    let broker = broker(&service, &directory, "http_timeout_ms = 1500\n", rules);
    let (mut ann, mut bob) = (enter(&broker, 5, "ann"), enter(&broker, 5, "bob"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let start = std::time::Instant::now();
            assert_eq!(ann.publish("a"), 0x87);
            start.elapsed()
        });
        let start = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(bob.publish("a"), 0x10);
        }
        assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
        assert!(waiting.join().expect("no panic").as_millis() >= 1000);
    });
}

#[test]
fn a_packet_with_many_filters_holds_up_nobody_else() {
    const FILTERS: usize = 1500;
    let directory = Directory::new();
    let service = Service::slow(Duration::from_millis(20), vec![says("allow")]);
    let more = "http_connections = 1\nhttp_rules_cache_s = 0\n";
    let broker = broker(&service, &directory, more, "");
    let (mut ann, mut bob) = (enter(&broker, 5, "ann"), enter(&broker, 5, "bob"));
    let filters = (0..FILTERS).flat_map(|n| [field(format!("{n:05}").as_bytes()), vec![1]]);
    ann.send(0x82, &[&[0, 2, 0], &filters.collect::<Vec<_>>().concat()]);
    while service.asked().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bob.publish("a"), 0x10);
    let is_bobs = |(_, question): &(String, serde_json::Value)| question["user"] == "bob";
    let asked = service.asked();
    assert!(asked.len() < FILTERS && asked.iter().any(is_bobs), "{} were asked", asked.len());
    // Her session goes on with another connection: the packet of the first is over.
    let _ann = enter(&broker, 5, "ann");
    assert_eq!(bob.publish("a"), 0x10);
    let before = service.asked().len();
    assert!(before < FILTERS, "too few filters for this test");
    for _ in 0..3 {
        assert_eq!(bob.publish("a"), 0x10);
    }
    assert!(service.asked()[before..].iter().all(is_bobs), "what nobody waits for is still asked");
}

#[test]
fn a_will_is_asked_about_when_it_is_due() {
    let directory = Directory::new();
    let service = Service::start(vec![says("deny"), says("allow")]);
    let rules = "[[auth.rules]]\nusers = ['bob']\nsubscribe = ['#']\npublish = ['end']\n\
                 [[auth.rules]]\ndeny_publish = ['closed']\n";
    let broker = broker(&service, &directory, "", rules);
    let mut bob = enter(&broker, 4, "bob");
    assert_eq!(bob.subscribe("#"), 1);
    let leave = |topic| {
        let will = Entrance { will: Some(topic), ..Entrance::of(5, "w", "ann") };
        Client::come(broker.connect(), &will).map(drop)
    };
    assert_eq!(leave("closed").err(), Some(0x87), "a rule denies it at once");
    let asked = |count| {
        while service.asked().len() < count {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert!(leave("first").is_ok());
    asked(1);
    assert!(leave("second").is_ok());
    asked(2);
    assert_eq!(service.asked()[1].1["user"], "ann");
    let (first, body) = bob.read();
    assert_eq!(first >> 4, 3);
    assert!(body[2..].starts_with(b"second"), "the first was denied: {body:?}");
}

#[test]
fn a_will_that_is_asked_about_leaves_that_of_the_next_connection_alone() {
    let directory = Directory::new();
    let service = Service::start(vec![(0, String::new()), says("allow")]);
    users(&directory);
    let toml = config(&service, &directory.join("passwords"), "http_timeout_ms = 1500\n", "");
    let broker = Setup::shards(2).config(&toml).start();
    let enter = |will| {
        let entrance = Entrance { will, clean: false, ..Entrance::of(4, "w", "ann") };
        Client::come(broker.connect(), &entrance).expect("a right password")
    };
    drop(enter(Some("first")));
    await_asked(&service, "first", 1);
    let staying = enter(Some("second"));
    broker.await_log("a will is not published");
    // What it comes to is in the log before the broker dies.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let _again = Setup::shards(2).config(&toml).start_in(broker.kill());
    await_asked(&service, "second", 1);
    drop(staying);
}

#[test]
fn two_wills_of_a_session_that_are_asked_about_leave_each_other_alone() {
    let directory = Directory::new();
    let service = Service::start(vec![(0, String::new())]);
    users(&directory);
    let toml = config(&service, &directory.join("passwords"), "http_timeout_ms = 4000\n", "");
    let broker = Setup::shards(2).config(&toml).start();
    let leave = |will| {
        let will = Some(will);
        let entrance = Entrance { will, clean: false, ..Entrance::of(4, "w", "ann") };
        drop(Client::come(broker.connect(), &entrance).expect("a right password"));
    };
    leave("first");
    await_asked(&service, "first", 1);
    std::thread::sleep(std::time::Duration::from_secs(2));
    leave("second");
    await_asked(&service, "second", 1);
    broker.await_log("a will is not published");
    // What it comes to is in the log before the broker dies, which the second is still asked about.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let _again = Setup::shards(2).config(&toml).start_in(broker.kill());
    await_asked(&service, "second", 2);
}

#[test]
fn a_will_that_is_asked_about_outlives_the_broker_though_its_session_is_over() {
    let directory = Directory::new();
    let service = Service::start(vec![(0, String::new())]);
    users(&directory);
    let toml = config(&service, &directory.join("passwords"), "http_timeout_ms = 8000\n", "");
    let toml = format!("{toml}\n[mqtt]\nsession_expiry_s_max = 1\n");
    let broker = Setup::shards(2).config(&toml).start();
    let leaving = Entrance { will: Some("gone"), clean: false, ..Entrance::of(4, "w", "ann") };
    drop(Client::come(broker.connect(), &leaving).expect("a right password"));
    await_asked(&service, "gone", 1);
    // By then the session would have ended.
    std::thread::sleep(Duration::from_secs(2));
    let _again = Setup::shards(2).config(&toml).start_in(broker.kill());
    await_asked(&service, "gone", 2);
}

/// Comes back once a service was asked so often about a topic.
fn await_asked(service: &Service, topic: &str, count: usize) {
    let is_about = |(_, question): &&(String, serde_json::Value)| question["topic"] == topic;
    for _ in 0..500 {
        if service.asked().iter().filter(is_about).count() >= count {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{topic}: not asked about {count} times");
}

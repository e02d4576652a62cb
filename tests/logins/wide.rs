//! Subscriptions that reach further than their clients may read.

use super::client::{Client, Entrance};
use super::service::Service;
use super::support::{Broker, Directory, Setup};
use super::users;

const ACL: &str = "user ann\ntopic readwrite chat/#\ntopic deny chat/secret/#\n\n\
                   user bob\ntopic readwrite #\n";

fn broker(more: &str) -> Broker {
    let directory = Directory::new();
    users(&directory);
    let acl = directory.write("acl", ACL);
    let passwords = directory.join("passwords");
    let (passwords, acl) = (passwords.display(), acl.display());
    let config = format!("[auth]\npassword_file = '{passwords}'\nacl_file = '{acl}'\n{more}");
    Setup::shards(2).config(&config).start_in(directory)
}

fn ann(broker: &Broker, level: u8) -> Client {
    let ann = Entrance { clean: false, ..Entrance::of(level, "ann-device", "ann") };
    Client::come(broker.connect(), &ann).expect("a right password")
}

/// Topics of messages that come before the answer to a ping.
fn topics(client: &mut Client) -> Vec<String> {
    client.send(0xC0, &[]);
    let mut topics = Vec::new();
    loop {
        let (first, body) = client.read();
        if first == 0xD0 {
            return topics;
        }
        assert_eq!(first >> 4, 3, "{first:#x}");
        let length = usize::from(body[1]);
        topics.push(String::from_utf8_lossy(&body[2..2 + length]).into_owned());
    }
}

/// Topics of retained messages, which come a moment later from other shards.
fn retained(client: &mut Client) -> Vec<String> {
    std::iter::repeat_with(|| topics(client)).find(|topics| !topics.is_empty()).unwrap_or_default()
}

fn say_all(bob: &mut Client) {
    for topic in ["chat/secret/x", "other/x", "chat/secret", "chat/a", "chat/b/c"] {
        bob.publish(topic);
        bob.send(
            0x30,
            &[&super::client::field(topic.as_bytes()), bob.properties(), b"at most once"],
        );
    }
    // Their order: what came before is routed.
    bob.publish("end");
}

#[test]
fn of_a_wide_subscription_comes_what_may_be_read() {
    for level in [4, 5] {
        let broker = broker("");
        let mut bob = Client::log_in(&broker, level, "bob", None).expect("a right password");
        for topic in ["chat/secret/kept", "chat/kept"] {
            let topic = super::client::field(topic.as_bytes());
            bob.send(0x31, &[&topic, bob.properties(), b"retained"]);
        }
        bob.publish("end");
        let mut ann = ann(&broker, level);
        assert_eq!(ann.subscribe("chat/#"), 1);
        assert_eq!(retained(&mut ann), ["chat/kept"]);
        assert_eq!(ann.subscribe("#"), 1, "a part of it is allowed");
        assert_eq!(retained(&mut ann), ["chat/kept"]);
        let refused = if level == 5 { 0x87 } else { 0x80 };
        for none in ["other/#", "chat/secret/x/+/#", "$share/g/chat/#"] {
            assert_eq!(ann.subscribe(none), refused, "{none}");
        }
        say_all(&mut bob);
        let expected = ["chat/a", "chat/a", "chat/b/c", "chat/b/c"];
        assert_eq!(topics(&mut ann), expected);
    }
}

#[test]
fn what_waits_is_looked_at_when_its_client_comes() {
    let broker = broker("");
    let mut bob = Client::log_in(&broker, 4, "bob", None).expect("a right password");
    let mut first = ann(&broker, 4);
    assert_eq!(first.subscribe("#"), 1);
    first.leave();
    say_all(&mut bob);
    let mut ann = ann(&broker, 4);
    assert_eq!(topics(&mut ann), ["chat/a", "chat/b/c"]);
    say_all(&mut bob);
    assert_eq!(topics(&mut ann), ["chat/a", "chat/a", "chat/b/c", "chat/b/c"]);
}

#[test]
fn what_waits_for_a_client_is_not_for_another_user_with_its_client_id() {
    for more in ["", "wide_subscriptions = 'refuse'\n"] {
        let broker = broker(more);
        let device = |user| Entrance { clean: false, ..Entrance::of(4, "device", user) };
        let come = |user| Client::come(broker.connect(), &device(user)).expect("a right password");
        let mut bob = come("bob");
        assert_eq!((bob.subscribe("other/x"), bob.subscribe("chat/a")), (1, 1));
        bob.leave();
        say_all(&mut Client::log_in(&broker, 4, "bob", None).expect("a right password"));
        for _ in 0..2 {
            let mut ann = come("ann");
            assert_eq!(topics(&mut ann), ["chat/a"], "{more}");
            ann.leave();
        }
    }
}

#[test]
fn wide_subscriptions_are_refused_if_so_wished_and_where_there_are_rules() {
    let wished = "wide_subscriptions = 'refuse'\n";
    let rules = "[[auth.rules]]\npublish = ['x']\n";
    for more in [wished, rules] {
        let broker = broker(more);
        let mut ann = ann(&broker, 5);
        assert_eq!(ann.subscribe("chat/#"), 0x87, "{more}");
        assert_eq!(ann.subscribe("chat/open"), 1);
    }
    let broker = broker(&format!("wide_subscriptions = 'sift'\n{rules}"));
    assert_eq!(ann(&broker, 5).subscribe("chat/#"), 1);
}

#[test]
fn what_a_service_allows_is_not_sifted_by_rules_that_leave_it_open() {
    let service = Service::start(vec![(204, String::new())]);
    let broker = broker(&format!("http_rules_url = '{}'\n", service.url()));
    let mut bob = Client::log_in(&broker, 4, "bob", None).expect("a right password");
    let mut ann = ann(&broker, 4);
    assert_eq!(ann.subscribe("other/#"), 1);
    say_all(&mut bob);
    assert_eq!(topics(&mut ann), ["other/x", "other/x"]);
}

#[test]
fn a_changed_rule_holds_for_subscriptions_that_are_there() {
    let broker = broker("");
    let mut bob = Client::log_in(&broker, 4, "bob", None).expect("a right password");
    let mut ann = ann(&broker, 4);
    assert_eq!(ann.subscribe("chat/+"), 1);
    bob.publish("chat/a");
    bob.publish("chat/b");
    assert_eq!(topics(&mut ann), ["chat/a", "chat/b"]);
    let acl = broker.directory().join("acl");
    let narrower = format!("user ann\ntopic deny chat/b\n\n{ACL}");
    std::fs::write(&acl, narrower).expect("the directory is writable");
    broker.signal("HUP");
    broker.await_log("configuration reloaded");
    // The shard is told after the log line.
    loop {
        bob.publish("chat/b");
        bob.publish("chat/a");
        match &*topics(&mut ann) {
            [only] if only == "chat/a" => break,
            both => assert_eq!(both, ["chat/b", "chat/a"]),
        }
    }
}

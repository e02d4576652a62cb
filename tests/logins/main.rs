//! Who is let in: password files, as a user makes and changes them.

#[path = "../support/mod.rs"]
mod support;

mod bans;
mod client;
mod limits;
mod rules_service;
mod service;
mod token;
mod wide;
mod wills;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use client::{Client, Entrance, field};
use support::{Broker, Directory, Setup, permit};

/// `hawker passwd` with a line of standard input.
fn passwd(arguments: &[&str], file: &Path, rest: &[&str], line: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .arg("passwd")
        .args(arguments)
        .arg(file)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the broker's binary can be started");
    let mut input = child.stdin.take().expect("stdin is piped");
    // A command that asks for nothing does not read it.
    let _ = input.write_all(line.as_bytes());
    drop(input);
    child.wait_with_output().expect("a child can be waited for")
}

fn add(file: &Path, user: &str, password: &str) {
    let output = passwd(&["add"], file, &[user], &format!("{password}\n"));
    assert!(output.status.success(), "{output:?}");
}

/// The reason code or return code of the CONNACK.
fn connect(broker: &Broker, level: u8, login: Option<(&str, &str)>) -> u8 {
    let flags = if login.is_some() { 0xC2 } else { 0x02 };
    let mut body = [field(b"MQTT"), vec![level, flags, 0, 60]].concat();
    if level == 5 {
        body.push(0);
    }
    body.extend(field(b""));
    if let Some((user, password)) = login {
        body.extend(field(user.as_bytes()));
        body.extend(field(password.as_bytes()));
    }
    // What follows waits for the verdict.
    let packet = [vec![0x10, body.len() as u8], body, vec![0xC0, 0]].concat();
    let mut stream = broker.connect();
    stream.write_all(&packet).expect("the broker reads");
    let mut head = [0; 4];
    stream.read_exact(&mut head).expect("a CONNACK");
    assert_eq!(head[0], 0x20);
    if head[3] == 0 {
        let mut rest = vec![0; usize::from(head[1]) - 2 + 2];
        stream.read_exact(&mut rest).expect("the rest, and a PINGRESP");
        assert_eq!(rest[rest.len() - 2..], [0xD0, 0]);
    } else {
        assert!(ended(&mut stream), "who is refused is let go");
    }
    head[3]
}

fn ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok()
}

/// A connection that a proxy brings from an address.
fn from(broker: &Broker, address: &str) -> TcpStream {
    let mut stream = broker.connect();
    let header = format!("PROXY TCP4 {address} 10.0.0.1 4321 1883\r\n");
    stream.write_all(header.as_bytes()).expect("the broker accepts");
    stream
}

/// The return code of the CONNACK to a client of 3.1.1; nothing if it is kept out.
fn login(stream: &mut TcpStream, user: &str, password: &str) -> Option<u8> {
    let body = [
        field(b"MQTT"),
        vec![4, 0xC2, 0, 60],
        field(b""),
        field(user.as_bytes()),
        field(password.as_bytes()),
    ]
    .concat();
    let _ = stream.write_all(&[vec![0x10, body.len() as u8], body].concat());
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).ok().map(|()| connack[3])
}

/// A broker behind a proxy of this machine.
fn behind_proxy(auth: &str, listener: &str) -> (Directory, Broker) {
    let directory = Directory::new();
    let file = directory.join("passwords");
    add(&file, "ann", "secret");
    let config = format!(
        "[auth]\npassword_file = '{}'\n{auth}[[listeners]]\naddress = 'tcp://127.0.0.1:0'\n\
         proxy_from = ['127.0.0.0/8']\n{listener}",
        file.display()
    );
    let broker = Setup::shards(3).own_listeners().config(&config).start();
    (directory, broker)
}

#[test]
fn who_guesses_is_kept_out_for_a_while() {
    let (_directory, broker) = behind_proxy("ban_failures = 3\nban_s = 6\n", "");
    let guess = |address, password| login(&mut from(&broker, address), "ann", password);
    for _ in 0..3 {
        assert_eq!(guess("10.9.8.7", "guess"), Some(4));
    }
    broker.await_log("too many failed logins");
    assert_eq!(guess("10.9.8.7", "secret"), None, "even the right one");
    assert_eq!(guess("10.9.8.6", "secret"), Some(0), "others are let in");
    while guess("10.9.8.7", "secret") != Some(0) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn who_guesses_waits_longer_and_longer() {
    let (_directory, broker) = behind_proxy("", "");
    let guess = |address| login(&mut from(&broker, address), "ann", "guess");
    let start = std::time::Instant::now();
    for _ in 0..6 {
        assert_eq!(guess("10.9.8.7"), Some(4));
    }
    assert!(start.elapsed().as_millis() >= 700, "100, 200 and 400 ms: {:?}", start.elapsed());
    let right = login(&mut from(&broker, "10.9.8.7"), "ann", "secret");
    assert_eq!(right, Some(0), "who knows the password does not wait");
}

#[test]
fn a_listener_takes_as_many_as_it_should() {
    let limits = "connections_max = 3\nconnections_per_address_max = 2\n";
    let (_directory, broker) = behind_proxy("", limits);
    let enter = |address| {
        let mut stream = from(&broker, address);
        (login(&mut stream, "ann", "secret") == Some(0)).then_some(stream)
    };
    let kept = [enter("10.0.0.1"), enter("10.0.0.1"), enter("10.0.0.2")];
    assert!(kept.iter().all(Option::is_some));
    assert!(enter("10.0.0.1").is_none(), "two of this address are there");
    assert!(enter("10.0.0.3").is_none(), "three are there");
    drop(kept);
    while enter("10.0.0.1").is_none() {}
}

fn broker(file: &Path) -> Broker {
    let config = format!("[auth]\npassword_file = '{}'\n", file.display());
    Setup::shards(2).config(&config).start()
}

#[test]
fn who_has_a_line_and_knows_the_password_is_let_in() {
    let directory = Directory::new();
    let file = directory.join("passwords");
    add(&file, "ann", "secret");
    add(&file, "bob", "pässwörd");
    let broker = broker(&file);
    for _ in 0..2 {
        assert_eq!(connect(&broker, 5, Some(("ann", "secret"))), 0);
    }
    assert_eq!(connect(&broker, 4, Some(("bob", "pässwörd"))), 0);
    assert_eq!(connect(&broker, 5, Some(("ann", "Secret"))), 0x86);
    assert_eq!(connect(&broker, 5, Some(("ann", ""))), 0x86);
    assert_eq!(connect(&broker, 5, Some(("eve", "secret"))), 0x86);
    assert_eq!(connect(&broker, 4, Some(("ann", "Secret"))), 4);
    assert_eq!(connect(&broker, 5, None), 0x87, "nobody comes without a name");
    assert_eq!(connect(&broker, 4, None), 5);
}

#[test]
fn who_names_nobody_has_nothing_hashed() {
    let directory = Directory::new();
    // Some seconds of work.
    let hash = format!("$7$10000000$AAAA${}==", "A".repeat(86));
    let file = directory.write("passwords", &format!("ann:{hash}\n"));
    permit(&file, 0o600);
    let broker = broker(&file);
    let start = std::time::Instant::now();
    let refused = Client::enter(&broker, 5, (None, Some(b"guess")), None);
    assert_eq!(refused.err(), Some(0x87));
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
}

#[test]
fn users_come_and_go_while_the_broker_runs() {
    let directory = Directory::new();
    let file = directory.join("passwords");
    add(&file, "ann", "old");
    let broker = broker(&file);
    assert_eq!(connect(&broker, 5, Some(("ann", "old"))), 0);
    add(&file, "ann", "new");
    add(&file, "bob", "secret");
    let listed = passwd(&["list"], &file, &[], "");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "ann\nbob\n");
    broker.signal("HUP");
    broker.await_log("configuration reloaded");
    while connect(&broker, 5, Some(("bob", "secret"))) != 0 {}
    while connect(&broker, 5, Some(("ann", "old"))) == 0 {}
    assert_eq!(connect(&broker, 5, Some(("ann", "new"))), 0);

    // A wrong line is named, and nothing changes.
    let text = std::fs::read_to_string(&file).expect("it was just written");
    std::fs::write(&file, format!("{text}eve:plain\n")).expect("the directory is writable");
    broker.signal("HUP");
    broker.await_log("passwords:3: no hash that is known");
    assert_eq!(connect(&broker, 5, Some(("ann", "new"))), 0);
    let refused = passwd(&["remove"], &file, &["bob"], "");
    assert_eq!(refused.status.code(), Some(2), "a file that is wrong is left alone");
    std::fs::write(&file, text).expect("the directory is writable");
    assert!(passwd(&["remove"], &file, &["bob"], "").status.success());
    assert_eq!(passwd(&["remove"], &file, &["bob"], "").status.code(), Some(2));
}

#[test]
fn a_file_that_all_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new();
    let file = directory.join("passwords");
    add(&file, "ann", "secret");
    let mode = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let config = directory.write("hawker.toml", "[auth]\npassword_file = 'passwords'\n");
    let hawker = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hawker"));
        command.current_dir(directory.path()).args(arguments).arg(&config);
        command.output().expect("the broker's binary can be started")
    };
    let check = || hawker(&["check-config"]);
    assert!(check().status.success());
    mode(0o644);
    let refused = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(refused.contains("chmod o-rwx passwords"), "{refused}");
    assert!(refused.contains("hawker.toml:2: auth.password_file: passwords: "), "{refused}");
    let run = hawker(&["run", "--durability", "memory", "--admin", "off", "-c"]);
    assert_eq!(run.status.code(), Some(2), "another try would end as this one");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("hawker.toml:2: auth.password_file: passwords: "), "{said}");
}

#[test]
fn a_configuration_with_secrets_that_all_can_read_is_refused() {
    let directory = Directory::new();
    let verifier = "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let check = |text: &str, mode: u32| {
        let file = directory.write("hawker.toml", text);
        permit(&file, mode);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hawker"));
        let output = command.arg("check-config").arg(&file).output();
        let output = output.expect("the broker's binary can be started");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let verifiers = format!("[auth.scram_users]\nann = '{verifier}'\n");
    let url = "[auth]\nhttp_url = 'https://me:secret@auth.example.org/'\n";
    for (text, key) in [(&*verifiers, "auth.scram_users"), (url, "auth.http_url")] {
        assert_eq!(check(text, 0o640), (true, String::new()));
        let (taken, said) = check(text, 0o644);
        assert!(!taken && said.contains("chmod o-rwx") && said.contains(key), "{said}");
    }
    let harmless = "[auth]\nhttp_url = 'https://auth.example.org/'\n";
    assert_eq!(check(harmless, 0o644), (true, String::new()));
}

#[test]
fn nobody_else_can_look_into_the_process() {
    let broker = Broker::start(1);
    let dumpable = std::process::Command::new("stat")
        .args(["-c", "%U", &format!("/proc/{}/environ", broker.pid())])
        .output()
        .expect("coreutils are there");
    // What belongs to a process that is not dumpable is root's, whoever runs it.
    assert_eq!(String::from_utf8_lossy(&dumpable.stdout).trim(), "root");
}

#[test]
fn a_user_may_have_rules_of_its_own() {
    let directory = Directory::new();
    let file = directory.join("passwords");
    let rules = ["--allow-publish", "own/%u/#", "--allow-subscribe", "news/+"];
    let output = passwd(&["add"], &file, &[&["ann"][..], &rules].concat(), "old\n");
    assert!(output.status.success(), "{output:?}");
    // Another password leaves them.
    add(&file, "ann", "secret");
    add(&file, "bob", "secret");
    let broker = broker(&file);
    let mut ann = Client::log_in(&broker, 5, "ann", None).expect("a right password");
    assert_eq!(ann.publish("own/ann/x"), 0x10);
    assert_eq!(ann.publish("own/bob/x"), 0x87);
    assert_eq!(ann.subscribe("news/today"), 1);
    assert_eq!(ann.subscribe("own/ann/#"), 0x87);
    let mut bob = Client::log_in(&broker, 5, "bob", None).expect("a right password");
    assert_eq!(bob.publish("own/ann/x"), 0x10, "no rule is about him");
}

#[test]
fn groups_have_users() {
    let directory = Directory::new();
    users(&directory);
    let config = format!(
        "[auth]\npassword_file = '{}'\n[auth.groups]\nstaff = ['ann', 'bob']\n\
         [[auth.rules]]\ngroups = ['staff']\npublish = ['#']\n",
        directory.join("passwords").display()
    );
    let broker = Setup::shards(1).config(&config).start();
    for (user, code) in [("ann", 0x10), ("bob", 0x10), ("eve", 0x87)] {
        let mut client = Client::log_in(&broker, 5, user, None).expect("a right password");
        assert_eq!(client.publish("a"), code, "{user}");
    }
}

/// What `mosca adduser` wrote, for `ann` with `secret` and `bob` with `hidden`.
#[test]
fn users_of_mosca_move_over() {
    let directory = Directory::new();
    let credentials = include_str!("../support/mosca-credentials.json");
    let file = directory.write("credentials.json", credentials);
    permit(&file, 0o600);
    let broker = broker(&file);
    let mut ann = Client::log_in(&broker, 4, "ann", None).expect("a right password");
    let bob = Client::enter(&broker, 4, (Some("bob"), Some(b"hidden")), None);
    let mut bob = bob.expect("a right password");
    assert_eq!(bob.subscribe("#"), 1);
    assert_eq!(ann.publish("own/room/x"), 0);
    assert!(bob.gets("own/room/x"));
    assert_eq!(ann.publish("elsewhere"), 0);
    assert!(!bob.gets("elsewhere"));
    assert_eq!(connect(&broker, 4, Some(("bob", "secret"))), 4);
    let refused = passwd(&["add"], &file, &["eve"], "secret\n");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("Mosca"), "{said}");
}

fn users(directory: &Directory) {
    for user in ["ann", "bob", "eve"] {
        add(&directory.join("passwords"), user, "secret");
    }
}

#[test]
fn rules_say_what_clients_may_do() {
    let directory = Directory::new();
    users(&directory);
    let config = format!(
        "[auth]\npassword_file = '{}'\n\
         [[auth.rules]]\nusers = ['ann', 'bob']\npublish = ['chat/#']\nsubscribe = ['chat/#']\n\
         [[auth.rules]]\npublish = ['own/%u/%c/#']\nsubscribe = ['own/%u/#']\nqos_max = 1\n\
         [[auth.rules]]\nusers = ['bob']\ndeny_publish = ['chat/news']\n",
        directory.join("passwords").display()
    );
    for level in [5, 4] {
        let broker = Setup::shards(1).config(&config).start();
        let not_allowed = if level == 5 { 0x87 } else { 0 };
        let refused = if level == 5 { 0x87 } else { 0x80 };
        let enter = |user| Client::log_in(&broker, level, user, None).expect("a right password");
        let (mut ann, mut bob, mut eve) = (enter("ann"), enter("bob"), enter("eve"));
        assert_eq!(ann.subscribe("chat/#"), 1);
        assert_eq!(ann.subscribe("#"), refused, "more than is allowed");
        assert_eq!(eve.subscribe("chat/room"), refused);
        assert_eq!(eve.subscribe("$share/group/chat/room"), refused);
        assert_eq!(eve.subscribe("own/eve/#"), 1);
        assert_eq!(bob.publish("chat/room"), 0);
        assert!(ann.gets("chat/room"));
        assert_eq!(bob.publish("chat/news"), not_allowed);
        assert_eq!(eve.publish("chat/room"), not_allowed);
        assert!(!ann.gets("chat/"), "what is not allowed reaches nobody");
        let here = if level == 5 { 0x10 } else { 0 };
        assert_eq!(ann.publish("own/ann/ann-device/x"), here, "allowed, and nobody listens");
        assert_eq!(ann.publish("own/eve/eve-device/x"), not_allowed);
        let code = Client::log_in(&broker, level, "eve", Some("chat/room")).err();
        assert_eq!(code, Some(if level == 5 { 0x87 } else { 5 }), "a will is a message, too");
    }
}

#[test]
fn what_waits_goes_to_who_may_read_it_alone() {
    let directory = Directory::new();
    users(&directory);
    let acl = directory.write("acl", "user ann\ntopic #\n\nuser bob\ntopic chat/#\n");
    let config = format!(
        "[auth]\npassword_file = '{}'\nacl_file = '{}'\n",
        directory.join("passwords").display(),
        acl.display()
    );
    let broker = Setup::shards(1).config(&config).start();
    let device = |user| {
        let entrance = Entrance { clean: false, ..Entrance::of(4, "device", user) };
        Client::come(broker.connect(), &entrance).expect("a right password")
    };
    let mut eve = Client::log_in(&broker, 4, "ann", None).expect("a right password");
    let leave = |user| {
        let mut client = device(user);
        assert_eq!((client.subscribe("secret"), client.subscribe("chat/room")), (1, 1));
        client.leave();
    };
    // Another user comes by the client id.
    leave("ann");
    assert_eq!((eve.publish("secret"), eve.publish("chat/room")), (0, 0));
    let mut bob = device("bob");
    let (first, body) = bob.read();
    assert!(first == 0x32 && body[2..].starts_with(b"chat/room"), "{body:?}");
    bob.send(0x40, &[&body[11..13]]);
    assert!(!bob.gets("secret"));
    bob.leave();
    // The rules change while its client is away.
    leave("ann");
    assert_eq!((eve.publish("secret"), eve.publish("chat/room")), (0, 0));
    std::fs::write(&acl, "user ann\ntopic chat/#\n").expect("the directory is writable");
    broker.signal("HUP");
    broker.await_log("configuration reloaded");
    while eve.subscribe("secret") != 0x80 {}
    let mut ann = device("ann");
    let (first, body) = ann.read();
    assert!(first == 0x32 && body[2..].starts_with(b"chat/room"), "{body:?}");
    ann.send(0x40, &[&body[11..13]]);
    assert!(!ann.gets("secret"));
}

#[test]
fn a_changed_rule_ends_subscriptions() {
    let directory = Directory::new();
    users(&directory);
    let acl = directory.write("acl", "user ann\ntopic chat/#\n\nuser bob\ntopic chat/#\n");
    let config = format!(
        "[auth]\npassword_file = '{}'\nacl_file = '{}'\nrefused_publish = 'disconnect'\n",
        directory.join("passwords").display(),
        acl.display()
    );
    let broker = Setup::shards(1).config(&config).start();
    let enter = |user| Client::log_in(&broker, 4, user, None).expect("a right password");
    let (mut ann, mut bob) = (enter("ann"), enter("bob"));
    assert_eq!(ann.subscribe("chat/room"), 1);
    assert_eq!(bob.publish("chat/room"), 0);
    assert!(ann.gets("chat/room"));

    // A wrong line changes nothing.
    let change = |text: &str, said: &str| {
        std::fs::write(&acl, text).expect("the directory is writable");
        broker.signal("HUP");
        broker.await_log(said);
    };
    change("user ann\ntopics chat/#\n", "acl:2: a line begins with user, topic or pattern");
    assert_eq!(bob.publish("chat/room"), 0);
    assert!(ann.gets("chat/room"));

    change("user bob\ntopic chat/#\n", "configuration reloaded");
    // The shard is told after the log line; what follows it, the subscription ends.
    let mut tries = 0;
    loop {
        assert_eq!(bob.publish("chat/room"), 0);
        if !ann.gets("chat/room") {
            break;
        }
        tries += 1;
        assert!(tries < 10_000, "the subscription goes on");
    }
    broker.await_log("subscriptions ended by the rules");
    ann.send(0x32, &[&field(b"chat/room"), &[0, 1], b"hello"]);
    assert!(ended(&mut ann.stream), "before 5.0 the connection ends where that is asked for");
}

/// Messages that arrive in the time it takes.
fn flood(config: &str, level: u8) -> (std::time::Duration, Broker) {
    let broker = Setup::shards(2).config(config).start();
    let mut bob = Client::enter(&broker, level, (None, None), None).expect("anyone may enter");
    let start = std::time::Instant::now();
    for _ in 0..300 {
        bob.publish("a");
    }
    (start.elapsed(), broker)
}

#[test]
fn who_sends_more_than_it_may_is_read_from_more_slowly() {
    let limit = "[mqtt]\nclient_messages_per_s_max = 100\n";
    let (took, broker) = flood(limit, 4);
    assert!(took.as_millis() >= 1900, "100 at once, 200 in two seconds: {took:?}");
    // Nobody else waits.
    let mut ann = Client::enter(&broker, 5, (Some("ann"), None), None).expect("anyone may enter");
    assert_eq!(ann.publish("a"), 0x10);
    let bytes = "[[auth.rules]]\npublish = ['#']\nclient_ids = ['some-device']\n\
                 bytes_per_s_max = 2000\n";
    let (took, _broker) = flood(bytes, 4);
    assert!(took.as_millis() >= 500, "300 messages of 12 bytes: {took:?}");
}

#[test]
fn who_sends_more_than_it_may_is_let_go_if_so_configured() {
    let config = "[mqtt]\nclient_messages_per_s_max = 10\n[auth]\nrate_exceeded = 'disconnect'\n";
    let broker = Setup::shards(2).config(config).start();
    let mut client = Client::enter(&broker, 5, (None, None), None).expect("anyone may enter");
    for _ in 0..20 {
        client.send(0x30, &[&client::field(b"a"), &[0]]);
    }
    let (first, body) = client.read();
    assert_eq!((first, body[0]), (0xE0, 0x96), "message rate too high");
}

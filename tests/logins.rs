//! Who is let in: password files, as a user makes and changes them.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{Broker, Directory, Setup};

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

fn field(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
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
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hawker"));
        command.current_dir(directory.path()).arg("check-config").arg(&config);
        command.output().expect("the broker's binary can be started")
    };
    assert!(check().status.success());
    mode(0o644);
    let refused = String::from_utf8_lossy(&check().stderr).into_owned();
    assert!(refused.contains("chmod o-rwx passwords"), "{refused}");
}

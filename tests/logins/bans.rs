//! Who is kept out by name, and bans that outlive the broker.

use std::path::PathBuf;

use super::client::{Client, Entrance};
use super::support::{Broker, Directory, Setup};
use super::users;

/// Files that outlive brokers, and the configuration that names them.
struct Shelf {
    _directory: Directory,
    bans: PathBuf,
    config: String,
}

impl Shelf {
    fn new(more: &str) -> Shelf {
        let directory = Directory::new();
        users(&directory);
        let (passwords, bans) = (directory.join("passwords"), directory.join("bans"));
        let config = format!(
            "[auth]\npassword_file = '{}'\nban_file = '{}'\n{more}",
            passwords.display(),
            bans.display()
        );
        Shelf { _directory: directory, bans, config }
    }

    fn broker(&self) -> Broker {
        Setup::shards(3).config(&self.config).start()
    }

    fn write(&self, lines: &str) {
        std::fs::write(&self.bans, lines).expect("the directory is writable");
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.bans).unwrap_or_default()
    }
}

fn enter(broker: &Broker, level: u8, client_id: &str, user: &str) -> Result<Client, u8> {
    Client::come(broker.connect(), &Entrance::of(level, client_id, user))
}

fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn bans_of_a_file_hold_and_are_read_again() {
    let shelf = Shelf::new("");
    shelf.write(
        "# by hand\n{\"client_id\": \"pump\", \"why\": \"floods\"}\n{\"user\": \"bob\"}\n\
         {\"client_id\": \"old\", \"until\": \"2020-01-01T00:00:00Z\"}\n",
    );
    let broker = shelf.broker();
    for (level, banned) in [(5, 0x8A), (4, 5)] {
        assert_eq!(enter(&broker, level, "pump", "ann").err(), Some(banned));
        assert_eq!(enter(&broker, level, "x", "bob").err(), Some(banned));
        assert!(enter(&broker, level, "old", "ann").is_ok(), "that ban has ended");
    }
    let guess = Entrance { password: Some(b"guess"), ..Entrance::of(5, "x", "bob") };
    let guessed = Client::come(broker.connect(), &guess).err();
    assert_eq!(guessed, Some(0x86), "who only claims to be him does not learn of it");

    let mut valve = enter(&broker, 5, "valve", "ann").expect("not banned");
    let mut eve = enter(&broker, 4, "e", "eve").expect("not banned");
    shelf.write("{\"client_id\": \"valve\"}\n{\"user\": \"eve\"}\n{\"user\": \"bob\"}\n");
    broker.signal("HUP");
    assert_eq!(valve.read(), (0xE0, vec![0x98]), "it is let go");
    assert!(super::ended(&mut eve.stream), "and so is she");
    assert_eq!(enter(&broker, 5, "valve", "ann").err(), Some(0x8A));
    assert!(enter(&broker, 5, "pump", "ann").is_ok());

    shelf.write("{\"client_id\": \"pump\"}\n{\"user\": bob}\n");
    broker.signal("HUP");
    broker.await_log("bans:2: expected");
    assert!(enter(&broker, 5, "pump", "ann").is_ok(), "nothing changed");
    assert_eq!(enter(&broker, 5, "x", "bob").err(), Some(0x8A));
}

#[test]
fn who_connects_too_often_is_kept_out_beyond_a_restart() {
    let shelf = Shelf::new("flapping_connects = 3\nban_s = 3600\n");
    let broker = shelf.broker();
    let mut last = None;
    for _ in 0..3 {
        last = Some(enter(&broker, 5, "pump", "ann").expect("not yet too often"));
    }
    for _ in 0..9 {
        assert_eq!(enter(&broker, 5, "pump", "nobody").err(), Some(0x86));
    }
    assert_eq!(enter(&broker, 5, "pump", "ann").err(), Some(0x8A));
    let mut last = last.expect("it was let in");
    assert_eq!(last.read(), (0xE0, vec![0x98]), "the one that was there is let go, too");
    assert!(enter(&broker, 5, "valve", "ann").is_ok(), "others are let in");
    until(|| shelf.read().contains("\"flapping\""));
    drop(broker);
    let broker = shelf.broker();
    assert_eq!(enter(&broker, 4, "pump", "ann").err(), Some(5));
    assert!(enter(&broker, 4, "valve", "ann").is_ok());
}

#[test]
fn who_guesses_is_kept_out_beyond_a_restart() {
    let more = "ban_failures = 3\nban_s = 3600\n[[listeners]]\naddress = 'tcp://127.0.0.1:0'\n\
                proxy_from = ['127.0.0.0/8']\n";
    let shelf = Shelf::new(more);
    let start = || Setup::shards(2).own_listeners().config(&shelf.config).start();
    let guess = |broker: &Broker, password| {
        super::login(&mut super::from(broker, "10.9.8.7"), "ann", password)
    };
    let broker = start();
    for _ in 0..3 {
        assert_eq!(guess(&broker, "guess"), Some(4));
    }
    until(|| shelf.read().contains("10.9.8.7"));
    drop(broker);
    let broker = start();
    assert_eq!(guess(&broker, "secret"), None);
    shelf.write("");
    broker.signal("HUP");
    until(|| guess(&broker, "secret") == Some(0));
}

#[test]
fn a_wrong_file_of_bans_keeps_the_broker_from_starting() {
    let shelf = Shelf::new("");
    shelf.write("{\"user\": \"ann\"}\n{\"address\": \"10.0.0.0/33\"}\n");
    let directory = Directory::new();
    let config = directory.write("hawker.toml", &shelf.config);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hawker"));
    command.arg("check-config").arg(&config);
    let output = command.output().expect("the broker's binary can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("bans:2: address"), "{said}");
}

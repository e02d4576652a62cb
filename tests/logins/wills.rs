//! Wills are judged by the rules in force when they are due, not by those they were left under.

use std::time::{Duration, Instant};

use super::client::{Client, Entrance};
use super::support::{Broker, Directory, Setup};
use super::users;

const ALL: &str = "pattern readwrite chat/#\n";

fn setup(directory: &Directory) -> Setup {
    let config = format!(
        "[auth]\npassword_file = '{}'\nacl_file = '{}'\n",
        directory.join("passwords").display(),
        directory.join("acl").display()
    );
    Setup::shards(1).config(&config)
}

/// A client whose session is kept and whose will is retained.
fn leaving(broker: &Broker, user: &str, will: &str) -> Client {
    let client_id = &*format!("{user}-device");
    let entrance = Entrance {
        will: Some(will),
        will_retained: true,
        clean: false,
        ..Entrance::of(4, client_id, user)
    };
    Client::come(broker.connect(), &entrance).expect("a right password")
}

/// Waits for one will and says whether another one was published before it.
fn is_published_before(broker: &Broker, other: &str, awaited: &str) -> bool {
    let mut eve = Client::log_in(broker, 5, "eve", None).expect("a right password");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert_eq!(eve.subscribe(awaited), 1);
        if eve.gets(awaited) {
            break;
        }
        assert!(Instant::now() < deadline, "{awaited} is never published");
    }
    assert_eq!(eve.subscribe(other), 1);
    eve.gets(other)
}

#[test]
fn a_will_that_a_reload_denies_is_not_published() {
    let directory = Directory::new();
    users(&directory);
    let acl = directory.write("acl", ALL);
    let broker = setup(&directory).start();
    let (mut ann, bob) = (leaving(&broker, "ann", "chat/ann"), leaving(&broker, "bob", "chat/bob"));
    ann.subscribe("chat/reloaded");
    std::fs::write(acl, "user bob\ntopic chat/#\n\nuser eve\ntopic read chat/#\n").expect("ours");
    broker.signal("HUP");
    broker.await_log("subscriptions ended by the rules");
    drop(ann);
    broker.await_log("a will is not published");
    drop(bob);
    assert!(!is_published_before(&broker, "chat/ann", "chat/bob"));
}

#[test]
fn a_will_of_before_a_restart_is_denied_to_its_user() {
    let directory = Directory::new();
    users(&directory);
    directory.write("acl", ALL);
    let broker = setup(&directory).start();
    let _ann = leaving(&broker, "ann", "chat/ann");
    let _bob = leaving(&broker, "bob", "chat/bob");
    let kept = broker.kill();
    directory.write("acl", &format!("user ann\ntopic deny chat/ann\n\n{ALL}"));
    let broker = setup(&directory).start_in(kept);
    assert!(!is_published_before(&broker, "chat/ann", "chat/bob"));
    broker.await_log("a will is not published");
}

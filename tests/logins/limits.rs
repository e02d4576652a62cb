//! What rules hold one client to: the tightest of all that are about it.

use super::client::{Client, Entrance, field};
use super::support::{Broker, Directory, Setup};
use super::users;

/// A broker with rules, which knows `ann`, `bob` and `eve`.
fn broker(rules: &str) -> (Directory, Broker) {
    let directory = Directory::new();
    users(&directory);
    let file = directory.join("passwords");
    let config = format!("[auth]\npassword_file = '{}'\n{rules}", file.display());
    (directory, Setup::shards(3).config(&config).start())
}

fn enter(broker: &Broker, level: u8, client_id: &str, user: &str) -> Result<Client, u8> {
    Client::come(broker.connect(), &Entrance::of(level, client_id, user))
}

/// A topic that fills so many levels.
fn levels(count: usize) -> String {
    vec!["x"; count].join("/")
}

#[test]
fn a_user_has_as_many_connections_as_it_may() {
    let (_directory, broker) = broker(
        "[[auth.rules]]\nusers = ['ann', 'bob']\nconnections_max = 3\n[[auth.rules]]\nusers = ['ann']\nconnections_max = 2\n",
    );
    let first = enter(&broker, 5, "one", "ann").expect("the first");
    let _second = enter(&broker, 4, "two", "ann").expect("the second");
    assert_eq!(enter(&broker, 5, "three", "ann").err(), Some(0x97));
    assert_eq!(enter(&broker, 4, "four", "ann").err(), Some(3));
    let again = enter(&broker, 5, "one", "ann").expect("it takes over its own place");
    assert_eq!(enter(&broker, 5, "three", "ann").err(), Some(0x97));
    let others: Vec<_> = (0..3).map(|n| enter(&broker, 5, &format!("b{n}"), "bob")).collect();
    assert!(others.iter().all(Result::is_ok), "each user is counted by itself");
    assert_eq!(enter(&broker, 5, "b3", "bob").err(), Some(0x97));
    let crowd: Vec<_> = (0..5).map(|n| enter(&broker, 5, &format!("e{n}"), "eve")).collect();
    assert!(crowd.iter().all(Result::is_ok), "no rule is about her");
    drop((first, again));
    while enter(&broker, 5, "three", "ann").is_err() {}
}

#[test]
fn clients_are_told_of_their_limits() {
    let (_directory, broker) = broker(
        "[[auth.rules]]\nusers = ['ann']\npacket_bytes_max = 200\nreceive_maximum = 3\n\
         keep_alive_s_max = 20\nretain_available = false\n\
         [[auth.rules]]\nreceive_maximum = 7\npacket_bytes_max = 1000\n",
    );
    let says = |client: &Client, property: &[u8]| {
        client.connack.windows(property.len()).any(|window| window == property)
    };
    let mut ann = enter(&broker, 5, "a", "ann").expect("a right password");
    assert!(says(&ann, &[0x27, 0, 0, 0, 200]), "{:?}", ann.connack);
    assert!(says(&ann, &[0x21, 0, 3]) && says(&ann, &[0x13, 0, 20]) && says(&ann, &[0x25, 0]));
    ann.send(0x31, &[&field(b"topic"), &[0], b"kept"]);
    assert_eq!(ann.read(), (0xE0, vec![0x9A]), "it was told");
    let mut ann = enter(&broker, 5, "a", "ann").expect("a right password");
    ann.send(0x30, &[&field(b"topic"), &[0], &[b'x'; 250]]);
    assert_eq!(ann.read(), (0xE0, vec![0x95]), "larger than it was told");
    let bob = enter(&broker, 5, "b", "bob").expect("a right password");
    assert!(says(&bob, &[0x21, 0, 7]) && says(&bob, &[0x27, 0, 0, 3, 232]));
    assert!(!says(&bob, &[0x25, 0]) && !says(&bob, &[0x13, 0, 20]));

    let will = Entrance { will: Some("w"), will_retained: true, ..Entrance::of(5, "a", "ann") };
    assert_eq!(Client::come(broker.connect(), &will).err(), Some(0x9A));
    let of_bob = Entrance { user: Some("bob"), client_id: "b", ..will };
    assert!(Client::come(broker.connect(), &of_bob).is_ok());
    // 3.1.1 has no word for it: the message is acknowledged and forgotten.
    let mut old = enter(&broker, 4, "old", "ann").expect("a right password");
    old.send(0x33, &[&field(b"topic"), &[0, 1], b"kept"]);
    assert_eq!(old.read(), (0x40, vec![0, 1]));
    old.subscribe("topic");
    assert!(!old.gets("topic"));
}

#[test]
fn topics_and_subscriptions_have_limits() {
    let (_directory, broker) = broker(
        "[[auth.rules]]\nusers = ['ann']\ntopic_levels_max = 3\ntopic_bytes_max = 10\n\
         subscriptions_max = 2\n",
    );
    for level in [5, 4] {
        let code = |reason| if level == 5 { reason } else { 0x80 };
        let mut ann = enter(&broker, level, "a", "ann").expect("a right password");
        assert_eq!(ann.subscribe(&levels(4)), code(0x8F));
        assert_eq!(ann.subscribe("longer-than-ten"), code(0x8F));
        assert_eq!((ann.subscribe(&levels(3)), ann.subscribe("0123456789")), (1, 1));
        assert_eq!(ann.subscribe("third"), code(0x97));
        if level == 5 {
            assert_eq!(ann.publish(&levels(4)), 0x90);
            assert_eq!(ann.publish("longer-than-ten"), 0x90);
            assert_eq!(ann.publish("9876543210"), 0x10, "nobody listens");
        }
        let mut bob = enter(&broker, level, "b", "bob").expect("a right password");
        for filter in [&*levels(9), "longer-than-ten", "third"] {
            assert_eq!(bob.subscribe(filter), 1, "no rule is about him");
        }
        let deep = levels(4);
        let will = Entrance { will: Some(&deep), ..Entrance::of(level, "w", "ann") };
        let refused = if level == 5 { 0x90 } else { 3 };
        assert_eq!(Client::come(broker.connect(), &will).err(), Some(refused));
    }
}

#[test]
fn a_queue_and_a_session_last_as_long_as_they_may() {
    let (_directory, broker) = broker(
        "[[auth.rules]]\nusers = ['ann']\nqueue_messages_max = 2\n\
         [[auth.rules]]\nusers = ['eve']\nsession_expiry_s_max = 0\n",
    );
    let stay = |client_id, user| {
        let entrance = Entrance { clean: false, ..Entrance::of(4, client_id, user) };
        Client::come(broker.connect(), &entrance).expect("a right password")
    };
    for (client_id, user) in [("a", "ann"), ("b", "bob"), ("e", "eve")] {
        let mut client = stay(client_id, user);
        assert_eq!(client.subscribe("news"), 1);
        client.leave();
    }
    let mut publisher = enter(&broker, 4, "p", "bob").expect("a right password");
    for _ in 0..5 {
        publisher.publish("news");
    }
    let kept = |mut client: Client| {
        client.send(0xC0, &[]);
        let mut count = 0;
        while client.read().0 != 0xD0 {
            count += 1;
        }
        (client.connack[0], count)
    };
    assert_eq!(kept(stay("a", "ann")), (1, 2), "the newest");
    assert_eq!(kept(stay("b", "bob")), (1, 5));
    assert_eq!(kept(stay("e", "eve")), (0, 0), "it ended with its connection");
}

#[test]
fn a_smaller_window_holds_messages_back() {
    let (_directory, broker) =
        broker("[[auth.rules]]\nusers = ['ann']\ninflight_messages_max = 2\n");
    let mut ann = enter(&broker, 4, "a", "ann").expect("a right password");
    assert_eq!(ann.subscribe("news"), 1);
    let mut publisher = enter(&broker, 4, "p", "bob").expect("a right password");
    for _ in 0..4 {
        publisher.publish("news");
    }
    let mut count = 0;
    ann.send(0xC0, &[]);
    loop {
        match ann.read() {
            (0xD0, _) => break,
            (first, _) => count += usize::from(first >> 4 == 3),
        }
    }
    assert_eq!(count, 2, "and none is acknowledged");
}

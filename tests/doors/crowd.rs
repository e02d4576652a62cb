//! Many at once at a door: who dawdles keeps nobody out, a fleet that comes back is served to the
//! last, and a listener accepts no more in a second than it may.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Broker, Setup, certificate};
use crate::{client, connected, is_let_in};

/// The sum of the series of a metric whose line contains `label`.
fn metric(broker: &Broker, name: &str, label: &str) -> u64 {
    let mut stream =
        TcpStream::connect(broker.admin().expect("it says where")).expect("it listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("text");
    let is_one = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
    page.lines().filter(is_one).filter_map(value).sum()
}

/// Listeners of every kind that have room for so many handshakes.
fn narrow(handshakes_max: usize) -> Broker {
    let listener = |scheme: &str| {
        format!(
            "[[listeners]]\naddress = '{scheme}://127.0.0.1:0'\nhandshakes_max = {handshakes_max}\n"
        )
    };
    let listeners = ["mux", "tcp"].map(listener).concat();
    Setup::shards(1)
        .own_listeners()
        .config(&format!(
            "[mqtt]\nconnect_timeout_ms = 6000\n\
             [tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n{listeners}"
        ))
        .file("certificate.pem", &certificate())
        .file("key.pem", &certificate().with_file_name("key.pem"))
        .start()
}

/// The beginnings of conversations that go on by a byte at a time.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
    b"GET /mqtt HTTP/1.1\r\nHost: example.org\r\nX-Slow: ",
    &[0x10, 0xFF, 0x7F, 0, 4, b'M', b'Q', b'T', b'T', 4, 2],
];

#[test]
fn who_dawdles_makes_room_for_others() {
    let broker = narrow(8);
    // Eight hold what there is, four wait to do so.
    let slow = (0..12).map(|index| {
        let mut stream = broker.connect();
        stream.write_all(BEGINNINGS[index % BEGINNINGS.len()]).expect("the kernel takes it");
        (stream, index % BEGINNINGS.len() > 0)
    });
    let mut slow: Vec<(TcpStream, bool)> = slow.collect();
    let begun = Instant::now();
    let mut honest = broker.connect();
    let dripping = thread::spawn(move || {
        while begun.elapsed() < Duration::from_secs(4) {
            thread::sleep(Duration::from_millis(100));
            for (stream, goes_on) in &mut slow {
                // Those that were let go are told so.
                let _ = stream.write_all(if *goes_on { b"x" } else { b"" });
            }
        }
    });
    assert!(is_let_in(&mut honest));
    let waited = begun.elapsed();
    // A quarter of the time that a connection has, not all of it.
    assert!(waited > Duration::from_millis(1000), "{waited:?}: there was room");
    assert!(waited < Duration::from_millis(5000), "{waited:?}");
    assert!(metric(&broker, "hawker_handshakes", "") <= 8);
    assert!(metric(&broker, "hawker_handshakes_let_go_total", "") >= 5);
    assert!(metric(&broker, "hawker_accepting_paused_total", "handshakes") >= 1);
    broker.await_log("have not come to their first packet");
    dripping.join().expect("no panic");
}

#[test]
fn one_listener_s_crowd_is_not_another_s() {
    let broker = narrow(4);
    let _slow: Vec<TcpStream> = (0..30).map(|_| broker.connect()).collect();
    let log = broker.log();
    let other = log.lines().filter_map(crate::support::listening).nth(1).expect("two listeners");
    let begun = Instant::now();
    assert!(is_let_in(&mut TcpStream::connect(other).expect("it listens")));
    assert!(begun.elapsed() < Duration::from_millis(1000), "{:?}", begun.elapsed());
}

#[test]
fn a_fleet_that_comes_back_is_served_to_the_last() {
    let broker = narrow(4);
    let (config, address) = (client(&[&certificate()]), broker.address());
    let phones: Vec<_> = (0..40)
        .map(|_| {
            let config = config.clone();
            thread::spawn(move || {
                let connect = |_| connected(address, &config);
                (0..5).map(connect).collect::<Vec<_>>().len()
            })
        })
        .collect();
    let served: usize = phones.into_iter().map(|phone| phone.join().expect("it is let in")).sum();
    assert_eq!(served, 200);
    assert_eq!(metric(&broker, "hawker_handshakes_let_go_total", ""), 0);
    assert!(metric(&broker, "hawker_accepting_paused_total", "handshakes") >= 1);
    assert_eq!(metric(&broker, "hawker_handshakes", ""), 0);
}

#[test]
fn connections_are_accepted_no_faster_than_they_may() {
    let config = "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nconnections_per_s_max = 20\n";
    let broker = Setup::shards(2).own_listeners().config(config).start();
    let begun = Instant::now();
    let clients: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = broker.connect();
            thread::spawn(move || (is_let_in(&mut stream), begun.elapsed()))
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|one| one.join().expect("no panic")).collect();
    assert!(answers.iter().all(|(is_in, _)| *is_in), "nobody is refused");
    let early = answers.iter().filter(|(_, at)| *at < Duration::from_millis(900)).count();
    assert!((15..=44).contains(&early), "{early} within the first second");
    let last = answers.iter().map(|(_, at)| *at).max().unwrap_or_default();
    // Twenty at once, forty in two seconds.
    assert!((1700..8000).contains(&last.as_millis()), "{last:?}");
    assert!(metric(&broker, "hawker_accepting_paused_total", "rate") >= 1);
    broker.await_log("connections_per_s_max");
}

#[test]
fn who_dawdles_gives_its_place_among_all_connections_too() {
    let config = "[[listeners]]\naddress = 'tcp://127.0.0.1:0'\nconnections_max = 3\n\
                  [mqtt]\nconnect_timeout_ms = 20000\n";
    let broker = Setup::shards(1).own_listeners().config(config).start();
    let mut member = broker.connect();
    assert!(is_let_in(&mut member));
    let _slow = [broker.connect(), broker.connect()];
    assert!(!is_let_in(&mut broker.connect()), "all have had too little time");
    thread::sleep(Duration::from_millis(5500));
    assert!(is_let_in(&mut broker.connect()));
    member.write_all(&[0xC0, 0]).expect("it stays");
    let mut answer = [0; 2];
    member.read_exact(&mut answer).expect("it stays");
}

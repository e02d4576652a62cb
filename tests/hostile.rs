//! People who want no messages: they hold connections half made at every layer, by the hundreds,
//! guess, flood and never read, while honest pairs go on. `make hostile` does it with thousands and
//! says what it does to the honest ones' latency; here it is only checked that nothing of theirs is
//! missing, that the others are let go, and that memory stays where it was.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadtest::mqtt::Qos;
use loadtest::report::{Faults, Report};
use loadtest::scenario::rate::{Rate, Speed};
use loadtest::scenario::shape::{Shape, ShapeOptions};
use loadtest::settings::{Common, QosLevel};
use support::{Broker, Setup, certificate};

/// The listeners: by TCP for honest people, then one for each way.
const CONFIG: &str = "[mqtt]\nconnect_timeout_ms = 3000\nclient_messages_per_s_max = 20000\n\
    [tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n\
    [[listeners]]\naddress = 'tcp://127.0.0.1:0'\n\
    [[listeners]]\naddress = 'tls://127.0.0.1:0'\n\
    [[listeners]]\naddress = 'ws://127.0.0.1:0'\n\
    [[listeners]]\naddress = 'mux://127.0.0.1:0'\n";

/// Connections that are held half made; each fifth by another way.
fn attackers() -> usize {
    let wanted = std::env::var("HAWKER_HOSTILE").ok().and_then(|count| count.parse().ok());
    wanted.unwrap_or(300)
}

fn broker() -> Broker {
    let file = |name: &str| certificate().with_file_name(name);
    Setup::shards(2)
        .own_listeners()
        .config(CONFIG)
        .file("certificate.pem", &certificate())
        .file("key.pem", &file("key.pem"))
        .start()
}

/// Where its listeners are, in the order of the configuration.
fn ports(broker: &Broker) -> Vec<u16> {
    let log = broker.log();
    let ports = log.lines().filter_map(support::listening).map(|address| address.port());
    let ports: Vec<u16> = ports.collect();
    assert_eq!(ports.len(), 4, "{log}");
    ports
}

fn resident_kib(broker: &Broker) -> u64 {
    let status = Path::new("/proc").join(broker.pid().to_string()).join("status");
    let status = std::fs::read_to_string(status).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Processor time that it has used.
fn cpu_ms(broker: &Broker) -> u64 {
    let stat = Path::new("/proc").join(broker.pid().to_string()).join("stat");
    let stat = std::fs::read_to_string(stat).expect("it runs");
    // User and system time, in hundredths of a second, behind the name.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10
}

/// A hundred pairs, two thousand messages a second.
fn honest(port: u16) -> Report {
    let rate = Rate {
        traffic: ShapeOptions {
            shape: Shape::Pairs,
            publishers: 100,
            qos: QosLevel(Qos::AtLeastOnce),
            ..ShapeOptions::default()
        },
        speed: Speed { rate: 2000.0, ..Speed::default() },
    };
    let common = Common {
        target: Some(format!("127.0.0.1:{port}")),
        warmup: Some(0.2),
        duration: Some(3.0),
        patience: Some(20.0),
        quiet: Some(true),
        ..Common::default()
    };
    let report = rate.run(&common.resolve().expect("valid")).expect("it comes to its end");
    assert_eq!(report.faults, Faults::default());
    report
}

/// How long each attacker waits between two bytes: slow ones cost themselves next to nothing, so
/// that what honest ones feel is the broker's.
const DRIP: Duration = Duration::from_secs(2);

/// Parts of the attackers that say their byte one after the other.
const SLICES: usize = 1000;

/// The attackers are on another machine; here they leave the processors to everybody else.
fn stand_back() {
    let thread = std::fs::read_link("/proc/thread-self").expect("a thread of Linux");
    let thread = thread.file_name().expect("its number").to_owned();
    // Where there is no renice, the figures say less.
    let _ = Command::new("renice").args(["-n", "19", "-p"]).arg(thread).output();
}

/// The beginnings of five conversations that do not go on.
const BEGINNINGS: [&[u8]; 5] = [
    b"",
    &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
    b"GET /mqtt HTTP/1.1\r\nHost: example.org\r\nX-Slow: ",
    &[0x10, 0xFF, 0x7F, 0, 4, b'M', b'Q', b'T', b'T', 4, 2],
    &[0x16, 3, 1, 2, 0],
];

/// Holds connections half made, as the listeners are ordered, until it is told to stop and all were
/// let go; how many it had to make anew, as each is when it is let go.
fn attack(ports: &[u16], stop: &AtomicBool) -> usize {
    stand_back();
    let begin = |index: usize| {
        let way = index % BEGINNINGS.len();
        let port = ports[[0, 1, 2, 0, 3][way]];
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        // Whoever is let go meanwhile begins anew below.
        let _ = stream.write_all(BEGINNINGS[way]);
        stream
    };
    let mut streams: Vec<TcpStream> = (0..attackers()).map(begin).collect();
    let (mut let_go, mut slice) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        slice = (slice + 1) % SLICES;
        for (index, stream) in streams.iter_mut().enumerate().skip(slice).step_by(SLICES) {
            // A drop at a time; the first way is to say nothing at all.
            let sent = stream.write_all(if index % 5 == 0 { b"" } else { b"x" });
            let mut answer = [0; 256];
            let ended = matches!(stream.read(&mut answer), Ok(0)) || sent.is_err();
            let ended = ended || matches!(stream.take_error(), Ok(Some(_)));
            if ended {
                *stream = begin(index);
                let_go += 1;
            }
        }
        std::thread::sleep(DRIP / SLICES as u32);
    }
    // However long it takes: all are let go in the end.
    for stream in &mut streams {
        stream.set_nonblocking(false).expect("a socket");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let_go
}

/// Honest pairs at one listener, while others are attacked.
fn honest_beside(port: u16, attacked: &[u16]) -> Report {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attack = scope.spawn(|| attack(attacked, &stop));
        std::thread::sleep(Duration::from_millis(300));
        let report = honest(port);
        stop.store(true, Ordering::Relaxed);
        let let_go = attack.join().expect("no panic");
        println!("{} held, {let_go} let go and back again", attackers());
        report
    })
}

#[test]
fn honest_pairs_go_on_among_connections_that_are_half_made() {
    let broker = broker();
    let ports = ports(&broker);
    let idle_ms = cpu_ms(&broker);
    let quiet = honest(ports[0]);
    let quiet_ms = cpu_ms(&broker) - idle_ms;
    // What the attack costs the machine, it costs as well when it meets another broker.
    let other = self::broker();
    let beside = honest_beside(ports[0], &self::ports(&other));
    drop(other);
    let (before, idle_ms) = (resident_kib(&broker), cpu_ms(&broker));
    let among = honest_beside(ports[0], &ports);
    let after = resident_kib(&broker);
    let among_ms = cpu_ms(&broker) - idle_ms;
    println!("processor time of the broker, in ms: {quiet_ms} quiet, {among_ms} among");
    let [quiet, beside, among] =
        [quiet, beside, among].map(|report| report.value("delivery p99").unwrap_or_default());
    println!(
        "p99 of honest pairs, in ms: {quiet} quiet, {beside} beside another broker that is \
         attacked, {among} among the attackers"
    );
    println!("memory in KiB: {before} before, {after} after");
    // What is freed is not always given back: 20 KiB for each that was held at once.
    let allowed = before + 20 * attackers() as u64 + 4096;
    assert!(after < allowed, "{before} KiB before, {after} after");
    honest(ports[0]);
}

#[test]
fn who_floods_and_never_reads_harms_nobody_else() {
    let broker = broker();
    let ports = ports(&broker);
    let before = resident_kib(&broker);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let (stop, port) = (&stop, ports[0]);
            scope.spawn(move || {
                // It subscribes to what it publishes itself, and reads nothing.
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                stream.set_nonblocking(true).expect("a socket");
                let id = [b'f', number];
                let connect = [&[0x10, 14, 0, 4][..], b"MQTT", &[4, 2, 0, 0, 0, 2], &id].concat();
                let subscribe = [0x82, 6, 0, 1, 0, 1, b'f', 0];
                let mut bytes = [&connect[..], &subscribe].concat();
                let publish = [&[0x30, 0x83, 0x20, 0, 1, b'f'][..], &[0; 4096]].concat();
                for _ in 0..16 {
                    bytes.extend_from_slice(&publish);
                }
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    match stream.write(&bytes[at..]) {
                        // Only whole packets follow the first ones.
                        Ok(sent) => at += sent,
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                    if at == bytes.len() {
                        at = connect.len() + subscribe.len();
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let among = std::panic::catch_unwind(|| honest(ports[0]));
        stop.store(true, Ordering::Relaxed);
        among.expect("nothing is missing");
    });
    let during = resident_kib(&broker);
    println!("memory in KiB: {before} before, {during} during");
    // What waits for each: mqtt.outbox_bytes_max, as much on its way to the kernel, the room that
    // both grew into, and as much again of what they grew out of and the allocator keeps.
    assert!(during < before + 8 * 8 * 2048, "{before} KiB before, {during} during");
    honest(ports[0]);
}

#[test]
fn who_pings_and_never_reads_is_owed_one_answer() {
    let broker = broker();
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&broker)[2])).expect("it listens");
    let request = "GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    // A frame with a CONNECT, and a PING; their masks are zeros.
    let connect = [&[0x82, 0x90, 0, 0, 0, 0, 0x10, 14, 0, 4][..], b"MQTT", &[4, 2, 0, 0, 0, 2]];
    let begin = [request.as_bytes(), &connect.concat(), b"pp"].concat();
    let ping = [&[0x89, 0xFD, 0, 0, 0, 0][..], &[b'p'; 125]].concat();
    let before = resident_kib(&broker);
    stream.write_all(&begin).expect("it reads");
    for _ in 0..1000 {
        stream.write_all(&ping.repeat(500)).expect("it reads on");
    }
    let during = resident_kib(&broker);
    println!("memory in KiB: {before} before, {during} during");
    assert!(during < before + 8192, "{before} KiB before, {during} during");
    // The last one is answered once there is room.
    stream.write_all(&[0x89, 0x80, 0, 0, 0, 0]).expect("it reads on");
    let (mut bytes, mut heard) = (vec![0; 1 << 20], [0; 2]);
    while heard != [0x8A, 0] {
        let count = stream.read(&mut bytes).expect("it answers");
        assert!(count > 0, "it does not hang up");
        for byte in &bytes[..count] {
            heard = [heard[1], *byte];
        }
    }
}

#[test]
fn who_fills_memory_with_packets_that_never_end_is_let_go() {
    const BUDGET_MIB: u64 = 4;
    let config = format!("[mqtt]\nconnect_memory_bytes_max = {}\n", BUDGET_MIB << 20);
    let broker = Setup::shards(1).config(&config).start();
    let honest = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";
    let mut slow = broker.connect();
    slow.write_all(&honest[..7]).expect("the broker reads");
    let before = resident_kib(&broker);
    // 60 MiB, of packets of 384 KiB that lack their end.
    let packet = [&[0x10, 0xFB, 0xFF, 0x17][..], &[0; 380_000]].concat();
    let mut held = Vec::new();
    for _ in 0..160 {
        let mut stream = broker.connect();
        stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a socket takes options");
        // Who is let go may hear so before everything is said.
        let _ = stream.write_all(&packet);
        held.push(stream);
    }
    let mut connack = [0; 2];
    let mut quick = broker.connect();
    quick.write_all(honest).expect("the broker reads");
    quick.read_exact(&mut connack).expect("an answer");
    slow.write_all(&honest[7..]).expect("it was not let go");
    slow.read_exact(&mut connack).expect("an answer");
    let grown = resident_kib(&broker).saturating_sub(before) >> 10;
    assert!(grown < 30, "{grown} MiB");
    broker.await_log("mqtt.connect_memory_bytes_max");
    let is_over = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket takes options");
        let outcome = stream.read(&mut [0; 1]);
        !outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let stay = held.iter_mut().map(is_over).filter(|is_over| !is_over).count() as u64;
    assert!(stay * 380_000 <= BUDGET_MIB << 20, "{stay} stay");
}

//! Backups of a broker that goes on: what was acknowledged before one was asked for is in it, in
//! order, at QoS 2 once, and nothing of what came later is torn.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{Link, Publisher, Subscriber};
use super::support::{Broker, Directory, Setup};

/// Small segments, so that the log goes round while it is copied; queues that hold all.
const CONFIG: &str = "[storage]\nsegment_bytes = 131072\n[mqtt]\nqueue_messages_max = 100000000\n";

/// Backups of one broker.
const ROUNDS: u64 = 6;

/// `hawker` with these arguments: whether it succeeded, and all it said.
fn hawker(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(arguments)
        .output()
        .expect("the broker's binary can be started");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it speaks UTF-8"))
}

/// Publishes one of 32 KiB, so that a few hundred are more than sockets hold.
fn publish_large(link: &mut Link, number: u64) {
    let mut body = b"\0\x0aload/large\0\x01".to_vec();
    body.extend(number.to_be_bytes());
    body.extend([7; 32 << 10]);
    link.send(0x32, &body).expect("the broker reads");
    while link.poll().expect("the broker answers").is_none() {}
}

/// Asks for a backup and reads none of it yet.
fn begin(broker: &Broker) -> TcpStream {
    let mut reader = TcpStream::connect(broker.admin().expect("it says so")).expect("it accepts");
    ask(&mut reader);
    reader
}

fn ask(reader: &mut TcpStream) {
    let head = "GET /api/v1/backup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    reader.write_all(head.as_bytes()).expect("it reads");
}

/// Writes the archive that was asked for into a file.
fn save(mut reader: TcpStream, archive: &Path) {
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).expect("it is sent");
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    fs::write(archive, &answer[body..]).expect("there is room");
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are UTF-8")
}

/// `hawker ctl backup`: whether it succeeded, and all it said.
fn back_up(broker: &Broker, file: &Path) -> (bool, String) {
    let admin = format!("http://{}", broker.admin().expect("it says so"));
    hawker(&["ctl", "--admin", &admin, "backup", text(file)])
}

/// A directory whose `data` is what an archive holds.
fn unpacked(archive: &Path) -> Directory {
    let directory = Directory::new();
    let data = directory.join("data");
    fs::create_dir(&data).expect("the directory is writable");
    let status = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&data).status();
    assert!(status.expect("tar can be started").success(), "{}", archive.display());
    let (is_whole, said) = hawker(&["log", "verify", text(&data)]);
    assert!(is_whole, "{said}");
    directory
}

fn export(data: &Path) -> String {
    let (succeeded, lines) = hawker(&["log", "export", text(data)]);
    assert!(succeeded, "{lines}");
    lines
}

/// A backup, and what was acknowledged when it was asked for, by publisher.
struct Taken {
    archive: PathBuf,
    acknowledged: BTreeMap<String, u64>,
}

/// Takes backups while publishers publish and one of two subscribers is away, then starts a broker
/// from each.
fn restore_each(shards: usize) {
    let broker = Setup::shards(shards).config(CONFIG).start();
    let address = broker.address();
    let mut publishers =
        [Publisher::new("one", 1), Publisher::new("two", 2), Publisher::new("more", 2)];
    let mut subscribers = [Subscriber::new("always"), Subscriber::new("away")];
    for subscriber in &mut subscribers {
        subscriber.subscribe(address, "load/#");
    }
    let told: Vec<_> = publishers
        .iter()
        .map(|publisher| (publisher.name.clone(), publisher.told.clone()))
        .collect();
    let archives = Directory::new();
    let mut taken = Vec::new();
    let [always, _] = &mut subscribers;
    std::thread::scope(|scope| {
        for publisher in &mut publishers {
            scope.spawn(move || publisher.publish(address, 50, u64::MAX));
        }
        scope.spawn(move || always.listen(address, Duration::from_secs(60)));
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(150));
            let archive = archives.join(&format!("{round}.tar"));
            let acknowledged =
                told.iter().map(|(name, told)| (name.clone(), told.load(Ordering::SeqCst)));
            let acknowledged = acknowledged.collect();
            let (succeeded, said) = back_up(&broker, &archive);
            assert!(succeeded, "{said}");
            taken.push(Taken { archive, acknowledged });
        }
        drop(broker.kill());
    });
    let last = &taken.last().expect("there are rounds").acknowledged;
    assert!(last.values().all(|count| *count > 0), "nothing was going on: {last:?}");
    for Taken { archive, acknowledged } in &taken {
        let broker = Setup::shards(shards).config(CONFIG).start_in(unpacked(archive));
        for name in ["away", "always"] {
            let mut subscriber = Subscriber::new(name);
            subscriber.listen(broker.address(), Duration::from_millis(500));
            for publisher in &publishers {
                let first = if name == "away" { Some(0) } else { None };
                judge(publisher, &subscriber, first, acknowledged[&publisher.name]);
            }
        }
    }
}

/// `first` is what a session must have first; one that was connected had some before.
fn judge(publisher: &Publisher, subscriber: &Subscriber, first: Option<u64>, acknowledged: u64) {
    let (from, to) = (&publisher.name, &subscriber.name);
    let none = Vec::new();
    let heard = subscriber.heard.get(&format!("load/{from}")).unwrap_or(&none);
    let Some(first) = first.or(heard.first().copied()) else { return };
    let mut expected = first;
    for number in heard {
        let is_repeated = *number < expected;
        assert!(!is_repeated || publisher.qos == 1, "{to} got {from}'s {number} twice at QoS 2");
        assert!(*number <= expected, "{to} got {from}'s {number} and not {expected} before it");
        expected = expected.max(number + 1);
    }
    assert!(expected >= acknowledged, "{to} got {from}'s up to {expected} of {acknowledged}");
}

#[test]
fn a_broker_comes_back_from_each_backup_that_was_taken_under_load() {
    restore_each(1);
}

#[test]
fn a_broker_of_three_shards_comes_back_from_each_backup_that_was_taken_under_load() {
    restore_each(3);
}

#[test]
fn a_backup_holds_all_that_the_broker_keeps() {
    let broker = Setup::shards(2).config(CONFIG).start();
    let address = broker.address();
    for number in 0..10 {
        Subscriber::new(&format!("owed-{number}")).subscribe(address, "load/#");
    }
    Publisher::new("one", 1).publish(address, 20, 100);
    Publisher::new("two", 2).publish(address, 20, 100);
    let mut link = Link::open(address, "half-done").expect("the broker accepts");
    link.send(0x33, b"\0\x04kept\0\x01for whoever comes").expect("the broker reads");
    link.send(0x34, b"\0\x08load/two\0\x0212345678").expect("the broker reads");
    for expected in [0x40, 0x50] {
        let packet = std::iter::repeat_with(|| link.poll().expect("it answers")).flatten().next();
        assert_eq!(packet.expect("it answers").0, expected);
    }
    link.send(0xe0, b"").expect("the broker reads");
    // Until the broker has read that too, and said so by ending the connection.
    while link.poll().is_ok() {}
    let archives = Directory::new();
    let archive = archives.join("backup.tar");
    let (succeeded, said) = back_up(&broker, &archive);
    assert!(succeeded && said.contains("bytes"), "{said}");
    let (succeeded, said) = back_up(&broker, &archive);
    assert!(!succeeded && said.contains("--force"), "{said}");
    let (status, directory) = broker.terminate();
    assert!(status.success());
    let kept = export(&directory.join("data"));
    assert!(kept.contains("unreleased_packet_ids\":[2]") && kept.contains("kept"), "{kept}");
    assert_eq!(export(&unpacked(&archive).join("data")), kept);
}

#[test]
fn a_backup_holds_what_was_done_before_it_was_asked_for() {
    let broker = Setup::shards(2).config(CONFIG).start();
    let archives = Directory::new();
    for round in 0..10 {
        let client_id = format!("left-{round}");
        let mut link = Link::open(broker.address(), &client_id).expect("the broker accepts");
        let mut reader = TcpStream::connect(broker.admin().expect("it says so")).expect("it does");
        link.send(0xe0, b"").expect("the broker reads");
        while link.poll().is_ok() {}
        ask(&mut reader);
        let archive = archives.join(&format!("{round}.tar"));
        save(reader, &archive);
        let kept = export(&unpacked(&archive).join("data"));
        let told = kept.lines().find(|line| line.contains(&format!("\"{client_id}\"")));
        assert!(told.is_some_and(|line| line.contains("away_since_micros")), "{kept}");
    }
}

#[test]
fn a_slow_reader_gets_what_was_there_though_the_log_has_gone_on() {
    let broker = Setup::shards(1).config(CONFIG).start();
    let mut away = Subscriber::new("away");
    away.subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "large").expect("the broker accepts");
    (0..600).for_each(|number| publish_large(&mut link, number));
    let reader = begin(&broker);
    broker.await_log("a backup begins");
    let archives = Directory::new();
    let (succeeded, said) = back_up(&broker, &archives.join("second.tar"));
    assert!(!succeeded && said.contains("a backup is being taken"), "{said}");
    // All of what is copied is over now; what gives its files back needs new ones.
    drop(Link::open_clean(broker.address(), "away").expect("the broker accepts"));
    Subscriber::new("later").subscribe(broker.address(), "load/#");
    (0..200).for_each(|number| publish_large(&mut link, number));
    let first = broker.directory().join("data/1/shard-0/00000000000000000001.log");
    until("nothing is given back", || !first.exists());
    let archive = archives.join("slow.tar");
    save(reader, &archive);
    let broker = Setup::shards(1).config(CONFIG).start_in(unpacked(&archive));
    away.listen(broker.address(), Duration::from_millis(500));
    assert!(away.heard["load/large"].iter().copied().eq(0..600));
}

/// Segments whose files are gone and that the broker maps or holds open all the same.
fn segments_held(broker: &Broker) -> usize {
    let process = PathBuf::from(format!("/proc/{}", broker.pid()));
    let maps = fs::read_to_string(process.join("maps")).expect("it runs");
    let files = fs::read_dir(process.join("fd")).expect("it runs").filter_map(Result::ok);
    let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    let names = targets.map(|target| target.to_string_lossy().into_owned());
    let all = names.chain(maps.lines().map(str::to_owned));
    all.filter(|name| name.ends_with(".log (deleted)")).count()
}

/// How many bytes of the disk the log has.
fn log_bytes(broker: &Broker) -> u64 {
    let folder = broker.directory().join("data/1/shard-0");
    let files = fs::read_dir(folder).expect("it is there").filter_map(Result::ok);
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * 512)).sum()
}

#[test]
fn a_reader_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let broker = Setup::shards(1).config(CONFIG).start();
    Subscriber::new("away").subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "large").expect("the broker accepts");
    (0..600).for_each(|number| publish_large(&mut link, number));
    let mut reader = begin(&broker);
    reader.read_exact(&mut [0; 1 << 20]).expect("it is sent");
    // All of what is copied is over while it is; its files go, and what is mapped stays.
    drop(Link::open_clean(broker.address(), "away").expect("the broker accepts"));
    let mut away = Subscriber::new("away");
    away.subscribe(broker.address(), "load/#");
    (0..100).for_each(|number| publish_large(&mut link, number));
    let first = broker.directory().join("data/1/shard-0/00000000000000000001.log");
    until("nothing is given back", || !first.exists());
    assert!(segments_held(&broker) > 0, "what is to be copied is held");
    // It closes with bytes unread, which the broker's kernel is told at once.
    drop(reader);
    broker.await_log("a backup ended early: its reader left");
    until("what it held is still held", || segments_held(&broker) == 0);
    let metrics = metrics(&broker);
    for line in ["hawker_backup_held_bytes 0", "hawker_backups_total{outcome=\"failed\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    // The broker goes on, and files are written anew again: twice the queue needs no more disk.
    (100..200).for_each(|number| publish_large(&mut link, number));
    let archives = Directory::new();
    let archive = archives.join("next.tar");
    let (succeeded, said) = back_up(&broker, &archive);
    assert!(succeeded, "{said}");
    let held = log_bytes(&broker);
    assert!(held < 2 * 200 * (32 << 10), "{held} bytes for 200 messages of 32 KiB");
    away.listen(broker.address(), Duration::from_millis(500));
    assert!(away.heard["load/large"].iter().copied().eq(0..200));
    let broker = Setup::shards(1).config(CONFIG).start_in(unpacked(&archive));
    let mut away = Subscriber::new("away");
    away.listen(broker.address(), Duration::from_millis(500));
    assert!(away.heard["load/large"].iter().copied().eq(0..200));
}

fn metrics(broker: &Broker) -> String {
    let mut stream = TcpStream::connect(broker.admin().expect("it says so")).expect("it accepts");
    let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn a_reader_that_leaves_and_a_broker_that_keeps_nothing() {
    let broker = Setup::shards(2).config(CONFIG).start();
    Subscriber::new("away").subscribe(broker.address(), "load/#");
    Publisher::new("one", 1).publish(broker.address(), 50, 500);
    let archives = Directory::new();
    let nowhere = archives.join("nowhere/backup.tar");
    let (succeeded, said) = back_up(&broker, &nowhere);
    assert!(!succeeded && said.contains("nowhere") && said.contains("No such file"), "{said}");
    let (succeeded, said) = back_up(&broker, &archives.join("backup.tar"));
    assert!(succeeded, "{said}");
    let broker = Setup::shards(1).argument("--durability").argument("memory").start();
    let (succeeded, said) = back_up(&broker, &archives.join("memory.tar"));
    assert!(!succeeded && said.contains("nothing is kept"), "{said}");
    let left = fs::read_dir(archives.path()).expect("it is there").count();
    assert_eq!(left, 1, "what failed leaves nothing");
}

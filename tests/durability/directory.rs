//! The data directory: what the broker refuses to start on, and what it says then.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

use super::client::{Link, Publisher, Subscriber};
use super::support::{Broker, Directory, Setup};

const CONFIG: &str = "[storage]\nsegment_bytes = 131072\n";

/// What a start on a directory says that must not succeed.
fn refused(data: &Path) -> String {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(["run", "--listen", "tcp://127.0.0.1:0", "--admin", "off", "--shards", "1"])
        .arg("--data-dir")
        .arg(data)
        .output()
        .expect("the broker's binary can be started");
    assert!(!status.success(), "it started");
    String::from_utf8(stderr).expect("it speaks UTF-8")
}

/// `hawker log ACTION` on a data directory: whether it succeeded, and all it said.
fn log(action: &str, data: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(["log", action])
        .arg(data)
        .output()
        .expect("the broker's binary can be started");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("it speaks UTF-8"))
}

#[test]
fn a_whole_log_is_said_to_be_whole_and_printed_record_by_record() {
    let directory = used();
    let (succeeded, said) = log("verify", &directory.join("data"));
    assert!(succeeded && said.contains("shard 0: whole"), "{said}");
    let (succeeded, said) = log("inspect", &directory.join("data"));
    assert!(succeeded && said.contains("load/one") && said.contains("Subscribe"), "{said}");
    let (succeeded, said) = log("verify", directory.path());
    assert!(!succeeded && said.contains("format"), "{said}");
}

/// A directory that a broker with one shard has used for some messages.
fn used() -> Directory {
    let broker = Setup::shards(1).config(CONFIG).start();
    Subscriber::new("owed").subscribe(broker.address(), "load/#");
    Publisher::new("one", 1).publish(broker.address(), 20, 500);
    broker.kill()
}

#[test]
fn a_directory_in_use_is_refused_with_the_pid_of_who_has_it() {
    let broker = Setup::shards(1).config(CONFIG).start();
    let said = refused(&broker.directory().join("data"));
    assert!(said.contains(&broker.pid().to_string()) && said.contains("--data-dir"), "{said}");
}

#[test]
fn a_later_format_is_refused() {
    let directory = used();
    let path = directory.join("data/format");
    let text = fs::read_to_string(&path).expect("the broker wrote it");
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 99")).expect("it is ours");
    let said = refused(&directory.join("data"));
    assert!(said.contains("format 99") && said.contains("--data-dir"), "{said}");
}

#[test]
fn a_format_file_of_other_logs_is_refused_and_removes_nothing() {
    let directory = used();
    let (data, format) = (directory.join("data"), directory.join("data/format"));
    let text = fs::read_to_string(&format).expect("the broker wrote it");
    fs::write(&format, text.replace("\"generation\": 1", "\"generation\": 7")).expect("it is ours");
    let said = refused(&data);
    assert!(said.contains("7/shard-0 is missing") && said.contains("backup"), "{said}");
    fs::write(&format, &text).expect("it is ours");
    fs::create_dir(directory.join("data/1/shard-1")).expect("it is ours");
    let said = refused(&data);
    assert!(said.contains("1/shard-1 should not be there"), "{said}");
    fs::remove_dir(directory.join("data/1/shard-1")).expect("it is ours");
    // Whose folder that is, nobody knows.
    fs::create_dir(directory.join("data/2026")).expect("it is ours");
    directory.write("data/2026/letter", "mine");
    let broker = Setup::shards(1).config(CONFIG).start_in(directory);
    let mut owed = Subscriber::new("owed");
    owed.listen(broker.address(), std::time::Duration::from_secs(1));
    assert_eq!(owed.heard["load/one"].len(), 500, "all is there");
    assert!(broker.directory().join("data/2026/letter").exists());
}

#[test]
fn a_first_segment_that_is_lost_is_refused() {
    let broker = Setup::shards(1).config(CONFIG).start();
    Subscriber::new("owed").subscribe(broker.address(), "load/#");
    Publisher::new("one", 1).publish(broker.address(), 20, 5000);
    let directory = broker.kill();
    let data = directory.join("data");
    let first = directory.join("data/1/shard-0/00000000000000000001.log");
    let bytes = fs::read(&first).expect("the broker wrote it");
    fs::write(&first, []).expect("it is ours");
    let said = refused(&data);
    assert!(said.contains("head is damaged") && said.contains("salvage"), "{said}");
    fs::remove_file(&first).expect("it is ours");
    let said = refused(&data);
    assert!(said.contains("in a segment before it, which is missing"), "{said}");
    let (succeeded, said) = log("verify", &data);
    assert!(!succeeded && said.contains("which is missing"), "{said}");
    fs::write(&first, bytes).expect("it is ours");
    let (succeeded, said) = log("verify", &data);
    assert!(succeeded, "{said}");
    fs::write(&first, []).expect("it is ours");
    let (succeeded, said) = log("salvage", &data);
    assert!(succeeded && said.contains("missing as a whole"), "{said}");
    let (succeeded, said) = log("verify", &data);
    assert!(succeeded, "{said}");
}

#[test]
fn a_directory_that_is_taken_away_ends_the_broker() {
    let mut broker = Setup::shards(1).config(CONFIG).start();
    fs::remove_file(broker.directory().join("data/lock")).expect("it is ours");
    assert_eq!(broker.await_exit().code(), Some(1));
    assert!(broker.log().contains("lock was removed or replaced"), "{}", broker.log());
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    let directory = used();
    let data = directory.join("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let said = refused(&data);
    assert!(said.contains("chmod 700"), "{said}");
}

#[test]
fn damage_to_what_was_acknowledged_is_refused_and_can_be_quarantined() {
    let directory = used();
    let segment = directory.join("data/1/shard-0/00000000000000000001.log");
    let mut bytes = fs::read(&segment).expect("the broker wrote it");
    // In the middle of the messages, long before the watermark.
    let at = 4096 + 20_000;
    bytes[at..at + 64].fill(0xa5);
    fs::write(&segment, &bytes).expect("it is ours");
    let config = format!("{CONFIG}on_damage = \"refuse\"\n");
    let path = directory.write("refuse.toml", &config);
    let output = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(["run", "--listen", "tcp://127.0.0.1:0", "--admin", "off", "--shards", "1", "-c"])
        .arg(path)
        .arg("--data-dir")
        .arg(directory.join("data"))
        .output()
        .expect("the broker's binary can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("checksum"), "{said}");
    assert!(said.contains("quarantine"), "{said}");
    assert_eq!(fs::read(&segment).expect("it is there"), bytes, "nothing was changed");
    let (succeeded, said) = log("verify", &directory.join("data"));
    assert!(!succeeded && said.contains("checksum"), "{said}");
    let (succeeded, said) = log("inspect", &directory.join("data"));
    assert!(succeeded && said.contains("\"damage\""), "the rest is printed, and where it is torn");
    let config = format!("{CONFIG}on_damage = \"quarantine\"\n");
    let broker = Setup::shards(1).config(&config).start_in(directory);
    let mut owed = Subscriber::new("owed");
    owed.listen(broker.address(), std::time::Duration::from_secs(1));
    let heard = &owed.heard["load/one"];
    assert!((480..500).contains(&heard.len()), "{} of 500 were whole", heard.len());
    assert!(heard.is_sorted(), "what is whole comes in order");
    assert!(broker.log().contains("left out"), "{}", broker.log());
}

/// A broker that owes 40 messages, more than it holds in memory, and its first segment.
fn owes_from_the_disk(config: &str) -> (Broker, Subscriber, fs::File) {
    let broker = Setup::shards(1).config(config).start();
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    for number in 0..40u64 {
        let packet_id = (number as u16 + 1).to_be_bytes();
        let mut body = [b"\0\x08load/one", &packet_id[..], &number.to_be_bytes()].concat();
        body.resize(50_000, b'z');
        link.send(0x32, &body).expect("the broker reads");
        while link.poll().expect("the broker goes on").is_none() {}
    }
    let segment = broker.directory().join("data/1/shard-0/00000000000000000001.log");
    let file = fs::File::options().write(true).open(segment).expect("the broker wrote it");
    (broker, owed, file)
}

/// The same, where the first message is damaged on the disk.
fn damaged_while_it_runs(config: &str) -> (Broker, Subscriber) {
    let (broker, owed, file) = owes_from_the_disk(config);
    file.write_all_at(b"Y", 4096 + 20_000).expect("it is ours");
    (broker, owed)
}

#[test]
fn a_segment_that_is_shortened_while_the_broker_runs_ends_it_with_a_word() {
    let (mut broker, mut owed, file) = owes_from_the_disk(CONFIG);
    file.set_len(4096).expect("it is ours");
    owed.listen(broker.address(), std::time::Duration::from_secs(60));
    assert_eq!(broker.await_exit().code(), Some(1));
    broker.await_log("was shortened, or its disk cannot be read (SIGBUS)");
    let (succeeded, said) = log("verify", &broker.directory().join("data"));
    assert!(!succeeded && said.contains("segment 1, bytes 4096 to"), "{said}");
}

#[test]
fn a_folder_with_the_name_of_a_segment_is_refused_with_what_to_do() {
    let directory = Setup::shards(1).config(CONFIG).start().kill();
    let folder = directory.join("data/1/shard-0/00000000000000000099.log");
    fs::create_dir(&folder).expect("it is ours");
    let (succeeded, said) = log("verify", &directory.join("data"));
    assert!(!succeeded && said.contains("Move it away"), "{said}");
}

#[test]
fn damage_found_while_the_broker_runs_ends_it_with_the_place() {
    let (mut broker, mut owed) = damaged_while_it_runs(CONFIG);
    owed.listen(broker.address(), std::time::Duration::from_secs(60));
    assert_eq!(broker.await_exit().code(), Some(1));
    let said = broker.log();
    assert!(said.contains("00000000000000000001.log: the record at"), "{said}");
    assert!(said.contains("quarantine") && !said.contains("panicked"), "{said}");
}

#[test]
fn damage_found_while_the_broker_runs_is_left_out_if_so_wished() {
    let config = format!("{CONFIG}on_damage = \"quarantine\"\n");
    let (broker, mut owed) = damaged_while_it_runs(&config);
    owed.listen(broker.address(), std::time::Duration::from_secs(1));
    assert!(owed.heard["load/one"].iter().copied().eq(1..40), "{:?}", owed.heard);
    let said = broker.log();
    assert!(said.contains("00000000000000000001.log: left out: the record at"), "{said}");
}

//! What is kept, carried elsewhere: exported, imported, taken over from Mosquitto, salvaged.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::client::{Link, Publisher, Subscriber};
use super::support::{Directory, Setup};

const CONFIG: &str = "[storage]\nsegment_bytes = 131072\n";

/// `hawker` with these arguments: whether it succeeded, and what it said to whom.
fn hawker(arguments: &[&str], input: &[u8]) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hawker"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the broker's binary can be started");
    // It may end before it has read all: at the first wrong line.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are UTF-8")
}

fn export(data: &Path) -> String {
    let (succeeded, lines, said) = hawker(&["log", "export", text(data)], b"");
    assert!(succeeded, "{said}");
    lines
}

#[test]
fn an_export_is_imported_whole_for_another_number_of_shards() {
    let broker = Setup::shards(2).config(CONFIG).start();
    let mut owed: Vec<_> =
        (0..10).map(|number| Subscriber::new(&format!("owed-{number}"))).collect();
    for subscriber in &mut owed {
        subscriber.subscribe(broker.address(), "load/#");
    }
    Publisher::new("one", 1).publish(broker.address(), 20, 300);
    Publisher::new("two", 2).publish(broker.address(), 20, 300);
    let mut link = Link::open(broker.address(), "retains").expect("the broker accepts");
    link.send(0x31, b"\0\x04keptfor whoever comes").expect("the broker reads");
    drop(link);
    owed[0].listen(broker.address(), Duration::from_millis(5));
    let (status, directory) = broker.terminate();
    assert!(status.success());
    let exported = export(&directory.join("data"));

    let elsewhere = Directory::new();
    let data = elsewhere.join("data");
    let arguments = ["import", "--data-dir", text(&data)];
    let (succeeded, said, _) = hawker(&arguments, exported.as_bytes());
    assert!(succeeded && said.contains("sessions"), "{said}");
    assert_eq!(export(&data), exported, "and nothing is lost on the way");
    let (succeeded, _, said) = hawker(&arguments, exported.as_bytes());
    assert!(!succeeded && said.contains("name an empty one"), "{said}");

    let broker = Setup::shards(3).config(CONFIG).start_in(elsewhere);
    for subscriber in &mut owed {
        subscriber.listen(broker.address(), Duration::from_millis(500));
        for topic in ["load/one", "load/two"] {
            assert!(subscriber.heard[topic].iter().copied().eq(0..300), "{topic}");
        }
    }
}

#[test]
fn what_mosquitto_kept_is_taken_over() {
    let directory = Directory::new();
    let data = directory.join("data");
    let db = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/durability/mosquitto-2.0.11.db");
    let (succeeded, said, error) =
        hawker(&["import", "--mosquitto", db, "--data-dir", text(&data)], b"");
    assert!(succeeded && said.contains("2 sessions and 36 messages"), "{said}{error}");
    let broker = Setup::shards(2).config(CONFIG).start_in(directory);
    // It had got 35 messages from Mosquitto and acknowledged 20, then some of QoS 2.
    let mut link = Link::open(broker.address(), "three").expect("the broker accepts");
    let mut packets = Vec::new();
    while let Some(packet) = link.poll().expect("the broker goes on") {
        packets.push(packet);
    }
    let publishes: Vec<&[u8]> = packets
        .iter()
        .filter(|(first, _)| first & 0xF0 == 0x30)
        .map(|(_, body)| &body[2 + usize::from(body[1])..])
        .collect();
    let mut expected: Vec<Vec<u8>> =
        (21..31_u8).map(|id| format!("\0{}m{}", char::from(id), id - 1).into_bytes()).collect();
    expected.extend((1..5_u8).map(|nth| vec![0, 31 + nth, b'q', b'0' + nth, 0xFF]));
    expected.push(b"\0\x24hey!".to_vec());
    assert_eq!(publishes, expected, "with the packet identifiers it knows them by");
    // The PUBREL it waits for, of a message whose identifier Mosquitto chose.
    assert!(packets.contains(&(0x62, vec![0, 31])), "{packets:?}");
    // A QoS 2 message of its own that it had not released is not taken again.
    link.send(0x3C, b"\0\x03a/z\0\x4dhey!").expect("the broker reads");
    let answer = link.poll().expect("the broker goes on");
    assert_eq!(answer, Some((0x50, vec![0, 0x4D])), "and nothing is delivered beside it");
}

#[test]
fn damage_is_cut_out_with_a_report_of_what_is_missing() {
    let broker = Setup::shards(1).config(CONFIG).start();
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    Publisher::new("one", 1).publish(broker.address(), 20, 500);
    let directory = broker.kill();
    let data = directory.join("data");
    let (succeeded, said, _) = hawker(&["log", "salvage", text(&data)], b"");
    assert!(succeeded && said.contains("nothing is damaged"), "{said}");
    let segment = data.join("1/shard-0/00000000000000000001.log");
    let mut bytes = fs::read(&segment).expect("the broker wrote it");
    bytes[4096 + 20_000..][..300].fill(0xa5);
    fs::write(&segment, &bytes).expect("it is ours");

    let (succeeded, said, error) = hawker(&["log", "salvage", text(&data)], b"");
    assert!(succeeded, "{error}");
    let named = said.lines().find(|line| line.starts_with("session \"owed\": at most "));
    let named = named.unwrap_or_else(|| panic!("{said}"));
    let count: usize = named.split(' ').nth(4).and_then(|word| word.parse().ok()).expect("a count");
    let aside = said.rsplit(' ').next().expect("it says where").trim();
    let report = fs::read_to_string(Path::new(aside).join("report.txt")).expect("it is kept");
    assert_eq!(report, said);
    let kept = Path::new(aside).join("shard-0/00000000000000000001.log");
    assert_eq!(fs::read(kept).expect("it is kept"), bytes, "as it was");

    let broker = Setup::shards(1).config(CONFIG).start_in(directory);
    owed.listen(broker.address(), Duration::from_secs(1));
    let heard = &owed.heard["load/one"];
    assert!(heard.is_sorted(), "what is whole comes in order");
    assert_eq!(heard.len() + count, 500, "what is missing is what was said");
}

#[test]
fn what_cannot_be_imported_is_named_and_changes_nothing() {
    let head = "{\"hawker_export\":{\"format\":1}}\n";
    let session = "{\"session\":{\"client_id\":\"ann\",\"expiry_interval_seconds\":60}}\n";
    let cases = [
        (String::new(), "line 1: expected {\"hawker_export\""),
        ("{\"hawker_export\":{\"format\":9}}\n".to_owned(), "line 1: found export format 9"),
        (format!("{head}{session}{session}"), "line 3: client id \"ann\" has a session already"),
        (format!("{head}{{\"sesion\":1}}\n"), "line 2: unknown variant `sesion`"),
        (
            format!("{head}{{\"message\":{{\"topic\":\"a/#\",\"qos\":1}}}}\n"),
            "line 2: the message on \"a/#\": ",
        ),
        (
            format!(
                "{head}{{\"message\":{{\"topic\":\"a\",\"qos\":1,\"owed\":[{{\"client_id\":\"ann\",\
                 \"qos\":1}}]}}}}\n"
            ),
            "line 2: no line before this one is of \"ann\"",
        ),
        (
            format!("{head}{{\"message\":{{\"topic\":\"a\",\"qos\":1,\"payload_base64\":\"?\"}}}}"),
            "line 2: this is not base64",
        ),
    ];
    let directory = Directory::new();
    let data = directory.join("data");
    for (lines, expected) in cases {
        let arguments = ["import", "-", "--data-dir", text(&data)];
        let (succeeded, _, said) = hawker(&arguments, lines.as_bytes());
        assert!(!succeeded && said.contains(expected), "{said}");
        assert!(said.contains("nothing was imported"), "{said}");
        assert!(!data.exists(), "nothing is left of it");
    }
    let db = directory.write("not.db", "SQLite format 3");
    let (succeeded, _, said) =
        hawker(&["import", "--mosquitto", text(&db), "--data-dir", text(&data)], b"");
    assert!(!succeeded && said.contains("no mosquitto.db"), "{said}");
    let lines = format!("{head}{session}");
    let (succeeded, said, _) = hawker(&["import", "--data-dir", text(&data)], lines.as_bytes());
    assert!(succeeded && said.contains("1 sessions"), "{said}");
}

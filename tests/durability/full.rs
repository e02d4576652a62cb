//! A log that may not grow any more: what must be kept is refused, all else goes on, and there is
//! room again once what it held has arrived.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{Link, Subscriber};
use super::support::{Broker, Directory, Setup};

/// As small as segments can be.
const SMALL: &str = "[storage]\nsegment_bytes = 65536\nlog_bytes_max = 4194304\n";
const CONFIG: &str = "[storage]\nsegment_bytes = 131072\nlog_bytes_max = 524288\n";
const MESSAGES: u16 = 20_000;

fn publish(link: &mut Link, packet_id: u16) {
    publish_to(link, "load/one", packet_id);
}

fn publish_to(link: &mut Link, topic: &str, packet_id: u16) {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&packet_id.to_be_bytes());
    body.extend_from_slice(&u64::from(packet_id).to_be_bytes());
    // The subscriber wants a number and nothing behind it; the topic is what takes room.
    link.send(0x32, &body).expect("the broker reads");
}

/// The packet identifiers that are acknowledged until nothing has come for a while.
fn acknowledged(link: &mut Link) -> Vec<u16> {
    let mut acknowledged = Vec::new();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_secs(1) {
        if let Some((first, body)) = link.poll().expect("the broker goes on") {
            assert_eq!(first, 0x40, "nothing but PUBACK comes");
            acknowledged.push(u16::from_be_bytes([body[0], body[1]]));
            last = Instant::now();
        }
    }
    acknowledged
}

#[test]
fn a_full_log_refuses_what_must_be_kept_until_there_is_room() {
    let broker = Setup::shards(1).config(CONFIG).start();
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    for packet_id in 1..=MESSAGES {
        publish(&mut link, packet_id);
    }
    let kept = acknowledged(&mut link);
    assert!((100..19_900).contains(&kept.len()), "{} of {MESSAGES} were kept", kept.len());
    assert!(kept.is_sorted(), "acknowledgements come in order");
    // What was refused reached nobody, what was acknowledged does.
    owed.listen(broker.address(), Duration::from_secs(1));
    let heard = &owed.heard["load/one"];
    assert!(heard.iter().copied().eq(kept.iter().map(|packet_id| u64::from(*packet_id))));
    // The segments it lay in are given back, and there is room.
    publish(&mut link, MESSAGES + 1);
    assert_eq!(acknowledged(&mut link), [MESSAGES + 1]);
}

#[test]
fn a_crowd_of_connections_leaves_descriptors_for_the_log() {
    const SMALL_SEGMENTS: &str = "[storage]\nsegment_bytes = 65536\n";
    const MESSAGES: u16 = 5000;
    let broker = Setup::shards(2).config(SMALL_SEGMENTS).descriptors(200).start();
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    // What the broker does not take waits in the kernel.
    let crowd: Vec<_> = (0..250).map(|_| TcpStream::connect(broker.address())).collect();
    broker.await_log("not accepting for a moment");
    for packet_id in 1..=MESSAGES {
        publish(&mut link, packet_id);
    }
    assert_eq!(acknowledged(&mut link).len(), usize::from(MESSAGES), "{}", broker.log());
    let said = broker.log().matches("not accepting for a moment").count();
    assert!(said <= 2, "once a minute for each shard: {}", broker.log());
    drop(crowd);
    Link::open(broker.address(), "late").expect("the broker accepts again");
}

#[test]
fn a_crowd_that_comes_and_goes_leaves_descriptors_for_the_log() {
    let broker = Setup::shards(2).descriptors(150).start();
    // Each takes a connection over, whose descriptor another one gets.
    let mut crowd = Vec::new();
    for number in (0..50u8).cycle().take(1500) {
        let stream = TcpStream::connect(broker.address()).expect("the kernel accepts");
        let client_id = [b'a' + number / 25, b'a' + number % 25];
        let connect = [b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02", &client_id[..]].concat();
        std::io::Write::write_all(&mut &stream, &connect).expect("the kernel takes it");
        crowd.push(stream);
        std::thread::sleep(Duration::from_millis(2));
        let open = PathBuf::from(format!("/proc/{}/fd", broker.pid())).read_dir();
        let open = open.expect("it runs").count();
        assert!(open < 140, "{open} of 150 are open");
    }
}

#[test]
fn a_log_of_more_segments_than_there_are_descriptors_goes_on_and_is_started_from() {
    const SMALL_SEGMENTS: &str = "[storage]\nsegment_bytes = 65536\n";
    let setup = || Setup::shards(1).config(SMALL_SEGMENTS).descriptors(100);
    let broker = setup().start();
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    let topic = format!("load/{}", "x".repeat(400));
    let mut link = publish_all(&broker, &topic);
    assert_eq!(acknowledged(&mut link).len(), usize::from(MESSAGES), "{}", broker.log());
    let directory = broker.kill();
    let segments = directory.join("data/1/shard-0").read_dir().expect("a folder").count();
    assert!(segments > 120, "{segments} segments");
    let broker = setup().start_in(directory);
    owed.listen(broker.address(), Duration::from_secs(1));
    assert_eq!(owed.heard[&topic].len(), usize::from(MESSAGES));
}

/// A publisher that has sent all messages, and heard of none.
fn publish_all(broker: &Broker, topic: &str) -> Link {
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    for packet_id in 1..=MESSAGES {
        publish_to(&mut link, topic, packet_id);
    }
    link
}

/// A small file system in memory, mounted.
struct Volume(PathBuf);

impl Volume {
    /// Makes one; nothing where that is not allowed.
    fn mount(path: PathBuf) -> Option<Volume> {
        std::fs::create_dir(&path).expect("it is ours");
        let options = "size=4m,mode=700";
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path);
        mount.status().is_ok_and(|status| status.success()).then_some(Volume(path))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_start_on_a_full_disk_can_hand_out_what_it_keeps() {
    const SEGMENTS: &str = "[storage]\nsegment_bytes = 262144\n";
    let setup = || Setup::shards(1).config(SEGMENTS);
    let directory = Directory::new();
    let Some(volume) = Volume::mount(directory.join("data")) else {
        eprintln!("not run: no file system can be mounted here");
        return;
    };
    let broker = setup().start_in(directory);
    let reserve = volume.0.join("1/shard-0/reserve");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !reserve.exists() {
        assert!(Instant::now() < deadline, "there is no reserve");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    let topic = format!("load/{}", "x".repeat(400));
    let mut link = publish_all(&broker, &topic);
    let kept = acknowledged(&mut link);
    assert!((100..19_900).contains(&kept.len()), "{} of {MESSAGES} were kept", kept.len());
    let directory = broker.kill();
    // Not a byte is left for the next one.
    let rest = std::fs::File::create(volume.0.join("rest")).expect("a name needs no room");
    while std::io::Write::write(&mut &rest, &[7; 4096]).is_ok_and(|count| count > 0) {}
    let broker = setup().start_in(directory);
    broker.await_log("the log goes on in its reserve");
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    owed.listen(broker.address(), Duration::from_secs(1));
    let heard = &owed.heard[&topic];
    assert!(heard.iter().copied().eq(kept.iter().map(|packet_id| u64::from(*packet_id))));
    broker.await_log("there is room for the log again");
    publish_to(&mut link, &topic, MESSAGES + 1);
    assert_eq!(acknowledged(&mut link), [MESSAGES + 1]);
    assert!(reserve.exists(), "the next start has one, too");
    drop(broker);
}

#[test]
fn a_limit_of_file_sizes_is_named_with_what_raises_it() {
    let broker = Setup::shards(1).file_bytes(1 << 20).start();
    broker.await_log("File too large");
    assert!(broker.log().contains("LimitFSIZE"), "{}", broker.log());
    Link::open_clean(broker.address(), "clean").expect("all else goes on");
}

#[test]
fn a_session_longer_than_a_segment_holds_up_no_segment_and_moves_to_other_shards() {
    let broker = Setup::shards(1).config(SMALL).start();
    let filters: Vec<_> = (0..100).map(|n| format!("{n}/{}", "x".repeat(1000))).collect();
    let mut large = Subscriber::new("large");
    for filter in &filters {
        large.subscribe(broker.address(), filter);
    }
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    // Twice what the log may hold, if what is over does not go.
    for round in 1..=4 {
        let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
        for packet_id in 1..=MESSAGES {
            publish(&mut link, packet_id);
        }
        assert_eq!(acknowledged(&mut link).len(), usize::from(MESSAGES), "round {round}");
        owed.listen(broker.address(), Duration::from_millis(200));
    }
    let directory = broker.kill();
    let broker = Setup::shards(3).config(SMALL).start_in(directory);
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    for (packet_id, filter) in (1u16..).zip(&filters) {
        let topic_bytes = (filter.len() as u16).to_be_bytes();
        let number = 0u64.to_be_bytes();
        let packet_id = packet_id.to_be_bytes();
        let body = [&topic_bytes, filter.as_bytes(), &packet_id, &number].concat();
        link.send(0x32, &body).expect("the broker reads");
    }
    assert_eq!(acknowledged(&mut link).len(), filters.len());
    large.listen(broker.address(), Duration::from_millis(200));
    assert_eq!(large.heard.len(), filters.len(), "every subscription is there");
}

#[test]
fn a_packet_that_no_segment_holds_ends_its_connection_and_is_not_sent_for_ever() {
    let broker = Setup::shards(1).config(SMALL).start();
    let mut owed = Subscriber::new("owed");
    owed.subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    let mut body = b"\0\x08load/one\0\x01".to_vec();
    body.resize(33 << 10, 0);
    // The broker may end the connection before all of it is written.
    let _ = link.send(0x32, &body);
    let deadline = Instant::now() + Duration::from_secs(60);
    while link.poll().is_ok() {
        assert!(Instant::now() < deadline, "it is left without an answer");
    }
}

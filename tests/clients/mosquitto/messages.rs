//! What works alike in every version.

use std::collections::BTreeSet;

use super::command::{Site, next_of_any};
use crate::support::Directory;

/// A message arrives with the lower of its own QoS and that of the subscription.
pub(super) fn every_pair_of_qos(site: &Site) {
    let topic = site.name("t");
    for granted in 0..=2 {
        let mut subscriber = site.subscriber(&["-t", &topic, "-q", &granted.to_string()]);
        for sent in 0..=2 {
            let payload = format!("{sent} to {granted}");
            site.publish(&["-t", &topic, "-q", &sent.to_string(), "-m", &payload]);
            subscriber.expect(&format!("{topic} {} 0 {payload}", granted.min(sent)));
        }
    }
}

/// Each line of `mosquitto_pub -l` is a message; `-C` counts them.
pub(super) fn lines_of_stdin_arrive_in_order(site: &Site) {
    let count = 2000;
    for qos in ["1", "2"] {
        let topic = site.name(qos);
        let limit = count.to_string();
        let subscriber = site.subscriber(&["-t", &topic, "-q", qos, "-C", &limit]);
        let input: String = (0..count).map(|index| format!("line {index}\n")).collect();
        site.publish_from(&["-t", &topic, "-q", qos, "-l"], input.as_bytes());
        let expected: Vec<String> =
            (0..count).map(|index| format!("{topic} {qos} 0 line {index}")).collect();
        assert_eq!(subscriber.finish(), expected);
    }
}

/// `-s` makes one message of all the input and `-f` of a file, `-n` an empty one.
pub(super) fn payloads_of_a_file(site: &Site) {
    let topic = site.name("t");
    let mut subscriber = site.subscriber(&["-t", &topic, "-q", "1"]);
    site.publish(&["-t", &topic, "-n"]);
    subscriber.expect(&format!("{topic} 0 0 "));
    let large: String = (0..200_000).map(|index| format!("{index:5}|")).collect();
    assert!(large.len() > 1 << 20);
    site.publish_from(&["-t", &topic, "-q", "1", "-s"], large.as_bytes());
    assert!(subscriber.next() == format!("{topic} 1 0 {large}"), "input of {}", large.len());
    let directory = Directory::new();
    let file = directory.write("payload", &large);
    let file = file.to_str().expect("the test's paths are text");
    site.publish(&["-t", &topic, "-q", "2", "-f", file]);
    assert!(subscriber.next() == format!("{topic} 1 0 {large}"), "file of {}", large.len());
}

/// `-r` keeps a message for later subscribers; an empty one clears it.
pub(super) fn retained_messages_wait_and_go(site: &Site) {
    let (lamp, door) = (site.name("house/lamp"), site.name("house/door"));
    let everything = site.name("house/#");
    site.publish(&["-t", &lamp, "-q", "1", "-r", "-m", "off"]);
    site.publish(&["-t", &lamp, "-q", "1", "-r", "-m", "on"]);
    site.publish(&["-t", &door, "-q", "1", "-r", "-m", "open"]);
    let mut kept = site.collect(&["-t", &everything, "-q", "1", "-C", "2"]);
    kept.sort();
    assert_eq!(kept, [format!("{door} 1 1 open"), format!("{lamp} 1 1 on")]);
    // `--remove-retained` publishes what clears each message it sees, and sees that in turn.
    let mut clearing = site.subscriber(&["-t", &lamp, "--remove-retained"]);
    clearing.expect(&format!("{lamp} 0 1 on"));
    clearing.expect(&format!("{lamp} 0 0 "));
    let mut late = site.subscriber(&["-t", &everything, "-q", "1"]);
    late.expect(&format!("{door} 1 1 open"));
    site.publish(&["-t", &door, "-q", "1", "-r", "-n"]);
    late.expect(&format!("{door} 1 0 "));
    let mut later = site.subscriber(&["-t", &everything, "-q", "1"]);
    site.publish(&["-t", &door, "-q", "1", "-m", "passing"]);
    later.expect(&format!("{door} 1 0 passing"));
}

/// The will of a killed client is published, with its QoS and retain flag.
pub(super) fn a_killed_client_leaves_its_will(site: &Site) {
    let topic = site.name("will");
    let mut observer = site.subscriber(&["-t", &topic, "-q", "2"]);
    let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1"];
    let elsewhere = site.name("elsewhere");
    let other = ["-t", elsewhere.as_str()];
    site.subscriber(&[&other[..], &will[..], &["--will-retain"]].concat()).kill();
    observer.expect(&format!("{topic} 1 0 gone"));
    assert_eq!(site.collect(&["-t", &topic, "-q", "2", "-C", "1"]), [format!("{topic} 1 1 gone")]);
    // One that ends by itself says goodbye: its will stays unsaid.
    let polite = site.subscriber(&[&other[..], &will[..], &["-C", "1"]].concat());
    site.publish(&["-t", &elsewhere, "-m", "go"]);
    polite.finish();
    site.publish(&["-t", &topic, "-q", "1", "-m", "fence"]);
    observer.expect(&format!("{topic} 1 0 fence"));
}

/// With `-c` the broker keeps messages until the client is back.
pub(super) fn a_session_keeps_messages(site: &Site) {
    let (topic, client) = (site.name("t"), site.name("client").replace('/', "-"));
    let session = ["-t", topic.as_str(), "-i", client.as_str(), "-q", "2", "-c"];
    // `-E` ends after the SUBACK.
    site.collect(&[&session[..], &["-E"]].concat());
    let input: String = (0..300).map(|index| format!("line {index}\n")).collect();
    site.publish_from(&["-t", &topic, "-q", "2", "-l"], input.as_bytes());
    let waited = site.collect(&[&session[..], &["-C", "300"]].concat());
    let expected: Vec<String> = (0..300).map(|index| format!("{topic} 2 0 line {index}")).collect();
    assert_eq!(waited, expected);
}

/// Two members of a group get every message between them, each once.
pub(super) fn shared_subscription_shares(site: &Site) {
    let topic = site.name("jobs");
    let shared = format!("$share/group/{topic}");
    let fences = [site.name("fence/0"), site.name("fence/1")];
    let mut members: Vec<_> = fences
        .iter()
        .map(|fence| site.subscriber(&["-t", fence, "-t", &shared, "-q", "1"]))
        .collect();
    let input: String = (0..100).map(|index| format!("{index}\n")).collect();
    site.publish_from(&["-t", &topic, "-q", "1", "-l"], input.as_bytes());
    // Each message goes by way of the group's shard, so nothing else can tell when it is there.
    let mut taken = BTreeSet::new();
    let mut shares = [0; 2];
    while taken.len() < 100 {
        let (index, message) = next_of_any(&mut members);
        assert!(taken.insert(message.clone()), "{message} came twice");
        shares[index] += 1;
    }
    let expected: BTreeSet<_> = (0..100).map(|index| format!("{topic} 1 0 {index}")).collect();
    assert_eq!(taken, expected);
    assert!(shares.iter().all(|share| *share > 0), "a member got nothing: {shares:?}");
    for (member, fence) in members.iter_mut().zip(&fences) {
        site.publish(&["-t", fence, "-q", "1", "-m", "fence"]);
        member.expect(&format!("{fence} 1 0 fence"));
    }
}

/// Several `-t` select, `-U` takes one back.
pub(super) fn filters_select_and_exclude(site: &Site) {
    let (one, level, rest) = (site.name("one"), site.name("+/level"), site.name("rest/#"));
    let mut subscriber = site.subscriber(&["-t", &one, "-t", &level, "-t", &rest, "-q", "1"]);
    for name in ["one", "two", "a/level", "a/b/level", "rest", "rest/a/b", "one/more"] {
        site.publish(&["-t", &site.name(name), "-q", "1", "-m", name]);
    }
    for name in ["one", "a/level", "rest", "rest/a/b"] {
        subscriber.expect(&format!("{} 1 0 {name}", site.name(name)));
    }
    site.publish(&["-t", &one, "-q", "1", "-m", "fence"]);
    subscriber.expect(&format!("{one} 1 0 fence"));
}

/// `--repeat` sends a message again on the same connection.
pub(super) fn repeated_messages(site: &Site) {
    let topic = site.name("t");
    let subscriber = site.subscriber(&["-t", &topic, "-q", "2", "-C", "50"]);
    site.publish(&["-t", &topic, "-q", "2", "-m", "again", "--repeat", "50"]);
    assert_eq!(subscriber.finish(), vec![format!("{topic} 2 0 again"); 50]);
}

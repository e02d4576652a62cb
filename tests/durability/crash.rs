//! kill -9 at random moments under load, again and again on one directory: every message that was
//! acknowledged arrives at every session that was owed it, in order, at QoS 2 once.
//!
//! `HAWKER_CRASHES` says how often, `HAWKER_SEED` when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client::{Publisher, Subscriber};
use super::support::{Broker, Directory, Setup};

/// Small segments, so that the log rotates and compacts while it is killed; queues that hold all.
const CONFIG: &str = "[storage]\nsegment_bytes = 131072\n[mqtt]\nqueue_messages_max = 100000000\n";

struct Moments(u64);

impl Moments {
    fn new() -> Moments {
        let fresh = || {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
            since_1970.as_nanos() as u64
        };
        let seed = std::env::var("HAWKER_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(fresh);
        println!("HAWKER_SEED={seed}");
        Moments(seed)
    }

    /// SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn crashes(by_default: u32) -> u32 {
    let wanted = std::env::var("HAWKER_CRASHES").ok().and_then(|count| count.parse().ok());
    wanted.unwrap_or(by_default)
}

fn start(directory: Directory, shards: usize, durability: &str) -> Broker {
    let setup = Setup::shards(shards).config(CONFIG);
    setup.argument("--durability").argument(durability).start_in(directory)
}

/// Kills on one directory: what nobody takes out grows with each, and with it every start.
const ROUNDS_ON_ONE_DIRECTORY: u32 = 50;

/// Kills brokers under load and judges what arrived. `shards` says how many each life has.
fn crash_again_and_again(rounds: u32, durability: &str, shards: impl Fn(u32) -> usize) {
    let mut moments = Moments::new();
    for done in (0..rounds).step_by(ROUNDS_ON_ONE_DIRECTORY as usize) {
        let rounds = ROUNDS_ON_ONE_DIRECTORY.min(rounds - done);
        crash_one_directory(&mut moments, rounds, durability, &shards);
        println!("{} kills", done + rounds);
    }
}

fn crash_one_directory(
    moments: &mut Moments,
    rounds: u32,
    durability: &str,
    shards: &impl Fn(u32) -> usize,
) {
    let mut broker = start(Directory::new(), shards(0), durability);
    let mut publishers =
        [Publisher::new("one", 1), Publisher::new("two", 2), Publisher::new("more", 1)];
    // One listens all the time, one now and then, one never until the end.
    let mut subscribers =
        [Subscriber::new("always"), Subscriber::new("sometimes"), Subscriber::new("never")];
    for subscriber in &mut subscribers {
        subscriber.subscribe(broker.address(), "load/#");
    }
    for round in 1..=rounds {
        let address = broker.address();
        let life = Duration::from_micros(20_000 + moments.below(180_000));
        let patience = Duration::from_secs(60);
        let directory = std::thread::scope(|scope| {
            for publisher in &mut publishers {
                scope.spawn(move || publisher.publish(address, 50, u64::MAX));
            }
            let [always, sometimes, _] = &mut subscribers;
            scope.spawn(move || always.listen(address, patience));
            if moments.below(2) == 0 {
                scope.spawn(move || sometimes.listen(address, patience));
            }
            std::thread::sleep(life);
            broker.kill()
        });
        broker = start(directory, shards(round), durability);
    }
    let address = broker.address();
    for publisher in &mut publishers {
        let last = publisher.next;
        publisher.publish(address, 50, last);
        assert_eq!(publisher.acknowledged, last, "{}", publisher.name);
    }
    for subscriber in &mut subscribers {
        subscriber.listen(address, Duration::from_secs(2));
    }
    for publisher in &publishers {
        for subscriber in &subscribers {
            judge(publisher, subscriber);
        }
    }
}

fn judge(publisher: &Publisher, subscriber: &Subscriber) {
    let (from, to) = (&publisher.name, &subscriber.name);
    let none = Vec::new();
    let heard = subscriber.heard.get(&format!("load/{from}")).unwrap_or(&none);
    let mut expected = 0;
    for number in heard {
        let is_repeated = *number < expected;
        assert!(!is_repeated || publisher.qos == 1, "{to} got {from}'s {number} twice at QoS 2");
        assert!(*number <= expected, "{to} got {from}'s {number} and not {expected} before it");
        expected = expected.max(number + 1);
    }
    assert_eq!(expected, publisher.next, "{to} did not get all of {from}'s messages");
}

#[test]
fn what_was_acknowledged_outlives_kill_9_on_one_shard() {
    crash_again_and_again(crashes(12), "fsync", |_| 1);
}

#[test]
fn what_was_acknowledged_outlives_kill_9_on_three_shards() {
    crash_again_and_again(crashes(12), "fsync", |_| 3);
}

#[test]
fn what_was_written_outlives_kill_9() {
    crash_again_and_again(crashes(10), "os", |_| 2);
}

#[test]
fn another_number_of_shards_takes_every_session_along() {
    crash_again_and_again(crashes(8), "fsync", |round| [1, 2, 3, 8, 2][round as usize % 5]);
}

//! Whole brokers from seeds: see `hawker::sim` for what is checked and what is not.
//!
//! A failing seed prints the command that repeats it. One that found a bug gets a name here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use hawker::sim::{Options, Sabotage, run};

/// Seeds that fail when a bug that was found here is put back, with their shard counts.
///
/// A change of the workload changes what a seed means: then undo each fix in turn and look for
/// the first seed that finds it again.
const REGRESSIONS: [(u64, usize, &str); 22] = [
    (7, 2, "a resumed session counted no PUBREL against the client's receive maximum"),
    (95, 8, "a DISCONNECT that had arrived was not acted on because reading was paused"),
    (445, 3, "a repeated QoS 2 PUBLISH was acknowledged before other shards had the first"),
    (54, 2, "QoS 0 messages passed those that waited from before the session was shortened"),
    (1981, 2, "an older retained message on its way between shards undid a clear"),
    (1123, 3, "a retained message on its way between shards passed a new subscription"),
    (313, 2, "a QoS 2 message that waited for the log was overtaken by one that did not"),
    (331, 2, "a retained message was read before a newer one that waited for the log had arrived"),
    (438, 1, "a client that read slowly was taken for silent"),
    (410, 2, "compaction told of a shared message again that was done"),
    (1437, 3, "what an ended session was owed came back under its number"),
    (5542, 1, "compaction read what was not yet written"),
    (60042, 8, "a connected client's session expired by the time of its shard's last record"),
    (5135, 8, "the last segment with records was given away"),
    (8617, 3, "it was given away before the next one had records, and numbers began anew"),
    (160, 3, "an acknowledged retained message was replaced by one that a crash took"),
    (365, 1, "a second clear was acknowledged before the first was durable"),
    (294, 2, "a session that a clean start had ended came back after a crash"),
    (264, 3, "and so it did where another connection had asked for that before"),
    (71, 1, "what was sent just before a crash came again without DUP"),
    (185, 8, "a QoS 2 message that one full shard refused came twice to others"),
    (30498, 2, "a message that a client had received was given away before that was noted"),
];

fn must_hold(options: &Options) -> hawker::sim::Report {
    run(options).unwrap_or_else(|failure| panic!("{failure}"))
}

fn all_hold(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        must_hold(&Options::seed(seed));
    }
}

#[test]
fn fixed_seeds_1_hold() {
    all_hold(0..50);
}

#[test]
fn fixed_seeds_2_hold() {
    all_hold(50..100);
}

#[test]
fn fixed_seeds_3_hold() {
    all_hold(100..150);
}

#[test]
fn fixed_seeds_4_hold() {
    all_hold(150..200);
}

#[test]
fn seeds_that_failed_once_hold() {
    for (seed, shards, bug) in REGRESSIONS {
        println!("seed {seed} with {shards} shards: {bug}");
        must_hold(&Options { shards: Some(shards), ..Options::seed(seed) });
    }
}

#[test]
fn every_shard_count_holds() {
    for shards in [1, 2, 3, 4, 5, 8, 16, 64] {
        must_hold(&Options { shards: Some(shards), ..Options::seed(1000 + shards as u64) });
    }
}

#[test]
fn fresh_seeds_hold() {
    let first = RandomState::new().build_hasher().finish() >> 16;
    println!("seeds {first} to {}", first + 49);
    all_hold(first..first + 50);
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    for seed in [1, 2, 3, 5, 8, 13, 21, 34] {
        let options = Options::seed(seed);
        assert_eq!(must_hold(&options), must_hold(&options), "seed {seed}");
    }
}

#[test]
fn different_seeds_are_different_runs() {
    let hashes = (0..20).map(|seed| must_hold(&Options::seed(seed)).hash);
    let distinct: std::collections::BTreeSet<u64> = hashes.collect();
    assert_eq!(distinct.len(), 20);
}

/// What no run reaches is not tested, whatever the oracle would say of it.
#[test]
fn the_runs_reach_what_they_are_about() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..60 {
        for (what, count) in must_hold(&Options::seed(seed)).seen {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{seen:#?}");
    let missing: Vec<_> = seen.iter().filter(|(_, count)| **count < 10).collect();
    assert!(missing.is_empty(), "hardly reached: {missing:?}");
}

fn is_found(fault: Sabotage) {
    let found = (0..SEEDS_MAX)
        .find_map(|seed| run(&Options { sabotage: Some(fault), ..Options::seed(seed) }).err());
    let failure = found.unwrap_or_else(|| panic!("{fault:?} hid from {SEEDS_MAX} seeds"));
    println!("{fault:?}: seed {}: {}", failure.seed, failure.sentence);
}

/// How many seeds a fault may hide from.
const SEEDS_MAX: u64 = 25;

macro_rules! faults_are_found {
    ($($name:ident: $fault:ident,)+) => {
        $(#[test]
        fn $name() {
            is_found(Sabotage::$fault);
        })+
    };
}

faults_are_found! {
    a_lost_lane_message_is_found: DropLaneMessage,
    swapped_lane_messages_are_found: SwapLaneMessages,
    a_publication_routed_twice_is_found: RepeatPublish,
    an_acknowledged_and_forgotten_message_is_found: AcknowledgeAndForget,
    an_unsent_delivery_is_found: DropDelivery,
    swapped_deliveries_are_found: SwapDeliveries,
    a_wrong_retain_flag_is_found: FlipRetain,
    a_forgotten_unsubscribe_is_found: IgnoreUnsubscribe,
    a_stopped_clock_is_found: StopTimers,
    a_missed_end_of_a_connection_is_found: MissClosed,
    a_commit_reported_too_early_is_found: ReportEarly,
    a_flipped_bit_on_the_disk_is_found: FlipStoredBit,
    swapped_records_on_the_disk_are_found: SwapWrites,
}

//! The brokers a test runs on: the same test on each count of shards.
//!
//! `HAWKER_TEST_BROKER=HOST:PORT` points the suite at a broker that runs already, which is how
//! the tests themselves were tested.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use super::client::Client;
use super::support;
use super::wire::{Connect, Version};

/// Shard counts every test runs over: one, two, an odd one, and more than a small machine has
/// cores.
const SHARDS: [usize; 4] = [1, 2, 3, 8];

/// A broker and a health check.
#[derive(Debug)]
pub struct Broker(support::Broker);

impl Deref for Broker {
    type Target = support::Broker;

    fn deref(&self) -> &support::Broker {
        &self.0
    }
}

impl Broker {
    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) {
        self.0.signal("TERM");
        let status = self.0.await_exit();
        assert!(status.success(), "it ended with {status}");
    }

    /// That the broker still serves: connect, subscribe, publish, receive.
    pub fn probe(&self) {
        let topic = self.unique();
        let mut client = Client::ask(self, &Connect::new(Version::V311, self.unique()));
        match client.expect_connack().reason {
            0 => {}
            // A broker that wants credentials has said so: it serves.
            4 | 5 => return,
            other => panic!("the probe was refused: {other}"),
        }
        client.subscribe(&topic, 1);
        client.send(client.message(&topic, "well").qos(1, 7).bytes());
        let mut owed = 2;
        while owed > 0 {
            match client.next() {
                super::packet::Packet::Publish(publish) => client.finish_delivery(&publish),
                super::packet::Packet::Ack(..) => {}
                other => panic!("the probe found {other:?}"),
            }
            owed -= 1;
        }
        client.disconnect();
    }
}

/// Runs a test on a broker of each shard count, at the same time, and probes each afterwards.
pub fn on_every_broker(test: impl Fn(&Broker) + Sync) {
    on_brokers_with("", test);
}

/// The same once for each version of the protocol.
pub fn on_every_version(test: impl Fn(&Broker, Version) + Sync) {
    on_every_broker(|broker| Version::ALL.into_iter().for_each(|version| test(broker, version)));
}

/// The same, for tests that sleep: the versions at the same time.
pub fn on_every_version_at_once(test: impl Fn(&Broker, Version) + Sync) {
    on_every_broker(|broker| at_once(&Version::ALL, |version| test(broker, *version)));
}

/// Runs a test on brokers with a configuration; left out where the broker is not ours to
/// configure.
pub fn on_every_broker_with(config: &str, test: impl Fn(&Broker) + Sync) {
    if std::env::var_os("HAWKER_TEST_BROKER").is_none() {
        on_brokers_with(config, test);
    }
}

/// Hands a broker of each shard count over to a test that ends it.
pub fn on_every_broker_to_its_end(test: impl Fn(Broker) + Sync) {
    if std::env::var_os("HAWKER_TEST_BROKER").is_none() {
        at_once(&SHARDS, |shards| test(start(*shards, "")));
    }
}

/// Runs `test` for each item in a thread of its own and waits for all.
pub fn at_once<T: Sync + std::fmt::Debug>(items: &[T], test: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| {
                let named = thread::Builder::new().name(format!("{item:?}"));
                named.spawn_scoped(scope, || test(item)).expect("a thread can be started")
            })
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

fn on_brokers_with(config: &str, test: impl Fn(&Broker) + Sync) {
    let foreign = std::env::var_os("HAWKER_TEST_BROKER").is_some();
    let counts = if foreign { &SHARDS[..1] } else { &SHARDS[..] };
    at_once(counts, |shards| {
        let broker = start(*shards, config);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            test(&broker);
            broker.probe();
        }));
        if let Err(panic) = outcome {
            eprintln!("the test failed on {shards} shards");
            resume_unwind(panic);
        }
    });
}

/// The protocol is the same whatever is promised beyond it; both are tried.
fn durability(shards: usize) -> &'static str {
    match shards {
        1 | 2 => "fsync",
        3 => "os",
        _ => "memory",
    }
}

fn start(shards: usize, config: &str) -> Broker {
    if std::env::var_os("HAWKER_TEST_BROKER").is_some() {
        return Broker(support::Broker::start(shards));
    }
    let small = "[storage]\nsegment_bytes = 2097152\n";
    let storage = if config.contains("[storage]") { "" } else { small };
    let config = format!("{config}\n{storage}");
    let setup = support::Setup::shards(shards).config(&config);
    Broker(setup.argument("--durability").argument(durability(shards)).start())
}

//! What it costs to hand something to another shard: one way, among all, and to one that sleeps.
//!
//! The lanes' own source is taken in. Two threads on two cores where a lane is crossed, unless the
//! machine has fewer; what both ends cost on one core is measured on one thread.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[allow(dead_code, unused_imports, reason = "what drives shards uses more of it")]
#[path = "../src/runtime/lanes.rs"]
mod lanes;

#[path = "../src/runtime/primitive.rs"]
mod primitive;

mod settings;

use lanes::{LaneEnds, Lanes};

/// As large as what shards tell each other.
type Item = [u64; 8];

/// What one turn hands over to one shard.
const BATCH: usize = 64;

/// Both ends on one thread: what a message costs its sender and its receiver, batches aside.
fn one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lanes");
    for batch in [1, BATCH] {
        let lanes = Lanes::new(2);
        let (mut from, mut to) = (lanes.ends(0), lanes.ends(1));
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("one thread/{batch} a batch"), |bencher| {
            bencher.iter(|| {
                send(&mut from, 1, batch);
                from.flush(1);
                assert_eq!(hear(&mut to, 0), batch);
            });
        });
    }
    group.finish();
}

/// From one thread to another that never sleeps.
fn one_way(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lanes");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("one way/{BATCH} a batch"), |bencher| {
        bencher.iter_custom(|batches| cross(batches as usize, 1, 1));
    });
    group.finish();
}

/// Four shards, each of which sends to all others and hears from all of them.
fn all_to_all(criterion: &mut Criterion) {
    const SHARDS: usize = 4;
    let mut group = criterion.benchmark_group("lanes");
    group.throughput(Throughput::Elements((SHARDS * (SHARDS - 1) * BATCH) as u64));
    group.bench_function(format!("all to all of {SHARDS}/{BATCH} a batch"), |bencher| {
        bencher.iter_custom(|rounds| cross(rounds as usize, SHARDS, SHARDS - 1));
    });
    group.finish();
}

/// There and back between two threads that sleep in between: two wakes.
fn wake(criterion: &mut Criterion) {
    criterion.bench_function("lanes/there and back, both asleep", |bencher| {
        bencher.iter_custom(|rounds| {
            let lanes = Lanes::new(2);
            let (mut here, mut there) = (lanes.ends(0), lanes.ends(1));
            let caller = thread::current();
            thread::scope(|scope| {
                let answerer = scope.spawn(move || {
                    for _ in 0..rounds {
                        sleep_and_hear(&mut there, 0);
                        call(&mut there, 0, &caller);
                    }
                });
                let start = Instant::now();
                for _ in 0..rounds {
                    call(&mut here, 1, answerer.thread());
                    sleep_and_hear(&mut here, 1);
                }
                start.elapsed()
            })
        });
    });
}

/// Hands one item over and wakes who sleeps.
fn call(ends: &mut LaneEnds<Item>, to: usize, who: &thread::Thread) {
    send(ends, to, 1);
    if ends.flush(to) {
        who.unpark();
    }
}

/// Sleeps until something has come from a shard.
fn sleep_and_hear(ends: &mut LaneEnds<Item>, from: usize) {
    while hear(ends, from) == 0 {
        if ends.fall_asleep() {
            thread::park();
            ends.wake_up();
        }
    }
}

/// Lets the first `senders` of some shards send batches to the `others` that follow them in a
/// circle; how long it takes until all is heard.
fn cross(batches: usize, senders: usize, others: usize) -> Duration {
    let shards = senders.max(others + 1);
    let lanes = Lanes::new(shards);
    let start = Instant::now();
    thread::scope(|scope| {
        for index in 0..shards {
            let mut ends = lanes.ends(index);
            let to: Vec<usize> = match index < senders {
                true => (1..=others).map(|step| (index + step) % shards).collect(),
                false => Vec::new(),
            };
            let from: Vec<usize> = (0..senders)
                .filter(|from| *from != index && (index + shards - from) % shards <= others)
                .collect();
            scope.spawn(move || take_part(&mut ends, &to, &from, batches));
        }
    });
    start.elapsed()
}

/// A shard's turns until it has sent and heard everything.
fn take_part(ends: &mut LaneEnds<Item>, to: &[usize], from: &[usize], batches: usize) {
    let mut to_send = vec![batches; to.len()];
    let mut to_hear = from.len() * batches * BATCH;
    while to_hear > 0 || ends.is_stuck() || to_send.iter().any(|left| *left > 0) {
        for (to, left) in to.iter().zip(&mut to_send) {
            if *left > 0 && !ends.is_full(*to) {
                send(ends, *to, BATCH);
                *left -= 1;
            }
            ends.flush(*to);
        }
        let heard: usize = from.iter().map(|from| hear(ends, *from)).sum();
        to_hear -= heard;
        if heard == 0 {
            // There may be fewer cores than shards.
            thread::yield_now();
        }
    }
}

fn send(ends: &mut LaneEnds<Item>, to: usize, count: usize) {
    for number in 0..count as u64 {
        ends.send(to, black_box([number; 8]), 0);
    }
}

/// Hears all that has come from a shard; how many items.
fn hear(ends: &mut LaneEnds<Item>, from: usize) -> usize {
    let mut count = 0;
    while let Some(mut batch) = ends.receive(from) {
        count += batch.items.len();
        for item in batch.items.drain(..) {
            black_box(item);
        }
        ends.recycle(from, batch);
    }
    count
}

criterion_group! {
    name = crossing;
    config = settings::settings();
    targets = one_thread, one_way, all_to_all, wake
}
criterion_main!(crossing);

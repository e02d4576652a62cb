//! What a message costs in a whole shard, from the bytes of its publisher to the bytes for its
//! subscribers and back to the last acknowledgement, without a kernel in between.

mod broker;
mod settings;

use broker::{Broker, publishes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hawker::proto::QoS;

fn one_to_one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one to one");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for in_flight in [1, 100] {
            let mut broker = Broker::new(qos, 1);
            let publishes = publishes(qos, in_flight);
            group.throughput(Throughput::Elements(u64::from(in_flight)));
            group.bench_function(format!("QoS {}/{in_flight} in flight", qos as u8), |bencher| {
                bencher.iter(|| broker.deliver(&publishes));
            });
            broker.end(in_flight.into());
        }
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for subscribers in [1, 10, 100, 500] {
            let mut broker = Broker::new(qos, subscribers);
            let publishes = publishes(qos, 1);
            group.throughput(Throughput::Elements(u64::from(subscribers)));
            group.bench_function(format!("QoS {}/to {subscribers}", qos as u8), |bencher| {
                bencher.iter(|| broker.deliver(&publishes));
            });
            broker.end(1);
        }
    }
}

criterion_group! {
    name = shard;
    config = settings::settings();
    targets = one_to_one, fan_out
}
criterion_main!(shard);

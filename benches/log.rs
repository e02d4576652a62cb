//! What it costs to keep a record, to let go of one, and to read a log of an earlier life, on a
//! disk that is memory: checksums and bookkeeping alone.

mod settings;

use std::collections::BTreeMap;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hawker::storage::{
    Kind, Log, LogOptions, News, OnDamage, Order, SEGMENT_HEAD_BYTES, SegmentNumber, Sequence,
    Urgency, recover,
};

const SEGMENT_BYTES: u32 = 64 << 20;

const OPTIONS: LogOptions = LogOptions { shard: 0, segment_bytes: SEGMENT_BYTES, segments_max: 64 };

/// Records that become durable together.
const COMMIT: usize = 256;

/// Records of a log that is read.
const RECOVERED: usize = 100_000;

/// A log and the files of its segments.
struct Disk {
    log: Log,
    segments: BTreeMap<SegmentNumber, Vec<u8>>,
    /// Whether the files are to be read later.
    keeps: bool,
    spare: Vec<Vec<u8>>,
}

impl Disk {
    fn new(keeps: bool) -> Disk {
        let mut disk =
            Disk { log: Log::new(OPTIONS), segments: BTreeMap::new(), keeps, spare: Vec::new() };
        disk.obey();
        disk
    }

    fn append(&mut self, payload: &[u8]) -> Sequence {
        let appended = self.log.append(1, Kind(1), &[payload], Urgency::Refusable);
        appended.expect("there is room")
    }

    /// Does what the log asks for until it asks for nothing.
    fn obey(&mut self) {
        while let Some(order) = self.log.poll() {
            match order {
                Order::Prepare { segment, head } => self.prepare(segment, &head),
                Order::Commit(commit) => {
                    for write in commit.writes.iter().filter(|_| self.keeps) {
                        let file = self.segments.get_mut(&write.segment).expect("prepared");
                        let at = write.offset as usize;
                        file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
                    }
                    self.log.handle(News::Committed(commit));
                }
                Order::Recycle(segment) => self.spare.extend(self.segments.remove(&segment)),
            }
        }
    }

    fn prepare(&mut self, segment: SegmentNumber, head: &[u8]) {
        let bytes = if self.keeps { SEGMENT_BYTES as usize } else { SEGMENT_HEAD_BYTES };
        let mut file = self.spare.pop().unwrap_or_else(|| vec![0; bytes]);
        file[..head.len()].copy_from_slice(head);
        self.segments.insert(segment, file);
        self.log.handle(News::Prepared { segment, pages: Bytes::new() });
    }
}

/// A record is kept, made durable with others, and let go of: what a message costs that waits for
/// somebody and is delivered.
fn keep_and_release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    for size in [64, 1 << 10, 16 << 10] {
        let payload = vec![b'x'; size];
        let mut disk = Disk::new(false);
        group.throughput(Throughput::Elements(COMMIT as u64));
        group.bench_function(format!("keep and release/{size} B"), |bencher| {
            let mut kept = Vec::with_capacity(COMMIT);
            bencher.iter(|| {
                kept.extend((0..COMMIT).map(|_| disk.append(black_box(&payload))));
                for sequence in &kept {
                    disk.log.hold(*sequence);
                }
                disk.obey();
                for sequence in kept.drain(..) {
                    disk.log.release(sequence, false);
                }
                disk.obey();
            });
        });
        assert!(disk.log.segments() <= 3, "what was let go of is given back");
    }
    group.finish();
}

/// A log of an earlier life is read from its first record to its end.
fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    for size in [64, 1 << 10] {
        let mut disk = Disk::new(true);
        for _ in 0..RECOVERED / COMMIT {
            for _ in 0..COMMIT {
                let sequence = disk.append(&vec![b'x'; size]);
                disk.log.hold(sequence);
            }
            disk.obey();
        }
        let files: Vec<(SegmentNumber, &[u8])> =
            disk.segments.iter().map(|(number, file)| (*number, file.as_slice())).collect();
        let records = RECOVERED / COMMIT * COMMIT;
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("recovery/{size} B"), |bencher| {
            let read = |()| {
                let mut count = 0;
                let recovered = recover(0, SEGMENT_BYTES, &files, OnDamage::Refuse, |record| {
                    black_box(record);
                    count += 1;
                });
                assert_eq!(recovered.expect("nothing is damaged").loss, None);
                assert_eq!(count, records, "all of it is there");
            };
            bencher.iter_batched(|| (), read, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group! {
    name = log;
    config = settings::settings();
    targets = keep_and_release, recovery
}
criterion_main!(log);

//! What it costs to find out who wants a message, to begin and to end wanting it, and to find the
//! retained messages of a filter, beside few and beside a million others.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use hawker::router::{RetainedStore, TopicTree};

const COUNTS: [usize; 3] = [10, 10_000, 1_000_000];

const HASH_KEYS: [u64; 4] = [1, 2, 3, 4];

/// Topics and filters taken in turn, as far as there are as many: enough that what they lead to
/// does not stay in the caches near a core.
const TURNS_MAX: usize = 1 << 16;

/// What the filters of a tree look like.
#[derive(Clone, Copy)]
enum Shape {
    /// `users/4711/inbox`: no wildcard, one filter a topic.
    Exact,
    /// A wildcard or two in each; a topic is matched by three filters, found along several ways.
    Wild,
    /// 16 levels, every second of the first twelve a wildcard; one filter a topic.
    Deep,
}

impl Shape {
    const ALL: [(Shape, &'static str); 3] =
        [(Shape::Exact, "exact"), (Shape::Wild, "wildcards"), (Shape::Deep, "16 levels")];

    /// The filter of a number; no two numbers have the same.
    fn filter(self, number: usize) -> Arc<str> {
        let filter = match self {
            Shape::Exact => format!("users/{number}/inbox"),
            Shape::Wild => {
                let place = number / 3;
                match number % 3 {
                    0 => format!("site/{}/+/{place}/state", place % 100),
                    1 => format!("site/+/room/{place}/#"),
                    _ => format!("+/{}/room/{place}/+", place % 100),
                }
            }
            Shape::Deep => deep(number, "+"),
        };
        Arc::from(filter)
    }

    /// A topic that the filter of the number matches.
    fn topic(self, number: usize) -> String {
        match self {
            Shape::Exact => format!("users/{number}/inbox"),
            Shape::Wild => {
                let place = number / 3;
                format!("site/{}/room/{place}/state", place % 100)
            }
            Shape::Deep => deep(number, "any"),
        }
    }

    fn tree(self, count: usize) -> TopicTree<usize> {
        let mut tree = TopicTree::new(HASH_KEYS);
        for number in 0..count {
            tree.entry_or_insert_with(&self.filter(number), || number);
        }
        assert_eq!(tree.len(), count, "no two filters are the same");
        tree
    }
}

/// A level for each of six digits, another after each, and four more.
fn deep(number: usize, between: &str) -> String {
    let mut levels = String::new();
    for digit in format!("{number:06}").chars() {
        levels.push(digit);
        levels.push('/');
        levels.push_str(between);
        levels.push('/');
    }
    levels + "room/lamp/power/state"
}

fn topic_tree(criterion: &mut Criterion) {
    for (shape, name) in Shape::ALL {
        for count in COUNTS {
            let mut tree = shape.tree(count);
            let topics: Vec<String> = spread(count).map(|number| shape.topic(number)).collect();
            for topic in &topics {
                assert!(matches(&tree, topic) >= 1, "{topic} is wanted");
            }
            criterion.bench_function(&format!("match/{name}/{count}"), |bencher| {
                let mut topics = topics.iter().cycle();
                bencher.iter(|| matches(&tree, black_box(topics.next().expect("it goes on"))));
            });
            // Half of the filters stay at least, so that the tree does not become another one.
            let some: Vec<Arc<str>> =
                spread(count).take(count / 2).map(|number| shape.filter(number)).collect();
            criterion.bench_function(&format!("remove/{name}/{count}"), |bencher| {
                time_changes(bencher, &mut tree, &some, remove_all, insert_all);
            });
            remove_all(&mut tree, &some);
            criterion.bench_function(&format!("insert/{name}/{count}"), |bencher| {
                time_changes(bencher, &mut tree, &some, insert_all, remove_all);
            });
        }
    }
}

fn retained_store(criterion: &mut Criterion) {
    for count in COUNTS {
        let mut store = RetainedStore::new(HASH_KEYS);
        for number in 0..count {
            store.insert(&retained_topic(number), number);
        }
        let looks = [Look::Topic, Look::OneLevel, Look::Below];
        for (look, name) in looks.into_iter().zip(["exact", "+", "#"]) {
            let filters: Vec<String> = spread(count).map(|number| look.filter(number)).collect();
            for filter in &filters {
                assert_eq!(retained(&store, filter), look.found(), "{filter}");
            }
            criterion.bench_function(&format!("retained/{name}/{count}"), |bencher| {
                let mut filters = filters.iter().cycle();
                bencher.iter(|| retained(&store, black_box(filters.next().expect("it goes on"))));
            });
        }
    }
}

/// What is looked for among retained messages.
#[derive(Clone, Copy)]
enum Look {
    /// One topic.
    Topic,
    /// The ten of a site, by `+`.
    OneLevel,
    /// The ten of a site, by `#`.
    Below,
}

impl Look {
    fn filter(self, number: usize) -> String {
        match self {
            Look::Topic => retained_topic(number),
            Look::OneLevel => format!("site/{}/+/state", number / 10),
            Look::Below => format!("site/{}/#", number / 10),
        }
    }

    fn found(self) -> usize {
        match self {
            Look::Topic => 1,
            Look::OneLevel | Look::Below => 10,
        }
    }
}

fn retained_topic(number: usize) -> String {
    format!("site/{}/{}/state", number / 10, number % 10)
}

fn retained(store: &RetainedStore<usize>, filter: &str) -> usize {
    let mut count = 0;
    store.for_each_match(filter, |value| {
        black_box(value);
        count += 1;
    });
    count
}

fn matches(tree: &TopicTree<usize>, topic: &str) -> usize {
    let mut count = 0;
    tree.for_each_match(topic, |value| {
        black_box(value);
        count += 1;
    });
    count
}

fn insert_all(tree: &mut TopicTree<usize>, filters: &[Arc<str>]) {
    for filter in filters {
        tree.entry_or_insert_with(black_box(filter), || 0);
    }
}

fn remove_all(tree: &mut TopicTree<usize>, filters: &[Arc<str>]) {
    for filter in filters {
        tree.remove(black_box(filter)).expect("it is in the tree");
    }
}

/// Measures one change of a tree; what undoes it is not counted. The clock is looked at once for
/// all filters, which beside ten others are only five: a few nanoseconds there are the clock's.
fn time_changes(
    bencher: &mut Bencher<'_>,
    tree: &mut TopicTree<usize>,
    filters: &[Arc<str>],
    change: impl Fn(&mut TopicTree<usize>, &[Arc<str>]),
    undo: impl Fn(&mut TopicTree<usize>, &[Arc<str>]),
) {
    bencher.iter_custom(|mut left| {
        let mut spent = Duration::ZERO;
        while left > 0 {
            let some = &filters[..filters.len().min(left as usize)];
            let start = Instant::now();
            change(tree, some);
            spent += start.elapsed();
            undo(tree, some);
            left -= some.len() as u64;
        }
        spent
    });
}

/// Different numbers below `count`, which is a power of ten, in no order that memory would like.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    // A prime, and so prime to any power of ten.
    const STRIDE: usize = 2_654_435_761;
    (0..count.min(TURNS_MAX)).map(move |n| n * STRIDE % count)
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
}

criterion_group! {
    name = router;
    config = settings();
    targets = topic_tree, retained_store
}
criterion_main!(router);

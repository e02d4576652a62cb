//! How long a benchmark is measured.

use std::time::Duration;

use criterion::Criterion;

/// A second for each.
pub fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
}

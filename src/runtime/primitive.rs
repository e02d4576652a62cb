//! What lanes are made of. `tests/loom` takes the lanes in with other primitives, which try every
//! order in which threads can see each other's writes.

pub(super) use crossbeam_queue::ArrayQueue;
pub(super) use std::sync::atomic::{AtomicBool, Ordering};

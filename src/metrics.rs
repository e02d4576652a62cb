//! Counters of a shard.

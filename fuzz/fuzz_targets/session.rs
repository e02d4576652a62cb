//! The session machine: whatever clients send, in whatever pieces, a shard does not panic, keeps
//! to its limits, and holds nothing once everybody has left.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| hawker_fuzz::drive_shard(stream));

//! The codec of 3.1.1: no panic, and what is read is written so that it reads the same.

#![no_main]

use hawker::proto::Version;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| hawker_fuzz::decode_stream(Version::V311, stream));

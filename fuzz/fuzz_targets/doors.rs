//! The layers before MQTT: a PROXY header, the request for a WebSocket, its frames. No panic, no
//! more held than a request, and the same packets however the bytes are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| hawker_fuzz::walk_through_door(stream));

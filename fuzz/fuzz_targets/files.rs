//! What operators write: an acl_file and a password file. No panic; what is wrong has a line.

#![no_main]

use hawker::auth::{Passwords, Rules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().count();
    if let Err(fault) = Rules::default().add_acl(&text) {
        assert!((1..=lines).contains(&fault.line));
    }
    if let Err(fault) = Passwords::parse(&text) {
        assert!((1..=lines).contains(&fault.line));
    }
});

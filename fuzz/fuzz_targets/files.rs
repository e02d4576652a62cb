//! What operators write: an acl_file, a password file of any kind with its rules, a rule alone, and
//! a file of bans. No panic; what is wrong has a line.

#![no_main]

use hawker::auth::{Passwords, Rules};
use hawker::config::RuleConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().count();
    if let Err(faults) = Rules::default().add_acl(&text) {
        assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
    }
    // It reads every kind of hash and, behind it, a rule; and a `credentials.json` as a whole.
    if let Err(fault) = Passwords::parse(&text) {
        assert!((1..=lines).contains(&fault.line));
    }
    if let Err(fault) = hawker::parse_bans(&text) {
        assert!((1..=lines).contains(&fault.line));
    }
    if let Ok(rule) = RuleConfig::parse(&text) {
        let _ = Rules::of(&[rule], &Default::default());
    }
});

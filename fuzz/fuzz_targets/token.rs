//! Tokens in place of passwords, against one secret: as they come, and signed with it. No panic; what
//! is not signed with it lets nobody in.

#![no_main]

use hawker::auth::Verdict;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "a secret of more than 32 bytes, as it has to be";

fuzz_target!(|bytes: &[u8]| {
    let verdict = hawker::judge_token(SECRET, bytes);
    assert!(!matches!(verdict, Verdict::Allow(_)), "nobody guesses a signature");
    if let Some(token) = hawker::sign_token(SECRET, bytes) {
        let verdict = hawker::judge_token(SECRET, token.as_bytes());
        assert!(matches!(verdict, Verdict::Allow(_) | Verdict::Deny | Verdict::Forbid));
    }
});

//! Programs of others that a test drives.

use std::env;

/// Whether a test can go on. Where a program is missing it says so, or fails where
/// `HAWKER_TEST_CLIENTS=required`, as `make test` has it.
pub fn is_present(present: bool, what: &str) -> bool {
    if !present {
        let required = env::var_os("HAWKER_TEST_CLIENTS").is_some_and(|value| value == "required");
        assert!(!required, "{what} is missing: make clients");
        eprintln!("skipped: {what} is missing: make clients");
    }
    present
}

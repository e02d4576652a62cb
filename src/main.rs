//! The `hawker` command: flags and environment and file become a configuration, which runs.
fn main() {}

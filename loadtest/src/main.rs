//! The load harness: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadtest::cli::main()
}

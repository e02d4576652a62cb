//! The `hawker` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hawker::cli::main()
}

//! What the command line says of itself to shells and to `man`.

use std::io::{self, Write as _};
use std::path::Path;

use clap::{CommandFactory as _, ValueEnum};
use clap_mangen::Man;

use super::arguments::Arguments;

/// A shell that can be told what the command line takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Fish,
    Zsh,
}

/// Prints the script that has a shell complete the command line.
pub(super) fn complete(shell: Shell) -> io::Result<()> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "hawker", &mut script);
    io::stdout().write_all(&script)
}

/// Prints the first page of the manual, or writes all pages to a folder.
pub(super) fn manual(folder: Option<&Path>) -> io::Result<()> {
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(Arguments::command(), folder)
        }
        None => {
            // As the library does where it writes all pages.
            let mut command = Arguments::command().disable_help_subcommand(true);
            command.build();
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            io::stdout().write_all(&page)
        }
    }
}

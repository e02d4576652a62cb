//! Replays one seed of the simulation, or tries many.
//!
//! ```text
//! sim                                             tries the first thousand seeds
//! sim --seeds COUNT [--from SEED] [--shards N]    tries others
//! sim SEED [--shards N] [--steps N] [--trace]     repeats a run
//! ```

use std::process::ExitCode;

use hawker::sim::{Options, Verbosity, run};

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    match parse(&arguments) {
        Ok(Command::One(options)) => one(&options),
        Ok(Command::Many { options, count }) => many(&options, count),
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

enum Command {
    One(Options),
    Many { options: Options, count: u64 },
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let mut options = Options::seed(0);
    let (mut seed, mut count) = (None, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or(format!("{argument} needs a number"))?;
            value.parse::<u64>().map_err(|_| format!("{value} is not a number"))
        };
        match argument.as_str() {
            "--shards" => options.shards = Some(number()?.clamp(1, 64) as usize),
            "--steps" => options.steps = Some(number()? as u32),
            "--seeds" => count = Some(number()?),
            "--from" => seed = Some(number()?),
            "--trace" => options.verbosity = Verbosity::Print,
            other => match other.parse() {
                Ok(number) => seed = Some(number),
                Err(_) => return Err(format!("{other} is neither a seed nor an option")),
            },
        }
    }
    match (seed, count) {
        (seed, Some(count)) => {
            options.seed = seed.unwrap_or(0);
            Ok(Command::Many { options, count })
        }
        (Some(seed), None) => Ok(Command::One(Options { seed, ..options })),
        (None, None) => Ok(Command::Many { options, count: 1000 }),
    }
}

fn one(options: &Options) -> ExitCode {
    match run(options) {
        Ok(report) => {
            for (what, count) in &report.seen {
                println!("{count:>8} {what}");
            }
            println!("seed {}: {} events, hash {:016x}", options.seed, report.events, report.hash);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options, count: u64) -> ExitCode {
    let mut failed = 0;
    // A shard's panic is in the report of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in options.seed..options.seed + count {
        if let Err(failure) = run(&Options { seed, ..*options }) {
            failed += 1;
            println!("seed {} with {} shards: {}", seed, failure.shards, failure.sentence);
        }
    }
    println!("{count} seeds, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const USAGE: &str = "usage: sim [--seeds COUNT] [--from SEED] [--shards N]
       sim SEED [--shards N] [--steps N] [--trace]";

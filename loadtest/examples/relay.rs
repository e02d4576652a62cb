//! A relay that does the least a broker can, to see what the harness itself costs, and that does
//! one thing wrong on demand, to see the harness find it:
//!
//! ```text
//! cargo run --release -p loadtest --example relay -- 127.0.0.1:1884 [FAULT NUMBER]
//! ```

use std::process::ExitCode;

#[path = "../tests/relay/mod.rs"]
mod relay;

use relay::{Fault, Relay};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = arguments.first().map_or("127.0.0.1:1884", String::as_str);
    let Some(fault) = fault(arguments.get(1..).unwrap_or_default()) else {
        eprintln!(
            "usage: relay [ADDRESS [lose|repeat|delay|damage|misroute|babble|hang-up NUMBER]]"
        );
        return ExitCode::FAILURE;
    };
    let result = Relay::bind(address, fault).and_then(|relay| {
        println!("{}", relay.address()?);
        relay.run()
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fault(words: &[String]) -> Option<Fault> {
    let [name, number] = words else { return words.is_empty().then_some(Fault::Nothing) };
    let number = number.parse().ok()?;
    match name.as_str() {
        "lose" => Some(Fault::Lose(number)),
        "repeat" => Some(Fault::Repeat(number)),
        "delay" => Some(Fault::Delay(number)),
        "damage" => Some(Fault::Damage(number)),
        "misroute" => Some(Fault::Misroute(number)),
        "babble" => Some(Fault::Babble(number)),
        "hang-up" => Some(Fault::HangUp(number)),
        _ => None,
    }
}

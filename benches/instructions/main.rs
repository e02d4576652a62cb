//! How many instructions the work of a message takes: a number that no other work on the machine
//! changes, so that a test can hold it.
//!
//! Without arguments each scene is run by valgrind, once and again with more rounds; the difference
//! is what a round takes. It is compared with `instructions.tsv`, and the exit status is 1 if one
//! takes more than [`TOLERANCE`] more, or less: then the table is to be written anew
//! (`HAWKER_BLESS=1`), so that it stays what is held. Another compiler makes other instructions:
//! beside one that the table was not written with they are only printed.
//!
//! With the name of a scene and a number of rounds that is what is run.

#[path = "../broker/mod.rs"]
#[allow(dead_code, reason = "there are no sockets here")]
mod broker;
mod scene;
mod table;

use std::process::{Command, ExitCode};
use std::{env, error, io};

use scene::Scene;
use table::Table;

/// How far a count may be from the one in the table.
const TOLERANCE: f64 = 0.03;

fn main() -> Result<ExitCode, Box<dyn error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => count_all(),
        [name, rounds] => {
            let scene = Scene::named(name).ok_or("there is no such scene")?;
            scene.run(rounds.parse()?);
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("expected nothing, or a scene and how many rounds".into()),
    }
}

fn count_all() -> Result<ExitCode, Box<dyn error::Error>> {
    let compiler = compiler()?;
    let mut counted = Table::new(&compiler);
    for scene in Scene::ALL {
        counted.push(scene.name, count(scene)?);
    }
    if env::var_os("HAWKER_BLESS").is_some() {
        counted.write()?;
    }
    let kept = Table::read()?;
    let is_as_kept = counted.compare(&kept, TOLERANCE);
    if kept.compiler != compiler {
        println!("The table is of {}, this is {compiler}: nothing is held.", kept.compiler);
        return Ok(ExitCode::SUCCESS);
    }
    if !is_as_kept {
        println!("HAWKER_BLESS=1 make instructions writes the table anew.");
    }
    Ok(if is_as_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Instructions of one message, packet or match of a scene.
fn count(scene: &Scene) -> Result<f64, Box<dyn error::Error>> {
    const FEW: u64 = 50;
    const MORE: u64 = 150;
    let (few, more) = (instructions(scene, FEW)?, instructions(scene, MORE)?);
    let each = (MORE - FEW) * scene.per_round;
    Ok((more - few) as f64 / each as f64)
}

/// Instructions of this program with so many rounds of a scene.
fn instructions(scene: &Scene, rounds: u64) -> Result<u64, Box<dyn error::Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([scene.name, &rounds.to_string()])
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                io::Error::new(error.kind(), "valgrind is missing: apt-get install valgrind")
            }
            _ => error,
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    match count {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => Err(format!("valgrind says of {:?}:\n{said}", scene.name).into()),
    }
}

fn compiler() -> io::Result<String> {
    let output = Command::new("rustc").arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    Ok(version.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

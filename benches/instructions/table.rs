//! Counts by scene, as they are kept in a file.

use std::path::PathBuf;
use std::{fs, io};

/// What was counted, with which compiler.
pub struct Table {
    pub compiler: String,
    counts: Vec<(String, f64)>,
}

impl Table {
    pub fn new(compiler: &str) -> Table {
        Table { compiler: compiler.to_owned(), counts: Vec::new() }
    }

    pub fn push(&mut self, scene: &str, count: f64) {
        self.counts.push((scene.to_owned(), count));
    }

    /// The table that is kept.
    pub fn read() -> io::Result<Table> {
        let text = fs::read_to_string(path())?;
        let wrong = |line: &str| io::Error::other(format!("{}: {line:?}", path().display()));
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let compiler = head.strip_prefix("scene\t").ok_or_else(|| wrong(head))?;
        let mut table = Table::new(compiler);
        for line in lines {
            let (scene, count) = line.split_once('\t').ok_or_else(|| wrong(line))?;
            table.push(scene, count.parse().map_err(|_| wrong(line))?);
        }
        Ok(table)
    }

    pub fn write(&self) -> io::Result<()> {
        let mut text = format!("scene\t{}\n", self.compiler);
        for (scene, count) in &self.counts {
            text += &format!("{scene}\t{count:.1}\n");
        }
        fs::write(path(), text)
    }

    /// Prints this beside what is kept; whether all is as it was.
    pub fn compare(&self, kept: &Table, tolerance: f64) -> bool {
        let mut is_as_kept = true;
        for (scene, count) in &self.counts {
            let old = kept.counts.iter().find(|(name, _)| name == scene);
            let is_near = old.is_some_and(|(_, old)| (count / old - 1.0).abs() <= tolerance);
            let mark = if is_near { "" } else { "  <- not as kept" };
            let old = old.map_or("-".to_owned(), |(_, old)| format!("{old:.1}"));
            println!("{scene:<36} {count:>9.1}  kept {old:>9}{mark}");
            is_as_kept &= is_near;
        }
        is_as_kept && self.counts.len() == kept.counts.len()
    }
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions", "instructions.tsv"].iter().collect()
}

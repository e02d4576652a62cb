//! The file of a trace: lines of JSON, of bounded size, for its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

/// Largest file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// See the module.
pub(super) struct TraceFile {
    file: BufWriter<File>,
    bytes: u64,
}

impl TraceFile {
    /// A new file; its folder is made if there is none.
    pub(super) fn create(path: &Path) -> io::Result<TraceFile> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(TraceFile { file: BufWriter::new(file), bytes: 0 })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a line; why that cannot be done.
    pub(super) fn write_line(&mut self, line: &[u8]) -> Result<(), String> {
        let bytes = line.len() as u64 + 1;
        if self.bytes + bytes > FILE_BYTES_MAX {
            return Err(format!("its file is full: {FILE_BYTES_MAX} bytes"));
        }
        self.bytes += bytes;
        let written = self.file.write_all(line).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| format!("its file cannot be written: {error}"))
    }

    /// What was written is in the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes the files of traces that are older than `kept`: those of an earlier life of the broker
/// are in no list.
pub(super) fn remove_old(folder: &Path, kept: Duration) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let is_ours = name.starts_with("trace-") && name.ends_with(".jsonl");
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > kept));
        if is_ours && is_old {
            // Somebody else may have done so.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owners_and_no_larger_than_it_may_be() {
        let folder = std::env::temp_dir().join(format!("hawker-trace-{}", std::process::id()));
        let path = folder.join("inner/trace-1-1.jsonl");
        let mut file = TraceFile::create(&path).expect("the folder is made");
        file.write_line(b"{}").expect("there is room");
        file.bytes = FILE_BYTES_MAX - 2;
        let full = file.write_line(b"{}").expect_err("there is none left");
        assert!(full.contains("is full"), "{full}");
        file.flush().expect("it is written");
        assert_eq!(fs::read(&path).expect("it is there"), b"{}\n");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!((mode(&path) & 0o777, mode(&folder) & 0o777), (0o600, 0o700));
        assert!(TraceFile::create(&path).is_err(), "nothing is overwritten");

        fs::write(folder.join("inner/notes.txt"), "mine").expect("it can be written");
        remove_old(&folder.join("inner"), Duration::from_secs(60));
        assert!(path.exists(), "it is young");
        std::thread::sleep(Duration::from_millis(20));
        remove_old(&folder.join("inner"), Duration::ZERO);
        assert!(!path.exists() && folder.join("inner/notes.txt").exists());
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}

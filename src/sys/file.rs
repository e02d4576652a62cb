//! Files that are there whole or as they were.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a file beside another and gives it that one's name: a crash leaves the one or the other.
/// `mode` is who may read it.
///
/// # Errors
///
/// Whatever the file system says; the file is as it was then.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = File::options();
    let mut new = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&beside, path)
}

//! A file that comes from the server: whole on the disk, or not there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::server::CtlError;

/// Writes what comes beside `path` and gives it that name once all of it is on stable storage; how
/// many bytes that are. What is there already stays, unless `force` says otherwise.
pub(super) fn save<R: Read>(
    path: &Path,
    force: bool,
    ask: impl FnOnce() -> Result<(u64, R), CtlError>,
) -> Result<u64, CtlError> {
    if !force && path.symlink_metadata().is_ok() {
        return Err(CtlError::There(path.to_owned()));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let written = PathBuf::from(name);
    // It holds what clients trust the broker with.
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let failed = |error| CtlError::File(written.clone(), error);
    let mut file = options.open(&written).map_err(failed)?;
    let outcome = ask().and_then(|(bytes, body)| {
        copy(bytes, body, &mut file, &written)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&written, path).map_err(|error| CtlError::File(path.to_owned(), error))?;
        sync_folder(path).map_err(failed)?;
        Ok(bytes)
    });
    if outcome.is_err() {
        // Half of a file is of no use, and takes room.
        let _ = fs::remove_file(&written);
    }
    outcome
}

/// Prints what comes.
pub(super) fn print<R: Read>(
    ask: impl FnOnce() -> Result<(u64, R), CtlError>,
) -> Result<(), CtlError> {
    let (bytes, body) = ask()?;
    let mut out = io::stdout().lock();
    copy(bytes, body, &mut out, Path::new("standard output"))?;
    Ok(out.flush()?)
}

fn copy(
    announced: u64,
    mut body: impl Read,
    out: &mut impl Write,
    name: &Path,
) -> Result<(), CtlError> {
    let mut came = 0;
    let mut chunk = vec![0; 256 << 10];
    loop {
        let count = match body.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        came += count as u64;
        out.write_all(&chunk[..count]).map_err(|error| CtlError::File(name.to_owned(), error))?;
    }
    if came == announced { Ok(()) } else { Err(CtlError::Short { came, announced }) }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("hawker-download-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("there is room");
        folder
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = folder("whole");
        let path = folder.join("backup.tar");
        let saved = save(&path, false, || Ok((3, &b"abc"[..])));
        assert_eq!(saved.expect("all of it came"), 3);
        let refused = save(&path, false, || -> Result<(u64, &[u8]), CtlError> {
            panic!("nothing is asked for that cannot be kept")
        });
        assert!(matches!(refused, Err(CtlError::There(_))), "{refused:?}");
        let short = save(&path, true, || Ok((5, &b"wxyz"[..]))).expect_err("a byte is missing");
        assert!(short.to_string().starts_with("4 bytes of 5 came"), "{short}");
        assert_eq!(fs::read(&path).expect("it is there"), b"abc");
        save(&path, true, || Ok((4, &b"wxyz"[..]))).expect("all of it came");
        assert_eq!(fs::read(&path).expect("it is there"), b"wxyz");
        let left = fs::read_dir(&folder).expect("it is there").count();
        assert_eq!(left, 1, "nothing else stays");
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn a_disk_without_room_is_said_so() {
        let full = Path::new("/dev/full");
        let mut out = File::options().write(true).open(full).expect("there is one");
        let error = copy(3, &b"abc"[..], &mut out, full).expect_err("it takes nothing");
        assert!(error.to_string().contains("No space left"), "{error}");
    }
}

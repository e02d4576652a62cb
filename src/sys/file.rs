//! Files that are there whole or as they were.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Writes a file beside another and gives it that one's name: a crash leaves the one or the other.
/// It belongs to whom the other belonged to, and those may read it, but nobody beyond `mode` and
/// its group; without another, `mode` is who may.
///
/// # Errors
///
/// Whatever the file system says; the file is as it was then.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What a crash has left may be readable by anybody.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    let mut new = options.write(true).create_new(true).mode(mode).open(&beside)?;
    if let Ok(before) = fs::metadata(path) {
        let (user, group) = (Some(before.uid()), Some(before.gid()));
        // Who is not root gives files to nobody else, but to its own groups.
        let is_kept = fchown(&new, user, group).or_else(|_| fchown(&new, None, group)).is_ok();
        let may_be = if is_kept { mode | 0o770 } else { 0o700 };
        new.set_permissions(Permissions::from_mode(before.mode() & may_be))?;
    }
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_its_owners() {
        let path = std::env::temp_dir().join(format!("hawker-replaced-{}", std::process::id()));
        let mode = || fs::metadata(&path).expect("it is there").mode() & 0o777;
        let permit = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
        replace(&path, 0o640, b"one").expect("a new file");
        assert_eq!(mode() & 0o007, 0);
        permit(0o600);
        replace(&path, 0o640, b"two").expect("the same file");
        assert_eq!((fs::read(&path).expect("it is there"), mode()), (b"two".to_vec(), 0o600));
        permit(0o664);
        // Root alone can give files away.
        let group =
            if fchown(File::open(&path).expect("ours"), None, Some(1)).is_ok() { 1 } else { 0 };
        replace(&path, 0o640, b"three").expect("the same file");
        assert_eq!(mode(), 0o660, "nobody beyond its group");
        assert!(group == 0 || fs::metadata(&path).expect("it is there").gid() == group);
        fs::remove_file(&path).expect("it is there");
    }
}

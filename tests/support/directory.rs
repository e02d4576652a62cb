//! Directories that go when the test ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory below cargo's target directory, removed with everything in it on drop.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes one that no other test of this or another process has.
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hawker-{}-{count}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // A leftover can only be of a dead process that had this id before.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("cargo's temporary directory is writable");
        Directory { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, which need not exist.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file and says where it is.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, text).expect("the test's directory is writable");
        path
    }

    /// Copies a file, for its owner alone, and says where it is.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::copy(from, &path).expect("the test's directory is writable");
        permit(&path, 0o600);
        path
    }
}

/// Says who may read and write a file.
pub fn permit(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::env::var_os("HAWKER_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

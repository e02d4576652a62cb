//! The data directory: whose it is, what format, and where each shard's segments are.
//!
//! ```text
//! data/
//!   lock        held by the broker that uses the directory
//!   format      what is below, and how clients are placed on shards
//!   1/          a generation: changed as a whole when the number of shards changes
//!     shard-0/
//!       00000000000000000001.log
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::storage::{FORMAT, SegmentNumber};

/// A data directory that this process has for itself.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Holds the lock as long as it lives.
    lock: File,
    layout: Layout,
    /// Damaged places that were left out and set aside since this process has it.
    pub(super) damages: usize,
    /// How long the start took to read it.
    pub(super) read_in: Duration,
}

/// The lock of a data directory, by its place on the disk.
#[derive(Debug)]
pub(super) struct Claim {
    lock: PathBuf,
    place: (u64, u64),
}

impl Claim {
    /// A file by its path.
    pub(super) fn of(path: &Path, file: &File) -> io::Result<Claim> {
        let facts = file.metadata()?;
        Ok(Claim { lock: path.to_owned(), place: (facts.dev(), facts.ino()) })
    }

    /// Whether the file has gone, or another is in its place: then so may have the logs, and another
    /// broker may have taken them.
    pub(super) fn is_lost(&self) -> bool {
        match fs::metadata(&self.lock) {
            Ok(facts) => (facts.dev(), facts.ino()) != self.place,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} was removed or replaced, so the data directory may be gone or another broker's; \
             nothing more is acknowledged and the broker ends. Put the directory back as it was, \
             then start the broker again",
            self.lock.display()
        )
    }
}

/// What the `format` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many shards there are logs of.
    pub shards: usize,
    /// Bytes of a segment.
    pub segment_bytes: u32,
    /// Keys of the hash that places clients, topics and groups on shards.
    pub placement: [u64; 4],
    /// What that hash makes of a known word: another build may hash otherwise.
    pub fingerprint: u64,
    generation: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DirectoryError {
    /// It cannot be read, made or written.
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another process has it.
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process id, as far as it says.
        pid: String,
    },
    /// A later version wrote it.
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// The `format` file is not one.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others could read or change what clients trust the broker with.
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// There are logs and no `format` file that says how to read them.
    Headless(PathBuf),
    /// Something that is no file has the name of a segment.
    Foreign(PathBuf),
    /// There are other logs than the `format` file says.
    Logs {
        /// The directory.
        path: PathBuf,
        /// The folder of a shard that is missing, or is there and should not be.
        folder: PathBuf,
        /// Whether it is missing.
        missing: bool,
    },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryError::Io { what, path, error } => {
                let path = path.display();
                write!(
                    f,
                    "data directory: {what} {path}: {error}; `hawker doctor` says how to mend it"
                )
            }
            DirectoryError::Locked { path, pid } => write!(
                f,
                "data directory {}: in use by the broker with process id {pid}; stop it, or choose \
                 another with --data-dir",
                path.display()
            ),
            DirectoryError::Newer { path, format } => write!(
                f,
                "data directory {}: written in format {format}, and this version reads up to \
                 {FORMAT}; use the version that wrote it, or start with an empty --data-dir",
                path.display()
            ),
            DirectoryError::Unreadable { path, why } => write!(
                f,
                "{}: {why}; restore the file from a backup, or start with an empty --data-dir",
                path.display()
            ),
            DirectoryError::Permissions { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "data directory {path}: its mode {mode:o} lets others in; `chmod 700 {path}`"
                )
            }
            DirectoryError::Headless(path) => write!(
                f,
                "data directory {}: there are logs but no `format` file that says how clients are \
                 placed; restore the file from a backup, or start with an empty --data-dir",
                path.display()
            ),
            DirectoryError::Foreign(path) => write!(
                f,
                "{}: it has the name of a segment of the log and is no file, so it is not the \
                 broker's; nothing is changed. Move it away",
                path.display()
            ),
            DirectoryError::Logs { path, folder, missing } => {
                let folder = folder.display();
                let (is, mend) = match missing {
                    true => {
                        ("is missing", "make it (`mkdir -m 700`) to go on without what it held")
                    }
                    false => ("should not be there", "move it away to go on without what it holds"),
                };
                write!(
                    f,
                    "data directory {}: by its `format` file {folder} {is}. Was one of them removed, \
                     or brought back alone? Nothing is changed; restore the directory as a whole \
                     from a backup, or {mend}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for DirectoryError {}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |error| DirectoryError::Io { what, path: path.clone(), error }
}

impl Directory {
    /// Takes a directory for this process; made if missing, with `new` as its layout.
    ///
    /// # Errors
    ///
    /// See [`DirectoryError`]; nothing is changed then.
    pub fn open(path: &Path, new: Layout) -> Result<Directory, DirectoryError> {
        make(path)?;
        let lock = enter(path)?;
        let format = path.join("format");
        let found = match fs::read_to_string(&format) {
            Ok(text) => Some(Layout::parse(path, &format, &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("cannot read", &format)(error)),
        };
        let is_new = found.is_none();
        let directory = Directory {
            path: path.to_owned(),
            lock,
            layout: found.unwrap_or(new),
            damages: 0,
            read_in: Duration::ZERO,
        };
        if is_new {
            // What a first start left that was killed before it wrote the file is empty.
            for (_, generation) in generations(path)? {
                if holds_segments(&generation)? {
                    return Err(DirectoryError::Headless(path.to_owned()));
                }
                fs::remove_dir_all(&generation).map_err(failed("cannot remove", &generation))?;
            }
            // Folders first: what the file speaks of is there.
            directory.make_shards(&directory.layout)?;
            directory.write_layout(&directory.layout)?;
        }
        directory.layout.check(path)?;
        directory.remove_other_generations()?;
        Ok(directory)
    }

    /// Takes a directory for this process as it is.
    ///
    /// # Errors
    ///
    /// See [`DirectoryError`]; nothing is changed.
    pub fn open_existing(path: &Path) -> Result<Directory, DirectoryError> {
        let format = path.join("format");
        let text = fs::read_to_string(&format).map_err(failed("cannot read", &format))?;
        let lock = enter(path)?;
        let layout = Layout::parse(path, &format, &text)?;
        layout.check(path)?;
        Ok(Directory { path: path.to_owned(), lock, layout, damages: 0, read_in: Duration::ZERO })
    }

    /// The folders of the logs in force in a directory that is only looked at, and the size of
    /// their segments.
    ///
    /// # Errors
    ///
    /// If it is no data directory that this version can read.
    pub fn look(path: &Path) -> Result<Vec<(PathBuf, u32)>, DirectoryError> {
        let format = path.join("format");
        let text = fs::read_to_string(&format).map_err(failed("cannot read", &format))?;
        let layout = Layout::parse(path, &format, &text)?;
        layout.check(path)?;
        let folders = (0..layout.shards).map(|shard| layout.shard(path, shard));
        Ok(folders.map(|folder| (folder, layout.segment_bytes)).collect())
    }

    /// What tells whether the directory is still this process's.
    pub(super) fn claim(&self) -> Result<Claim, DirectoryError> {
        let lock = self.path.join("lock");
        Claim::of(&lock, &self.lock).map_err(failed("cannot look at", &lock))
    }

    /// What is in force.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The folder of a shard's segments.
    pub fn shard(&self, shard: usize) -> PathBuf {
        self.layout.shard(&self.path, shard)
    }

    /// Makes the folders of another layout beside those in force; nothing is in force before
    /// [`Directory::commit`].
    ///
    /// # Errors
    ///
    /// If they cannot be made.
    pub fn begin(&self, layout: Layout) -> Result<(Layout, Vec<PathBuf>), DirectoryError> {
        let layout = Layout { generation: self.layout.generation + 1, ..layout };
        let root = self.path.join(layout.generation.to_string());
        if root.exists() {
            fs::remove_dir_all(&root).map_err(failed("cannot remove", &root))?;
        }
        self.make_shards(&layout)?;
        let folders = (0..layout.shards).map(|shard| layout.shard(&self.path, shard)).collect();
        Ok((layout, folders))
    }

    /// Puts another layout in force, whose logs are written and durable. A crash leaves the one
    /// or the other.
    ///
    /// # Errors
    ///
    /// If the `format` file cannot be replaced.
    pub fn commit(&mut self, layout: Layout) -> Result<(), DirectoryError> {
        self.write_layout(&layout)?;
        self.layout = layout;
        self.remove_other_generations()
    }

    fn make_shards(&self, layout: &Layout) -> Result<(), DirectoryError> {
        for shard in 0..layout.shards {
            let folder = layout.shard(&self.path, shard);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(failed("cannot make", &folder))?;
        }
        let root = self.path.join(layout.generation.to_string());
        sync_folder(&root)?;
        sync_folder(&self.path)
    }

    fn write_layout(&self, layout: &Layout) -> Result<(), DirectoryError> {
        let (path, written) = (self.path.join("format"), self.path.join("format.new"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&written)?;
            file.write_all(layout.to_text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&written, &path)
        };
        write().map_err(failed("cannot write", &path))?;
        sync_folder(&self.path)
    }

    /// What a crash left of a change of shards, before it or after it.
    fn remove_other_generations(&self) -> Result<(), DirectoryError> {
        for (generation, path) in generations(&self.path)? {
            if generation != self.layout.generation {
                fs::remove_dir_all(&path).map_err(failed("cannot remove", &path))?;
            }
        }
        Ok(())
    }
}

/// The folders of logs in a directory, those in force and any that a crash left. What holds
/// something else than the logs of shards is somebody else's.
fn generations(path: &Path) -> Result<Vec<(u64, PathBuf)>, DirectoryError> {
    let mut found = Vec::new();
    for folder in entries(path)? {
        let number = name(&folder).parse().ok().filter(|_| folder.is_dir());
        if let Some(number) = number
            && entries(&folder)?.iter().all(|shard| name(shard).starts_with(SHARD))
        {
            found.push((number, folder));
        }
    }
    Ok(found)
}

/// Whether a generation holds anything that was written.
fn holds_segments(generation: &Path) -> Result<bool, DirectoryError> {
    for shard in entries(generation)? {
        if !segments(&shard)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    let failed = failed("cannot list", folder);
    let entries = fs::read_dir(folder).map_err(&failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(&failed)).collect()
}

/// The name of an entry; empty if it is none of ours.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What the names of shards' folders begin with.
const SHARD: &str = "shard-";

impl Layout {
    /// The first layout of a directory.
    pub fn new(shards: usize, segment_bytes: u32, placement: [u64; 4], fingerprint: u64) -> Layout {
        Layout { shards, segment_bytes, placement, fingerprint, generation: 1 }
    }

    /// The folder of a shard's segments in a data directory.
    fn shard(&self, path: &Path, shard: usize) -> PathBuf {
        path.join(self.generation.to_string()).join(format!("{SHARD}{shard}"))
    }

    /// Whether the logs in a data directory are those that this speaks of: none can be told from
    /// one that was never written to.
    fn check(&self, path: &Path) -> Result<(), DirectoryError> {
        let wrong = |folder: PathBuf, missing| {
            Err(DirectoryError::Logs { path: path.to_owned(), folder, missing })
        };
        let mut folders: Vec<_> = (0..self.shards).map(|shard| self.shard(path, shard)).collect();
        if let Some(missing) = folders.iter().position(|folder| !folder.is_dir()) {
            return wrong(folders.swap_remove(missing), true);
        }
        let found = entries(&path.join(self.generation.to_string()))?;
        let is_other =
            |folder: &PathBuf| name(folder).starts_with(SHARD) && !folders.contains(folder);
        match found.into_iter().find(is_other) {
            Some(other) => wrong(other, false),
            None => Ok(()),
        }
    }

    /// The name of the folder with the shards' folders.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// What the `format` file says.
    pub(super) fn to_text(&self) -> String {
        let hex = |word: &u64| format!("{word:016x}");
        let object = serde_json::json!({
            "written_by": "Hawker; needed to read what lies beside it",
            "format": FORMAT,
            "generation": self.generation,
            "shards": self.shards,
            "segment_bytes": self.segment_bytes,
            "placement": self.placement.iter().map(hex).collect::<Vec<_>>(),
            "fingerprint": hex(&self.fingerprint),
        });
        format!("{object:#}\n")
    }

    fn parse(folder: &Path, path: &Path, text: &str) -> Result<Layout, DirectoryError> {
        let unreadable = |why: String| DirectoryError::Unreadable { path: path.to_owned(), why };
        let object: serde_json::Value =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let number = |key: &str| object[key].as_u64();
        let format = number("format").ok_or_else(|| unreadable("`format` is missing".into()))?;
        if format > u64::from(FORMAT) {
            return Err(DirectoryError::Newer { path: folder.to_owned(), format });
        }
        let hex = |value: &serde_json::Value| {
            value.as_str().and_then(|text| u64::from_str_radix(text, 16).ok())
        };
        let placement = || -> Option<[u64; 4]> {
            let keys = object["placement"].as_array()?;
            keys.iter().map(hex).collect::<Option<Vec<_>>>()?.try_into().ok()
        };
        let layout = || -> Option<Layout> {
            Some(Layout {
                shards: usize::try_from(number("shards")?).ok()?,
                segment_bytes: u32::try_from(number("segment_bytes")?).ok()?,
                placement: placement()?,
                fingerprint: hex(&object["fingerprint"])?,
                generation: number("generation")?,
            })
        };
        let layout = layout().filter(|layout| (1..=64).contains(&layout.shards));
        layout.ok_or_else(|| unreadable("a key is missing or out of its range".into()))
    }
}

fn make(path: &Path) -> Result<(), DirectoryError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed("cannot make", parent))?;
            }
            fs::DirBuilder::new().mode(0o700).create(path).map_err(failed("cannot make", path))
        }
        Err(error) => Err(failed("cannot make", path)(error)),
    }
}

/// Looks at who may read the directory, and takes its lock.
fn enter(path: &Path) -> Result<File, DirectoryError> {
    let facts = fs::metadata(path).map_err(failed("cannot look at", path))?;
    let mode = facts.permissions().mode() & 0o777;
    if mode & 0o077 != 0 && facts.uid() == rustix::process::geteuid().as_raw() {
        return Err(DirectoryError::Permissions { path: path.to_owned(), mode });
    }
    take_lock(path)
}

fn take_lock(folder: &Path) -> Result<File, DirectoryError> {
    let path = folder.join("lock");
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open().map_err(failed("cannot open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Who has it is told if it can be.
            let _ = file.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(DirectoryError::Locked { path: folder.to_owned(), pid });
        }
        Err(error) => return Err(failed("cannot lock", &path)(error.into())),
    }
    let tell = || -> io::Result<()> {
        let pid = format!("{}\n", std::process::id());
        // Over what is there first: a full disk may have no room for it once it has gone.
        file.write_all_at(pid.as_bytes(), 0)?;
        file.set_len(pid.len() as u64)
    };
    tell().map_err(failed("cannot write", &path))?;
    Ok(file)
}

/// Makes what was created or renamed in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), DirectoryError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("cannot sync", path))
}

/// The name of a segment's file.
pub(super) fn segment_name(segment: SegmentNumber) -> String {
    format!("{:020}.log", segment.0)
}

/// The segments of a shard, by number.
pub(super) fn segments(folder: &Path) -> Result<Vec<(SegmentNumber, PathBuf)>, DirectoryError> {
    let mut segments = Vec::new();
    for path in entries(folder)? {
        let number = name(&path).strip_suffix(".log").filter(|digits| digits.len() == 20);
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            if !path.is_file() {
                return Err(DirectoryError::Foreign(path));
            }
            segments.push((SegmentNumber(number), path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new(2, 1 << 20, [1, 2, 3, 4], 5)
    }

    #[test]
    fn a_layout_is_read_back_as_it_was_written() {
        let text = layout().to_text();
        let read = Layout::parse(Path::new("d"), Path::new("d/format"), &text);
        assert_eq!(read.expect("it was written by us"), layout());
    }

    #[test]
    fn a_later_format_is_refused_with_its_number() {
        let text = layout().to_text().replace("\"format\": 1", "\"format\": 7");
        let error = Layout::parse(Path::new("d"), Path::new("d/format"), &text)
            .expect_err("this version is not made for it");
        assert!(error.to_string().contains("format 7"), "{error}");
    }

    #[test]
    fn a_directory_serves_one_broker_at_a_time_and_keeps_its_layout() {
        let folder = std::env::temp_dir().join(format!("hawker-directory-{}", std::process::id()));
        let first = Directory::open(&folder, layout()).expect("it can be made");
        let error = Directory::open(&folder, layout()).expect_err("it is taken");
        let pid = std::process::id().to_string();
        assert!(error.to_string().contains(&pid), "{error}");
        drop(first);
        let other = Layout::new(3, 4096, [9; 4], 9);
        let again = Directory::open(&folder, other).expect("it is free");
        assert_eq!(again.layout(), &layout());
        drop(again);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let error = Directory::open(&folder, layout()).expect_err("others may look in");
        assert!(error.to_string().contains("chmod 700"), "{error}");
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn logs_without_a_format_are_left_alone_whatever_their_generation() {
        let folder = std::env::temp_dir().join(format!("hawker-headless-{}", std::process::id()));
        let mut directory = Directory::open(&folder, layout()).expect("it can be made");
        let (next, shards) = directory.begin(Layout::new(3, 1 << 20, [9; 4], 9)).expect("room");
        directory.commit(next).expect("it can be written");
        drop(directory);
        let segment = shards[2].join(segment_name(SegmentNumber(1)));
        fs::write(segment, "a log").expect("it is ours");
        fs::remove_file(folder.join("format")).expect("it is ours");
        let error = Directory::open(&folder, layout()).expect_err("nothing says how to read them");
        assert!(error.to_string().contains("restore the file"), "{error}");
        assert!(shards.iter().all(|shard| shard.exists()), "nothing is removed");
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}

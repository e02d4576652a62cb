//! The start on a data directory: what an earlier life left is read, checked and handed to the
//! shards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::clock;
use super::directory::{self, Directory, DirectoryError, Layout, sync_folder};
use super::disk::{self, Folder};
use crate::config::{Config, OnDamage};
use crate::shard::{Image, Missing, Restored, ShardId, UnknownRecord, rehome, restore};
use crate::storage::{
    self, Damage, DamageKind, Kind, Log, LogOptions, News, Order, RecordRef, RecoveredLog,
    SegmentNumber, Sequence, Urgency, recover,
};

/// Segments at the end of a log that the last commits of an earlier life may have been for.
const UNSETTLED_SEGMENTS: usize = 4;

/// A data directory, ready to go on.
pub(super) struct Opened {
    /// Holds the lock; lives as long as the broker.
    pub(super) directory: Directory,
    pub(super) shards: Vec<OpenedShard>,
}

/// One shard's part of it.
pub(super) struct OpenedShard {
    pub(super) folder: PathBuf,
    pub(super) log: Log,
    pub(super) restored: Restored,
}

/// Why a broker cannot go on where it was.
#[derive(Debug)]
pub enum RecoveryError {
    /// The directory cannot be used.
    Directory(DirectoryError),
    /// A file of it cannot be read or written.
    Io(PathBuf, io::Error),
    /// Something that was acknowledged is damaged.
    Damage(PathBuf, Damage),
    /// A record says something that this version does not know.
    Unknown(PathBuf, UnknownRecord),
    /// The directory keeps something, and nothing can be added to that.
    Occupied(PathBuf),
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryError::Directory(error) => error.fmt(f),
            RecoveryError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            RecoveryError::Damage(folder, damage) => {
                let folder = folder.display();
                write!(
                    f,
                    "{folder}: {damage}. Something that was acknowledged is damaged, so the broker \
                     does not start and changes nothing. `hawker log verify` \
                     shows it. Restore a backup, or `hawker log salvage`, or set \
                     storage.on_damage = \"quarantine\" to go on with all that is whole"
                )
            }
            RecoveryError::Occupied(path) => {
                let path = path.display();
                write!(
                    f,
                    "data directory {path}: it keeps sessions or messages already; name an empty one"
                )
            }
            RecoveryError::Unknown(folder, error) => {
                write!(f, "{}: {error}; use the version that wrote it", folder.display())
            }
        }
    }
}

impl std::error::Error for RecoveryError {}

impl From<DirectoryError> for RecoveryError {
    fn from(error: DirectoryError) -> RecoveryError {
        RecoveryError::Directory(error)
    }
}

/// A shard's log of an earlier life.
pub struct Past {
    folder: PathBuf,
    /// What its records say.
    pub image: Image,
    /// Where it ends.
    pub log: RecoveredLog,
    /// What damage took from it.
    pub missing: Missing,
    segment_bytes: u32,
    files: Files,
}

impl Past {
    /// Reads the log in a folder, without changing it.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is damaged and nothing may be left out.
    pub fn read(
        folder: PathBuf,
        shard: usize,
        segment_bytes: u32,
        on_damage: storage::OnDamage,
    ) -> Result<Past, RecoveryError> {
        let files = open_segments(&folder)?;
        let segments: Vec<(SegmentNumber, &[u8])> =
            files.iter().map(|(number, pages)| (*number, &pages[..])).collect();
        let (mut image, mut unknown) = (Image::default(), None);
        let mut log = recover(shard as u16, segment_bytes, &segments, on_damage, |record| {
            unknown = unknown.or(image.fold(&record).err());
        })
        .map_err(|damage| RecoveryError::Damage(folder.clone(), damage))?;
        if let Some(unknown) = unknown {
            return Err(RecoveryError::Unknown(folder, unknown));
        }
        if let Some(first) = log.segments.first()
            && log.damage.is_empty()
            && image.is_headless()
        {
            let damage =
                Damage { segment: first.number, offset: 0, end: 0, kind: DamageKind::Front };
            if on_damage == storage::OnDamage::Refuse {
                return Err(RecoveryError::Damage(folder, damage));
            }
            log.damage.push(damage);
        }
        let mut missing = Missing::default();
        if !log.damage.is_empty() {
            let places = log.damage.iter().map(|damage| {
                Sequence(damage.segment.0 * u64::from(segment_bytes) + damage.offset)
            });
            let places: Vec<_> = places.collect();
            let look = |record: RecordRef<'_>| missing.look(&record, &places);
            recover(shard as u16, segment_bytes, &segments, on_damage, look)
                .map_err(|damage| RecoveryError::Damage(folder.clone(), damage))?;
        }
        Ok(Past { folder, image, log, missing, segment_bytes, files })
    }

    /// The payload of the record at a place.
    pub fn payload(&self, sequence: Sequence) -> Option<Vec<u8>> {
        let segment_bytes = u64::from(self.segment_bytes);
        let pages = self.files.get(&SegmentNumber(sequence.0 / segment_bytes))?;
        let record = storage::read_at(pages, segment_bytes, sequence)?;
        Some(record.payload.to_vec())
    }

    fn resume(self, options: LogOptions) -> (PathBuf, Log, Image) {
        let mut log = Log::resume(options, &self.log);
        for (segment, pages) in self.files {
            log.handle(News::Pages { segment, pages });
        }
        (self.folder, log, self.image)
    }
}

/// The folders of the logs in a data directory, and the size of their segments.
///
/// # Errors
///
/// If it is none that this version can read.
pub fn logs(directory: &Path) -> Result<Vec<(PathBuf, u32)>, DirectoryError> {
    Directory::look(directory)
}

/// Hands every whole record of a shard's log to `each`, in order; what is damaged is returned.
///
/// # Errors
///
/// If the log cannot be read at all.
pub fn visit(
    folder: &Path,
    shard: usize,
    segment_bytes: u32,
    each: impl Fn(&RecordRef<'_>),
) -> Result<Vec<Damage>, RecoveryError> {
    let files = open_segments(folder)?;
    let segments: Vec<(SegmentNumber, &[u8])> =
        files.iter().map(|(number, pages)| (*number, &pages[..])).collect();
    let on_damage = storage::OnDamage::Salvage;
    recover(shard as u16, segment_bytes, &segments, on_damage, |record| each(&record))
        .map(|log| log.damage)
        .map_err(|damage| RecoveryError::Damage(folder.to_owned(), damage))
}

type Files = BTreeMap<SegmentNumber, Bytes>;

/// The segments of a shard, mapped: there may be more of them than files that may be open.
fn open_segments(folder: &Path) -> Result<Files, RecoveryError> {
    let mut files = BTreeMap::new();
    for (number, path) in directory::segments(folder)? {
        let io = |error| RecoveryError::Io(path.clone(), error);
        let pages = File::open(&path).and_then(|file| disk::map(&file)).map_err(io)?;
        files.insert(number, pages);
    }
    Ok(files)
}

/// Opens the data directory for `count` shards; `fresh` are the keys a new one is given.
pub(super) fn open(
    config: &Config,
    count: usize,
    fresh: [u64; 4],
) -> Result<Opened, RecoveryError> {
    let segment_bytes = config.storage.segment_bytes;
    let new = Layout::new(count, segment_bytes, fresh, fingerprint(fresh));
    let mut directory = Directory::open(&config.data_dir, new.clone())?;
    let layout = directory.layout().clone();
    let started = std::time::Instant::now();
    settle(&directory)?;
    let mut pasts = read_all(&directory, storage::OnDamage::Refuse);
    if let Err(RecoveryError::Damage(..)) = &pasts
        && config.storage.on_damage == OnDamage::Quarantine
    {
        let damaged = read_all(&directory, storage::OnDamage::Salvage)?;
        directory.damages = damaged.iter().map(|past| past.log.damage.len()).sum();
        for line in set_aside(&config.data_dir, &damaged)? {
            tracing::error!("{line}");
        }
        pasts = Ok(damaged);
    }
    let mut pasts = pasts?;
    let fits = layout.shards == count
        && layout.segment_bytes == segment_bytes
        && layout.fingerprint == fingerprint(layout.placement);
    if !fits || directory.damages > 0 {
        let next =
            Layout::new(count, segment_bytes, layout.placement, fingerprint(layout.placement));
        tracing::info!(from = layout.shards, to = count, "writing the log anew");
        write_anew(&mut directory, next, pasts)?;
        pasts = read_all(&directory, storage::OnDamage::Refuse)?;
    }
    for past in &pasts {
        if let Some(loss) = past.log.loss {
            let folder = past.folder.display();
            tracing::info!("{folder}: cut at {}: what follows was not acknowledged", loss.at.0);
        }
    }
    let sessions: usize = pasts.iter().map(|past| past.image.sessions.len()).sum();
    let elapsed_ms = started.elapsed().as_millis() as u64;
    tracing::info!(sessions, elapsed_ms, "data directory {}", config.data_dir.display());
    let segments_max = segments_max(config, count);
    let placement = directory.layout().placement;
    let mut images = Vec::new();
    let mut opened = Vec::new();
    for (shard, past) in pasts.into_iter().enumerate() {
        let options = LogOptions { shard: shard as u16, segment_bytes, segments_max };
        let (folder, log, image) = past.resume(options);
        images.push(image);
        opened.push((folder, log));
    }
    let restored = restore(images, place(placement, count));
    let shards = opened.into_iter().zip(restored);
    let shards =
        shards.map(|((folder, log), restored)| OpenedShard { folder, log, restored }).collect();
    Ok(Opened { directory, shards })
}

fn segments_max(config: &Config, count: usize) -> usize {
    let each = config.storage.log_bytes_max / count as u64;
    usize::try_from(each / u64::from(config.storage.segment_bytes)).unwrap_or(usize::MAX).max(3)
}

/// Has what is read be what is on stable storage.
///
/// A killed broker leaves bytes with the operating system that were never synced: whoever goes on
/// behind them must have them synced first. And what the kernel failed to write it may go on to
/// show as if it were written: it is read back from the disk.
fn settle(directory: &Directory) -> Result<(), RecoveryError> {
    for shard in 0..directory.layout().shards {
        let segments = directory::segments(&directory.shard(shard))?;
        for (_, path) in segments.iter().rev().take(UNSETTLED_SEGMENTS) {
            let settle = || -> io::Result<()> {
                let file = File::options().read(true).write(true).open(path)?;
                file.sync_data()?;
                Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
            };
            settle().map_err(|error| RecoveryError::Io(path.clone(), error))?;
        }
    }
    Ok(())
}

/// Reads every shard's log, all at once.
fn read_all(
    directory: &Directory,
    on_damage: storage::OnDamage,
) -> Result<Vec<Past>, RecoveryError> {
    let layout = directory.layout();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..layout.shards)
            .map(|shard| {
                let folder = directory.shard(shard);
                scope.spawn(move || Past::read(folder, shard, layout.segment_bytes, on_damage))
            })
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().expect("reading a log does not panic"))
            .collect()
    })
}

/// Keeps the logs that are damaged aside, as they are, with a report of what is missing; the
/// report.
fn set_aside(data_dir: &Path, pasts: &[Past]) -> Result<Vec<String>, RecoveryError> {
    let name = format!("quarantine-{}", clock::since_1970().as_secs());
    let aside = data_dir.join(name);
    let io = |error| RecoveryError::Io(aside.clone(), error);
    let mut report = Vec::new();
    for past in pasts.iter().filter(|past| !past.log.damage.is_empty()) {
        let folder = past.folder.display();
        report.extend(past.log.damage.iter().map(|damage| format!("{folder}: left out: {damage}")));
        report.extend(past.missing.report(&past.image));
        let shard = aside.join(past.folder.file_name().unwrap_or_default());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&shard).map_err(io)?;
        for (number, path) in directory::segments(&past.folder)? {
            // The file is never written to again: another one takes its place.
            let kept = shard.join(directory::segment_name(number));
            std::fs::hard_link(&path, &kept)
                .or_else(|_| std::fs::copy(&path, &kept).map(drop))
                .map_err(io)?;
        }
        sync_folder(&shard)?;
    }
    report.push(format!("the damaged log is kept in {}", aside.display()));
    std::fs::write(aside.join("report.txt"), report.join("\n") + "\n").map_err(io)?;
    sync_folder(&aside)?;
    sync_folder(data_dir)?;
    Ok(report)
}

/// Takes damage out of a data directory: what is whole is written anew, the damaged logs are
/// kept aside. What was left out and what is missing, or nothing if nothing is damaged.
///
/// # Errors
///
/// If the directory is in use or cannot be written; it is as it was then.
pub fn salvage(path: &Path) -> Result<Option<Vec<String>>, RecoveryError> {
    let mut directory = Directory::open_existing(path)?;
    let pasts = read_all(&directory, storage::OnDamage::Salvage)?;
    if pasts.iter().all(|past| past.log.damage.is_empty()) {
        return Ok(None);
    }
    let report = set_aside(path, &pasts)?;
    let layout = directory.layout().clone();
    write_anew(&mut directory, layout, pasts)?;
    Ok(Some(report))
}

/// The hash that places clients, topics and groups; the same as the shards'.
fn place(placement: [u64; 4], count: usize) -> impl Fn(&str) -> ShardId {
    let [a, b, c, d] = placement;
    let hasher = ahash::RandomState::with_seeds(a, b, c, d);
    move |name| ShardId((hasher.hash_one(name) % count as u64) as u8)
}

/// What the hash makes of a known word: another build or processor may hash otherwise.
fn fingerprint(placement: [u64; 4]) -> u64 {
    let [a, b, c, d] = placement;
    ahash::RandomState::with_seeds(a, b, c, d).hash_one("hawker")
}

/// Writes everything into the logs of another layout, then puts that in force.
fn write_anew(
    directory: &mut Directory,
    layout: Layout,
    pasts: Vec<Past>,
) -> Result<(), RecoveryError> {
    let (layout, folders) = directory.begin(layout)?;
    let writers = folders.into_iter().enumerate();
    let writers = writers.map(|(shard, folder)| Writer::new(&folder, shard, layout.segment_bytes));
    let mut writers: Vec<Writer> = writers.collect::<Result<_, _>>()?;
    let place = place(layout.placement, layout.shards);
    told_anew(&pasts, place, layout.segment_bytes, &mut |shard, kind, payload| {
        writers[shard.index()].append(kind, payload);
    });
    for writer in writers {
        writer.finish()?;
    }
    directory.commit(layout)?;
    Ok(())
}

/// Tells all that logs keep as records of other logs, `place` being the new home of a client,
/// topic or group, and `segment_bytes` what each record has to fit into.
pub fn told_anew(
    pasts: &[Past],
    place: impl Fn(&str) -> ShardId,
    segment_bytes: u32,
    write: &mut dyn FnMut(ShardId, Kind, &[u8]),
) {
    let images = pasts.iter().map(|past| past.image.clone()).collect();
    let read = |shard: usize, sequence| pasts[shard].payload(sequence);
    rehome(images, place, segment_bytes, read, write);
}

/// Everything that a data directory keeps, read under its lock and not changed.
///
/// # Errors
///
/// If it is in use, damaged, or none.
pub fn read(path: &Path) -> Result<(Directory, Vec<Past>), RecoveryError> {
    let directory = Directory::open_existing(path)?;
    let pasts = read_all(&directory, storage::OnDamage::Refuse)?;
    Ok((directory, pasts))
}

/// The log of a data directory that keeps nothing yet. Shards of any number take it over at the
/// next start; before [`NewLog::finish`] there is nothing to take over.
pub struct NewLog {
    directory: Directory,
    layout: Layout,
    writer: Writer,
    /// The directory, if it was not there.
    made: Made,
}

/// A directory that goes again unless something is in it for good.
struct Made(Option<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nobody misses it; who tries again finds it empty.
            let _ = fs::remove_dir_all(path);
        }
    }
}

impl NewLog {
    /// Takes the directory; made if missing.
    ///
    /// # Errors
    ///
    /// If it is in use, damaged, or keeps something.
    pub fn begin(path: &Path) -> Result<NewLog, RecoveryError> {
        let fresh = super::entropy::seeds(1).map_err(|error| {
            RecoveryError::Io(path.to_owned(), io::Error::other(error.to_string()))
        })?;
        let placement = fresh[0].placement;
        let segment_bytes = crate::config::Config::default().storage.segment_bytes;
        let new = Layout::new(1, segment_bytes, placement, fingerprint(placement));
        let made = Made((!path.exists()).then(|| path.to_owned()));
        let directory = Directory::open(path, new)?;
        let pasts = read_all(&directory, storage::OnDamage::Refuse)?;
        if pasts.iter().any(|past| !past.image.is_empty()) {
            return Err(RecoveryError::Occupied(path.to_owned()));
        }
        let placement = directory.layout().placement;
        let next = Layout::new(1, segment_bytes, placement, fingerprint(placement));
        let (layout, folders) = directory.begin(next)?;
        let folder = folders.into_iter().next().expect("one shard has one folder");
        let writer = Writer::new(&folder, 0, segment_bytes)?;
        Ok(NewLog { directory, layout, writer, made })
    }

    /// Adds a record.
    pub fn append(&mut self, kind: Kind, payload: &[u8]) {
        self.writer.append(kind, payload);
    }

    /// Bytes of its segments, which each record has to fit into.
    pub fn segment_bytes(&self) -> u32 {
        self.layout.segment_bytes
    }

    /// Makes all of it durable, then valid.
    ///
    /// # Errors
    ///
    /// If some record could not be written; the directory is as it was then.
    pub fn finish(mut self) -> Result<(), RecoveryError> {
        self.writer.finish()?;
        self.directory.commit(self.layout)?;
        self.made.0 = None;
        Ok(())
    }
}

/// Writes a log outside of any shard.
struct Writer {
    folder: Folder,
    segment_bytes: u32,
    log: Log,
    files: BTreeMap<SegmentNumber, File>,
    /// Bytes of records that were not written yet.
    waiting_bytes: usize,
    outcome: io::Result<()>,
}

/// Bytes of records that are written together.
const WAITING_BYTES_MAX: usize = 256 << 10;

impl Writer {
    fn new(path: &Path, shard: usize, segment_bytes: u32) -> Result<Writer, RecoveryError> {
        let folder =
            Folder::open(path).map_err(|error| RecoveryError::Io(path.to_owned(), error))?;
        let segments_max = usize::MAX;
        let log = Log::new(LogOptions { shard: shard as u16, segment_bytes, segments_max });
        let files = BTreeMap::new();
        Ok(Writer { folder, segment_bytes, log, files, waiting_bytes: 0, outcome: Ok(()) })
    }

    fn append(&mut self, kind: Kind, payload: &[u8]) {
        if self.outcome.is_err() {
            return;
        }
        let now_micros = super::clock::Clock::start().now().as_micros();
        let appended = self.log.append(now_micros, kind, &[payload], Urgency::Needed);
        self.outcome = match appended {
            Ok(sequence) => {
                // Nothing of it may be taken for dead before a shard has looked at it.
                self.log.hold(sequence);
                self.waiting_bytes += payload.len();
                match self.waiting_bytes > WAITING_BYTES_MAX {
                    true => self.carry_out(),
                    false => Ok(()),
                }
            }
            Err(storage::Full) => {
                let record = format!("a record of {} bytes", payload.len());
                let error = format!(
                    "{record} is longer than a segment; raise storage.segment_bytes to what it was"
                );
                Err(io::Error::other(error))
            }
        };
    }

    fn carry_out(&mut self) -> io::Result<()> {
        self.waiting_bytes = 0;
        while let Some(order) = self.log.poll() {
            match order {
                Order::Prepare { segment, head } => {
                    let (file, pages) =
                        disk::prepare_anew(&self.folder, segment, self.segment_bytes, &head)?;
                    self.files.insert(segment, file);
                    self.log.handle(News::Prepared { segment, pages });
                }
                Order::Commit(commit) => {
                    for write in &commit.writes {
                        self.files[&write.segment]
                            .write_all_at(&write.bytes, u64::from(write.offset))?;
                    }
                    self.log.handle(News::Committed(commit));
                }
                Order::Recycle(_) => unreachable!("every record is held"),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), RecoveryError> {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        outcome
            .and_then(|()| self.carry_out())
            .and_then(|()| self.files.values().try_for_each(File::sync_all))
            .and_then(|()| self.folder.sync())
            .map_err(|error| RecoveryError::Io(self.folder.path().to_owned(), error))
    }
}

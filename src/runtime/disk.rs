//! A shard's disk: carries out what its log asks for, on the shard's own ring.
//!
//! Records are written and synced by linked operations of the ring. Files are made, filled with
//! zeros, renamed and removed by one thread for the whole process, which is on no shard's path.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};

use super::directory::{Claim, segment_name};
use super::driver::disk_failed;
use super::mailbox::{Letter, Mailbox};
use super::ring::Ring;
use crate::config::OnDamage;
use crate::metrics::Durations;
use crate::storage::{Commit, News, Order, SEGMENT_HEAD_BYTES, SegmentNumber, Sequence};
use crate::time::Time;

/// How often a segment that could not be prepared is tried again, and the directory looked at.
const RETRY: Duration = Duration::from_secs(1);

/// Zeros that no record's head can be mistaken for.
const HEADER_OF_ZEROS: [u8; 32] = [0; 32];

/// Completions in a row that bring a commit no further before its disk counts as failed.
const BARREN_MAX: u32 = 10_000;

/// What a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// It is on stable storage.
    Durable,
    /// It is with the operating system, and on stable storage at most so much later.
    Written { sync_interval: Duration },
}

/// The disk failed: nothing that it says is to be believed any more.
#[derive(Debug)]
pub(super) struct DiskFailure {
    what: &'static str,
    folder: PathBuf,
    error: io::Error,
}

impl fmt::Display for DiskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiskFailure { what, folder, error } = self;
        write!(
            f,
            "{what} in {} failed: {error}; nothing more is acknowledged and the broker ends. Look at \
             the disk (dmesg, smartctl), then start the broker again: what was acknowledged is kept",
            folder.display()
        )
    }
}

/// A message that was acknowledged is damaged.
#[derive(Debug)]
pub(super) struct DiskDamage {
    file: PathBuf,
    offset: u64,
}

impl fmt::Display for DiskDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiskDamage { file, offset } = self;
        write!(
            f,
            "{}: the record at {offset} is damaged. Something that was acknowledged is damaged, so \
             the broker ends. Look at the disk (dmesg, smartctl). `hawker log verify` shows the \
             damage. Restore a backup, or `hawker log salvage`, or set \
             storage.on_damage = \"quarantine\" to go on with all that is whole",
            file.display()
        )
    }
}

/// The folder of a shard's segments. It stays open, so that what it takes to sync it is there when
/// descriptors are scarce.
#[derive(Clone)]
pub(super) struct Folder {
    path: Arc<Path>,
    handle: Arc<File>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder { path: path.into(), handle: Arc::new(File::open(path)?) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn segment(&self, segment: SegmentNumber) -> PathBuf {
        self.path.join(segment_name(segment))
    }

    /// The file that was given back last: the next segment is written over it.
    fn spare(&self) -> PathBuf {
        self.path.join("spare")
    }

    /// A file for the first segment of a start that has no room for one: without it nothing could be
    /// told of what is over, and nothing be given back.
    fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// Makes what was created or renamed in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// One shard's disk.
pub(super) struct Disk {
    on_damage: OnDamage,
    folder: Folder,
    shard: usize,
    segment_bytes: u32,
    promise: Promise,
    /// Of segments that are written to or not synced; all others are read through their maps.
    files: BTreeMap<SegmentNumber, Arc<File>>,
    /// Whether a segment was asked for.
    has_begun: bool,
    /// The last one that a commit was for.
    written: SegmentNumber,
    commit: Option<InFlight>,
    commits: u64,
    sync_times: Durations,
    /// Written and not synced, where that is not waited for.
    unsynced: BTreeSet<SegmentNumber>,
    sync_due: Option<Time>,
    keeper: Keeper,
}

/// A commit that is with the kernel.
struct InFlight {
    commit: Commit,
    /// When it began.
    since: Time,
    /// Its writes, then a sync of every file, each after the one before.
    steps: Vec<Step>,
    /// Operations that have not completed.
    missing: usize,
    /// Rounds in a row that brought nothing further.
    barren: u32,
}

/// What is left to be done of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A write, by its place in the commit, of which so many bytes are written.
    Write {
        nth: usize,
        written: u32,
    },
    Sync(SegmentNumber),
    Done,
}

impl Step {
    /// What a completion of it means; whether it brought the commit further.
    ///
    /// # Errors
    ///
    /// What is not to be tried again: a sync that failed once tells nothing by succeeding later,
    /// because the kernel may have dropped what it could not write.
    fn completed(
        &mut self,
        result: i32,
        commit: &Commit,
    ) -> Result<bool, (&'static str, io::Error)> {
        match (*self, result) {
            // The chain broke before it: it has not begun.
            (_, result) if result == -libc::ECANCELED => Ok(false),
            (Step::Sync(_), 0..) => {
                *self = Step::Done;
                Ok(true)
            }
            (Step::Sync(_), _) => Err(("a sync", io::Error::from_raw_os_error(-result))),
            (Step::Write { nth, written }, 1..) => {
                let written = written + result.unsigned_abs();
                let whole = commit.writes[nth].bytes.len() as u32 == written;
                *self = if whole { Step::Done } else { Step::Write { nth, written } };
                Ok(true)
            }
            (Step::Write { .. }, 0) => Err(("a write", io::ErrorKind::WriteZero.into())),
            (Step::Write { .. }, _) if matches!(-result, libc::EINTR | libc::EAGAIN) => Ok(false),
            (Step::Write { .. }, _) => Err(("a write", io::Error::from_raw_os_error(-result))),
            (Step::Done, _) => unreachable!("what is done is not submitted"),
        }
    }
}

impl Disk {
    pub(super) fn new(
        folder: Folder,
        shard: usize,
        segment_bytes: u32,
        promise: Promise,
        keeper: Keeper,
        on_damage: OnDamage,
    ) -> Disk {
        Disk {
            on_damage,
            folder,
            shard,
            segment_bytes,
            promise,
            files: BTreeMap::new(),
            has_begun: false,
            written: SegmentNumber(0),
            commit: None,
            commits: 0,
            sync_times: Durations::default(),
            unsynced: BTreeSet::new(),
            sync_due: None,
            keeper,
        }
    }

    /// Begins what a log asks for; operations complete as `token(index)`.
    pub(super) fn carry_out(
        &mut self,
        now: Time,
        order: Order,
        ring: &mut Ring,
        token: impl Fn(usize) -> u64,
    ) -> io::Result<()> {
        match order {
            Order::Prepare { segment, head } => {
                let (folder, shard) = (self.folder.clone(), self.shard);
                let (segment_bytes, is_first) = (self.segment_bytes, !self.has_begun);
                self.has_begun = true;
                let prepare = Prepare { folder, shard, segment, segment_bytes, head, is_first };
                self.keeper.send(Job::Prepare(prepare));
                Ok(())
            }
            Order::Recycle(segment) => {
                self.files.remove(&segment);
                self.unsynced.remove(&segment);
                let (folder, shard) = (self.folder.clone(), self.shard);
                self.keeper.send(Job::Recycle { folder, shard, segment });
                Ok(())
            }
            Order::Commit(commit) => {
                self.commit = Some(self.begin(now, commit));
                self.submit(ring, token)
            }
        }
    }

    fn begin(&self, since: Time, commit: Commit) -> InFlight {
        let writes = (0..commit.writes.len()).map(|nth| Step::Write { nth, written: 0 });
        let mut steps: Vec<Step> = writes.collect();
        if self.promise == Promise::Durable {
            let files: BTreeSet<_> = commit.writes.iter().map(|write| write.segment).collect();
            steps.extend(files.into_iter().map(Step::Sync));
        }
        InFlight { commit, since, steps, missing: 0, barren: 0 }
    }

    /// Hands to the kernel what is left of the commit, each step linked to the one before.
    fn submit(&mut self, ring: &mut Ring, token: impl Fn(usize) -> u64) -> io::Result<()> {
        let Some(InFlight { commit, steps, missing, .. }) = &mut self.commit else {
            return Ok(());
        };
        let mut operations: Vec<squeue::Entry> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let operation = match *step {
                Step::Write { nth, written } => {
                    let write = &commit.writes[nth];
                    let left = &write.bytes[written as usize..];
                    let fd = Fd(self.files[&write.segment].as_raw_fd());
                    let offset = u64::from(write.offset) + u64::from(written);
                    opcode::Write::new(fd, left.as_ptr(), left.len() as u32).offset(offset).build()
                }
                Step::Sync(segment) => {
                    let fd = Fd(self.files[&segment].as_raw_fd());
                    opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build()
                }
                Step::Done => continue,
            };
            operations.push(operation.user_data(token(index)));
        }
        *missing = operations.len();
        ring.reserve(operations.len())?;
        let last = operations.len().saturating_sub(1);
        for (place, operation) in operations.into_iter().enumerate() {
            let flags = if place < last { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
            let operation = operation.flags(flags);
            // SAFETY: the bytes belong to the commit, which stays in `self.commit` until every
            // operation has completed, and are not changed there.
            unsafe { ring.push(&operation) }?;
        }
        Ok(())
    }

    /// An operation of the commit completed; the news when all have.
    pub(super) fn completed(
        &mut self,
        now: Time,
        index: usize,
        result: i32,
        ring: &mut Ring,
        token: impl Fn(usize) -> u64,
    ) -> Result<Option<News>, DiskFailure> {
        let Some(in_flight) = &mut self.commit else { return Ok(None) };
        let step = &mut in_flight.steps[index];
        let outcome = step.completed(result, &in_flight.commit);
        in_flight.missing -= 1;
        let advanced = outcome.map_err(|(what, error)| self.failure(what, error))?;
        let Some(in_flight) = &mut self.commit else { return Ok(None) };
        in_flight.barren = if advanced { 0 } else { in_flight.barren + 1 };
        if in_flight.missing > 0 {
            return Ok(None);
        }
        if in_flight.steps.iter().all(|step| *step == Step::Done) {
            self.commits += 1;
            match self.promise {
                Promise::Durable => {
                    self.sync_times.observe(now.since(in_flight.since).as_micros() as u64);
                }
                Promise::Written { sync_interval } => {
                    self.unsynced.extend(in_flight.commit.writes.iter().map(|it| it.segment));
                    self.sync_due.get_or_insert(now.after(sync_interval));
                }
            }
            if let Some(write) = in_flight.commit.writes.last() {
                self.written = write.segment;
            }
            self.close_sealed();
            return Ok(self.commit.take().map(|in_flight| News::Committed(in_flight.commit)));
        }
        if in_flight.barren > BARREN_MAX {
            return Err(self.failure("a write", io::ErrorKind::WouldBlock.into()));
        }
        let submitted = self.submit(ring, token);
        submitted.map(|()| None).map_err(|error| self.failure("a write", error))
    }

    /// Closes the files of segments that are written in full: the log never goes back to them.
    fn close_sealed(&mut self) {
        self.files.retain(|segment, _| *segment >= self.written || self.unsynced.contains(segment));
    }

    /// A record that was read at the start, or written since, cannot be read.
    ///
    /// # Errors
    ///
    /// If the broker is not to go on without what is damaged.
    pub(super) fn damaged(&self, sequence: Sequence) -> Result<(), DiskDamage> {
        let segment_bytes = u64::from(self.segment_bytes);
        let segment = SegmentNumber(sequence.0 / segment_bytes);
        let file = self.folder.segment(segment);
        let damage = DiskDamage { file, offset: sequence.0 % segment_bytes };
        if self.on_damage == OnDamage::Refuse {
            return Err(damage);
        }
        let DiskDamage { file, offset } = damage;
        tracing::error!("{}: left out: the record at {offset} is damaged", file.display());
        Ok(())
    }

    fn failure(&self, what: &'static str, error: io::Error) -> DiskFailure {
        DiskFailure { what, folder: self.folder.path().to_owned(), error }
    }

    /// The keeper has a file for a segment, or no room for one.
    pub(super) fn prepared(&mut self, prepared: Prepared) -> impl Iterator<Item = News> + use<> {
        let Prepared { segment, file, is_scarce } = prepared;
        let news = match file {
            Some((file, pages)) => {
                self.files.insert(segment, Arc::new(file));
                News::Prepared { segment, pages }
            }
            None => News::Refused(segment),
        };
        [Some(news), is_scarce.then_some(News::Scarce)].into_iter().flatten()
    }

    /// When what was only written is to be synced.
    pub(super) fn sync_due(&self) -> Option<Time> {
        self.sync_due
    }

    /// Syncs what was only written, in the background.
    pub(super) fn sync(&mut self, now: Time) {
        if self.sync_due.is_none_or(|due| due > now) {
            return;
        }
        self.sync_due = None;
        for segment in std::mem::take(&mut self.unsynced) {
            if let Some(file) = self.files.get(&segment).map(Arc::clone) {
                let folder = self.folder.clone();
                self.keeper.send(Job::Sync { folder, shard: self.shard, file });
            }
        }
        self.close_sealed();
    }

    /// A sync in the background took so long.
    pub(super) fn synced(&mut self, time: Duration) {
        self.sync_times.observe(time.as_micros() as u64);
    }

    /// How long syncs took: of a commit, its writes included, where that is waited for.
    pub(super) fn sync_times(&self) -> Durations {
        self.sync_times.clone()
    }

    /// Commits so far.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.commit.is_none()
    }
}

/// The thread that makes and removes files.
#[derive(Clone)]
pub(super) struct Keeper {
    jobs: mpsc::Sender<Job>,
    holds: Arc<AtomicUsize>,
}

/// As long as there is one, no file of a segment is written anew: what is mapped stays as it is,
/// and what is given back goes once nobody maps it.
pub(super) struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What it does.
enum Job {
    Prepare(Prepare),
    Recycle { folder: Folder, shard: usize, segment: SegmentNumber },
    Sync { folder: Folder, shard: usize, file: Arc<File> },
}

/// A file that is to be made for a segment.
struct Prepare {
    folder: Folder,
    shard: usize,
    segment: SegmentNumber,
    segment_bytes: u32,
    head: Vec<u8>,
    /// The first one since the start.
    is_first: bool,
}

/// What came of preparing a segment.
pub(super) struct Prepared {
    segment: SegmentNumber,
    /// The reserve was taken for it.
    is_scarce: bool,
    /// Absent if there is no room.
    file: Option<(File, Bytes)>,
}

impl Keeper {
    /// Starts the thread; it ends when nobody is left to give it work, and ends the broker when the
    /// directory is not its own any more.
    pub(super) fn start(mailboxes: Arc<Vec<Mailbox>>, claim: Claim) -> io::Result<Keeper> {
        let (sender, jobs) = mpsc::channel();
        let holds = Arc::new(AtomicUsize::new(0));
        let held = Arc::clone(&holds);
        std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || keep(&jobs, &mailboxes, &held, &claim))?;
        Ok(Keeper { jobs: sender, holds })
    }

    /// Keeps the files of segments from being written anew, those that shards give back from now
    /// on.
    pub(super) fn hold(&self) -> Hold {
        self.holds.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(&self.holds))
    }

    fn send(&self, job: Job) {
        // The thread ends only after all who send.
        let _ = self.jobs.send(job);
    }
}

fn keep(jobs: &mpsc::Receiver<Job>, mailboxes: &[Mailbox], holds: &AtomicUsize, claim: &Claim) {
    let mut refused: Vec<Prepare> = Vec::new();
    // Folders that may lack a reserve, by shard, and the size of their segments.
    let mut reserves: BTreeMap<usize, (Folder, u32)> = BTreeMap::new();
    let mut looked_at = Instant::now();
    loop {
        if looked_at.elapsed() >= RETRY {
            looked_at = Instant::now();
            if claim.is_lost() {
                disk_failed(claim);
            }
            let again = std::mem::take(&mut refused);
            refused.extend(again.into_iter().filter_map(|it| it.carry_out(mailboxes, true)));
            // Where there is no room a shard that goes on has a better use for it.
            if refused.is_empty()
                && let Some((_, (folder, segment_bytes))) = reserves.pop_first()
            {
                keep_reserve(&folder, segment_bytes);
            }
        }
        match jobs.recv_timeout(RETRY) {
            Ok(Job::Prepare(prepare)) => {
                reserves.insert(prepare.shard, (prepare.folder.clone(), prepare.segment_bytes));
                refused.extend(prepare.carry_out(mailboxes, false));
            }
            Ok(Job::Recycle { folder, shard, segment }) => {
                let is_held = holds.load(Ordering::Acquire) > 0;
                report(mailboxes, shard, &folder, recycle(&folder, segment, is_held));
            }
            Ok(Job::Sync { folder, shard, file }) => {
                let start = Instant::now();
                let outcome = file.sync_data();
                if outcome.is_ok() {
                    mailboxes[shard].send(Letter::Synced(start.elapsed()));
                }
                report(mailboxes, shard, &folder, outcome);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Prepare {
    /// Makes the file and says so; given back if that is to be tried again.
    fn carry_out(self, mailboxes: &[Mailbox], is_again: bool) -> Option<Prepare> {
        let Prepare { folder, shard, segment, segment_bytes, head, is_first } = &self;
        let from = |source: &Path| prepare(folder, source, *segment, *segment_bytes, head, true);
        let (mut file, mut is_scarce) = (from(&folder.spare()), false);
        if let Err(error) = &file
            && *is_first
            && is_roomless(error)
            && folder.reserve().exists()
        {
            tracing::warn!(shard, "the log goes on in its reserve: {}", Roomless(folder, error));
            (file, is_scarce) = (from(&folder.reserve()), true);
        }
        let error = match file {
            Ok(file) => {
                if is_again {
                    tracing::info!(shard, "there is room for the log again");
                }
                let file = Some(file);
                let prepared = Prepared { segment: *segment, is_scarce, file };
                mailboxes[*shard].send(Letter::Prepared(prepared));
                return None;
            }
            Err(error) => error,
        };
        if !is_again {
            let why = Roomless(folder, &error);
            tracing::error!(
                shard,
                "{why}; what must be kept is refused until that works, all else goes on"
            );
            let prepared = Prepared { segment: *segment, is_scarce: false, file: None };
            mailboxes[*shard].send(Letter::Prepared(prepared));
        }
        Some(self)
    }
}

/// Why a folder has no file for another segment.
struct Roomless<'a>(&'a Folder, &'a io::Error);

impl fmt::Display for Roomless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Roomless(folder, error) = self;
        let what = match is_roomless(error) {
            true => "no room for the log",
            false => "no file for the next segment of the log",
        };
        write!(f, "{what} in {}: {error}", folder.path().display())?;
        match error.raw_os_error() {
            Some(libc::EFBIG) => f.write_str(
                "; segments are larger than files may be: raise LimitFSIZE (ulimit -f), or lower \
                 storage.segment_bytes",
            ),
            Some(libc::EMFILE) => f.write_str("; raise LimitNOFILE"),
            Some(libc::EIO) => f.write_str("; look at the disk (dmesg, smartctl)"),
            Some(libc::EROFS) => f.write_str("; mount it for writing"),
            _ => Ok(()),
        }
    }
}

fn is_roomless(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Has a folder have a reserve, if there is room.
fn keep_reserve(folder: &Folder, segment_bytes: u32) {
    let reserve = folder.reserve();
    if reserve.exists() {
        return;
    }
    let filled = fill(&reserve, segment_bytes).and_then(|file| file.sync_all());
    if let Err(error) = filled.and_then(|()| folder.sync()) {
        tracing::debug!("no reserve in {}: {error}", folder.path().display());
        // A part of one is in the way of others who need room.
        let _ = fs::remove_file(&reserve);
    }
}

fn report(mailboxes: &[Mailbox], shard: usize, folder: &Folder, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        let failure = DiskFailure { what: "a sync", folder: folder.path().to_owned(), error };
        mailboxes[shard].send(Letter::DiskFailed(failure));
    }
}

/// As [`prepare`], over the file that was given back last. It is synced with all others in the end,
/// before anything names the folder.
pub(super) fn prepare_anew(
    folder: &Folder,
    segment: SegmentNumber,
    segment_bytes: u32,
    head: &[u8],
) -> io::Result<(File, Bytes)> {
    prepare(folder, &folder.spare(), segment, segment_bytes, head, false)
}

/// A file as long as a segment, all of it allocated and written, that begins with `head`; durable
/// if it is to be `synced`. It is written over `source` if there is one.
fn prepare(
    folder: &Folder,
    source: &Path,
    segment: SegmentNumber,
    segment_bytes: u32,
    head: &[u8],
    synced: bool,
) -> io::Result<(File, Bytes)> {
    let mut first_page = vec![0; SEGMENT_HEAD_BYTES];
    first_page[..head.len()].copy_from_slice(head);
    let write = || -> io::Result<File> {
        let reused = File::options().read(true).write(true).open(source);
        let file = match reused.and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((length, file)) if length == u64::from(segment_bytes) => file,
            _ => fill(source, segment_bytes)?,
        };
        // What lies behind is of an earlier life, and no record's head leads there.
        file.write_all_at(&HEADER_OF_ZEROS, SEGMENT_HEAD_BYTES as u64)?;
        file.write_all_at(&first_page, 0)?;
        if synced {
            file.sync_all()?;
        }
        Ok(file)
    };
    let file = write().inspect_err(|_| {
        // What was written so far is in the way of others who need room, and what could not be
        // synced is not to be believed: the next try begins anew.
        let _ = fs::remove_file(source);
    })?;
    fs::rename(source, folder.segment(segment))?;
    if synced {
        folder.sync()?;
    }
    let pages = map(&file)?;
    Ok((file, pages))
}

fn fill(path: &Path, segment_bytes: u32) -> io::Result<File> {
    const CHUNK: usize = 1 << 20;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; CHUNK];
    let mut left = segment_bytes as usize;
    while left > 0 {
        let length = left.min(CHUNK);
        (&file).write_all(&zeros[..length])?;
        left -= length;
    }
    Ok(file)
}

/// A file's pages, to read.
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the file is in a folder that is this process's alone (locked, mode 0700), is never
    // shortened while it is mapped, and its pages change only where no record has been written:
    // what is read has been committed before.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

/// Keeps one file for the next segment, one as the reserve, and removes the others; all of them while
/// somebody copies what is in them.
///
/// The folder is synced at once: a file that is written anew must not come back under its old
/// name after a loss of power, nor a removed one beside a gap.
///
/// # Errors
///
/// If the folder cannot be synced. A file that cannot be given back is in nobody's way.
fn recycle(folder: &Folder, segment: SegmentNumber, is_held: bool) -> io::Result<()> {
    let path = folder.segment(segment);
    let free = [folder.spare(), folder.reserve()].into_iter().find(|free| !free.exists());
    let outcome = match free.filter(|_| !is_held) {
        Some(free) => fs::rename(&path, free),
        None => fs::remove_file(&path),
    };
    if let Err(error) = outcome
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("cannot give {} back: {error}", path.display());
    }
    folder.sync()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::storage::{Sequence, Write};

    const NOW: Time = Time::from_micros(1);

    /// A disk whose only segment is any file at all, with a commit of `bytes` under way.
    fn under_way(file: File, promise: Promise, bytes: Vec<u8>) -> (Disk, Ring) {
        let mut ring = Ring::new().expect("tests run where io_uring does");
        let claim = Claim::of(Path::new("/dev/null"), &file).expect("it is open");
        let keeper = Keeper::start(Arc::new(Vec::new()), claim).expect("a thread can start");
        let folder = Folder { path: Path::new("folder").into(), handle: Arc::new(dot()) };
        let mut disk = Disk::new(folder, 0, 4096, promise, keeper, OnDamage::Refuse);
        disk.files.insert(SegmentNumber(1), Arc::new(file));
        let writes = vec![Write { segment: SegmentNumber(1), offset: 0, bytes }];
        let commit = Order::Commit(Commit { writes, end: Sequence(1) });
        disk.carry_out(NOW, commit, &mut ring, |index| index as u64).expect("it fits");
        (disk, ring)
    }

    fn dot() -> File {
        File::open(".").expect("tests run somewhere")
    }

    /// Turns until the commit is through or the disk has failed.
    fn turn(disk: &mut Disk, ring: &mut Ring) -> Result<News, DiskFailure> {
        let mut completions = Vec::new();
        loop {
            ring.enter(Some(super::super::ring::Wait::Forever)).expect("the ring turns");
            ring.take(&mut completions);
            for completion in completions.drain(..) {
                let (index, result) = (completion.token as usize, completion.result);
                if let Some(news) =
                    disk.completed(NOW, index, result, ring, |index| index as u64)?
                {
                    return Ok(news);
                }
            }
        }
    }

    #[test]
    fn a_sync_that_fails_is_never_taken_for_durable() {
        // A null device takes every byte and cannot be synced.
        let null = File::options().write(true).open("/dev/null").expect("there is one");
        let (mut disk, mut ring) = under_way(null, Promise::Durable, vec![7; 100]);
        let failure = turn(&mut disk, &mut ring).expect_err("nothing is durable");
        assert!(failure.to_string().starts_with("a sync in folder failed"), "{failure}");
    }

    #[test]
    fn a_file_that_could_not_be_synced_is_not_used_again() {
        let folder = std::env::temp_dir().join(format!("hawker-spare-{}", std::process::id()));
        fs::create_dir(&folder).expect("it is not there");
        // A null device takes every byte and cannot be synced.
        std::os::unix::fs::symlink("/dev/null", folder.join("spare")).expect("it is ours");
        let opened = Folder::open(&folder).expect("it is there");
        let prepare = || prepare(&opened, &opened.spare(), SegmentNumber(1), 65536, b"head", true);
        prepare().expect_err("nothing is durable");
        let (_, pages) = prepare().expect("another file is made");
        assert!(pages.len() == 65536 && pages.starts_with(b"head"));
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn a_write_that_comes_back_short_goes_on_where_it_stopped() {
        let (mut reader, writer) = io::pipe().expect("there are pipes");
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let written = Promise::Written { sync_interval: Duration::from_secs(1) };
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read)
        });
        let writer = File::from(OwnedFd::from(writer));
        let (mut disk, mut ring) = under_way(writer, written, bytes.clone());
        let news = turn(&mut disk, &mut ring).expect("the reader takes them all");
        assert!(matches!(news, News::Committed(_)));
        drop(disk);
        let read = reading.join().expect("it reads").expect("it can be read");
        assert!(read == bytes, "every byte once, in its place");
    }

    #[test]
    fn a_segment_that_is_written_in_full_and_synced_holds_no_descriptor() {
        let written = Promise::Written { sync_interval: Duration::from_secs(1) };
        for promise in [Promise::Durable, written] {
            let folder = std::env::temp_dir().join(format!("hawker-sealed-{}", std::process::id()));
            let file = || File::options().write(true).create(true).truncate(true).open(&folder);
            let (mut disk, mut ring) = under_way(file().expect("ours"), promise, vec![7; 100]);
            turn(&mut disk, &mut ring).expect("it is written");
            disk.files.insert(SegmentNumber(2), Arc::new(file().expect("ours")));
            disk.files.insert(SegmentNumber(3), Arc::new(file().expect("ours")));
            let writes = vec![Write { segment: SegmentNumber(2), offset: 0, bytes: vec![7; 100] }];
            let commit = Order::Commit(Commit { writes, end: Sequence(2) });
            disk.carry_out(NOW, commit, &mut ring, |index| index as u64).expect("it fits");
            turn(&mut disk, &mut ring).expect("it is written");
            disk.sync(NOW.after(Duration::from_secs(1)));
            let open: Vec<_> = disk.files.keys().map(|segment| segment.0).collect();
            assert_eq!(open, [2, 3], "{promise:?}");
            fs::remove_file(&folder).expect("it is ours");
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_fails_in_the_end() {
        let null = File::options().write(true).open("/dev/null").expect("there is one");
        let (mut disk, mut ring) = under_way(null, Promise::Durable, vec![7; 100]);
        let mut interrupted = || {
            disk.completed(NOW, 1, -libc::ECANCELED, &mut ring, |index| index as u64)?;
            disk.completed(NOW, 0, -libc::EINTR, &mut ring, |index| index as u64)
        };
        let failure = (0..BARREN_MAX).find_map(|_| interrupted().err());
        let failure = failure.expect("it does not go on for ever").to_string();
        assert!(failure.starts_with("a write in folder failed"), "{failure}");
    }
}

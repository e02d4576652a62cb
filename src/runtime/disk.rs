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
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};

use super::directory::{segment_name, sync_folder};
use super::mailbox::{Letter, Mailbox};
use super::ring::Ring;
use crate::storage::{Commit, News, Order, SEGMENT_HEAD_BYTES, SegmentNumber};
use crate::time::Time;

/// How often a segment that could not be prepared is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Zeros that no record's head can be mistaken for.
const HEADER_OF_ZEROS: [u8; 32] = [0; 32];

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

/// One shard's disk.
pub(super) struct Disk {
    folder: Arc<Path>,
    shard: usize,
    segment_bytes: u32,
    promise: Promise,
    files: BTreeMap<SegmentNumber, File>,
    commit: Option<InFlight>,
    commits: u64,
    /// Written and not synced, where that is not waited for.
    unsynced: BTreeSet<SegmentNumber>,
    sync_due: Option<Time>,
    keeper: Keeper,
}

/// A commit whose operations are with the kernel.
struct InFlight {
    commit: Commit,
    /// By operation: the result a success has, if it is known.
    expected: Vec<Option<i32>>,
    missing: usize,
    /// A write came back short: everything is written again.
    again: bool,
}

impl Disk {
    pub(super) fn new(
        folder: PathBuf,
        shard: usize,
        segment_bytes: u32,
        promise: Promise,
        files: BTreeMap<SegmentNumber, File>,
        keeper: Keeper,
    ) -> Disk {
        Disk {
            folder: folder.into(),
            shard,
            segment_bytes,
            promise,
            files,
            commit: None,
            commits: 0,
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
                let (folder, shard) = (Arc::clone(&self.folder), self.shard);
                let segment_bytes = self.segment_bytes;
                self.keeper.send(Job::Prepare { folder, shard, segment, segment_bytes, head });
                Ok(())
            }
            Order::Recycle(segment) => {
                self.files.remove(&segment);
                self.unsynced.remove(&segment);
                self.keeper.send(Job::Recycle { folder: Arc::clone(&self.folder), segment });
                Ok(())
            }
            Order::Commit(commit) => {
                if let Promise::Written { sync_interval } = self.promise {
                    self.unsynced.extend(commit.writes.iter().map(|write| write.segment));
                    self.sync_due.get_or_insert(now.after(sync_interval));
                }
                let commit = InFlight { commit, expected: Vec::new(), missing: 0, again: false };
                self.commit = Some(commit);
                self.submit(ring, token)
            }
        }
    }

    /// Hands the commit to the kernel: its writes, then a sync of every file, each after the one
    /// before.
    fn submit(&mut self, ring: &mut Ring, token: impl Fn(usize) -> u64) -> io::Result<()> {
        let Some(InFlight { commit, expected, missing, again }) = &mut self.commit else {
            return Ok(());
        };
        let mut operations: Vec<squeue::Entry> = Vec::new();
        let mut files = Vec::new();
        expected.clear();
        for write in &commit.writes {
            let file = &self.files[&write.segment];
            let (fd, length) = (Fd(file.as_raw_fd()), write.bytes.len() as u32);
            let offset = u64::from(write.offset);
            operations
                .push(opcode::Write::new(fd, write.bytes.as_ptr(), length).offset(offset).build());
            expected.push(Some(length as i32));
            if !files.contains(&write.segment) {
                files.push(write.segment);
            }
        }
        if self.promise == Promise::Durable {
            for segment in &files {
                let fd = Fd(self.files[segment].as_raw_fd());
                operations.push(opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build());
                expected.push(Some(0));
            }
        }
        *missing = operations.len();
        *again = false;
        let last = operations.len() - 1;
        ring.reserve(operations.len())?;
        for (index, operation) in operations.into_iter().enumerate() {
            let flags = if index < last { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
            let operation = operation.flags(flags).user_data(token(index));
            // SAFETY: the bytes belong to the commit, which stays in `self.commit` until every
            // operation has completed, and are not changed there.
            unsafe { ring.push(&operation) }?;
        }
        Ok(())
    }

    /// An operation of the commit completed; the news when all have.
    pub(super) fn completed(
        &mut self,
        index: usize,
        result: i32,
        ring: &mut Ring,
        token: impl Fn(usize) -> u64,
    ) -> Result<Option<News>, DiskFailure> {
        let Some(commit) = &mut self.commit else { return Ok(None) };
        commit.missing -= 1;
        let expected = commit.expected.get(index).copied().flatten();
        if Some(result) != expected {
            match -result {
                // A write that came back short breaks the chain behind it.
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => commit.again = true,
                errno if errno > 0 => {
                    let what = if expected == Some(0) { "a sync" } else { "a write" };
                    return Err(self.failure(what, io::Error::from_raw_os_error(errno)));
                }
                _ => commit.again = true,
            }
        }
        if commit.missing > 0 {
            return Ok(None);
        }
        if commit.again {
            let submitted = self.submit(ring, token);
            return submitted.map(|()| None).map_err(|error| self.failure("a write", error));
        }
        self.commits += 1;
        Ok(self.commit.take().map(|in_flight| News::Committed(in_flight.commit)))
    }

    fn failure(&self, what: &'static str, error: io::Error) -> DiskFailure {
        DiskFailure { what, folder: self.folder.to_path_buf(), error }
    }

    /// The keeper has a file for a segment, or no room for one.
    pub(super) fn prepared(&mut self, prepared: Prepared) -> News {
        let Prepared { segment, file } = prepared;
        match file {
            Some((file, pages)) => {
                self.files.insert(segment, file);
                News::Prepared { segment, pages }
            }
            None => News::Refused(segment),
        }
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
            if let Some(file) = self.files.get(&segment).and_then(|file| file.try_clone().ok()) {
                let folder = Arc::clone(&self.folder);
                self.keeper.send(Job::Sync { folder, shard: self.shard, file });
            }
        }
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
pub(super) struct Keeper(mpsc::Sender<Job>);

/// What it does.
enum Job {
    Prepare {
        folder: Arc<Path>,
        shard: usize,
        segment: SegmentNumber,
        segment_bytes: u32,
        head: Vec<u8>,
    },
    Recycle {
        folder: Arc<Path>,
        segment: SegmentNumber,
    },
    Sync {
        folder: Arc<Path>,
        shard: usize,
        file: File,
    },
}

/// What came of preparing a segment.
pub(super) struct Prepared {
    segment: SegmentNumber,
    /// Absent if there is no room.
    file: Option<(File, Bytes)>,
}

impl Keeper {
    /// Starts the thread; it ends when the last shard is gone.
    pub(super) fn start(mailboxes: Arc<Vec<Mailbox>>) -> io::Result<Keeper> {
        let (sender, jobs) = mpsc::channel();
        std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || keep(&jobs, &mailboxes))?;
        Ok(Keeper(sender))
    }

    fn send(&self, job: Job) {
        // The thread ends only after all who send.
        let _ = self.0.send(job);
    }
}

fn keep(jobs: &mpsc::Receiver<Job>, mailboxes: &[Mailbox]) {
    let mut refused: Vec<Job> = Vec::new();
    loop {
        let timeout = if refused.is_empty() { Duration::MAX } else { RETRY };
        match jobs.recv_timeout(timeout) {
            Ok(job) => refused.extend(work(job, mailboxes, false)),
            Err(RecvTimeoutError::Timeout) => {
                let again = std::mem::take(&mut refused);
                refused.extend(again.into_iter().filter_map(|job| work(job, mailboxes, true)));
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Does a job; given back if it is to be tried again.
fn work(job: Job, mailboxes: &[Mailbox], is_again: bool) -> Option<Job> {
    match job {
        Job::Prepare { folder, shard, segment, segment_bytes, head } => {
            match prepare(&folder, segment, segment_bytes, &head) {
                Ok(file) => {
                    if is_again {
                        tracing::info!(shard, "there is room for the log again");
                    }
                    let prepared = Prepared { segment, file: Some(file) };
                    mailboxes[shard].send(Letter::Prepared(prepared));
                    None
                }
                Err(error) => {
                    if !is_again {
                        tracing::error!(
                            shard,
                            "no room for the log in {}: {error}; what must be kept is refused until \
                             there is, all else goes on",
                            folder.display()
                        );
                        mailboxes[shard].send(Letter::Prepared(Prepared { segment, file: None }));
                    }
                    Some(Job::Prepare { folder, shard, segment, segment_bytes, head })
                }
            }
        }
        Job::Recycle { folder, segment } => {
            recycle(&folder, segment);
            None
        }
        Job::Sync { folder, shard, file } => {
            if let Err(error) = file.sync_data() {
                mailboxes[shard].send(Letter::DiskFailed(DiskFailure {
                    what: "a sync",
                    folder: folder.to_path_buf(),
                    error,
                }));
            }
            None
        }
    }
}

/// A file as long as a segment, all of it allocated and written, that begins with `head`.
pub(super) fn prepare(
    folder: &Path,
    segment: SegmentNumber,
    segment_bytes: u32,
    head: &[u8],
) -> io::Result<(File, Bytes)> {
    let (path, spare) = (folder.join(segment_name(segment)), folder.join("spare"));
    let mut first_page = vec![0; SEGMENT_HEAD_BYTES];
    first_page[..head.len()].copy_from_slice(head);
    let reused = File::options().read(true).write(true).open(&spare);
    let file = match reused.and_then(|file| Ok((file.metadata()?.len(), file))) {
        Ok((length, file)) if length == u64::from(segment_bytes) => file,
        _ => fill(&spare, segment_bytes).inspect_err(|_| {
            // What was written so far is in the way of others who need room.
            let _ = fs::remove_file(&spare);
        })?,
    };
    // What lies behind is of an earlier life, and no record's head leads there.
    file.write_all_at(&HEADER_OF_ZEROS, SEGMENT_HEAD_BYTES as u64)?;
    file.write_all_at(&first_page, 0)?;
    file.sync_all()?;
    fs::rename(&spare, &path)?;
    sync_folder(folder).map_err(io::Error::other)?;
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

/// Keeps one file for the next segment and removes the others.
fn recycle(folder: &Path, segment: SegmentNumber) {
    let (path, spare) = (folder.join(segment_name(segment)), folder.join("spare"));
    let outcome = if spare.exists() { fs::remove_file(&path) } else { fs::rename(&path, &spare) };
    if let Err(error) = outcome
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("cannot give {} back: {error}", path.display());
    }
}

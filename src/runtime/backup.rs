//! Backups: the data directory as it was at one instant, copied while the broker goes on.
//!
//! All shards come to a [`Meeting`] and say how far their logs are durable: a state in which the
//! broker could have lost its power. What is durable never changes where it lies, so the copying
//! needs no shard; the disk thread is kept from writing the files anew meanwhile. The copy is a tar
//! archive of a data directory. Its last file is the one without which nothing is read, so that
//! what was unpacked in part is not taken for whole.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::clock;
use super::directory::{Layout, segment_name};
use super::disk::{Hold, Keeper};
use super::inquiry::{Inquiry, Silent};
use super::meeting::Meeting;
use super::tar::{self, BLOCK_BYTES, Owner};
use crate::shard::Shard;
use crate::storage::{Extent, SEGMENT_HEAD_BYTES, Sequence, Snapshot, Unreadable};
use crate::time::Time;

/// How long shards wait for each other at the first try, and at most.
const PATIENCE_MIN: Duration = Duration::from_micros(500);
const PATIENCE_MAX: Duration = Duration::from_millis(8);

/// How often they try.
const TRIES_MAX: u32 = 60;

/// How long clients are served between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes that go to the network at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks that wait for the network.
const CHUNKS_WAITING_MAX: usize = 4;

/// How much the thread that checks segments lets others go first; the kernel ends at 19.
const NICENESS: i32 = 19;

/// How long a reader may take for a chunk before it counts as gone: what it holds takes room.
const READER_PATIENCE: Duration = Duration::from_secs(60);

/// Takes backups, one at a time.
pub(crate) struct Backups {
    /// Absent if everything is in memory.
    kept: Option<(Layout, Keeper)>,
    inquiry: Inquiry,
    turn: Arc<Semaphore>,
    book: Arc<Book>,
}

/// Why there is no backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackupError {
    /// Everything is in memory.
    NothingKept,
    /// One is being taken.
    Busy,
    /// A shard was never there when the others were.
    NotMet,
    /// A shard does not answer.
    Silent,
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackupError::NothingKept => {
                "nothing is kept on a disk (durability = \"memory\"), so there is nothing to back up"
            }
            BackupError::Busy => "a backup is being taken; wait for its end, or end its reader",
            BackupError::NotMet => {
                "the shards did not meet: the machine has more to do than it can; try again"
            }
            BackupError::Silent => "a shard does not answer; it is stuck, or the broker stops",
        })
    }
}

impl From<Silent> for BackupError {
    fn from(_: Silent) -> BackupError {
        BackupError::Silent
    }
}

/// What became of backups.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupFigures {
    pub(crate) completed: u64,
    /// Those whose reader left or that could not be taken.
    pub(crate) failed: u64,
    /// When the last completed one was taken, since 1970.
    pub(crate) last_at: Duration,
    pub(crate) last_bytes: u64,
    /// From the question to the last byte.
    pub(crate) last_duration: Duration,
    /// How long shards waited for each other, at most.
    pub(crate) last_pause: Duration,
    /// Bytes of segments that a running one has still to copy: so much more than the log itself
    /// may be on the disk.
    pub(crate) held_bytes: u64,
    pub(crate) running: Option<Running>,
    /// The last that ended before it was whole.
    pub(crate) ended_early: Option<EndedEarly>,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// When it was taken, since 1970.
    pub(crate) taken_at: Duration,
    /// All of it.
    pub(crate) bytes: u64,
    /// Those that its reader took; a mebibyte of them may still be on its way.
    pub(crate) sent_bytes: u64,
}

/// A backup that is none.
#[derive(Clone, Debug)]
pub(crate) struct EndedEarly {
    /// When it was taken, since 1970.
    pub(crate) taken_at: Duration,
    pub(crate) why: String,
}

/// Where they are written down.
#[derive(Default)]
pub(crate) struct Book(Mutex<BackupFigures>);

impl Book {
    /// The figures now.
    pub(crate) fn figures(&self) -> BackupFigures {
        self.lock().clone()
    }

    fn begin(&self, running: Running, held_bytes: u64) {
        let mut figures = self.lock();
        figures.held_bytes = held_bytes;
        figures.running = Some(running);
    }

    fn sent(&self, bytes: usize) {
        if let Some(running) = &mut self.lock().running {
            running.sent_bytes += bytes as u64;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BackupFigures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backup on its way.
pub(crate) struct Backup {
    /// All of it.
    pub(crate) bytes: u64,
    /// When it was taken, since 1970.
    pub(crate) taken_at: Duration,
    /// It is whole when as many bytes have come.
    pub(crate) chunks: mpsc::Receiver<Bytes>,
}

impl Backups {
    pub(super) fn new(kept: Option<(Layout, Keeper)>, inquiry: Inquiry) -> Backups {
        let (turn, book) = (Arc::new(Semaphore::new(1)), Arc::default());
        Backups { kept, inquiry, turn, book }
    }

    pub(super) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book)
    }

    pub(crate) fn figures(&self) -> BackupFigures {
        self.book.figures()
    }

    /// Takes one. What was acknowledged before is in it, and what else clients could see was done.
    ///
    /// # Errors
    ///
    /// See [`BackupError`].
    pub(crate) async fn begin(&self) -> Result<Backup, BackupError> {
        let (layout, keeper) = self.kept.as_ref().ok_or(BackupError::NothingKept)?;
        let turn = Arc::clone(&self.turn).try_acquire_owned();
        let turn = turn.map_err(|_| BackupError::Busy)?;
        let since = Instant::now();
        self.catch_up().await?;
        let hold = keeper.hold();
        let met = self.meet().await;
        let (snapshots, pause) = met.inspect_err(|_| self.book.lock().failed += 1)?;
        let taken_at = clock::since_1970();
        let entries = entries(layout, snapshots);
        let bytes = entries.iter().map(Entry::archived_bytes).sum::<u64>() + tar::END.len() as u64;
        let running = Running { taken_at, bytes, sent_bytes: 0 };
        self.book.begin(running, entries.iter().map(Entry::held_bytes).sum());
        tracing::info!(bytes, pause_us = pause.as_micros() as u64, "a backup begins");
        let (sender, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
        let owner = Owner {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            changed_at: taken_at.as_secs(),
        };
        let writer = Writer { owner, sender, book: Arc::clone(&self.book), hold, turn };
        let segment_bytes = layout.segment_bytes;
        tokio::spawn(async move {
            let (book, turn, written) = writer.run(entries, segment_bytes).await;
            let (duration, mut figures) = (since.elapsed(), book.lock());
            figures.held_bytes = 0;
            figures.running = None;
            match written {
                Ok(()) => {
                    figures.completed += 1;
                    figures.last_at = taken_at;
                    figures.last_bytes = bytes;
                    figures.last_duration = duration;
                    figures.last_pause = pause;
                    tracing::info!(bytes, ms = duration.as_millis() as u64, "a backup is done");
                }
                Err(stop) => {
                    figures.failed += 1;
                    figures.ended_early = Some(EndedEarly { taken_at, why: stop.to_string() });
                    tracing::warn!("a backup ended early: {stop}");
                }
            }
            drop(turn);
        });
        Ok(Backup { bytes, taken_at, chunks })
    }

    /// Waits until what logs were told by now is durable. One without room is not waited for long.
    async fn catch_up(&self) -> Result<(), BackupError> {
        let mut told = None;
        for _ in 0..TRIES_MAX {
            let seen = self.inquiry.look(|shard: &Shard, _| shard.log_ends()).await?;
            let (ends, durable): (Vec<_>, Vec<_>) = seen.into_iter().flatten().unzip();
            let told: &Vec<Sequence> = told.get_or_insert(ends);
            if durable.iter().zip(told).all(|(durable, told)| durable >= told) {
                break;
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// What every shard's log holds at one instant, and how long shards waited for it.
    async fn meet(&self) -> Result<(Vec<Snapshot>, Duration), BackupError> {
        let mut patience = PATIENCE_MIN;
        for _ in 0..TRIES_MAX {
            let meeting = Arc::new(Meeting::new(self.inquiry.shards(), patience));
            let look = move |shard: &Shard, _: Time| {
                let pause = meeting.attend()?;
                Some((shard.log_snapshot()?, pause))
            };
            let seen = self.inquiry.look(look).await?;
            if let Some(met) = seen.into_iter().collect::<Option<Vec<_>>>() {
                let pause = met.iter().map(|(_, pause)| *pause).max().unwrap_or_default();
                return Ok((met.into_iter().map(|(snapshot, _)| snapshot).collect(), pause));
            }
            patience = PATIENCE_MAX.min(patience * 2);
            sleep(PAUSE).await;
        }
        Err(BackupError::NotMet)
    }
}

/// What an archive holds.
struct Entry {
    name: String,
    content: Content,
}

enum Content {
    Folder,
    Text(String),
    /// Of a log that is durable up to a place.
    Segment(Extent, Sequence),
}

impl Entry {
    fn new(name: impl Into<String>, content: Content) -> Entry {
        Entry { name: name.into(), content }
    }

    fn bytes(&self) -> u64 {
        match &self.content {
            Content::Folder => 0,
            Content::Text(text) => text.len() as u64,
            Content::Segment(extent, _) => extent.bytes.into(),
        }
    }

    fn archived_bytes(&self) -> u64 {
        (BLOCK_BYTES + tar::padding(self.bytes())) as u64 + self.bytes()
    }

    fn held_bytes(&self) -> u64 {
        match &self.content {
            Content::Segment(extent, _) => extent.bytes.into(),
            _ => 0,
        }
    }

    fn head(&self, owner: &Owner) -> [u8; BLOCK_BYTES] {
        match &self.content {
            Content::Folder => owner.folder(&self.name),
            Content::Text(_) | Content::Segment(..) => owner.file(&self.name, self.bytes()),
        }
    }
}

/// A data directory that holds what the snapshots say.
fn entries(layout: &Layout, snapshots: Vec<Snapshot>) -> Vec<Entry> {
    let root = layout.generation();
    let folder = |name: String| Entry::new(name, Content::Folder);
    let mut entries = vec![folder("./".to_owned()), folder(format!("{root}/"))];
    for (shard, Snapshot { durable, extents, .. }) in snapshots.into_iter().enumerate() {
        entries.push(folder(format!("{root}/shard-{shard}/")));
        entries.extend(extents.into_iter().map(|extent| {
            let name = format!("{root}/shard-{shard}/{}", segment_name(extent.number));
            Entry::new(name, Content::Segment(extent, durable))
        }));
    }
    entries.push(Entry::new("format", Content::Text(layout.to_text())));
    entries
}

/// Why a backup ended before it was whole.
enum Stop {
    Left,
    Slow,
    Damaged(String, Unreadable),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Left => f.write_str("its reader left"),
            Stop::Slow => write!(f, "its reader took nothing for {READER_PATIENCE:?}"),
            Stop::Damaged(name, damage) => {
                write!(f, "{name}: {damage}; look at the disk (dmesg, smartctl)")
            }
        }
    }
}

/// Hands an archive on, part by part.
struct Writer {
    owner: Owner,
    sender: mpsc::Sender<Bytes>,
    book: Arc<Book>,
    hold: Hold,
    turn: OwnedSemaphorePermit,
}

impl Writer {
    async fn run(
        self,
        entries: Vec<Entry>,
        segment_bytes: u32,
    ) -> (Arc<Book>, OwnedSemaphorePermit, Result<(), Stop>) {
        let written = self.write(entries, segment_bytes).await;
        let Writer { sender, book, hold, turn, .. } = self;
        // The reader sees the end once nothing is held for it any more.
        drop((hold, sender));
        (book, turn, written)
    }

    async fn write(&self, entries: Vec<Entry>, segment_bytes: u32) -> Result<(), Stop> {
        // The checksum of the last record of the segment before, of the same shard.
        let mut predecessor = None;
        for entry in entries {
            self.send(Bytes::copy_from_slice(&entry.head(&self.owner))).await?;
            let (bytes, held_bytes) = (entry.bytes(), entry.held_bytes());
            match entry.content {
                Content::Folder => predecessor = None,
                Content::Text(text) => self.send(Bytes::from(text)).await?,
                Content::Segment(extent, durable) => {
                    let checked = check(extent, segment_bytes, predecessor).await;
                    let (extent, last) =
                        checked.map_err(|damage| Stop::Damaged(entry.name, damage))?;
                    predecessor = Some(last);
                    self.send_segment(&extent, durable).await?;
                }
            }
            self.book.lock().held_bytes -= held_bytes;
            self.send(Bytes::from(vec![0; tar::padding(bytes)])).await?;
        }
        self.send(Bytes::from_static(&tar::END)).await
    }

    async fn send_segment(&self, extent: &Extent, durable: Sequence) -> Result<(), Stop> {
        self.send(Bytes::from(extent.first_page(durable))).await?;
        debug_assert_eq!(extent.records().len() + SEGMENT_HEAD_BYTES, extent.bytes as usize);
        let mut records = extent.records();
        while !records.is_empty() {
            let chunk = records.split_to(CHUNK_BYTES.min(records.len()));
            self.send(chunk).await?;
        }
        Ok(())
    }

    async fn send(&self, chunk: Bytes) -> Result<(), Stop> {
        if chunk.is_empty() {
            return Ok(());
        }
        let bytes = chunk.len();
        let sent = timeout(READER_PATIENCE, self.sender.send(chunk)).await;
        sent.map_err(|_| Stop::Slow)?.map_err(|_| Stop::Left)?;
        self.book.sent(bytes);
        Ok(())
    }
}

/// Reads a segment before it goes out, on a thread that may wait for the disk: what is sent is in
/// memory then, and known to be whole.
async fn check(
    extent: Extent,
    segment_bytes: u32,
    predecessor: Option<u32>,
) -> Result<(Extent, u32), Unreadable> {
    let check = move || {
        // Whoever acknowledges messages goes first; that it cannot be had does no harm.
        let _ = rustix::process::nice(NICENESS);
        extent.check(segment_bytes, predecessor).map(|last| (extent, last))
    };
    tokio::task::spawn_blocking(check).await.expect("reading a segment does not panic")
}

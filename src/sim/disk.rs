//! A shard's disk: the segments of its log, as they are written.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::host::Host;
use super::host::News;
use super::lane::Lane;
use super::network::{Owner, Place};
use super::plan::Plan;
use super::random::Purpose;
use super::random::Random;
use super::sabotage::Sabotage;
use super::world::{Event, Phase, World};
use crate::shard::{Image, ShardId, restore};
use crate::storage::{
    self, Commit, Log, LogOptions, OnDamage, Order, RecoveredLog, SEGMENT_HEAD_BYTES,
    SegmentNumber, Snapshot, Unreadable, recover,
};

/// Small segments, so that they rotate and compact within a short run.
pub(super) const SEGMENT_BYTES: u32 = 32 << 10;

/// The broker comes back from a backup after so many crashes.
const BACKUP_EVERY: u64 = 3;

/// How the log of a simulated shard is set up.
pub(super) fn log_options(shard: usize) -> LogOptions {
    LogOptions { shard: shard as u16, segment_bytes: SEGMENT_BYTES, segments_max: 4096 }
}

/// The segments of one shard.
#[derive(Default)]
pub(super) struct Disk {
    segments: BTreeMap<SegmentNumber, Vec<u8>>,
    /// The last file that was given up; the next segment is written over it.
    spare: Option<Vec<u8>>,
    /// What was asked for and is not done yet.
    preparing: VecDeque<(SegmentNumber, Vec<u8>)>,
    committing: Option<Commit>,
}

impl Disk {
    fn pages(&self, segment: SegmentNumber) -> Option<Bytes> {
        self.segments.get(&segment).map(|bytes| Bytes::copy_from_slice(bytes))
    }

    fn prepare(&mut self, segment: SegmentNumber, head: &[u8]) {
        // What a recycled file holds behind its first record's place stays there.
        let spare = self.spare.take().filter(|spare| spare.len() == SEGMENT_BYTES as usize);
        let mut bytes = spare.unwrap_or_else(|| vec![0; SEGMENT_BYTES as usize]);
        bytes[..SEGMENT_HEAD_BYTES + 32].fill(0);
        bytes[..head.len()].copy_from_slice(head);
        self.segments.insert(segment, bytes);
    }

    /// A deliberate fault: a bit of a record's payload is turned over.
    fn flip_bit(&mut self, commit: &Commit) {
        let records =
            commit.writes.iter().find(|write| write.offset as usize >= SEGMENT_HEAD_BYTES);
        let Some(write) = records else { return };
        let segment = self.segments.get_mut(&write.segment).expect("only what was prepared");
        segment[write.offset as usize + 33] ^= 4;
    }

    /// A deliberate fault: the first two records of a commit, if they are equally long, change
    /// places.
    fn swap_records(&mut self, commit: &Commit) {
        let records =
            commit.writes.iter().find(|write| write.offset as usize >= SEGMENT_HEAD_BYTES);
        let Some(write) = records else { return };
        let bytes_at = |at: usize| {
            let length = write.bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)?;
            Some((32 + length as usize).next_multiple_of(16)).filter(|_| length > 0)
        };
        let Some(length) = bytes_at(0).filter(|length| bytes_at(*length) == Some(*length)) else {
            return;
        };
        let segment = self.segments.get_mut(&write.segment).expect("only what was prepared");
        let start = write.offset as usize;
        let (first, second) = segment[start..start + 2 * length].split_at_mut(length);
        first.swap_with_slice(second);
    }

    fn write(&mut self, write: &storage::Write) {
        let segment = self.segments.get_mut(&write.segment).expect("only what was prepared");
        let at = write.offset as usize;
        segment[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
}

/// The files of a backup.
fn copied(snapshot: &Snapshot) -> Result<BTreeMap<SegmentNumber, Vec<u8>>, Unreadable> {
    let (mut files, mut predecessor) = (BTreeMap::new(), None);
    for extent in &snapshot.extents {
        predecessor = Some(extent.check(snapshot.segment_bytes, predecessor)?);
        let file = [extent.first_page(snapshot.durable), extent.records().to_vec()].concat();
        files.insert(extent.number, file);
    }
    Ok(files)
}

impl Disk {
    /// What a loss of power now would leave: of what was not synced, any sectors.
    fn after_power_loss(&self, random: &mut Random) -> BTreeMap<SegmentNumber, Vec<u8>> {
        const SECTOR: usize = 512;
        let mut left = self.segments.clone();
        for write in self.committing.iter().flat_map(|commit| &commit.writes) {
            let segment = left.get_mut(&write.segment).expect("only what was prepared");
            let start = write.offset as usize;
            let end = start + write.bytes.len();
            let mut at = start;
            while at < end {
                let next = (at / SECTOR + 1) * SECTOR;
                let piece = at..next.min(end);
                if random.chance(500) {
                    let bytes = &write.bytes[piece.start - start..piece.end - start];
                    segment[piece.clone()].copy_from_slice(bytes);
                }
                at = piece.end;
            }
        }
        left
    }
}

/// Where shards place clients, topics and groups.
fn place(plan: &Plan) -> impl Fn(&str) -> ShardId {
    let mut keys = Random::new(plan.seed, Purpose::Keys, 0);
    let [a, b, c, d] = std::array::from_fn(|_| keys.next());
    let hasher = ahash::RandomState::with_seeds(a, b, c, d);
    let count = plan.shards as u64;
    move |name| ShardId((hasher.hash_one(name) % count) as u8)
}

/// What a shard would come back with.
fn recovered(
    shard: usize,
    segments: &BTreeMap<SegmentNumber, Vec<u8>>,
) -> Result<(RecoveredLog, Image), String> {
    let segments: Vec<_> =
        segments.iter().map(|(number, bytes)| (*number, bytes.as_slice())).collect();
    let (mut image, mut unknown) = (Image::default(), None);
    let log = recover(shard as u16, SEGMENT_BYTES, &segments, OnDamage::Refuse, |record| {
        unknown = unknown.or(image.fold(&record).err());
    });
    match (log, unknown) {
        (Err(damage), _) => Err(damage.to_string()),
        (_, Some(unknown)) => Err(unknown.to_string()),
        _ if image.is_headless() => {
            Err("somebody is owed something and nothing tells of whom".into())
        }
        (Ok(log), None) => Ok((log, image)),
    }
}

impl World {
    /// Asks what would be left if the power failed now: nothing that is durable may be missing.
    pub(super) fn consider_power_loss(&mut self, shard: usize) {
        let Some(durable) = self.hosts[shard].shard.durable() else { return };
        let left = self.hosts[shard].disk.after_power_loss(&mut self.faults);
        self.seen.power_losses += 1;
        match recovered(shard, &left) {
            Err(damage) => self.oracle.violate(format!(
                "shard {shard} would not come back after a loss of power: {damage}"
            )),
            // A log that goes on in a new segment has nothing in it at first.
            Ok((log, _))
                if log.end < durable
                    && durable.0 % u64::from(SEGMENT_BYTES) > SEGMENT_HEAD_BYTES as u64 =>
            {
                let sentence = format!(
                    "after a loss of power the log of shard {shard} would end at {}, and all up to {} \
                     was durable",
                    log.end.0, durable.0
                );
                self.oracle.violate(sentence);
            }
            Ok(_) => {}
        }
    }

    /// All is quiet: what the logs say is what the shards know.
    pub(super) fn audit_logs(&mut self) {
        for shard in 0..self.plan.shards {
            let host = &self.hosts[shard];
            if host.shard.durable().is_none() {
                continue;
            }
            if !host.shard.is_durable() {
                self.oracle.violate(format!("all is quiet and shard {shard} has not kept all"));
                continue;
            }
            let differences = match recovered(shard, &host.disk.segments) {
                Ok((_, image)) => host.shard.audit(&image),
                Err(damage) => vec![damage],
            };
            for difference in differences {
                self.oracle.violate(format!("the log of shard {shard}: {difference}"));
            }
        }
    }

    /// The power fails: every connection ends, what was not durable is lost as far as chance has
    /// it, and the broker comes back with what its disks say.
    pub(super) fn crash(&mut self) {
        self.effects_left = None;
        let now = self.now;
        self.trace.event(now, format_args!("-- the power fails"));
        self.seen.crashes += 1;
        self.hear_last_words();
        for link in 0..self.links.len() {
            if self.links[link].place != Place::Gone {
                self.links[link].place = Place::Gone;
                self.links[link].abandoned = true;
                self.links[link].lose_arriving();
                self.oracle.link_crashed(link);
                self.ended(link);
                if let Owner::Client(client) = self.links[link].owner
                    && self.clients[client].link == Some(link)
                {
                    self.clients[client].link_lost();
                }
            }
        }
        if self.phase == Phase::Calm {
            for client in 0..self.clients.len() {
                self.plan_event(now, Event::Act(client));
            }
        }
        self.oracle.crashed();
        for client in 0..self.clients.len() {
            let revoked = self.oracle.revoked(client);
            self.clients[client].let_go(&revoked);
        }
        self.lanes.iter_mut().for_each(Lane::lose_all);
        let mut disks = Vec::new();
        // A backup of this moment must be as good as the disks themselves.
        let is_restored = self.seen.crashes.is_multiple_of(BACKUP_EVERY);
        for shard in 0..self.plan.shards {
            let mut left = self.hosts[shard].disk.after_power_loss(&mut self.faults);
            if let Some(snapshot) = self.hosts[shard].shard.log_snapshot().filter(|_| is_restored) {
                self.seen.backups += 1;
                match copied(&snapshot) {
                    Ok(files) => left = files,
                    Err(damage) => {
                        let sentence = format!("shard {shard} cannot be copied: {damage}");
                        return self.oracle.violate(sentence);
                    }
                }
            }
            match recovered(shard, &left) {
                Ok((log, image)) => disks.push((left, log, image)),
                Err(damage) => {
                    let sentence = format!("shard {shard} does not come back: {damage}");
                    return self.oracle.violate(sentence);
                }
            }
        }
        let images = disks.iter().map(|(.., image)| image.clone()).collect();
        let restored = restore(images, place(&self.plan));
        for (shard, ((segments, recovered, _), restored)) in
            disks.into_iter().zip(restored).enumerate()
        {
            let mut log = Log::resume(log_options(shard), &recovered);
            let disk = Disk { segments, ..Disk::default() };
            for segment in disk.segments.keys().copied() {
                let pages = disk.pages(segment).expect("it is there");
                log.handle(storage::News::Pages { segment, pages });
            }
            self.hosts[shard] = Host::with(&self.plan, shard, now, Some((log, restored)), disk);
            self.turn(shard);
        }
    }

    /// Of what the broker wrote before it was gone, some still arrives.
    fn hear_last_words(&mut self) {
        for link in 0..self.links.len() {
            if self.links[link].place != Place::Gone && !self.links[link].deaf {
                for _ in 0..self.outages.below(4) {
                    self.down(link);
                }
            }
        }
    }

    /// Whether the power fails before a shard's next effect.
    pub(super) fn power_fails(&mut self) -> bool {
        if let Some(left) = &mut self.effects_left {
            *left = left.saturating_sub(1);
        }
        self.effects_left == Some(0)
    }

    /// A shard's log asks for something; it is done some time later.
    pub(super) fn order(&mut self, shard: usize, order: Order) {
        let disk = &mut self.hosts[shard].disk;
        match order {
            Order::Prepare { segment, head } => {
                disk.preparing.push_back((segment, head));
            }
            Order::Commit(commit) => {
                assert!(disk.committing.is_none(), "one commit is under way at a time");
                self.seen.commits += 1;
                disk.committing = Some(commit);
                if self.faults.chance(100) {
                    self.consider_power_loss(shard);
                }
            }
            Order::Recycle(segment) => {
                disk.spare = disk.segments.remove(&segment);
                self.seen.recycled += 1;
                return;
            }
        }
        let at = self.now + self.disk.below(self.delays.disk + 1);
        self.plan_event(at, Event::Disk(shard));
    }

    /// Something that a shard's log asked for is done.
    pub(super) fn disk_done(&mut self, shard: usize) {
        let disk = &mut self.hosts[shard].disk;
        let prefers_commit = self.disk.chance(500) || disk.preparing.is_empty();
        // A sync that fails is the end of the broker; what it wrote may be there or not.
        if self.effects_left.is_some() && disk.committing.is_some() && self.outages.chance(100) {
            self.seen.syncs_failed += 1;
            self.effects_left = Some(0);
            return;
        }
        if prefers_commit && let Some(commit) = disk.committing.take() {
            let mut written = Vec::new();
            let is_lost = self.saboteur.strikes(Sabotage::ReportEarly);
            for write in &commit.writes {
                if !is_lost {
                    disk.write(write);
                }
                written.push(write.segment);
            }
            if self.saboteur.strikes(Sabotage::FlipStoredBit) {
                disk.flip_bit(&commit);
            }
            if self.saboteur.strikes(Sabotage::SwapWrites) {
                disk.swap_records(&commit);
            }
            written.dedup();
            let pages = written.into_iter().filter_map(|segment| {
                Some(storage::News::Pages { segment, pages: disk.pages(segment)? })
            });
            let news: Vec<_> = pages.chain([storage::News::Committed(commit)]).collect();
            for news in news {
                self.tell(shard, News::Log(news));
            }
        } else if self.plan.disk_fills && self.is_disk_full(shard) {
            self.refuse_segment(shard);
        } else if let Some((segment, head)) = self.hosts[shard].disk.preparing.pop_front() {
            let disk = &mut self.hosts[shard].disk;
            disk.prepare(segment, &head);
            let pages = disk.pages(segment).expect("it was just prepared");
            self.tell(shard, News::Log(storage::News::Prepared { segment, pages }));
        }
    }

    /// In chaos other things may take all the room there is.
    fn is_disk_full(&mut self, shard: usize) -> bool {
        let disk = &self.hosts[shard].disk;
        self.phase == Phase::Chaos && !disk.preparing.is_empty() && self.outages.chance(700)
    }

    /// There is no room for a segment; the driver looks again a while later.
    fn refuse_segment(&mut self, shard: usize) {
        self.seen.disks_full += 1;
        if let Some((segment, _)) = self.hosts[shard].disk.preparing.front() {
            let segment = *segment;
            self.tell(shard, News::Log(storage::News::Refused(segment)));
        }
        self.plan_event(self.now + ROOM_LOOKED_FOR_US, Event::Disk(shard));
    }
}

/// How often the driver looks for room again.
const ROOM_LOOKED_FOR_US: u64 = 1_000_000;

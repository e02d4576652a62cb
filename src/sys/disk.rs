//! The folder for data: whether it can be written, on what it lies, how full that is.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statfs};

use super::{Finding, in_words};
use crate::config::Durability;

const SUBJECT: &str = "disk";

/// Free space below which the broker soon stops taking what must be kept.
const FREE_BYTES_WANTED: u64 = 1 << 30;
/// Free space below which it refuses what must be kept from the start; the rest it serves.
const FREE_BYTES_MIN: u64 = 64 << 20;

pub(super) fn data_dir(folder: &Path, durability: Durability) -> Vec<Finding> {
    let (existing, written) = match nearest_existing(folder) {
        Ok(existing) if existing == folder => (Some(existing), try_to_write(folder)),
        // It is made at the start, so that its parent must be writable.
        Ok(parent) => {
            let allowed = access(&parent, Access::WRITE_OK | Access::EXEC_OK);
            (Some(parent), allowed.map_err(io::Error::from))
        }
        Err(error) => (None, Err(error)),
    };
    let mut findings = vec![judge_writing(folder, written.err().as_ref(), durability)];
    if let Some(facts) = existing.and_then(|existing| statfs(existing).ok()) {
        // Signed on most architectures; the numbers themselves fit.
        let kind = facts.f_type as u64 & 0xffff_ffff;
        let free = facts.f_bavail.saturating_mul(facts.f_bsize as u64);
        findings.push(judge_kind(name(kind), durability));
        findings.push(judge_space(free, durability));
    }
    findings
}

/// The folder itself, or the one it would be made in.
fn nearest_existing(folder: &Path) -> io::Result<PathBuf> {
    for ancestor in folder.ancestors() {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match fs::metadata(ancestor) {
            Ok(facts) if facts.is_dir() => return Ok(ancestor.to_owned()),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn try_to_write(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = fs::File::options().write(true).create_new(true).open(&path)?;
    let written = file.write_all(b"hawker").and_then(|()| file.sync_all());
    let removed = fs::remove_file(&path);
    written.and(removed)
}

fn judge_writing(folder: &Path, error: Option<&io::Error>, durability: Durability) -> Finding {
    let shown = folder.display();
    let Some(error) = error else { return Finding::ok(SUBJECT, format!("{shown} can be written")) };
    let what = format!("{shown} cannot be written: {error}");
    let mend = match error.kind() {
        io::ErrorKind::StorageFull => format!("df -h {shown} shows how full it is; make room"),
        io::ErrorKind::ReadOnlyFilesystem => {
            "choose another --data-dir, or mount it for writing; systemd: \
             ReadWritePaths= or StateDirectory=hawker"
                .to_owned()
        }
        io::ErrorKind::NotADirectory => {
            "choose another --data-dir: a file is in its way".to_owned()
        }
        _ => format!("sudo mkdir -p {shown} && sudo chown $(id -u):$(id -g) {shown}"),
    };
    // What is there is kept and can be fetched, which makes room in the log.
    let is_full = error.kind() == io::ErrorKind::StorageFull;
    match durability {
        Durability::Fsync | Durability::Os if is_full => Finding::warning(SUBJECT, what, mend),
        // Nothing is kept there.
        Durability::Memory => Finding::warning(SUBJECT, what, mend),
        Durability::Fsync | Durability::Os => Finding::problem(SUBJECT, what, mend),
    }
}

/// A kind of file system, and whether it keeps what was synced to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Disk(&'static str),
    Memory(&'static str),
    Overlay,
    Network(&'static str),
    Other(u64),
}

/// By the number that statfs(2) gives.
fn name(kind: u64) -> Kind {
    match kind {
        0xef53 => Kind::Disk("ext4"),
        0x5846_5342 => Kind::Disk("xfs"),
        0x9123_683e => Kind::Disk("btrfs"),
        0x2fc1_2fc1 => Kind::Disk("zfs"),
        0xf2f5_2010 => Kind::Disk("f2fs"),
        0xca45_1a4e => Kind::Disk("bcachefs"),
        0x0102_1994 => Kind::Memory("tmpfs"),
        0x8584_58f6 => Kind::Memory("ramfs"),
        0x794c_7630 => Kind::Overlay,
        0x6969 => Kind::Network("nfs"),
        0xff53_4d42 => Kind::Network("cifs"),
        0xfe53_4d42 => Kind::Network("smb2"),
        0x0102_1997 => Kind::Network("9p"),
        0x00c3_6400 => Kind::Network("ceph"),
        0x6573_5546 => Kind::Network("fuse"),
        other => Kind::Other(other),
    }
}

fn judge_kind(kind: Kind, durability: Durability) -> Finding {
    let warning = |what: String, mend: &str| Finding::warning(SUBJECT, what, mend.to_owned());
    match kind {
        Kind::Disk(name) => Finding::ok(SUBJECT, name.to_owned()),
        Kind::Memory(name) if durability == Durability::Memory => {
            Finding::ok(SUBJECT, format!("{name}, as good as durability = \"memory\" asks for"))
        }
        Kind::Memory(name) => warning(
            format!("{name} is memory: a restart of the machine loses what was acknowledged"),
            "choose a --data-dir on a disk, or say so with --durability memory",
        ),
        Kind::Overlay if durability == Durability::Memory => {
            Finding::ok(SUBJECT, "overlay".to_owned())
        }
        Kind::Overlay => warning(
            "overlay: what is written goes with the container".to_owned(),
            "docker run --volume hawker-data:/data, and --data-dir /data",
        ),
        Kind::Network(name) => warning(
            format!("{name} is remote: each acknowledgement waits for it, and it may forget"),
            "choose a --data-dir on a local disk",
        ),
        Kind::Other(number) => Finding::ok(SUBJECT, format!("file system {number:#x}")),
    }
}

fn judge_space(free: u64, durability: Durability) -> Finding {
    let what = format!("{} free", in_words(free));
    let mend = "make room, or choose a --data-dir with more: df -h shows them".to_owned();
    if free >= FREE_BYTES_WANTED || durability == Durability::Memory {
        return Finding::ok(SUBJECT, what);
    }
    match free < FREE_BYTES_MIN {
        true => Finding::warning(SUBJECT, format!("{what}, too little to keep messages"), mend),
        false => Finding::warning(SUBJECT, format!("{what}, soon used up"), mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Verdict;

    #[test]
    fn what_forgets_is_worth_a_warning_unless_that_is_asked_for() {
        let verdict = |kind, durability| judge_kind(name(kind), durability).verdict;
        assert_eq!(verdict(0xef53, Durability::Fsync), Verdict::Ok);
        assert_eq!(verdict(0x0102_1994, Durability::Fsync), Verdict::Warning);
        assert_eq!(verdict(0x0102_1994, Durability::Memory), Verdict::Ok);
        assert_eq!(verdict(0x794c_7630, Durability::Os), Verdict::Warning);
        assert_eq!(verdict(0x6969, Durability::Memory), Verdict::Warning);
        assert_eq!(verdict(0x1234, Durability::Fsync), Verdict::Ok);
    }

    #[test]
    fn too_little_room_is_worth_a_warning_for_who_keeps_things() {
        let verdict = |free, durability| judge_space(free, durability).verdict;
        assert_eq!(verdict(2 << 30, Durability::Fsync), Verdict::Ok);
        assert_eq!(verdict(500 << 20, Durability::Os), Verdict::Warning);
        assert_eq!(verdict(1 << 20, Durability::Fsync), Verdict::Warning);
        assert_eq!(verdict(0, Durability::Memory), Verdict::Ok);
    }

    #[test]
    fn a_folder_that_can_be_made_will_do_and_is_not_made() {
        let folder = std::env::temp_dir().join(format!("hawker-disk-{}", std::process::id()));
        let inner = folder.join("a/b");
        assert_eq!(data_dir(&inner, Durability::Fsync)[0].verdict, Verdict::Ok);
        assert!(!folder.exists());

        fs::create_dir_all(&inner).expect("the temporary folder is writable");
        assert_eq!(data_dir(&inner, Durability::Fsync)[0].verdict, Verdict::Ok);
        let left = fs::read_dir(&inner).expect("it was just made").count();
        assert_eq!(left, 0, "nothing stays behind");

        fs::write(inner.join("file"), "").expect("the folder is writable");
        let finding = &data_dir(&inner.join("file/data"), Durability::Fsync)[0];
        assert_eq!(finding.verdict, Verdict::Problem);
        let finding = &data_dir(&inner.join("file/data"), Durability::Memory)[0];
        assert_eq!(finding.verdict, Verdict::Warning);
        fs::remove_dir_all(&folder).expect("it was just made");
    }
}

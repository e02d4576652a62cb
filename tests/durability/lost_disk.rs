//! A disk that fails: nothing is acknowledged that it did not take, and the broker says so and
//! ends.
//!
//! The disk is a loop device over a file in memory that is cut off under it, with nothing left to
//! grow into. That takes root; without it the test says that it did not run. What a failed sync
//! does to a commit is tested everywhere, in `src/runtime/disk.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{Link, Subscriber};
use super::support::{Directory, Setup};

const CONFIG: &str = "[storage]\nsegment_bytes = 1048576\nlog_bytes_max = 8388608\n";

/// A small disk, mounted.
struct Disk {
    memory: PathBuf,
    device: String,
    mounted: PathBuf,
}

fn shell(command: &str) -> Option<String> {
    let output = Command::new("sh").args(["-ec", command]).output().expect("there is a shell");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Disk {
    /// Makes one under a folder; nothing where that is not allowed.
    fn mount(folder: &Path) -> Option<Disk> {
        let (memory, mounted) = (folder.join("memory"), folder.join("mounted"));
        std::fs::create_dir_all(&memory).expect("it is ours");
        std::fs::create_dir_all(&mounted).expect("it is ours");
        shell(&format!("mount -t tmpfs -o size=48m tmpfs {}", memory.display()))?;
        let mut disk = Disk { memory, device: String::new(), mounted };
        let (ram, at) = (disk.memory.display(), disk.mounted.display());
        let device = shell(&format!("truncate -s 40M {ram}/disk; losetup -f --show {ram}/disk"))?;
        let made = shell(&format!(
            "mkfs.ext4 -q -O ^has_journal {device}; mount {device} {at}; chmod 700 {at}"
        ));
        disk.device = device;
        made.map(|_| disk)
    }

    fn fail(&self) {
        let ram = self.memory.display();
        // dd ends where the memory does.
        shell(&format!("truncate -s 1M {ram}/disk; dd if=/dev/zero of={ram}/fill bs=1M || true"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let (device, at, ram) = (&self.device, self.mounted.display(), self.memory.display());
        shell(&format!("umount {at} || true; losetup -d {device} || true"));
        shell(&format!("umount {ram}"));
    }
}

#[test]
fn a_disk_that_fails_ends_the_broker_and_nothing_is_acknowledged_meanwhile() {
    let outer = Directory::new();
    let Some(disk) = Disk::mount(outer.path()) else {
        eprintln!("not run: no loop device can be mounted here");
        return;
    };
    let directory = Directory::new();
    std::os::unix::fs::symlink(&disk.mounted, directory.join("data")).expect("it is ours");
    let mut broker = Setup::shards(1).config(CONFIG).start_in(directory);
    Subscriber::new("owed").subscribe(broker.address(), "load/#");
    let mut link = Link::open(broker.address(), "publisher").expect("the broker accepts");
    let mut publish = |packet_id: u16| {
        let body = [b"\0\x08load/one".as_slice(), &packet_id.to_be_bytes(), &[0; 8]].concat();
        link.send(0x32, &body)?;
        link.poll()
    };
    let answer = publish(1).expect("the broker goes on");
    assert_eq!(answer, Some((0x40, vec![0, 1])));
    disk.fail();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < deadline, "the broker goes on without a disk");
        match publish(2) {
            Ok(None) => {}
            Ok(Some(answer)) => panic!("acknowledged without a disk: {answer:?}"),
            Err(_) => break,
        }
    }
    assert_eq!(broker.await_exit().code(), Some(1));
    broker.await_log("a sync in");
    broker.await_log("nothing more is acknowledged");
}

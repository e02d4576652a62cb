//! Readiness: one epoll instance a worker, level triggered, and the means to wake it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

/// The key of the waker's own event.
const WAKE: u64 = u64::MAX;

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read.
    Read,
    /// Bytes to read, and room to write.
    ReadWrite,
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The key it was added with.
    pub key: u64,
    /// A read will not block; an error or an end counts.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
}

/// Waits for many sockets.
#[derive(Debug)]
pub struct Poll(OwnedFd);

/// What a wait found; lives on the thread that waits.
pub struct Events(Vec<epoll::Event>);

/// Ends a wait of the [`Poll`] it was made with, from any thread.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Poll {
    /// A poll and its waker.
    pub fn new() -> io::Result<(Self, Waker)> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge triggered, so that a turn need not read the counter back to zero.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &waker, epoll::EventData::new_u64(WAKE), flags)?;
        Ok((Self(epoll), Waker(waker)))
    }

    /// Starts to watch `socket`.
    pub fn add(&self, socket: impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.0, socket, epoll::EventData::new_u64(key), flags(interest))?)
    }

    /// Changes what `socket` is watched for.
    pub fn modify(&self, socket: impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.0, socket, epoll::EventData::new_u64(key), flags(interest))?)
    }

    /// Sleeps until something is ready, the waker is used, or `timeout` has passed.
    pub fn wait(&self, timeout: Duration, events: &mut Events) -> io::Result<()> {
        events.0.clear();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        match epoll::wait(&self.0, spare_capacity(&mut events.0), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Events {
    /// Room for `count_max` events of one wait.
    #[must_use]
    pub fn new(count_max: usize) -> Self {
        Self(Vec::with_capacity(count_max))
    }

    /// The sockets that are ready.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.0.iter().filter_map(ready)
    }
}

fn ready(event: &epoll::Event) -> Option<Ready> {
    let key = event.data.u64();
    let flags = event.flags;
    let has_failed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
    (key != WAKE).then_some(Ready {
        key,
        readable: flags.contains(epoll::EventFlags::IN) || has_failed,
        writable: flags.contains(epoll::EventFlags::OUT),
    })
}

impl Waker {
    /// Ends the wait.
    pub fn wake(&self) {
        // The counter cannot be full after fewer than 2^64 wakes; any other failure would mean
        // that the descriptor is gone, and then so is the sleeper.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::Read => epoll::EventFlags::IN,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
    }
}

//! Opening connections: how fast, how many at a time, and from which address.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::plan::Door;

/// Connections of one worker that may be between connect and SUBACK at a time. A broker's listen
/// queue is finite (100 in Mosquitto), and a flood that overruns it measures the kernel's retries
/// of SYN.
const ARRIVING_MAX: u64 = 96;

/// How soon a client that is still leaving is dialled.
const POSTPONE_US: u64 = 20_000;

/// Who is to be connected, and when.
#[derive(Debug, Default)]
pub struct Dialler {
    waiting: VecDeque<u32>,
    /// Slots to dial again, with the time; ascending, as the delay is the same for all.
    later: VecDeque<(u64, u32)>,
    /// Slots that were still leaving, with the time; ascending likewise.
    postponed: VecDeque<(u64, u32)>,
    /// Zero is as fast as possible.
    per_second: f64,
    next_us: f64,
    dialled_count: usize,
    /// How long after a failure a client tries again; `None` gives it up.
    pub redial_after: Option<Duration>,
}

impl Dialler {
    /// Adds `slots` to those waiting, and sets the rate for all.
    pub fn request(&mut self, slots: impl IntoIterator<Item = u32>, per_second: f64, now_us: u64) {
        self.waiting.extend(slots);
        self.per_second = per_second;
        self.next_us = self.next_us.max(now_us as f64);
    }

    /// A connection of `slot` failed or was lost; true when it will be tried again.
    pub fn failed(&mut self, slot: u32, now_us: u64) -> bool {
        if let Some(delay) = self.redial_after {
            self.later.push_back((now_us + delay.as_micros() as u64, slot));
        }
        self.redial_after.is_some()
    }

    /// `slot` is still on its way out: a little later.
    pub fn postpone(&mut self, slot: u32, now_us: u64) {
        self.postponed.push_back((now_us + POSTPONE_US, slot));
    }

    /// Forgets who was to be tried again.
    pub fn forgive(&mut self) {
        self.later.clear();
        self.redial_after = None;
    }

    /// The next slot to dial, if its time has come.
    pub fn next(&mut self, now_us: u64, arriving: u64) -> Option<u32> {
        if arriving >= ARRIVING_MAX {
            return None;
        }
        for queue in [&mut self.later, &mut self.postponed] {
            if let Some(&(due_us, slot)) = queue.front()
                && due_us <= now_us
            {
                queue.pop_front();
                return Some(slot);
            }
        }
        if self.next_us > now_us as f64 {
            return None;
        }
        let slot = self.waiting.pop_front()?;
        if self.per_second > 0.0 {
            self.next_us += 1e6 / self.per_second;
        }
        Some(slot)
    }

    /// When [`Self::next`] is to be asked again, if anybody waits.
    #[must_use]
    pub fn next_us(&self, arriving: u64) -> Option<u64> {
        // With a full house the next arrival or failure is an event of its own.
        if arriving >= ARRIVING_MAX {
            return None;
        }
        let due_us = |queue: &VecDeque<(u64, u32)>| queue.front().map(|&(due_us, _)| due_us);
        let later = due_us(&self.later).into_iter().chain(due_us(&self.postponed));
        let waiting = (!self.waiting.is_empty()).then_some(self.next_us as u64);
        later.chain(waiting).min()
    }

    /// Begins one connection; a later readiness to write, or a failure, ends the beginning.
    pub fn dial(&mut self, door: &Door) -> io::Result<TcpStream> {
        let socket =
            Socket::new(Domain::for_address(door.target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.source(&door.sources) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&door.target.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.dialled_count += 1;
        Ok(socket.into())
    }

    fn source(&self, sources: &[IpAddr]) -> Option<IpAddr> {
        sources.get(self.dialled_count.checked_rem(sources.len())?).copied()
    }
}

/// Linux's number for a connection under way.
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_spaces_the_connections() {
        let mut dialler = Dialler::default();
        dialler.request(0..3, 1000.0, 0);
        assert_eq!(dialler.next(0, 0), Some(0));
        assert_eq!(dialler.next(999, 0), None);
        assert_eq!(dialler.next_us(0), Some(1000));
        assert_eq!(dialler.next(1000, 0), Some(1));
        assert_eq!(dialler.next(5000, 0), Some(2));
        assert_eq!(dialler.next_us(0), None);
    }

    #[test]
    fn a_full_house_waits() {
        let mut dialler = Dialler::default();
        dialler.request(0..1, 0.0, 0);
        assert_eq!(dialler.next(0, ARRIVING_MAX), None);
        assert_eq!(dialler.next(0, ARRIVING_MAX - 1), Some(0));
    }

    #[test]
    fn a_failure_is_tried_again_only_when_asked() {
        let mut dialler = Dialler::default();
        assert!(!dialler.failed(4, 0));
        dialler.redial_after = Some(Duration::from_millis(2));
        assert!(dialler.failed(4, 0));
        assert_eq!((dialler.next(1999, 0), dialler.next(2000, 0)), (None, Some(4)));
    }
}

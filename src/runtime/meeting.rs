//! One instant for all shards: each comes, and none goes on before all are there.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Rounds that a shard spins for the others before it leaves its CPU to them.
const SPINS: u32 = 200;

/// What [`Meeting`] counts to when somebody has left.
const MISSED: u32 = u32::MAX;

/// A meeting of all shards, or of none: whoever waits for too long leaves, and then it has not
/// taken place for anybody.
///
/// ```text
/// 0 -> 1 -> .. -> all have come: the instant is between the last one's coming and the first
///  \    \         one's going on; nobody leaves any more
///   `----`------> missed: somebody has left, and nobody comes any more
/// ```
pub(super) struct Meeting {
    expected: u32,
    /// Those who have come, or [`MISSED`].
    come: AtomicU32,
    patience: Duration,
}

impl Meeting {
    pub(super) fn new(expected: usize, patience: Duration) -> Meeting {
        Meeting { expected: expected as u32, come: AtomicU32::new(0), patience }
    }

    /// Comes, and waits for the others. If all came, how long that took: then what the caller sees
    /// until it goes on is of the same instant as what the others see.
    pub(super) fn attend(&self) -> Option<Duration> {
        let next = |come| (come != MISSED).then(|| come + 1);
        self.come.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        let since = Instant::now();
        let mut spins = 0;
        loop {
            let come = self.come.load(Ordering::Acquire);
            if come == self.expected || come == MISSED {
                return (come == self.expected).then(|| since.elapsed());
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            // Others may have to run on this very CPU.
            std::thread::yield_now();
            let is_over = since.elapsed() > self.patience;
            if is_over && self.leave(come) {
                return None;
            }
        }
    }

    /// Leaves, unless somebody has come meanwhile.
    fn leave(&self, come: u32) -> bool {
        self.come.compare_exchange(come, MISSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn all_meet_or_none_does() {
        for round in 0..200 {
            // Some rounds are too short for threads to start.
            let patience = Duration::from_micros(round * 20);
            let meeting = Arc::new(Meeting::new(3, patience));
            let attend = |_| {
                let meeting = Arc::clone(&meeting);
                std::thread::spawn(move || meeting.attend())
            };
            let attending: Vec<_> = (0..3).map(attend).collect();
            let met: Vec<_> =
                attending.into_iter().map(|one| one.join().expect("it comes back")).collect();
            assert!(
                met.iter().all(|one| one.is_some() == met[0].is_some()),
                "round {round}: {met:?}"
            );
        }
    }

    #[test]
    fn nobody_goes_on_before_the_last_has_come() {
        let meeting = Arc::new(Meeting::new(2, Duration::from_secs(60)));
        let has_gone_on = Arc::new(AtomicBool::new(false));
        let (other, gone) = (Arc::clone(&meeting), Arc::clone(&has_gone_on));
        let early = std::thread::spawn(move || {
            let met = other.attend();
            gone.store(true, Ordering::SeqCst);
            met
        });
        std::thread::sleep(Duration::from_millis(20));
        assert!(!has_gone_on.load(Ordering::SeqCst));
        assert!(meeting.attend().is_some());
        assert!(early.join().expect("it comes back").is_some());
    }

    #[test]
    fn who_comes_to_a_meeting_that_was_missed_does_not_wait() {
        let meeting = Meeting::new(2, Duration::ZERO);
        assert_eq!(meeting.attend(), None);
        assert_eq!(meeting.attend(), None);
    }
}

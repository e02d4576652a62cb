//! What one receiver has seen of one stream: the accounting of loss, repetition and order.
//!
//! A track knows sequence numbers only. It holds the next number it expects and the ranges below
//! it that are still missing, so it tells a late message from a repeated one exactly, in constant
//! memory while nothing is wrong.

/// A bound on remembered gaps of one track: a broker that drops every second message must not
/// make the harness grow. What falls out of the list stays lost; were it to arrive after all, it
/// would be counted as repeated.
const GAPS_MAX: usize = 4096;

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one expected.
    InOrder,
    /// Ahead of the expected one by this many, which are now missing.
    Ahead(u32),
    /// A missing one, after a later one.
    Late,
    /// One that had arrived before.
    Repeated,
}

/// One receiver's view of one stream.
#[derive(Clone, Debug, Default)]
pub struct Track {
    next: u32,
    missing_count: u32,
    /// Missing numbers below `next`: disjoint half-open ranges in ascending order.
    gaps: Vec<(u32, u32)>,
}

impl Track {
    /// Takes note of one arrival.
    #[inline]
    pub fn note(&mut self, sequence: u32) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        self.note_unusual(sequence)
    }

    #[cold]
    fn note_unusual(&mut self, sequence: u32) -> Arrival {
        if sequence > self.next {
            let skipped = sequence - self.next;
            self.open_gap(self.next, sequence);
            self.next = sequence + 1;
            return Arrival::Ahead(skipped);
        }
        if self.fill_gap(sequence) { Arrival::Late } else { Arrival::Repeated }
    }

    fn open_gap(&mut self, start: u32, end: u32) {
        self.missing_count += end - start;
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push((start, end));
    }

    fn fill_gap(&mut self, sequence: u32) -> bool {
        let index = self.gaps.partition_point(|&(_, end)| end <= sequence);
        let Some(&(start, end)) = self.gaps.get(index) else { return false };
        if sequence < start {
            return false;
        }
        self.missing_count -= 1;
        match (start == sequence, sequence + 1 == end) {
            (true, true) => drop(self.gaps.remove(index)),
            (true, false) => self.gaps[index].0 = sequence + 1,
            (false, true) => self.gaps[index].1 = sequence,
            (false, false) => {
                self.gaps[index].1 = sequence;
                self.gaps.insert(index + 1, (sequence + 1, end));
            }
        }
        true
    }

    /// How many different messages arrived.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        u64::from(self.next) - u64::from(self.missing_count)
    }

    /// How many of `sent` messages never arrived.
    #[must_use]
    pub fn lost(&self, sent: u32) -> u64 {
        u64::from(sent).saturating_sub(self.arrived())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(arrivals: &[u32]) -> Track {
        let mut track = Track::default();
        for &sequence in arrivals {
            track.note(sequence);
        }
        track
    }

    /// How many arrivals were repeated, and how many late.
    fn findings(arrivals: &[u32]) -> (usize, usize) {
        let mut track = Track::default();
        let noted: Vec<Arrival> = arrivals.iter().map(|&sequence| track.note(sequence)).collect();
        let count = |kind| noted.iter().filter(|&&arrival| arrival == kind).count();
        (count(Arrival::Repeated), count(Arrival::Late))
    }

    #[test]
    fn a_clean_stream_has_no_findings() {
        assert_eq!(findings(&[0, 1, 2, 3]), (0, 0));
        assert_eq!(track(&[0, 1, 2, 3]).lost(4), 0);
    }

    #[test]
    fn loss_at_the_start_middle_and_end_is_found() {
        assert_eq!(track(&[1, 2, 3]).lost(4), 1);
        assert_eq!(track(&[0, 3]).lost(4), 2);
        assert_eq!(track(&[0, 1]).lost(4), 2);
        assert_eq!(track(&[]).lost(4), 4);
    }

    #[test]
    fn a_swap_is_late_and_not_lost() {
        assert_eq!(findings(&[0, 2, 1, 3]), (0, 1));
        assert_eq!(track(&[0, 2, 1, 3]).lost(4), 0);
    }

    #[test]
    fn a_repetition_is_not_late_even_inside_a_former_gap() {
        let arrivals = [0, 4, 2, 2, 1, 3, 4];
        assert_eq!(findings(&arrivals), (2, 3));
        assert_eq!(track(&arrivals).lost(5), 0);
    }

    #[test]
    fn any_order_of_arrival_ends_with_nothing_missing() {
        // Steps of 7 modulo 32 visit every number once, in a scattered order.
        let scattered: Vec<u32> = (0..32).map(|step| step * 7 % 32).collect();
        let done = track(&scattered);
        assert_eq!((done.lost(32), findings(&scattered).0), (0, 0));
        assert!(done.gaps.is_empty());
    }

    #[test]
    fn remembered_gaps_are_bounded_and_forgotten_ones_stay_lost() {
        let every_second: Vec<u32> = (0..10_000).map(|number| number * 2).collect();
        let holes = track(&every_second);
        assert_eq!(holes.gaps.len(), GAPS_MAX);
        assert_eq!(holes.lost(19_999), 9_999);
    }
}

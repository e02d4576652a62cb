//! Addresses from which logins failed, and how often. What a failure costs does not grow with how
//! many are remembered: shards wait for each other here.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::config::Network;
use crate::time::Time;

/// Addresses that are remembered; beyond them new ones are not.
const ADDRESSES_MAX: usize = 100_000;

/// Addresses whose time is over that one failure forgets: more than it adds.
const FORGOTTEN_MAX: usize = 2;

/// See the module. Every address is in both, with the same end.
#[derive(Default)]
pub(super) struct Failures {
    by_address: HashMap<IpAddr, Remembered>,
    by_end: BTreeSet<(Time, IpAddr)>,
}

#[derive(Clone, Copy)]
struct Remembered {
    count: u32,
    /// When they are forgotten.
    until: Time,
}

impl Failures {
    /// Counts one of an address, whose failures are remembered until then. How many there are;
    /// nothing if there is no room for them.
    pub(super) fn count(&mut self, now: Time, address: IpAddr, until: Time) -> Option<u32> {
        self.forget_ended(now);
        let is_known = self.by_address.contains_key(&address);
        if !is_known && self.by_address.len() >= ADDRESSES_MAX {
            return None;
        }
        let count = self.of(now, address) + 1;
        self.forget(address);
        self.by_address.insert(address, Remembered { count, until });
        self.by_end.insert((until, address));
        Some(count)
    }

    /// How many of an address are remembered.
    pub(super) fn of(&self, now: Time, address: IpAddr) -> u32 {
        let remembered = self.by_address.get(&address);
        remembered.filter(|failures| failures.until > now).map_or(0, |failures| failures.count)
    }

    /// Forgets those of an address.
    pub(super) fn forget(&mut self, address: IpAddr) {
        if let Some(Remembered { until, .. }) = self.by_address.remove(&address) {
            self.by_end.remove(&(until, address));
        }
    }

    /// Forgets those of a network: a walk over all addresses.
    pub(super) fn forget_network(&mut self, network: &Network) {
        self.by_address.retain(|address, _| !network.contains(*address));
        self.by_end.retain(|(_, address)| !network.contains(*address));
    }

    fn forget_ended(&mut self, now: Time) {
        for _ in 0..FORGOTTEN_MAX {
            match self.by_end.first().copied() {
                Some((until, address)) if until <= now => self.forget(address),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(number as u32).into()
    }

    #[test]
    fn a_failure_costs_the_same_however_many_are_remembered() {
        let mut failures = Failures::default();
        for number in 0..ADDRESSES_MAX {
            assert_eq!(failures.count(at(1), address(number), at(10)), Some(1));
        }
        let one_more = address(ADDRESSES_MAX);
        assert_eq!(failures.count(at(9), one_more, at(19)), None, "there is no room");
        assert_eq!(failures.count(at(9), address(7), at(19)), Some(2));
        assert_eq!(failures.count(at(10), one_more, at(20)), Some(1));
        assert_eq!(failures.by_address.len(), ADDRESSES_MAX + 1 - FORGOTTEN_MAX);
        for number in 0..ADDRESSES_MAX {
            failures.count(at(11), one_more, at(21 + number as u64));
        }
        assert_eq!(failures.by_address.len(), 2, "all whose time is over are forgotten in the end");
        assert_eq!(failures.by_address.len(), failures.by_end.len());
        assert_eq!((failures.of(at(18), address(7)), failures.of(at(19), address(7))), (2, 0));
    }

    #[test]
    fn who_is_let_in_again_begins_anew() {
        let mut failures = Failures::default();
        for number in 0..4 {
            failures.count(at(1), address(number), at(10));
        }
        failures.forget_network(&Network::around(address(2), 31));
        failures.forget(address(0));
        let counts = [0, 1, 2, 3].map(|number| failures.of(at(2), address(number)));
        assert_eq!(counts, [0, 1, 0, 0]);
        assert_eq!(failures.by_end.len(), 1);
    }
}

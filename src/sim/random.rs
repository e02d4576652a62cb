//! Random numbers that are a function of the seed alone.

/// What numbers are drawn for. Each purpose has a stream of its own, so that one more draw for
/// one purpose leaves the draws of all others as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Purpose {
    /// What kind of run this is: rates, limits, latencies.
    Plan = 1,
    /// Keys of the shards.
    Keys,
    /// What a client does; one stream a client.
    Workload,
    /// How clients behave on the wire: options, paddings, delays of acknowledgements.
    Manners,
    /// Cuts and delays of byte streams.
    Network,
    /// Ends of connections that nobody asked for.
    Breaks,
    /// Delays between shards.
    Lanes,
    /// When shards run and how much they take at a time.
    Turns,
    /// How long it takes to make something durable.
    Disk,
    /// What a loss of power leaves.
    Faults,
    /// What hostile clients send.
    Hostile,
    /// Deliberate faults of the simulation itself.
    Sabotage,
    /// When the power fails, and when disks are full.
    Outages,
    /// How much clients ask for at once.
    Sizes,
}

/// A stream of random numbers: xoshiro256++ seeded by splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of `seed` for a purpose; `index` tells several streams of one purpose apart.
    pub(super) fn new(seed: u64, purpose: Purpose, index: u64) -> Random {
        let mut mixed = seed ^ (purpose as u64).wrapping_mul(0xA24B_AED4_963E_E407);
        mixed = split_mix(&mut mixed) ^ index.wrapping_mul(0x9FB2_1C65_1E98_DF25);
        Random { state: std::array::from_fn(|_| split_mix(&mut mixed)) }
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, which is not 0. The bias of the multiplication is below 2^-32
    /// for every bound used here.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `permille` times in a thousand.
    pub(super) fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of `choices`, which is not empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// The index of one of `weights`, as often as its share of their sum.
    pub(super) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        unreachable!("a number below the sum falls into one of its parts")
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_two_purposes_differ_and_each_repeats() {
        let draw = |purpose, index| {
            let mut random = Random::new(7, purpose, index);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(draw(Purpose::Network, 0), draw(Purpose::Network, 0));
        assert_ne!(draw(Purpose::Network, 0), draw(Purpose::Lanes, 0));
        assert_ne!(draw(Purpose::Network, 0), draw(Purpose::Network, 1));
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_it() {
        let mut random = Random::new(1, Purpose::Plan, 0);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
    }

    #[test]
    fn weights_of_zero_are_never_picked() {
        let mut random = Random::new(1, Purpose::Plan, 0);
        assert!((0..1000).all(|_| random.weighted(&[0, 3, 0, 1]) % 2 == 1));
    }
}

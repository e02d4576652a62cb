//! The only entropy.

use crate::shard::Seed;

/// Seeds for `count` shards: one placement, a private part each.
///
/// # Errors
///
/// The kernel's if it has no random numbers to give.
pub fn seeds(count: usize) -> Result<Vec<Seed>, getrandom::Error> {
    let placement = draw()?;
    (0..count).map(|_| Ok(Seed { placement, private: draw()? })).collect()
}

fn draw() -> Result<[u64; 4], getrandom::Error> {
    let mut words = [0; 4];
    for word in &mut words {
        *word = getrandom::u64()?;
    }
    Ok(words)
}

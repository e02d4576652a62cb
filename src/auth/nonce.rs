//! Numbers that nobody can foretell from those before.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// A stream of such numbers: HMAC-SHA-256 of a counter under a key that is drawn once.
pub struct Nonces {
    key: [u8; 32],
    drawn: u64,
}

/// Keys do not belong in logs.
impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Nonces {
    /// The stream of a key, which nobody else may know.
    pub fn new(key: [u8; 32]) -> Nonces {
        Nonces { key, drawn: 0 }
    }

    /// The next 32 bytes.
    pub fn draw(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&self.drawn.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_with_its_key_and_never_within_itself() {
        let draw = |key| {
            let mut nonces = Nonces::new([key; 32]);
            [nonces.draw(), nonces.draw(), nonces.draw()]
        };
        assert_eq!(draw(1), draw(1));
        let [first, second, third] = draw(1);
        assert!(first != second && second != third && first != third);
        assert_ne!(draw(1)[0], draw(2)[0]);
    }
}

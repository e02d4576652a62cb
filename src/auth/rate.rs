//! How much a client may send.

/// Limits of what arrives from one client; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// PUBLISH packets a second.
    pub messages_per_s: u32,
    /// Bytes of packets a second.
    pub bytes_per_s: u32,
}

impl Rates {
    /// What both allow.
    pub fn and(self, other: Rates) -> Rates {
        let lower = |one: u32, other: u32| match (one, other) {
            (0, limit) | (limit, 0) => limit,
            (one, other) => one.min(other),
        };
        Rates {
            messages_per_s: lower(self.messages_per_s, other.messages_per_s),
            bytes_per_s: lower(self.bytes_per_s, other.bytes_per_s),
        }
    }

    /// Whether anything may be sent.
    pub fn is_unlimited(self) -> bool {
        self == Rates::default()
    }
}

//! The heads of a tar archive, as POSIX has them (ustar): what every `tar` unpacks.

/// Heads and contents begin at multiples of this.
pub(super) const BLOCK_BYTES: usize = 512;

/// Two blocks of zeros end an archive.
pub(super) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// What is common to all entries of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
    /// When everything in it was last changed, in seconds of 1970.
    pub(super) changed_at: u64,
}

impl Owner {
    /// The head of a folder that is its owner's alone.
    pub(super) fn folder(&self, name: &str) -> [u8; BLOCK_BYTES] {
        self.head(name, b'5', 0o700, 0)
    }

    /// The head of a file that is its owner's alone.
    pub(super) fn file(&self, name: &str, bytes: u64) -> [u8; BLOCK_BYTES] {
        self.head(name, b'0', 0o600, bytes)
    }

    fn head(&self, name: &str, kind: u8, mode: u64, bytes: u64) -> [u8; BLOCK_BYTES] {
        let mut head = [0; BLOCK_BYTES];
        let mut put = |at: usize, text: &[u8]| head[at..at + text.len()].copy_from_slice(text);
        assert!(name.len() <= 100, "names of a data directory are short");
        put(0, name.as_bytes());
        put(100, &octal::<8>(mode));
        // More than there is room for is nobody that `tar` could name.
        put(108, &octal::<8>(u64::from(self.user).min(0o7_777_777)));
        put(116, &octal::<8>(u64::from(self.group).min(0o7_777_777)));
        put(124, &octal::<12>(bytes));
        put(136, &octal::<12>(self.changed_at));
        put(148, b"        ");
        put(156, &[kind]);
        put(257, b"ustar\x0000");
        let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
        head[148..155].copy_from_slice(&octal::<7>(sum));
        head
    }
}

/// Digits with zeros before them and one behind.
fn octal<const N: usize>(number: u64) -> [u8; N] {
    let mut text = [0; N];
    let digits = format!("{number:0width$o}", width = N - 1);
    assert!(digits.len() < N, "{number} fits");
    text[..N - 1].copy_from_slice(digits.as_bytes());
    text
}

/// Zeros between the end of a content and the next head.
pub(super) fn padding(bytes: u64) -> usize {
    (bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_posix_says() {
        let owner = Owner { user: 8, group: 9, changed_at: 0o777 };
        let head = owner.file("1/shard-0/7.log", 0o1234);
        assert!(head.starts_with(b"1/shard-0/7.log\0"));
        assert_eq!(&head[100..124], b"0000600\x000000010\x000000011\0");
        assert_eq!(&head[124..148], b"00000001234\x0000000000777\0");
        assert_eq!(&head[156..157], b"0");
        assert_eq!(&head[257..265], b"ustar\x0000");
        let sum: u64 = head
            .iter()
            .enumerate()
            .map(|(at, byte)| match at {
                148..156 => 32,
                _ => u64::from(*byte),
            })
            .sum();
        assert_eq!(&head[148..156], format!("{sum:06o}\0 ").as_bytes());
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
    }
}

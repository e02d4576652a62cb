//! What was found out of logins, without what they hold.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Beyond so many all are forgotten.
const REMEMBERED_MAX: usize = 100_000;

/// A keyed hash of a login: how far two of them agree says nothing of what they are of.
pub(super) type Tag = [u8; 32];

/// Findings by the tag of what they were found out of. The key is drawn for this memory and never
/// leaves the process.
pub(super) struct Remembered<T> {
    key: [u8; 32],
    findings: Mutex<HashMap<Tag, (T, Option<Instant>)>>,
}

impl<T> fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl<T: Clone> Remembered<T> {
    pub(super) fn new() -> Remembered<T> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel had random numbers for the broker's start");
        Remembered { key, findings: Mutex::default() }
    }

    pub(super) fn tag<const PARTS: usize>(&self, parts: [&[u8]; PARTS]) -> Tag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes any key");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    pub(super) fn get(&self, tag: &Tag) -> Option<T> {
        let findings = self.findings();
        let (finding, until) = findings.get(tag)?;
        until.is_none_or(|until| Instant::now() < until).then(|| finding.clone())
    }

    pub(super) fn put(&self, tag: Tag, finding: T, lasts: Option<Duration>) {
        let mut findings = self.findings();
        if findings.len() >= REMEMBERED_MAX {
            findings.clear();
        }
        findings.insert(tag, (finding, lasts.map(|lasts| Instant::now() + lasts)));
    }

    fn findings(&self) -> MutexGuard<'_, HashMap<Tag, (T, Option<Instant>)>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Where passwords are checked: threads beside the shards, for it takes its time on purpose.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::mailbox::{Letter, Mailbox};
use crate::auth::PasswordHash;
use crate::shard::{ConnectionId, Question};

/// Questions that wait; beyond them clients are told that the broker is busy.
const WAITING_MAX: usize = 4096;

/// Passwords that were found to be right and are remembered, so that a fleet that comes back does
/// not hash for minutes. Beyond them all are forgotten.
const REMEMBERED_MAX: usize = 100_000;

/// Checks passwords for every shard.
#[derive(Clone)]
pub(super) struct Verifier(SyncSender<(usize, ConnectionId, Question)>);

/// Right passwords as a keyed hash, by the stored hash they are right for. The key is drawn at the
/// start and never leaves the process.
struct Remembered {
    key: [u8; 32],
    right: HashMap<usize, (Arc<PasswordHash>, [u8; 32])>,
}

impl Verifier {
    /// Starts its threads; they end when the last shard is gone.
    pub(super) fn start(threads: usize, mailboxes: &Arc<Vec<Mailbox>>) -> io::Result<Verifier> {
        let (sender, questions) = sync_channel(WAITING_MAX);
        let questions = Arc::new(Mutex::new(questions));
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let remembered = Arc::new(Mutex::new(Remembered { key, right: HashMap::new() }));
        for index in 0..threads {
            let (questions, mailboxes) = (Arc::clone(&questions), Arc::clone(mailboxes));
            let remembered = Arc::clone(&remembered);
            std::thread::Builder::new()
                .name(format!("password-{index}"))
                .spawn(move || answer_all(&questions, &mailboxes, &remembered))?;
        }
        Ok(Verifier(sender))
    }

    /// Asks; the answer comes as a letter. False if too many wait.
    pub(super) fn ask(&self, shard: usize, connection: ConnectionId, question: Question) -> bool {
        match self.0.try_send((shard, connection, question)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

fn answer_all(
    questions: &Mutex<Receiver<(usize, ConnectionId, Question)>>,
    mailboxes: &[Mailbox],
    remembered: &Mutex<Remembered>,
) {
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((shard, connection, question)) = next else { return };
        let is_right = is_right(&question, remembered);
        mailboxes[shard].send(Letter::Verdict { connection, is_right });
    }
}

fn is_right(question: &Question, remembered: &Mutex<Remembered>) -> bool {
    let place = Arc::as_ptr(&question.hash) as usize;
    let tag = {
        let remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = tag(&remembered.key, &question.password);
        let known = remembered.right.get(&place);
        if known.is_some_and(|(hash, right)| Arc::ptr_eq(hash, &question.hash) && *right == tag) {
            return question.is_known;
        }
        tag
    };
    let is_right = question.hash.verify(&question.password) && question.is_known;
    if is_right {
        let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.right.len() >= REMEMBERED_MAX {
            remembered.right.clear();
        }
        remembered.right.insert(place, (Arc::clone(&question.hash), tag));
    }
    is_right
}

/// What is compared is a keyed hash: how far two of them agree says nothing of the passwords.
fn tag(key: &[u8; 32], password: &Zeroizing<Vec<u8>>) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(password);
    mac.finalize().into_bytes().into()
}

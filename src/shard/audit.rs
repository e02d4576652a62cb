//! Whether the log tells what the shard knows: for the simulation.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{Image, Owed, SessionImage};
use super::record::{QueueNumber, SessionState};
use super::{Seat, Shard};
use crate::session::{Body, Delivery};
use crate::storage::Sequence;

impl Shard {
    /// Everything before this place is durable; nothing without a log.
    pub fn durable(&self) -> Option<Sequence> {
        self.journal.durable()
    }

    /// Whether all that was appended is durable.
    pub fn is_durable(&self) -> bool {
        self.journal.durable() == self.journal.end()
    }

    /// How what the log says differs from what the shard knows. All must be durable.
    pub fn audit(&self, image: &Image) -> Vec<String> {
        let mut differences = Vec::new();
        for (number, key) in &self.session_by_number {
            // Of a session that is to end with its connection nothing is kept but that.
            let Some(seat) = self.sessions.get(*key).filter(|seat| seat.is_kept()) else {
                continue;
            };
            match image.sessions.get(number) {
                Some(session) => differences.extend(audit_session(*number, seat, session)),
                None => differences.push(format!("the log knows no session {number}")),
            }
        }
        for number in image.sessions.keys() {
            if !self.session_by_number.contains_key(number) {
                differences.push(format!("the log has session {number}, which is over"));
            }
        }
        let retained: BTreeMap<_, _> =
            image.retained.iter().map(|(topic, kept)| (topic.as_str(), kept.stamp)).collect();
        let known = self.retained_stamps();
        if retained != known {
            differences.push(format!("retained: the log says {retained:?}, the shard {known:?}"));
        }
        let groups: BTreeMap<_, _> =
            image.groups.iter().map(|(number, group)| (*number, ordinals(&group.queue))).collect();
        let known = self.group_queues();
        for (number, owed) in &groups {
            let known = known.get(number).map_or(&[][..], Vec::as_slice);
            let (told, held) = differing(owed, known);
            if !told.is_empty() || !held.is_empty() {
                differences.push(format!(
                    "group {number}: only the log owes {told:?}, only the shard {held:?}"
                ));
            }
        }
        if let Some(number) = known.keys().find(|number| !groups.contains_key(number)) {
            differences.push(format!("the log knows no group {number}"));
        }
        differences
    }
}

fn audit_session(number: QueueNumber, seat: &Seat, image: &SessionImage) -> Vec<String> {
    let mut told = image.state();
    let mut known = SessionState::of(seat);
    for state in [&mut told, &mut known] {
        state.subscriptions.sort_unstable_by(|a, b| a.filter.cmp(&b.filter));
        state.taken.sort_unstable();
        state.received.sort_unstable();
        // Messages that are not kept count, too.
        state.last_ordinal = 0;
    }
    // What nobody wanted is not kept: its publisher may send it again.
    known.taken.retain(|packet_id| told.taken.contains(packet_id));
    let mut differences = Vec::new();
    if told != known {
        differences.push(format!("session {number}: the log says {told:?}, the shard {known:?}"));
    }
    let outbox = &seat.session.outbox;
    let is_kept = |delivery: &&Delivery| matches!(delivery.body, Body::Kept(_));
    let owed = outbox.inflight.deliveries().chain(outbox.waiting()).filter(is_kept);
    let known: Vec<u64> = owed.map(|delivery| delivery.ordinal).collect();
    let told = ordinals(&image.queue);
    let (told, held) = differing(&told, &known);
    if !told.is_empty() || !held.is_empty() {
        differences
            .push(format!("session {number}: only the log owes {told:?}, only the shard {held:?}"));
    }
    differences
}

/// What is in one list alone, and in the other.
fn differing(told: &[u64], held: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let without = |a: &[u64], b: &[u64]| {
        let others: BTreeSet<_> = b.iter().collect();
        a.iter().copied().filter(|ordinal| !others.contains(ordinal)).collect()
    };
    (without(told, held), without(held, told))
}

fn ordinals(queue: &BTreeMap<u64, Owed>) -> Vec<u64> {
    queue.keys().copied().collect()
}

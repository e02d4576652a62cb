//! What damage took from a log, as far as what is left of it tells.

use std::collections::{BTreeMap, BTreeSet};

use super::image::Image;
use super::record::{CHANGE, Change, MESSAGE, MessageHead, PROGRESS, Progress, QueueNumber, Step};
use crate::storage::{RecordRef, Sequence};

/// Messages that are missing, by whom they were owed to.
///
/// A queue's ordinals rise one by one, so a jump across damage is messages whose records are
/// gone. Some of them may have been acknowledged before: the counts are the most there can be.
/// What was owed to a queue after its last record that is left cannot be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    queues: BTreeMap<QueueNumber, Seen>,
}

/// What is known of a queue's ordinals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The greatest.
    last: u64,
    /// The record that told of it.
    told_at: Sequence,
    skipped: BTreeSet<u64>,
}

impl Missing {
    /// Looks at the next record of a log that is damaged at these places.
    pub fn look(&mut self, record: &RecordRef<'_>, damages: &[Sequence]) {
        match record.kind {
            CHANGE => match Change::decode(record.payload) {
                Some(Change::Session(state)) => {
                    self.reach(state.number, state.last_ordinal + 1, record.sequence, damages);
                }
                Some(Change::SessionEnd { session: queue } | Change::GroupEnd { group: queue }) => {
                    self.queues.remove(&queue);
                }
                _ => {}
            },
            MESSAGE => {
                let Some((head, _)) = MessageHead::decode(record.payload) else { return };
                for target in head.targets {
                    self.reach(target.queue, target.ordinal, record.sequence, damages);
                    self.found(target.queue, target.ordinal);
                }
            }
            PROGRESS => {
                let _ = Progress::decode_all(record.payload, |progress| {
                    let ordinal = progress.ordinal + u64::from(progress.step == Step::Sent);
                    self.reach(progress.queue, ordinal, record.sequence, damages);
                    if progress.step != Step::Sent {
                        self.found(progress.queue, progress.ordinal);
                    }
                });
            }
            _ => {}
        }
    }

    /// Everything before `ordinal` has been owed by now.
    fn reach(&mut self, queue: QueueNumber, ordinal: u64, at: Sequence, damages: &[Sequence]) {
        let is_new = !self.queues.contains_key(&queue);
        let seen = self.queues.entry(queue).or_default();
        if ordinal <= seen.last + 1 && !is_new {
            return;
        }
        let is_across = damages.iter().any(|damage| (seen.told_at..at).contains(damage));
        if is_across && !is_new {
            seen.skipped.extend(seen.last + 1..ordinal);
        }
        (seen.last, seen.told_at) = (ordinal.saturating_sub(1).max(seen.last), at);
    }

    fn found(&mut self, queue: QueueNumber, ordinal: u64) {
        if let Some(seen) = self.queues.get_mut(&queue) {
            seen.skipped.remove(&ordinal);
            seen.last = seen.last.max(ordinal);
        }
    }

    /// A line for each session and group that misses something, by what the log's `image` calls it.
    pub fn report(&self, image: &Image) -> Vec<String> {
        let mut lines = Vec::new();
        let mut nameless = 0;
        for (number, seen) in &self.queues {
            let session = image.sessions.get(number).map(|session| &session.rest().client_id);
            let group = image.groups.get(number).map(|group| &group.name);
            let (what, name) = match (session, group) {
                (Some(client_id), _) => ("session", client_id),
                (None, Some(name)) => ("shared group", name),
                (None, None) => {
                    nameless += 1;
                    continue;
                }
            };
            if !seen.skipped.is_empty() {
                let count = seen.skipped.len();
                lines.push(format!("{what} {name:?}: at most {count} messages are missing"));
            }
        }
        if nameless > 0 {
            lines.push(format!(
                "{nameless} sessions or shared groups are missing as a whole: records speak of them \
                 and none says whose they were"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::proto::QoS;
    use crate::shard::record::{SessionState, Target};

    fn message(ordinal: u64) -> Vec<u8> {
        let message = Message::from_parts("t", b"", b"payload", QoS::AtLeastOnce, false);
        let mut head = MessageHead::of(&crate::message::Publication::of(&message.into()));
        let (qos, subscription_ids) = (QoS::AtLeastOnce, Vec::new());
        head.targets.push(Target { queue: 1, ordinal, qos, retain: false, subscription_ids });
        let mut payload = Vec::new();
        head.encode(&mut payload);
        payload.extend_from_slice(b"tpayload");
        payload
    }

    #[test]
    fn a_jump_across_damage_is_what_is_missing_at_most() {
        let session = Change::Session(SessionState::new(1, "ann", 60)).encode().to_vec();
        let mut records = vec![(CHANGE, session)];
        records.extend([1, 2, 3, 10, 11].map(|ordinal| (MESSAGE, message(ordinal))));
        let mut done = Vec::new();
        Progress { queue: 1, ordinal: 5, step: Step::Done }.encode(&mut done);
        records.push((PROGRESS, done));
        let (mut missing, mut image) = (Missing::default(), Image::default());
        for (at, (kind, payload)) in records.iter().enumerate() {
            let sequence = Sequence(at as u64 * 100);
            let record = RecordRef { sequence, kind: *kind, time_micros: 0, payload };
            missing.look(&record, &[Sequence(350)]);
            image.fold(&record).expect("they are ours");
        }
        // 4 to 9 are gone, of which 5 was acknowledged.
        let report = missing.report(&image);
        assert_eq!(report, ["session \"ann\": at most 5 messages are missing"]);
    }
}

//! What the log knows of shared groups: that they are there, and what they owe.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Group, Seat, Waiting, filter_of};
use crate::session::{Body, KeptId};
use crate::shard::image::GroupImage;
use crate::shard::journal::Item;
use crate::shard::message::Member;
use crate::shard::record::{Change, QueueNumber};
use crate::shard::{Key, Shard};
use crate::storage::{SegmentNumber, Sequence};
use crate::time::Time;

impl Shard {
    /// From now on the group's messages are kept: a member's session outlives the broker.
    pub(super) fn keep_group(&mut self, now: Time, key: Key) {
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        if group.log_number == 0 && self.journal.is_enabled() {
            group.log_number = self.journal.next_number();
            self.tell_group(now, key);
        }
    }

    /// A group of an earlier life; every shard knows of it.
    pub(in crate::shard) fn restore_group(&mut self, name: Arc<str>, members: Vec<Member>) {
        let Some(filter) = filter_of(&name).map(Arc::from) else { return };
        let key = self.insert_group(name, &filter);
        self.entry(&filter).groups.push(key);
        if let Some(group) = self.groups.groups.get_mut(key) {
            let seats =
                members.into_iter().map(|member| Seat { member, client: None, outstanding: 0 });
            group.members = seats.collect();
        }
    }

    /// What a group of an earlier life is owed; false if it has no member left.
    pub(in crate::shard) fn restore_group_queue(
        &mut self,
        number: QueueNumber,
        image: GroupImage,
        places: &mut BTreeMap<Sequence, KeptId>,
    ) -> bool {
        let GroupImage { told, name, queue, .. } = image;
        let Some(key) = self.groups.by_name.get(name.as_str()).copied() else { return false };
        for (ordinal, owed) in queue {
            let body = Body::Kept(self.adopt(owed.message, places));
            let Some(group) = self.groups.groups.get_mut(key) else { return false };
            let bytes = owed.message.bytes;
            let waiting = Waiting { number: ordinal, body, bytes, origin: 0 };
            group.insert(waiting, &mut self.queue_memory);
        }
        self.journal.hold_item(told, Item::Group(key));
        let Some(group) = self.groups.groups.get_mut(key) else { return false };
        group.log_number = number;
        group.told = Some(told);
        true
    }

    /// Keeps the groups that have members whose sessions are kept.
    pub(in crate::shard) fn keep_groups(&mut self, now: Time) {
        let keys: Vec<_> = self.groups.groups.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.keep_group(now, key);
        }
    }

    fn tell_group(&mut self, now: Time, key: Key) {
        let Some(group) = self.groups.groups.get_mut(key) else { return };
        let change = Change::Group {
            group: group.log_number,
            name: group.name.to_string(),
            filter: group.filter.to_string(),
        };
        let told = self.journal.append_item(now, &[change], Item::Group(key));
        if let Some(earlier) = std::mem::replace(&mut group.told, told) {
            self.journal.release_item(earlier);
        }
    }

    /// Tells of a group again, so that the segment it was told of in can go.
    pub(in crate::shard) fn move_group(&mut self, now: Time, key: Key, segment: SegmentNumber) {
        let told = self.groups.groups.get(key).and_then(|group| group.told);
        if told.is_some_and(|told| self.journal.is_in(told.at, segment)) {
            self.tell_group(now, key);
        }
    }

    pub(super) fn forget_group(&mut self, now: Time, group: &Group) {
        if group.log_number != 0 {
            self.journal.append(now, &Change::GroupEnd { group: group.log_number });
        }
        for waiting in &group.queue {
            self.queue_memory.give_back(waiting.memory_bytes());
            self.journal.release(&waiting.body);
        }
        for id in group.handed.values() {
            self.journal.release(&Body::Kept(*id));
        }
        if let Some(told) = group.told {
            self.journal.release_item(told);
        }
    }

    /// What the groups that are kept owe, by their numbers in the log.
    #[cfg(feature = "sim")]
    pub(in crate::shard) fn group_queues(&self) -> BTreeMap<QueueNumber, Vec<u64>> {
        let kept = self.groups.groups.iter().filter(|(_, group)| group.log_number != 0);
        let queues = kept.map(|(_, group)| {
            let waiting = group.queue.iter().filter(|w| matches!(w.body, Body::Kept(_)));
            let mut numbers: Vec<u64> = waiting.map(|waiting| waiting.number).collect();
            numbers.extend(group.handed.keys());
            numbers.sort_unstable();
            (group.log_number, numbers)
        });
        queues.collect()
    }

    /// Whether a message is still owed to a member of a group.
    pub(in crate::shard) fn group_owes(&self, key: Key, number: u64) -> bool {
        self.groups.groups.get(key).is_some_and(|group| {
            let at = group.queue.binary_search_by_key(&number, |waiting| waiting.number);
            let waits = at.is_ok_and(|at| matches!(group.queue[at].body, Body::Kept(_)));
            waits || group.handed.contains_key(&number)
        })
    }

    /// The group with this number in the log.
    pub(in crate::shard) fn group_numbered(&self, number: QueueNumber) -> Option<Key> {
        self.groups.groups.iter().find(|(_, group)| group.log_number == number).map(|(key, _)| key)
    }
}

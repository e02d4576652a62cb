//! What logs say, told anew for another number of shards, or without what was damaged.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::ShardId;
use super::image::Image;
use super::record::{CHANGE, Change, MESSAGE, MessageHead, QueueNumber, Target};
use crate::proto::QoS;
use crate::storage::{Kind, Sequence};

/// Where everything goes, and what every queue is called there.
struct Rehoming<'a, P> {
    place: P,
    /// By shard and number of the earlier life.
    queues: BTreeMap<(usize, QueueNumber), (ShardId, QueueNumber)>,
    numbers: BTreeMap<ShardId, QueueNumber>,
    segment_bytes: u32,
    write: &'a mut dyn FnMut(ShardId, Kind, &[u8]),
}

/// Tells what `images` describe as records of other logs: `place` is the new home of a client,
/// topic or group, `segment_bytes` what records have to fit into there, `read` gives a record's
/// payload from a shard's log, and `write` takes a record for a shard's new one.
pub fn rehome(
    mut images: Vec<Image>,
    place: impl Fn(&str) -> ShardId,
    segment_bytes: u32,
    read: impl Fn(usize, Sequence) -> Option<Vec<u8>>,
    write: &mut dyn FnMut(ShardId, Kind, &[u8]),
) {
    let spread = finish_spreading(&mut images, &read);
    let (queues, numbers) = (BTreeMap::new(), BTreeMap::new());
    let mut rehoming = Rehoming { place, queues, numbers, segment_bytes, write };
    for (shard, image) in images.iter().enumerate() {
        rehoming.tell_queues(shard, image);
    }
    for (shard, image) in images.iter().enumerate() {
        rehoming.tell_messages(shard, image, &spread, &read);
    }
}

impl<P: Fn(&str) -> ShardId> Rehoming<'_, P> {
    fn number(&mut self, shard: usize, number: QueueNumber, home: ShardId) -> QueueNumber {
        let next = self.numbers.entry(home).or_default();
        *next += 1;
        self.queues.insert((shard, number), (home, *next));
        *next
    }

    fn tell_queues(&mut self, shard: usize, image: &Image) {
        for (number, session) in &image.sessions {
            let mut state = session.state();
            let home = (self.place)(&state.client_id);
            state.number = self.number(shard, *number, home);
            for change in state.into_changes(self.segment_bytes) {
                (self.write)(home, CHANGE, &change.encode());
            }
        }
        for (number, group) in &image.groups {
            let home = (self.place)(&group.name);
            let (name, filter) = (group.name.clone(), group.filter.clone());
            let group = self.number(shard, *number, home);
            (self.write)(home, CHANGE, &Change::Group { group, name, filter }.encode());
        }
    }

    /// Tells each message once to every shard where somebody is owed it, in the order of the log.
    fn tell_messages(
        &mut self,
        shard: usize,
        image: &Image,
        spread: &Spread,
        read: &impl Fn(usize, Sequence) -> Option<Vec<u8>>,
    ) {
        let mut receivers: BTreeMap<Sequence, BTreeMap<ShardId, Vec<Target>>> = BTreeMap::new();
        let sessions = image.sessions.iter().map(|(number, session)| (number, &session.queue));
        let groups = image.groups.iter().map(|(number, group)| (number, &group.queue));
        for (number, queue) in sessions.chain(groups) {
            let Some((home, number)) = self.queues.get(&(shard, *number)).copied() else {
                continue;
            };
            for (ordinal, owed) in queue {
                let target = Target {
                    queue: number,
                    ordinal: *ordinal,
                    qos: owed.qos,
                    retain: owed.retain,
                    subscription_ids: owed.subscription_ids.clone(),
                };
                let shards = receivers.entry(owed.message.sequence).or_default();
                shards.entry(home).or_default().push(target);
            }
        }
        for ((_, sequence), owed) in spread.range((shard, Sequence(0))..(shard + 1, Sequence(0))) {
            for (to, target) in owed {
                let Some((home, queue)) = self.queues.get(&(*to, target.queue)).copied() else {
                    continue;
                };
                let shards = receivers.entry(*sequence).or_default();
                shards.entry(home).or_default().push(Target { queue, ..target.clone() });
            }
        }
        let mut retained = BTreeSet::new();
        for (topic, kept) in &image.retained {
            let home = (self.place)(topic);
            retained.insert((kept.message.sequence, home));
            receivers.entry(kept.message.sequence).or_default().entry(home).or_default();
        }
        for (sequence, shards) in receivers {
            let Some(payload) = read(shard, sequence) else { continue };
            let Some((mut head, body)) = MessageHead::decode(&payload) else { continue };
            (head.taken, head.origin) = (None, None);
            for (home, targets) in shards {
                head.targets = targets;
                head.stored = retained.contains(&(sequence, home));
                let mut record = Vec::with_capacity(payload.len());
                head.encode(&mut record);
                record.extend_from_slice(body);
                (self.write)(home, MESSAGE, &record);
            }
        }
    }
}

/// What is owed to queues of one shard out of another one's log: by that shard and record.
type Spread = BTreeMap<(usize, Sequence), Vec<(usize, Target)>>;

/// QoS 2 messages that some shard had not got yet: their publishers will not send them again, so
/// whoever is owed them there is owed them now.
fn finish_spreading(
    images: &mut [Image],
    read: &impl Fn(usize, Sequence) -> Option<Vec<u8>>,
) -> Spread {
    let mut spread = Spread::new();
    for from in 0..images.len() {
        for (sequence, remote) in std::mem::take(&mut images[from].unspread) {
            let Some(payload) = read(from, sequence) else { continue };
            let Some((head, body)) = MessageHead::decode(&payload) else { continue };
            let origin = (ShardId(from as u8), sequence);
            let owed = spread.entry((from, sequence)).or_default();
            for (to, image) in images.iter_mut().enumerate() {
                if remote & 1 << to != 0 && !image.has_received(origin) {
                    let targets = owe(image, &head, head.topic(body));
                    owed.extend(targets.into_iter().map(|target| (to, target)));
                }
            }
        }
    }
    spread
}

/// Every session of a shard whose subscriptions match.
fn owe(image: &mut Image, head: &MessageHead, topic: &str) -> Vec<Target> {
    let mut targets = Vec::new();
    for (number, session) in &mut image.sessions {
        let (mut qos, mut subscription_ids) = (QoS::AtMostOnce, Vec::new());
        for (options, id) in session.subscriptions_to(topic) {
            let granted = QoS::from_bits(options & 3).unwrap_or_default();
            qos = qos.max(granted.min(head.qos));
            subscription_ids.extend(Some(id).filter(|id| *id != 0));
        }
        if qos > QoS::AtMostOnce {
            let ordinal = session.next_ordinal();
            let (queue, retain) = (*number, false);
            targets.push(Target { queue, ordinal, qos, retain, subscription_ids });
        }
    }
    targets
}

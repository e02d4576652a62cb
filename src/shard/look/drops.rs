//! What was lost last.

use std::cmp::{Ordering, Reverse};

use super::{Least, Place, Seen, VISITS_MAX, has};
use crate::proto::TopicFilter;
use crate::shard::witness::{Dropped, Why};
use crate::shard::{Shard, ShardId};
use crate::time::Time;

/// Which losses are asked for.
#[derive(Clone, Debug, Default)]
pub struct DropQuery {
    /// Part of a topic or of a client id, in lower case.
    pub search: String,
    /// Those that this client published or did not get.
    pub client_id: Option<String>,
    /// Those that this client published, or of which that is not known.
    pub publisher: Option<String>,
    /// Those to this topic.
    pub topic: Option<String>,
    /// Those to topics that this filter matches.
    pub filter: Option<String>,
    /// Those of this reason.
    pub why: Option<Why>,
    /// None of QoS 0 messages for clients that are away: nobody promised these.
    pub leaves_out_away: bool,
    /// Those behind this one: older ones.
    pub after: Option<DropKey>,
    /// How many at most.
    pub count_max: usize,
}

/// Which loss it is; ordered from the newest to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropKey {
    /// When.
    pub at: Time,
    /// Where.
    pub shard: ShardId,
    /// Its number there.
    pub number: u64,
}

/// A loss, as a list shows it; ordered by its key.
#[derive(Clone, Debug)]
pub struct DropRow {
    /// Which.
    pub key: DropKey,
    /// What is known of it.
    pub dropped: Dropped,
}

impl Shard {
    /// What this shard lost last: a part of it, and where to go on.
    pub fn look_at_drops(&self, from: Place, query: &DropQuery) -> Seen<DropRow> {
        let mut least = Least::new(query.count_max);
        let (mut matching, drops) = (0, &self.witness.drops);
        for dropped in drops.newest_first().skip(from.slot).take(VISITS_MAX) {
            if !query.is_meant(dropped) {
                continue;
            }
            matching += 1;
            let key = DropKey { at: dropped.at, shard: self.id, number: dropped.number };
            if query.after.is_none_or(|after| key > after) {
                least.offer(DropRow { key, dropped: dropped.clone() });
            }
        }
        let slot = from.slot + VISITS_MAX;
        let next = (slot < drops.len()).then_some(Place { slot, offset: 0 });
        Seen { rows: least.into_sorted(), matching, next }
    }
}

impl DropQuery {
    fn is_meant(&self, dropped: &Dropped) -> bool {
        let clients = [dropped.publisher.as_deref(), dropped.receiver.as_deref()];
        let has_name = |name: &str| clients.iter().flatten().any(|client| *client == name);
        let matches = |filter: &String| {
            TopicFilter::new(filter).is_ok_and(|filter| filter.matches(&dropped.topic))
        };
        let may_be_of = |name: &str| clients[0].is_none_or(|publisher| publisher == name);
        self.publisher.as_deref().is_none_or(may_be_of)
            && self.topic.as_deref().is_none_or(|topic| *dropped.topic == *topic)
            && self.why.is_none_or(|why| why == dropped.why)
            && !(self.leaves_out_away && dropped.why == Why::Away)
            && self.client_id.as_deref().is_none_or(has_name)
            && self.filter.as_ref().is_none_or(matches)
            && (has(&dropped.topic, &self.search)
                || clients.iter().flatten().any(|client| has(client, &self.search)))
    }
}

impl Ord for DropKey {
    fn cmp(&self, other: &DropKey) -> Ordering {
        let newest_first = |key: &DropKey| (Reverse(key.at), key.shard, Reverse(key.number));
        newest_first(self).cmp(&newest_first(other))
    }
}

impl PartialOrd for DropKey {
    fn partial_cmp(&self, other: &DropKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

ordered_by!(DropRow, |row| row.key);

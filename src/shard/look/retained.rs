//! Retained messages.

use std::sync::Arc;

use super::{Least, Place, Seen, VISITS_MAX, has};
use crate::message::Message;
use crate::proto::TopicFilter;
use crate::shard::Shard;
use crate::time::Time;

/// Which retained messages are asked for.
#[derive(Clone, Debug, Default)]
pub struct RetainedQuery {
    /// A legal topic filter that matches their topics; empty: all.
    pub filter: String,
    /// Part of a topic, in lower case.
    pub search: String,
    /// Those behind this topic.
    pub after: Option<String>,
    /// How many at most.
    pub count_max: usize,
}

/// A retained message; ordered by its topic.
#[derive(Clone, Debug)]
pub struct RetainedRow(pub Arc<Message>);

impl Shard {
    /// Retained messages that live here: a part of them, and where to go on.
    pub fn look_at_retained(
        &self,
        now: Time,
        from: Place,
        query: &RetainedQuery,
    ) -> Seen<RetainedRow> {
        let mut least = Least::new(query.count_max);
        let mut matching = 0;
        let (store, end) = (&self.retention.store, from.slot + VISITS_MAX);
        let filter = Some(query.filter.as_str()).filter(|filter| !filter.is_empty());
        let filter = filter.map(TopicFilter::from_checked);
        for retained in store.part(from.slot..end) {
            let (message, topic) = (&retained.message, retained.message.topic());
            let is_meant = filter.as_ref().is_none_or(|filter| filter.matches(topic));
            if message.expires > now && is_meant && has(topic, &query.search) {
                matching += 1;
                if query.after.as_ref().is_none_or(|after| topic > &**after) {
                    least.offer(RetainedRow(Arc::clone(message)));
                }
            }
        }
        let next = (end < store.parts()).then_some(Place { slot: end, offset: 0 });
        Seen { rows: least.into_sorted(), matching, next }
    }

    /// The retained message of a topic, if it lives here.
    pub fn look_at_retained_of(&self, now: Time, topic: &str) -> Option<Arc<Message>> {
        let retained = self.retention.store.get(topic)?;
        (retained.message.expires > now).then(|| Arc::clone(&retained.message))
    }
}

ordered_by!(RetainedRow, |row| row.0.topic());

//! Subscriptions of sessions, and who gets what is published to a topic.

use std::sync::Arc;

use super::{ClientRow, Least, Place, Seen, VISITS_MAX, has};
use crate::proto::QoS;
use crate::session::Subscription;
use crate::shard::{MemberId, Shard};

/// Which subscriptions are asked for.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionQuery {
    /// Part of a filter or of a client id, in lower case.
    pub search: String,
    /// Those behind this one.
    pub after: Option<SubscriptionKey>,
    /// How many at most.
    pub count_max: usize,
    /// Those of this session alone; absent: all.
    pub session: Option<Place>,
}

/// A subscription by its names; ordered by client id and filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriptionKey {
    /// Whose.
    pub client_id: Arc<str>,
    /// As the client wrote it.
    pub filter: Arc<str>,
}

/// A subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionRow {
    /// Whose, and to what.
    pub key: SubscriptionKey,
    /// As granted.
    pub subscription: Subscription,
}

/// Who gets what is published to a topic.
#[derive(Clone, Debug)]
pub enum Subscribed {
    /// A session of this shard.
    Client {
        /// Whose.
        client: Box<ClientRow>,
        /// By which filter.
        filter: String,
        /// At which QoS at most.
        qos: QoS,
        /// Whether what it publishes itself is left out.
        no_local: bool,
    },
    /// A shared group that lives on this shard: one of its members.
    Group {
        /// `$share/{group}/{filter}`.
        name: Arc<str>,
        /// Its members, with the QoS of each and whether it takes messages now.
        members: Vec<(MemberId, QoS, bool)>,
        /// Messages that wait for a member.
        queued: usize,
    },
}

impl Shard {
    /// Subscriptions of this shard's sessions: a part of them, and where to go on.
    pub fn look_at_subscriptions(
        &self,
        from: Place,
        query: &SubscriptionQuery,
    ) -> Seen<SubscriptionRow> {
        let mut least = Least::new(query.count_max);
        let (mut matching, mut visits, mut place) = (0, 0, query.session.unwrap_or(from));
        place.offset = from.offset;
        let end = match query.session {
            Some(session) => self.sessions.slots().min(session.slot + 1),
            None => self.sessions.slots(),
        };
        while place.slot < end && visits < VISITS_MAX {
            let key = self.sessions.key_at(place.slot as u32);
            let seat = key.and_then(|key| self.sessions.get(key));
            let subscriptions = seat.map(|seat| &seat.session.subscriptions);
            let count = subscriptions.map_or(0, |subscriptions| subscriptions.len());
            let room = VISITS_MAX - visits;
            for (seat, (filter, subscription)) in seat.into_iter().flat_map(|seat| {
                let part = seat.session.subscriptions.iter().skip(place.offset).take(room);
                part.map(move |entry| (seat, entry))
            }) {
                let client_id = &seat.session.client_id;
                if !has(filter, &query.search) && !has(client_id, &query.search) {
                    continue;
                }
                matching += 1;
                let is_behind = query.after.as_ref().is_none_or(|after| {
                    (&**client_id, &**filter) > (&*after.client_id, &*after.filter)
                });
                if is_behind {
                    let key = SubscriptionKey {
                        client_id: Arc::clone(client_id),
                        filter: Arc::clone(filter),
                    };
                    least.offer(SubscriptionRow { key, subscription: *subscription });
                }
            }
            let left = count.saturating_sub(place.offset);
            visits += 1 + left.min(room);
            place = match left > room {
                true => Place { slot: place.slot, offset: place.offset + room },
                false => Place { slot: place.slot + 1, offset: 0 },
            };
        }
        let next = (place.slot < end).then_some(place);
        Seen { rows: least.into_sorted(), matching, next }
    }

    /// Who of this shard gets what is published to a topic, `count_max` of them at most, and how
    /// many there are.
    pub fn look_at_topic(&self, topic: &str, count_max: usize) -> (Vec<Subscribed>, usize) {
        let (mut found, mut count) = (Vec::new(), 0);
        self.tree.for_each_named_match(topic, |filter, entry| {
            count += entry.subscribers.len() + entry.groups.len();
            let room = count_max.saturating_sub(found.len());
            found.extend(entry.subscribers.iter().take(room).filter_map(|subscriber| {
                let key = self.sessions.key_at(subscriber.session().0)?;
                let client = Box::new(self.client_row(self.sessions.get(key)?));
                let (filter, qos) = (filter.to_owned(), subscriber.qos());
                let no_local = subscriber.no_local();
                Some(Subscribed::Client { client, filter, qos, no_local })
            }));
            let room = count_max.saturating_sub(found.len());
            let groups = entry.groups.iter().take(room);
            found.extend(groups.filter_map(|group| self.look_at_group(*group, count_max)));
        });
        (found, count)
    }

    /// Members of groups whose sessions live here.
    pub fn look_at_members(&self, members: &[MemberId]) -> Vec<(MemberId, ClientRow)> {
        let here = members.iter().filter(|member| member.shard == self.id);
        let row = |member: &MemberId| {
            Some((*member, self.client_row(self.sessions.get(member.session)?)))
        };
        here.filter_map(row).collect()
    }
}

ordered_by!(SubscriptionRow, |row| &row.key);

//! At rest: everything owed has arrived, and nothing is held that nobody has.

use std::collections::{BTreeMap, BTreeSet};

use super::Oracle;
use super::message::{Fate, Message, MessageId, Tick, matches};
use super::reasons::{certain_qos, groups_of, possibly_plain};
use super::session::FilterKey;

impl Oracle {
    /// Nothing is in flight any more, and every client is connected: what was sent at QoS 0 on a
    /// link that lives has been routed, wills that were due have been published.
    pub(in crate::sim) fn settle(&mut self) {
        let tick = self.step();
        self.settle_wills(tick);
        for message in &mut self.messages {
            let alive = self.links[message.link].ended.is_none();
            if alive && message.will_of.is_none() && message.qos == 0 && message.fate == Fate::Open
            {
                message.fate = Fate::Kept(tick);
            }
            if message.fate != Fate::Open {
                message.over.get_or_insert(tick);
            }
        }
        let open = self
            .messages
            .iter()
            .position(|m| m.fate == Fate::Open && m.will_of.is_none() && m.sends > 0);
        if let Some(id) = open {
            self.violate(format!("all is quiet and m{id} was never acknowledged to its publisher"));
        }
    }

    /// Every message that was kept has reached every session that surely had it routed to it.
    /// Those of QoS 0 may be dropped under load; `calm_since` tells from when on they may not.
    pub(in crate::sim) fn judge_owed(&mut self, calm_since: Option<Tick>) {
        for id in 0..self.messages.len() {
            let message = self.messages[id].clone();
            let Some(kept) = message.kept() else { continue };
            if message.is_clear() || message.expiry.is_some() || self.rules.lossy {
                continue;
            }
            let calm = calm_since.is_some_and(|calm| message.first_sent > calm);
            self.judge_owed_to_sessions(id, &message, kept, calm);
            if message.qos > 0 || calm {
                self.judge_owed_to_groups(id, &message, kept);
            }
        }
    }

    /// Who subscribed and asked for retained messages knows the last one of every topic, whether
    /// it was told as a retained one or live.
    pub(in crate::sim) fn judge_known_values(&mut self) {
        if self.rules.lossy || self.rules.damage {
            return;
        }
        for (topic, ids) in self.retained_by_topic() {
            let [last] = self.last_values(&ids)[..] else { continue };
            let message = self.messages[last].clone();
            if message.kept().is_none() || message.is_clear() || message.expiry.is_some() {
                continue;
            }
            for session in 0..self.sessions.len() {
                self.judge_known_value(session, last, &message, &topic);
            }
        }
    }

    fn judge_known_value(&mut self, index: usize, id: MessageId, message: &Message, topic: &str) {
        let session = &self.sessions[index];
        let own = session.client == message.publisher;
        let told = session.holdings.iter().any(|holding| {
            // What was asked for and not sent before a crash is not sent after it.
            let asked = holding.versions.iter().any(|o| {
                o.retain_handling == 0 && o.sure.is_some() && Some(o.asked) > self.crashed_at
            });
            let least = holding.versions.iter().map(|o| o.qos).min().unwrap_or(0);
            asked
                && holding.key.group.is_none()
                && matches(&holding.key.filter, topic)
                && holding.leaving.is_none()
                && least.min(message.qos) > 0
                && !(own && holding.versions.iter().any(|o| o.no_local))
        });
        let known = session.copies.get(&id).is_some_and(|copies| copies.total() > 0);
        if told && session.gone.is_none() && !known && !self.is_too_big(index, message) {
            let name = self.name_of(index);
            self.violate(format!("m{id} is retained on {topic:?} and {name} was never told"));
        }
    }

    fn judge_owed_to_sessions(&mut self, id: MessageId, message: &Message, kept: Tick, calm: bool) {
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            let own = session.client == message.publisher;
            let granted = certain_qos(session, &message.topic, own, message.first_sent, kept);
            let Some(granted) = granted.filter(|_| session.gone.is_none()) else { continue };
            if (granted.min(message.qos) == 0 && !calm) || self.is_too_big(index, message) {
                continue;
            }
            self.seen.owed += 1;
            if self.sessions[index].copies.get(&id).is_none_or(|copies| copies.total() == 0) {
                let (name, publisher) =
                    (self.name_of(index), &self.clients[message.publisher].name);
                let sentence = format!(
                    "m{id} of {publisher} on {:?} at QoS {} never reached {name}",
                    message.topic, message.qos
                );
                self.violate(sentence);
            }
        }
    }

    /// Whether the receiver's limit, on any of its connections, may forbid the packet; properties
    /// are estimated. [MQTT-3.1.2-25]
    fn is_too_big(&self, session: usize, message: &Message) -> bool {
        let links = self.links.0.values().filter(|link| link.session == Some(session));
        let maximum = links.filter_map(|link| link.packet_bytes_max).min();
        let payload = super::payload_of(0, message.body).len() + 8;
        maximum.is_some_and(|maximum| payload + message.topic.len() + 90 > maximum as usize)
    }

    /// Each group has given the message to exactly one of its members. [MQTT-4.8.2-4, -5, -6]
    fn judge_owed_to_groups(&mut self, id: MessageId, message: &Message, kept: Tick) {
        let mut groups = BTreeSet::new();
        for session in &self.sessions {
            groups.extend(groups_of(session, &message.topic).map(|(key, _)| key.clone()));
        }
        for group in groups {
            self.judge_owed_to_group(id, message, kept, &group);
        }
    }

    fn judge_owed_to_group(
        &mut self,
        id: MessageId,
        message: &Message,
        kept: Tick,
        group: &FilterKey,
    ) {
        let (from, to) = (message.first_sent, message.routed_before());
        let (mut copies, mut live) = (0, 0);
        let (mut stays, mut excused, mut left, mut away) = (false, false, false, false);
        let mut least = Some(message.qos);
        for (index, session) in self.sessions.iter().enumerate() {
            let held = session.holdings.iter().filter(|h| h.key == *group);
            let members =
                held.filter(|h| h.gone.is_none_or(|gone| gone >= from)).collect::<Vec<_>>();
            if members.is_empty() {
                continue;
            }
            copies += session.copies.get(&id).map_or(0, |copies| copies.total());
            // With the retain flag they may be answers to a SUBSCRIBE of another filter.
            live += session.copies.get(&id).map_or(0, |copies| copies.live);
            stays |= members.iter().any(|h| h.certain(from, kept) && h.certain(kept, self.tick));
            left |= session.gone.is_some() || members.iter().any(|h| h.leaving.is_some());
            away |= self.was_away(index, from);
            least = least.min(members.iter().flat_map(|h| &h.versions).map(|o| o.qos).min());
            excused |= possibly_plain(session, &message.topic, from, to)
                || groups_of(session, &message.topic).any(|(key, _)| key != group)
                || self.is_too_big(index, message)
                || members.iter().any(|h| h.versions.iter().any(|options| options.qos == 0));
        }
        if excused {
            return;
        }
        // A QoS 2 message whose receiver's session ended is not given to another.
        let lost = message.qos == 2 && left;
        if stays && !lost && copies == 0 {
            self.violate(format!("m{id} never reached a member of {}", group.text()));
        }
        // Which member had a message of a group does not outlive the broker.
        let repeated = least == Some(1) && (left || away || message.sends > 1)
            || self.crashed_at > Some(message.first_sent);
        if live > 1 && !repeated {
            self.violate(format!("m{id} reached {live} members of {}", group.text()));
        }
    }

    /// Whether a connection of the session ended since: what it had not acknowledged may have been
    /// given to another member, or to the same one anew.
    pub(super) fn was_away(&self, session: usize, since: Tick) -> bool {
        self.links.0.values().any(|link| {
            link.session == Some(session) && link.ended.is_some_and(|(tick, _)| tick >= since)
        })
    }

    /// A client that has just subscribed to everything, all being quiet, has been sent exactly
    /// the last retained message of every topic; the answer is how many there are, at least and
    /// at most.
    pub(in crate::sim) fn judge_last_values(&mut self, client: usize) -> (u64, u64) {
        let Some(session) = self.clients[client].session else { return (0, u64::MAX) };
        if self.rules.damage {
            return (0, u64::MAX);
        }
        let (mut least, mut most) = (0, 0);
        for (topic, ids) in self.retained_by_topic() {
            let last = self.last_values(&ids);
            let copies = &self.sessions[session].copies;
            let got: Vec<MessageId> = ids
                .into_iter()
                .filter(|id| copies.get(id).is_some_and(|c| c.flagged > 0))
                .collect();
            let certain = last.iter().any(|&id| self.messages[id].kept().is_some());
            let absent = |&id: &MessageId| {
                self.messages[id].is_clear() || self.messages[id].expiry.is_some()
            };
            let may_be_absent = !certain || last.iter().any(absent);
            let may_be_dropped = self.rules.lossy;
            least += u64::from(!may_be_absent);
            most += u64::from(!last.iter().all(|&id| self.messages[id].is_clear()));
            match got[..] {
                [] if may_be_absent || may_be_dropped => {}
                [id] if last.contains(&id) => {}
                _ => self.violate(format!(
                    "{topic:?} should retain one of {last:?}, a new subscriber got {got:?}"
                )),
            }
        }
        (least, most)
    }

    fn retained_by_topic(&self) -> BTreeMap<String, Vec<MessageId>> {
        let mut topics: BTreeMap<String, Vec<MessageId>> = BTreeMap::new();
        for (id, message) in self.messages.iter().enumerate() {
            let sent = message.sends > 0 || message.will_of.is_some();
            // What one shard had no room for another may have retained.
            let taken = message.fate != Fate::Refused || self.rules.disk_fills;
            if message.retain && sent && taken {
                topics.entry(message.topic.clone()).or_default().push(id);
            }
        }
        topics
    }

    /// Those that may be the last: no other was surely kept after them.
    fn last_values(&self, ids: &[MessageId]) -> Vec<MessageId> {
        let replaced = |&id: &MessageId| {
            ids.iter().any(|&other| {
                let other = &self.messages[other];
                other.kept().is_some() && self.messages[id].is_before(other)
            })
        };
        ids.iter().copied().filter(|id| !replaced(id)).collect()
    }

    /// How many sessions of accountable clients there are at least and at most, and how many
    /// subscriptions they hold at least and at most.
    pub(in crate::sim) fn expected_sessions(&self) -> ((u64, u64), (u64, u64)) {
        let (mut sessions, mut subscriptions) = ((0, 0), (0, 0));
        for session in self.sessions.iter().filter(|session| session.gone.is_none()) {
            let (first, last) = session.ends();
            let last = last.saturating_add(self.rules.late_us);
            sessions.0 += u64::from(self.now < first);
            sessions.1 += u64::from(self.now <= last);
            let open = session.holdings.iter().filter(|h| h.gone.is_none());
            let keys: BTreeSet<&FilterKey> = open.clone().map(|h| &h.key).collect();
            let sure = open.filter(|h| h.sure.is_some() && h.leaving.is_none());
            let sure: BTreeSet<&FilterKey> = sure.map(|h| &h.key).collect();
            subscriptions.0 += if self.now < first { sure.len() as u64 } else { 0 };
            subscriptions.1 += if self.now <= last { keys.len() as u64 } else { 0 };
        }
        (sessions, subscriptions)
    }

    /// Where in the account the present is.
    pub(in crate::sim) fn tick(&self) -> Tick {
        self.tick
    }
}

//! A PUBLISH reached a client: is it one it may get, and in this form?

use super::message::{Message, MessageId, Received, Tick, matches, number_of, payload_of};
use super::reasons::Reasons;
use super::session::{Content, Flight, Options, Stage};
use super::{Oracle, Protocol};
use crate::sim::wire::Publish;

impl Oracle {
    /// A PUBLISH reached a client; its topic alias is resolved. `written_at` is when the broker
    /// wrote it.
    pub(in crate::sim) fn received(&mut self, link: usize, publish: &Publish, written_at: u64) {
        let tick = self.step();
        self.seen.delivered[usize::from(publish.qos)] += 1;
        let Some(session) = self.links[link].session else {
            self.violate("a PUBLISH came before CONNACK");
            return;
        };
        let Some(content) = self.identify(publish) else { return };
        let is_new = publish.qos == 0 || self.take_flight(session, link, publish, &content);
        if !is_new {
            self.seen.retransmitted += 1;
            return;
        }
        match content {
            Content::Message(id) => self.judge(session, id, publish, written_at),
            Content::Clear(topic) => self.judge_clear(session, &topic, publish, tick),
            Content::Foreign => {}
        }
    }

    /// Which message it is: payload, topic and properties must be those that were published.
    fn identify(&mut self, publish: &Publish) -> Option<Content> {
        if publish.payload.is_empty() {
            return Some(Content::Clear(publish.topic.clone()));
        }
        let known = number_of(&publish.payload).filter(|&id| id < self.messages.len());
        let known = known.filter(|&id| {
            let message = &self.messages[id];
            publish.payload == payload_of(id, message.body) && publish.topic == message.topic
        });
        match known {
            Some(id) => Some(Content::Message(id)),
            None if self.rules.strangers => Some(Content::Foreign),
            None => {
                let start =
                    String::from_utf8_lossy(&publish.payload[..publish.payload.len().min(12)]);
                let topic = &publish.topic;
                self.violate(format!("{start:?} on {topic:?} was delivered and never published"));
                None
            }
        }
    }

    /// Accounts for the packet identifier; whether this is not a retransmission.
    fn take_flight(
        &mut self,
        session: usize,
        link: usize,
        publish: &Publish,
        content: &Content,
    ) -> bool {
        let Publish { packet_id, dup, qos, .. } = *publish;
        self.take_window(link);
        let resumed = self.links[link].resumed;
        self.require(!dup || resumed, || {
            format!("packet {packet_id} has DUP on a connection that resumed nothing")
        });
        let revocable = self.comes_by_a_group(session, publish);
        let flights = &mut self.sessions[session].flights;
        let content_here = content.clone();
        let next = Flight { content: content_here, qos, link, stage: Stage::Received, revocable };
        let Some(last) = flights.insert(packet_id, next) else { return true };
        let open = last.stage != Stage::Done;
        let same = last.content == *content && last.qos == qos;
        let may_repeat = last.link != link && !(qos == 2 && last.stage != Stage::Received);
        if dup && same && may_repeat {
            return false;
        }
        let given_away = last.revocable && last.link != link;
        self.require(!open || given_away, || {
            format!(
                "packet identifier {packet_id} was used for {content:?} (dup {dup}) while in use \
                 for {:?}",
                last.content
            )
        });
        self.require(!dup || last.link != link, || {
            format!("packet {packet_id} has DUP and is the first on its connection")
        });
        true
    }

    /// [MQTT-3.3.4-9]
    fn take_window(&mut self, link: usize) {
        let record = &mut self.links[link];
        record.open += 1;
        let (open, maximum, client) = (record.open, record.receive_maximum, record.client);
        let name = &self.clients[client].name;
        let sentence = format!("{name} takes {maximum} messages unacknowledged and got {open}");
        self.require(open <= maximum, || sentence);
    }

    fn comes_by_a_group(&self, session: usize, publish: &Publish) -> bool {
        let holdings = &self.sessions[session].holdings;
        holdings.iter().any(|h| h.key.group.is_some() && matches(&h.key.filter, &publish.topic))
    }

    /// A message that the client sees for the first time under this packet identifier.
    fn judge(&mut self, session: usize, id: MessageId, publish: &Publish, written_at: u64) {
        let reasons = self.reasons(session, id);
        if let Some(link) = self.messages[id].will_of {
            self.judge_will(id, link, written_at);
        }
        self.judge_form(session, id, publish);
        // One that was begun to be sent in time may be sent again later.
        if !publish.dup {
            self.judge_expiry(id, publish, written_at);
        }
        self.judge_size(session, publish);
        if publish.retain {
            self.judge_flagged(session, id, publish, &reasons);
        } else {
            self.judge_live(session, id, publish, &reasons);
        }
    }

    /// Properties, subscription identifiers aside, are handed on unaltered. [MQTT-3.3.2-4, -15 ...]
    fn judge_form(&mut self, session: usize, id: MessageId, publish: &Publish) {
        let client = self.sessions[session].client;
        let message = &self.messages[id];
        if self.clients[client].protocol != Protocol::V5 {
            return;
        }
        let received = Received::from(&publish.properties);
        if received.forwarded != message.properties {
            let wanted = &message.properties;
            self.violate(format!(
                "m{id} was published with {wanted:?} and delivered with {:?}",
                received.forwarded
            ));
        }
    }

    /// A message that expired is not sent, and one that waited has less time left. [MQTT-3.3.2-5]
    fn judge_expiry(&mut self, id: MessageId, publish: &Publish, written_at: u64) {
        let Message { expiry, sent_at, sends, link, .. } = self.messages[id];
        // When the broker took it must be known: it was sent once, and read without a pause. What
        // follows a CONNACK that waits for room on the disk is sent with it, however late.
        let is_known = sends == 1 && !self.links[link].paused && !self.rules.disk_fills;
        let Some(expiry) = expiry.filter(|_| is_known) else { return };
        let slack = self.rules.stall_us;
        let deadline = sent_at + u64::from(expiry) * 1_000_000;
        self.require(written_at <= deadline + slack, || {
            format!("m{id} was sent after it had expired")
        });
        let Some(left) = Received::from(&publish.properties).expiry else { return };
        let age = written_at.saturating_sub(sent_at) / 1_000_000;
        let left_min = u64::from(expiry).saturating_sub(age + 2 + slack / 1_000_000);
        self.require((left_min..=u64::from(expiry)).contains(&u64::from(left)), || {
            format!("m{id} lives {expiry} s, is {age} s old and was delivered with {left} s left")
        });
    }

    /// [MQTT-3.1.2-24]
    fn judge_size(&mut self, session: usize, publish: &Publish) {
        let Some(maximum) = self.links[self.sessions[session].link].packet_bytes_max else {
            return;
        };
        let least = publish.payload.len() + 2;
        let name = self.name_of(session);
        self.require(least <= maximum as usize, || {
            format!("{name} takes packets of {maximum} bytes and got one of more than {least}")
        });
    }

    /// The retain flag is clear: somebody published it just now.
    fn judge_live(&mut self, session: usize, id: MessageId, publish: &Publish, reasons: &Reasons) {
        let live = {
            let copies = self.sessions[session].copies.entry(id).or_default();
            copies.live += 1;
            copies.live
        };
        let name = self.name_of(session);
        let retain = self.messages[id].retain;
        let again = self.may_come_again(session, id, reasons);
        // An earlier copy may have come by an earlier, lower grant.
        let qos_min = reasons.all_live().map(|options| options.qos).min().unwrap_or(publish.qos);
        let live_max = reasons.live_max(self.messages[id].routings_max(qos_min));
        self.require(live <= live_max || again, || {
            if live == 1 {
                format!("m{id} was delivered to {name}, who had no subscription for it")
            } else {
                format!("m{id} was delivered {live} times to {name}")
            }
        });
        let altered = retain && reasons.all_live().all(|options| options.retain_as_published);
        self.require(!altered || reasons.live_max(1) == 0, || {
            format!("m{id} lost its retain flag on the way to {name}")
        });
        self.judge_qos(session, id, publish, reasons.all_live(), reasons);
        self.judge_subscription_ids(session, id, publish, reasons);
        self.judge_order(session, id, publish, reasons);
        self.seen.shared += u64::from(!reasons.shared.is_empty());
        if retain && publish.qos > 0 && reasons.shared.is_empty() {
            let topic = publish.topic.clone();
            self.sessions[session].live_retained.entry(topic).or_default().insert(id);
        }
    }

    /// A group takes back what a member that went away had not acknowledged, and may give it to
    /// the same one when it returns. Which member had a message does not outlive a crash.
    fn may_come_again(&self, session: usize, id: MessageId, reasons: &Reasons) -> bool {
        let since = self.messages[id].first_sent;
        let published = self.messages[id].qos;
        let at_least_once = reasons.shared.iter().any(|o| o.qos.min(published) == 1);
        let crashed = !reasons.shared.is_empty() && self.crashed_at > Some(since);
        crashed || (at_least_once && self.was_away(session, since))
    }

    /// The retain flag is set: the answer to a SUBSCRIBE, or live to one who wants to see it.
    fn judge_flagged(
        &mut self,
        session: usize,
        id: MessageId,
        publish: &Publish,
        reasons: &Reasons,
    ) {
        let name = self.name_of(session);
        self.require(self.messages[id].retain, || {
            format!("m{id} reached {name} as retained and was not published so")
        });
        let flagged = {
            let copies = self.sessions[session].copies.entry(id).or_default();
            copies.flagged += 1;
            copies.flagged
        };
        let shows = reasons.all_live().any(|options| options.retain_as_published);
        let routings = self.messages[id].routings_max(publish.qos);
        let live_max = if shows { reasons.live_max(routings) } else { 0 };
        let questions = reasons.questions.len() as u32;
        let again = shows && self.may_come_again(session, id, reasons);
        self.require(flagged <= live_max + questions || again, || {
            format!("m{id} reached {name} {flagged} times as retained, asked {questions} times")
        });
        let options = reasons.all_live().chain(&reasons.answers);
        self.judge_qos(session, id, publish, options, &Reasons::default());
        if live_max == 0 {
            self.seen.retained += 1;
            self.judge_retained(session, id, publish, reasons);
        }
    }

    /// A retained message is the last of its topic, as far as the order of publications is known.
    fn judge_retained(
        &mut self,
        session: usize,
        id: MessageId,
        publish: &Publish,
        reasons: &Reasons,
    ) {
        let name = self.name_of(session);
        let first_asked = reasons.questions.iter().map(|options| options.asked).min();
        let newer = |&other: &MessageId| {
            let (message, other) = (&self.messages[id], &self.messages[other]);
            other.retain && other.topic == message.topic && message.is_before(other)
        };
        let replaced = (0..self.messages.len()).filter(newer).find(|&other| {
            let kept = self.messages[other].kept();
            kept.zip(first_asked).is_some_and(|(kept, asked)| kept < asked)
        });
        let live = self.sessions[session].live_retained.get(&publish.topic);
        // For want of room it may have been delivered and not retained.
        let once = |message: &Message| message.kept().is_some() && message.sends == 1;
        let stays = |id: &MessageId| !self.rules.disk_fills || once(&self.messages[*id]);
        let overtaken = live.into_iter().flatten().copied().filter(stays).find(newer);
        if let Some(other) = replaced {
            self.violate(format!("{name} asked after m{other} was kept and got m{id} as retained"));
        }
        if let Some(other) = overtaken {
            self.violate(format!("{name} got m{other} live and then the older m{id} as retained"));
        }
    }

    /// The lower of the QoS published and the greatest granted. [MQTT-3.8.4-8, 3.3.4-2]
    fn judge_qos<'a>(
        &mut self,
        session: usize,
        id: MessageId,
        publish: &Publish,
        options: impl Iterator<Item = &'a Options>,
        reasons: &Reasons,
    ) {
        let published = self.messages[id].qos;
        let granted: Vec<u8> = options.map(|options| options.qos.min(published)).collect();
        let highest = granted.iter().copied().max().unwrap_or(published);
        let certain = reasons.certain_qos.filter(|_| reasons.shared.is_empty());
        let lowest = match certain {
            Some(qos) => qos.min(published),
            None => granted.iter().copied().min().unwrap_or(0),
        };
        let name = self.name_of(session);
        self.require((lowest..=highest).contains(&publish.qos), || {
            format!(
                "m{id} reached {name} at QoS {} and not between {lowest} and {highest}",
                publish.qos
            )
        });
    }

    /// Every matching subscription that has an identifier is named, and no other.
    /// [MQTT-3.3.4-3, -4, -5]
    fn judge_subscription_ids(
        &mut self,
        session: usize,
        id: MessageId,
        publish: &Publish,
        reasons: &Reasons,
    ) {
        let named = Received::from(&publish.properties).subscription_ids;
        let name = self.name_of(session);
        for given in &named {
            let known = reasons.all_live().any(|options| options.subscription_id == Some(*given));
            self.require(known, || {
                format!("m{id} reached {name} for subscription {given}, which does not match it")
            });
        }
        if !reasons.shared.is_empty() {
            return;
        }
        for wanted in &reasons.certain_ids {
            self.require(named.contains(wanted), || {
                format!("m{id} reached {name} without subscription {wanted}, which matches it")
            });
        }
    }

    /// First deliveries keep the order of their publisher at each QoS. Those that were published
    /// before the subscription was sure may come late, by their second sending. [MQTT-4.6.0-6]
    fn judge_order(&mut self, session: usize, id: MessageId, publish: &Publish, reasons: &Reasons) {
        let message = &self.messages[id];
        let first = self.sessions[session].copies.get(&id).is_some_and(|c| c.total() == 1);
        let unsure = reasons.certain_qos.is_none() || !reasons.shared.is_empty();
        let may_be_lost = publish.qos == 0 || self.rules.lossy;
        // The first routing may have met a subscription of lower QoS and been lost, or expired.
        let raised = reasons.certain_qos.is_some_and(|qos| qos.min(message.qos) < publish.qos);
        let first_may_be_lost = may_be_lost || raised || message.expiry.is_some();
        // What was refused for want of room is taken later.
        let first_may_be_lost = first_may_be_lost || self.rules.disk_fills;
        let exempt = message.will_of.is_some() || (message.sends > 1 && first_may_be_lost);
        if !first || unsure || exempt {
            return;
        }
        let key = (message.publisher, message.qos, publish.qos);
        let last = self.sessions[session].latest.get(&key).copied();
        let (publisher, name) = (message.publisher, self.name_of(session));
        let overtaken = last.filter(|&last| self.messages[last].first_sent > message.first_sent);
        if let Some(last) = overtaken {
            let publisher = &self.clients[publisher].name;
            let sentence = format!(
                "{publisher} published m{id} before m{last} at QoS {}, {name} got it after",
                key.1
            );
            self.violate(sentence);
        }
        self.sessions[session].latest.insert(key, id);
    }

    /// An empty message names no publication: as many may come as can have been routed.
    fn judge_clear(&mut self, session: usize, topic: &str, publish: &Publish, tick: Tick) {
        let name = self.name_of(session);
        let clears = (0..self.messages.len())
            .filter(|&id| self.messages[id].is_clear() && self.messages[id].topic == topic);
        let mut live_max = 0;
        let mut shows = false;
        let mut again = false;
        for id in clears {
            let reasons = self.reasons(session, id);
            again |= self.may_come_again(session, id, &reasons);
            live_max += reasons.live_max(self.messages[id].routings_max(publish.qos));
            shows |= reasons.all_live().any(|options| options.retain_as_published);
        }
        if self.rules.damage {
            return;
        }
        self.require(!publish.retain || shows, || {
            format!("an empty message on {topic:?} reached {name} as retained")
        });
        let seen = self.sessions[session].clears.entry(topic.to_owned()).or_default();
        seen.push(tick);
        let count = seen.len();
        self.require(count <= live_max as usize || again, || {
            format!("{name} got {count} empty messages on {topic:?}, of {live_max} published")
        });
    }

    pub(super) fn name_of(&self, session: usize) -> String {
        self.clients[self.sessions[session].client].name.clone()
    }

    /// PUBREL reached a client.
    pub(in crate::sim) fn released(&mut self, link: usize, packet_id: u16) {
        self.step();
        let resumed = self.links[link].resumed;
        let Some(session) = self.links[link].session else { return };
        let flight = self.sessions[session].flights.get_mut(&packet_id);
        let known = flight.is_some_and(|flight| {
            let expected = flight.qos == 2 && flight.stage == Stage::Received;
            let repeated = flight.qos == 2 && flight.stage != Stage::Received && resumed;
            if expected {
                flight.stage = Stage::Released;
            }
            expected || repeated
        });
        self.require(known, || format!("PUBREL for packet {packet_id}, of which nothing is open"));
    }
}

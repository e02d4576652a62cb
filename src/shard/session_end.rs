//! How connections and sessions end: DISCONNECT, wills, expiry.

use std::sync::Arc;

use super::connection::Connection;
use super::effect::ConnectionId;
use super::presence::Presence;
use super::route::Origin;
use super::witness::Decision;
use super::{Key, Shard, ShardMessage, Timer};
use crate::proto::{Disconnect, QoS, ReasonCode, Version};
use crate::time::Time;

impl Shard {
    /// The client ends its connection on purpose.
    pub(super) fn handle_disconnect(
        &mut self,
        now: Time,
        id: ConnectionId,
        disconnect: &Disconnect<'_>,
    ) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let (key, granted) = (active.session, active.connect_expiry_interval);
        let most = active.limits.as_ref().map_or(u32::MAX, |limits| limits.session_expiry_s_max);
        if let Some(asked) = disconnect.session_expiry_interval {
            // [MQTT-3.14.2-2]: a session that was to end with its connection stays so.
            if granted == 0 && asked != 0 {
                return self.protocol_error(now, id, ReasonCode::ProtocolError);
            }
            let expiry_interval = asked.min(self.mqtt().session_expiry_s_max).min(most);
            if let Some(seat) = self.sessions.get_mut(key) {
                seat.session.expiry_interval = expiry_interval;
            }
        }
        // [MQTT-3.14.4-3]: only a normal disconnection discards the will.
        if disconnect.reason == ReasonCode::Success
            && let Some(seat) = self.sessions.get_mut(key)
        {
            seat.session.will = None;
        }
        self.end_connection(now, id, Some(disconnect.reason));
    }

    /// A connection is gone: its session is on its own.
    pub(super) fn connection_gone(
        &mut self,
        now: Time,
        connection: &mut Connection,
        why: Option<ReasonCode>,
    ) {
        self.metrics.connections_closed_total += 1;
        let peer = connection.peer.address;
        let Some(active) = connection.active_mut() else { return };
        let key = active.session;
        let Some(seat) = self.sessions.get_mut(key) else { return };
        debug_assert_eq!(seat.connection, Some(connection.id), "a session has one connection");
        seat.connection = None;
        seat.session.detached_at = Some(now);
        seat.session.inbound.shrink();
        if seat.is_kept() {
            self.journal.note_detached(now, seat);
        }
        match why {
            Some(reason) => {
                tracing::debug!(client_id = %seat.session.client_id, %peer, %reason, "disconnected");
            }
            None => {
                tracing::debug!(client_id = %seat.session.client_id, %peer, "connection lost");
            }
        }
        if self.policy.mqtt.presence_events {
            let client_id = Arc::clone(&seat.session.client_id);
            self.tell_presence(now, &client_id, connection, &Presence::Disconnected(why));
        }
        self.announce_presence(key, false);
        self.give_back_shares(key);
        self.check_session(now, key);
    }

    /// An operator wants a client gone.
    pub(super) fn handle_kick(&mut self, now: Time, client_id: &str, forget: bool) {
        let Some(&key) = self.session_by_client_id.get(client_id) else { return };
        if let Some(id) = self.sessions.get(key).and_then(|seat| seat.connection) {
            self.disconnect(now, id, ReasonCode::AdministrativeAction);
        }
        // The end of the connection may have ended the session.
        if forget && self.sessions.get(key).is_some() {
            self.end_session(now, key);
        }
    }

    /// Publishes a will that is due, ends a session that has expired, or sees to it later.
    pub(super) fn check_session(&mut self, now: Time, key: Key) {
        let Some(seat) = self.sessions.get(key) else { return };
        if seat.connection.is_some() {
            return;
        }
        // The answer comes back here.
        if seat.session.will_due_at() <= now && self.publish_will(now, key) {
            return;
        }
        let Some(seat) = self.sessions.get_mut(key) else { return };
        if seat.session.expires_at() <= now {
            self.metrics.sessions_expired_total += u64::from(seat.session.is_persistent());
            self.end_session(now, key);
            return;
        }
        let due_at = seat.session.due_at();
        if due_at != seat.armed_for || due_at <= now {
            seat.armed_for = due_at;
            self.arm(due_at, Timer::Session(key));
        }
    }

    /// Ends a session: its will is published, its subscriptions end, what it was owed is gone.
    /// [MQTT-3.1.2-8, 4.1.0-2]
    pub(super) fn end_session(&mut self, now: Time, key: Key) {
        self.publish_will(now, key);
        self.give_back_shares(key);
        let Some(seat) = self.sessions.get(key) else { return };
        debug_assert!(seat.connection.is_none(), "a connected session does not end");
        // What only this client could complete goes to nobody. [MQTT-4.8.2-5]
        for share in seat.session.outbox.inflight.shares().cloned().collect::<Vec<_>>() {
            self.share_done(key, Some(&share));
        }
        let Some(seat) = self.sessions.get(key) else { return };
        let mut filters: Vec<_> = seat.session.subscriptions.keys().cloned().collect();
        filters.sort_unstable();
        for filter in filters {
            self.remove_subscription(key, &filter);
        }
        self.witness_end(now, key);
        if let Some(mut seat) = self.sessions.remove(key) {
            self.session_by_client_id.remove(&seat.session.client_id);
            self.forget_session(now, &seat);
            self.inflight_count -= seat.session.outbox.inflight.len();
            for delivery in seat.session.outbox.drain(&mut self.queue_memory) {
                self.journal.release(&delivery.body);
            }
        }
    }

    /// What the session was owed goes with it.
    fn witness_end(&mut self, now: Time, key: Key) {
        if self.witness.traces.is_on() {
            self.trace_session(now, key, Decision::SessionEnded, "");
        }
        let Some(seat) = self.sessions.get(key) else { return };
        let outbox = &seat.session.outbox;
        let owed = outbox.queued() + outbox.inflight.len();
        if owed > 0 {
            let detail = Some(format!("{owed} messages that it was owed").into());
            let bytes = outbox.queued_bytes() as usize;
            self.lose_owed(key, bytes, detail);
        }
    }

    /// Who publishes, for those who choose or exclude by it.
    pub(super) fn origin(&self, key: Key) -> Origin {
        let hash = match self.sessions.get(key) {
            Some(seat)
                if self.mqtt().share_strategy == crate::config::ShareStrategy::HashClient =>
            {
                self.placement.hash_one(&*seat.session.client_id)
            }
            _ => 0,
        };
        Origin { session: Some(key.index), hash }
    }

    /// Gives the shared groups' messages back that the client has not begun to own: all but the
    /// QoS 2 messages in flight, which only this client may complete. [MQTT-4.8.2-4, -5]
    fn give_back_shares(&mut self, key: Key) {
        let Some(seat) = self.sessions.get_mut(key) else { return };
        if seat.shares == 0 && seat.session.outbox.waiting().all(|d| d.share.is_none()) {
            let mut inflight = seat.session.outbox.inflight.deliveries();
            if inflight.all(|delivery| delivery.share.is_none()) {
                return;
            }
        }
        let outbox = &mut seat.session.outbox;
        let mut returned = outbox
            .inflight
            .take_back(|delivery| delivery.share.is_some() && delivery.qos < QoS::ExactlyOnce);
        self.inflight_count -= returned.len();
        let memory = &mut self.queue_memory;
        returned.extend(outbox.take_back(memory, |delivery| delivery.share.is_some()));
        for delivery in returned {
            self.return_share(key, delivery);
        }
    }

    /// Tells the groups a session is a member of whether its client is there.
    pub(super) fn announce_presence(&mut self, key: Key, there: bool) {
        let Some(seat) = self.sessions.get(key) else { return };
        if seat.shares == 0 {
            return;
        }
        let window = match seat.connection {
            Some(id) if there => self.share_window(id),
            _ => 0,
        };
        let Some(seat) = self.sessions.get(key) else { return };
        let mut groups: Vec<_> = seat
            .session
            .subscriptions
            .keys()
            .filter(|filter| super::share::is_share(filter))
            .cloned()
            .collect();
        groups.sort_unstable();
        let member = self.member_id(key);
        let name = if there { self.name_of(key) } else { None };
        for group in groups {
            let to = self.place(&group);
            let name = name.clone();
            self.send(to, ShardMessage::SharePresence { group, member, window, name });
        }
    }

    /// QoS 1 and 2 messages of shared groups that a connection takes unacknowledged.
    pub(super) fn share_window(&mut self, id: ConnectionId) -> u16 {
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let window = active.map_or(0, |active| active.window);
        window.min(self.mqtt().share_inflight_messages_max)
    }

    /// Whether a session speaks 5.0 on its present connection.
    pub(super) fn speaks_v5(&self, id: ConnectionId) -> bool {
        self.connections.get(id).and_then(|c| c.version()) == Some(Version::V5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Connect, PublishProperties, TopicName, Will};
    use crate::shard::Input;
    use crate::shard::fixture::{self, NOW};

    #[test]
    fn what_is_due_when_a_client_comes_back_is_done_before_its_timer_fires() {
        // [MQTT-3.1.2-8] [MQTT-4.1.0-2]
        const DELAY_S: u32 = 5;
        let lost_at = Time::from_micros(NOW.as_micros() + 1);
        let due_at = lost_at.after_seconds(DELAY_S);
        let too_soon = Time::from_micros(due_at.as_micros() - 1);
        for (expiry_interval, back_at, wills, expired) in [
            (100, too_soon, 0, 0),
            (100, due_at, 1, 0),
            (DELAY_S, too_soon, 0, 0),
            (DELAY_S, due_at, 1, 1),
        ] {
            let mut shard = fixture::shard(1, None);
            let connection = |generation| ConnectionId { slot: 0, generation };
            let will = Will {
                topic: TopicName::new("left").expect("a topic name"),
                qos: QoS::AtMostOnce,
                retain: false,
                delay_interval: DELAY_S,
                properties: PublishProperties::default(),
                payload: b"gone",
            };
            let connect = Connect::new(Version::V5, "client");
            let session_expiry_interval = Some(expiry_interval);
            let connect = Connect { clean_start: false, session_expiry_interval, ..connect };
            let leaves = Connect { will: Some(will), ..connect.clone() };
            fixture::connect(&mut shard, connection(1), &leaves, &[]);
            shard.handle(lost_at, Input::Closed { connection: connection(1) });
            assert!(shard.poll_timeout().is_some_and(|fires_at| fires_at > back_at));
            fixture::connect_at(back_at, &mut shard, connection(2), &connect, &[]);
            let metrics = shard.metrics();
            let done = (metrics.wills_published_total, metrics.sessions_expired_total);
            assert_eq!(done, (wills, expired), "{expiry_interval} {back_at:?}");
        }
    }
}

//! What a client may do, by the rules.

use std::sync::Arc;

use super::Shard;
use super::effect::ConnectionId;
use crate::auth::{Actor, Grants, Identity, Rates};
use crate::proto::{Connect, Publish, QoS};
use crate::time::Time;

impl Shard {
    /// What the rules come to for a client, nothing if there is none, and how much it may send.
    pub(super) fn grants(
        &self,
        id: ConnectionId,
        identity: Option<&Identity>,
        client_id: &str,
    ) -> (Option<Box<Grants>>, Rates) {
        let own = identity.map(|identity| &identity.rules).filter(|rules| !rules.is_empty());
        let connection = self.connections.get(id).filter(|_| !self.is_local(id));
        let Some(connection) = connection else { return (None, Rates::default()) };
        let (peer, certificate) = (&connection.peer, connection.certificate.as_deref());
        let listener = self.policy.listeners.get(usize::from(peer.listener.index));
        let actor = Actor {
            user: identity.and_then(|identity| identity.user.as_deref()),
            groups: identity.map_or(&[], |identity| &identity.groups),
            client_id,
            address: peer.address.ip(),
            listener: listener.map_or("", |listener| &listener.name),
            common_name: certificate.and_then(|names| names.common_name.as_deref()),
        };
        let rates = self.policy.rules.rates(actor);
        if self.policy.rules.is_empty() && own.is_none() {
            return (None, rates);
        }
        let mut grants = self.policy.rules.grants(actor);
        if let Some(own) = own {
            grants.join(own.grants(actor));
        }
        (Some(Box::new(grants)), rates)
    }

    /// Whether the will of a CONNECT may be published.
    pub(super) fn may_leave_will(grants: Option<&Grants>, connect: &Connect<'_>) -> bool {
        let Some((grants, will)) = grants.zip(connect.will.as_ref()) else { return true };
        grants.may_publish(will.topic.as_str(), will.qos, will.retain)
    }

    /// Whether a client may publish a message.
    pub(super) fn may_publish(
        &mut self,
        id: ConnectionId,
        topic: &str,
        publish: &Publish<'_>,
    ) -> bool {
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let grants = active.and_then(|active| active.grants.as_deref());
        grants.is_none_or(|grants| grants.may_publish(topic, publish.qos, publish.retain))
    }

    /// The QoS at which a client may subscribe, at most; nothing if it may not.
    pub(super) fn may_subscribe(&mut self, id: ConnectionId, filter: &str) -> Option<QoS> {
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        match active.and_then(|active| active.grants.as_deref()) {
            None => Some(QoS::ExactlyOnce),
            Some(grants) => grants.may_subscribe(filter),
        }
    }

    /// The rules changed: what clients may no longer subscribe to ends.
    pub(super) fn judge_all(&mut self, now: Time) {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let Some(active) = connection.active_mut() else { continue };
            let (key, identity) = (active.session, active.identity.clone());
            let Some(seat) = self.sessions.get(key) else { continue };
            let client_id = Arc::clone(&seat.session.client_id);
            let (grants, rates) = self.grants(id, identity.as_deref(), &client_id);
            if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
                active.grants = grants;
            }
            self.pace(id, rates);
            self.judge_subscriptions(now, id);
        }
    }

    /// Ends the subscriptions of a client that the rules do not allow any more.
    pub(super) fn judge_subscriptions(&mut self, now: Time, id: ConnectionId) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let key = active.session;
        let Some(grants) = active.grants.as_deref() else { return };
        let Some(seat) = self.sessions.get(key) else { return };
        let filters = seat.session.subscriptions.keys();
        let forbidden = filters.filter(|filter| {
            let plain = super::share::filter_of(filter).unwrap_or(filter);
            grants.may_subscribe(plain).is_none()
        });
        let mut forbidden: Vec<Arc<str>> = forbidden.cloned().collect();
        forbidden.sort_unstable();
        for filter in forbidden {
            self.metrics.subscriptions_refused_total += 1;
            self.remove_subscription(key, &filter);
            self.forget_subscription(now, key, filter.to_string());
        }
    }
}

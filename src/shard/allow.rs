//! What a client may do, by the rules.

use std::sync::Arc;

use super::Shard;
use super::announce::is_own;
use super::effect::ConnectionId;
use crate::auth::{Actor, Grants, Identity, Rates};
use crate::config::ClientLimits;
use crate::proto::{Connect, Publish, QoS, ReasonCode};
use crate::time::Time;

/// What the rules come to for one client.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What it may do; absent: everything.
    pub(super) grants: Option<Box<Grants>>,
    /// How much it may send.
    pub(super) rates: Rates,
    /// What else it is held to.
    pub(super) limits: ClientLimits,
}

impl Shard {
    /// What the rules come to for a client.
    pub(super) fn standing(
        &self,
        id: ConnectionId,
        identity: Option<&Identity>,
        client_id: &str,
    ) -> Standing {
        let own = identity.map(|identity| &identity.rules);
        let connection = self.connections.get(id).filter(|_| !self.is_local(id));
        let Some(connection) = connection else { return Standing::default() };
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
        let (mut rates, mut limits) = self.policy.rules.limits(actor);
        if let Some((own_rates, own_limits)) = own.map(|own| own.limits(actor)) {
            (rates, limits) = (rates.and(own_rates), limits.and(own_limits));
        }
        let own = own.filter(|rules| !rules.is_empty());
        if self.policy.rules.is_empty() && own.is_none() {
            return Standing { grants: None, rates, limits };
        }
        let mut grants = self.policy.rules.grants(actor);
        if let Some(own) = own {
            grants.join(own.grants(actor));
        }
        Standing { grants: Some(Box::new(grants)), rates, limits }
    }

    /// Whether the will of a CONNECT may be published.
    pub(super) fn judge_will(standing: &Standing, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let Some(will) = connect.will.as_ref() else { return Ok(()) };
        let topic = will.topic.as_str();
        let Standing { grants, limits, .. } = standing;
        // [MQTT-3.2.2-13]
        if will.retain && !limits.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        if !limits.allows_topic(topic) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        let grants = grants.as_ref();
        let is_granted =
            grants.is_none_or(|grants| grants.may_publish(topic, will.qos, will.retain));
        if is_granted && !is_own(topic) { Ok(()) } else { Err(ReasonCode::NotAuthorized) }
    }

    /// Whether a message keeps to the limits of its client.
    pub(super) fn keeps_limits(
        &self,
        id: ConnectionId,
        topic: &str,
        retain: bool,
    ) -> Result<(), ReasonCode> {
        let active = self.connections.get(id).and_then(|c| c.active());
        let Some(limits) = active.and_then(|active| active.limits.as_deref()) else {
            return Ok(());
        };
        match retain && !limits.retain_available {
            true => Err(ReasonCode::RetainNotSupported),
            false if !limits.allows_topic(topic) => Err(ReasonCode::TopicNameInvalid),
            false => Ok(()),
        }
    }

    /// Whether a client may publish a message.
    pub(super) fn may_publish(
        &mut self,
        id: ConnectionId,
        topic: &str,
        publish: &Publish<'_>,
    ) -> bool {
        if is_own(topic) {
            return false;
        }
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
            let standing = self.standing(id, identity.as_deref(), &client_id);
            self.stand(id, standing);
            self.judge_subscriptions(now, id);
        }
    }

    /// Holds a client to what the rules come to from now on.
    pub(super) fn stand(&mut self, id: ConnectionId, standing: Standing) {
        let Standing { grants, rates, limits } = standing;
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(active) = active else { return };
        active.grants = grants;
        active.limits = (!limits.is_unlimited()).then(|| Box::new(limits));
        let key = active.session;
        if let Some(seat) = self.sessions.get_mut(key) {
            seat.queue_messages_max = limits.queue_messages_max;
        }
        self.pace(id, rates);
        self.count_in(id, limits.connections_max);
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

//! What a client may do, by the rules.

use std::sync::Arc;

use super::Shard;
use super::announce::is_own;
use super::effect::{ConnectionId, Peer};
use super::ruling::May;
use super::witness::{Lost, Why};
use crate::auth::{Action, Actor, Grants, Identity, Rates};
use crate::config::ClientLimits;
use crate::proto::{Publish, QoS, ReasonCode, SubscriptionFilter, Version};
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

/// How much of a subscription the rules allow, and at which QoS.
enum Reach {
    Whole(QoS),
    Part(QoS),
    None,
}

impl Shard {
    /// What the rules come to for a client.
    pub(super) fn standing(
        &self,
        id: ConnectionId,
        version: Version,
        identity: Option<&Identity>,
        client_id: &str,
    ) -> Standing {
        let connection = self.connections.get(id).filter(|_| !self.is_local(id));
        let Some(connection) = connection else { return Standing::default() };
        self.standing_of(connection.peer, connection.common_name(), version, identity, client_id)
    }

    /// The same for one who is gone, or comes.
    pub(super) fn standing_of(
        &self,
        peer: Peer,
        common_name: Option<&str>,
        version: Version,
        identity: Option<&Identity>,
        client_id: &str,
    ) -> Standing {
        let own = identity.map(|identity| &identity.rules);
        let actor = Actor {
            user: identity.and_then(|identity| identity.user.as_deref()),
            groups: identity.map_or(&[], |identity| &identity.groups),
            client_id,
            address: peer.address.ip(),
            listener: self.policy.listener_name(peer.listener),
            common_name,
        };
        let (mut rates, mut limits) = self.policy.rules.limits(actor);
        if let Some((own_rates, own_limits)) = own.map(|own| own.limits(actor)) {
            (rates, limits) = (rates.and(own_rates), limits.and(own_limits));
        }
        // Only 5.0 can be told, and held to it. [MQTT-3.2.2-14]
        if version == Version::V5 && self.mqtt().retained_messages_max == 0 {
            limits.retain_available = false;
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

    /// Whether a will may be left, and published when it is due.
    pub(super) fn judge_will(
        &self,
        is_local: bool,
        standing: &Standing,
        (topic, qos, retain): (&str, QoS, bool),
    ) -> Result<(), ReasonCode> {
        let Standing { grants, limits, .. } = standing;
        // [MQTT-3.2.2-13]
        if retain && !limits.retain_available {
            return Err(ReasonCode::RetainNotSupported);
        }
        if !limits.allows_topic(topic) {
            return Err(ReasonCode::TopicNameInvalid);
        }
        let is_open = self.policy.rule_service.is_some() && !is_local;
        // What rules leave open the service decides when the will is due.
        let is_granted = match grants {
            Some(grants) if is_open => !grants.denies_publish(topic),
            Some(grants) => grants.may_publish(topic, qos, retain),
            None => true,
        };
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
    pub(super) fn may_publish(&self, id: ConnectionId, topic: &str, publish: &Publish<'_>) -> May {
        if is_own(topic) {
            return May::Not;
        }
        let (qos, retain) = (publish.qos, publish.retain);
        let open = || self.left_open(id, Action::Publish, topic, qos, retain);
        let active = self.connections.get(id).and_then(|c| c.active());
        match active.and_then(|active| active.grants.as_deref()) {
            Some(grants) if grants.may_publish(topic, qos, retain) => May::Do(qos),
            Some(grants) if grants.denies_publish(topic) => May::Not,
            Some(_) => open(),
            None if self.policy.rule_service.is_some() && !self.is_local(id) => open(),
            None => May::Do(qos),
        }
    }

    /// Whether a client may subscribe, and at which QoS.
    pub(super) fn may_subscribe(
        &self,
        id: ConnectionId,
        filter: SubscriptionFilter<'_>,
        qos: QoS,
    ) -> May {
        let plain = filter.within_group().as_str();
        let is_shared = matches!(filter, SubscriptionFilter::Shared { .. });
        let open = || self.left_open(id, Action::Subscribe, plain, qos, false);
        let active = self.connections.get(id).and_then(|c| c.active());
        match active.and_then(|active| active.grants.as_deref()) {
            Some(grants) => match self.reach(grants, plain, is_shared) {
                Reach::Whole(qos_max) => May::Do(qos_max),
                Reach::Part(qos_max) => May::DoPart(qos_max),
                Reach::None if grants.denies_subscribe(plain) => May::Not,
                Reach::None => open(),
            },
            None if self.policy.rule_service.is_some() && !self.is_local(id) => open(),
            None => May::Do(QoS::ExactlyOnce),
        }
    }

    /// How much of a subscription the rules allow. What one member of a shared group may not read
    /// would be lost to all, and a service is asked about all of it: these are whole or not made.
    fn reach(&self, grants: &Grants, filter: &str, is_shared: bool) -> Reach {
        let policy = &self.policy;
        if let Some(qos_max) = grants.may_subscribe(filter) {
            return Reach::Whole(qos_max);
        }
        if !policy.sifts_subscriptions || policy.rule_service.is_some() || is_shared {
            return Reach::None;
        }
        grants.may_subscribe_to_part(filter).map_or(Reach::None, Reach::Part)
    }

    /// A subscription was made that reaches further than its client may read: from now on its
    /// messages are looked at.
    pub(super) fn sift(&mut self, id: ConnectionId) {
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            active.sifts = true;
            active.sifts_on = true;
        }
    }

    /// The rules changed: what clients may no longer subscribe to ends.
    pub(super) fn judge_all(&mut self, now: Time) {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let Some(active) = connection.active_mut() else { continue };
            let (key, version) = (active.session, active.version);
            let identity = active.identity.clone();
            let Some(seat) = self.sessions.get(key) else { continue };
            let client_id = Arc::clone(&seat.session.client_id);
            active.rulings = None;
            let standing = self.standing(id, version, identity.as_deref(), &client_id);
            self.stand(id, standing);
            self.judge_subscriptions(now, id);
        }
    }

    /// Holds a client to what the rules come to from now on.
    pub(super) fn stand(&mut self, id: ConnectionId, standing: Standing) {
        let Standing { grants, rates, limits } = standing;
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(active) = active else { return };
        (active.grants, active.sifts, active.sifts_on) = (grants, false, false);
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
        let Some(active) = self.connections.get(id).and_then(|c| c.active()) else { return };
        let key = active.session;
        let Some(grants) = active.grants.as_deref() else { return };
        let Some(seat) = self.sessions.get(key) else { return };
        let filters = seat.session.subscriptions.keys();
        let mut sifts = false;
        let forbidden = filters.filter(|filter| {
            let shared = super::share::filter_of(filter);
            let plain = shared.unwrap_or(filter);
            let reach = self.reach(grants, plain, shared.is_some());
            sifts |= matches!(reach, Reach::Part(_));
            // Where the service decides, what it has allowed stays until a rule denies it.
            match self.policy.rule_service {
                Some(_) => grants.denies_subscribe(plain),
                None => matches!(reach, Reach::None),
            }
        });
        let explained = |filter: &Arc<str>| {
            let plain = super::share::filter_of(filter).unwrap_or(filter);
            (Arc::clone(filter), grants.explain_refused(plain))
        };
        let mut forbidden: Vec<(Arc<str>, String)> = forbidden.map(explained).collect();
        forbidden.sort_unstable();
        let client_id = Arc::clone(&seat.session.client_id);
        // What a service has allowed no rule does.
        let is_owed = !seat.session.outbox.is_caught_up() && self.policy.rule_service.is_none();
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            (active.sifts, active.sifts_on) = (sifts || is_owed, sifts);
        }
        if let Some((filter, why)) = forbidden.first() {
            tracing::warn!(%client_id, count = forbidden.len(), %filter, %why, "subscriptions ended by the rules");
        }
        for (filter, why) in forbidden {
            self.metrics.subscriptions_refused_total += 1;
            let lost = Lost { topic: &filter, qos: QoS::AtMostOnce, bytes: 0 };
            self.lose_all(Some(key), lost, Why::NotSubscribed, Some(why.into()));
            self.remove_subscription(key, &filter);
            self.forget_subscription(now, key, filter.to_string());
        }
    }
}

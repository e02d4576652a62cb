//! What a client may do, and what a message would meet.

use std::net::{IpAddr, Ipv4Addr};

use super::ClientRow;
use crate::auth::Actor;
use crate::config::QueuePolicy;
use crate::proto::QoS;
use crate::shard::Shard;
use crate::shard::announce::is_own;
use crate::shard::connection::Active;
use crate::shard::effect::Listener;

/// A message that somebody might publish.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Who.
    pub client_id: String,
    /// Of which user, where that is not known because it is not connected.
    pub user: Option<String>,
    /// Where.
    pub topic: String,
    /// How.
    pub qos: QoS,
    /// To be retained.
    pub retain: bool,
}

/// Whether it may be published.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Whether.
    pub is_allowed: bool,
    /// By which rule, or for want of which.
    pub why: String,
    /// The client, if it has a session on this shard.
    pub client: Option<ClientRow>,
    /// Whether it is judged as it is connected here, rather than as if it connected now.
    pub is_connected: bool,
}

/// What bounds queues, and whether this shard's log is full.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// Messages of one session.
    pub messages_max: u32,
    /// Which of them goes.
    pub policy: QueuePolicy,
    /// Whether QoS 0 waits for those who are away.
    pub qos0: bool,
    /// Whether what must be kept is refused here.
    pub is_log_full: bool,
}

impl Shard {
    /// Whether a client may publish a message, as far as this shard knows.
    pub fn look_at_rights(&self, intent: &Intent) -> Rights {
        let Intent { client_id, topic, qos, retain, .. } = intent;
        let key = self.session_by_client_id.get(client_id.as_str());
        let seat = key.and_then(|key| self.sessions.get(*key));
        let client = seat.map(|seat| self.client_row(seat));
        let connection = seat.and_then(|seat| self.connections.of(seat));
        let active = connection.and_then(|connection| connection.active());
        let is_connected = active.is_some();
        let levels_max = usize::from(self.mqtt().topic_levels_max);
        let (is_allowed, why) = if is_own(topic) {
            (false, "topics below $SYS are the broker's own".to_owned())
        } else if topic.split('/').count() > levels_max {
            (false, format!("the topic has more than mqtt.topic_levels_max = {levels_max} levels"))
        } else if connection.is_some_and(|one| one.peer.listener == Listener::LOCAL) {
            (true, "a client within the process may do everything".to_owned())
        } else if let Some(active) = active
            && let Some(why) = breaks_limits(active, topic, *retain)
        {
            (false, why)
        } else if let Some(active) = active {
            let grants = active.grants.as_deref();
            let decided = grants.map(|grants| grants.explain_publish(topic, *qos, *retain));
            let is_denied = grants.is_some_and(|grants| grants.denies_publish(topic));
            match decided {
                Some(decided) if decided.0 || is_denied || !self.asks_service() => decided,
                None if !self.asks_service() => no_rule(),
                _ => (false, "no rule decides it: auth.http_rules_url is asked".to_owned()),
            }
        } else {
            self.judge_absent(intent)
        };
        Rights { is_allowed, why, client, is_connected }
    }

    /// What bounds queues here.
    pub fn look_at_bounds(&self) -> QueueBounds {
        let mqtt = self.mqtt();
        QueueBounds {
            messages_max: mqtt.queue_messages_max,
            policy: mqtt.queue_policy,
            qos0: mqtt.queue_qos0,
            is_log_full: self.journal.is_full(),
        }
    }

    fn asks_service(&self) -> bool {
        self.policy.rule_service.is_some()
    }

    /// By the rules of the configuration alone: where it would come from is not known.
    fn judge_absent(&self, intent: &Intent) -> (bool, String) {
        let rules = &self.policy.rules;
        if rules.is_empty() {
            return no_rule();
        }
        let actor = Actor {
            user: intent.user.as_deref(),
            groups: &[],
            client_id: &intent.client_id,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            listener: "",
            common_name: None,
        };
        rules.grants(actor).explain_publish(&intent.topic, intent.qos, intent.retain)
    }
}

/// What a message of a client would break that rules hold it to.
fn breaks_limits(active: &Active, topic: &str, retain: bool) -> Option<String> {
    let limits = active.limits.as_deref()?;
    if retain && !limits.retain_available {
        let why = "a rule or mqtt.retained_messages_max = 0 has nothing of this client retained";
        return Some(why.to_owned());
    }
    let (levels, bytes) = (limits.topic_levels_max, limits.topic_bytes_max);
    (!limits.allows_topic(topic)).then(|| {
        format!("rules allow this client topics of {levels} levels and {bytes} bytes at most")
    })
}

fn no_rule() -> (bool, String) {
    (true, "there is no rule: everybody may do everything".to_owned())
}

//! CONNECT: who is let in, to which session.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::authenticate::SCRAM_SHA_256;
use super::connection::{
    Acknowledgements, Active, Aliases, Pause, Phase, Reauthentication, Verifying,
};
use super::consult::Event;
use super::effect::{ConnectionId, Listener, Output, ShardId};
use super::limit::Limit;
use super::witness::Decision;
use super::{Key, Seat, Shard};
use crate::auth::{Asks, Identity, Login, Verdict};
use crate::config::{ClientLimits, Mqtt};
use crate::message::Publication;
use crate::metrics::{Asked, Refused};
use crate::proto::{
    ConnAck, Connect, Cut, DecodeError, Frame, Packet, ReasonCode, Version, Will as ConnectWill,
};
use crate::session::{NEVER_EXPIRES, Session, Will};
use crate::time::Time;

/// Where a CONNECT led.
pub(super) enum Admission {
    /// Answered here, or waiting for an AUTH packet.
    Decided,
    /// The client's home is another shard.
    Elsewhere(ShardId),
}

impl Shard {
    pub(super) fn handle_connect(
        &mut self,
        now: Time,
        id: ConnectionId,
        connect: &Connect<'_>,
        packet: &[u8],
    ) -> Admission {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.answer_bytes_max = connect.maximum_packet_size.unwrap_or(u32::MAX);
        }
        if let Err(reason) =
            self.check_version(id, connect).and_then(|()| self.check_connect(connect))
        {
            if self.witness.traces.is_on() {
                self.trace_connect(now, id, connect);
            }
            self.refuse(now, id, connect, reason);
            return Admission::Decided;
        }
        if !connect.client_id.is_empty() {
            let home = self.place(connect.client_id);
            if home != self.id {
                return Admission::Elsewhere(home);
            }
        }
        if self.witness.traces.is_on() {
            self.trace_connect(now, id, connect);
        }
        // Whoever claims to be somebody's user may not learn that this one is banned.
        if !connect.client_id.is_empty() && self.is_banned(now, id, connect.client_id, None) {
            self.refuse(now, id, connect, ReasonCode::Banned);
            return Admission::Decided;
        }
        match connect.authentication_method {
            Some(_) => self.start_authentication(now, id, connect, packet),
            None if self.is_local(id) => self.admit(now, id, connect, None, None),
            None if let Some(user) = self.certificate_user(id) => {
                self.admit(now, id, connect, Some(Arc::new(Identity::user(&*user))), None);
            }
            None if self.is_asked_about(connect) => self.ask(now, id, connect, packet),
            None if self.may_be_anonymous(id) => self.admit(now, id, connect, None, None),
            None => self.refuse(now, id, connect, ReasonCode::NotAuthorized),
        }
        Admission::Decided
    }

    /// Whether its version is spoken at the listener it came by. [MQTT-3.1.2-2]
    fn check_version(&self, id: ConnectionId, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let connection = self.connections.get(id);
        let listener = connection.and_then(|it| self.policy.listener(it.peer.listener));
        match listener {
            Some(listener) if !listener.protocol_versions.contains(&connect.version) => {
                Err(ReasonCode::UnsupportedProtocolVersion)
            }
            _ => Ok(()),
        }
    }

    /// What can be said of a CONNECT without knowing its sender.
    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let mqtt = self.mqtt();
        if connect.client_id.len() > usize::from(mqtt.client_id_bytes_max) {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.client_id.is_empty() {
            match connect.version {
                // 3.1 knows no assigned client ids.
                Version::V31 => return Err(ReasonCode::ClientIdentifierNotValid),
                // [MQTT-3.1.3-8]
                Version::V311 if !connect.clean_start => {
                    return Err(ReasonCode::ClientIdentifierNotValid);
                }
                Version::V311 | Version::V5 => {}
            }
        }
        match &connect.will {
            Some(will) => {
                self.check_publication(will.topic.as_str(), &will.properties.forward, will.payload)
            }
            None => Ok(()),
        }
    }

    /// Lets whoever knows be asked about the sender of a CONNECT.
    fn ask(&mut self, now: Time, id: ConnectionId, connect: &Connect<'_>, packet: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let credentials = &connect.credentials;
        let login = Box::new(Login {
            user: credentials.user_name.map(Box::from),
            password: credentials.password.map(|password| Zeroizing::new(password.to_vec())),
            client_id: connect.client_id.into(),
            address: connection.peer.address.ip(),
            listener: self.policy.listener_name(connection.peer.listener).into(),
            common_name: connection.common_name().map(Box::from),
        });
        let (connect, version) = (Zeroizing::new(packet.to_vec()), connect.version);
        let awaited = Arc::new(());
        let waits = Arc::downgrade(&awaited);
        let verifying = Verifying { connect, version, since: now, awaited };
        connection.phase = Phase::Verifying(Box::new(verifying));
        self.pause(id, Pause::Verdict);
        self.outputs.push_back(Output::Ask { connection: id, login, awaited: waits });
        if self.witness.traces.is_on() {
            self.trace_decision(now, id, Decision::Asked, None, "who it is is being asked");
        }
    }

    /// Somebody was asked about.
    pub(super) fn handle_verdict(&mut self, now: Time, id: ConnectionId, verdict: Verdict) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let phase = std::mem::replace(&mut connection.phase, Phase::AwaitConnect);
        let Phase::Verifying(verifying) = phase else {
            connection.phase = phase;
            return;
        };
        let Verifying { connect, version, since, awaited } = *verifying;
        drop(awaited);
        self.metrics.login_seconds.observe(now.since(since).as_micros() as u64);
        self.metrics.logins_total.count(asked(&verdict));
        let connect = decoded(&connect, version);
        let has_credentials = connect.credentials.user_name.is_some();
        let (identity, reason) = match verdict {
            Verdict::Allow(identity) => (Some(identity), ReasonCode::Success),
            Verdict::Ignore if !has_credentials && self.may_be_anonymous(id) => {
                (None, ReasonCode::Success)
            }
            Verdict::Ignore if !has_credentials => (None, ReasonCode::NotAuthorized),
            Verdict::Deny | Verdict::Ignore => {
                self.login_failed(id);
                (None, ReasonCode::BadUserNameOrPassword)
            }
            Verdict::Forbid => (None, ReasonCode::NotAuthorized),
            Verdict::Busy => (None, ReasonCode::ServerBusy),
            Verdict::Unavailable => (None, ReasonCode::ServerUnavailable),
        };
        if reason != ReasonCode::Success {
            return self.refuse(now, id, &connect, reason);
        }
        self.admit(now, id, &connect, identity, None);
        self.unpause(now, id, Pause::Verdict);
    }

    pub(super) fn login_failed(&mut self, id: ConnectionId) {
        self.metrics.logins_refused_total += 1;
        if let Some(connection) = self.connections.get(id) {
            self.outputs.push_back(Output::LoginFailed(connection.peer.address.ip()));
        }
    }

    /// Whether it is a client within the process.
    pub(super) fn is_local(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|c| c.peer.listener == Listener::LOCAL)
    }

    fn is_asked_about(&self, connect: &Connect<'_>) -> bool {
        let credentials = &connect.credentials;
        match self.policy.asks {
            Asks::Nobody => false,
            Asks::Credentials => credentials.user_name.is_some() || credentials.password.is_some(),
            Asks::Everybody => true,
        }
    }

    /// The user that the certificate of a connection proves.
    fn certificate_user(&self, id: ConnectionId) -> Option<Arc<str>> {
        let connection = self.connections.get(id)?;
        let from = self.policy.listener(connection.peer.listener)?.certificate_user;
        connection.certificate.as_ref()?.user(from).cloned()
    }

    fn may_be_anonymous(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(id) else { return false };
        let peer = connection.peer;
        let of_listener = self.policy.listener(peer.listener).and_then(|it| it.anonymous_allowed);
        // Behind a proxy on this machine somebody else may be.
        let is_local = peer.listener.loopback && peer.address.ip().to_canonical().is_loopback();
        // Where passwords are asked for, nobody comes without one unless that is allowed.
        let unsaid = is_local && self.policy.asks == Asks::Nobody;
        of_listener.or(self.mqtt().anonymous_allowed).unwrap_or(unsaid)
    }

    /// A CONNECT that cannot be read: answered as far as its version is known.
    pub(super) fn reject_connect(
        &mut self,
        now: Time,
        id: ConnectionId,
        frame: Frame<'_>,
        error: &DecodeError,
    ) {
        self.metrics.protocol_errors_total += 1;
        if let Some(connection) = self.connections.get(id) {
            tracing::info!(peer = %connection.peer.address, "connection refused: {error}");
        }
        if self.witness.traces.is_on() {
            let detail = error.to_string();
            self.trace_decision(now, id, Decision::Refused, Some(error.reason()), &detail);
        }
        match Connect::refusal(&frame, *error) {
            // What the client takes could not be read: the answer is as short as it can be.
            Some((version, connack)) => self.answer_refused(now, id, version, connack),
            None => self.close(now, id),
        }
    }

    /// CONNACK with an error, then close. [MQTT-3.2.2-5, 3.1.4-2]
    pub(super) fn refuse(
        &mut self,
        now: Time,
        id: ConnectionId,
        connect: &Connect<'_>,
        reason: ReasonCode,
    ) {
        let Some(connection) = self.connections.get(id) else { return };
        // Who it says it is, as a stranger chose to say it.
        let claimed = |name: &str| tracing::field::debug(name.chars().take(64).collect::<String>());
        let client_id = Some(connect.client_id).filter(|id| !id.is_empty()).map(claimed);
        let user = connect.credentials.user_name.map(claimed);
        let peer = connection.peer.address;
        tracing::info!(%peer, client_id, user, %reason, "connection refused");
        if self.witness.traces.is_on() {
            self.trace_decision(now, id, Decision::Refused, Some(reason), "it is not let in");
        }
        let text = reason.to_string();
        let mut connack = ConnAck::new(false, reason);
        connack.reason_string = Some(&text);
        if connect.version == Version::V5 || reason.connect_return_code() != 0 {
            self.answer_refused(now, id, connect.version, connack);
        } else {
            // 3.1.1 has no word for it.
            self.metrics.connects_refused_total.count(refused(reason));
            self.close(now, id);
        }
    }

    /// The same for who was to prove itself, and did not.
    pub(super) fn refuse_unproved(&mut self, now: Time, id: ConnectionId, reason: ReasonCode) {
        let Some(connection) = self.connections.get(id) else { return };
        let Phase::Authenticating(authenticating) = &connection.phase else { return };
        let connect = authenticating.connect.clone();
        self.refuse(now, id, &decoded(&connect, Version::V5), reason);
    }

    fn answer_refused(
        &mut self,
        now: Time,
        id: ConnectionId,
        version: Version,
        connack: ConnAck<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.metrics.connects_refused_total.count(refused(connack.reason));
        let (limit, tail) = (connection.answer_bytes_max, connection.out.tail(&mut self.pool));
        // Too long for its client, it is not sent; the end of the connection says enough.
        let _ = Packet::ConnAck(connack).encode_within(version, limit, tail);
        self.close(now, id);
    }

    /// Lets a client in: its session is found or made, CONNACK sent, and what it is owed follows.
    pub(super) fn admit(
        &mut self,
        now: Time,
        id: ConnectionId,
        connect: &Connect<'_>,
        identity: Option<Arc<Identity>>,
        proof: Option<(String, Vec<u8>)>,
    ) {
        let client_id: Arc<str> = match connect.client_id {
            "" => self.assign_client_id(),
            client_id => client_id.into(),
        };
        let user = identity.as_deref().and_then(|identity| identity.user.as_deref());
        if self.is_banned(now, id, &client_id, user) || self.flaps(now, id, &client_id) {
            return self.refuse(now, id, connect, ReasonCode::Banned);
        }
        let standing = self.standing(id, connect.version, identity.as_deref(), &client_id);
        let judged = connect.will.as_ref().map(|will| {
            let will = (will.topic.as_str(), will.qos, will.retain);
            self.judge_will(self.is_local(id), &standing, will)
        });
        if let Some(Err(reason)) = judged {
            return self.refuse(now, id, connect, reason);
        }
        let limits = standing.limits;
        // What is due by now is done, though its timer has not fired: the will of a client that is
        // back after its delay is published, and a session that has expired does not go on.
        // [MQTT-3.1.2-8, 4.1.0-2]
        if let Some(&key) = self.session_by_client_id.get(&client_id) {
            self.check_session(now, key);
        }
        let known = self.session_by_client_id.get(&client_id).copied();
        // A session that could not be kept is not begun, and not even resumed where its next
        // connection could not be told of.
        let expiry_interval = self.session_expiry_interval(connect, &limits);
        let is_kept = expiry_interval > 0;
        let is_full = is_kept
            && match known {
                None => self.journal.is_full(),
                Some(_) => self.journal.is_exhausted(),
            };
        if is_full || (known.is_none() && self.sessions.len() >= self.sessions_max()) {
            let limit = if is_full { Limit::Log } else { Limit::Sessions };
            self.reached(limit, "sessions are refused");
            return self.refuse(now, id, connect, ReasonCode::QuotaExceeded);
        }
        let response_information = self.response_information(connect, &client_id);
        let response_information = response_information.as_deref();
        let proved = proof.as_ref().map(|(_, data)| data.as_slice());
        let mut connack = self.connack(connect, &client_id, &limits, response_information, proved);
        // A client that cannot be answered is not let in. [MQTT-3.1.2-24]
        if connect.maximum_packet_size.is_some_and(|most| {
            let connack = Packet::ConnAck(connack.clone());
            !connack.encode_within(connect.version, most, &mut Vec::new())
        }) {
            return self.close(now, id);
        }
        let attendance = match self.attend(known, identity.as_deref(), limits.connections_max) {
            Ok(attendance) => attendance,
            Err(reason) => return self.refuse(now, id, connect, reason),
        };
        let is_begun = connect.clean_start || known.is_some_and(|key| self.is_anothers(key, user));
        let resumed = known.and_then(|key| self.take_over(now, key, is_begun));
        // 3.1 has no such flag; its bit is reserved there.
        connack.session_present = resumed.is_some() && connect.version != Version::V31;
        let key = resumed.unwrap_or_else(|| self.create_session(&client_id, expiry_interval));
        self.attach(now, id, key, connect, &limits, proof.as_ref());
        let user_is_news = self.note_user(key, user);
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) {
            (active.identity, active.attendance) = (identity, attendance);
        }
        if self.witness.traces.is_on() {
            self.mark_traced(id, &client_id);
        }
        self.stand(id, standing);
        self.note_will(id, key);
        self.judge_subscriptions(now, id);
        self.keep_session(now, key, id, user_is_news);
        if self.journal.is_ending(&client_id) {
            self.hold_output(id);
        }
        self.write_packet(id, &Packet::ConnAck(connack));
        self.metrics.connects_accepted_total += 1;
        self.arm_connection(id);
        self.tell(id, Event::Connected);
        self.announce_presence(key, true);
        if self.mqtt().presence_events {
            self.tell_connected(now, id, &client_id, connect, expiry_interval);
        }
        self.pump_connection(now, id);
    }

    /// Whether a service or a hook allows subscriptions: what rules allow is looked at again when a
    /// session is resumed, what these have allowed is not.
    fn subscriptions_are_asked_about(&self) -> bool {
        self.policy.rule_service.is_some() || self.policy.consults.subscribe
    }

    /// Notes whose a session is that may outlive its connection. Returns whether that is news: that
    /// a client named no user is none where users do not matter.
    fn note_user(&mut self, key: Key, user: Option<&str>) -> bool {
        let rules = &self.policy.rules;
        let matters = user.is_some() || !rules.is_empty() || self.subscriptions_are_asked_about();
        let Some(seat) = self.sessions.get_mut(key) else { return false };
        let is_news = match &seat.last_user {
            Some(last) => last.as_deref() != user,
            None => matters && seat.session.is_persistent(),
        };
        if is_news {
            seat.last_user = Some(user.map(Box::from));
        }
        is_news
    }

    /// Whether a session holds what was allowed to another user, who is not to have it.
    fn is_anothers(&self, key: Key, user: Option<&str>) -> bool {
        let last = self.sessions.get(key).and_then(|seat| seat.last_user.as_ref());
        self.subscriptions_are_asked_about() && last.is_some_and(|last| last.as_deref() != user)
    }

    fn sessions_max(&self) -> usize {
        (self.mqtt().sessions_max as usize).div_ceil(self.count)
    }

    /// Unique and unguessable enough; its home is this shard, so the connection need not move.
    fn assign_client_id(&mut self) -> Arc<str> {
        loop {
            let drawn = self.nonces.draw();
            let drawn = drawn.first_chunk().expect("16 of 32 bytes");
            let client_id = format!("auto-{:032x}", u128::from_be_bytes(*drawn));
            if self.place(&client_id) == self.id
                && !self.session_by_client_id.contains_key(client_id.as_str())
            {
                return client_id.into();
            }
        }
    }

    fn session_expiry_interval(&self, connect: &Connect<'_>, limits: &ClientLimits) -> u32 {
        let asked = match connect.version {
            Version::V5 => connect.session_expiry_interval.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => NEVER_EXPIRES,
        };
        asked.min(self.mqtt().session_expiry_s_max).min(limits.session_expiry_s_max)
    }

    /// Ends an older connection of the client, and its session if that is not wanted any more.
    /// Returns the session if it goes on. [MQTT-3.1.4-3, 3.1.2-4, -5]
    fn take_over(&mut self, now: Time, key: Key, clean_start: bool) -> Option<Key> {
        if let Some(older) = self.sessions.get(key).and_then(|seat| seat.connection) {
            self.metrics.takeovers_total += 1;
            if self.witness.traces.is_on() {
                self.trace_decision(now, older, Decision::TakenOver, None, "by a newer connection");
            }
            self.disconnect(now, older, ReasonCode::SessionTakenOver);
        }
        // The older connection's end may have ended the session, or it waits for an answer about its
        // will alone.
        let is_over = self.sessions.get(key)?.session.expires_at() <= now;
        if clean_start || is_over {
            self.end_session(now, key);
            return None;
        }
        Some(key)
    }

    fn create_session(&mut self, client_id: &Arc<str>, expiry_interval: u32) -> Key {
        let session = Session::new(Arc::clone(client_id), expiry_interval, self.hasher.clone());
        let key = self.sessions.insert(Box::new(Seat::new(session)));
        self.session_by_client_id.insert(Arc::clone(client_id), key);
        key
    }

    fn attach(
        &mut self,
        now: Time,
        id: ConnectionId,
        key: Key,
        connect: &Connect<'_>,
        limits: &ClientLimits,
        proof: Option<&(String, Vec<u8>)>,
    ) {
        let expiry_interval = self.session_expiry_interval(connect, limits);
        let mqtt = &self.policy.mqtt;
        let keep_alive = server_keep_alive(connect, mqtt, limits);
        let window = connect.receive_maximum.unwrap_or(u16::MAX).min(mqtt.inflight_messages_max);
        let active = Active {
            session: key,
            identity: None,
            pacer: None,
            limits: None,
            attendance: None,
            ruling: None,
            rulings: None,
            parted: None,
            consulting: None,
            grants: None,
            sifts: false,
            sifts_on: false,
            version: connect.version,
            silence_micros_max: u64::from(keep_alive) * 1_500_000,
            taken_bytes_max: mqtt.packet_bytes_max.min(limits.packet_bytes_max),
            receive_maximum: mqtt.receive_maximum.min(limits.receive_maximum),
            topic_alias_maximum: mqtt.topic_alias_maximum,
            packet_bytes_max: connect.maximum_packet_size.unwrap_or(u32::MAX),
            window: window.min(limits.inflight_messages_max),
            connect_expiry_interval: expiry_interval,
            subscribing: 0,
            aliases: Aliases::new(
                connect.topic_alias_maximum.unwrap_or(0).min(mqtt.topic_alias_outbound_max),
                self.hasher.clone(),
            ),
            acknowledgements: Acknowledgements::default(),
            authentication: proof.map(|(user, _)| {
                let (method, user) = (SCRAM_SHA_256.into(), user.clone());
                Box::new(Reauthentication { method, user, exchange: None })
            }),
        };
        let Some(seat) = self.sessions.get_mut(key) else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.phase = Phase::Active(Box::new(active));
        self.strangers.forget(connection);
        seat.connection = Some(id);
        seat.session.detached_at = None;
        seat.session.expiry_interval = expiry_interval;
        seat.session.will = connect.will.as_ref().map(|will| Box::new(keep_will(will)));
        seat.session.outbox.inflight.start_resend();
        tracing::debug!(
            client_id = %seat.session.client_id,
            peer = %connection.peer.address,
            at = now.as_micros(),
            "connected"
        );
    }

    fn response_information(&self, connect: &Connect<'_>, client_id: &str) -> Option<String> {
        let prefix = self.mqtt().response_topic_prefix.as_deref()?;
        connect.request_response_information.then(|| format!("{prefix}{client_id}"))
    }

    /// The CONNACK of a client that is let in, as if it had no session before.
    fn connack<'a>(
        &self,
        connect: &Connect<'a>,
        client_id: &'a str,
        limits: &ClientLimits,
        response_information: Option<&'a str>,
        proof: Option<&'a [u8]>,
    ) -> ConnAck<'a> {
        let mut connack = ConnAck::new(false, ReasonCode::Success);
        if connect.version != Version::V5 {
            return connack;
        }
        let mqtt = self.mqtt();
        let expiry_interval = self.session_expiry_interval(connect, limits);
        let keep_alive = server_keep_alive(connect, mqtt, limits);
        let asked_expiry = connect.session_expiry_interval.unwrap_or(0);
        connack.session_expiry_interval =
            (asked_expiry != expiry_interval).then_some(expiry_interval);
        connack.receive_maximum = Some(mqtt.receive_maximum.min(limits.receive_maximum));
        connack.maximum_packet_size = Some(mqtt.packet_bytes_max.min(limits.packet_bytes_max));
        connack.retain_available = (!limits.retain_available).then_some(false);
        connack.topic_alias_maximum = Some(mqtt.topic_alias_maximum).filter(|most| *most > 0);
        connack.assigned_client_id = Some(client_id).filter(|_| connect.client_id.is_empty());
        connack.server_keep_alive =
            Some(keep_alive).filter(|seconds| *seconds != connect.keep_alive);
        connack.response_information = response_information;
        connack.authentication_method = connect.authentication_method;
        connack.authentication_data = proof;
        connack
    }
}

/// The keep-alive in force, in seconds: the client's, or the longest allowed. Only 5.0 can be
/// told of another. [MQTT-3.1.2-21]
fn server_keep_alive(connect: &Connect<'_>, mqtt: &Mqtt, limits: &ClientLimits) -> u16 {
    let maximum = match (mqtt.keep_alive_s_max, limits.keep_alive_s_max) {
        (0, maximum) | (maximum, 0) => maximum,
        (one, other) => one.min(other),
    };
    let asked = connect.keep_alive;
    if maximum == 0 || connect.version != Version::V5 || (1..=maximum).contains(&asked) {
        asked
    } else {
        maximum
    }
}

/// A CONNECT that was cut and decoded before.
pub(super) fn decoded(packet: &[u8], version: Version) -> Connect<'_> {
    let Ok(Cut::Whole { frame, .. }) = Frame::cut(packet, u32::MAX) else {
        unreachable!("the packet was cut before");
    };
    let Ok(Packet::Connect(connect)) = Packet::decode_from_client(version, frame) else {
        unreachable!("the packet was decoded before");
    };
    connect
}

fn keep_will(will: &ConnectWill<'_>) -> Will {
    let mut publication = Publication::new(
        will.topic.as_str(),
        will.properties.forward,
        will.payload,
        will.qos,
        Time::NEVER,
    );
    publication.retain = will.retain;
    Will {
        message: Arc::clone(publication.keep()),
        message_expiry_interval: will.properties.message_expiry_interval,
        delay_interval: will.delay_interval,
    }
}

fn asked(verdict: &Verdict) -> Asked {
    match verdict {
        Verdict::Allow(_) => Asked::Allow,
        Verdict::Deny => Asked::Deny,
        Verdict::Forbid => Asked::Forbid,
        Verdict::Ignore => Asked::Ignore,
        Verdict::Busy => Asked::Busy,
        Verdict::Unavailable => Asked::Unavailable,
    }
}

/// The kind of a refusal, which is fewer words than MQTT has.
fn refused(reason: ReasonCode) -> Refused {
    match reason {
        ReasonCode::UnsupportedProtocolVersion => Refused::Version,
        ReasonCode::ClientIdentifierNotValid => Refused::ClientId,
        ReasonCode::TopicNameInvalid
        | ReasonCode::PayloadFormatInvalid
        | ReasonCode::RetainNotSupported => Refused::Will,
        ReasonCode::BadUserNameOrPassword => Refused::Credentials,
        ReasonCode::NotAuthorized => Refused::NotAuthorized,
        ReasonCode::BadAuthenticationMethod => Refused::Method,
        ReasonCode::QuotaExceeded => Refused::Quota,
        ReasonCode::ServerBusy => Refused::Busy,
        ReasonCode::ServerUnavailable => Refused::Unavailable,
        ReasonCode::Banned => Refused::Banned,
        _ => Refused::Malformed,
    }
}

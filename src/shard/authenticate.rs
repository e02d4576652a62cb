//! AUTH: who proves itself by an exchange, before its CONNACK or anew.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Shard;
use super::connect::decoded;
use super::connection::{Authenticating, Phase};
use super::effect::ConnectionId;
use crate::auth::{Identity, ScramError, ScramServer};
use crate::proto::{Auth, Connect, Packet, ReasonCode, Version};
use crate::time::Time;

/// The one built-in method of enhanced authentication.
pub(super) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

impl Shard {
    pub(super) fn start_authentication(
        &mut self,
        now: Time,
        id: ConnectionId,
        connect: &Connect<'_>,
        packet: &[u8],
    ) {
        // [MQTT-4.12.0-1]
        if connect.authentication_method != Some(SCRAM_SHA_256)
            || self.policy.scram_users.is_empty()
        {
            return self.refuse(now, id, connect, ReasonCode::BadAuthenticationMethod);
        }
        match self.start_scram(connect.authentication_data.unwrap_or_default()) {
            Ok((exchange, data)) => {
                let Some(connection) = self.connections.get_mut(id) else { return };
                let connect = Zeroizing::new(packet.to_vec());
                connection.phase =
                    Phase::Authenticating(Box::new(Authenticating { connect, exchange }));
                if !self.write_auth(id, ReasonCode::ContinueAuthentication, &data) {
                    self.close(now, id);
                }
            }
            Err(error) => self.refuse(now, id, connect, scram_reason(&error)),
        }
    }

    fn start_scram(&mut self, data: &[u8]) -> Result<(ScramServer, Vec<u8>), ScramError> {
        let nonce = self.nonces.draw();
        let decoy_key = self.placement.hash_one("scram decoy").to_le_bytes();
        ScramServer::start(data, &self.policy.scram_users, &nonce, &decoy_key)
    }

    /// AUTH of a connection that waits for its CONNACK.
    pub(super) fn continue_authentication(&mut self, now: Time, id: ConnectionId, auth: &Auth<'_>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        // [MQTT-4.12.0-5]
        if auth.reason != ReasonCode::ContinueAuthentication
            || auth.authentication_method != Some(SCRAM_SHA_256)
        {
            return self.refuse_unproved(now, id, ReasonCode::ProtocolError);
        }
        let phase = std::mem::replace(&mut connection.phase, Phase::AwaitConnect);
        let Phase::Authenticating(authenticating) = phase else {
            unreachable!("the caller saw the phase");
        };
        let Authenticating { connect, exchange } = *authenticating;
        let connect = decoded(&connect, Version::V5);
        match exchange.finish(auth.authentication_data.unwrap_or_default()) {
            Ok((user, data)) => {
                let identity = Arc::new(Identity::user(user.as_str()));
                self.admit(now, id, &connect, Some(identity), Some((user, data)));
            }
            Err(error) => {
                self.login_failed(id);
                self.refuse(now, id, &connect, scram_reason(&error));
            }
        }
    }

    /// AUTH of an active connection: it proves itself anew. [MQTT-4.12.1-1, -2]
    pub(super) fn handle_auth(&mut self, now: Time, id: ConnectionId, auth: &Auth<'_>) {
        let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut()) else {
            return;
        };
        let data = auth.authentication_data.unwrap_or_default();
        // [MQTT-4.12.0-6, 4.12.0-7]: only who used a method may, and only that method.
        let Some(authentication) = &mut active.authentication else {
            return self.protocol_error(now, id, ReasonCode::ProtocolError);
        };
        if auth.authentication_method != Some(&*authentication.method) {
            return self.protocol_error(now, id, ReasonCode::ProtocolError);
        }
        let exchange = authentication.exchange.take();
        let outcome = match (auth.reason, exchange) {
            (ReasonCode::ReAuthenticate, None) => match self.start_scram(data) {
                Ok((exchange, data)) => {
                    self.set_exchange(id, exchange);
                    self.write_auth(id, ReasonCode::ContinueAuthentication, &data);
                    Ok(())
                }
                Err(error) => Err(scram_reason(&error)),
            },
            (ReasonCode::ContinueAuthentication, Some(exchange)) => match exchange.finish(data) {
                Ok((user, data)) if self.is_user(id, &user) => {
                    self.write_auth(id, ReasonCode::Success, &data);
                    Ok(())
                }
                Ok(_) => Err(ReasonCode::NotAuthorized),
                Err(error) => {
                    self.login_failed(id);
                    Err(scram_reason(&error))
                }
            },
            _ => Err(ReasonCode::ProtocolError),
        };
        if let Err(reason) = outcome {
            self.protocol_error(now, id, reason);
        }
    }

    fn set_exchange(&mut self, id: ConnectionId, exchange: ScramServer) {
        if let Some(active) = self.connections.get_mut(id).and_then(|c| c.active_mut())
            && let Some(authentication) = &mut active.authentication
        {
            authentication.exchange = Some(exchange);
        }
    }

    fn is_user(&mut self, id: ConnectionId, user: &str) -> bool {
        self.connections
            .get_mut(id)
            .and_then(|connection| connection.active_mut())
            .and_then(|active| active.authentication.as_deref())
            .is_some_and(|authentication| authentication.user == user)
    }

    pub(super) fn write_auth(&mut self, id: ConnectionId, reason: ReasonCode, data: &[u8]) -> bool {
        let auth = Auth::new(reason, SCRAM_SHA_256, Some(data));
        self.write_packet(id, &Packet::Auth(auth))
    }
}

/// What a client is told of a failed proof: whether it was no proof at all, or not its own.
fn scram_reason(error: &ScramError) -> ReasonCode {
    match error {
        ScramError::NotAuthorized => ReasonCode::NotAuthorized,
        _ => ReasonCode::ProtocolError,
    }
}

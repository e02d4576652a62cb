//! What no shard can know alone when it lets a client in, as clients come to all of them.

use std::fmt;
use std::sync::Arc;

use super::effect::ConnectionId;
use super::{Key, Shard};
use crate::auth::{Banned, Identity};
use crate::proto::ReasonCode;
use crate::time::Time;

/// Knows of the clients of all shards together. It is asked when a client is let in and told when
/// that is gone, never for a message, and answers from memory.
pub trait Gatekeeper: Send + Sync {
    /// Whether a client is kept out by its client id, or by the user that it proved to be.
    fn is_banned(&self, now: Time, client_id: &str, user: Option<&str>) -> bool;

    /// Counts that a client comes. Whether it comes too often and is kept out from now on.
    fn comes(&self, now: Time, client_id: &str) -> bool;

    /// Counts one more connection of a user, unless there are so many already.
    fn enter(&self, user: &str, connections_max: u32) -> bool;

    /// A connection of a user that was counted is gone.
    fn leave(&self, user: &str);
}

/// Whom a shard asks.
#[derive(Clone)]
pub struct Porter(pub Arc<dyn Gatekeeper>);

impl fmt::Debug for Porter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Porter(..)")
    }
}

/// A connection of a user that is counted until this is dropped.
pub struct Attendance {
    porter: Porter,
    user: Box<str>,
}

impl Attendance {
    fn begin(porter: &Porter, user: &str, connections_max: u32) -> Option<Box<Attendance>> {
        let is_in = porter.0.enter(user, connections_max);
        is_in.then(|| Box::new(Attendance { porter: porter.clone(), user: user.into() }))
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.porter.0.leave(&self.user);
    }
}

impl fmt::Debug for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attendance").field(&self.user).finish()
    }
}

impl Shard {
    /// Whether a client is kept out by its client id, or by the user that it proved to be.
    pub(super) fn is_banned(
        &self,
        now: Time,
        id: ConnectionId,
        client_id: &str,
        user: Option<&str>,
    ) -> bool {
        let porter = self.policy.porter.as_ref().filter(|_| !self.is_local(id));
        porter.is_some_and(|porter| porter.0.is_banned(now, client_id, user))
    }

    /// Counts that a client comes. Whether it comes too often: it is kept out then, and whoever is
    /// connected by its client id is let go.
    pub(super) fn flaps(&mut self, now: Time, id: ConnectionId, client_id: &str) -> bool {
        let porter = self.policy.porter.as_ref().filter(|_| !self.is_local(id));
        let flaps = porter.is_some_and(|porter| porter.0.comes(now, client_id));
        if flaps {
            self.handle_let_go(now, &Banned::ClientId(client_id.into()));
        }
        flaps
    }

    /// Somebody is kept out from now on: those who are meant and connected are let go.
    pub(super) fn handle_let_go(&mut self, now: Time, whom: &Banned) {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get(id).filter(|_| !self.is_local(id)) else {
                continue;
            };
            let address = connection.peer.address.ip();
            let session = connection.active().map(|active| active.session);
            let seat = session.and_then(|key| self.sessions.get(key));
            let client_id = seat.map_or("", |seat| &seat.session.client_id);
            let user = connection.identity().and_then(|identity| identity.user.as_deref());
            if whom.means(client_id, user, address) {
                match session {
                    Some(_) => self.disconnect(now, id, ReasonCode::AdministrativeAction),
                    None => self.close(now, id),
                }
            }
        }
    }

    /// Counts a connection among those of its user if rules bound them; a client that takes over
    /// its own older connection goes on in its place.
    pub(super) fn attend(
        &mut self,
        known: Option<Key>,
        identity: Option<&Identity>,
        connections_max: u32,
    ) -> Result<Option<Box<Attendance>>, ReasonCode> {
        let user = identity.and_then(|identity| identity.user.as_deref());
        let (Some(user), true) = (user, connections_max < u32::MAX) else { return Ok(None) };
        let Some(porter) = &self.policy.porter else { return Ok(None) };
        let older = known.and_then(|key| self.sessions.get(key)?.connection);
        let older = older.and_then(|id| self.connections.get_mut(id)?.active_mut());
        let older = older.map(|active| &mut active.attendance);
        let is_own = |attendance: &mut Box<Attendance>| *attendance.user == *user;
        if let Some(attendance) = older.and_then(|attendance| attendance.take_if(is_own)) {
            return Ok(Some(attendance));
        }
        Attendance::begin(porter, user, connections_max).map(Some).ok_or(ReasonCode::QuotaExceeded)
    }

    /// From now on the connections of a user are bounded: those that are there count and stay.
    pub(super) fn count_in(&mut self, id: ConnectionId, connections_max: u32) {
        let Some(porter) = self.policy.porter.as_ref().filter(|_| connections_max < u32::MAX)
        else {
            return;
        };
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(active) = active.filter(|active| active.attendance.is_none()) else { return };
        let user = active.identity.as_deref().and_then(|identity| identity.user.as_deref());
        if let Some(user) = user {
            active.attendance = Attendance::begin(porter, user, u32::MAX);
        }
    }
}

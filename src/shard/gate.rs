//! What no shard can know alone when it lets a client in, as clients come to all of them.

use std::fmt;
use std::sync::Arc;

use super::effect::ConnectionId;
use super::{Key, Shard};
use crate::auth::Identity;
use crate::proto::ReasonCode;

/// Knows of the clients of all shards together. It is asked when a client is let in and told when
/// that is gone, never for a message, and answers from memory.
pub trait Gatekeeper: Send + Sync {
    /// Counts one more connection of a user, unless there are so many already.
    fn enter(&self, user: &str, connections_max: u32) -> bool;

    /// A connection of a user that was counted is gone.
    fn leave(&self, user: &str);
}

/// Whom a shard asks.
#[derive(Clone)]
pub struct Gate(pub Arc<dyn Gatekeeper>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate(..)")
    }
}

/// A connection of a user that is counted until this is dropped.
pub struct Attendance {
    gate: Gate,
    user: Box<str>,
}

impl Attendance {
    fn begin(gate: &Gate, user: &str, connections_max: u32) -> Option<Box<Attendance>> {
        let is_in = gate.0.enter(user, connections_max);
        is_in.then(|| Box::new(Attendance { gate: gate.clone(), user: user.into() }))
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.gate.0.leave(&self.user);
    }
}

impl fmt::Debug for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attendance").field(&self.user).finish()
    }
}

impl Shard {
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
        let Some(gate) = &self.policy.gate else { return Ok(None) };
        let older = known.and_then(|key| self.sessions.get(key)?.connection);
        let older = older.and_then(|id| self.connections.get_mut(id)?.active_mut());
        let older = older.map(|active| &mut active.attendance);
        let is_own = |attendance: &mut Box<Attendance>| *attendance.user == *user;
        if let Some(attendance) = older.and_then(|attendance| attendance.take_if(is_own)) {
            return Ok(Some(attendance));
        }
        Attendance::begin(gate, user, connections_max).map(Some).ok_or(ReasonCode::QuotaExceeded)
    }

    /// From now on the connections of a user are bounded: those that are there count and stay.
    pub(super) fn count_in(&mut self, id: ConnectionId, connections_max: u32) {
        let Some(gate) = self.policy.gate.as_ref().filter(|_| connections_max < u32::MAX) else {
            return;
        };
        let active = self.connections.get_mut(id).and_then(|c| c.active_mut());
        let Some(active) = active.filter(|active| active.attendance.is_none()) else { return };
        let user = active.identity.as_deref().and_then(|identity| identity.user.as_deref());
        if let Some(user) = user {
            active.attendance = Attendance::begin(gate, user, u32::MAX);
        }
    }
}

//! Sessions, connected or away.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Least, Place, Seen, VISITS_MAX, has};
use crate::proto::Version;
use crate::shard::connection::Connection;
use crate::shard::effect::Listener;
use crate::shard::{Key, Seat, Shard};
use crate::time::Time;

/// Which clients are asked for.
#[derive(Clone, Debug, Default)]
pub struct ClientQuery {
    /// Part of a client id, of a user or of an address, in lower case.
    pub search: String,
    /// Those that are connected, or those that are not; absent: both.
    pub connected: Option<bool>,
    /// Those behind this client id.
    pub after: Option<Arc<str>>,
    /// How many at most.
    pub count_max: usize,
}

/// A client, as a list shows it; ordered by its id.
#[derive(Clone, Debug)]
pub struct ClientRow {
    /// Its id.
    pub client_id: Arc<str>,
    /// The user it proved to be.
    pub user: Option<Box<str>>,
    /// Where it is connected from.
    pub address: Option<SocketAddr>,
    /// The listener it came to; absent while away, and for clients within the process.
    pub listener: Option<String>,
    /// The version it speaks.
    pub version: Option<Version>,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Messages in flight to it.
    pub inflight: usize,
    /// When it connected.
    pub connected_at: Option<Time>,
    /// When it went.
    pub detached_at: Option<Time>,
}

/// A client, as a page of its own shows it.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// As in a list.
    pub row: ClientRow,
    /// Seconds its session outlives its connection.
    pub session_expiry_s: u32,
    /// Its keep-alive in force; absent while away.
    pub keep_alive_s: Option<u64>,
    /// Whether it left a will.
    pub has_will: bool,
    /// Bytes of the messages that wait for it.
    pub queued_bytes: u64,
    /// QoS 2 messages taken from it and not released.
    pub inflight_in: usize,
    /// Where its session is in the shard's table.
    pub place: Place,
}

impl Shard {
    /// Clients of this shard: a part of them, and where to go on.
    pub fn look_at_clients(&self, from: Place, query: &ClientQuery) -> Seen<ClientRow> {
        let mut least = Least::new(query.count_max);
        let mut matching = 0;
        let (seats, next) = self.seats_from(from);
        for (key, seat) in seats {
            let name = &seat.session.client_id;
            let is_meant = query.connected.is_none_or(|is| is == seat.connection.is_some());
            if is_meant && self.is_found(seat, &query.search) {
                matching += 1;
                if query.after.as_ref().is_none_or(|after| **name > **after) {
                    least.offer((Arc::clone(name), key));
                }
            }
        }
        let found = least.into_sorted().into_iter();
        let rows = found.filter_map(|(_, key)| Some(self.client_row(self.sessions.get(key)?)));
        Seen { rows: rows.collect(), matching, next }
    }

    fn is_found(&self, seat: &Seat, search: &str) -> bool {
        has(&seat.session.client_id, search)
            || self.connections.of(seat).is_some_and(|connection| {
                user_of(connection).is_some_and(|user| has(user, search))
                    || has(&connection.peer.address.to_string(), search)
            })
    }

    /// One client.
    pub fn look_at_client(&self, client_id: &str) -> Option<ClientView> {
        let key = *self.session_by_client_id.get(client_id)?;
        let seat = self.sessions.get(key)?;
        let active = self.connections.of(seat).and_then(|connection| connection.active());
        Some(ClientView {
            row: self.client_row(seat),
            session_expiry_s: seat.session.expiry_interval,
            keep_alive_s: active.map(|active| active.silence_micros_max / 1_500_000),
            has_will: seat.session.will.is_some(),
            queued_bytes: seat.session.outbox.queued_bytes(),
            inflight_in: seat.session.inbound.len(),
            place: Place { slot: key.index as usize, offset: 0 },
        })
    }

    /// Whether a client is connected; absent: it has no session here.
    pub fn is_connected(&self, client_id: &str) -> Option<bool> {
        let seat = self.sessions.get(*self.session_by_client_id.get(client_id)?)?;
        Some(seat.connection.is_some())
    }

    fn seats_from(&self, from: Place) -> (impl Iterator<Item = (Key, &Seat)>, Option<Place>) {
        let (slots, end) = (self.sessions.slots(), from.slot + VISITS_MAX);
        let next = (end < slots).then_some(Place { slot: end, offset: 0 });
        let seats = (from.slot..end.min(slots)).filter_map(|slot| {
            let key = self.sessions.key_at(slot as u32)?;
            Some((key, &**self.sessions.get(key)?))
        });
        (seats, next)
    }

    pub(super) fn client_row(&self, seat: &Seat) -> ClientRow {
        let connection = self.connections.of(seat);
        let active = connection.and_then(|connection| connection.active());
        let listener = connection.map(|connection| connection.peer.listener);
        let listener = listener.filter(|listener| *listener != Listener::LOCAL);
        let listener = listener.and_then(|listener| self.policy.listener(listener));
        ClientRow {
            client_id: Arc::clone(&seat.session.client_id),
            user: connection.and_then(user_of).map(Box::from),
            address: connection.map(|connection| connection.peer.address),
            listener: listener.map(|listener| listener.name.clone()),
            version: active.map(|active| active.version),
            subscriptions: seat.session.subscriptions.len(),
            queued: seat.session.outbox.queued(),
            inflight: seat.session.outbox.inflight.len(),
            connected_at: connection.map(|connection| connection.since),
            detached_at: seat.session.detached_at,
        }
    }
}

/// The user that a connection proved to be.
fn user_of(connection: &Connection) -> Option<&str> {
    connection.active()?.identity.as_ref()?.user.as_deref()
}

ordered_by!(ClientRow, |row| &row.client_id);

//! Arrival: a connection is accepted, greeted until packets can follow, and handed over to the
//! shard that is its home.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;

use super::doors::Entry;
use super::driver::{Driver, LaneItem, Operation};
use super::gate::{ACCEPTS_MAX, Pause};
use super::ring::Completion;
use super::socket::{Layered, Socket, Stage};
use super::visitors::{Refusal, Visit};
use crate::shard::{ConnectionId, Input, Peer, ShardId};
use crate::time::Time;
use crate::transport::Transport;

/// How long accepting pauses when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Driver {
    /// Gives the kernel as many accepts as there may be connections, where that has changed.
    pub(super) fn keep_accepting(&mut self, now: Time) -> io::Result<()> {
        if !std::mem::take(&mut self.gate.is_touched) || self.stop_by.is_some() {
            return Ok(());
        }
        self.gate.look_again = None;
        for index in 0..self.listening.len() {
            match self.acceptable(now, index) {
                Ok(count) => {
                    self.listening[index].pause = None;
                    while self.listening[index].accepts < count {
                        self.arm_accept(index)?;
                    }
                }
                Err(pause) => self.pause_accepting(now, index, pause),
            }
        }
        Ok(())
    }

    /// How many connections may be accepted at a place, beginning with those that the kernel was
    /// given accepts for.
    fn acceptable(&mut self, now: Time, index: usize) -> Result<usize, Pause> {
        if self.accept_again.is_some() {
            return Err(Pause::Descriptors);
        }
        let listener = usize::from(self.listening[index].listener.index);
        let room = self.gate.room(listener, &mut self.sockets);
        if room == 0 {
            return Err(Pause::Handshakes);
        }
        match self.visitors.acceptable(now, listener, self.mailboxes.len()) {
            Ok(count) => Ok(room.min(count).min(self.descriptors_left()).min(ACCEPTS_MAX)),
            Err(later) => {
                self.gate.look_at(later);
                Err(Pause::Rate)
            }
        }
    }

    fn pause_accepting(&mut self, now: Time, index: usize, pause: Pause) {
        let listening = &mut self.listening[index];
        if listening.pause.replace(pause) == Some(pause) || !self.gate.pause(now, pause) {
            return;
        }
        let name = &listening.name;
        match pause {
            Pause::Handshakes => tracing::warn!(
                "{name}: connections wait, as handshakes_max others have not come to their first \
                 packet"
            ),
            Pause::Rate => tracing::warn!("{name}: connections wait, by connections_per_s_max"),
            Pause::Descriptors => tracing::warn!(
                "{name}: not accepting for a moment: nearly as many files are open as there may be; \
                 raise LimitNOFILE"
            ),
        }
    }

    fn arm_accept(&mut self, listener: usize) -> io::Result<()> {
        self.listening[listener].accepts += 1;
        let fd = Fd(self.listening[listener].socket.as_raw_fd());
        // One connection each, not as many as come: what the kernel has ready would exceed every
        // bound, and a fleet that comes back would take a turn for itself.
        let accept = opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(Operation::Accept.numbered(listener));
        // SAFETY: the kernel is given no place for an address.
        unsafe { self.ring.push(&accept) }
    }

    pub(super) fn accepted(
        &mut self,
        now: Time,
        listener: usize,
        completion: Completion,
    ) -> io::Result<()> {
        let stopping = self.stop_by.is_some();
        self.listening[listener].accepts -= 1;
        self.gate.is_touched = true;
        if completion.result >= 0 {
            self.last_descriptor = completion.result;
            let index = usize::from(self.listening[listener].listener.index);
            self.visitors.accepted(now, index);
            // SAFETY: the kernel has just made the descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
            // A peer that is gone already has no address any more.
            let address = self.listening[listener].peer.or_else(|| peer_address(&fd));
            if let (false, Some(address)) = (stopping, address) {
                let peer = Peer { address, listener: self.listening[listener].listener };
                self.greet(now, fd, peer)?;
            }
        }
        let is_short = completion.result >= self.descriptors_end || is_shortage(-completion.result);
        if is_short && !stopping {
            if self.accept_again.is_none() {
                // What was armed would go on to take what is left.
                self.stop_accepting()?;
            }
            self.accept_again = Some(now.after(ACCEPT_PAUSE));
            let index = usize::from(self.listening[listener].listener.index);
            self.let_oldest_go(now, index);
        }
        Ok(())
    }

    /// This shard's part of the descriptors for connections behind the last one, and one at least.
    fn descriptors_left(&self) -> usize {
        // The last one may have filled a gap: there are at least as many as there are connections.
        let connections = self.visitors.connections().into_iter().sum::<u32>();
        let open = self.last_descriptor.max(i32::try_from(connections).unwrap_or(i32::MAX));
        let left = self.descriptors_end.saturating_sub(open);
        usize::try_from(left).unwrap_or(0).div_ceil(self.mailboxes.len()).max(1)
    }

    /// When to accept again, where there was no descriptor left: at once if there is one.
    pub(super) fn accept_again(&mut self, now: Time) -> Option<Time> {
        // The kernel gives the lowest that is free. How many more are is not known.
        let lowest = self.listening.first()?.socket.try_clone();
        let is_free = lowest.is_ok_and(|fd| fd.as_raw_fd() < self.descriptors_end);
        self.last_descriptor = self.descriptors_end;
        (!is_free).then(|| now.after(ACCEPT_PAUSE))
    }

    pub(super) fn stop_accepting(&mut self) -> io::Result<()> {
        for listener in 0..self.listening.len() {
            // Each cancels one.
            for _ in 0..self.listening[listener].accepts {
                self.cancel(Operation::Accept.numbered(listener))?;
            }
        }
        Ok(())
    }

    /// A connection begins: the core hears of it once packets can follow.
    fn greet(&mut self, now: Time, fd: OwnedFd, peer: Peer) -> io::Result<()> {
        let door = self.doors[usize::from(peer.listener.index)].door(peer.address.ip());
        // Whose connection a proxy brings is known later.
        let visit = if door.learns_client() { None } else { self.enter(now, peer) };
        if visit.is_none() && !door.learns_client() {
            return Ok(());
        }
        let transport = match Transport::new(&door) {
            Ok(transport) => transport,
            Err(error) => {
                tracing::error!("a connection is refused: {error}");
                return Ok(());
            }
        };
        let layered = transport.map(Layered::new);
        let is_plain = layered.is_none();
        let connection = self.sockets.insert(fd, peer, visit, layered);
        let listener = usize::from(peer.listener.index);
        self.gate.begin(now, listener, connection, &mut self.sockets);
        if self.gate.is_overfull(listener) {
            self.let_oldest_go(now, listener);
        }
        if is_plain {
            return self.open(now, connection, &[]);
        }
        if let Some(socket) = self.sockets.get_mut(connection) {
            socket.stage = Stage::Greeting;
        }
        self.greeted.push(now.after(self.greeting_timeout), connection);
        self.arm_receive(connection)
    }

    /// Counts a connection; nothing if it is kept out.
    pub(super) fn enter(&mut self, now: Time, peer: Peer) -> Option<Box<Visit>> {
        let (listener, address) = (usize::from(peer.listener.index), peer.address.ip());
        let mut outcome = self.visitors.enter(now, listener, address);
        if outcome.as_ref().is_err_and(|refusal| *refusal == Refusal::Full)
            && self.let_oldest_go(now, listener)
        {
            outcome = self.visitors.enter(now, listener, address);
        }
        match outcome {
            Ok(visit) => Some(visit),
            Err(refusal) => {
                self.kept_out.count(refusal);
                tracing::debug!(peer = %peer.address, ?refusal, "a connection is kept out");
                None
            }
        }
    }

    /// Lets that connection of a listener go which has waited longest for its peer, if it has had
    /// its fair time; whether there is one.
    fn let_oldest_go(&mut self, now: Time, listener: usize) -> bool {
        if self.completions.is_empty() {
            self.gate.caught_up_at = now;
        }
        let Some(id) = self.gate.oldest(listener, &mut self.sockets) else { return false };
        self.gate.let_go += 1;
        self.end_handshake(id);
        let Some(socket) = self.sockets.get_mut(id) else { return false };
        tracing::debug!(peer = %socket.peer.address, "says too little while others wait, let go");
        // Others can have its place; and there is nothing to wait for from it.
        socket.visit = None;
        socket.ended = true;
        match socket.stage {
            Stage::Open => self.shard.handle(now, Input::Closed { connection: id }),
            _ => self.kill(id),
        }
        true
    }

    /// A connection has come to its first packet, or never will.
    pub(super) fn end_handshake(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if socket.step.take().is_some() {
            self.gate.over(usize::from(socket.peer.listener.index));
        }
    }

    pub(super) fn end_greetings(&mut self) {
        for id in self.sockets.ids() {
            let socket = self.sockets.get_mut(id);
            if socket.is_some_and(|socket| matches!(socket.stage, Stage::Greeting)) {
                self.kill(id);
            }
        }
    }

    pub(super) fn open(
        &mut self,
        now: Time,
        connection: ConnectionId,
        unread: &[u8],
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(connection) else { return Ok(()) };
        let (peer, certificate) = (socket.peer, socket.certificate());
        self.shard.handle(now, Input::Accepted { connection, peer, certificate });
        self.let_go_revoked(now, connection);
        if !unread.is_empty() {
            self.shard.handle(now, Input::Received { connection, bytes: unread });
        }
        self.arm_receive(connection)
    }

    /// New connections come through these doors, and who shows a certificate that is revoked by
    /// now is let go.
    pub(super) fn change_doors(&mut self, now: Time, doors: Arc<Vec<Entry>>) {
        let before = std::mem::replace(&mut self.doors, doors);
        let mut both = before.iter().zip(self.doors.iter());
        if both.any(|(before, after)| before.revoked() != after.revoked()) {
            for id in self.sockets.ids() {
                self.let_go_revoked(now, id);
            }
        }
    }

    /// Lets a connection go if its certificate is revoked. Asked when it opens as well: the doors
    /// may have changed since its handshake began, or while it moved here from another shard.
    pub(super) fn let_go_revoked(&mut self, now: Time, connection: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(connection) else { return };
        let door = self.doors.get(usize::from(socket.peer.listener.index));
        let is_open = matches!(socket.stage, Stage::Open);
        if is_open && door.is_some_and(|door| socket.is_revoked(door.revoked())) {
            tracing::info!(peer = %socket.peer.address, "let go: its certificate is revoked");
            self.shard.handle(now, Input::Revoked { connection });
        }
    }

    pub(super) fn begin_move(
        &mut self,
        id: ConnectionId,
        to: ShardId,
        unread: Vec<u8>,
    ) -> io::Result<()> {
        self.end_handshake(id);
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        socket.stage = Stage::Moving { to, unread };
        if socket.receiving {
            return self.cancel_receive(id);
        }
        self.finish_move(id);
        Ok(())
    }

    pub(super) fn finish_move(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if socket.receiving || socket.sending.is_some() {
            return;
        }
        let Some(socket) = self.sockets.remove(id) else { return };
        let Socket { fd, peer, visit, layered, stage, .. } = *socket;
        if let Stage::Moving { to, unread } = stage {
            let bytes = unread.len();
            let item = LaneItem::Connection { fd, peer, visit, layered, unread };
            self.ends.send(to.index(), item, bytes);
        }
    }
}

fn is_shortage(errno: i32) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}

fn peer_address(fd: &OwnedFd) -> Option<SocketAddr> {
    socket2::SockRef::from(fd).peer_addr().ok()?.as_socket()
}

//! Arrival: a connection is accepted, greeted until packets can follow, and handed over to the
//! shard that is its home.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Fd;

use super::driver::{Driver, LaneItem, Operation};
use super::ring::Completion;
use super::socket::{Layered, Socket, Stage};
use super::visitors::Visit;
use crate::shard::{ConnectionId, Input, Peer, ShardId};
use crate::time::Time;
use crate::transport::Transport;

/// How long accepting pauses when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Driver {
    pub(super) fn arm_accept(&mut self, listener: usize) -> io::Result<()> {
        let fd = Fd(self.listening[listener].socket.as_raw_fd());
        let accept = opcode::AcceptMulti::new(fd)
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(Operation::Accept.numbered(listener));
        // SAFETY: the operation points to nothing.
        unsafe { self.ring.push(&accept) }
    }

    pub(super) fn accepted(
        &mut self,
        now: Time,
        listener: usize,
        completion: Completion,
    ) -> io::Result<()> {
        let stopping = self.stop_by.is_some();
        if completion.result >= 0 {
            // SAFETY: the kernel has just made the descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
            // A peer that is gone already has no address any more.
            let address = self.listening[listener].peer.or_else(|| peer_address(&fd));
            if let (false, Some(address)) = (stopping, address) {
                let peer = Peer { address, listener: self.listening[listener].listener };
                self.greet(now, fd, peer)?;
            }
        }
        if completion.more() || stopping {
            return Ok(());
        }
        match completion.result {
            result if result < 0 && is_shortage(-result) => {
                if self.accept_again.is_none() {
                    let error = io::Error::from_raw_os_error(-result);
                    tracing::warn!("not accepting for a moment: {error}; raise LimitNOFILE");
                }
                self.accept_again = Some(now.after(ACCEPT_PAUSE));
                Ok(())
            }
            _ => self.arm_accept(listener),
        }
    }

    pub(super) fn stop_accepting(&mut self) -> io::Result<()> {
        for listener in 0..self.listening.len() {
            self.cancel(Operation::Accept.numbered(listener))?;
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
        match self.visitors.enter(now, listener, address) {
            Ok(visit) => Some(visit),
            Err(refusal) => {
                self.kept_out.count(refusal);
                tracing::debug!(peer = %peer.address, ?refusal, "a connection is kept out");
                None
            }
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
        if !unread.is_empty() {
            self.shard.handle(now, Input::Received { connection, bytes: unread });
        }
        self.arm_receive(connection)
    }

    pub(super) fn begin_move(
        &mut self,
        id: ConnectionId,
        to: ShardId,
        unread: Vec<u8>,
    ) -> io::Result<()> {
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
            self.ends.send(to.index(), LaneItem::Connection { fd, peer, visit, layered, unread });
        }
    }
}

fn is_shortage(errno: i32) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}

fn peer_address(fd: &OwnedFd) -> Option<SocketAddr> {
    socket2::SockRef::from(fd).peer_addr().ok()?.as_socket()
}

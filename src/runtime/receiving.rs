//! Receiving: what the network brings, through the layers of a connection to the core.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::opcode;
use io_uring::types::Fd;

use super::buffers;
use super::driver::{Driver, Operation};
use super::ring::Completion;
use super::socket::{Socket, Stage};
use crate::shard::{ConnectionId, Input, Shard, WriteBatch};
use crate::time::Time;
use crate::transport::{self, Stray};

/// Memory for packets out of layers that is kept for the next connection, in bytes.
const PACKETS_KEPT_MAX: usize = 256 << 10;

impl Driver {
    pub(super) fn arm_receive(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        debug_assert!(!socket.receiving, "one receive a socket");
        socket.receiving = true;
        socket.cancelling = false;
        let receive = opcode::RecvMulti::new(Fd(socket.fd.as_raw_fd()), buffers::GROUP)
            .build()
            .user_data(Operation::Receive.token(id));
        // SAFETY: the kernel takes its buffers from the group, which lives as long as the ring.
        unsafe { self.ring.push(&receive) }
    }

    pub(super) fn received(
        &mut self,
        now: Time,
        id: ConnectionId,
        completion: Completion,
    ) -> io::Result<()> {
        if let Some(buffer) = completion.buffer() {
            let bytes = usize::try_from(completion.result).unwrap_or(0);
            if bytes > 0
                && let Some(socket) = self.sockets.get_mut(id)
            {
                let bytes = self.buffers.received(buffer, bytes);
                let is_fresh = std::mem::take(&mut socket.is_fresh);
                let stray = if is_fresh { transport::stray(bytes) } else { None };
                if socket.layered.is_some() {
                    self.unwrap(now, id, buffer, bytes.len())?;
                } else if let Some(stray) = stray
                    && matches!(socket.stage, Stage::Open)
                {
                    self.turn_away(now, id, stray);
                } else if hand_in(&mut self.shard, now, id, socket, bytes) {
                    self.look_whether_through(id);
                }
            }
            self.buffers.recycle(buffer);
        }
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        if completion.more() {
            return Ok(());
        }
        socket.receiving = false;
        let over = match completion.result {
            0 => true,
            result if result > 0 => false,
            result => !matches!(-result, libc::ENOBUFS | libc::ECANCELED | libc::EINTR),
        };
        socket.ended |= over;
        self.receive_ended(now, id)
    }

    /// The multishot receive is over: because the peer is, because it was cancelled, or because
    /// the kernel wants it armed anew.
    fn receive_ended(&mut self, now: Time, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        match &socket.stage {
            Stage::Open if socket.ended => {
                self.shard.handle(now, Input::Closed { connection: id });
            }
            Stage::Greeting if socket.ended => self.kill(id),
            Stage::Open if socket.paused => {}
            Stage::Greeting | Stage::Open => self.arm_receive(id)?,
            // If the peer has ended, its home shard will hear so too.
            Stage::Moving { .. } => self.finish_move(id),
            Stage::Closing { .. } if socket.ended => {}
            Stage::Lingering if socket.ended => self.kill(id),
            Stage::Closing { .. } | Stage::Lingering => self.arm_receive(id)?,
            Stage::Dead => self.bury(id),
        }
        Ok(())
    }

    /// Takes what came through the layers of a connection.
    fn unwrap(&mut self, now: Time, id: ConnectionId, buffer: u16, bytes: usize) -> io::Result<()> {
        let bytes = self.buffers.received(buffer, bytes);
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let Some(layered) = &mut socket.layered else { return Ok(()) };
        if matches!(socket.stage, Stage::Closing { .. } | Stage::Lingering | Stage::Dead) {
            return Ok(());
        }
        let mut packets = std::mem::take(&mut self.packets);
        packets.clear();
        let unsent = layered.out.len();
        let outcome = layered.transport.receive(bytes, &mut packets, &mut layered.out);
        let is_over = outcome.is_err() || layered.transport.is_finished();
        let is_open = layered.transport.is_open();
        let is_answered = layered.out.len() > unsent;
        // An answer to a greeting is a step of it; single bytes are not answered.
        if matches!(socket.stage, Stage::Greeting) && (is_answered || is_open) {
            let listener = usize::from(socket.peer.listener.index);
            self.gate.step(now, listener, id, &mut self.sockets);
        }
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        if let Err(error) = outcome {
            tracing::info!(peer = %socket.peer.address, "connection ended: {error}");
        }
        if matches!(socket.stage, Stage::Greeting) && is_open {
            socket.stage = Stage::Open;
            if let Some(layered) = &socket.layered
                && let Some(client) = layered.transport.client()
            {
                socket.peer.address = client;
            }
            if let Some(layered) = &socket.layered
                && let Some(tls) = &layered.transport.told().tls
            {
                let (version, name) = (tls.version.as_deref(), tls.common_name.as_deref());
                let authority = layered.transport.told().authority.as_deref();
                tracing::debug!(
                    peer = %socket.peer.address, version, name, authority,
                    "a proxy has ended the TLS of a connection"
                );
            }
            let (peer, certificate) = (socket.peer, socket.certificate());
            if socket.visit.is_none() {
                let Some(visit) = self.enter(now, peer) else {
                    self.kill(id);
                    return Ok(());
                };
                if let Some(socket) = self.sockets.get_mut(id) {
                    socket.visit = Some(visit);
                }
            }
            self.shard.handle(now, Input::Accepted { connection: id, peer, certificate });
            self.let_go_revoked(now, id);
        }
        if !packets.is_empty()
            && let Some(socket) = self.sockets.get_mut(id)
            && hand_in(&mut self.shard, now, id, socket, &packets)
        {
            self.look_whether_through(id);
        }
        packets.shrink_to(PACKETS_KEPT_MAX);
        self.packets = packets;
        self.push_out(id)?;
        if is_over {
            self.leave(now, id)?;
        }
        Ok(())
    }

    /// Something of a connection has come that had not come to its first packet.
    fn look_whether_through(&mut self, id: ConnectionId) {
        if !self.shard.awaits_first_packet(id) {
            self.end_handshake(id);
        }
    }

    /// The peer has said in its layers that it is over, or broken them.
    fn leave(&mut self, now: Time, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        match socket.stage {
            Stage::Greeting => self.close(now, id, WriteBatch::Empty),
            Stage::Open => {
                self.shard.handle(now, Input::Closed { connection: id });
                Ok(())
            }
            // Its home shard hears so when nothing more comes.
            _ => Ok(()),
        }
    }

    /// The peer speaks another protocol: it is told so, if it understands words.
    fn turn_away(&mut self, now: Time, id: ConnectionId, stray: Stray) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        tracing::info!(peer = %socket.peer.address, "connection ended: {stray}");
        socket.farewell = stray.answer();
        self.shard.handle(now, Input::Closed { connection: id });
    }

    pub(super) fn pause(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        socket.paused = true;
        self.cancel_receive(id)
    }

    pub(super) fn resume(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        socket.paused = false;
        if socket.receiving || socket.ended { Ok(()) } else { self.arm_receive(id) }
    }

    pub(super) fn cancel_receive(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        if !socket.receiving || socket.cancelling {
            return Ok(());
        }
        socket.cancelling = true;
        self.cancel(Operation::Receive.token(id))
    }
}

/// Hands in what has come of a connection; whether its first packet may have been among it.
fn hand_in(
    shard: &mut Shard,
    now: Time,
    id: ConnectionId,
    socket: &mut Socket,
    bytes: &[u8],
) -> bool {
    match &mut socket.stage {
        Stage::Open => {
            shard.handle(now, Input::Received { connection: id, bytes });
            socket.step.is_some()
        }
        Stage::Moving { unread, .. } => {
            unread.extend_from_slice(bytes);
            false
        }
        Stage::Greeting | Stage::Closing { .. } | Stage::Lingering | Stage::Dead => false,
    }
}

//! Sending and closing: what a shard writes, through the layers before the network, and how a
//! connection ends.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::driver::{Driver, Operation};
use super::socket::{Sending, Socket, Stage};
use crate::shard::{ConnectionId, Input, WriteBatch};
use crate::time::Time;

/// How long a closed connection may take to read its last words.
const LINGER: Duration = Duration::from_secs(2);

impl Driver {
    pub(super) fn write(
        &mut self,
        now: Time,
        id: ConnectionId,
        batch: WriteBatch,
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        if socket.broken {
            self.shard.handle(now, Input::Sent { connection: id, batch });
            return Ok(());
        }
        if let Some(layered) = &mut socket.layered {
            debug_assert!(layered.owed.is_none(), "one batch a connection is outstanding");
            layered.transport.send(batch.slices(), &mut layered.out);
            layered.owed = Some(batch);
            return self.push_out(id);
        }
        debug_assert!(socket.sending.is_none(), "one batch a connection is outstanding");
        socket.sending = Some(Sending::new(batch));
        self.send(id)
    }

    /// Sends what the layers of a connection have to write, unless they are at it.
    pub(super) fn push_out(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let Some(layered) = &mut socket.layered else { return Ok(()) };
        if socket.sending.is_some() || socket.broken {
            return Ok(());
        }
        layered.transport.answer(&mut layered.out);
        if layered.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut layered.out);
        socket.sending = Some(Sending::new(WriteBatch::One(out)));
        self.send(id)
    }

    /// Gives the kernel what is left of a batch.
    fn send(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let fd = Fd(socket.fd.as_raw_fd());
        let Some(sending) = &mut socket.sending else { return Ok(()) };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let operation: squeue::Entry = match sending.one_piece() {
            Some(piece) => {
                opcode::Send::new(fd, piece.as_ptr(), piece.len() as u32).flags(flags).build()
            }
            None => opcode::SendMsg::new(fd, sending.header()).flags(flags as u32).build(),
        };
        // SAFETY: the batch and the header are boxed and stay in the slot, which is not freed
        // before this operation has completed.
        unsafe { self.ring.push(&operation.user_data(Operation::Send.token(id))) }
    }

    pub(super) fn sent(&mut self, now: Time, id: ConnectionId, result: i32) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let Some(sending) = &mut socket.sending else { return Ok(()) };
        match usize::try_from(result) {
            Ok(bytes) => sending.sent += bytes,
            Err(_) if matches!(-result, libc::EINTR | libc::EAGAIN) => {}
            Err(_) => return self.send_failed(now, id),
        }
        if sending.sent < sending.bytes {
            return self.send(id);
        }
        let Some(sending) = socket.sending.take() else { return Ok(()) };
        let batch = match &mut socket.layered {
            None => Some(sending.batch),
            Some(layered) if !layered.out.is_empty() => return self.push_out(id),
            Some(layered) => layered.owed.take(),
        };
        match &mut socket.stage {
            Stage::Greeting => {}
            Stage::Open => {
                let is_layered = socket.layered.is_some();
                if let Some(batch) = batch {
                    self.shard.handle(now, Input::Sent { connection: id, batch });
                }
                // The peer may have asked for an answer meanwhile.
                if is_layered {
                    self.push_out(id)?;
                }
            }
            Stage::Moving { .. } => self.finish_move(id),
            Stage::Closing { last } => {
                let last = std::mem::take(last);
                self.send_last(id, last)?;
            }
            Stage::Lingering => {}
            Stage::Dead => self.bury(id),
        }
        Ok(())
    }

    /// The network ended the connection while it was written to. What had arrived by then is
    /// still received, and its end.
    fn send_failed(&mut self, now: Time, id: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let Some(sending) = socket.sending.take() else { return Ok(()) };
        if !matches!(socket.stage, Stage::Open) {
            self.kill(id);
            return Ok(());
        }
        socket.broken = true;
        shut_down(socket, libc::SHUT_RDWR);
        let batch = match &mut socket.layered {
            None => Some(sending.batch),
            Some(layered) => layered.owed.take(),
        };
        if let Some(batch) = batch {
            self.shard.handle(now, Input::Sent { connection: id, batch });
        }
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        now: Time,
        id: ConnectionId,
        last: WriteBatch,
    ) -> io::Result<()> {
        self.end_handshake(id);
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let last = last_words(socket, last);
        socket.paused = false;
        socket.stage = Stage::Closing { last: WriteBatch::Empty };
        self.lingerers.push(now.after(LINGER), id);
        if socket.sending.is_some() {
            socket.stage = Stage::Closing { last };
            return Ok(());
        }
        self.send_last(id, last)
    }

    /// Sends the last words, or if there are none left says that nothing more comes.
    fn send_last(&mut self, id: ConnectionId, last: WriteBatch) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        if !last.is_empty() && !socket.broken {
            socket.sending = Some(Sending::new(last));
            return self.send(id);
        }
        socket.stage = Stage::Lingering;
        shut_down(socket, libc::SHUT_WR);
        if socket.ended {
            self.kill(id);
            return Ok(());
        }
        // What arrives is read and dropped: unread bytes would turn the end into a reset, and
        // the peer could lose our last words.
        if socket.receiving { Ok(()) } else { self.arm_receive(id) }
    }

    /// Ends a socket now, whatever it is doing.
    pub(super) fn kill(&mut self, id: ConnectionId) {
        self.end_handshake(id);
        let Some(socket) = self.sockets.get_mut(id) else { return };
        socket.stage = Stage::Dead;
        shut_down(socket, libc::SHUT_RDWR);
        self.bury(id);
    }

    /// Frees the slot of a dead socket once the kernel is done with it.
    pub(super) fn bury(&mut self, id: ConnectionId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && matches!(socket.stage, Stage::Dead)
            && !socket.receiving
            && socket.sending.is_none()
        {
            self.sockets.remove(id);
        }
    }
}

/// What is said at the end, as it goes over the network.
fn last_words(socket: &mut Socket, last: WriteBatch) -> WriteBatch {
    let words = match &mut socket.layered {
        None if last.is_empty() => std::mem::take(&mut socket.farewell),
        None => return last,
        Some(layered) => {
            let mut out = std::mem::take(&mut layered.out);
            if !last.is_empty() {
                layered.transport.send(last.slices(), &mut out);
            }
            layered.transport.close(&mut out);
            out
        }
    };
    if words.is_empty() { WriteBatch::Empty } else { WriteBatch::One(words) }
}

/// Makes the kernel complete what it does with a socket.
fn shut_down(socket: &Socket, how: i32) {
    // SAFETY: no pointer is passed. It fails if the peer is gone, and then changes nothing.
    unsafe { libc::shutdown(socket.fd.as_raw_fd(), how) };
}

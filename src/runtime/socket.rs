//! The sockets of a shard, by slot, and what the ring is doing with each.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use super::visitors::Visit;
use crate::auth::{CertificateNames, Revoked};
use crate::shard::{ConnectionId, Peer, ShardId, WriteBatch};
use crate::time::Time;
use crate::transport::{ClientCertificate, Transport};

/// A connected socket.
///
/// Invariant: the slot is free only when neither a receive nor a send of it is with the kernel.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) generation: u32,
    pub(super) peer: Peer,
    pub(super) stage: Stage,
    /// The multishot receive is with the kernel.
    pub(super) receiving: bool,
    /// A cancellation of it has been asked for.
    pub(super) cancelling: bool,
    /// The core does not want to hear more for now.
    pub(super) paused: bool,
    /// The peer will send no more.
    pub(super) ended: bool,
    /// Nothing that is written arrives any more.
    pub(super) broken: bool,
    /// With the kernel.
    pub(super) sending: Option<Box<Sending>>,
    /// Its place among all connections; none until a proxy has said whose it is.
    pub(super) visit: Option<Box<Visit>>,
    /// What lies between it and MQTT; nothing by plain TCP.
    pub(super) layered: Option<Box<Layered>>,
    /// When it last came a step further towards its first packet; absent once that is there.
    pub(super) step: Option<Time>,
    /// Nothing has come yet.
    pub(super) is_fresh: bool,
    /// Said at the end, if the core has nothing to say.
    pub(super) farewell: Vec<u8>,
}

impl Socket {
    /// Whose certificate the peer has shown.
    pub(super) fn certificate(&self) -> Option<Box<CertificateNames>> {
        let names = match self.layered.as_ref()?.transport.client_certificate()? {
            ClientCertificate::Der(der) => CertificateNames::of(der),
            ClientCertificate::Named(common_name) => CertificateNames::named(common_name),
        };
        Some(Box::new(names))
    }

    /// Whether one of the certificates that the peer has shown is revoked.
    pub(super) fn is_revoked(&self, revoked: &Revoked) -> bool {
        let layered = self.layered.as_ref();
        layered.is_some_and(|one| one.transport.peer_certificates().any(|der| revoked.holds(der)))
    }
}

/// The layers of a connection, and what they have to write.
pub(super) struct Layered {
    pub(super) transport: Box<Transport>,
    /// For the network, behind what is being sent.
    pub(super) out: Vec<u8>,
    /// What the core wrote and is wrapped already: it is told when all is sent.
    pub(super) owed: Option<WriteBatch>,
}

impl Layered {
    pub(super) fn new(transport: Box<Transport>) -> Box<Layered> {
        Box::new(Layered { transport, out: Vec::new(), owed: None })
    }
}

/// How far a socket is.
pub(super) enum Stage {
    /// Its layers are being agreed on; the core knows nothing of it.
    Greeting,
    /// The core knows the connection.
    Open,
    /// On its way to another shard: waits for its receive and send to end.
    Moving { to: ShardId, unread: Vec<u8> },
    /// The core has said its last words, which are to be sent after what is being sent.
    Closing { last: WriteBatch },
    /// Everything is sent and said so; the peer's end is awaited, so that it can read all.
    Lingering,
    /// Shut down both ways: waits for its receive and send to end.
    Dead,
}

/// A batch being written.
pub(super) struct Sending {
    pub(super) batch: WriteBatch,
    /// Bytes the kernel has taken.
    pub(super) sent: usize,
    pub(super) bytes: usize,
    /// Point into `batch`; used when it has several pieces.
    pieces: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// Pieces written with one operation; the kernel takes 1,024.
const PIECES_MAX: usize = 256;

impl Sending {
    pub(super) fn new(batch: WriteBatch) -> Box<Sending> {
        let bytes = batch.len();
        // SAFETY: a message header of zeros is a valid one that names nothing.
        let header = unsafe { MaybeUninit::zeroed().assume_init() };
        Box::new(Sending { batch, sent: 0, bytes, pieces: Vec::new(), header })
    }

    /// What is left, if it is one piece.
    pub(super) fn one_piece(&self) -> Option<&[u8]> {
        match &self.batch {
            WriteBatch::One(buffer) => Some(&buffer[self.sent..]),
            _ => None,
        }
    }

    /// A header that names what is left, or as much of it as goes at once. Valid until the next
    /// call, and as long as `self` stays where it is.
    pub(super) fn header(&mut self) -> *const libc::msghdr {
        let mut skip = self.sent;
        self.pieces.clear();
        for piece in self.batch.slices() {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let piece = &piece[skip..];
            skip = 0;
            self.pieces.push(libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            });
            if self.pieces.len() == PIECES_MAX {
                break;
            }
        }
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
        &self.header
    }
}

/// The sockets of a shard.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Option<Box<Socket>>>,
    free: Vec<u32>,
    generation: u32,
}

/// Bits of a generation that fit into a token.
pub(super) const GENERATION_MASK: u32 = 0xff_ffff;

impl Sockets {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(
        &mut self,
        fd: OwnedFd,
        peer: Peer,
        visit: Option<Box<Visit>>,
        layered: Option<Box<Layered>>,
    ) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.generation = self.generation.wrapping_add(1) & GENERATION_MASK;
        let generation = self.generation;
        self.slots[slot as usize] = Some(Box::new(Socket {
            fd,
            generation,
            peer,
            stage: Stage::Open,
            receiving: false,
            cancelling: false,
            paused: false,
            ended: false,
            broken: false,
            sending: None,
            visit,
            layered,
            step: None,
            is_fresh: true,
            farewell: Vec::new(),
        }));
        ConnectionId { slot, generation }
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (socket.generation == id.generation).then_some(socket)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Box<Socket>> {
        let socket = self.slots.get_mut(id.slot as usize)?.take()?;
        debug_assert_eq!(socket.generation, id.generation, "only looked-up sockets are removed");
        assert!(
            !socket.receiving && socket.sending.is_none(),
            "the kernel is done with a socket that leaves"
        );
        self.free.push(id.slot);
        Some(socket)
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        let ids = self.slots.iter().enumerate().filter_map(|(slot, socket)| {
            let generation = socket.as_ref()?.generation;
            Some(ConnectionId { slot: slot as u32, generation })
        });
        ids.collect()
    }
}

/// Sockets whose time to linger is bounded, in the order they began to.
#[derive(Default)]
pub(super) struct Lingerers {
    queue: std::collections::VecDeque<(Time, ConnectionId)>,
}

impl Lingerers {
    pub(super) fn push(&mut self, until: Time, id: ConnectionId) {
        self.queue.push_back((until, id));
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.queue.front().map(|(until, _)| *until)
    }

    pub(super) fn pop_due(&mut self, now: Time) -> Option<ConnectionId> {
        match self.queue.front() {
            Some((until, _)) if *until <= now => self.queue.pop_front().map(|(_, id)| id),
            _ => None,
        }
    }
}

//! One core's part of the broker as a state machine.
//!
//! A [`Shard`] owns its connections, sessions, topic tree, share of the retained messages and
//! timers. It knows no socket, clock, thread or entropy: a driver (the runtime, or the
//! simulation) calls
//!
//! 1. [`Shard::handle`] for everything that happened, with the time it happened at;
//! 2. [`Shard::poll`] until it returns `None`, carrying out what it says;
//! 3. [`Shard::poll_timeout`] for when to call `handle` with [`Input::Timeout`] at the latest.
//!
//! Every change of state is synchronous, so no state is half-changed at a yield, and a driver
//! that handles all that is ready before it polls gets one write a connection and turn.

mod effect;
mod message;

pub use message::ShardMessage;
pub use effect::{
    Chunk, ConnectionId, Input, Listener, Output, Peer, Seed, Sequence, ShardId, WriteBatch,
};

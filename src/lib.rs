//! Hawker, an MQTT broker for Linux servers: thread-per-core on io_uring.
//!
//! # The way of a message
//!
//! ```text
//! socket -> runtime (ring) -> proto::decode -> session -> router -> [lane -> router] ->
//! session outbox -> proto::encode -> runtime (ring) -> socket
//! ```
//!
//! # The rooms
//!
//! | folder | holds | must not know |
//! |---|---|---|
//! | [`proto`] | the packets of MQTT 3.1, 3.1.1 and 5.0, topic names and filters | anything else of ours, time, IO |
//! | [`session`] | everything one client is owed: window, queue, will | router, storage, shard |
//! | [`router`] | who wants a message: topic tree, shared groups, retained | session internals, storage |
//! | [`storage`] | what is kept: a log of opaque records | MQTT, files |
//! | [`auth`] | who may enter | IO |
//! | `transport` | TLS and WebSocket, as layers of bytes | packets, sockets |
//! | [`shard`] | one core's broker as a state machine | runtime, clocks, threads, unseeded hashers |
//! | `runtime` | rings, sockets, lanes, threads, the clock | MQTT decisions |
//! | [`config`] | what the operator decides | anything else of ours |
//! | `sys` | facts about machine and kernel | MQTT |
//! | `backup` | what is kept, as lines of JSON | connections |
//! | `cli` | flags, exit codes, where log lines go | MQTT |
//! | `sim` | the other driver of the shards: one seed, many faults | wall clock, entropy |
//!
//! The core decides, the shell moves bytes: a [`shard::Shard`] is fed with
//! [`shard::Input`]s and drained of [`shard::Output`]s, and never waits for anything.
//!
//! # Glossary
//!
//! - **shard**: one core's part of the broker; owns its connections, sessions and topic tree.
//! - **home shard**: `hash(client id) % shards`; the session of a client lives there alone.
//! - **interest**: that some shard has a subscriber for a filter; known to every other shard.
//! - **lane**: the bounded queue from one shard to another.
//! - **takeover**: a CONNECT with the client id of a connected client; the older connection ends.
//! - **turn**: one round of a shard: take what is ready, decide, write once.

#[deny(clippy::disallowed_methods)]
pub mod auth;
pub mod config;
pub mod message;
pub mod metrics;
#[deny(clippy::disallowed_methods)]
pub mod proto;
#[deny(clippy::disallowed_methods)]
pub mod router;
#[deny(clippy::disallowed_methods)]
pub mod session;
#[deny(clippy::disallowed_methods)]
pub mod shard;
#[deny(clippy::disallowed_methods)]
pub mod storage;
pub mod time;

#[cfg(feature = "runtime")]
pub mod backup;
#[cfg(feature = "runtime")]
pub mod cli;
#[cfg(feature = "runtime")]
mod control;
#[cfg(feature = "runtime")]
pub mod embed;
#[cfg(feature = "runtime")]
pub mod local;
#[cfg(feature = "runtime")]
mod login;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "sim")]
#[deny(clippy::disallowed_methods)]
pub mod sim;
#[cfg(feature = "runtime")]
pub mod sys;
#[cfg(feature = "runtime")]
#[deny(clippy::disallowed_methods)]
pub mod transport;

#[cfg(feature = "fuzz")]
pub use login::{judge_token, sign_token};
#[cfg(feature = "runtime")]
pub use runtime::Broker;
#[cfg(feature = "fuzz")]
pub use runtime::parse_bans;

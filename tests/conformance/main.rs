//! The protocol, tried from outside on the real binary: what MQTT 3.1, 3.1.1 and 5.0 demand of a
//! server, statement by statement.
//!
//! The suite shares no code with the broker. [`wire`] writes any bytes, [`packet`] reads what a
//! server may send and nothing else, [`client`] joins the two over a socket, [`brokers`] runs
//! each test on brokers of 1, 2, 3 and 8 shards.
//!
//! # Notation
//!
//! A test names the statements that it shows in comments: `[v5 MQTT-3.1.4-3]` is a statement of
//! MQTT 5.0, `[v3.1.1 MQTT-3.1.4-2]` one of MQTT 3.1.1, whose numbers differ. From these, and from
//! the ids in `src/`, [`report`] writes `docs/conformance.md`.

#[path = "../support/mod.rs"]
mod support;

mod brokers;
mod client;
mod packet;
mod wire;

mod alias;
mod auth;
mod connect;
mod flow;
mod limits;
mod malformed;
mod ordering;
mod properties;
mod publish;
mod qos;
mod queue;
mod report;
mod session;
mod shared;
mod subscribe;
mod topics;
mod will;

//! The load harness: drives any MQTT broker and counts every message.
//!
//! A run is a **plan** (who connects, who publishes which streams, who must receive them) and a
//! short course of commands to a **fleet** of workers. Everything that is checked follows from the
//! plan; everything that is measured is counted by the workers and read by the fleet.
//!
//! ```text
//!   cli -> settings -> scenario -> plan --------+
//!                         | commands            v
//!                         +----------> fleet -> worker (a thread, an epoll instance)
//!                                        |        |- poll, dialler, schedule    sockets and time
//!                                        |        |- layers                     TLS, WebSocket
//!                                        |        |- client                     one connection
//!                                        |        |    |- publisher             windows, sequence
//!                                        |        |    +- mqtt                  bytes
//!                                        |        +- desk                       what clients share
//!                                        |             +- stamp, track          the accounting
//!                                        v
//!                        findings -> report -> table, html (plot), compare
//! ```
//!
//! Words: a *stream* is one publisher's messages on one topic, numbered from zero. A *copy* is a
//! message for one receiver; a group of shared subscribers is one receiver. A copy that never
//! arrives is *lost*, one that arrives again is *duplicated* (or *redelivered* when it says so at
//! QoS 1), one behind a later one is *out of order*, one whose bytes changed is *corrupt*, one
//! that reached a client which does not expect its stream is *misrouted*.
//!
//! `mqtt`, `layers`, `stamp`, `track`, `plan`, `publisher`, `client`, `schedule` and `compare` know no
//! socket and no clock. Nothing here is shared with the broker it was written beside: one mistake
//! must not be able to hide the other.

pub mod broker;
pub mod cli;
pub mod client;
pub mod compare;
pub mod count;
pub mod desk;
pub mod dialler;
pub mod ending;
pub mod error;
pub mod findings;
pub mod fleet;
pub mod html;
pub mod layers;
pub mod mailbox;
pub mod mqtt;
pub mod plan;
pub mod plot;
pub mod poll;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod scenario;
pub mod schedule;
pub mod settings;
pub mod stamp;
pub mod table;
pub mod target;
pub mod track;
pub mod worker;

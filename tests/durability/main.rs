//! What was acknowledged outlives the broker: the real binary, killed while it works.
//!
//! The clients here keep their session state across the broker's lives, as a good client does, and
//! share no code with the broker.

#[path = "../support/mod.rs"]
mod support;

mod backup;
mod client;
mod crash;
mod directory;
mod full;
mod lost_disk;
mod shared;
mod transfer;

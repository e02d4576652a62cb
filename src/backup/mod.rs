//! What a broker keeps, as JSON lines: exported, imported, and taken over from Mosquitto.
//!
//! An import of an export loses nothing: sessions come back with their subscriptions, wills, the
//! QoS 2 exchanges that were half done and everything they are owed in its order, and retained
//! messages with them. The number of shards may be another one.

mod export;
mod import;
mod line;
pub mod mosquitto;

pub use export::export;
pub use import::{Import, ImportError, import};

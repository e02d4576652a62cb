//! What the operator decides.

mod mqtt;

pub use mqtt::{Mqtt, QueuePolicy, ShareStrategy};

//! What crosses from one shard to another. Opaque to drivers.

/// One message on a lane.
#[derive(Debug)]
pub enum ShardMessage {}

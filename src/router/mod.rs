//! Who wants a message: topic filters and the values they lead to, the subscribers of a filter,
//! and retained messages by topic.
//!
//! Knows no session, no shard and no packet but the options of a subscription. What a filter
//! leads to is the caller's: the shard puts its subscribers, its groups and the interest of other
//! shards into one entry, so that one look-up answers for all three.

mod retained;
mod subscribers;
mod tree;
mod trie;

pub use retained::RetainedStore;
pub use subscribers::{Subscriber, SubscriberKey, SubscriberSet};
pub use tree::TopicTree;

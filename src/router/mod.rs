//! Who wants a message.
mod retained;
mod subscribers;
mod tree;
pub use retained::RetainedStore;
pub use subscribers::{Subscriber, SubscriberKey, SubscriberSet};
pub use tree::TopicTree;

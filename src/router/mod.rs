//! Who wants a message.

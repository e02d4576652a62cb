//! The `[mqtt]` table: what clients are promised and how much they may ask for.

/// Protocol limits and choices; every one holds for each shard alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// How long a connection may take to send its CONNECT, in milliseconds.
    pub connect_timeout_ms: u32,
    /// Longest keep-alive a client may choose, in seconds; 0 accepts any, none included.
    /// A 5.0 client that asks for more is told this one.
    pub keep_alive_s_max: u16,
    /// Longest client id, in bytes.
    pub client_id_bytes_max: u16,
    /// Largest packet taken from a client, in bytes.
    pub packet_bytes_max: u32,
    /// QoS 1 and 2 messages taken from a 5.0 client before the first is acknowledged.
    pub receive_maximum: u16,
    /// Topic aliases a 5.0 client may set; each keeps its topic in memory.
    pub topic_alias_maximum: u16,
    /// Topic aliases the broker sets towards a 5.0 client that takes them.
    pub topic_alias_outbound_max: u16,
    /// Deepest topic, in levels.
    pub topic_levels_max: u16,
    /// Longest a session is kept after its connection ended, in seconds; also that of the
    /// persistent sessions of 3.1 and 3.1.1. 4294967295 keeps them for ever.
    pub session_expiry_s_max: u32,
    /// Sessions of the whole broker, connected or not.
    pub sessions_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_max: u32,
    /// QoS 1 and 2 messages sent to a client and not yet acknowledged; the client's own receive
    /// maximum lowers it.
    pub inflight_messages_max: u16,
    /// Messages waiting for one client beyond those in flight.
    pub queue_messages_max: u32,
    /// Their bytes: topic, properties and payload.
    pub queue_bytes_max: u64,
    /// Which message goes when the queue is full.
    pub queue_policy: QueuePolicy,
    /// Whether QoS 0 messages wait for a client that is away.
    pub queue_qos0: bool,
    /// Bytes written for a client and not yet taken by its connection, beyond which QoS 0
    /// messages for it are dropped and QoS 1 and 2 messages wait in its queue.
    pub outbox_bytes_max: u32,
    /// Retained messages of the whole broker.
    pub retained_messages_max: u32,
    /// Their bytes.
    pub retained_bytes_max: u64,
    /// Whether a payload declared to be UTF-8 is checked. [MQTT-3.3.2-4]
    pub payload_utf8_validated: bool,
    /// How a shared subscription picks the member for a message.
    pub share_strategy: ShareStrategy,
    /// The prefix of response topics given to 5.0 clients that ask for it; the client id is added.
    pub response_topic_prefix: Option<String>,
    /// Whether a client may connect without credentials; unset: on loopback listeners only.
    pub anonymous_allowed: Option<bool>,
    /// How long a stopping broker waits for its connections to take what was written.
    pub stop_timeout_ms: u32,
}

/// Which message goes when a session's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// The oldest makes room.
    #[default]
    DropOldest,
    /// The new one is not taken.
    DropNewest,
}

/// How a shared subscription picks the member for a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareStrategy {
    /// In turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The same one until it leaves or its window is full.
    Sticky,
    /// By the publisher's client id.
    HashClient,
    /// By the topic.
    HashTopic,
}

impl Default for Mqtt {
    fn default() -> Mqtt {
        Mqtt {
            connect_timeout_ms: 10_000,
            keep_alive_s_max: 0,
            client_id_bytes_max: 1024,
            packet_bytes_max: 16 << 20,
            receive_maximum: 1024,
            topic_alias_maximum: 64,
            topic_alias_outbound_max: 16,
            topic_levels_max: 128,
            session_expiry_s_max: u32::MAX,
            sessions_max: 10_000_000,
            subscriptions_max: 100_000,
            inflight_messages_max: 128,
            queue_messages_max: 100_000,
            queue_bytes_max: 256 << 20,
            queue_policy: QueuePolicy::DropOldest,
            queue_qos0: false,
            outbox_bytes_max: 1 << 20,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            payload_utf8_validated: false,
            share_strategy: ShareStrategy::RoundRobin,
            response_topic_prefix: None,
            anonymous_allowed: None,
            stop_timeout_ms: 5_000,
        }
    }
}

//! The `[mqtt]` table: what clients are promised and how much they may ask for.

use super::kind::{self, Choice, Kind as _, Optional, Sampled, Switch, bytes, count, milliseconds};
use super::kind::{seconds, topic_prefix};
use super::table::table;

/// Largest packet the protocol can express: a remaining length of 268,435,455 bytes behind a
/// fixed header of five. [MQTT 5.0, section 2.1.4]
const PACKET_BYTES_MAX: u32 = 268_435_455 + 5;

table! {
    /// What clients are promised and how much they may ask for. All limits hold for the whole
    /// broker or for one client as they say, whatever the number of shards.
    pub struct Mqtt in "mqtt" {
        /// How long a connection may take to send its CONNECT; then it is closed. Long enough
        /// for a slow radio link, short enough that silent connections cannot pile up.
        pub connect_timeout_ms: u32 = 10_000, milliseconds(50..=600_000), Connect;

        /// Longest keep-alive a client may choose; 0 accepts any, none at all included. A 5.0
        /// client that asks for more is told this one (Server Keep Alive); older ones keep theirs.
        /// A client without a keep-alive whose network vanished stays connected until TCP gives
        /// up on it.
        pub keep_alive_s_max: u16 = 0, seconds(0..=65_535), Connect;

        /// Longest client id. The standard wants at least 23 accepted; each is held in memory as
        /// long as its session.
        pub client_id_bytes_max: u16 = 1024, bytes(23..=65_535), Connect;

        /// Largest packet taken from a client; one that sends a larger one is disconnected
        /// (reason 0x95). A packet is held in memory until it is complete, so one client can
        /// hold this much; 384 KiB until it is let in. With a log half of
        /// `storage.segment_bytes` at most: where that is less and nothing is said here, that is
        /// what is taken.
        pub packet_bytes_max: u32 = 16 << 20, bytes(128..=PACKET_BYTES_MAX), Connect;

        /// QoS 1 and 2 messages taken from a 5.0 client before the first is acknowledged
        /// (Receive Maximum); one that sends more is disconnected (reason 0x93). Each costs a few
        /// bytes.
        pub receive_maximum: u16 = 1024, count(1..=65_535), Connect;

        /// Topic aliases a 5.0 client may set (Topic Alias Maximum); 0 turns them off. Each keeps
        /// its topic in memory as long as the connection.
        pub topic_alias_maximum: u16 = 64, count(0..=65_535), Connect;

        /// Topic aliases the broker sets towards a 5.0 client that takes them; 0 turns them off.
        /// They save bytes on the network and cost a small table for each connection.
        pub topic_alias_outbound_max: u16 = 16, count(0..=65_535), Connect;

        /// Deepest topic name or filter, in levels; deeper ones are refused (reasons 0x8F and
        /// 0x90). Matching a topic costs time for each of its levels.
        pub topic_levels_max: u16 = 128, count(1..=65_535), Live;

        /// Longest a session is kept after its connection ended; a client that asks for more is
        /// told this. It is also how long the sessions of 3.1 and 3.1.1 clients without clean
        /// session are kept. 4294967295 keeps them for ever, also those of clients that never
        /// come back.
        pub session_expiry_s_max: u32 = u32::MAX, seconds(0..=u32::MAX), Connect;

        /// Longest a message waits for who is away, or is retained; one whose 5.0 publisher says
        /// that it expires sooner does so. 5.0 subscribers are told what is left. 4294967295 keeps
        /// messages for ever, also those for clients that never come back.
        pub message_expiry_s_max: u32 = u32::MAX, seconds(1..=u32::MAX), Live;

        /// Sessions of the whole broker, connected or not; a client beyond them is refused
        /// (reason 0x97).
        pub sessions_max: u32 = 10_000_000, count(1..=u32::MAX), Live;

        /// Subscriptions of one session; more are refused one by one (reason 0x97).
        pub subscriptions_max: u32 = 100_000, count(1..=u32::MAX), Live;

        /// What their filters may take: the bytes of each, and 100 for each of its levels, which is
        /// about what they cost in memory; more are refused one by one (reason 0x97).
        pub subscription_bytes_max: u64 = 128 << 20, bytes(65_536..=1 << 40), Live;

        /// Messages a second that one client may publish, after silence as many at once; 0 is any
        /// number. `[[auth.rules]]` can allow some clients less. `auth.rate_exceeded` says what
        /// becomes of who sends more.
        pub client_messages_per_s_max: u32 = 0, count(0..=u32::MAX), Connect;

        /// Bytes a second that one client may send.
        pub client_bytes_per_s_max: u32 = 0, count(0..=u32::MAX), Connect;

        /// QoS 1 and 2 messages sent to a client and not yet acknowledged; the client's own
        /// receive maximum lowers it. A wide window keeps a fast link full and costs the broker
        /// less for each message than its queue; after a reconnection all of it is sent again.
        pub inflight_messages_max: u16 = 8192, count(1..=65_535), Connect;

        /// Of those, how many may be of shared subscriptions: a member that is slow or gone holds
        /// no more of its group's messages.
        pub share_inflight_messages_max: u16 = 128, count(1..=65_535), Connect;

        /// Messages that wait for one client, connected or away, beyond those in flight. At the
        /// limit `queue_policy` decides which one is lost; each loss is counted, and logged once a
        /// minute at most. At 0 a message comes only to who is there and has room in its window.
        pub queue_messages_max: u32 = 100_000, count(0..=u32::MAX), Live;

        /// Their bytes: topic, properties and payload. The whole broker can come to hold this
        /// for each of its sessions.
        pub queue_bytes_max: u64 = 256 << 20, bytes(0..=1 << 40), Live;

        /// Memory that all queues, of sessions and shared groups, may take together: some 100 bytes
        /// for each message that waits, and its payload unless it lies in the log. Beyond it a
        /// queue is full.
        pub queue_memory_bytes_max: u64 = 4 << 30, bytes(1 << 20..=1 << 40), Live;

        /// What happens when the queue is full: `drop-oldest` makes room for the new message,
        /// `drop-newest` keeps what is there, `refuse-publisher` refuses the message before
        /// anybody on that shard gets it, so that its publisher slows down: 5.0 is told so (reason
        /// 0x97), earlier versions are disconnected. A QoS 2 message that another shard has taken
        /// is not refused, as who has it would get it twice: it is lost for the full queue, and
        /// counted. At QoS 0, which nobody answers, it is `drop-newest`.
        pub queue_policy: QueuePolicy = QueuePolicy::DropOldest, Choice(QueuePolicy::WORDS), Live;

        /// Whether QoS 0 messages wait for a client that is away, too.
        pub queue_qos0: bool = false, Switch, Live;

        /// Bytes written for a client and not yet taken by its connection, beyond which QoS 0
        /// messages for it are dropped and counted, and QoS 1 and 2 messages wait in its queue.
        /// The memory that one slow client can hold beside its queue.
        pub outbox_bytes_max: u32 = 2 << 20, bytes(4096..=1 << 30), Live;

        /// Retained messages of the whole broker; a message beyond them is delivered and not
        /// retained. 0 turns retaining off: 5.0 clients are told as they connect (Retain Available),
        /// and one that publishes with the retain flag all the same is disconnected (0x9A).
        pub retained_messages_max: u32 = 1_000_000, count(0..=u32::MAX), Live;

        /// Their bytes: topic, properties and payload.
        pub retained_bytes_max: u64 = 1 << 30, bytes(0..=1 << 40), Live;

        /// Whether a payload that its 5.0 publisher declares to be UTF-8 (Payload Format
        /// Indicator) is checked; one that is not is refused (reason 0x99). Costs a look at each
        /// byte. `[MQTT-3.3.2-4]`
        pub payload_utf8_validated: bool = false, Switch, Live;

        /// How a shared subscription picks the member for a message: `round-robin` in turn;
        /// `random`; `sticky` the same one until it leaves or its window is full; `hash-client`
        /// by the publisher's client id and `hash-topic` by the topic, so that what belongs
        /// together comes to one member.
        pub share_strategy: ShareStrategy = ShareStrategy::RoundRobin,
            Choice(ShareStrategy::WORDS), Live;

        /// What the topics for responses begin with that are given to 5.0 clients which ask for
        /// them (Response Information); the client id follows. Unset: none are given.
        pub response_topic_prefix: Option<String> = None,
            Optional(Sampled(topic_prefix(), "\"response/\"")), Connect;

        /// Whether a client may connect without a user name. Unset: on listeners that only this
        /// machine can reach, and there only while `auth.password_file` is unset. With `true` and a listener on the network, anyone can read and
        /// write everything.
        pub anonymous_allowed: Option<bool> = None, Optional(Switch), Connect;

        /// How often the broker says of itself, in topics below `$SYS/broker/` with Mosquitto's
        /// names, how many clients, messages and bytes there are; 0: never. Clients may not
        /// publish below `$SYS/`. What it says is retained, in memory alone.
        pub sys_interval_s: u16 = 10, seconds(0..=3600), Live;

        /// Whether the broker tells of each client that comes and goes, at QoS 0 and not retained:
        /// `$SYS/brokers/NODE/clients/CLIENT/connected` and `.../disconnected`, with JSON. NODE is
        /// the machine's name; in both names `/`, `+`, `#` and `%` are written as in URLs. As long
        /// as nobody subscribes to it, it costs a look at the subscriptions.
        pub presence_events: bool = false, Switch, Live;

        /// How long a stopping broker waits for its connections to take what was written for
        /// them; then it closes them.
        pub stop_timeout_ms: u32 = 5_000, milliseconds(0..=600_000), Live;
    }
}

/// Which message goes when a session's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// The oldest makes room.
    #[default]
    DropOldest,
    /// The new one is not taken.
    DropNewest,
    /// It is not taken and its publisher is told.
    RefusePublisher,
}

impl QueuePolicy {
    const WORDS: &[(&str, QueuePolicy)] = &[
        ("drop-oldest", QueuePolicy::DropOldest),
        ("drop-newest", QueuePolicy::DropNewest),
        ("refuse-publisher", QueuePolicy::RefusePublisher),
    ];
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

impl ShareStrategy {
    const WORDS: &[(&str, ShareStrategy)] = &[
        ("round-robin", ShareStrategy::RoundRobin),
        ("random", ShareStrategy::Random),
        ("sticky", ShareStrategy::Sticky),
        ("hash-client", ShareStrategy::HashClient),
        ("hash-topic", ShareStrategy::HashTopic),
    ];
}

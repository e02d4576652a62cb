//! What crosses from one shard to another. Drivers carry it and look at none of it.

use std::sync::Arc;

use super::arena::Key;
use super::consult::Name;
use super::effect::ShardId;
use super::route::Refusal;
use crate::message::{Message, Stamp};
use crate::proto::SubscriptionOptions;
use crate::storage::Sequence;

/// One message on a lane.
#[derive(Debug)]
pub enum ShardMessage {
    /// A publication. Answered by [`ShardMessage::Accepted`] if it has a ticket.
    Forward {
        /// What, and what for.
        forwarded: Forwarded,
        /// The publisher's wait for it; QoS 1 and 2 only.
        ticket: Option<Key>,
    },
    /// A forwarded publication is as safe as was asked for.
    Accepted {
        /// Of the forward.
        ticket: Key,
    },
    /// The log of the sender has no room for what may be refused, or has it again.
    LogFull {
        /// Which of the two.
        is_full: bool,
    },
    /// A forwarded publication could not be kept: the receiver has no room.
    Refused {
        /// Of the forward.
        ticket: Key,
        /// Why.
        refusal: Refusal,
    },
    /// The sender has a first subscriber. Answered by [`ShardMessage::InterestAdded`].
    InterestAdd {
        /// For this filter.
        filter: Arc<str>,
        /// Tells this announcement from an earlier one.
        serial: u64,
    },
    /// From now on every publication for the filter is forwarded.
    InterestAdded {
        /// Of the announcement.
        filter: Arc<str>,
        /// Of the announcement.
        serial: u64,
    },
    /// The sender has no subscriber left.
    InterestRemove {
        /// For this filter.
        filter: Arc<str>,
    },
    /// Which retained messages match? Answered by [`ShardMessage::RetainedFound`].
    RetainedFind {
        /// The asker's.
        ticket: Key,
        /// What they must match.
        filter: Arc<str>,
    },
    /// These do.
    RetainedFound {
        /// Of the question.
        ticket: Key,
        /// Matching and not expired.
        messages: Vec<Arc<Message>>,
    },
    /// Answer [`ShardMessage::Settled`] behind everything sent so far: the sender was asked for its
    /// retained messages, and a publication that the asker has seen may still be on its way.
    Settle,
    /// Everything sent before the question has arrived.
    Settled,
    /// Answer [`ShardMessage::Flushed`] behind everything sent so far.
    Flush {
        /// The asker's.
        ticket: Key,
        /// The latest stamp the asker has seen: later publications get later ones.
        stamp: Stamp,
    },
    /// Everything sent before the question has arrived.
    Flushed {
        /// Of the question.
        ticket: Key,
    },
    /// To a shared group's shard. Answered by [`ShardMessage::ShareJoined`].
    ShareJoin {
        /// `$share/{group}/{filter}`.
        group: Arc<str>,
        /// The filter within.
        filter: Arc<str>,
        /// Who joins, or changes its options.
        member: Member,
        /// Who that is, while it is connected and somebody is asked about receivers.
        name: Option<Arc<Name>>,
        /// Its wait.
        ticket: Key,
    },
    /// The member gets messages from now on.
    ShareJoined {
        /// Of the join.
        ticket: Key,
    },
    /// A member's subscription ended.
    ShareLeave {
        /// The group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
    },
    /// A member's client came or went.
    SharePresence {
        /// The group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// Messages it takes unacknowledged; 0 while it is away.
        window: u16,
        /// Who that is, while it is connected and somebody is asked about receivers.
        name: Option<Arc<Name>>,
    },
    /// To a member's home shard: this one is yours.
    ShareDeliver {
        /// The session of the member.
        session: Key,
        /// What it is handed.
        handed: Handed,
    },
    /// A member is done with a message, well or not.
    ShareDone {
        /// The group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// The message's number in the group.
        number: u64,
    },
    /// A member left before acknowledging: somebody else shall have it.
    ShareReturn {
        /// The group.
        group: Arc<str>,
        /// Who.
        member: MemberId,
        /// The message.
        message: Arc<Message>,
        /// Its number in the group.
        number: u64,
    },
}

impl ShardMessage {
    /// Bytes of the publication it carries, if it does.
    pub fn publication_bytes(&self) -> usize {
        match self {
            ShardMessage::Forward { forwarded: Forwarded { message, .. }, .. }
            | ShardMessage::ShareDeliver { handed: Handed { message, .. }, .. }
            | ShardMessage::ShareReturn { message, .. } => message.bytes(),
            _ => 0,
        }
    }
}

/// A publication on its way to another shard.
#[derive(Debug)]
pub struct Forwarded {
    /// What.
    pub message: Arc<Message>,
    /// For the receiver's subscribers.
    pub deliver: bool,
    /// For the receiver's retained messages.
    pub store: bool,
    /// Hash of the publisher's client id, for groups that choose by it.
    pub origin: u64,
    /// Its record on the sender's shard, which may forward it again after a crash.
    pub record: Option<Sequence>,
}

/// A shared group's message, handed to one member.
#[derive(Debug)]
pub struct Handed {
    /// The group.
    pub group: Arc<str>,
    /// The message.
    pub message: Arc<Message>,
    /// Its number in the group.
    pub number: u64,
    /// The member's options.
    pub options: SubscriptionOptions,
    /// The member's subscription identifier; 0 is none.
    pub subscription_id: u32,
}

/// A member of a shared group: a session of some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId {
    /// Its home shard.
    pub shard: ShardId,
    /// Its session there.
    pub session: Key,
}

/// A member's subscription.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// As granted.
    pub options: SubscriptionOptions,
    /// 0 is none.
    pub subscription_id: u32,
    /// Messages it takes unacknowledged; 0 while it is away.
    pub window: u16,
    /// Whether its session outlives the broker.
    pub is_kept: bool,
}

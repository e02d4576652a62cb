//! Where messages from other shards, and from this one to itself, are heard.

use std::sync::Arc;

use super::effect::{Sequence, ShardId};
use super::journal::Waiter;
use super::route::Origin;
use super::{Key, Shard, ShardMessage};
use crate::message::{Message, Publication};
use crate::time::Time;

impl Shard {
    pub(super) fn handle_lane(&mut self, now: Time, from: ShardId, message: ShardMessage) {
        match message {
            ShardMessage::Forward { message, ticket, deliver, store, origin } => {
                let appended = self.handle_forward(now, &message, deliver, store, origin);
                self.answer_forward(from, ticket, appended);
            }
            ShardMessage::Accepted { ticket } => self.settle_publish(now, ticket),
            ShardMessage::InterestAdd { filter, serial } => {
                self.set_remote(&filter, from, true);
                self.send(from, ShardMessage::InterestAdded { filter, serial });
            }
            ShardMessage::InterestAdded { filter, serial } => {
                self.handle_interest_added(now, &filter, serial);
            }
            ShardMessage::InterestRemove { filter } => self.set_remote(&filter, from, false),
            ShardMessage::RetainedFind { ticket, filter } => {
                self.handle_retained_find(now, from, ticket, filter);
            }
            ShardMessage::RetainedFound { ticket, messages } => {
                self.handle_retained_found(now, ticket, messages);
            }
            ShardMessage::Settle => self.send(from, ShardMessage::Settled),
            ShardMessage::Settled => self.handle_settled(now),
            ShardMessage::Flush { ticket, stamp } => self.handle_flush(from, ticket, stamp),
            ShardMessage::Flushed { ticket } => self.handle_flushed(now, ticket),
            ShardMessage::ShareJoin { group, filter, member, ticket } => {
                self.handle_share_join(now, from, group, filter, member, ticket);
            }
            ShardMessage::ShareJoined { ticket } => self.settle_subscribe(now, ticket),
            ShardMessage::ShareLeave { group, member } => {
                self.handle_share_leave(now, &group, member);
            }
            ShardMessage::SharePresence { group, member, window } => {
                self.handle_share_presence(now, &group, member, window);
            }
            ShardMessage::ShareDeliver { session, handed } => {
                self.handle_share_deliver(now, session, handed);
            }
            ShardMessage::ShareDone { group, member } => {
                self.handle_share_done(now, &group, member);
            }
            ShardMessage::ShareReturn { group, member, message, number } => {
                self.handle_share_return(now, &group, member, message, number);
            }
        }
    }

    fn handle_forward(
        &mut self,
        now: Time,
        message: &Arc<Message>,
        deliver: bool,
        store: bool,
        hash: u64,
    ) -> Option<Sequence> {
        let publication = Publication::of(message);
        self.see_stamp(publication.stamp);
        let mut appended = None;
        if store {
            appended = self.store_retained(now, &publication);
        }
        if deliver {
            let routed = self.route(now, &publication, Origin { session: None, hash });
            appended = appended.max(routed.appended);
        }
        appended
    }

    /// Tells the publisher's shard once the message is as safe as was asked for.
    fn answer_forward(&mut self, to: ShardId, ticket: Option<Key>, appended: Option<Sequence>) {
        let Some(ticket) = ticket else { return };
        match appended {
            Some(sequence) => self.journal.wait(sequence, Waiter::Forward(to, ticket)),
            None => self.send(to, ShardMessage::Accepted { ticket }),
        }
    }
}

//! Where messages from other shards, and from this one to itself, are heard.

use super::effect::ShardId;
use super::journal::Waiter;
use super::message::Forwarded;
use super::route::{Intake, Origin, Refusal};
use super::{Key, Shard, ShardMessage};
use crate::message::Publication;
use crate::storage::Sequence;
use crate::time::Time;

impl Shard {
    pub(super) fn handle_lane(&mut self, now: Time, from: ShardId, message: ShardMessage) {
        match message {
            ShardMessage::Forward { forwarded, ticket } => {
                let appended = self.handle_forward(now, from, &forwarded);
                self.answer_forward(from, ticket, appended);
            }
            ShardMessage::Accepted { ticket } => self.settle_publish(now, ticket),
            ShardMessage::Refused { ticket, refusal } => {
                self.refuse_pending(now, ticket, refusal);
            }
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
            ShardMessage::Settle => self.send_behind_spreads(from, ShardMessage::Settled),
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
            ShardMessage::ShareDone { group, member, number } => {
                self.handle_share_done(now, &group, member, number);
            }
            ShardMessage::ShareReturn { group, member, message, number } => {
                self.handle_share_return(now, &group, member, message, number);
            }
        }
    }

    fn handle_forward(
        &mut self,
        now: Time,
        from: ShardId,
        forwarded: &Forwarded,
    ) -> Result<Option<Sequence>, Refusal> {
        let Forwarded { message, deliver, store, origin, record } = forwarded;
        let record = record.map(|sequence| (from, sequence));
        if record.is_some_and(|record| self.origins.contains(&record)) {
            // It came in an earlier life already.
            return Ok(None);
        }
        let publication = Publication::of(message);
        self.see_stamp(publication.stamp);
        let origin = Origin { session: None, hash: *origin };
        let intake = Intake { store: *store, origin: record, ..Intake::default() };
        let routed = match deliver {
            true => self.route(now, &publication, origin, intake)?,
            false => self.route_nowhere(now, &publication, intake)?,
        };
        Ok(routed.appended)
    }

    /// Tells the publisher's shard once the message is as safe as was asked for.
    fn answer_forward(
        &mut self,
        to: ShardId,
        ticket: Option<Key>,
        appended: Result<Option<Sequence>, Refusal>,
    ) {
        let Some(ticket) = ticket else { return };
        match appended {
            Ok(Some(sequence)) => self.journal.wait(sequence, Waiter::Forward(to, ticket)),
            Ok(None) => self.send(to, ShardMessage::Accepted { ticket }),
            Err(refusal) => self.send(to, ShardMessage::Refused { ticket, refusal }),
        }
    }
}

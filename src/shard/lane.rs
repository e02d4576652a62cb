//! Where messages from other shards, and from this one to itself, are heard.

use super::effect::ShardId;
use super::image::ReceivedImage;
use super::journal::{Item, Waiter};
use super::message::Forwarded;
use super::record::Change;
use super::route::{Intake, Origin, Refusal};
use super::{Key, Shard, ShardMessage};
use crate::message::Publication;
use crate::storage::{SegmentNumber, Sequence};
use crate::time::Time;

impl Shard {
    pub(super) fn handle_lane(&mut self, now: Time, from: ShardId, message: ShardMessage) {
        match message {
            ShardMessage::Forward { forwarded, ticket } => {
                let appended = self.handle_forward(now, from, &forwarded);
                self.answer_forward(from, ticket, appended);
            }
            ShardMessage::Accepted { ticket } => self.handle_publish_accepted(now, ticket),
            ShardMessage::Refused { ticket, refusal } => {
                self.handle_publish_refused(now, ticket, refusal);
            }
            ShardMessage::LogFull { is_full: true } => self.full_logs |= super::bit(from),
            ShardMessage::LogFull { is_full: false } => self.full_logs &= !super::bit(from),
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
            ShardMessage::ShareJoin { group, filter, member, name, ticket } => {
                self.handle_share_join(now, from, group, filter, (member, name), ticket);
            }
            ShardMessage::ShareJoined { ticket } => self.settle_subscribe(now, ticket),
            ShardMessage::ShareLeave { group, member } => {
                self.handle_share_leave(now, &group, member);
            }
            ShardMessage::SharePresence { group, member, window, name } => {
                self.handle_share_presence(now, &group, member, window, name);
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
        if record.is_some_and(|record| self.has_received(record)) {
            // It came in an earlier life already.
            return Ok(None);
        }
        let publication = Publication::of(message);
        self.see_stamp(publication.stamp);
        let origin = Origin { session: None, hash: *origin };
        let intake = Intake { store: *store, origin: record, ..Intake::default() };
        let routed = match deliver {
            true => self.route(now, &publication, origin, intake),
            false => self.route_nowhere(now, &publication, intake),
        };
        if let Err(refusal) = routed {
            self.lose_all(None, (&publication).into(), refusal.into(), None);
        }
        Ok(routed?.appended)
    }

    fn has_received(&self, (from, sequence): (ShardId, Sequence)) -> bool {
        self.received.get(&from).is_some_and(|received| received.through >= sequence)
    }

    /// Remembers, beyond the life of the message, that it came: the shard it came from may not
    /// know that when it comes back, and hand it over again.
    pub(super) fn note_received(&mut self, (from, through): (ShardId, Sequence), at: Sequence) {
        let received = ReceivedImage { through, told_at: at };
        let earlier = self.received.insert(from, received).map(|earlier| earlier.told_at);
        if !earlier.is_some_and(|earlier| self.journal.share_segment(earlier, at)) {
            self.journal.hold(at, Item::Received(from));
            if let Some(earlier) = earlier {
                self.journal.release_at(earlier);
            }
        }
    }

    /// Tells again what another shard handed over, so that the segment it was told in can go.
    pub(super) fn move_received(&mut self, now: Time, from: ShardId, segment: SegmentNumber) {
        let Some(ReceivedImage { through, told_at }) = self.received.get(&from).copied() else {
            return;
        };
        if self.journal.is_in(told_at, segment) {
            let change = Change::Received { from: from.0, through: through.0 };
            if let Some(at) = self.journal.append(now, &change) {
                self.note_received((from, through), at);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proto::{Connect, QoS, SubscriptionOptions, Version};
    use crate::shard::fixture::{self, NOW};
    use crate::shard::{ConnectionId, Handed, Input, Member, MemberId, Output};

    const OTHER: ShardId = ShardId(1);
    const PUBLISHER: ConnectionId = ConnectionId { slot: 0, generation: 1 };

    /// The first of two shards, with a client of its own.
    fn shard() -> Shard {
        let mut shard = fixture::shard(2, None);
        let client_id = (0..).map(|n| format!("c{n}")).find(|id| shard.place(id) == ShardId(0));
        let client_id = client_id.expect("half of them");
        fixture::connect(&mut shard, PUBLISHER, &Connect::new(Version::V311, &client_id), &[]);
        shard
    }

    /// Its client publishes at QoS 0.
    fn publish(shard: &mut Shard, topic: &str) {
        let mut bytes = vec![0x30, topic.len() as u8 + 2, 0, topic.len() as u8];
        bytes.extend(topic.as_bytes());
        shard.handle(NOW, Input::Received { connection: PUBLISHER, bytes: &bytes });
    }

    fn hear(shard: &mut Shard, message: ShardMessage) {
        shard.handle(NOW, Input::Lane { from: OTHER, message });
    }

    /// What it does: how often it pauses, resumes, forwards and hands to a member of a group.
    fn done(shard: &mut Shard) -> [usize; 4] {
        let mut done = [0; 4];
        while let Some(output) = shard.poll() {
            match output {
                Output::PauseReading(PUBLISHER) => done[0] += 1,
                Output::ResumeReading(PUBLISHER) => done[1] += 1,
                Output::Lane { message: ShardMessage::Forward { .. }, .. } => done[2] += 1,
                Output::Lane { message: ShardMessage::ShareDeliver { handed, .. }, .. } => {
                    let Handed { number, .. } = handed;
                    assert!(number > 0);
                    done[3] += 1;
                }
                _ => {}
            }
        }
        done
    }

    #[test]
    fn a_full_lane_pauses_who_publishes_over_it_at_qos_0() {
        let mut shard = shard();
        hear(&mut shard, ShardMessage::InterestAdd { filter: "far".into(), serial: 1 });
        publish(&mut shard, "far");
        assert_eq!(done(&mut shard), [0, 0, 1, 0]);
        shard.handle(NOW, Input::LaneFull { to: OTHER });
        publish(&mut shard, "near");
        assert_eq!(done(&mut shard), [0, 0, 0, 0], "who sends nothing over it is not paused");
        publish(&mut shard, "far");
        publish(&mut shard, "far");
        assert_eq!(done(&mut shard), [1, 0, 1, 0]);
        shard.handle(NOW, Input::LaneReady { to: OTHER });
        assert_eq!(done(&mut shard), [0, 1, 1, 0]);
    }

    #[test]
    fn a_group_keeps_qos_0_until_the_lane_to_a_member_has_room() {
        let mut shard = shard();
        let mut names = (0..).map(|n| format!("$share/g{n}/t"));
        let name = names.find(|name| shard.place(name) == ShardId(0)).expect("half of them");
        let session = Key::LAST;
        let member = Member {
            id: MemberId { shard: OTHER, session },
            options: SubscriptionOptions::at(QoS::AtLeastOnce),
            subscription_id: 0,
            window: 10,
            is_kept: false,
        };
        let (group, filter, ticket): (Arc<str>, _, _) = (name.into(), "t".into(), session);
        hear(&mut shard, ShardMessage::ShareJoin { group, filter, member, name: None, ticket });
        publish(&mut shard, "t");
        assert_eq!(done(&mut shard), [0, 0, 0, 1]);
        shard.handle(NOW, Input::LaneFull { to: OTHER });
        publish(&mut shard, "t");
        publish(&mut shard, "t");
        assert_eq!(done(&mut shard), [1, 0, 0, 0], "its publisher waits, too");
        shard.handle(NOW, Input::LaneReady { to: OTHER });
        assert_eq!(done(&mut shard), [0, 1, 0, 2]);
    }
}

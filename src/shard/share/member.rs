//! The member's side: what its session is handed, and what becomes of it.

use std::sync::Arc;

use crate::message::Publication;
use crate::proto::QoS;
use crate::session::{Body, Delivery, ShareTicket, SubscriptionIdSet};
use crate::shard::message::{Handed, MemberId};
use crate::shard::witness::{Lost, Why};
use crate::shard::{Key, Shard, ShardMessage};
use crate::time::Time;

impl Shard {
    pub(in crate::shard) fn member_id(&self, session: Key) -> MemberId {
        MemberId { shard: self.id, session }
    }

    pub(in crate::shard) fn handle_share_deliver(
        &mut self,
        now: Time,
        session: Key,
        handed: Handed,
    ) {
        let Handed { group, message, number, options, subscription_id } = handed;
        let takes = self.sessions.get(session).is_some_and(|seat| {
            seat.connection.is_some() && seat.session.subscriptions.contains_key(&*group)
        });
        // [MQTT-4.8.2-3]: for whoever takes it in the end.
        let qos = if takes { message.qos.min(options.qos) } else { message.qos };
        let ordinal = match self.sessions.get_mut(session) {
            Some(seat) if takes && qos > QoS::AtMostOnce => seat.session.outbox.next_ordinal(),
            _ => 0,
        };
        let delivery = Delivery {
            retain: message.retain && options.retain_as_published,
            bytes: message.bytes() as u32,
            body: Body::Held(Arc::clone(&message)),
            ordinal,
            qos,
            subscription_ids: SubscriptionIdSet::from_slice(match &subscription_id {
                0 => &[],
                id => std::slice::from_ref(id),
            }),
            share: (qos > QoS::AtMostOnce)
                .then(|| Box::new(ShareTicket { group: Arc::clone(&group), number })),
        };
        match takes {
            true if qos == QoS::AtMostOnce => {
                let publication = Publication::of(&message);
                let ids = delivery.subscription_ids.as_slice();
                self.deliver_at_most_once(now, session, &publication, delivery.retain, ids);
            }
            true => self.offer(now, session, delivery),
            false if qos == QoS::AtMostOnce => {
                self.metrics.dropped_away_total += 1;
                self.lose(session, Lost::from(&*message).at(qos), Why::Away);
            }
            false => self.return_share(session, delivery),
        }
    }

    /// A message of a group is over for this member.
    pub(in crate::shard) fn share_done(&mut self, session: Key, share: Option<&ShareTicket>) {
        if let Some(ShareTicket { group, number }) = share {
            let (member, number) = (self.member_id(session), *number);
            let to = self.place(group);
            self.send(to, ShardMessage::ShareDone { group: Arc::clone(group), member, number });
        }
    }

    /// Somebody else shall have it.
    pub(in crate::shard) fn return_share(&mut self, session: Key, delivery: Delivery) {
        let Some(share) = delivery.share else { return };
        let ShareTicket { group, number } = *share;
        let member = self.member_id(session);
        let to = self.place(&group);
        let message = match self.journal.load(&delivery.body) {
            Ok(message) => ShardMessage::ShareReturn { group, member, message, number },
            Err(damaged) => {
                self.found_damage(damaged);
                ShardMessage::ShareDone { group, member, number }
            }
        };
        self.send(to, message);
    }

    /// The subscription ended: what was not sent goes back, what was sent is completed.
    /// [MQTT-3.10.4-3]
    pub(in crate::shard) fn leave_group(&mut self, session: Key, group: Arc<str>) {
        let member = self.member_id(session);
        let to = self.place(&group);
        self.send(to, ShardMessage::ShareLeave { group: Arc::clone(&group), member });
        let Some(seat) = self.sessions.get_mut(session) else { return };
        let queued = seat.session.outbox.take_back(&mut self.queue_memory, |delivery| {
            delivery.share.as_ref().is_some_and(|share| share.group == group)
        });
        for delivery in queued {
            self.return_share(session, delivery);
        }
    }
}

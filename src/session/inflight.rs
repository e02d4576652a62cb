//! The window of QoS 1 and 2 messages sent to a client and not yet completed.

use std::collections::VecDeque;

use super::delivery::{Delivery, ShareTicket};
use crate::proto::{PacketId, QoS};

/// QoS 1 and 2 messages a client was sent and has not completed, in the order they were sent.
///
/// The packet identifier of a message follows from its ordinal in the session, so that it is the
/// same after a crash. The window is a run of consecutive ordinals and an acknowledgement finds
/// its entry by subtraction. One acknowledged out of turn, or dropped from the queue before it was
/// sent, leaves a hole that closes when everything before it is done; a client that never
/// acknowledges one message while acknowledging others is sent nothing more once the run is
/// [`Inflight::SPAN_MAX`] long.
///
/// ```text
///              sent                PUBACK
///  QoS 1: ------------> Sent ------------------> done
///              sent           PUBREC            PUBCOMP
///  QoS 2: ------------> Sent -------> Released ---------> done
///                         `--- PUBREC with an error -----> done
/// ```
///
/// Invariants: the front entry is not a hole; `open` counts the entries that are not holes.
#[derive(Debug)]
pub struct Inflight {
    /// Ordinal of the front entry.
    first: u64,
    entries: VecDeque<Entry>,
    open: usize,
    /// After a reconnection: entries before this index have been sent on the new connection.
    resent: Option<usize>,
}

#[derive(Debug)]
enum Entry {
    /// Completed out of turn.
    Hole,
    /// PUBLISH sent; PUBACK (QoS 1) or PUBREC (QoS 2) is awaited.
    Sent(Delivery),
    /// PUBREC received, PUBREL sent; PUBCOMP is awaited. Holds what is needed to tell a shared
    /// group of the completion.
    Released(Option<Box<ShareTicket>>),
}

/// A QoS 2 message that is complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its ordinal.
    pub ordinal: u64,
    /// If it was one member's share of a group's messages.
    pub share: Option<Box<ShareTicket>>,
}

/// What has to be sent again when a session is resumed.
#[derive(Debug)]
pub enum Resend {
    /// The PUBLISH, with DUP set. [MQTT-4.4.0-1]
    Publish(PacketId),
    /// The PUBREL.
    PubRel(PacketId),
}

/// An acknowledgement that does not fit the state of its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// No message of this identifier is in flight: a repetition, or a lost session.
    Unknown,
    /// The message is of the other QoS, or at another step.
    Mismatch,
}

impl Inflight {
    /// Longest run of identifiers from the oldest incomplete message to the newest.
    pub const SPAN_MAX: usize = 16_384;

    /// An empty window.
    pub fn new() -> Inflight {
        Inflight { first: 1, entries: VecDeque::new(), open: 0, resent: None }
    }

    /// Messages in flight.
    #[inline]
    pub fn len(&self) -> usize {
        self.open
    }

    /// Whether nothing is in flight.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether the message with this ordinal may be sent within a window of `limit` messages.
    #[inline]
    pub fn has_room(&self, limit: u16, ordinal: u64) -> bool {
        self.open < usize::from(limit)
            && (self.is_empty() || self.span_to(ordinal) < Self::SPAN_MAX)
    }

    /// Adds a message that is being sent; its identifier. The caller asked `has_room`.
    #[inline]
    pub fn push(&mut self, delivery: Delivery) -> PacketId {
        let ordinal = delivery.ordinal;
        self.push_entry(ordinal, Entry::Sent(delivery));
        packet_id(ordinal)
    }

    /// Adds a message of an earlier life whose PUBREC had come.
    pub fn push_released(&mut self, ordinal: u64) {
        self.push_entry(ordinal, Entry::Released(None));
    }

    #[inline]
    fn push_entry(&mut self, ordinal: u64, entry: Entry) {
        if self.entries.is_empty() {
            self.first = ordinal;
        }
        let holes = self.span_to(ordinal).checked_sub(self.entries.len());
        let holes = holes.expect("messages are sent in the order of their ordinals");
        assert!(self.entries.len() + holes < Self::SPAN_MAX, "the window was asked for room");
        self.entries.extend(std::iter::repeat_with(|| Entry::Hole).take(holes));
        self.entries.push_back(entry);
        self.open += 1;
    }

    /// Ordinals from the front entry to this one.
    #[inline]
    fn span_to(&self, ordinal: u64) -> usize {
        usize::try_from(ordinal.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// PUBACK: a QoS 1 message is complete.
    pub fn acknowledge(&mut self, packet_id: PacketId) -> Result<Delivery, AckError> {
        match self.entry(packet_id)? {
            Entry::Sent(delivery) if delivery.qos == QoS::AtLeastOnce => {}
            _ => return Err(AckError::Mismatch),
        }
        match self.complete(packet_id) {
            Entry::Sent(delivery) => Ok(delivery),
            Entry::Released(_) | Entry::Hole => unreachable!("matched as sent above"),
        }
    }

    /// PUBREC: the client owns the QoS 2 message; the body is given up. A repeated PUBREC is fine
    /// and gives nothing.
    pub fn receive(&mut self, packet_id: PacketId) -> Result<Option<Delivery>, AckError> {
        let entry = self.entry(packet_id)?;
        match entry {
            Entry::Sent(delivery) if delivery.qos == QoS::ExactlyOnce => {
                let released = Entry::Released(delivery.share.take());
                match std::mem::replace(entry, released) {
                    Entry::Sent(delivery) => Ok(Some(delivery)),
                    Entry::Released(_) | Entry::Hole => unreachable!("matched as sent above"),
                }
            }
            Entry::Released(_) => Ok(None),
            _ => Err(AckError::Mismatch),
        }
    }

    /// PUBREC with an error: the client refuses the QoS 2 message, which is thereby complete.
    pub fn refuse(&mut self, packet_id: PacketId) -> Result<Delivery, AckError> {
        match self.entry(packet_id)? {
            Entry::Sent(delivery) if delivery.qos == QoS::ExactlyOnce => {}
            _ => return Err(AckError::Mismatch),
        }
        match self.complete(packet_id) {
            Entry::Sent(delivery) => Ok(delivery),
            Entry::Released(_) | Entry::Hole => unreachable!("matched as sent above"),
        }
    }

    /// PUBCOMP: a QoS 2 message is complete.
    pub fn finish(&mut self, packet_id: PacketId) -> Result<Finished, AckError> {
        match self.entry(packet_id)? {
            Entry::Released(_) => {}
            _ => return Err(AckError::Mismatch),
        }
        let ordinal = self.first + distance(self.first, packet_id) as u64;
        match self.complete(packet_id) {
            Entry::Released(share) => Ok(Finished { ordinal, share }),
            Entry::Sent(_) | Entry::Hole => unreachable!("matched as released above"),
        }
    }

    /// The message that was sent under this identifier and is not acknowledged.
    #[inline]
    pub fn sent(&self, packet_id: PacketId) -> Option<&Delivery> {
        match self.entries.get(distance(self.first, packet_id))? {
            Entry::Sent(delivery) => Some(delivery),
            Entry::Released(_) | Entry::Hole => None,
        }
    }

    /// Completes a message that could not be sent.
    pub fn abandon(&mut self, packet_id: PacketId) -> Option<Delivery> {
        self.sent(packet_id)?;
        match self.complete(packet_id) {
            Entry::Sent(delivery) => Some(delivery),
            Entry::Released(_) | Entry::Hole => unreachable!("seen as sent above"),
        }
    }

    /// Whether a message is in flight, and if so whether its PUBREC has come.
    pub fn state(&self, ordinal: u64) -> Option<bool> {
        if ordinal < self.first {
            return None;
        }
        match self.entries.get(self.span_to(ordinal))? {
            Entry::Hole => None,
            Entry::Sent(_) => Some(false),
            Entry::Released(_) => Some(true),
        }
    }

    /// The ordinals of messages whose PUBREC has come.
    pub fn released(&self) -> impl Iterator<Item = u64> {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| matches!(entry, Entry::Released(_)))
            .map(|(index, _)| self.first + index as u64)
    }

    /// The ordinal of the newest message in flight, or 0.
    pub fn last_ordinal(&self) -> u64 {
        match self.entries.len() {
            0 => 0,
            span => self.first + span as u64 - 1,
        }
    }

    /// Takes a message back that was sent but can be delivered by somebody else.
    pub fn take_back(&mut self, mut wanted: impl FnMut(&Delivery) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for entry in &mut self.entries {
            if matches!(entry, Entry::Sent(delivery) if wanted(delivery))
                && let Entry::Sent(delivery) = std::mem::replace(entry, Entry::Hole)
            {
                taken.push(delivery);
            }
        }
        self.open -= taken.len();
        self.close_holes();
        taken
    }

    /// A new connection: everything in flight is to be sent again, oldest first.
    /// [MQTT-4.4.0-1, 4.6.0-1]
    pub fn start_resend(&mut self) {
        self.resent = (!self.is_empty()).then_some(0);
    }

    /// Whether something is still to be sent again.
    pub fn is_resending(&self) -> bool {
        self.resent.is_some()
    }

    /// The next message to send again to a client that takes `window` unacknowledged; a client
    /// that takes fewer than it took before gets the rest as it completes the first.
    /// [MQTT-3.3.4-9]
    pub fn poll_resend(&mut self, window: u16) -> Option<Resend> {
        let mut index = self.resent?;
        while matches!(self.entries.get(index), Some(Entry::Hole)) {
            index += 1;
        }
        let resend = match self.entries.get(index) {
            None => {
                self.resent = None;
                return None;
            }
            Some(Entry::Released(_)) => Resend::PubRel(packet_id(self.first + index as u64)),
            Some(Entry::Sent(_)) if !self.may_resend(index, window) => return None,
            Some(Entry::Sent(delivery)) => Resend::Publish(packet_id(delivery.ordinal)),
            Some(Entry::Hole) => unreachable!("holes were skipped"),
        };
        self.resent = Some(index + 1);
        Some(resend)
    }

    fn may_resend(&self, index: usize, window: u16) -> bool {
        self.open <= usize::from(window)
            || self.entries.iter().take(index).filter(|e| !matches!(e, Entry::Hole)).count()
                < usize::from(window)
    }

    /// Every delivery whose body is still held.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Sent(delivery) => Some(delivery),
            _ => None,
        })
    }

    /// The ticket of every message of a shared group.
    pub fn shares(&self) -> impl Iterator<Item = &ShareTicket> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Hole => None,
            Entry::Sent(delivery) => delivery.share.as_deref(),
            Entry::Released(share) => share.as_deref(),
        })
    }

    #[inline]
    fn entry(&mut self, packet_id: PacketId) -> Result<&mut Entry, AckError> {
        let index = distance(self.first, packet_id);
        match self.entries.get_mut(index) {
            None | Some(Entry::Hole) => Err(AckError::Unknown),
            Some(entry) => Ok(entry),
        }
    }

    fn complete(&mut self, packet_id: PacketId) -> Entry {
        let index = distance(self.first, packet_id);
        self.open -= 1;
        // Most complete in turn; a hole there would be read back in the next moment.
        let entry = match index {
            0 => self.pop_front().expect("the caller has seen it"),
            _ => std::mem::replace(&mut self.entries[index], Entry::Hole),
        };
        self.close_holes();
        entry
    }

    fn pop_front(&mut self) -> Option<Entry> {
        self.first += 1;
        self.resent = self.resent.map(|index| index.saturating_sub(1));
        self.entries.pop_front()
    }

    fn close_holes(&mut self) {
        while matches!(self.entries.front(), Some(Entry::Hole)) {
            self.pop_front();
        }
        if self.entries.is_empty() && self.entries.capacity() > 256 {
            self.entries = VecDeque::new();
        }
        debug_assert_eq!(
            self.open,
            self.entries.iter().filter(|e| !matches!(e, Entry::Hole)).count(),
            "open counts the entries that are not holes"
        );
    }
}

impl Default for Inflight {
    fn default() -> Inflight {
        Inflight::new()
    }
}

/// Identifiers run 1 to 65,535 and start over.
const IDENTIFIERS: usize = 65_535;

// A run shorter than half of all identifiers keeps late acknowledgements of the last round apart.
const _: () = assert!(Inflight::SPAN_MAX < IDENTIFIERS / 2);

/// The identifier of the message with this ordinal. [MQTT-2.2.1-4]
#[inline]
pub fn packet_id(ordinal: u64) -> PacketId {
    let index = ordinal.checked_sub(1).expect("ordinals begin at 1") % IDENTIFIERS as u64;
    PacketId::new(index as u16 + 1).expect("1 was added")
}

/// From the identifier of an ordinal to a later identifier.
fn distance(from: u64, to: PacketId) -> usize {
    (usize::from(to.get()) + IDENTIFIERS - usize::from(packet_id(from).get())) % IDENTIFIERS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::message::Message;
    use crate::session::{Body, SubscriptionIdSet};

    /// What a client and its broker do with messages.
    #[derive(Clone, Debug)]
    enum Step {
        /// Send one, so many ordinals behind the last.
        Send {
            skipped: u64,
            qos: QoS,
        },
        /// PUBACK, PUBREC or PUBCOMP of one of those open, or of one that is not.
        Acknowledge(usize),
        Receive(usize),
        Finish(usize),
        /// Reconnect with a window of so many, and send again.
        Reconnect(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let qos = prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
        prop_oneof![
            4 => (0u64..4, qos).prop_map(|(skipped, qos)| Step::Send { skipped, qos }),
            3 => (0usize..12).prop_map(Step::Acknowledge),
            3 => (0usize..12).prop_map(Step::Receive),
            3 => (0usize..12).prop_map(Step::Finish),
            1 => (1u16..8).prop_map(Step::Reconnect),
        ]
    }

    fn delivery(ordinal: u64, qos: QoS) -> Delivery {
        Delivery {
            body: Body::Held(Arc::new(Message::from_parts("t", &[], &[], qos, false))),
            bytes: 1,
            ordinal,
            qos,
            retain: false,
            subscription_ids: SubscriptionIdSet::NONE,
            share: None,
        }
    }

    /// What is open, by ordinal: its QoS and whether PUBREC has come.
    type Model = BTreeMap<u64, (QoS, bool)>;

    /// The identifier of the open message at a position, or of one long gone.
    fn named(model: &Model, position: usize) -> (PacketId, Option<(u64, QoS, bool)>) {
        match model.iter().nth(position) {
            Some((ordinal, (qos, received))) => {
                (packet_id(*ordinal), Some((*ordinal, *qos, *received)))
            }
            None => (packet_id(60_000), None),
        }
    }

    fn take(inflight: &mut Inflight, model: &mut Model, last: &mut u64, step: Step) {
        match step {
            Step::Send { skipped, qos } => {
                *last += 1 + skipped;
                if !inflight.has_room(100, *last) {
                    return;
                }
                let packet_id = inflight.push(delivery(*last, qos));
                assert!(model.keys().all(|open| super::packet_id(*open) != packet_id));
                model.insert(*last, (qos, false));
            }
            Step::Acknowledge(position) => {
                let (packet_id, open) = named(model, position);
                match (inflight.acknowledge(packet_id), open) {
                    (Ok(done), Some((ordinal, QoS::AtLeastOnce, _))) => {
                        assert_eq!(done.ordinal, ordinal);
                        model.remove(&ordinal);
                    }
                    (Err(AckError::Mismatch), Some((_, QoS::ExactlyOnce, _))) => {}
                    (Err(AckError::Unknown), None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Receive(position) => {
                let (packet_id, open) = named(model, position);
                match (inflight.receive(packet_id), open) {
                    (Ok(owned), Some((ordinal, QoS::ExactlyOnce, received))) => {
                        assert_eq!(owned.is_none(), received, "a repetition gives nothing");
                        model.insert(ordinal, (QoS::ExactlyOnce, true));
                    }
                    (Err(AckError::Mismatch), Some((_, QoS::AtLeastOnce, _))) => {}
                    (Err(AckError::Unknown), None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Finish(position) => {
                let (packet_id, open) = named(model, position);
                match (inflight.finish(packet_id), open) {
                    (Ok(finished), Some((ordinal, _, true))) => {
                        assert_eq!(finished.ordinal, ordinal);
                        model.remove(&ordinal);
                    }
                    (Err(AckError::Mismatch), Some((_, _, false))) => {}
                    (Err(AckError::Unknown), None) => {}
                    other => panic!("{other:?}"),
                }
            }
            Step::Reconnect(window) => reconnect(inflight, model, window),
        }
    }

    /// Everything open is sent again in order, as far as the window goes.
    fn reconnect(inflight: &mut Inflight, model: &Model, window: u16) {
        inflight.start_resend();
        let mut expected = model.iter();
        while let Some(resend) = inflight.poll_resend(window) {
            let (ordinal, (_, received)) = expected.next().expect("only what is open");
            match resend {
                Resend::PubRel(packet_id) => {
                    assert!(*received && packet_id == super::packet_id(*ordinal));
                }
                Resend::Publish(packet_id) => {
                    let sent = inflight.sent(packet_id).map(|delivery| delivery.ordinal);
                    assert!(!received && sent == Some(*ordinal));
                }
            }
        }
        assert!(expected.next().is_none() || inflight.is_resending());
    }

    proptest! {
        /// The window against a map: identifiers, states, order and room.
        #[test]
        fn the_window_does_what_a_map_does(steps in prop::collection::vec(step(), 1..200)) {
            let (mut inflight, mut model, mut last) = (Inflight::new(), Model::new(), 0);
            for step in steps {
                take(&mut inflight, &mut model, &mut last, step);
                prop_assert_eq!(inflight.len(), model.len());
                let released: Vec<u64> = inflight.released().collect();
                let known = model.iter().filter(|(_, (_, received))| *received);
                prop_assert_eq!(released, known.map(|(ordinal, _)| *ordinal).collect::<Vec<_>>());
                for (ordinal, (_, received)) in &model {
                    prop_assert_eq!(inflight.state(*ordinal), Some(*received));
                }
            }
        }
    }
}

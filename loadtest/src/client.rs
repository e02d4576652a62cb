//! One MQTT client as a state machine over bytes.
//!
//! ```text
//!   Away --dialled--> Greeting --CONNACK--> Subscribing --SUBACK--> Online
//!    ^                   |  (no filters, or the session is present)   ^ |
//!    |                   +--------------------------------------------+ | leave
//!    +----------- the broker closes --------------- Leaving <-----------+
//! ```
//!
//! It knows no socket: the worker hands it what arrived and writes what is in [`Client::out`].

use crate::count::Count;
use crate::desk::{Desk, Inbox, Pacing};
use crate::ending::Ending;
use crate::mqtt::Qos;
use crate::mqtt::decode::{self, Answer, Connack, Packet, Publish};
use crate::mqtt::encode::{self, Ack, Connect, Will};
use crate::plan::{ClientPlan, Plan};
use crate::publisher::{Completed, Publisher, UnknownPacketId};
use crate::stamp::Stamp;
use crate::track::Track;

/// A publisher stops when so many bytes wait for its socket, and goes on when they are gone.
pub const OUT_SIZE_MAX: usize = 256 * 1024;

/// Filters in one SUBSCRIBE.
const FILTERS_PER_SUBSCRIBE: usize = 200;

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected.
    Away,
    /// CONNECT is sent, or about to be.
    Greeting,
    /// SUBSCRIBE is sent.
    Subscribing,
    /// Ready.
    Online,
    /// On its way out: what is unacknowledged is finished, then DISCONNECT is sent.
    Leaving,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Index in the plan.
    index: u32,
    /// Index in the worker.
    slot: u32,
    state: State,
    /// Bytes to write.
    pub out: Vec<u8>,
    /// The beginning of a packet whose rest has not arrived.
    pub partial: Vec<u8>,
    /// When the last write happened, for keep-alive.
    pub wrote_us: u64,
    dialled_us: u64,
    subacks_due: usize,
    receive_maximum: u16,
    was_connected: bool,
    disconnect_is_sent: bool,
    breaks_off: bool,
    /// Asked to leave while it was still coming: by breaking off, or in good order.
    leaves_next: Option<bool>,
    publisher: Option<Box<Publisher>>,
    inbox: Inbox,
    /// QoS 2 packet identifiers that are received and not released, as bits.
    held: Vec<u64>,
    presence_sequence: u32,
}

impl Client {
    /// A client that is away, with room for `window` unacknowledged messages.
    #[must_use]
    pub fn new(index: u32, plan: &ClientPlan, qos: Qos, window: usize) -> Self {
        let publishes = !plan.publishes.is_empty() || plan.presence.is_some();
        let publisher =
            publishes.then(|| Box::new(Publisher::new(plan.publishes.clone(), qos, window)));
        let count = plan.expects.count();
        let inbox = match plan.group {
            None => Inbox { tracks: vec![Track::default(); count], ..Inbox::default() },
            Some(_) => Inbox { horizons: vec![0; count], ..Inbox::default() },
        };
        Self {
            index,
            slot: plan.slot,
            state: State::Away,
            out: Vec::new(),
            partial: Vec::new(),
            wrote_us: 0,
            dialled_us: 0,
            subacks_due: 0,
            receive_maximum: u16::MAX,
            was_connected: false,
            disconnect_is_sent: false,
            breaks_off: false,
            leaves_next: None,
            publisher,
            inbox,
            held: Vec::new(),
            presence_sequence: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Its publishing half.
    #[must_use]
    pub fn publisher(&self) -> Option<&Publisher> {
        self.publisher.as_deref()
    }

    /// Its publishing half.
    pub fn publisher_mut(&mut self) -> Option<&mut Publisher> {
        self.publisher.as_deref_mut()
    }

    /// What it has seen.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Index in the plan.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Messages of presence it has published, or the broker for it.
    #[must_use]
    pub fn presence_sequence(&self) -> u32 {
        self.presence_sequence
    }

    /// A connection is under way: say CONNECT.
    pub fn on_dialled(&mut self, desk: &mut Desk) {
        assert_eq!(self.state, State::Away, "only who is away dials");
        let plan = &desk.plan.clients[self.index as usize];
        self.state = State::Greeting;
        self.dialled_us = desk.now_us;
        self.wrote_us = desk.now_us;
        self.out.clear();
        self.partial.clear();
        self.disconnect_is_sent = false;
        self.breaks_off = false;
        self.leaves_next = None;
        let presence = plan.presence.filter(|_| desk.has_presence);
        let will_payload = presence.map(|stream| {
            // The message of arrival takes the next number, the will the one after it.
            let sequence = self.presence_sequence + 1;
            let stamp = Stamp { stream, sequence, sent_us: desk.now_us as u32 };
            let mut payload = stamp.to_bytes(desk.press.filler.payload_size()).to_vec();
            payload.extend_from_slice(desk.press.filler.bytes());
            (stream, payload)
        });
        let will = will_payload.as_ref().map(|(stream, payload)| Will {
            topic: &desk.plan.streams[*stream as usize].topic,
            payload,
            qos: desk.plan.qos,
            retain: false,
        });
        let door = &desk.plan.door;
        let connect = Connect {
            version: door.version,
            client_id: &plan.id,
            clean_start: plan.session_expiry_s.is_none() || desk.is_cleaning,
            keep_alive_s: door.keep_alive_s,
            session_expiry_s: plan.session_expiry_s.filter(|_| !desk.is_cleaning).unwrap_or(0),
            username: door.username.as_deref(),
            password: door.password.as_deref(),
            will,
        };
        encode::connect(&mut self.out, &connect);
        desk.tally[Count::Dialled] += 1;
        desk.tally[Count::Arriving] += 1;
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, desk: &mut Desk) {
        match self.state {
            State::Away => return,
            State::Online | State::Leaving => desk.tally[Count::Online] -= 1,
            State::Greeting | State::Subscribing => desk.tally[Count::Arriving] -= 1,
        }
        self.state = State::Away;
        self.subacks_due = 0;
        self.out.clear();
        self.partial.clear();
    }

    /// Takes the whole packets in `bytes` and returns how many bytes they were.
    #[inline]
    pub fn on_bytes(
        &mut self,
        plan: &Plan,
        desk: &mut Desk,
        bytes: &[u8],
        size_max: usize,
    ) -> Result<usize, Ending> {
        let version = plan.door.version;
        let mut taken = 0;
        while let Some(frame) =
            decode::split(&bytes[taken..], size_max).map_err(Ending::Undecodable)?
        {
            let packet = decode::packet(version, &frame).map_err(Ending::Undecodable)?;
            taken += frame.size;
            match packet {
                Packet::Publish(publish) => self.on_publish(plan, desk, &publish)?,
                other => self.on_packet(plan, desk, &other)?,
            }
        }
        desk.settle();
        Ok(taken)
    }

    #[inline]
    fn on_publish(
        &mut self,
        plan: &Plan,
        desk: &mut Desk,
        publish: &Publish<'_>,
    ) -> Result<(), Ending> {
        if self.state == State::Greeting {
            return Err(Ending::OutOfPlace);
        }
        match publish.qos {
            Qos::AtMostOnce => desk.receive(plan, self.index, publish, &mut self.inbox),
            Qos::AtLeastOnce => {
                desk.receive(plan, self.index, publish, &mut self.inbox);
                encode::ack(&mut self.out, Ack::Puback, publish.packet_id);
            }
            Qos::ExactlyOnce => {
                // [MQTT-4.3.3-10]: until it is released, the identifier means the same message.
                if self.hold(publish.packet_id) {
                    desk.receive(plan, self.index, publish, &mut self.inbox);
                }
                encode::ack(&mut self.out, Ack::Pubrec, publish.packet_id);
            }
        }
        Ok(())
    }

    #[inline]
    fn on_packet(
        &mut self,
        plan: &Plan,
        desk: &mut Desk,
        packet: &Packet<'_>,
    ) -> Result<(), Ending> {
        match (*packet, self.state) {
            (Packet::Connack(connack), State::Greeting) => self.on_connack(plan, desk, connack),
            (_, State::Greeting | State::Away) => Err(Ending::OutOfPlace),
            (Packet::Puback(answer), _) => {
                self.on_answer(desk, answer, |publisher, _| publisher.on_puback(answer))
            }
            (Packet::Pubrec(answer), _) => {
                self.on_answer(desk, answer, |publisher, out| publisher.on_pubrec(answer, out))
            }
            (Packet::Pubcomp(answer), _) => {
                self.on_answer(desk, answer, |publisher, _| publisher.on_pubcomp(answer))
            }
            (Packet::Pubrel(answer), _) => {
                self.release(answer.packet_id);
                encode::ack(&mut self.out, Ack::Pubcomp, answer.packet_id);
                Ok(())
            }
            (Packet::Suback(codes), _) => self.on_suback(desk, codes),
            (Packet::Pingresp, _) => Ok(()),
            (Packet::Disconnect(reason), _) => Err(Ending::Goodbye(reason)),
            (Packet::Publish(publish), _) => self.on_publish(plan, desk, &publish),
            (Packet::Connack(_), _) => Err(Ending::OutOfPlace),
        }
    }

    fn on_connack(&mut self, plan: &Plan, desk: &mut Desk, connack: Connack) -> Result<(), Ending> {
        if connack.code != 0 {
            return Err(Ending::Refused(connack.code));
        }
        desk.tally[Count::Connected] += 1;
        let is_first = !std::mem::replace(&mut self.was_connected, true);
        if desk.is_measuring {
            let latencies = &mut desk.latencies;
            let histogram =
                if is_first { &mut latencies.connect } else { &mut latencies.reconnect };
            histogram.saturating_record(desk.now_us - self.dialled_us);
        }
        self.receive_maximum = connack.receive_maximum;
        if !connack.session_present {
            self.held.clear();
        }
        if let Some(publisher) = &mut self.publisher {
            let given_up = publisher.resume(&desk.press, connack.session_present, &mut self.out);
            desk.tally[Count::Acknowledged] += given_up;
        }
        let filters = &plan.clients[self.index as usize].filters;
        if filters.is_empty() || connack.session_present || desk.is_cleaning {
            self.come_online(desk);
            return Ok(());
        }
        self.state = State::Subscribing;
        for (packet_id, some) in (1..).zip(filters.chunks(FILTERS_PER_SUBSCRIBE)) {
            encode::subscribe(&mut self.out, plan.door.version, packet_id, some, plan.qos);
            self.subacks_due += 1;
        }
        Ok(())
    }

    fn on_suback(&mut self, desk: &mut Desk, codes: &[u8]) -> Result<(), Ending> {
        if self.state != State::Subscribing {
            return Err(Ending::OutOfPlace);
        }
        let refused = codes.iter().filter(|&&code| code >= 0x80).count();
        desk.tally[Count::Refused] += refused as u64;
        self.subacks_due -= 1;
        if self.subacks_due == 0 {
            self.come_online(desk);
        }
        Ok(())
    }

    fn come_online(&mut self, desk: &mut Desk) {
        self.state = State::Online;
        self.inbox.online_since_us = desk.now_us;
        desk.tally[Count::Arriving] -= 1;
        desk.tally[Count::Online] += 1;
        self.announce(desk);
        if self.publisher.is_some() {
            desk.ready.mark(self.slot);
        }
        if let Some(breaks_off) = self.leaves_next.take() {
            let _ = self.leave(desk, breaks_off);
        }
    }

    /// The stream of presence, while presence is on.
    fn presence(&self, desk: &Desk) -> Option<u32> {
        desk.plan.clients[self.index as usize].presence.filter(|_| desk.has_presence)
    }

    /// Publishes the next message of presence.
    fn announce(&mut self, desk: &mut Desk) {
        let Some(stream) = self.presence(desk) else { return };
        let Some(publisher) = &mut self.publisher else { return };
        let stamp = Stamp { stream, sequence: self.presence_sequence, sent_us: desk.now_us as u32 };
        if publisher.publish_extra(&desk.press, stamp, &mut self.out) {
            self.presence_sequence += 1;
            desk.tally[Count::Sent] += 1;
            desk.tally[Count::Owed] += u64::from(desk.plan.streams[stream as usize].copies);
        }
    }

    #[inline]
    fn on_answer(
        &mut self,
        desk: &mut Desk,
        answer: Answer,
        apply: impl FnOnce(&mut Publisher, &mut Vec<u8>) -> Result<Completed, UnknownPacketId>,
    ) -> Result<(), Ending> {
        let Some(publisher) = &mut self.publisher else { return Err(Ending::OutOfPlace) };
        desk.tally[Count::Refused] += u64::from(answer.is_refusal());
        match apply(publisher, &mut self.out) {
            Ok(Completed::Message { sent_us }) => {
                desk.acknowledged(sent_us);
                desk.ready.mark(self.slot);
                Ok(())
            }
            Ok(Completed::Half) => Ok(()),
            Err(UnknownPacketId) => Err(Ending::OutOfPlace),
        }
    }

    /// Publishes what pacing, window and output allow, and finishes leaving.
    #[inline]
    pub fn proceed(&mut self, desk: &mut Desk) {
        match self.state {
            State::Online => self.publish(desk),
            State::Leaving => self.finish_leaving(desk),
            State::Away | State::Greeting | State::Subscribing => {}
        }
    }

    #[inline]
    fn publish(&mut self, desk: &mut Desk) {
        let Some(publisher) = self.publisher.as_deref_mut() else { return };
        let plan = &desk.plan.clients[self.index as usize];
        if plan.publishes.is_empty() {
            return;
        }
        // Within a closed loop all streams of a publisher have the same number of receivers.
        let copies = u64::from(desk.plan.streams[plan.publishes.start as usize].copies);
        let wanted = match desk.pacing {
            Pacing::Idle => 0,
            Pacing::Due => publisher.owed() as u64,
            Pacing::Acknowledged { window } => {
                window.saturating_sub(publisher.unacknowledged() as u64)
            }
            Pacing::Closed { window } => {
                let delivered = desk.delivered(self.index).checked_div(copies);
                let undelivered =
                    delivered.map_or(0, |count| publisher.sent().saturating_sub(count));
                let unacknowledged = publisher.unacknowledged() as u64;
                window.saturating_sub(undelivered.max(unacknowledged))
            }
        };
        let limit = desk.limit.saturating_mul(publisher.stream_count() as u64);
        let mut allowed = wanted.min(limit.saturating_sub(publisher.sent()));
        if desk.press.qos != Qos::AtMostOnce {
            let room = u64::from(self.receive_maximum);
            allowed = allowed.min(room.saturating_sub(publisher.unacknowledged() as u64));
        }
        while allowed > 0 && self.out.len() < OUT_SIZE_MAX && publisher.has_packet_id(&desk.press) {
            if desk.is_measuring
                && let Some(due_us) = publisher.oldest_due_us()
            {
                let late_us = (desk.now_us as u32).wrapping_sub(due_us);
                desk.latencies.hold_back.saturating_record(u64::from(late_us));
            }
            let stream = publisher.publish(&desk.press, desk.now_us as u32, &mut self.out);
            desk.tally[Count::Sent] += 1;
            desk.tally[Count::Owed] += u64::from(desk.plan.streams[stream as usize].copies);
            allowed -= 1;
        }
    }

    /// Starts to leave: in good order, or by breaking off. Who has a will first gets its answers,
    /// so that what the will follows is certain. False when it cannot leave but by being cut off.
    #[must_use]
    pub fn leave(&mut self, desk: &mut Desk, breaks_off: bool) -> bool {
        match self.state {
            State::Online => {
                self.state = State::Leaving;
                self.breaks_off = breaks_off;
                if !breaks_off {
                    self.announce(desk);
                }
                desk.ready.mark(self.slot);
                true
            }
            // Before its CONNACK nobody can know whether the broker has its will.
            State::Greeting | State::Subscribing if self.presence(desk).is_some() => {
                self.leaves_next = Some(breaks_off);
                true
            }
            State::Away | State::Greeting | State::Subscribing | State::Leaving => false,
        }
    }

    /// It is on its way out, or will be as soon as it has come.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.state == State::Leaving || self.leaves_next.is_some()
    }

    /// It is time to close the connection without a word.
    #[must_use]
    pub fn is_breaking_off(&self, desk: &Desk) -> bool {
        self.state == State::Leaving && self.breaks_off && self.is_settled(desk)
    }

    /// Nothing is under way that leaving has to wait for: only presence waits for its answers,
    /// other exchanges may rest in a session.
    fn is_settled(&self, desk: &Desk) -> bool {
        let unacknowledged = self.publisher.as_ref().map_or(0, |half| half.unacknowledged());
        self.presence(desk).is_none() || unacknowledged == 0
    }

    fn finish_leaving(&mut self, desk: &mut Desk) {
        if !self.breaks_off && !self.disconnect_is_sent && self.is_settled(desk) {
            self.disconnect_is_sent = true;
            encode::disconnect(&mut self.out);
        }
    }

    /// The connection breaks with no word: the will is the next message of presence.
    pub fn abandon(&mut self, desk: &mut Desk) {
        let has_will = self.state == State::Online || self.breaks_off;
        if let Some(stream) = self.presence(desk).filter(|_| has_will) {
            self.presence_sequence += 1;
            desk.tally[Count::Owed] += u64::from(desk.plan.streams[stream as usize].copies);
        }
    }

    /// Sends PINGREQ when nothing else was sent for three quarters of the keep-alive.
    pub fn keep_alive(&mut self, desk: &mut Desk) {
        let limit_us = u64::from(desk.plan.door.keep_alive_s) * 750_000;
        let is_idle = desk.now_us.saturating_sub(self.wrote_us) > limit_us;
        if limit_us > 0 && is_idle && self.state == State::Online {
            encode::pingreq(&mut self.out);
        }
    }

    /// Keeps a QoS 2 identifier; false when it was held already.
    fn hold(&mut self, packet_id: u16) -> bool {
        let word = usize::from(packet_id / 64);
        if self.held.len() <= word {
            self.held.resize(word + 1, 0);
        }
        let bit = 1 << (packet_id % 64);
        let is_new = self.held[word] & bit == 0;
        self.held[word] |= bit;
        is_new
    }

    fn release(&mut self, packet_id: u16) {
        if let Some(word) = self.held.get_mut(usize::from(packet_id / 64)) {
            *word &= !(1 << (packet_id % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::desk::Flow;
    use crate::mqtt::Version;
    use crate::plan::{Door, Expected, StreamPlan};

    const CONNACK: &[u8] = &[0x20, 2, 0, 0];
    const CONNACK_SESSION_PRESENT: &[u8] = &[0x20, 2, 1, 0];
    const SUBACK: &[u8] = &[0x90, 3, 0, 1, 2];

    /// One client that publishes stream 0, hears stream 0 and announces itself on stream 1.
    struct Bench {
        plan: Arc<Plan>,
        desk: Desk,
        client: Client,
    }

    impl Bench {
        fn new(qos: Qos) -> Self {
            let stream = |topic: &str, is_timed| StreamPlan {
                topic: topic.to_string(),
                publisher: 0,
                copies: 1,
                is_timed,
            };
            let client = ClientPlan {
                id: "c".to_string(),
                session_expiry_s: Some(60),
                filters: vec!["t".to_string()],
                expects: Expected::range(0..1),
                publishes: 0..1,
                presence: Some(1),
                ..ClientPlan::default()
            };
            let plan = Arc::new(Plan {
                door: Door {
                    target: "127.0.0.1:1".parse().expect("an address"),
                    wrapping: None,
                    version: Version::V311,
                    keep_alive_s: 4,
                    username: None,
                    password: None,
                    sources: Vec::new(),
                },
                qos,
                payload_size: 16,
                worker_count: 1,
                cpus: Vec::new(),
                sample_every: 1,
                clients: vec![client],
                streams: vec![stream("t", true), stream("here", false)],
                groups: Vec::new(),
            });
            let flows = Arc::from([Flow::default()]);
            let desk = Desk::new(Arc::clone(&plan), 0, 1, flows);
            let client = Client::new(0, &plan.clients[0], qos, 4);
            Self { plan, desk, client }
        }

        fn online(qos: Qos) -> Self {
            let mut bench = Self::new(qos);
            bench.client.on_dialled(&mut bench.desk);
            bench.feed(CONNACK).expect("welcome");
            bench.feed(SUBACK).expect("subscribed");
            bench.client.out.clear();
            bench
        }

        fn feed(&mut self, bytes: &[u8]) -> Result<usize, Ending> {
            self.client.on_bytes(&self.plan, &mut self.desk, bytes, 1 << 16)
        }

        /// A message of stream 0 as the broker sends it.
        fn message(&self, qos: Qos, is_again: bool, packet_id: u16, sequence: u32) -> Vec<u8> {
            let mut bytes = encode::publish_prefix(Version::V311, "t", qos, false, 16);
            bytes[0] |= u8::from(is_again) << 3;
            if qos != Qos::AtMostOnce {
                bytes.extend_from_slice(&packet_id.to_be_bytes());
            }
            let stamp = Stamp { stream: 0, sequence, sent_us: 0 };
            bytes.extend_from_slice(&stamp.to_bytes(16));
            bytes
        }

        fn count(&self, count: Count) -> u64 {
            self.desk.tally[count]
        }
    }

    #[test]
    fn a_client_comes_online_by_connack_and_suback() {
        let mut bench = Bench::new(Qos::AtLeastOnce);
        bench.client.on_dialled(&mut bench.desk);
        assert_eq!(bench.client.out[0], 0x10);
        bench.feed(CONNACK).expect("welcome");
        assert_eq!(bench.client.state(), State::Subscribing);
        bench.feed(SUBACK).expect("subscribed");
        assert_eq!(bench.client.state(), State::Online);
        assert_eq!((bench.count(Count::Online), bench.count(Count::Arriving)), (1, 0));
    }

    #[test]
    fn a_session_that_is_present_is_not_subscribed_again() {
        let mut bench = Bench::new(Qos::AtLeastOnce);
        bench.client.on_dialled(&mut bench.desk);
        bench.feed(CONNACK_SESSION_PRESENT).expect("welcome");
        assert_eq!(bench.client.state(), State::Online);
    }

    #[test]
    fn packets_out_of_place_end_the_connection() {
        let message = Bench::new(Qos::AtMostOnce).message(Qos::AtMostOnce, false, 0, 0);
        for (before, bytes) in [(&b""[..], SUBACK), (b"", &message), (CONNACK, CONNACK)] {
            let mut bench = Bench::new(Qos::AtMostOnce);
            bench.client.on_dialled(&mut bench.desk);
            bench.feed(before).expect("in place");
            assert_eq!(bench.feed(bytes), Err(Ending::OutOfPlace), "{bytes:?}");
        }
        let mut bench = Bench::new(Qos::AtMostOnce);
        bench.client.on_dialled(&mut bench.desk);
        assert_eq!(bench.feed(&[0x20, 2, 0, 5]), Err(Ending::Refused(5)));
    }

    #[test]
    fn an_incomplete_packet_stays_for_later() {
        let mut bench = Bench::online(Qos::AtMostOnce);
        let bytes = bench.message(Qos::AtMostOnce, false, 0, 0);
        for end in 0..bytes.len() {
            assert_eq!(bench.feed(&bytes[..end]), Ok(0));
        }
        assert_eq!(bench.feed(&bytes), Ok(bytes.len()));
        assert_eq!(bench.count(Count::Delivered), 1);
    }

    #[test]
    fn a_repetition_at_qos_1_is_a_fault_unless_it_says_so() {
        let mut bench = Bench::online(Qos::AtLeastOnce);
        for is_again in [false, true, false] {
            let bytes = bench.message(Qos::AtLeastOnce, is_again, 1, 0);
            bench.feed(&bytes).expect("a message");
        }
        assert_eq!(bench.count(Count::Delivered), 1);
        assert_eq!((bench.count(Count::Redelivered), bench.count(Count::Duplicated)), (1, 1));
        assert_eq!(bench.client.out, [0x40, 2, 0, 1].repeat(3));
    }

    #[test]
    fn a_qos_2_message_sent_again_is_answered_and_not_taken_twice() {
        let mut bench = Bench::online(Qos::ExactlyOnce);
        for is_again in [false, true] {
            let bytes = bench.message(Qos::ExactlyOnce, is_again, 700, 0);
            bench.feed(&bytes).expect("a message");
        }
        assert_eq!((bench.count(Count::Delivered), bench.count(Count::Duplicated)), (1, 0));
        assert_eq!(bench.client.out, [0x50, 2, 0x02, 0xBC].repeat(2));
        // Released, the identifier means a new message.
        bench.feed(&[0x62, 2, 0x02, 0xBC]).expect("a release");
        let bytes = bench.message(Qos::ExactlyOnce, false, 700, 0);
        bench.feed(&bytes).expect("a message");
        assert_eq!(bench.count(Count::Duplicated), 1);
    }

    #[test]
    fn the_closed_loop_waits_for_delivery_and_for_acknowledgement() {
        let mut bench = Bench::online(Qos::AtLeastOnce);
        bench.desk.pacing = Pacing::Closed { window: 2 };
        bench.client.proceed(&mut bench.desk);
        assert_eq!(bench.count(Count::Sent), 2);
        bench.feed(&[0x40, 2, 0, 1]).expect("an acknowledgement");
        bench.client.proceed(&mut bench.desk);
        assert_eq!(bench.count(Count::Sent), 2, "acknowledged and not delivered");
        let bytes = bench.message(Qos::AtLeastOnce, false, 1, 0);
        bench.feed(&bytes).expect("a message");
        bench.client.proceed(&mut bench.desk);
        assert_eq!(bench.count(Count::Sent), 3);
    }

    #[test]
    fn breaking_off_waits_for_answers_and_owes_the_will() {
        let mut bench = Bench::new(Qos::AtLeastOnce);
        bench.desk.has_presence = true;
        bench.client.on_dialled(&mut bench.desk);
        bench.feed(CONNACK_SESSION_PRESENT).expect("welcome");
        assert_eq!(bench.count(Count::Owed), 1, "the message of arrival");
        assert!(bench.client.leave(&mut bench.desk, true));
        assert!(!bench.client.is_breaking_off(&bench.desk), "the arrival has no answer");
        bench.feed(&[0x40, 2, 0, 1]).expect("an acknowledgement");
        assert!(bench.client.is_breaking_off(&bench.desk));
        bench.client.abandon(&mut bench.desk);
        assert_eq!((bench.count(Count::Owed), bench.client.presence_sequence()), (2, 2));
    }

    #[test]
    fn who_has_a_will_and_is_still_coming_leaves_after_it_came() {
        let mut bench = Bench::new(Qos::AtLeastOnce);
        bench.client.on_dialled(&mut bench.desk);
        assert!(!bench.client.leave(&mut bench.desk, true), "without a will it is cut off");
        bench.client.on_closed(&mut bench.desk);
        bench.desk.has_presence = true;
        bench.client.on_dialled(&mut bench.desk);
        assert!(bench.client.leave(&mut bench.desk, true));
        assert!(bench.client.is_leaving());
        assert_eq!(bench.client.state(), State::Greeting);
        bench.feed(CONNACK_SESSION_PRESENT).expect("welcome");
        bench.feed(&[0x40, 2, 0, 1]).expect("an acknowledgement");
        assert!(bench.client.is_breaking_off(&bench.desk));
    }

    #[test]
    fn a_polite_client_announces_its_leave_and_disconnects_after_the_answer() {
        let mut bench = Bench::new(Qos::AtLeastOnce);
        bench.desk.has_presence = true;
        bench.client.on_dialled(&mut bench.desk);
        bench.feed(CONNACK_SESSION_PRESENT).expect("welcome");
        bench.feed(&[0x40, 2, 0, 1]).expect("an acknowledgement");
        assert!(bench.client.leave(&mut bench.desk, false));
        bench.client.out.clear();
        bench.client.proceed(&mut bench.desk);
        assert!(bench.client.out.is_empty());
        bench.feed(&[0x40, 2, 0, 2]).expect("an acknowledgement");
        bench.client.proceed(&mut bench.desk);
        assert_eq!(bench.client.out, [0xE0, 0]);
        assert_eq!(bench.client.presence_sequence(), 2);
    }

    #[test]
    fn an_idle_client_pings_in_time() {
        let mut bench = Bench::online(Qos::AtMostOnce);
        bench.desk.now_us = 3_000_000;
        bench.client.keep_alive(&mut bench.desk);
        assert!(bench.client.out.is_empty());
        bench.desk.now_us = 3_000_001;
        bench.client.keep_alive(&mut bench.desk);
        assert_eq!(bench.client.out, [0xC0, 0]);
    }
}

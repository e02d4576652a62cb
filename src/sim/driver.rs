//! The driver of the shards: hands in what is ready, carries out what they say.

use std::net::{Ipv4Addr, SocketAddr};

use super::host::News;
use super::lane::Pressure;
use super::network::{Owner, Place};
use super::plan::WINDOWS;
use super::sabotage::Sabotage;
use super::world::{Event, Phase, World};
use crate::shard::{
    Census, ConnectionId, Input, Listener, Output, Peer, ShardId, ShardMessage, WriteBatch,
};
use crate::time::Time;

impl World {
    /// A shard has something to look at, and will.
    pub(super) fn tell(&mut self, shard: usize, news: News) {
        self.hosts[shard].inbox.push_back(news);
        self.plan_turn(shard);
    }

    /// The shard that has the link has something to look at.
    pub(super) fn tell_holder(&mut self, link: usize, news: News) {
        if let Place::At(shard, _) = self.links[link].place {
            self.tell(shard, news);
        }
    }

    fn plan_turn(&mut self, shard: usize) {
        if !self.hosts[shard].turn_planned {
            self.hosts[shard].turn_planned = true;
            let at = self.now + self.turns.below(self.delays.turn + 1);
            self.plan_event(at, Event::Turn(shard));
        }
    }

    /// A shard takes some or all of what is ready, then everything it wants is done.
    pub(super) fn turn(&mut self, shard: usize) {
        self.hosts[shard].turn_planned = false;
        let ready = self.hosts[shard].inbox.len() as u64;
        let taken = self.turns.between(1, self.plan.turn_inputs_max).min(ready);
        self.trace.number(self.now ^ (shard as u64) << 56 ^ taken << 48);
        for _ in 0..taken {
            let Some(news) = self.hosts[shard].inbox.pop_front() else { break };
            self.feed(shard, news);
        }
        while let Some(output) = self.hosts[shard].shard.poll() {
            if self.power_fails() {
                return;
            }
            self.carry_out(shard, output);
        }
        if !self.hosts[shard].inbox.is_empty() {
            self.plan_turn(shard);
        }
        self.plan_timer(shard);
        // What was dropped just before a crash comes back after it.
        if self.plan.lossy && self.seen.crashes == 0 {
            self.judge_queues(shard);
        }
    }

    /// Where queues are short they are full all the time, and never more than full but for what
    /// windows have room for. Those of groups may hold what members give back beside.
    fn judge_queues(&mut self, shard: usize) {
        let Census { queued, inflight, sessions, .. } = self.hosts[shard].census();
        let window = usize::from(*WINDOWS.last().expect("there are some"));
        let most = sessions * (self.plan.mqtt.queue_messages_max as usize + window);
        if queued + inflight > most {
            let sentence = format!(
                "shard {shard} has {queued} messages in queues and {inflight} in flight, not {most}"
            );
            self.oracle.violate(sentence);
        }
    }

    fn plan_timer(&mut self, shard: usize) {
        let Some(due) = self.hosts[shard].shard.poll_timeout() else { return };
        if due == Time::NEVER {
            return;
        }
        let due = due.as_micros().max(self.now);
        if self.hosts[shard].timer_at.is_none_or(|planned| due < planned) {
            self.hosts[shard].timer_at = Some(due);
            let late = self.turns.below(self.delays.timer + 1);
            self.plan_event(due + late, Event::Timer(shard));
        }
    }

    pub(super) fn timer(&mut self, shard: usize) {
        self.hosts[shard].timer_at = None;
        if self.saboteur.strikes(Sabotage::StopTimers) {
            return;
        }
        let due = self.hosts[shard].shard.poll_timeout();
        if due.is_some_and(|due| due.as_micros() <= self.now) {
            self.tell(shard, News::Timeout);
        } else {
            self.plan_timer(shard);
        }
    }

    pub(super) fn handle(&mut self, shard: usize, input: Input<'_>) {
        self.hosts[shard].shard.handle(Time::from_micros(self.now), input);
    }

    fn feed(&mut self, shard: usize, news: News) {
        match news {
            News::Accept(link) => self.feed_accept(shard, link),
            News::Readable(link) => self.feed_bytes(shard, link),
            News::Closed(link) => self.feed_closed(shard, link),
            News::Sent(link, connection, batch) => {
                if self.links[link].place == Place::At(shard, connection) {
                    self.links[link].writing = false;
                    self.handle(shard, Input::Sent { connection, batch });
                }
            }
            News::Lane(from, message) => {
                let (now, to) = (self.now, shard);
                self.trace.event(now, format_args!("shard {} -> {to} {message:?}", from.0));
                self.handle(shard, Input::Lane { from, message });
            }
            News::LaneFull(to) => self.handle(shard, Input::LaneFull { to }),
            News::LaneReady(to) => self.handle(shard, Input::LaneReady { to }),
            News::Log(news) => self.handle(shard, Input::Log(news)),
            News::Timeout => self.handle(shard, Input::Timeout),
            News::Reconfigure(policy) => self.handle(shard, Input::Reconfigure(policy)),
            News::Stop => self.handle(shard, Input::Stop),
        }
    }

    fn feed_accept(&mut self, shard: usize, link: usize) {
        if self.links[link].place != Place::Arriving(shard) {
            return;
        }
        let connection = self.hosts[shard].open(link);
        self.links[link].place = Place::At(shard, connection);
        self.links[link].handed_at = self.now;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1024 + (link % 60_000) as u16));
        let listener = Listener { index: 0, loopback: true };
        self.handle(
            shard,
            Input::Accepted { connection, peer: Peer { address, listener }, certificate: None },
        );
        let unread = std::mem::take(&mut self.links[link].unread);
        if !unread.is_empty() {
            self.links[link].handed += unread.len() as u64;
            self.handle(shard, Input::Received { connection, bytes: &unread });
        }
        self.tell(shard, News::Readable(link));
    }

    /// Hands in some of what has arrived by a link, or its end.
    fn feed_bytes(&mut self, shard: usize, link: usize) {
        let record = &mut self.links[link];
        let Place::At(at, connection) = record.place else { return };
        if at != shard {
            return;
        }
        match &mut record.paused {
            Some(0) => return,
            Some(reads) => *reads -= 1,
            None => {}
        }
        if record.arrived.is_empty() {
            if record.finished {
                self.feed_closed(shard, link);
            }
            return;
        }
        let available = record.arrived.len();
        let count = if self.turns.chance(800) {
            available
        } else {
            self.turns.between(1, available as u64) as usize
        };
        let bytes: Vec<u8> = record.arrived.drain(..count).collect();
        record.handed += count as u64;
        record.handed_at = self.now;
        self.trace.bytes(&bytes);
        self.trace.event(self.now, format_args!("link {link} to shard {shard}: {count} bytes"));
        self.handle(shard, Input::Received { connection, bytes: &bytes });
        let record = &self.links[link];
        if !record.arrived.is_empty() || record.finished {
            self.tell(shard, News::Readable(link));
        }
    }

    fn feed_closed(&mut self, shard: usize, link: usize) {
        let Place::At(at, connection) = self.links[link].place else { return };
        let told = std::mem::replace(&mut self.links[link].told_end, true);
        if at != shard || told || self.saboteur.strikes(Sabotage::MissClosed) {
            return;
        }
        self.trace.event(self.now, format_args!("link {link} closed, shard {shard} is told"));
        self.handle(shard, Input::Closed { connection });
    }

    /// The link is over at the broker's end.
    pub(super) fn ended(&mut self, link: usize) {
        let heard = self.links[link].is_heard();
        if let Owner::Client(client) = self.links[link].owner {
            self.oracle.link_ended(link, heard);
            let unanswered =
                self.clients[client].link == Some(link) && !self.clients[client].answered;
            if unanswered && self.oracle.session_in_doubt(client) {
                self.clients[client].must_clean = true;
            }
        }
    }

    fn carry_out(&mut self, shard: usize, output: Output) {
        match output {
            Output::Write { connection, batch } => self.write(shard, connection, batch),
            Output::Close { connection, last } => self.close(shard, connection, last),
            Output::Move { connection, to, unread } => {
                self.move_link(shard, connection, to, unread);
            }
            Output::PauseReading(connection) => {
                if let Some(link) = self.hosts[shard].link(connection) {
                    self.seen.pauses += 1;
                    let reads = self.turns.below(3) as u32;
                    self.links[link].paused = Some(reads);
                    self.links[link].was_paused = true;
                    self.oracle.reading_paused(link);
                }
            }
            Output::ResumeReading(connection) => {
                if let Some(link) = self.hosts[shard].link(connection) {
                    self.links[link].paused = None;
                    self.tell(shard, News::Readable(link));
                }
            }
            Output::Lane { to, message } => self.send_lane(shard, to.index(), message),
            Output::Log(order) => self.order(shard, order),
            Output::LogDamaged(at) => panic!("the record at {} is damaged", at.0),
            Output::LoginFailed(_) | Output::Event(_) => {}
            Output::Consult { .. } | Output::AskRules { .. } => {
                unreachable!("nobody is to be asked")
            }
            Output::Ask { connection, .. } => {
                self.handle(
                    shard,
                    Input::Verdict { connection, verdict: crate::auth::Verdict::Ignore },
                );
            }
        }
    }

    fn send_lane(&mut self, from: usize, to: usize, message: ShardMessage) {
        self.seen.lane_messages += 1;
        self.trace.number((from << 8 | to) as u64);
        let (now, delay) = (self.now, self.delays.lane);
        let lane = &mut self.lanes[from * self.plan.shards + to];
        let at = lane.send(message, now, delay, &mut self.lane_random);
        if self.saboteur.strikes(Sabotage::DropLaneMessage) {
            lane.drop_last();
        } else if self.saboteur.strikes(Sabotage::SwapLaneMessages) {
            lane.swap_last();
        }
        self.plan_event(at, Event::Lane(from, to));
        self.tell_pressure(from, to);
    }

    pub(super) fn lane_arrives(&mut self, from: usize, to: usize) {
        let lane = &mut self.lanes[from * self.plan.shards + to];
        if let Some(message) = lane.arrive() {
            self.tell(to, News::Lane(ShardId(from as u8), message));
        }
        self.tell_pressure(from, to);
    }

    fn tell_pressure(&mut self, from: usize, to: usize) {
        let lane = &mut self.lanes[from * self.plan.shards + to];
        let to = ShardId(to as u8);
        match lane.pressure(self.plan.lane_full_at) {
            Some(Pressure::Full) => {
                self.seen.lanes_full += 1;
                self.tell(from, News::LaneFull(to));
            }
            Some(Pressure::Ready) => self.tell(from, News::LaneReady(to)),
            None => {}
        }
    }

    fn write(&mut self, shard: usize, connection: ConnectionId, batch: WriteBatch) {
        let Some(link) = self.hosts[shard].link(connection) else { return };
        if self.links[link].writing {
            self.oracle.violate(format!("shard {shard} wrote to {connection:?} while it writes"));
        }
        self.links[link].writing = true;
        self.send_down(link, &batch);
        let record = &mut self.links[link];
        let slow = if record.deaf { 10 * self.delays.sent } else { self.delays.sent };
        record.outstanding.push_back((connection, batch));
        let at = self.now + self.network.below(slow + 1);
        self.plan_event(at, Event::Sent(link));
    }

    pub(super) fn sent(&mut self, link: usize) {
        let Some((connection, batch)) = self.links[link].outstanding.pop_front() else { return };
        self.tell_holder(link, News::Sent(link, connection, batch));
    }

    fn close(&mut self, shard: usize, connection: ConnectionId, last: WriteBatch) {
        let Some(link) = self.hosts[shard].link(connection) else { return };
        self.trace.event(self.now, format_args!("shard {shard} closes link {link}"));
        self.hosts[shard].close(connection);
        self.links[link].place = Place::Gone;
        self.judge_close(link);
        self.ended(link);
        self.send_down(link, &last);
        let (now, delay) = (self.now, self.delays.network);
        let at = self.links[link].down.arrival(now, delay, &mut self.network);
        self.plan_event(at, Event::DownEnd(link));
    }

    /// The broker may close what the client left, took over, fell silent on or misused.
    fn judge_close(&mut self, link: usize) {
        let record = &self.links[link];
        let Owner::Client(client) = record.owner else { return };
        let taken_over = self.clients[client].link != Some(link);
        let no_room = self.plan.disk_fills && !self.clients[client].answered;
        if !(record.excused
            || record.abandoned
            || record.told_end
            || taken_over
            || no_room
            || self.phase == Phase::Stopping)
        {
            let now = self.now;
            let silent_ms = (now - record.handed_at) / 1000;
            let why = format!("link {link}, last handed bytes {silent_ms} ms ago");
            self.oracle.closed_without_cause(client, &why);
        }
    }

    fn move_link(&mut self, shard: usize, connection: ConnectionId, to: ShardId, unread: Vec<u8>) {
        let Some(link) = self.hosts[shard].link(connection) else { return };
        self.trace.event(self.now, format_args!("link {link} moves {shard} -> {}", to.0));
        self.seen.moves += 1;
        self.hosts[shard].close(connection);
        let record = &mut self.links[link];
        record.handed -= unread.len() as u64;
        record.unread = unread;
        record.paused = None;
        record.told_end = false;
        record.place = Place::Arriving(to.index());
        let at = self.now + self.network.below(self.delays.moving + 1);
        self.plan_event(at, Event::Arrive(link));
    }
}

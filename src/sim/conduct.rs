//! How clients take what they are sent and keep in touch: the part of them that is not choice.

use super::client::{How, State, Verdict};
use super::network::{Owner, Place};
use super::world::{Event, Phase, World};

impl World {
    pub(super) fn hear(&mut self, link: usize, bytes: &[u8], written_at: u64) {
        let Owner::Client(client) = self.links[link].owner else { return };
        if self.links[link].abandoned || self.clients[client].link != Some(link) {
            return;
        }
        self.trace.event(self.now, format_args!("link {link} hears {} bytes", bytes.len()));
        let mut out = Vec::new();
        let was = self.clients[client].state;
        let verdict = self.clients[client].receive(bytes, written_at, &mut self.oracle, &mut out);
        self.send_up(link, out);
        if let Verdict::Leave(code) = verdict {
            self.told_to_leave(client, link, code);
        } else if was == State::Connecting && self.clients[client].state == State::Connected {
            self.plan_keep_alive(client, link);
        }
        self.plan_answer(client);
    }

    fn told_to_leave(&mut self, client: usize, link: usize, code: u8) {
        self.seen.goodbyes += 1;
        let stopping = self.phase == Phase::Stopping;
        let silent = self.links[link].excused;
        let expected = match code {
            0x8B => stopping,
            0x8D => silent,
            // No room for a session that would have to be kept: a quota, or before 5.0 a server
            // that is unavailable.
            0x97 | 3 => self.plan.disk_fills && self.clients[client].state == State::Connecting,
            _ => false,
        };
        if !expected {
            let name = &self.clients[client].name;
            self.oracle.violate(format!("{name} did nothing wrong and was refused with {code:#x}"));
        }
        self.finish(link);
        self.clients[client].link_lost();
        if self.phase == Phase::Calm {
            self.plan_act(client);
        }
    }

    pub(super) fn down_end(&mut self, link: usize) {
        let Owner::Client(client) = self.links[link].owner else { return };
        if self.links[link].abandoned || self.clients[client].link != Some(link) {
            return;
        }
        self.listen(link);
        let v5_unsaid = self.phase == Phase::Stopping
            && self.workloads[client].is_v5()
            && self.clients[client].state == State::Connected
            && !self.links[link].excused;
        if v5_unsaid {
            let name = &self.clients[client].name;
            self.oracle.violate(format!("{name} was not told that the broker stops"));
        }
        self.links[link].abandoned = true;
        self.clients[client].link_lost();
        self.plan_act(client);
    }

    pub(super) fn plan_act(&mut self, client: usize) {
        let at = self.now + 1 + self.workloads[client].pause(self.delays.act);
        self.plan_event(at, Event::Act(client));
    }

    fn plan_answer(&mut self, client: usize) {
        if self.clients[client].has_answers() && !self.workloads[client].answer_planned {
            self.workloads[client].answer_planned = true;
            let at = self.now + 1 + self.workloads[client].hesitation(self.delays.answer);
            self.plan_event(at, Event::Answer(client));
        }
    }

    pub(super) fn answer(&mut self, client: usize) {
        self.workloads[client].answer_planned = false;
        let silent = self.clients[client].link.is_some_and(|link| self.links[link].excused);
        if silent && self.phase == Phase::Chaos {
            return;
        }
        let count = self.workloads[client].patience();
        let bytes = self.clients[client].answer(count, &mut self.oracle);
        if let Some(link) = self.clients[client].link {
            self.send_up(link, bytes);
        }
        self.plan_answer(client);
    }

    fn plan_keep_alive(&mut self, client: usize, link: usize) {
        let seconds = self.clients[client].keep_alive();
        if seconds > 0 {
            let at = self.now + u64::from(seconds) * 400_000;
            self.plan_event(at, Event::KeepAlive(client, link));
        }
    }

    pub(super) fn keep_alive(&mut self, client: usize, link: usize) {
        let here = self.clients[client].link == Some(link)
            && self.clients[client].state == State::Connected;
        if !here || self.links[link].excused {
            return;
        }
        let interval = u64::from(self.clients[client].keep_alive()) * 400_000;
        if self.clients[client].last_sent_at + interval <= self.now {
            let bytes = self.clients[client].ping();
            self.send_up(link, bytes);
        }
        self.plan_keep_alive(client, link);
    }

    /// The client falls silent: it neither sends nor reads until the link is gone.
    pub(super) fn fall_silent(&mut self, client: usize, link: usize) {
        self.seen.silences += 1;
        self.links[link].excused = true;
        self.links[link].deaf = true;
        let seconds = u64::from(self.clients[client].keep_alive());
        if seconds > 0 {
            let slack = (self.delays.stall() + self.delays.late()).as_micros() as u64;
            let at = self.now + seconds * 1_500_000 + slack;
            self.plan_event(at, Event::Outlived(link));
        }
    }

    /// [MQTT-3.1.2-22]
    pub(super) fn outlived(&mut self, link: usize) {
        let record = &self.links[link];
        let kept = matches!(record.place, Place::At(..)) && !record.abandoned && !record.was_paused;
        if kept && record.excused {
            self.oracle.violate(format!("link {link} was silent for longer than its keep-alive"));
        }
    }

    /// Opens a link and connects; an older link of the client is left as it is.
    pub(super) fn connect(&mut self, client: usize, how: How) {
        let link = self.open(Owner::Client(client));
        let bytes = self.clients[client].connect(link, how, &mut self.oracle);
        let (now, name) = (self.now, &self.clients[client].name);
        self.trace.event(now, format_args!("{name} connects by link {link}"));
        self.send_up(link, bytes);
    }
}

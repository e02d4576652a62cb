//! A run from its beginning to its end: chaos, then calm, then account.

use super::Report;
use super::client::State;
use super::host::{Host, News};
use super::network::{Owner, Place};
use super::oracle::{FilterKey, Options};
use super::plan::{Delays, SESSION_EXPIRY_S_MAX};
use super::workload::Workload;
use super::world::{Event, Phase, World};
use crate::config::Mqtt;
use crate::shard::Census;
use crate::time::Time;

impl World {
    /// Plays the run; what broke is in the oracle.
    pub(super) fn play(&mut self) {
        for crashes_left in (1..=self.plan.crashes).rev() {
            self.crash_under_load(crashes_left);
        }
        self.run_until(|world| world.steps_left == 0);
        self.calm_down();
        self.rest("after the chaos");
        if self.plan.journal && !self.is_broken() {
            self.crash();
            self.reconfigure_for_calm();
            self.rest("after the power came back");
        }
        self.pass(LONGEST_DELAY_S);
        self.rest("after wills were due");
        self.oracle.settle();
        self.oracle.judge_owed(None);
        self.oracle.judge_known_values();
        self.judge_at_rest();
        self.probe();
        let observer = self.observe();
        if self.plan.stops {
            self.stop();
        } else {
            self.leave(observer);
        }
    }

    fn is_broken(&self) -> bool {
        self.oracle.violation.is_some()
    }

    fn run_until(&mut self, done: impl Fn(&World) -> bool) {
        let mut left = EVENTS_MAX;
        while !self.is_broken() && !done(self) && self.step() {
            left -= 1;
            if left == 0 {
                self.oracle.violate("the world does not come to rest");
            }
        }
    }

    /// Some time on, between two effects of a shard, the broker is gone.
    fn crash_under_load(&mut self, crashes_left: u32) {
        let share = self.steps_left / (crashes_left + 1);
        let steps_left = self.steps_left - self.outages.below(2 * u64::from(share) + 1) as u32;
        self.run_until(|world| world.steps_left <= steps_left);
        self.effects_left = Some(self.outages.below(200));
        self.run_until(|world| world.effects_left == Some(0) || world.steps_left == 0);
        if !self.is_broken() {
            self.crash();
        }
    }

    /// Faults stop: every link nobody uses is closed, every client comes back.
    fn calm_down(&mut self) {
        let now = self.now;
        self.trace.event(now, format_args!("-- faults stop"));
        self.phase = Phase::Calm;
        self.delays = Delays::CALM;
        self.reconfigure_for_calm();
        for link in 0..self.links.len() {
            let stray = match self.links[link].owner {
                Owner::Stranger(_) => true,
                Owner::Client(client) => self.clients[client].link != Some(link),
            };
            if (stray || self.links[link].abandoned) && self.links[link].place != Place::Gone {
                self.finish(link);
            } else if !self.links[link].excused {
                self.plan_event(now, Event::Listen(link));
            }
        }
        for client in 0..self.clients.len() {
            self.plan_event(now, Event::Act(client));
        }
    }

    /// From now on a QoS 0 message has no reason to be dropped.
    fn reconfigure_for_calm(&mut self) {
        self.reconfigure_to(Mqtt { outbox_bytes_max: 1 << 20, ..self.plan.mqtt.clone() });
    }

    /// Whether nothing is under way, nor would be if timers were not late.
    fn is_at_rest(&self) -> bool {
        let is_due = |host: &Host| {
            let due = host.shard.poll_timeout();
            due.is_some_and(|due| due != Time::NEVER && due.as_micros() <= self.now)
        };
        self.busy == 0 && !self.hosts.iter().any(is_due)
    }

    /// Runs until nothing is under way.
    fn rest(&mut self, when: &str) {
        self.run_until(World::is_at_rest);
        if self.plan.disk_fills && self.phase == Phase::Calm {
            self.ask_again();
        }
        if self.is_broken() {
            return;
        }
        self.audit_logs();
        let waiting = self.clients.iter().find(|client| match client.state {
            State::Away => self.phase == Phase::Calm,
            _ => !client.is_done(),
        });
        if let Some(client) = waiting {
            let backlog = client.backlog();
            self.oracle.violate(format!("{when} all is quiet and something is missing: {backlog}"));
        }
    }

    /// Before 5.0 a message that finds no room is not answered; who still waits when there is
    /// room again connects anew, and sends it again.
    fn ask_again(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].state == State::Connected && !self.clients[client].is_done() {
                self.break_link(client, false);
                self.plan_event(self.now, Event::Act(client));
            }
        }
        self.run_until(World::is_at_rest);
    }

    /// Lets time pass.
    fn pass(&mut self, seconds: u32) {
        let until = self.now + u64::from(seconds) * 1_000_000;
        self.run_until(|world| world.next_at().is_none_or(|at| at > until));
        self.now = until;
        self.oracle.set_now(until);
    }

    /// All is quiet and every client is connected: nothing waits anywhere.
    fn judge_at_rest(&mut self) {
        let census = self.census();
        self.require_idle(&census);
        let ((sessions_min, sessions_max), (held_min, held_max)) = self.oracle.expected_sessions();
        let connections =
            self.clients.iter().filter(|c| c.state == State::Connected).count() as u64;
        self.require_between("connections", census.connections, (connections, connections));
        if self.strangers.is_empty() {
            self.require_between("sessions", census.sessions, (sessions_min, sessions_max));
            self.require_between("subscriptions", census.subscriptions, (held_min, held_max));
        }
    }

    fn require_idle(&mut self, census: &Census) {
        self.require_none(&[
            ("unacknowledged publications", census.pending_publishes),
            ("unanswered SUBSCRIBEs", census.pending_subscribes),
            ("unconfirmed interests", census.pending_interests),
            ("unanswered reads of retained messages", census.retained_reads),
            ("paused connections", census.paused),
            ("publications waiting for the log", census.journal_waiters),
        ]);
        // Sessions and groups of strangers hold what nobody fetches until they expire.
        if self.strangers.is_empty() {
            self.require_none(&[
                ("queued messages", census.queued),
                ("messages in flight", census.inflight),
                ("unreleased messages", census.unreleased),
                ("messages queued in groups", census.group_queued),
            ]);
        }
        if !self.lanes_are_empty() {
            self.oracle.violate("all is quiet and a lane is not empty");
        }
    }

    fn require_none(&mut self, counts: &[(&str, usize)]) {
        for (what, count) in counts.iter().filter(|(_, count)| *count > 0) {
            self.oracle.violate(format!("all is quiet and there are {count} {what}"));
        }
    }

    fn require_between(&mut self, what: &str, count: usize, (least, most): (u64, u64)) {
        if !(least..=most).contains(&(count as u64)) {
            self.oracle.violate(format!(
                "there are {count} {what} where there should be {least} to {most}"
            ));
        }
    }

    /// With nothing in the way every message arrives, those of QoS 0 too.
    fn probe(&mut self) {
        let calm = self.oracle.tick();
        for client in 0..self.clients.len() {
            for qos in [0, 1, 2, 0] {
                if !self.is_broken() {
                    self.publish_something(client, qos);
                    self.rest("after a probe");
                }
            }
        }
        if !self.is_broken() {
            self.oracle.settle();
            self.oracle.judge_owed(Some(calm));
        }
    }

    /// A new client subscribes to everything and is told what is retained.
    fn observe(&mut self) -> usize {
        let observer = self.join(Workload::observer(&self.plan, self.clients.len()));
        self.rest("after the observer came");
        if self.is_broken() {
            return observer;
        }
        let options = Options {
            qos: 2,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
            subscription_id: None,
            asked: 0,
            sure: None,
        };
        let everything = ["#", "$t/#"]
            .map(|filter| (FilterKey { group: None, filter: filter.to_owned() }, options));
        self.subscribe(observer, everything.into());
        self.rest("after the observer subscribed");
        if !self.is_broken() {
            let range = self.oracle.judge_last_values(observer);
            if self.strangers.is_empty() {
                let retained = self.census().retained;
                self.require_between("retained messages", retained, range);
            }
        }
        observer
    }

    /// Every client leaves in its own way, and some time later nothing is left of any.
    fn leave(&mut self, observer: usize) {
        self.phase = Phase::Still;
        for client in 0..self.clients.len() {
            if self.is_broken() {
                return;
            }
            let held: Vec<FilterKey> = self.oracle.held(client).into_keys().collect();
            if !held.is_empty() && client % 2 == 0 {
                self.unsubscribe(client, held);
                self.rest("after unsubscribing");
            }
            let link = self.clients[client].link;
            match (client % 3, link) {
                (0, Some(link)) if client != observer => {
                    self.break_off(link, true);
                    self.clients[client].link_lost();
                }
                _ => self.say_goodbye(client, 0, None),
            }
        }
        self.rest("after all left");
        self.pass(SESSION_EXPIRY_S_MAX + 10);
        self.rest("after all sessions expired");
        self.judge_empty();
    }

    fn judge_empty(&mut self) {
        if self.is_broken() {
            return;
        }
        let census = self.census();
        let kept = census.kept.saturating_sub(census.retained);
        let census = Census { retained: 0, kept, ..census };
        if census != Census::default() {
            self.oracle.violate(format!("all have left and something is held: {census:?}"));
        }
    }

    /// The broker stops: it says so to all who understand, and closes every connection.
    fn stop(&mut self) {
        if self.is_broken() {
            return;
        }
        self.phase = Phase::Stopping;
        for shard in 0..self.plan.shards {
            self.tell(shard, News::Stop);
        }
        self.rest("after the broker was told to stop");
        let census = self.census();
        self.require_between("connections after the stop", census.connections, (0, 0));
    }

    /// What happened.
    pub(super) fn report(&self) -> Report {
        let (oracle, world) = (&self.oracle.seen, &self.seen);
        Report {
            hash: self.trace.hash(),
            events: self.trace.events(),
            sabotaged: self.saboteur.committed,
            seen: vec![
                ("delivered at QoS 0", oracle.delivered[0]),
                ("delivered at QoS 1", oracle.delivered[1]),
                ("delivered at QoS 2", oracle.delivered[2]),
                ("retransmitted", oracle.retransmitted),
                ("retained messages delivered", oracle.retained),
                ("shared messages delivered", oracle.shared),
                ("wills delivered", oracle.wills),
                ("wills withheld", oracle.wills_withheld),
                ("sessions resumed", oracle.resumed),
                ("sessions expired or lost", oracle.expired),
                ("deliveries owed and made", oracle.owed),
                ("connections moved", world.moves),
                ("connections paused", world.pauses),
                ("connections taken over", world.takeovers),
                ("connections broken", world.resets),
                ("clients fallen silent", world.silences),
                ("lane messages", world.lane_messages),
                ("lanes full", world.lanes_full),
                ("commits", world.commits),
                ("segments recycled", world.recycled),
                ("losses of power considered", world.power_losses),
                ("losses of power", world.crashes),
                ("backups", world.backups),
                ("syncs failed", world.syncs_failed),
                ("disks full", world.disks_full),
                ("goodbyes of the broker", world.goodbyes),
            ],
        }
    }
}

/// Longer than every will delay, every short session and every message expiry.
const LONGEST_DELAY_S: u32 = 8;

/// A run that has this many events left over does not come to rest.
const EVENTS_MAX: u64 = 3_000_000;

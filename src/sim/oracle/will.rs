//! Wills: what is published when a connection ends, when, and when not.

use super::message::{Fate, MessageId, Tick};
use super::{Link, Oracle};
use crate::sim::wire::Protocol;

/// The will of one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Will {
    pub(super) message: MessageId,
    /// Seconds after the end of the link.
    delay: u32,
}

/// What the specification says of the will of a link, as far as can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has to be published.
    Must,
    /// Either: what decides was in flight.
    May,
    /// It is not to be published, or not yet.
    MustNot,
}

impl Will {
    pub(super) fn new(message: MessageId, delay: u32) -> Will {
        Will { message, delay }
    }
}

impl Oracle {
    /// What holds for the will of a link at this moment. [MQTT-3.1.2-8, 3.1.2-10, 3.1.3-9]
    pub(super) fn will_verdict(&self, link: usize) -> Verdict {
        let record = &self.links[link];
        let (Some(will), Some((_, ended))) = (record.will, record.ended) else {
            return Verdict::MustNot;
        };
        // A broker may publish the wills of those it lost by its own end, or not; for some it may
        // have no room.
        if record.crashed || self.rules.disk_fills {
            return Verdict::May;
        }
        if record.farewell {
            return if record.farewell_heard { Verdict::MustNot } else { Verdict::May };
        }
        if record.connack.is_none() {
            return Verdict::May;
        }
        let due = self.will_due(link, will, ended);
        if self.later_links(link).next().is_some() {
            return self.verdict_against(record, will, due, link);
        }
        if self.now > due.1.saturating_add(self.rules.late_us) {
            Verdict::Must
        } else if self.now < due.0 {
            Verdict::MustNot
        } else {
            Verdict::May
        }
    }

    /// When it is due: after its delay or when the session ends, whichever is first.
    fn will_due(&self, link: usize, will: Will, ended: u64) -> (u64, u64) {
        let expiry = self.links[link].expiry_at_end;
        let after = |seconds: u32| ended.saturating_add(u64::from(seconds) * 1_000_000);
        (after(will.delay.min(expiry.0)), after(will.delay.min(expiry.1)))
    }

    /// The links its client opened after it.
    fn later_links(&self, link: usize) -> impl Iterator<Item = &Link> {
        let links = &self.clients[self.links[link].client].links;
        links.iter().filter(move |&&other| other > link).map(|&other| &self.links[other])
    }

    /// The client came back: in time, or too late?
    fn verdict_against(&self, old: &Link, will: Will, due: (u64, u64), link: usize) -> Verdict {
        if will.delay == 0 {
            return Verdict::Must;
        }
        if self.clients[old.client].protocol == Protocol::V5 && old.expiry == 0 {
            // A session of no length that is taken over ends, or goes on: both can be read.
            return Verdict::May;
        }
        let Some(next) = self.later_links(link).next() else { return Verdict::May };
        match next.connack {
            // What an unanswered CONNECT did is not known.
            None => Verdict::May,
            Some(_) if next.clean_start => Verdict::Must,
            Some(_) if next.connect_at > due.1.saturating_add(self.rules.late_us) => Verdict::Must,
            Some((_, at)) if at < due.0 => Verdict::MustNot,
            Some(_) => Verdict::May,
        }
    }

    /// A will reached a subscriber in bytes that the broker wrote at `written_at`.
    pub(super) fn judge_will(&mut self, id: MessageId, link: usize, written_at: u64) {
        self.seen.wills += 1;
        let Some(will) = self.links[link].will else { return };
        let name = self.clients[self.links[link].client].name.clone();
        let ended = self.links[link].ended;
        self.require(ended.is_some(), || {
            format!("the will m{id} of {name} was published while it was connected")
        });
        let Some((_, ended)) = ended else { return };
        let (due, _) = self.will_due(link, will, ended);
        let replaced = self.later_links(link).any(|later| later.clean_start);
        self.require(written_at >= due || replaced, || {
            format!("the will m{id} of {name} was published before it was due")
        });
        let withheld = self.will_verdict(link) == Verdict::MustNot;
        self.require(!withheld, || {
            format!("the will m{id} of {name} was published although it was withdrawn")
        });
    }

    /// The broker crashed: whether it had heard that a connection ended just before, or published
    /// its will just then, it may not know any more.
    pub(super) fn doubt_wills(&mut self) {
        let slack = self.rules.stall_us + self.rules.late_us;
        let now = self.now;
        let links: Vec<usize> = self.links.0.keys().copied().collect();
        for link in links {
            let (Some(will), Some((_, ended))) = (self.links[link].will, self.links[link].ended)
            else {
                continue;
            };
            let due = self.will_due(link, will, ended);
            let is_open = self.messages[will.message].fate == Fate::Open;
            let is_recent = ended + slack >= now
                || (due.0 <= now.saturating_add(slack) && due.1.saturating_add(slack) >= now);
            if is_open && is_recent {
                self.links[link].crashed = true;
            }
        }
    }

    /// At rest: the wills that had to be published by now become messages that are owed.
    pub(super) fn settle_wills(&mut self, tick: Tick) {
        let links: Vec<usize> = self.links.0.keys().copied().collect();
        for link in links {
            let Some(will) = self.links[link].will else { continue };
            let verdict = self.will_verdict(link);
            self.seen.wills_withheld += u64::from(verdict == Verdict::MustNot);
            if self.links[link].ended.is_none() {
                continue;
            }
            let message = &mut self.messages[will.message];
            if message.fate == Fate::Open {
                message.fate = match verdict {
                    Verdict::Must => Fate::Kept(tick),
                    Verdict::May => Fate::Abandoned(tick),
                    Verdict::MustNot => Fate::Refused,
                };
            }
        }
    }
}

//! Questions of the control thread to the shards: answered between two turns' work, one look a
//! turn, each bounded by what the core visits in one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::mailbox::{Letter, Mailbox};
use crate::auth::Banned;
use crate::shard::{Place, Seen, Shard, TraceId, TraceOrder, Traced};
use crate::time::Time;

/// How long an answer of a shard is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks shards, and tells them what operators want.
#[derive(Clone)]
pub(crate) struct Inquiry {
    mailboxes: Arc<Vec<Mailbox>>,
}

/// What became of a client that an operator let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kicked {
    /// Whether it was connected.
    pub(crate) was_connected: bool,
    /// Whether its session goes on.
    pub(crate) is_kept: bool,
}

/// A shard has not answered in time: it is stuck, or the broker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shard does not answer")
    }
}

impl Inquiry {
    pub(super) fn new(mailboxes: &Arc<Vec<Mailbox>>) -> Inquiry {
        Inquiry { mailboxes: Arc::clone(mailboxes) }
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// What every shard sees, in the order of shards.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl Fn(&Shard, Time) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Silent> {
        let ask = |shard| self.ask(shard, look.clone());
        let answers: Vec<_> = (0..self.shards()).map(ask).collect();
        let mut seen = Vec::new();
        for answer in answers {
            seen.push(answered(answer).await?);
        }
        Ok(seen)
    }

    /// Lets every shard look through a whole table, part by part; the least `count_max` rows of
    /// all, in order, and how many match.
    pub(crate) async fn look_through<T: Ord + Send + 'static>(
        &self,
        count_max: usize,
        look: impl Fn(&Shard, Time, Place) -> Seen<T> + Clone + Send + 'static,
    ) -> Result<(Vec<T>, usize), Silent> {
        let (mut rows, mut matching) = (Vec::new(), 0);
        let mut places: Vec<_> = (0..self.shards()).map(|_| Some(Place::default())).collect();
        while places.iter().any(Option::is_some) {
            let ask = |(shard, place): (usize, &Option<Place>)| {
                let (place, look) = ((*place)?, look.clone());
                Some((shard, self.ask(shard, move |shard, now| look(shard, now, place))))
            };
            let answers: Vec<_> = places.iter().enumerate().filter_map(ask).collect();
            for (shard, answer) in answers {
                let seen = answered(answer).await?;
                places[shard] = seen.next;
                matching += seen.matching;
                rows.extend(seen.rows);
            }
            rows.sort_unstable();
            rows.truncate(count_max);
        }
        Ok((rows, matching))
    }

    /// As [`Inquiry::look_through`], of one shard alone.
    pub(crate) async fn look_through_one<T: Ord + Send + 'static>(
        &self,
        shard: usize,
        count_max: usize,
        look: impl Fn(&Shard, Time, Place) -> Seen<T> + Clone + Send + 'static,
    ) -> Result<(Vec<T>, usize), Silent> {
        let (mut rows, mut matching, mut place) = (Vec::new(), 0, Some(Place::default()));
        while let Some(from) = place {
            let look = look.clone();
            let answer = self.ask(shard, move |shard, now| look(shard, now, from));
            let seen = answered(answer).await?;
            (place, matching) = (seen.next, matching + seen.matching);
            rows.extend(seen.rows);
            rows.sort_unstable();
            rows.truncate(count_max);
        }
        Ok((rows, matching))
    }

    /// Ends the connection of a client, and its session if it is to be forgotten. Nothing if the
    /// client is unknown.
    pub(crate) async fn kick(
        &self,
        client_id: &Arc<str>,
        forget: bool,
    ) -> Result<Option<Kicked>, Silent> {
        let kick = |answer| Letter::Kick { client_id: Arc::clone(client_id), forget, answer };
        let answers = self.ask_all(kick).await?;
        Ok(answers.into_iter().fold(None, Option::or))
    }

    /// Begins or ends a trace on every shard, and waits until they all do.
    pub(crate) async fn trace(&self, order: &TraceOrder) -> Result<(), Silent> {
        let asked = self.ask_all(|answer| Letter::Trace { order: order.clone(), answer });
        asked.await.map(|_| ())
    }

    /// What every shard noted of a trace since the last time, in the order of shards.
    pub(crate) async fn take_traced(&self, id: TraceId) -> Result<Vec<Traced>, Silent> {
        let answers = self.ask_all(|answer| Letter::Traced { id, answer }).await?;
        Ok(answers.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Lets go who is kept out from now on.
    pub(crate) fn let_go(&self, whom: &Banned) {
        Mailbox::send_all(&self.mailboxes, || Letter::LetGo(whom.clone()));
    }

    /// Lets the broker say something of itself to subscribers of a topic.
    pub(crate) fn announce(&self, announcements: Vec<(Arc<str>, Bytes)>) {
        self.mailboxes[0].send(Letter::Announce(announcements));
    }

    /// The answers of all shards, in their order.
    async fn ask_all<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> Letter,
    ) -> Result<Vec<T>, Silent> {
        let ask = |mailbox: &Mailbox| {
            let (sender, answer) = oneshot::channel();
            mailbox.send(question(sender));
            answer
        };
        let asked: Vec<_> = self.mailboxes.iter().map(ask).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(answered(answer).await?);
        }
        Ok(answers)
    }

    fn ask<T: Send + 'static>(
        &self,
        shard: usize,
        look: impl FnOnce(&Shard, Time) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, answer) = oneshot::channel();
        let look = move |shard: &Shard, now| {
            // Whoever asked has gone on.
            let _ = sender.send(look(shard, now));
        };
        self.mailboxes[shard].send(Letter::Look(Box::new(look)));
        answer
    }
}

async fn answered<T>(answer: oneshot::Receiver<T>) -> Result<T, Silent> {
    timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| Silent)?.map_err(|_| Silent)
}

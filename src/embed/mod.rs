//! A broker within another program: who decides for it, and who listens.
//!
//! Hooks are asked on the control thread. The connection that one is asked about waits, nobody else;
//! one that panics, or takes longer than it may, refuses what it was asked for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::broadcast;

use crate::auth::{Login, Verdict};
use crate::config::Config;
use crate::message::{Message, Publication};
use crate::proto::{QoS, ReasonCode};
use crate::runtime::{Broker, RunError};
use crate::shard::{Advice, Client, Consults, Event, Forward, Question, Receiver, Replacement};

/// How long a hook may take, unless the builder says otherwise.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Events that wait for a listener; beyond them it misses the oldest.
const EVENTS_WAITING_MAX: usize = 8192;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Hook<Q, A> = Arc<dyn Fn(Q) -> Answer<A> + Send + Sync>;
type OfPublish = Result<Option<Replacement>, ReasonCode>;
type Subscribing = (Client, Box<str>, QoS);
type OfSubscribe = Result<QoS, ReasonCode>;

/// Makes a broker with hooks.
///
/// ```no_run
/// use hawker::Broker;
/// use hawker::proto::ReasonCode;
///
/// let broker = Broker::builder()
///     .authorize_publish(|client, message| async move {
///         match message.topic().starts_with(&*client.client_id) {
///             true => Ok(None),
///             false => Err(ReasonCode::NotAuthorized),
///         }
///     })
///     .start()?;
/// # Ok::<(), hawker::runtime::RunError>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    config: Config,
    hooks: Hooks,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder { config: Config::default(), hooks: Hooks::default() }
    }

    /// The configuration; without it, the defaults of `hawker run`.
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// How long a hook may take; 30 seconds if nothing is said.
    pub fn hook_timeout(mut self, timeout: Duration) -> Builder {
        self.hooks.timeout = timeout;
        self
    }

    /// Asked about every CONNECT, but those with a client certificate or SCRAM; what it ignores the
    /// configuration decides.
    pub fn authenticate<F>(
        mut self,
        hook: impl Fn(Arc<Login>) -> F + Send + Sync + 'static,
    ) -> Builder
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.hooks.authenticate = Some(Arc::new(move |login| Box::pin(hook(login))));
        self
    }

    /// Asked about every message that the rules allow a client, before it is taken, and about every
    /// will before it is published: as it is (`Ok(None)`), with another topic, payload or QoS, or
    /// not at all, for a reason. Of a client that left its will in an earlier life of the broker
    /// the client id is known alone.
    pub fn authorize_publish<F>(
        mut self,
        hook: impl Fn(Client, Arc<Message>) -> F + Send + Sync + 'static,
    ) -> Builder
    where
        F: Future<Output = Result<Option<Replacement>, ReasonCode>> + Send + 'static,
    {
        self.hooks.publish =
            Some(Arc::new(move |(client, message)| Box::pin(hook(client, message))));
        self
    }

    /// Asked about every filter that a client subscribes to, `$share/...` included: the QoS that is
    /// granted at most, or the reason why none is.
    pub fn authorize_subscribe<F>(
        mut self,
        hook: impl Fn(Client, Box<str>, QoS) -> F + Send + Sync + 'static,
    ) -> Builder
    where
        F: Future<Output = Result<QoS, ReasonCode>> + Send + 'static,
    {
        let hook =
            move |(client, filter, qos)| -> Answer<_> { Box::pin(hook(client, filter, qos)) };
        self.hooks.subscribe = Some(Arc::new(hook));
        self
    }

    /// Told of every message of QoS 1 or 2 that was taken: its acknowledgement waits until this is
    /// done with it.
    pub fn published<F>(
        mut self,
        hook: impl Fn(Client, Arc<Message>) -> F + Send + Sync + 'static,
    ) -> Builder
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hook = move |(client, message)| -> Answer<_> { Box::pin(hook(client, message)) };
        self.hooks.published = Some(Arc::new(hook));
        self
    }

    /// Asked for every session that a message is for, connected or away, retained messages included:
    /// who is refused does not get it. Of a shared group each member that is connected may be asked
    /// for, until one is found; if all of them are refused, nobody gets it. It is asked on the
    /// message's way, by the shards themselves, so it must answer from memory; one that panics
    /// refuses.
    pub fn authorize_forward(
        mut self,
        hook: impl Fn(Receiver<'_>, &Publication<'_>) -> bool + Send + Sync + 'static,
    ) -> Builder {
        let hook = move |receiver: Receiver<'_>, publication: &Publication<'_>| {
            let asked = std::panic::AssertUnwindSafe(|| hook(receiver, publication));
            std::panic::catch_unwind(asked).unwrap_or(false)
        };
        self.hooks.forward = Some(Forward(Arc::new(hook)));
        self
    }

    /// Keeps events for [`Broker::events`].
    pub fn events(mut self) -> Builder {
        self.hooks.events = Some(broadcast::channel(EVENTS_WAITING_MAX).0);
        self
    }

    /// Starts the broker; it listens when this returns.
    ///
    /// # Errors
    ///
    /// As of [`Broker::start`].
    pub fn start(self) -> Result<Broker, RunError> {
        Broker::start_with(&self.config, self.hooks)
    }
}

/// What happened since this was asked for; see [`Broker::events`].
pub struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    /// The next event; nothing once the broker has stopped. Who is too slow for them misses the
    /// oldest, and is not told which.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Who is asked and told.
#[derive(Clone)]
pub(crate) struct Hooks {
    timeout: Duration,
    authenticate: Option<Hook<Arc<Login>, Verdict>>,
    publish: Option<Hook<(Client, Arc<Message>), OfPublish>>,
    subscribe: Option<Hook<Subscribing, OfSubscribe>>,
    published: Option<Hook<(Client, Arc<Message>), ()>>,
    forward: Option<Forward>,
    events: Option<broadcast::Sender<Event>>,
}

impl Default for Hooks {
    fn default() -> Hooks {
        Hooks {
            timeout: HOOK_TIMEOUT,
            authenticate: None,
            publish: None,
            subscribe: None,
            published: None,
            forward: None,
            events: None,
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.consults()).finish()
    }
}

impl Hooks {
    /// What shards have to ask and tell.
    pub(crate) fn consults(&self) -> Consults {
        Consults {
            publish: self.publish.is_some(),
            subscribe: self.subscribe.is_some(),
            published: self.published.is_some(),
            events: self.events.is_some(),
        }
    }

    /// Whom they let get what.
    pub(crate) fn forward(&self) -> Option<Forward> {
        self.forward.clone()
    }

    /// Whether logins are asked about.
    pub(crate) fn authenticates(&self) -> bool {
        self.authenticate.is_some()
    }

    /// Asks about a login; the answer is handed on by `then`.
    pub(crate) fn authenticate(
        &self,
        handle: &Handle,
        login: Arc<Login>,
        then: impl FnOnce(Verdict) + Send + 'static,
    ) {
        let Some(hook) = self.authenticate.clone() else { return then(Verdict::Ignore) };
        let asked = ask(self.timeout, async move { hook(login).await });
        handle.spawn(async { then(asked.await.unwrap_or(Verdict::Unavailable)) });
    }

    /// Asks about a client; the answer is handed on by `then`.
    pub(crate) fn consult(
        &self,
        handle: &Handle,
        client: Client,
        question: Question,
        then: impl FnOnce(Advice) + Send + 'static,
    ) {
        let hooks = self.clone();
        handle.spawn(async move { then(hooks.advise(client, question).await) });
    }

    async fn advise(&self, client: Client, question: Question) -> Advice {
        let failed = ReasonCode::ImplementationSpecificError;
        match question {
            Question::Publish(message) => {
                let Some(hook) = self.publish.clone() else { return Advice::Publish(Ok(None)) };
                let asked = ask(self.timeout, async move { hook((client, message)).await });
                Advice::Publish(asked.await.unwrap_or(Err(failed)))
            }
            Question::Subscribe(filters) => {
                let mut advice = Vec::with_capacity(filters.len());
                for (filter, qos) in filters {
                    let Some(hook) = self.subscribe.clone() else {
                        advice.push(Ok(qos));
                        continue;
                    };
                    let client = client.clone();
                    let asked = ask(self.timeout, async move { hook((client, filter, qos)).await });
                    advice.push(asked.await.unwrap_or(Err(failed)));
                }
                Advice::Subscribe(advice)
            }
            Question::Will(message, ticket) => {
                let Some(hook) = self.publish.clone() else {
                    return Advice::Will(ticket, Ok(None));
                };
                let asked = ask(self.timeout, async move { hook((client, message)).await });
                Advice::Will(ticket, asked.await.unwrap_or(Err(failed)))
            }
            Question::Published(message, ticket) => {
                if let Some(hook) = self.published.clone() {
                    ask(self.timeout, async move { hook((client, message)).await }).await;
                }
                Advice::Published(ticket)
            }
        }
    }

    pub(crate) fn event(&self, event: Event) {
        if let Some(events) = &self.events {
            // Nobody listens now.
            let _ = events.send(event);
        }
    }

    pub(crate) fn events(&self) -> Option<Events> {
        self.events.as_ref().map(|events| Events(events.subscribe()))
    }
}

/// What a hook says; nothing if it panics or takes too long.
async fn ask<T: Send + 'static>(
    timeout: Duration,
    hook: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let task = tokio::spawn(hook);
    let abort = task.abort_handle();
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(_)) => {
            tracing::error!("a hook panicked: what it was asked for is refused");
            None
        }
        Err(_) => {
            abort.abort();
            tracing::error!(?timeout, "a hook took too long: what it was asked for is refused");
            None
        }
    }
}

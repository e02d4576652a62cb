//! The threads that ask.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use tokio::runtime::Handle;

use super::Chain;
use crate::auth::{Login, Verdict};
use crate::embed::Hooks;
use crate::shard::ConnectionId;

/// Logins that wait; beyond them clients are told that the broker is busy.
const WAITING_MAX: usize = 4096;

/// Threads that hash passwords and check signatures.
const HASHERS: usize = 2;

/// How a shard is answered about who comes from an address.
pub(crate) type Answer = Arc<dyn Fn(usize, ConnectionId, IpAddr, Verdict) + Send + Sync>;

/// Asks about clients, for every shard.
pub(crate) struct Verifier {
    chain: RwLock<Arc<Chain>>,
    /// Asked first.
    hooks: Hooks,
    /// Where hooks run.
    handle: Handle,
    answer: Answer,
    known: SyncSender<Question>,
    /// To the threads that ask the service; there are none before there is one.
    service: OnceLock<SyncSender<Question>>,
}

struct Question {
    shard: usize,
    connection: ConnectionId,
    login: Arc<Login>,
    chain: Arc<Chain>,
}

impl Verifier {
    /// Starts its threads; they end when nobody can ask any more.
    pub(crate) fn start(
        chain: Chain,
        hooks: Hooks,
        handle: Handle,
        answer: Answer,
    ) -> io::Result<Arc<Verifier>> {
        let (known, questions) = sync_channel(WAITING_MAX);
        let chain = RwLock::new(Arc::new(chain));
        let verifier = Verifier { chain, hooks, handle, answer, known, service: OnceLock::new() };
        let verifier = Arc::new(verifier);
        let weak = Arc::downgrade(&verifier);
        start("login", HASHERS, questions, move |question: Question| {
            let verdict = question.chain.judge(&question.login);
            let Some(verifier) = weak.upgrade() else { return };
            if verdict == Verdict::Ignore && question.chain.service.is_some() {
                verifier.pass_on(question);
            } else {
                let Question { shard, connection, login, .. } = question;
                (verifier.answer)(shard, connection, login.address, verdict);
            }
        })?;
        verifier.start_service(&verifier.chain())?;
        Ok(verifier)
    }

    /// From now on these are asked.
    pub(crate) fn set_chain(&self, chain: Chain) -> io::Result<()> {
        self.start_service(&chain)?;
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chain);
        Ok(())
    }

    /// Asks; the answer comes by [`Answer`].
    pub(crate) fn ask(self: &Arc<Self>, shard: usize, connection: ConnectionId, login: Login) {
        let login = Arc::new(login);
        if !self.hooks.authenticates() {
            return self.ask_known(shard, connection, login);
        }
        let verifier = Arc::clone(self);
        let asked = Arc::clone(&login);
        self.hooks.authenticate(&self.handle, asked, move |verdict| match verdict {
            Verdict::Ignore => verifier.ask_known(shard, connection, login),
            verdict => (verifier.answer)(shard, connection, login.address, verdict),
        });
    }

    fn ask_known(&self, shard: usize, connection: ConnectionId, login: Arc<Login>) {
        let address = login.address;
        let question = Question { shard, connection, login, chain: self.chain() };
        match self.known.try_send(question) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                (self.answer)(shard, connection, address, Verdict::Busy);
            }
        }
    }

    fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn start_service(&self, chain: &Chain) -> io::Result<()> {
        let Some(service) = chain.service.as_ref().filter(|_| self.service.get().is_none()) else {
            return Ok(());
        };
        let (sender, questions) = sync_channel(WAITING_MAX);
        let answer = Arc::clone(&self.answer);
        start("login-http", service.connections(), questions, move |question: Question| {
            let service = question.chain.service.as_ref();
            let verdict = service.map_or(Verdict::Ignore, |service| service.judge(&question.login));
            let Question { shard, connection, login, .. } = question;
            answer(shard, connection, login.address, verdict);
        })?;
        // Somebody who was quicker started as many.
        let _ = self.service.set(sender);
        Ok(())
    }

    fn pass_on(&self, question: Question) {
        let Question { shard, connection, .. } = question;
        let address = question.login.address;
        let sent = self.service.get().map(|service| service.try_send(question));
        if !matches!(sent, Some(Ok(()))) {
            (self.answer)(shard, connection, address, Verdict::Busy);
        }
    }
}

fn start(
    name: &str,
    threads: usize,
    questions: Receiver<Question>,
    act: impl Fn(Question) + Clone + Send + 'static,
) -> io::Result<()> {
    let questions = Arc::new(Mutex::new(questions));
    for index in 0..threads {
        let (questions, act) = (Arc::clone(&questions), act.clone());
        std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
            loop {
                let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(question) = next else { return };
                act(question);
            }
        })?;
    }
    Ok(())
}

//! The threads that ask.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use tokio::runtime::Handle;

use super::Chain;
use super::queue::{Putting, Queue};
use crate::auth::{Login, Verdict};
use crate::embed::Hooks;
use crate::shard::{Advice, ConnectionId, RuleQuestion};

/// Logins that wait; beyond them clients are told that the broker is busy, those first from whose
/// address most do.
const WAITING_MAX: usize = 4096;

/// Threads that hash passwords and check signatures.
const HASHERS: usize = 2;

/// How a shard is answered about who comes from an address.
pub(crate) type Answer = Arc<dyn Fn(usize, ConnectionId, IpAddr, Verdict) + Send + Sync>;

/// How a shard is told what a client may do.
pub(crate) type Advise = Arc<dyn Fn(usize, ConnectionId, Advice) + Send + Sync>;

/// Asks about clients, for every shard.
pub(crate) struct Verifier {
    chain: RwLock<Arc<Chain>>,
    /// Asked first.
    hooks: Hooks,
    /// Where hooks run.
    handle: Handle,
    answer: Answer,
    known: Putting<Question>,
    /// To the threads that ask the service; there are none before there is one.
    service: OnceLock<Putting<Question>>,
    advise: Advise,
    /// To the threads that ask what clients may do; as those.
    rules: OnceLock<Putting<RulesAsked>>,
}

struct RulesAsked {
    shard: usize,
    connection: ConnectionId,
    question: Box<RuleQuestion>,
    /// What the service said of the first of its acts.
    allowed: Vec<bool>,
    chain: Arc<Chain>,
}

struct Question {
    shard: usize,
    connection: ConnectionId,
    login: Arc<Login>,
    awaited: Weak<()>,
    chain: Arc<Chain>,
}

impl Question {
    /// Whether somebody waits for the answer: a connection has its time, and may be over.
    fn is_awaited(&self) -> bool {
        self.awaited.strong_count() > 0
    }
}

impl Verifier {
    /// Starts its threads; they end when nobody can ask any more.
    pub(crate) fn start(
        chain: Chain,
        hooks: Hooks,
        handle: Handle,
        answer: Answer,
        advise: Advise,
    ) -> io::Result<Arc<Verifier>> {
        let (known, questions) = Queue::new(WAITING_MAX);
        let chain = RwLock::new(Arc::new(chain));
        let (service, rules) = (OnceLock::new(), OnceLock::new());
        let verifier = Verifier { chain, hooks, handle, answer, known, service, advise, rules };
        let verifier = Arc::new(verifier);
        let weak = Arc::downgrade(&verifier);
        start("login", HASHERS, questions, move |question: Question| {
            if !question.is_awaited() {
                return;
            }
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
        verifier.start_rules(&verifier.chain())?;
        Ok(verifier)
    }

    /// From now on these are asked.
    pub(crate) fn set_chain(self: &Arc<Self>, chain: Chain) -> io::Result<()> {
        self.start_service(&chain)?;
        self.start_rules(&chain)?;
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chain);
        Ok(())
    }

    /// Asks; the answer comes by [`Answer`].
    pub(crate) fn ask(
        self: &Arc<Self>,
        shard: usize,
        connection: ConnectionId,
        login: Login,
        awaited: Weak<()>,
    ) {
        let login = Arc::new(login);
        if !self.hooks.authenticates() {
            return self.ask_known(shard, connection, login, awaited);
        }
        let verifier = Arc::clone(self);
        let asked = Arc::clone(&login);
        self.hooks.authenticate(&self.handle, asked, move |verdict| match verdict {
            Verdict::Ignore => verifier.ask_known(shard, connection, login, awaited),
            verdict => (verifier.answer)(shard, connection, login.address, verdict),
        });
    }

    /// Asks what a client may do; the answer comes by [`Advise`], unless nobody waits for it any
    /// more. Nothing is allowed if too many wait.
    pub(crate) fn ask_rules(
        &self,
        shard: usize,
        connection: ConnectionId,
        question: Box<RuleQuestion>,
    ) {
        let chain = self.chain();
        let asked = RulesAsked { shard, connection, question, allowed: Vec::new(), chain };
        self.queue_rules(asked);
    }

    /// Lets it wait behind what is asked about others. What is not asked about is not allowed.
    fn queue_rules(&self, asked: RulesAsked) {
        let Some(rules) = self.rules.get() else { return self.advise_rules(asked) };
        if let Some(left_out) = rules.put(asked.question.client.address.ip(), asked) {
            self.advise_rules(left_out);
        }
    }

    /// Asks about the next act alone, so that a packet with many holds up nobody else. Once the
    /// service fails, the rest is not asked about, so that a packet waits for one answer that does
    /// not come and not for many.
    fn ask_next(&self, mut asked: RulesAsked) {
        let RulesAsked { question, allowed, chain, .. } = &mut asked;
        let Some(act) = question.acts.get(allowed.len()).filter(|_| question.is_waited_for())
        else {
            return;
        };
        let advice = chain.rules.as_ref().and_then(|rules| rules.advise(question, act));
        allowed.extend(advice);
        match advice.is_some() && allowed.len() < question.acts.len() {
            true => self.queue_rules(asked),
            false => self.advise_rules(asked),
        }
    }

    fn advise_rules(&self, asked: RulesAsked) {
        let RulesAsked { shard, connection, question, allowed, .. } = asked;
        (self.advise)(shard, connection, Advice::Ruled { will: question.will, allowed });
    }

    fn ask_known(
        &self,
        shard: usize,
        connection: ConnectionId,
        login: Arc<Login>,
        awaited: Weak<()>,
    ) {
        let address = login.address;
        let question = Question { shard, connection, login, awaited, chain: self.chain() };
        if let Some(left_out) = self.known.put(address, question) {
            self.say_busy(&left_out);
        }
    }

    fn say_busy(&self, left_out: &Question) {
        let Question { shard, connection, login, .. } = left_out;
        (self.answer)(*shard, *connection, login.address, Verdict::Busy);
    }

    fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn start_service(&self, chain: &Chain) -> io::Result<()> {
        let Some(service) = chain.service.as_ref().filter(|_| self.service.get().is_none()) else {
            return Ok(());
        };
        let (putting, questions) = Queue::new(WAITING_MAX);
        let answer = Arc::clone(&self.answer);
        start("login-http", service.connections(), questions, move |question: Question| {
            if !question.is_awaited() {
                return;
            }
            let service = question.chain.service.as_ref();
            let verdict = service.map_or(Verdict::Ignore, |service| service.judge(&question.login));
            let Question { shard, connection, login, .. } = question;
            answer(shard, connection, login.address, verdict);
        })?;
        // Somebody who was quicker started as many.
        let _ = self.service.set(putting);
        Ok(())
    }

    fn start_rules(self: &Arc<Self>, chain: &Chain) -> io::Result<()> {
        let Some(rules) = chain.rules.as_ref().filter(|_| self.rules.get().is_none()) else {
            return Ok(());
        };
        let (putting, questions) = Queue::new(WAITING_MAX);
        let weak = Arc::downgrade(self);
        start("rules-http", rules.connections(), questions, move |asked: RulesAsked| {
            if let Some(verifier) = weak.upgrade() {
                verifier.ask_next(asked);
            }
        })?;
        // Somebody who was quicker started as many.
        let _ = self.rules.set(putting);
        Ok(())
    }

    fn pass_on(&self, question: Question) {
        let left_out = match self.service.get() {
            Some(service) => service.put(question.login.address, question),
            None => Some(question),
        };
        if let Some(left_out) = left_out {
            self.say_busy(&left_out);
        }
    }
}

fn start<T: Send + 'static>(
    name: &str,
    threads: usize,
    questions: Arc<Queue<T>>,
    act: impl Fn(T) + Clone + Send + 'static,
) -> io::Result<()> {
    for index in 0..threads {
        let (questions, act) = (Arc::clone(&questions), act.clone());
        std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
            while let Some(question) = questions.take() {
                act(question);
            }
        })?;
    }
    Ok(())
}

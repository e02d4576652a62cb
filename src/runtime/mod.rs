//! The driver of the shards: threads, rings, sockets, lanes, the clock. It decides nothing about
//! MQTT; it carries out what [`crate::shard`] says.

mod arrival;
mod backup;
mod bans;
mod buffers;
pub mod clock;
mod counter;
pub mod directory;
mod disk;
pub mod doors;
mod driver;
mod entropy;
mod failures;
mod gate;
mod in_force;
mod inquiry;
mod lanes;
mod listener;
mod mailbox;
mod meeting;
mod primitive;
mod receiving;
pub mod recovery;
mod reload;
mod ring;
mod sending;
mod socket;
mod tar;
mod visitors;
mod watchdog;

pub(crate) use backup::{Backup, BackupError, BackupFigures, Backups};
#[cfg(feature = "fuzz")]
pub use bans::parse_bans;
pub(crate) use bans::{By, Sentence};
pub(crate) use counter::{Counter, LogFacts};
pub(crate) use gate::Pause;
pub(crate) use in_force::Figures;
pub(crate) use inquiry::{Inquiry, Silent};
pub(crate) use mailbox::Counted;
pub(crate) use reload::{ReloadError, Reloader};
pub(crate) use visitors::{BanRefusal, Refusal, Visitors};

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::runtime::Handle;

use self::bans::BanFile;
use self::clock::Clock;
use self::directory::Directory;
use self::disk::{Disk, Folder, Keeper, Promise};
use self::doors::DoorError;
use self::driver::{Driver, Parts, Rings};
use self::gate::Gate;
use self::in_force::InForce;
use self::lanes::Lanes;
use self::listener::{Bound, ListenError};
use self::mailbox::{Letter, Mailbox};
use self::recovery::{Opened, OpenedShard, RecoveryError};
use self::reload::GoesBy;
use self::visitors::BanRule;
use crate::auth::{Asks, ScramUsers, Verdict};
use crate::config::{CertificateUser, Config, Durability, ListenerConfig, Source};
use crate::control::{self, Access, Api, Control};
use crate::embed::{Builder, Events, Hooks};
use crate::local::Locals;
use crate::login::{Chain, SecretsError, Verifier, secrets};
use crate::shard::{
    ListenerPolicy, Policy, Porter, Restored, RuleService, Seed, ShardId, ShardOptions,
};
use crate::storage::Log;
use crate::sys::{self, ServiceManager};

/// A shard's log with what it says, and the disk it is on.
type Store = ((Log, Restored), Disk);

/// Where logs are kept, and the thread that makes and removes their files.
type Kept = (Directory, Keeper);

type ShardHandle = ExecutorJoinHandle<io::Result<()>>;

/// Why a broker could not start or go on.
#[derive(Debug)]
pub enum RunError {
    /// A listener could not be opened.
    Listen(ListenError),
    /// A listener's certificate is of no use.
    Door(DoorError),
    /// A file of passwords is wrong.
    Passwords(SecretsError),
    /// The admin address could not be listened on.
    Admin(SocketAddr, io::Error),
    /// The kernel has no random numbers to give.
    Entropy(getrandom::Error),
    /// A shard's thread or ring could not be made.
    Shard(usize, String),
    /// Signals could not be listened for.
    Signals(io::Error),
    /// What an earlier life left cannot be gone on with.
    Recovery(RecoveryError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Listen(error) => error.fmt(f),
            RunError::Door(error) => error.fmt(f),
            RunError::Passwords(error) => error.fmt(f),
            RunError::Admin(address, error) => write!(
                f,
                "admin address {address}: {error}; choose another with --admin, or none with \
                 --admin off"
            ),
            RunError::Entropy(error) => write!(f, "no random numbers: {error}"),
            RunError::Shard(index, error) => {
                write!(f, "shard {index}: {error}; `hawker doctor` says what the machine lacks")
            }
            RunError::Signals(error) => write!(f, "signals: {error}"),
            RunError::Recovery(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl RunError {
    /// Whether the configuration is wrong, or a file that it names: another try ends as this one.
    pub fn is_of_configuration(&self) -> bool {
        matches!(self, RunError::Door(_) | RunError::Passwords(_))
    }

    /// Which file it is about that the configuration names, if it is about one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            RunError::Door(error) => error.file(),
            RunError::Passwords(error) => Some(error.file()),
            _ => None,
        }
    }
}

/// Runs a broker until SIGTERM or SIGINT. SIGHUP reads the configuration from `source` again.
///
/// # Errors
///
/// Only while starting, or if a shard fails.
pub fn run(config: &Config, source: Source) -> Result<(), RunError> {
    // A shard that breaks an invariant must not leave half a broker behind.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(RunError::Signals)?;
    let broker = Broker::start(config)?;
    let manager = Arc::new(ServiceManager::from_environment());
    manager.ready();
    watchdog::start(&manager, &broker.mailboxes);
    let reloader = Arc::clone(&broker.reloader);
    reloader.set_source(source);
    let mut stopping = false;
    let handle = signals.handle();
    let mailboxes = Arc::clone(&broker.mailboxes);
    let waiter = std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    manager.reloading(clock::monotonic_micros());
                    // What came of it is in the log.
                    let _ = reloader.reload();
                    manager.ready();
                }
                _ if stopping => {
                    tracing::warn!("stopped at once");
                    std::process::exit(1);
                }
                _ => {
                    tracing::info!("stopping; a second signal stops at once");
                    stopping = true;
                    manager.stopping();
                    Mailbox::send_all(&mailboxes, || Letter::Stop);
                }
            }
        }
    });
    let outcome = broker.join();
    handle.close();
    // It has nothing left to do and nothing to report.
    let _ = waiter.join();
    tracing::info!("stopped");
    outcome
}

/// What the shards go by and who is asked about clients, with what is in the files that the
/// configuration names.
///
/// # Errors
///
/// The first file that is wrong.
pub(crate) fn policy(
    config: &Config,
    hooks: &Hooks,
    porter: Option<Porter>,
) -> Result<(Arc<Policy>, Chain), SecretsError> {
    let chain = Chain::open(&config.auth)?;
    if porter.is_none()
        && let Some(file) = &config.auth.ban_file
    {
        // Nobody else reads it.
        BanFile::open(file)?;
    }
    let policy = Policy {
        mqtt: config.mqtt.clone(),
        scram_users: ScramUsers::from(&config.auth),
        asks: if hooks.authenticates() { Asks::Everybody } else { chain.asks() },
        consults: hooks.consults(),
        forward: hooks.forward(),
        porter,
        rule_service: config
            .auth
            .http_rules_url
            .as_ref()
            .map(|_| RuleService { remembered_s: config.auth.http_rules_cache_s }),
        rules: secrets::rules(&config.auth)?,
        refused_publish: config.auth.refused_publish,
        sifts_subscriptions: config.auth.sifts_subscriptions(),
        rate_exceeded: config.auth.rate_exceeded,
        node: sys::node_name().into(),
        listeners: config.listeners.iter().map(listener_policy).collect(),
    };
    Ok((Arc::new(policy), chain))
}

fn listener_policy(listener: &ListenerConfig) -> ListenerPolicy {
    let is_shown = listener.clients.is_some() || !listener.terms.proxy_from.is_empty();
    ListenerPolicy {
        name: listener.name.clone(),
        certificate_user: if is_shown { listener.terms.client_user } else { CertificateUser::None },
        anonymous_allowed: listener.terms.anonymous_allowed,
        protocol_versions: listener.terms.protocol_versions.clone(),
    }
}

fn ban_rule(config: &Config) -> BanRule {
    let duration = Duration::from_secs(config.auth.ban_s.into());
    BanRule {
        failures: config.auth.ban_failures,
        duration,
        flapping_connects: config.auth.flapping_connects,
        flapping_window: Duration::from_secs(config.auth.flapping_window_s.into()),
    }
}

/// A running broker.
pub struct Broker {
    shards: Vec<ShardHandle>,
    mailboxes: Arc<Vec<Mailbox>>,
    bound: Vec<Bound>,
    visitors: Arc<Visitors>,
    hooks: Hooks,
    in_force: Arc<InForce>,
    reloader: Arc<Reloader>,
    /// Locked as long as the broker runs.
    directory: Option<Directory>,
    backups: Arc<Backups>,
    control: Control,
    locals: Locals,
}

impl Broker {
    /// Starts every shard and returns when all of them listen.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn start(config: &Config) -> Result<Broker, RunError> {
        Broker::start_with(config, Hooks::default())
    }

    /// Makes a broker with hooks.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// What happens from now on; nothing unless the broker was built with events.
    pub fn events(&self) -> Option<Events> {
        self.hooks.events()
    }

    pub(crate) fn start_with(config: &Config, hooks: Hooks) -> Result<Broker, RunError> {
        let usable = sys::usable_cpus();
        let cpus = config.cpus.clone().unwrap_or_else(|| usable.clone());
        let count = sys::shards(config, usable.len());
        let doors = doors::open(config).map_err(RunError::Door)?;
        let (listening, bound) =
            listener::open(&config.listeners, count).map_err(RunError::Listen)?;
        let kept = config.auth.ban_file.as_deref().map(BanFile::open);
        let kept = kept.transpose().map_err(RunError::Passwords)?;
        let visitors = Visitors::new(&config.listeners, ban_rule(config), kept);
        let in_force = InForce::new(config, &doors);
        let entrance = Entrance { listening, doors, visitors: Arc::clone(&visitors) };
        let admin = control::bind(config.admin)?;
        let mailboxes: io::Result<Vec<_>> = (0..count).map(|_| Mailbox::new()).collect();
        let mailboxes = Arc::new(mailboxes.map_err(|error| RunError::Shard(0, error.to_string()))?);
        let control = Control::start().map_err(|error| RunError::Shard(0, error.to_string()))?;
        let (policy, chain) =
            policy(config, &hooks, Some(Porter(visitors.clone()))).map_err(RunError::Passwords)?;
        let verifier =
            start_verifier(chain, hooks.clone(), control.handle(), &mailboxes, &visitors)?;
        let staff = Staff {
            policy,
            verifier: Arc::clone(&verifier),
            hooks: hooks.clone(),
            control: control.handle(),
            mailboxes: Arc::clone(&mailboxes),
        };
        let clock = Clock::start();
        let (kept, shards) = start_shards(config, count, &cpus, clock, entrance, &staff)?;
        let (directory, keeper) = kept.unzip();
        let copied = directory.as_ref().map(|directory: &Directory| directory.layout().clone());
        let backups = Backups::new(copied.zip(keeper), Inquiry::new(&mailboxes));
        let access = Arc::new(Access::new(config));
        let goes_by = GoesBy {
            mailboxes: Arc::clone(&mailboxes),
            visitors: Arc::clone(&visitors),
            verifier,
            in_force: Arc::clone(&in_force),
            access: Arc::clone(&access),
        };
        let reloader = Arc::new(Reloader::new(config, goes_by));
        let locals = Locals::new(in_turn(&mailboxes), control.handle());
        let broker = Broker {
            shards,
            mailboxes,
            bound,
            visitors,
            hooks,
            in_force,
            reloader,
            directory,
            backups: Arc::new(backups),
            control,
            locals,
        };
        let desk = Arc::new(broker.desk(config, clock, access));
        if let Some(admin) = admin {
            let api = Api::new(config, Arc::clone(&desk));
            broker.control.serve(admin, desk.counter.clone(), api);
        }
        broker.control.keep_bans(Arc::clone(&desk));
        broker.control.announce(desk);
        broker.announce(config, count, &cpus);
        Ok(broker)
    }

    /// The addresses clients can connect to.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.iter().filter_map(|bound| bound.address)
    }

    /// Begins to stop: every client is told goodbye.
    pub fn stop(&self) {
        Mailbox::send_all(&self.mailboxes, || Letter::Stop);
    }

    /// Waits for every shard to end.
    ///
    /// # Errors
    ///
    /// What made a shard fail.
    pub fn join(self) -> Result<(), RunError> {
        for (index, shard) in self.shards.into_iter().enumerate() {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(RunError::Shard(index, error.to_string())),
                Err(error) => return Err(RunError::Shard(index, error.to_string())),
            }
        }
        self.control.stop();
        Ok(())
    }

    /// Clients within the process.
    pub fn locals(&self) -> &Locals {
        &self.locals
    }

    /// What operators see and change the broker by.
    fn desk(&self, config: &Config, clock: Clock, access: Arc<Access>) -> Desk {
        let bound = self.bound.iter().map(|bound| (bound.listener, bound.name.clone()));
        Desk {
            counter: self.counter(config),
            inquiry: Inquiry::new(&self.mailboxes),
            reloader: Arc::clone(&self.reloader),
            backups: Arc::clone(&self.backups),
            visitors: Arc::clone(&self.visitors),
            access,
            locals: self.locals.clone(),
            listeners: bound.collect(),
            clock,
        }
    }

    /// A way to ask every shard what it has counted.
    fn counter(&self, config: &Config) -> Counter {
        Counter {
            mailboxes: Arc::clone(&self.mailboxes),
            durability: config.durability.name(),
            ready_at: clock::since_1970(),
            in_force: Arc::clone(&self.in_force),
            visitors: Arc::clone(&self.visitors),
            listeners: config.listeners.iter().map(|listener| listener.name.clone()).collect(),
            connections_max: counter::connections_max(config, self.mailboxes.len()),
            backups: self.backups.book(),
            log: self.directory.as_ref().map(|directory| LogFacts {
                bytes_max: config.storage.log_bytes_max,
                segment_bytes: directory.layout().segment_bytes,
                damages: directory.damages,
                read_in: directory.read_in,
            }),
        }
    }

    fn announce(&self, config: &Config, shards: usize, cpus: &[usize]) {
        for Bound { listener, name, address } in &self.bound {
            let asked = config.auth.password_file.is_some();
            let local = address.is_none_or(|address| address.ip().is_loopback()) && !asked;
            let open = config.anonymous_allowed(&config.listeners[*listener]).unwrap_or(local);
            let credentials = if open { "anonymous clients allowed" } else { "credentials needed" };
            tracing::info!("listening on {name} ({credentials})");
        }
        tracing::info!(shards, ?cpus, durability = ?config.durability, "hawker is ready");
    }
}

/// Gives connections of clients within the process to the shards in turn.
fn in_turn(mailboxes: &Arc<Vec<Mailbox>>) -> impl Fn(OwnedFd) + Send + Sync + use<> {
    let (mailboxes, next) = (Arc::clone(mailboxes), AtomicUsize::new(0));
    move |fd| {
        let shard = next.fetch_add(1, Ordering::Relaxed) % mailboxes.len();
        mailboxes[shard].send(Letter::Local(fd));
    }
}

/// What operators see and change a running broker by.
pub(crate) struct Desk {
    pub(crate) counter: Counter,
    pub(crate) inquiry: Inquiry,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) backups: Arc<Backups>,
    pub(crate) visitors: Arc<Visitors>,
    pub(crate) access: Arc<Access>,
    pub(crate) locals: Locals,
    /// Where clients connect: the position in the configuration, and the address with the port
    /// that the kernel chose.
    pub(crate) listeners: Vec<(usize, String)>,
    pub(crate) clock: Clock,
}

impl Desk {
    /// Lets the bans and their file say the same; who is kept out by a change of the file is let
    /// go.
    pub(crate) async fn sync_bans(&self) -> Result<(), String> {
        let (visitors, now) = (Arc::clone(&self.visitors), self.clock.now());
        let synced = tokio::task::spawn_blocking(move || visitors.sync_bans(now)).await;
        let added = synced.map_err(|error| error.to_string())?;
        for whom in added.map_err(|error| error.to_string())? {
            self.inquiry.let_go(&whom);
        }
        Ok(())
    }

    /// Keeps the file up to date with bans that come by themselves.
    pub(crate) async fn keep_bans(&self) {
        loop {
            self.visitors.bans_changed().await;
            while let Err(error) = self.sync_bans().await {
                tracing::error!("bans are not kept: {error}");
                tokio::time::sleep(BANS_AGAIN).await;
            }
        }
    }
}

/// How long the file of bans is left alone once it could not be read or written.
const BANS_AGAIN: Duration = Duration::from_secs(30);

/// Where clients come in: sockets by shard, doors by listener.
struct Entrance {
    listening: Vec<Vec<listener::Listening>>,
    doors: Arc<Vec<doors::Entry>>,
    visitors: Arc<Visitors>,
}

/// What every shard goes by, and whom it can ask and be told by.
struct Staff {
    policy: Arc<Policy>,
    verifier: Arc<Verifier>,
    hooks: Hooks,
    control: Handle,
    mailboxes: Arc<Vec<Mailbox>>,
}

fn start_verifier(
    chain: Chain,
    hooks: Hooks,
    handle: Handle,
    mailboxes: &Arc<Vec<Mailbox>>,
    visitors: &Arc<Visitors>,
) -> Result<Arc<Verifier>, RunError> {
    let (mailboxes, visitors) = (Arc::clone(mailboxes), Arc::clone(visitors));
    let (later, advised) = (handle.clone(), Arc::clone(&mailboxes));
    let answer = move |shard: usize, connection, address, verdict| {
        let now = clock::wall();
        let patience = match verdict {
            Verdict::Deny | Verdict::Ignore => visitors.patience(now, address),
            _ => Duration::ZERO,
        };
        let mailboxes = Arc::clone(&mailboxes);
        let answer = move || mailboxes[shard].send(Letter::Verdict { connection, verdict });
        if patience.is_zero() {
            return answer();
        }
        later.spawn(async move {
            tokio::time::sleep(patience).await;
            answer();
        });
    };
    let advise = move |shard: usize, connection, advice| {
        advised[shard].send(Letter::Advice { connection, advice });
    };
    Verifier::start(chain, hooks, handle, Arc::new(answer), Arc::new(advise))
        .map_err(|error| RunError::Shard(0, error.to_string()))
}

fn start_shards(
    config: &Config,
    count: usize,
    cpus: &[usize],
    clock: Clock,
    entrance: Entrance,
    staff: &Staff,
) -> Result<(Option<Kept>, Vec<ShardHandle>), RunError> {
    let Staff { policy, verifier, hooks, control, mailboxes } = staff;
    let mut seeds = entropy::seeds(count).map_err(RunError::Entropy)?;
    let (kept, mut stores) = open_stores(config, &mut seeds, mailboxes)?;
    let lanes = Lanes::new(count);
    let rings = Rings::new(count);
    let (ready, is_ready) = mpsc::channel();
    let Entrance { listening, doors, visitors } = entrance;
    let mut shards = Vec::new();
    for (index, (seed, listening)) in seeds.into_iter().zip(listening).enumerate() {
        let (log, disk) = stores.pop_front().unzip();
        let parts = Parts {
            options: ShardOptions {
                id: ShardId(index as u8),
                count,
                policy: Arc::clone(policy),
                log,
                seed,
                now: clock.now(),
            },
            clock,
            listening,
            doors: Arc::clone(&doors),
            verifier: Arc::clone(verifier),
            hooks: hooks.clone(),
            control: control.clone(),
            visitors: Arc::clone(&visitors),
            gate: Gate::new(config, count),
            greeting_timeout: Duration::from_millis(config.mqtt.connect_timeout_ms.into()),
            ends: lanes.ends(index),
            rings: Arc::clone(&rings),
            mailboxes: Arc::clone(mailboxes),
            stop_timeout: Duration::from_millis(config.mqtt.stop_timeout_ms.into()),
            disk,
        };
        let ready = ready.clone();
        let shard = executor(index, cpus[index % cpus.len()])
            .spawn(move || async move {
                // The main future turns the shard's own ring and sleeps in it; glommio itself
                // never parks, as it has nothing in flight.
                let driver = Driver::new(parts);
                let outcome = driver.as_ref().map(|_| ()).map_err(ToString::to_string);
                // The starter waits for this, or is gone because another shard failed.
                let _ = ready.send((index, outcome));
                driver?.run()
            })
            .map_err(|error| RunError::Shard(index, error.to_string()))?;
        shards.push(shard);
    }
    for _ in 0..count {
        let (index, outcome) = is_ready.recv().expect("every shard reports before it ends");
        outcome.map_err(|error| RunError::Shard(index, error))?;
    }
    Ok((kept, shards))
}

/// Opens the data directory, if anything is to be kept: a log and a disk for each shard, and the
/// placement that its clients have there.
fn open_stores(
    config: &Config,
    seeds: &mut [Seed],
    mailboxes: &Arc<Vec<Mailbox>>,
) -> Result<(Option<Kept>, VecDeque<Store>), RunError> {
    let promise = match config.durability {
        Durability::Memory => return Ok((None, VecDeque::new())),
        Durability::Fsync => Promise::Durable,
        Durability::Os => Promise::Written {
            sync_interval: Duration::from_millis(config.storage.sync_interval_ms.into()),
        },
    };
    let start = Instant::now();
    let Opened { mut directory, shards } =
        recovery::open(config, seeds.len(), seeds[0].placement).map_err(RunError::Recovery)?;
    directory.read_in = start.elapsed();
    for seed in seeds {
        seed.placement = directory.layout().placement;
    }
    let claim = directory.claim().map_err(|error| RunError::Recovery(error.into()))?;
    let keeper = Keeper::start(Arc::clone(mailboxes), claim)
        .map_err(|error| RunError::Shard(0, error.to_string()))?;
    let segment_bytes = directory.layout().segment_bytes;
    let stores = shards.into_iter().enumerate().map(|(index, shard)| {
        let OpenedShard { folder, log, restored } = shard;
        let folder = Folder::open(&folder)
            .map_err(|error| RunError::Recovery(RecoveryError::Io(folder, error)))?;
        let (keeper, on_damage) = (keeper.clone(), config.storage.on_damage);
        let disk = Disk::new(folder, index, segment_bytes, promise, keeper, on_damage);
        Ok(((log, restored), disk))
    });
    let stores = stores.collect::<Result<_, RunError>>()?;
    Ok((Some((directory, keeper)), stores))
}

/// An executor pinned to a CPU. Its own memory and rings are as small as they go: the shard has a
/// ring of its own.
fn executor(index: usize, cpu: usize) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(&format!("shard-{index}"))
        .io_memory(64 << 10)
        .ring_depth(128)
        // Shorter, glommio may park for ever with tasks that could run.
        .preempt_timer(Duration::from_millis(100))
}

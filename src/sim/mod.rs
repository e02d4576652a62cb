//! The other driver of the shards: a whole broker, its network, its disk and its clients in one
//! thread, from one seed.
//!
//! A run has shards with their lanes, connections that are cut, delayed and broken, clients that
//! keep to the specification at random, and strangers who do not. An oracle is told what the
//! clients sent and saw and knows nothing of shards; the first sentence that does not hold ends
//! the run. When the chaos is over faults stop, clients come back, and everything that is owed
//! has to arrive and everything that is held has to be let go.
//!
//! The same seed gives the same run, event by event, and the same trace hash. Every purpose draws
//! from a stream of its own. `cargo run --release --features sim --bin sim -- SEED` repeats one.
//!
//! # What is checked
//!
//! - A QoS 1 or 2 message that was acknowledged to its publisher reaches every session that
//!   surely was subscribed, however often connections end meanwhile.
//! - Per publisher, QoS and subscriber, first deliveries keep the order of publication.
//! - QoS 2 messages and QoS 0 messages come once; QoS 1 messages as often as their publisher sent
//!   them, and again with DUP only as a session that was resumed allows.
//! - Nothing comes that was not published, not subscribed, or not with these bytes, properties,
//!   QoS, retain flag and subscription identifiers; no-local, retain handling and retain as
//!   published hold.
//! - A retained message is the last of its topic and never follows a newer one.
//! - A group gives each message to one member; at QoS 1 to another only if a member left.
//! - A will is published when it is due, and not otherwise.
//! - Packets are well-formed, packet identifiers are not in use, receive maximum, topic aliases
//!   and message expiry hold, sessions are present exactly when they should be.
//! - Nobody who keeps to the protocol is disconnected; whoever falls silent is, in time.
//! - A log comes back from a loss of power, which keeps any sectors of the commit under way, with
//!   all that was durable; and at rest says what its shard knows. After a crash at rest nothing is
//!   lost. After one in the midst of work, between any two effects of a shard or as a sync fails,
//!   all of the above holds, but that what nobody was told to be kept may be gone.
//! - While disks are full nothing that was acknowledged is lost, nothing of QoS 2 comes twice, and
//!   when there is room again everybody gets on by themselves.
//! - At rest nothing waits in any shard; and after all have left nothing is held by any.
//!
//! # What is not checked
//!
//! - The network ring, glommio, memory ordering and the kernel: shards run one after another.
//! - After a crash: which member of a shared group had a message (it may come again, at QoS 2 too),
//!   wills that were due at that moment, retained messages that were asked for and not sent yet.
//! - While disks are full: the order of messages that were refused first.
//! - Two well-behaved connections with one client id that send at the same time; strangers do
//!   that, but nobody keeps an account of what they are owed.
//! - Messages at QoS 0 while there is load: that they come at all is checked only when all is
//!   calm.
//! - Which message goes when a queue is full: in runs with short queues nothing is called lost.
//! - Order between QoS levels: a live message of QoS 0 may pass what waits for the window, a
//!   retained message of the same topic included.
//! - Order within groups, fairness between their members, and how many messages a group's queue
//!   holds beyond its limit when members give back what they had not begun.
//! - What a limit that is lowered while clients are connected means for them.
//! - That an empty message comes from a certain publication, for it carries nothing to tell by.
//! - Reason codes of refusals, AUTH, response information, credentials.
//! - Speed.

mod client;
mod conduct;
mod disk;
mod driver;
mod finale;
mod host;
mod lane;
mod network;
mod oracle;
mod plan;
mod random;
mod sabotage;
mod stranger;
mod trace;
mod wire;
mod workload;
mod world;

pub use plan::Options;
pub use sabotage::Sabotage;
pub use trace::Verbosity;

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use plan::Plan;
use world::World;

/// A run without a broken sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of everything that happened, in order.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How often the simulation's own fault was committed.
    pub sabotaged: u64,
    /// What happened how often: proof that the run was about something.
    pub seen: Vec<(&'static str, u64)>,
}

/// A run with one.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How to repeat it.
    pub seed: u64,
    /// With so many shards.
    pub shards: usize,
    /// And so many steps, if they were given.
    pub steps: Option<u32>,
    /// The sentence.
    pub sentence: String,
    /// The last events before it.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} with {} shards: {}", self.seed, self.shards, self.sentence)?;
        write!(
            f,
            "again: cargo run --release --features sim --bin sim -- {} --shards {}",
            self.seed, self.shards
        )?;
        match self.steps {
            Some(steps) => write!(f, " --steps {steps}"),
            None => Ok(()),
        }
    }
}

/// Runs a seed. A failing run is run again to write down what happened last.
pub fn run(options: &Options) -> Result<Report, Box<Failure>> {
    run_once(options).map_err(|failure| match options.verbosity {
        Verbosity::Hash => {
            let verbosity = Verbosity::Last(trace::LAST_EVENTS);
            run_once(&Options { verbosity, ..*options }).err().unwrap_or_else(|| {
                let sentence = format!("{}; but not when repeated", failure.sentence);
                Box::new(Failure { sentence, ..*failure })
            })
        }
        _ => failure,
    })
}

fn run_once(options: &Options) -> Result<Report, Box<Failure>> {
    let plan = Plan::new(options);
    let shards = plan.shards;
    let mut world = World::new(plan, options.verbosity, options.sabotage);
    // A shard that panics has broken a sentence of its own.
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| world.play())).err();
    let sentence = match panicked {
        Some(payload) => Some(format!("a shard panicked: {}", words_of(&*payload))),
        None => world.oracle.violation.take(),
    };
    match sentence {
        None => Ok(world.report()),
        Some(sentence) => Err(Box::new(Failure {
            seed: options.seed,
            shards,
            steps: options.steps,
            sentence,
            last: world.trace.last(),
        })),
    }
}

fn words_of(payload: &(dyn std::any::Any + Send)) -> &str {
    let words = payload.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

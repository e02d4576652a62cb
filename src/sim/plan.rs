//! What a seed means: how many shards and clients, how slow, how unreliable.

use std::time::Duration;

use super::random::{Purpose, Random};
use super::trace::Verbosity;
use crate::config::{Mqtt, QueuePolicy, ShareStrategy};

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where every random number comes from.
    pub seed: u64,
    /// Overrides how many shards the seed would have.
    pub shards: Option<usize>,
    /// Overrides how many things clients do before everything comes to rest.
    pub steps: Option<u32>,
    /// What to write down.
    pub verbosity: Verbosity,
    /// A fault of the simulation itself, which the oracle must find.
    pub sabotage: Option<super::Sabotage>,
}

impl Options {
    /// The run of a seed as it is.
    pub fn seed(seed: u64) -> Options {
        Options { seed, shards: None, steps: None, verbosity: Verbosity::Hash, sabotage: None }
    }
}

/// A run, laid out.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shards: usize,
    /// Things that clients do before everything comes to rest.
    pub(super) steps: u32,
    /// Clients of which there is an account.
    pub(super) clients: usize,
    /// Clients of which there is none: twins that fight for a client id, and senders of
    /// malformed bytes.
    pub(super) strangers: usize,
    /// How often a stranger's bytes are damaged, of 1000.
    pub(super) damage_permille: u64,
    /// Longest times, each drawn anew for each event.
    pub(super) delays: Delays,
    /// Times out of 1000 that something a client does is to end its connection badly.
    pub(super) breaks_permille: u64,
    /// Inputs a shard takes before it is polled.
    pub(super) turn_inputs_max: u64,
    /// Messages in a lane beyond which it is full.
    pub(super) lane_full_at: usize,
    /// Whether shards ask for their log to be made durable.
    pub(super) journal: bool,
    /// How often the broker crashes in the midst of its work.
    pub(super) crashes: u32,
    /// Whether its disks are full at times.
    pub(super) disk_fills: bool,
    /// Whether large payloads occur.
    pub(super) large: bool,
    /// Whether queues are so short that messages are dropped.
    pub(super) lossy: bool,
    /// Whether the broker is stopped in the end, rather than left by its clients.
    pub(super) stops: bool,
    pub(super) mqtt: Mqtt,
}

/// Longest times, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delays {
    /// Between two acts of one client.
    pub(super) act: u64,
    /// Before a client sends its acknowledgements.
    pub(super) answer: u64,
    /// Of bytes on their way.
    pub(super) network: u64,
    /// Until the kernel has taken what was written.
    pub(super) sent: u64,
    /// Of messages between shards.
    pub(super) lane: u64,
    /// Until a shard looks at what is ready.
    pub(super) turn: u64,
    /// Of timers.
    pub(super) timer: u64,
    /// Until what was appended is durable.
    pub(super) disk: u64,
    /// Of a connection on its way to its home shard.
    pub(super) moving: u64,
}

impl Delays {
    /// Once faults stop.
    pub(super) const CALM: Delays = Delays {
        act: 2_000,
        answer: 1,
        network: 200,
        sent: 100,
        lane: 100,
        turn: 50,
        timer: 1_000,
        disk: 200,
        moving: 100,
    };

    /// How long a change may need to get from one client to the other end of the broker.
    pub(super) fn stall(&self) -> Duration {
        let once =
            self.network + self.sent + 4 * self.lane + 8 * self.turn + self.disk + self.moving;
        Duration::from_micros(4 * once + 1_000_000)
    }

    /// How late a shard may notice that something is due.
    pub(super) fn late(&self) -> Duration {
        Duration::from_micros(self.timer + 4 * self.turn + 10_000)
    }
}

impl Plan {
    pub(super) fn new(options: &Options) -> Plan {
        let random = &mut Random::new(options.seed, Purpose::Plan, 0);
        let shards = *random.pick(&[1, 2, 3, 3, 8]);
        let steps = *random.pick(&[60, 150, 300, 600, 600, 1500]);
        let lossy = random.chance(60);
        let outages = &mut Random::new(options.seed, Purpose::Outages, u64::MAX);
        let mut plan = Plan {
            seed: options.seed,
            shards: options.shards.unwrap_or(shards),
            clients: random.between(2, 9) as usize,
            strangers: if random.chance(300) { random.between(1, 5) as usize } else { 0 },
            damage_permille: *random.pick(&[0, 300, 1000]),
            delays: delays(random),
            breaks_permille: *random.pick(&[0, 30, 80, 200]),
            turn_inputs_max: *random.pick(&[1, 3, 20, 1000]),
            lane_full_at: *random.pick(&[1, 4, 30, 10_000]),
            journal: random.chance(500),
            crashes: 0,
            disk_fills: false,
            large: random.chance(150),
            stops: random.chance(100),
            lossy,
            mqtt: mqtt(random, lossy),
            steps: options.steps.unwrap_or(steps),
        };
        if plan.journal {
            plan.crashes = *outages.pick(&[0, 0, 1, 2, 5]);
            plan.disk_fills = outages.chance(250);
        }
        plan
    }
}

fn delays(random: &mut Random) -> Delays {
    const SLOW: [u64; 4] = [1, 500, 5_000, 60_000];
    Delays {
        act: *random.pick(&[2_000, 20_000, 200_000]),
        answer: *random.pick(&[1, 1_000, 30_000, 300_000]),
        network: *random.pick(&SLOW),
        sent: *random.pick(&[1, 1_000, 100_000]),
        lane: *random.pick(&SLOW),
        turn: *random.pick(&[1, 100, 2_000]),
        timer: *random.pick(&[1, 1_000, 50_000]),
        disk: *random.pick(&[1, 1_000, 30_000]),
        moving: *random.pick(&[1, 1_000, 30_000]),
    }
}

fn mqtt(random: &mut Random, lossy: bool) -> Mqtt {
    const STRATEGIES: [ShareStrategy; 5] = [
        ShareStrategy::RoundRobin,
        ShareStrategy::Random,
        ShareStrategy::Sticky,
        ShareStrategy::HashClient,
        ShareStrategy::HashTopic,
    ];
    const POLICIES: [QueuePolicy; 2] = [QueuePolicy::DropOldest, QueuePolicy::DropNewest];
    Mqtt {
        anonymous_allowed: Some(true),
        session_expiry_s_max: SESSION_EXPIRY_S_MAX,
        receive_maximum: *random.pick(&[1, 2, 5, 100]),
        topic_alias_maximum: *random.pick(&[0, 1, 3, 64]),
        topic_alias_outbound_max: *random.pick(&[0, 2, 16]),
        inflight_messages_max: *random.pick(&WINDOWS),
        queue_messages_max: if lossy { random.between(1, 5) as u32 } else { 100_000 },
        queue_policy: *random.pick(&POLICIES),
        queue_qos0: random.chance(300),
        outbox_bytes_max: *random.pick(&[1, 400, 1 << 20]),
        share_strategy: *random.pick(&STRATEGIES),
        packet_bytes_max: 1 << 20,
        ..Mqtt::default()
    }
}

/// Messages that clients are sent unacknowledged, the widest last.
pub(super) const WINDOWS: [u16; 3] = [1, 3, 128];

/// The longest a session outlives its connection, in seconds: at the end of a run everything
/// that clients left behind has to be gone after this.
pub(super) const SESSION_EXPIRY_S_MAX: u32 = 10_000;

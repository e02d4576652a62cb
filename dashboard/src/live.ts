// What is asked every two seconds while the dashboard is open, and the rates it makes.
import { ApiError, request, tokenEntered, tokenWanted, type Overview, type Role, type Shard } from './api';
import { store } from './store';

const EVERY_MS = 2000;
/** Half an hour. */
const SAMPLES_MAX = 900;
/** How far back an event counts as happening now. */
const RECENT_MS = 60_000;

/** One moment of the plots; rates are null where there is nothing to compare with. */
export interface Sample {
  ms: number;
  received: number | null;
  sent: number | null;
  dropped: number | null;
  bytesIn: number | null;
  bytesOut: number | null;
  connections: number;
}

interface Counted {
  ms: number;
  counters: Record<string, number>;
}

export interface Live {
  overview: Overview | null;
  shards: Shard[] | null;
  samples: Sample[];
  /** Turns a second of each shard. */
  turns: (number | null)[];
  /** How much each counter grew within the last minute, all shards together. */
  recent: Record<string, number>;
  error: ApiError | null;
}

export const live = store<Live>({ overview: null, shards: null, samples: [], turns: [], recent: {}, error: null });

const RANKS: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

/** Whether who asks may do what needs this role; the broker decides, this hides what it would refuse. */
export function may(role: Role): boolean {
  const own = live.get().overview?.admin?.role;
  return own === undefined || RANKS[own] >= RANKS[role];
}

let before: { ms: number; overview: Overview; shards: Shard[] } | null = null;
let history: Counted[] = [];
let timer: number | undefined;

export function watch(): void {
  tokenEntered.follow(() => {
    clearTimeout(timer);
    void turn();
  });
  void turn();
}

async function turn(): Promise<void> {
  clearTimeout(timer);
  try {
    const [overview, shards] = await Promise.all([request<Overview>('GET', '/overview'), request<Shard[]>('GET', '/shards')]);
    take(Date.now(), overview, shards);
  } catch (error) {
    const known = error instanceof ApiError ? error : new ApiError(0, 'unreadable', String(error));
    live.set({ ...live.get(), error: known });
  }
  // Without a token the answer would be the same again.
  if (tokenWanted.get() === 'no') timer = window.setTimeout(turn, EVERY_MS);
}

function take(ms: number, overview: Overview, shards: Shard[]): void {
  const restarted = before !== null && overview.uptime_s < before.overview.uptime_s;
  if (restarted) {
    before = null;
    history = [];
  }
  const seconds = before ? (ms - before.ms) / 1000 : 0;
  const old = before?.overview;
  const per = (name: keyof Overview): number | null =>
    old && seconds > 0 ? Math.max(0, (Number(overview[name]) - Number(old[name])) / seconds) : null;
  const sample: Sample = {
    ms,
    received: per('messages_received_total'),
    sent: per('messages_sent_total'),
    dropped: per('messages_dropped_total'),
    bytesIn: per('bytes_received_total'),
    bytesOut: per('bytes_sent_total'),
    connections: overview.connections,
  };
  const turns = shards.map((shard) => {
    const same = before?.shards.find((other) => other.shard === shard.shard);
    return same && seconds > 0 ? (shard.turns_total - same.turns_total) / seconds : null;
  });
  before = { ms, overview, shards };
  live.set({
    overview,
    shards,
    turns,
    samples: [...live.get().samples, sample].slice(-SAMPLES_MAX),
    recent: grown(ms, shards),
    error: null,
  });
}

function grown(ms: number, shards: Shard[]): Record<string, number> {
  const counters: Record<string, number> = {};
  for (const shard of shards) {
    for (const [name, value] of Object.entries(shard.counters ?? {})) counters[name] = (counters[name] ?? 0) + value;
  }
  history.push({ ms, counters });
  while (history.length > 2 && history[1]!.ms <= ms - RECENT_MS) history.shift();
  const then = history[0]!.counters;
  return Object.fromEntries(Object.entries(counters).map(([name, value]) => [name, value - (then[name] ?? 0)]));
}

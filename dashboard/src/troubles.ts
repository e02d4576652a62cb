// What is wrong right now, worst first, each with what mends it.
import type { Overview, Shard } from './api';
import { bytes, count, plural } from './format';
import type { Live } from './live';

export interface Trouble {
  level: 'bad' | 'warn' | 'note';
  what: string;
  mend: string;
  /** Of the dashboard, where one looks further. */
  page: string;
}

interface Rule {
  counter: string;
  level: Trouble['level'];
  /** From how many a minute. */
  from: number;
  what: (grown: number) => string;
  mend: string;
  page: string;
}

const RULES: Rule[] = [
  {
    counter: 'dropped_log_full_total', level: 'bad', from: 1, page: 'storage',
    what: (n) => `${plural(n, 'message')} refused in the last minute: the log had no room`,
    mend: 'Raise storage.log_bytes_max, or end sessions that nobody fetches.',
  },
  {
    counter: 'dropped_queue_full_total', level: 'bad', from: 1, page: 'clients?state=away',
    what: (n) => `${plural(n, 'message')} dropped in the last minute from full queues`,
    mend: 'A client is away or too slow. Forget its session, or raise mqtt.queue_messages_max and mqtt.queue_bytes_max.',
  },
  {
    counter: 'dropped_share_queue_full_total', level: 'bad', from: 1, page: 'subscriptions',
    what: (n) => `${plural(n, 'message')} of shared groups dropped in the last minute: the group's queue is full`,
    mend: 'Add members to the group, or raise mqtt.queue_messages_max.',
  },
  {
    counter: 'refused_queue_full_total', level: 'bad', from: 1, page: 'clients?state=away',
    what: (n) => `${plural(n, 'message')} refused in the last minute: somebody's queue is full`,
    mend: 'mqtt.queue_policy is refuse-publisher. Bring the subscriber back or forget its session.',
  },
  {
    counter: 'dropped_outbox_full_total', level: 'warn', from: 1, page: 'clients?state=connected',
    what: (n) => `${plural(n, 'QoS 0 message')} dropped in the last minute for slow connections`,
    mend: 'Clients read slowly. Give them fewer subscriptions, or raise mqtt.outbox_bytes_max.',
  },
  {
    counter: 'dropped_too_large_total', level: 'warn', from: 1, page: 'clients',
    what: (n) => `${plural(n, 'message')} dropped in the last minute: larger than the client takes`,
    mend: 'Raise Maximum Packet Size at the client, or lower mqtt.packet_bytes_max so that publishers are told.',
  },
  {
    counter: 'retained_refused_total', level: 'warn', from: 1, page: 'retained',
    what: (n) => `${plural(n, 'message')} not retained in the last minute: the store is full`,
    mend: 'Delete retained messages of topics that are no longer used, or raise mqtt.retained_messages_max.',
  },
  {
    counter: 'logins_refused_total', level: 'warn', from: 5, page: 'security',
    what: (n) => `${plural(n, 'login')} failed in the last minute`,
    mend: 'Somebody guesses, or a password was changed on one side. Ban an address that guesses.',
  },
  {
    counter: 'takeovers_total', level: 'warn', from: 60, page: 'clients',
    what: (n) => `Sessions changed hands ${count(n)} times in the last minute`,
    mend: 'Two clients may share a client id. Give each its own.',
  },
  {
    counter: 'protocol_errors_total', level: 'warn', from: 5, page: 'listeners',
    what: (n) => `${plural(n, 'connection')} ended in the last minute for broken packets`,
    mend: "The broker's log names the addresses. A client may speak another protocol than the port.",
  },
  {
    counter: 'publishes_not_allowed_total', level: 'note', from: 1, page: 'clients',
    what: (n) => `${plural(n, 'message')} in the last minute that no rule allows`,
    mend: "Explain on a client's page says which rule decides.",
  },
  {
    counter: 'rate_exceeded_total', level: 'note', from: 1, page: 'clients',
    what: (n) => `Clients sent more than their rate ${count(n)} times in the last minute`,
    mend: 'auth.rate_exceeded says what becomes of them.',
  },
  {
    counter: 'reading_paused_total', level: 'note', from: 10, page: 'shards',
    what: (n) => `Publishers were made to wait ${count(n)} times in the last minute`,
    mend: 'A disk or a shard is slower than the load. Nothing is lost.',
  },
];

export function troubles(live: Live): Trouble[] {
  const found: Trouble[] = [];
  if (live.error && live.error.status !== 401) {
    found.push({
      level: 'bad', page: 'overview', what: live.error.message,
      mend: live.overview ? 'The figures below are the last that came.' : 'The dashboard tries again every two seconds.',
    });
  }
  if (live.shards) found.push(...ofShards(live.shards));
  if (live.overview) found.push(...ofOverview(live.overview));
  for (const rule of RULES) {
    const grown = live.recent[rule.counter] ?? 0;
    if (grown >= rule.from) found.push({ level: rule.level, what: rule.what(grown), mend: rule.mend, page: rule.page });
  }
  const order = { bad: 0, warn: 1, note: 2 };
  return found.sort((a, b) => order[a.level] - order[b.level]);
}

function ofShards(shards: Shard[]): Trouble[] {
  const found: Trouble[] = [];
  for (const { shard, log } of shards) {
    if (!log?.full) continue;
    found.push({
      level: 'bad', page: 'storage',
      what: `The log of shard ${shard} is full: QoS 1 and 2 messages are refused`,
      mend: `It holds ${bytes(log.bytes)}, of which ${bytes(log.live_bytes)} are needed. Make room on the disk, raise storage.log_bytes_max, or end sessions that nobody fetches.`,
    });
  }
  const all = shards.reduce((sum, shard) => sum + shard.connections, 0);
  const most = shards.reduce((a, b) => (b.connections > a.connections ? b : a), shards[0]!);
  if (shards.length > 1 && all >= 200 && most.connections > (2 * all) / shards.length) {
    found.push({
      level: 'warn', page: 'shards',
      what: `Shard ${most.shard} holds ${count(most.connections)} of ${count(all)} connections`,
      mend: 'The hash of a client id decides its shard. Many connections without CONNECT on one shard are a flood.',
    });
  }
  return found;
}

function ofOverview(overview: Overview): Trouble[] {
  if (overview.listeners.length > 0) return [];
  return [{
    level: 'warn', page: 'listeners', what: 'No listener is open: no client can connect',
    mend: 'Add [[listeners]] to the configuration and restart the broker.',
  }];
}

// A broker that is not there: what it would hold and count.
export const NOW = () => Date.now();

const COUNTERS = [
  'connections_accepted_total', 'connections_closed_total', 'connects_accepted_total', 'connects_refused_total', 'logins_refused_total',
  'publishes_not_allowed_total', 'takeovers_total', 'protocol_errors_total', 'keep_alive_timeouts_total', 'received_bytes_total', 'sent_bytes_total',
  'packets_received_total', 'publishes_received_qos0_total', 'publishes_received_qos1_total', 'publishes_sent_qos0_total', 'publishes_sent_qos1_total',
  'dropped_queue_full_total', 'dropped_log_full_total', 'refused_queue_full_total', 'dropped_outbox_full_total', 'dropped_away_total',
  'dropped_too_large_total', 'dropped_share_queue_full_total', 'retained_refused_total', 'reading_paused_total',
];

const ROOMS = ['kitchen', 'hall', 'cellar', 'attic', 'garden', 'workshop'];

export class State {
  constructor({ empty = false, websocket = null, trouble = true } = {}) {
    this.started = NOW() - 3 * 86_400_000 - 7_260_000;
    this.trouble = trouble;
    this.shards = [0, 1, 2].map((shard) => ({
      shard, connections: empty ? 0 : 0, sessions: 0, turns_total: 8_000_000 + shard * 13_000, ring_enters_total: 3_100_000 + shard * 7_000,
      log: { segments: 3 + shard, bytes: (48 + 30 * shard) * 2 ** 20, live_bytes: (11 + 21 * shard) * 2 ** 20, messages: 8_113 + 999 * shard, full: false },
      counters: Object.fromEntries(COUNTERS.map((name, index) => [name, empty ? 0 : (index * 7919 * (shard + 3)) % 90_001])),
    }));
    this.totals = { received: empty ? 0 : 48_113_002, sent: empty ? 0 : 131_554_210, dropped: empty ? 0 : 1_204, in: empty ? 0 : 9.1e9, out: empty ? 0 : 3.3e10 };
    this.clients = empty ? [] : clients();
    this.listeners = empty ? [] : [
      { name: 'plain', address: 'tcp://127.0.0.1:1883', scheme: 'tcp', connections: 21 },
      { name: 'tls', address: 'tls://0.0.0.0:8883', scheme: 'tls', connections: 76 },
    ];
    if (websocket) this.listeners.push({ name: 'web', address: `ws://127.0.0.1:${websocket}`, scheme: 'ws', connections: 3 });
    this.retained = new Map(empty ? [] : retained());
    this.bans = empty ? [] : [{ kind: 'address', name: '203.0.113.9', until_ms: NOW() + 512_000, why: '12 failed logins' }];
    this.drops = empty ? [] : drops();
    this.backups = new Backups();
    this.traces = [];
    this.traceCount = 0;
    for (const client of this.clients) {
      const shard = this.shards[[...client.client_id].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 3];
      shard.sessions += 1;
      if (client.connected) shard.connections += 1;
    }
    this.empty = empty;
  }

  trace(id) {
    return this.traces.find((trace) => trace.id === id);
  }

  /** A trace that has seen a client come and go already. */
  follow({ minutes, payload_bytes, ...subject }) {
    const trace = {
      id: ++this.traceCount, ...subject, state: 'running', started_at_ms: NOW(), ends_at_ms: NOW() + minutes * 60_000, ended_at_ms: null, ended_by: null,
      by: 'local', payload_bytes, lost: 0, file: 'data/traces/trace-1.jsonl', file_bytes: 0, seen: [], readers: new Set(),
    };
    this.traces.push(trace);
    const client = { client_id: subject.client_id ?? 'panel-hall-007', address: '198.51.100.7:40007', shard: 1 };
    const message = { topic: 'home/hall/panel/set', qos: 1, retain: false, dup: false, bytes: 44 };
    for (const event of [
      { direction: 'in', event: 'connect', detail: 'MQTT 5.0, clean start no, keep-alive 60 s, session expiry 3600 s, user "user7", with a password' },
      { direction: 'out', event: 'connack', reason: 'success', reason_code: 0, detail: 'session resumed' },
      { direction: 'out', event: 'publish', ...message, packet_id: 12, ...(payload_bytes > 0 && { payload_base64: Buffer.from('{"on": true}').toString('base64') }) },
      { direction: 'in', event: 'puback', packet_id: 12, reason: 'success', reason_code: 0 },
      { direction: 'broker', event: 'dropped', ...message, qos: 0, topic: 'home/hall/alarm', detail: 'away: the receiver is away, and QoS 0 does not wait: mqtt.queue_qos0' },
      { direction: 'out', event: 'disconnect', reason: 'session taken over', reason_code: 0x8e },
    ]) this.note(trace, { ...event, ...client });
    return trace.readers && { ...trace, seen: undefined, readers: undefined, events: trace.seen.length };
  }

  note(trace, event) {
    const noted = { number: trace.seen.length + 1, at_us: NOW() * 1000, ...event };
    trace.seen.push(noted);
    for (const tell of trace.readers) tell(noted);
  }

  end(trace, why) {
    Object.assign(trace, { state: 'ended', ended_at_ms: NOW(), ended_by: why });
    this.note(trace, { direction: 'trace', event: 'ended', detail: why });
  }

  /** What has happened since it was last asked. */
  turn() {
    if (this.empty) return;
    const wave = 1 + Math.sin(NOW() / 5_000) / 3 + Math.random() / 5;
    this.totals.received += Math.round(900 * wave);
    this.totals.sent += Math.round(2_400 * wave);
    this.totals.in += Math.round(180_000 * wave);
    this.totals.out += Math.round(610_000 * wave);
    if (this.trouble) {
      this.totals.dropped += 3;
      this.shards[1].counters.dropped_queue_full_total += 3;
      this.shards[2].counters.logins_refused_total += 2;
    }
    for (const shard of this.shards) {
      shard.turns_total += Math.round((1_400 + 400 * shard.shard) * wave);
      shard.ring_enters_total += Math.round(700 * wave);
    }
  }

  overview(admin) {
    this.turn();
    const count = (name) => this.shards.reduce((sum, shard) => sum + shard[name], 0);
    return {
      version: '0.1.0', uptime_s: Math.floor((NOW() - this.started) / 1000), node: 'edge-7.example.net', shards: this.shards.length,
      connections: count('connections'), sessions: count('sessions'), subscriptions: this.subscriptions().length, retained: this.retained.size,
      queued: this.clients.reduce((sum, client) => sum + client.queued, 0),
      messages_received_total: this.totals.received, messages_sent_total: this.totals.sent, messages_dropped_total: this.totals.dropped,
      bytes_received_total: this.totals.in, bytes_sent_total: this.totals.out,
      listeners: this.listeners.map(({ name, address }) => ({ name, address })), durability: 'fsync', role: 'single', admin,
    };
  }

  subscriptions() {
    return this.clients.flatMap((client) => client.subscriptions_list.map(({ filter, qos }) => {
      const shared = /^\$share\/([^/]+)\//.exec(filter);
      return { client_id: client.client_id, filter, qos, group: shared ? shared[1] : null };
    }));
  }
}

/** Backups, one at a time. */
export class Backups {
  constructor() {
    Object.assign(this, { running: null, last: null, ended_early: null, begun: null });
  }

  shown() {
    const { running, last, ended_early } = this;
    return { running, last, ended_early };
  }

  /** Nothing while there is another. */
  begin() {
    if (this.running) return null;
    const taken_at_ms = NOW();
    this.running = { taken_at_ms, bytes: 6 * 2 ** 20, sent_bytes: 0 };
    this.begun = { ticket: 'dGlja2V0', file: 'hawker-20260504-101502.tar', bytes: this.running.bytes, taken_at_ms };
    return this.begun;
  }

  /** Once, with its ticket. */
  fetch(ticket) {
    const begun = this.begun?.ticket === ticket ? this.begun : null;
    if (begun) this.begun = null;
    return begun;
  }

  sent(bytes) {
    this.running.sent_bytes += bytes;
  }

  done() {
    this.last = { taken_at_ms: this.running.taken_at_ms, bytes: this.running.bytes, seconds: 4.2 };
    this.running = null;
  }

  leave() {
    if (this.running) this.ended_early = { taken_at_ms: this.running.taken_at_ms, why: 'its reader left' };
    this.running = null;
  }
}

function drops() {
  const whys = [
    ['away', 'the receiver is away, and QoS 0 does not wait: mqtt.queue_qos0', null],
    ['queue_full', "the receiver's queue is full: mqtt.queue_messages_max", null],
    ['not_allowed', 'no rule allows it to be published', 'auth.rules[0] denies "secret/#"'],
  ];
  return Array.from({ length: 61 }, (_, index) => {
    const [why, meaning, detail] = whys[index % whys.length];
    const topic = detail ? 'secret/door' : `home/${ROOMS[index % ROOMS.length]}/lamp/set`;
    return {
      at_ms: NOW() - index * 41_000, shard: index % 3, number: 900 - index, publisher: why === 'queue_full' ? null : 'phone-hall-002',
      receiver: detail ? null : `lamp-${ROOMS[index % ROOMS.length]}-00${index % 10}`, topic, qos: index % 2, bytes: 40 + index, why, meaning, detail,
    };
  });
}

function clients() {
  const found = [];
  for (let index = 0; index < 124; index += 1) {
    const room = ROOMS[index % ROOMS.length];
    const kind = ['sensor', 'lamp', 'phone', 'panel'][index % 4];
    const connected = index % 6 !== 5;
    found.push(client(`${kind}-${room}-${String(index).padStart(3, '0')}`, index, connected, [
      { filter: `home/${room}/${kind}/set`, qos: 1 }, ...(index % 3 === 0 ? [{ filter: `home/${room}/#`, qos: 0 }] : []),
    ]));
  }
  found.push(client('worker/1 ü & <b>', 200, true, [{ filter: '$share/workers/home/+/sensor/#', qos: 1 }, { filter: 'home/+/alarm', qos: 2 }]));
  found.push(client('worker/2', 201, true, [{ filter: '$share/workers/home/+/sensor/#', qos: 1 }]));
  found.push(client('idle', 202, true, []));
  return found.sort((a, b) => (a.client_id < b.client_id ? -1 : 1));
}

function client(client_id, index, connected, subscriptions) {
  return {
    client_id, user: index % 5 === 0 ? null : `user${index % 9}`, connected, address: connected ? `198.51.100.${index % 250}:${40_000 + index}` : null,
    listener: connected ? (index % 3 ? 'tls' : 'plain') : null, protocol: index % 4 === 0 ? '3.1.1' : '5.0', subscriptions: subscriptions.length,
    queued: connected ? 0 : (index * 37) % 1_001, inflight: connected ? index % 3 : 0, connected_at_ms: connected ? NOW() - index * 713_000 : null, disconnected_at_ms: connected ? null : NOW() - index * 91_000,
    session_expiry_s: index % 2 ? 86_400 : 0xffff_ffff, keep_alive_s: 60, queued_bytes: connected ? 0 : (index * 37 * 180) % 180_001, inflight_in: 0,
    will: index % 7 === 0,
    subscriptions_list: subscriptions.map((one) => ({ no_local: false, retain_as_published: index % 2 === 0, subscription_id: index % 4 === 0 ? 7 : null, ...one })),
  };
}

function retained() {
  const texts = ROOMS.flatMap((room, index) => [
    [`home/${room}/temperature`, JSON.stringify({ celsius: 18 + index * 0.7, battery: 97 - index, at: '2026-05-04T10:00:00Z' })],
    [`home/${room}/lamp/state`, index % 2 ? 'on' : 'off'],
  ]);
  const found = texts.map(([topic, text]) => [topic, { topic, qos: 1, content: Buffer.from(text) }]);
  found.push(['firmware/image', { topic: 'firmware/image', qos: 2, content: Buffer.from(Array.from({ length: 300 }, (_, index) => (index * 73) % 256)) }]);
  for (let index = 0; index < 60; index += 1) found.push([`many/${String(index).padStart(2, '0')}`, { topic: `many/${String(index).padStart(2, '0')}`, qos: 0, content: Buffer.from(`value ${index}`) }]);
  return found;
}

/** Whether a filter takes a topic. */
export function matches(filter, topic) {
  const wanted = filter.replace(/^\$share\/[^/]*\//, '').split('/');
  const levels = topic.split('/');
  if (topic.startsWith('$') && /^[+#]/.test(wanted[0])) return false;
  for (const [at, level] of wanted.entries()) {
    if (level === '#') return true;
    if (at >= levels.length || (level !== '+' && level !== levels[at])) return false;
  }
  return wanted.length === levels.length;
}

export const CONFIG = [
  ['admin', '127.0.0.1:18083', 'default'], ['cpus', null, 'default'], ['data_dir', '/var/lib/hawker', 'file'], ['durability', 'fsync', 'default'],
  ['shards', 3, 'environment'], ['listeners', [{ name: 'plain', address: 'tcp://127.0.0.1:1883' }], 'file'], ['log.format', 'text', 'default'],
  ['log.level', 'info', 'flag'], ['mqtt.anonymous_allowed', true, 'file'], ['mqtt.keep_alive_s_max', 65_535, 'default'],
  ['mqtt.queue_messages_max', 1_000, 'file'], ['mqtt.queue_policy', 'drop-oldest', 'default'], ['mqtt.retained_messages_max', 1_000_000, 'default'],
  ['storage.log_bytes_max', 10_737_418_240, 'default'], ['storage.segment_bytes', 67_108_864, 'default'], ['auth.password_file', '/etc/hawker/passwords', 'file'],
  ['auth.ban_failures', 10, 'default'],
].map(([key, value, origin]) => ({ key, value, origin, hidden: false, needs_restart: !/^(log|mqtt|auth)/.test(key) }));
CONFIG.push({ key: 'auth.http_token', value: null, origin: 'file', hidden: true, needs_restart: false });

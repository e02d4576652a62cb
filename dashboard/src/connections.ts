// The connections of the client tool. They outlive their page, not the tab.
import type { MqttClient } from 'mqtt';
import { DRAWN_EVERY_MS, MESSAGES_MAX, type Shown } from './parts/messages';
import { store } from './store';

export interface Settings {
  url: string;
  clientId: string;
  user: string;
  password: string;
  version: '4' | '5';
  clean: boolean;
}

export interface Subscribed {
  filter: string;
  qos: number;
  color: string;
}

export interface Connection {
  key: number;
  settings: Settings;
  state: 'off' | 'opening' | 'on' | 'waiting';
  error: string | null;
  subscriptions: Subscribed[];
  messages: Shown[];
  received: number;
  sent: number;
}

const COLORS = ['#0b7285', '#7048e8', '#c2410c', '#2b8a3e', '#c2255c', '#1864ab'];
/** How long a session of 5.0 is kept that is not clean: a day. */
const KEPT_S = 86_400;
const SETTINGS = 'hawker.tool';

export const connections = store<Connection[]>([]);
const clients = new Map<number, MqttClient>();
const waiting = new Map<number, Shown[]>();
let keys = 0;

export function freshId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(3));
  return `web-${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** One more, with what the last one had. */
export function add(url: string): void {
  let old: Partial<Settings> = {};
  try {
    old = JSON.parse(localStorage.getItem(SETTINGS) ?? '{}');
  } catch {
    // Nothing kept, or not by us.
  }
  const settings: Settings = { url: old.url || url, clientId: freshId(), user: old.user ?? '', password: '', version: old.version ?? '5', clean: old.clean ?? true };
  connections.set([...connections.get(), { key: ++keys, settings, state: 'off', error: null, subscriptions: [], messages: [], received: 0, sent: 0 }]);
}

export function change(key: number, part: Partial<Connection>): void {
  connections.set(connections.get().map((one) => (one.key === key ? { ...one, ...part } : one)));
}

function find(key: number): Connection | undefined {
  return connections.get().find((one) => one.key === key);
}

export function remove(key: number): void {
  clients.get(key)?.end(true);
  clients.delete(key);
  connections.set(connections.get().filter((one) => one.key !== key));
}

export async function open(key: number): Promise<void> {
  const one = find(key);
  if (!one) return;
  const { url, clientId, user, password, version, clean } = one.settings;
  change(key, { state: 'opening', error: null });
  try {
    localStorage.setItem(SETTINGS, JSON.stringify({ url, user, version, clean }));
  } catch {
    // Storage is forbidden: it is typed again next time.
  }
  let client: MqttClient;
  try {
    const { default: mqtt } = await import('./mqtt');
    client = mqtt.connect(url, {
      clientId, clean, protocolVersion: Number(version) as 4 | 5,
      username: user || undefined, password: user && password ? password : undefined,
      reconnectPeriod: 0, connectTimeout: 10_000, keepalive: 30,
      // From 5.0 on the client says how long; before, it is the broker's longest.
      properties: version === '5' && !clean ? { sessionExpiryInterval: KEPT_S } : undefined,
      // The other kinds start a worker from a blob, which the page's policy forbids.
      timerVariant: 'native',
    });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    // An older page with a newer broker: its scripts are not there any more.
    const shown = /import/i.test(text) ? 'The client could not be loaded. Load this page again.' : text;
    change(key, { state: 'off', error: shown });
    return;
  }
  clients.set(key, client);
  let connected = false;
  client.on('connect', () => {
    connected = true;
    change(key, { state: 'on', error: null });
    const subscribed = find(key)?.subscriptions ?? [];
    for (const { filter, qos } of subscribed) client.subscribe(filter, { qos: qos as 0 | 1 | 2 });
  });
  client.on('message', (topic, payload, packet) => {
    const color = find(key)?.subscriptions.find((subscribed) => matches(subscribed.filter, topic))?.color;
    list(key, { key: ++keys, ms: Date.now(), topic, content: new Uint8Array(payload), qos: packet.qos, retain: packet.retain, color });
  });
  client.on('error', (error) => change(key, { error: refusal(error) }));
  client.on('disconnect', (packet) => change(key, { error: `The broker ended the connection: reason 0x${(packet.reasonCode ?? 0).toString(16)}.` }));
  client.on('close', () => {
    if (clients.get(key) !== client) return;
    clients.delete(key);
    client.end(true);
    const known = find(key)?.error;
    const unreached = 'No connection. Is the address right, does it speak WebSocket, and does it take connections of this page?';
    change(key, { state: 'off', error: known ?? (connected ? 'The connection was lost.' : unreached) });
  });
}

function refusal(error: Error): string {
  const text = error.message;
  if (/not authorized/i.test(text)) return 'The broker refused: not authorized. Check user and password.';
  if (/bad user name|username or password/i.test(text)) return 'The broker refused: wrong user or password.';
  if (/connack timeout/i.test(text)) return 'No answer within 10 seconds.';
  return text;
}

export function close(key: number): void {
  const client = clients.get(key);
  clients.delete(key);
  client?.end();
  change(key, { state: 'off', error: null });
}

/** A message for the list; however many come, they are drawn together. */
function list(key: number, message: Shown): void {
  const queue = waiting.get(key);
  if (queue) {
    queue.push(message);
    return;
  }
  const fresh = [message];
  waiting.set(key, fresh);
  setTimeout(() => {
    waiting.delete(key);
    const one = find(key);
    if (!one) return;
    const sent = fresh.filter((each) => each.sent).length;
    change(key, {
      messages: [...fresh.reverse(), ...one.messages].slice(0, MESSAGES_MAX),
      received: one.received + fresh.length - sent,
      sent: one.sent + sent,
    });
  }, DRAWN_EVERY_MS);
}

export async function subscribe(key: number, filter: string, qos: 0 | 1 | 2): Promise<void> {
  const client = clients.get(key);
  if (!client) throw new Error('It is not connected.');
  const granted = await client.subscribeAsync(filter, { qos }).catch((error: Error) => {
    throw new Error(`The broker refused the subscription: ${error.message.replace(/^Subscribe error: /, '').toLowerCase()}.`);
  });
  const code = granted[0]?.qos ?? qos;
  if (code >= 0x80) throw new Error(`The broker refused the subscription: 0x${code.toString(16)}.`);
  const one = find(key);
  if (!one) return;
  const old = one.subscriptions.filter((subscribed) => subscribed.filter !== filter);
  const used = old.map((subscribed) => subscribed.color);
  const color = COLORS.find((candidate) => !used.includes(candidate)) ?? COLORS[old.length % COLORS.length]!;
  change(key, { subscriptions: [...old, { filter, qos: code, color }] });
}

export async function unsubscribe(key: number, filter: string): Promise<void> {
  await clients.get(key)?.unsubscribeAsync(filter);
  const one = find(key);
  if (one) change(key, { subscriptions: one.subscriptions.filter((subscribed) => subscribed.filter !== filter) });
}

export async function publish(key: number, topic: string, content: Uint8Array, qos: 0 | 1 | 2, retain: boolean): Promise<void> {
  const client = clients.get(key);
  if (!client) throw new Error('It is not connected.');
  await client.publishAsync(topic, content as never, { qos, retain });
  list(key, { key: ++keys, ms: Date.now(), topic, content, qos, retain, sent: true });
}

/** Whether a filter takes a topic, to colour the list. */
export function matches(filter: string, topic: string): boolean {
  const wanted = filter.replace(/^\$share\/[^/]*\//, '').split('/');
  const levels = topic.split('/');
  for (const [at, level] of wanted.entries()) {
    if (level === '#') return true;
    if (at >= levels.length || (level !== '+' && level !== levels[at])) return false;
  }
  return wanted.length === levels.length;
}

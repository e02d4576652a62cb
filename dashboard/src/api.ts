// The admin API of the broker: what it answers and how it is asked.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { store } from './store';

export interface Overview {
  version: string;
  uptime_s: number;
  node: string;
  shards: number;
  connections: number;
  sessions: number;
  subscriptions: number;
  retained: number;
  queued: number;
  messages_received_total: number;
  messages_sent_total: number;
  messages_dropped_total: number;
  bytes_received_total: number;
  bytes_sent_total: number;
  listeners: { name: string; address: string }[];
  durability: string;
  /** Of the broker among others. */
  role: string;
  /** Who asks, and what that may do. */
  admin?: { who: string; role: Role };
}

/** The first reads; the second ends connections, publishes and bans, too; the last sees the configuration. */
export type Role = 'viewer' | 'operator' | 'admin';

export interface Log {
  segments: number;
  bytes: number;
  live_bytes: number;
  messages: number;
  full: boolean;
}

export interface Shard {
  shard: number;
  connections: number;
  sessions: number;
  turns_total: number;
  ring_enters_total: number;
  log: Log | null;
  counters: Record<string, number>;
}

export interface Listener {
  name: string;
  address: string;
  scheme: string;
  connections: number;
}

export interface Client {
  client_id: string;
  user: string | null;
  connected: boolean;
  address: string | null;
  listener: string | null;
  protocol: string | number | null;
  subscriptions: number;
  queued: number;
  inflight: number;
  connected_at_ms: number | null;
  disconnected_at_ms?: number | null;
}

export interface ClientSubscription {
  filter: string;
  qos: number;
  no_local?: boolean;
  retain_as_published?: boolean;
  subscription_id?: number | null;
}

export interface ClientDetail extends Client {
  session_expiry_s: number | null;
  keep_alive_s: number | null;
  will: unknown;
  queued_bytes: number;
  inflight_in: number;
  subscriptions_list: ClientSubscription[];
}

export interface Subscription {
  client_id: string;
  filter: string;
  qos: number;
  group?: string | null;
  /** Where a topic was asked for. */
  connected?: boolean;
}

export interface Retained {
  topic: string;
  bytes: number;
  qos: number;
  /** Nothing if it is no text. */
  payload_preview?: string | null;
}

export interface RetainedMessage {
  topic: string;
  qos: number;
  payload?: string | null;
  payload_base64?: string | null;
  [more: string]: unknown;
}

export interface Message {
  topic: string;
  payload?: string | null;
  payload_base64?: string | null;
  qos: number;
  retain: boolean;
}

export interface Ban {
  kind: 'address' | 'user' | 'client_id';
  name: string;
  until_ms: number | null;
  why: string;
  by?: string;
}

export interface Trace {
  id: number;
  /** One of the three. */
  client_id?: string;
  filter?: string;
  address?: string;
  state: 'running' | 'ended';
  started_at_ms: number;
  ends_at_ms: number;
  ended_at_ms: number | null;
  ended_by: string | null;
  by: string;
  events: number;
  /** Events that found no room. */
  lost: number;
}

export interface TraceEvent {
  number: number;
  at_us: number;
  direction: 'in' | 'out' | 'broker' | 'trace';
  event: string;
  client_id?: string;
  topic?: string;
  qos?: number;
  retain?: boolean;
  dup?: boolean;
  bytes?: number;
  packet_id?: number;
  reason?: string;
  reason_code?: number;
  detail?: string;
  payload_base64?: string;
}

/** A message that somebody did not get. */
export interface Dropped {
  at_ms: number;
  shard: number;
  /** Counts those of its shard. */
  number: number;
  publisher: string | null;
  receiver: string | null;
  topic: string;
  qos: number;
  bytes: number;
  why: string;
  meaning: string;
  detail: string | null;
}

export interface ConfigValue {
  key: string;
  value: unknown;
  origin: string;
  /** A secret, whose value stays with the broker. */
  hidden?: boolean;
  needs_restart?: boolean;
}

export interface Reload {
  applied: string[] | number | boolean | null;
  restart_needed: string[] | boolean | null;
  error: unknown;
}

export interface Page {
  next_cursor: string | null;
  total?: number;
}

/** What went wrong, in words that can be shown. */
export class ApiError extends Error {
  constructor(
    /** That of HTTP; 0 where there was no answer. */
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const TOKEN = 'hawker.token';

/** Whether the broker wants a token that it has not got. */
export const tokenWanted = store<'no' | 'missing' | 'wrong'>('no');
/** What the broker said. */
export const tokenWhy = store('');
/** Counts tokens entered, so that pages ask again. */
export const tokenEntered = store(0);

export function token(): string | null {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

/** Takes a token if the broker does, which is asked once. */
export async function signIn(value: string): Promise<void> {
  await send('GET', '/overview', undefined, undefined, value);
  setToken(value);
}

export function setToken(value: string | null): void {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
  tokenWanted.set('no');
  tokenEntered.set(tokenEntered.get() + 1);
}

type Query = Record<string, string | number | null | undefined>;

/** A path with its query; what is empty is left out. */
export function path(base: string, query: Query = {}): string {
  const set = Object.entries(query).filter(([, value]) => value != null && value !== '');
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${base}?${text}` : base;
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal, secret = token()): Promise<Response> {
  // The second one no form of another web page can send.
  const headers: Record<string, string> = { accept: 'application/json', 'x-hawker': '1' };
  if (secret) headers.authorization = `Bearer ${secret}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(`api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: 'no-store',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', 'The broker does not answer. Is it running, and is the network up?');
  }
  if (response.ok) return response;
  const error = await refusal(response);
  if (response.status === 401) {
    // One that is not taken is not sent again: the broker counts wrong ones.
    if (secret && secret === token()) sessionStorage.removeItem(TOKEN);
    tokenWhy.set(error.message);
    tokenWanted.set(secret ? 'wrong' : 'missing');
  }
  throw error;
}

async function refusal(response: Response): Promise<ApiError> {
  let code = String(response.status);
  let message = response.statusText || 'The broker refused.';
  try {
    const { error } = await response.json();
    code = error.code ?? code;
    message = error.message ?? message;
  } catch {
    // Not of the API: a proxy, or a broker without it.
    if (response.status === 404) message = 'This broker does not have this part of the API.';
  }
  return new ApiError(response.status, code, message);
}

export async function request<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await send(method, path, body, signal);
  const text = await response.text();
  return (text ? JSON.parse(text) : null) as T;
}

/** Has the browser save what is at a path, however large, without a token: the path has to be enough. */
export function follow(path: string, name: string): void {
  save(`api/v1${path}`, name);
}

function save(href: string, name: string): void {
  const anchor = document.createElement('a');
  Object.assign(anchor, { href, download: name });
  anchor.click();
}

/** Hands what is at a path to the browser as a file: a link could not send the token. */
export async function download(path: string, name: string): Promise<void> {
  const response = await send('GET', path);
  const url = URL.createObjectURL(await response.blob());
  save(url, name);
  // The browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Server-sent events, with a token, which an EventSource cannot send. Ends with its signal. */
export async function events(path: string, signal: AbortSignal, opened: () => void, each: (data: string) => void): Promise<void> {
  const response = await send('GET', path, undefined, signal);
  opened();
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value.replace(/\r\n?/g, '\n');
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
      if (data.length > 0) each(data.join('\n'));
    }
  }
}

export interface Answer<T> {
  data: T | null;
  error: ApiError | null;
  loading: boolean;
  reload: () => void;
}

/** Asks now, when the path changes, and every so often; what was answered stays through an error. */
export function useApi<T>(path: string | null, everyMs?: number): Answer<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; error: ApiError | null }>({ path: null, data: null, error: null });
  const [turn, setTurn] = useState(0);
  const again = useRef(turn);
  again.current = turn;
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    let timer: number | undefined;
    const ask = async () => {
      try {
        const data = await request<T>('GET', path, undefined, abort.signal);
        setState({ path, data, error: null });
      } catch (error) {
        if (abort.signal.aborted) return;
        const known = error instanceof ApiError ? error : new ApiError(0, 'unreadable', String(error));
        setState((old) => ({ path, data: old.path === path ? old.data : null, error: known }));
      }
      if (everyMs && !abort.signal.aborted && tokenWanted.get() === 'no') timer = window.setTimeout(ask, everyMs);
    };
    void ask();
    const unfollow = tokenEntered.follow(() => setTurn((n) => n + 1));
    return () => {
      abort.abort();
      clearTimeout(timer);
      unfollow();
    };
  }, [path, everyMs, turn]);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  return { data: state.data, error: state.error, loading: path !== null && state.path !== path, reload };
}

export interface Paged<T> extends Answer<T> {
  /** Of the pages seen, from 1. */
  page: number;
  next: (() => void) | null;
  back: (() => void) | null;
}

/** A list in pages: a path without its cursor; null asks nothing. */
export function usePages<T extends Page>(base: string | null, everyMs?: number): Paged<T> {
  const [state, setState] = useState<{ base: string | null; cursors: string[] }>({ base, cursors: [] });
  const cursors = state.base === base ? state.cursors : [];
  const cursor = cursors.at(-1);
  const joined = base === null ? null : cursor ? `${base}${base.includes('?') ? '&' : '?'}cursor=${encodeURIComponent(cursor)}` : base;
  const answer = useApi<T>(joined, everyMs);
  const following = answer.data?.next_cursor;
  return {
    ...answer,
    page: cursors.length + 1,
    next: following ? () => setState({ base, cursors: [...cursors, String(following)] }) : null,
    back: cursors.length > 0 ? () => setState({ base, cursors: cursors.slice(0, -1) }) : null,
  };
}

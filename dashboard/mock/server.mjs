// The admin API and the built page without a broker, for development and for tests.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { POLICY } from './headers.mjs';
import { CONFIG, State, matches } from './state.mjs';

const BUILT = join(import.meta.dirname, '../../src/control/dashboard');
const KINDS = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.txt': 'text/plain; charset=utf-8' };

class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** Options: `token` is asked for where set; `empty` is a broker that nobody uses. */
export function serve(port, options = {}) {
  const state = new State(options);
  const watchers = new Set();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    try {
      if (!url.pathname.startsWith('/api/v1/')) return await page(url.pathname, response);
      if (options.down?.()) throw new Refusal(503, 'not_ready', 'a shard does not answer');
      if (options.token && request.headers.authorization !== `Bearer ${options.token}`) throw new Refusal(401, 'unauthorized', 'a token is needed');
      const body = await read(request);
      const place = url.pathname.slice('/api/v1'.length);
      if (place === '/subscribe') return watch(url, request, response, watchers);
      const answer = api(state, request.method, place, url.searchParams, body, watchers);
      response.writeHead(answer === undefined ? 204 : 200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(answer === undefined ? '' : JSON.stringify(answer));
    } catch (error) {
      const { status = 500, code = 'internal', message } = error;
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { code, message } }));
    }
  });
  server.listen(port, '127.0.0.1');
  return { server, state };
}

async function read(request) {
  let text = '';
  for await (const part of request) text += part;
  return text ? JSON.parse(text) : null;
}

async function page(path, response) {
  const name = path === '/' ? 'index.html' : normalize(path).replace(/^\/+/, '');
  let content;
  try {
    content = await readFile(join(BUILT, name));
  } catch {
    throw new Refusal(404, 'not_found', 'no such file');
  }
  response.writeHead(200, { 'content-type': KINDS[extname(name)] ?? 'application/octet-stream', 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff', 'cache-control': 'no-cache' });
  response.end(content);
}

function watch(url, request, response, watchers) {
  const filter = url.searchParams.get('filter') ?? '';
  if (filter === '' || /#./.test(filter)) throw new Refusal(400, 'bad_filter', `"${filter}" is no topic filter`);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write(': watching\n\n');
  const tell = (message) => matches(filter, message.topic) && response.write(`data: ${JSON.stringify(message)}\n\n`);
  watchers.add(tell);
  request.on('close', () => watchers.delete(tell));
}

function part(rows, query) {
  const limit = Math.min(Number(query.get('limit') ?? 100), 1000);
  const start = Number(query.get('cursor') ?? 0);
  return [rows.slice(start, start + limit), start + limit < rows.length ? String(start + limit) : null];
}

function api(state, method, place, query, body, watchers) {
  const [, first, rest] = /^\/([^/]+)(?:\/(.*))?$/.exec(place) ?? [];
  const name = rest === undefined ? null : decodeURIComponent(rest);
  const route = `${method} ${first}${name === null ? '' : '/'}`;
  const client = () => state.clients.find((one) => one.client_id === name) ?? lost('session');
  switch (route) {
    case 'GET overview': return state.overview('admin');
    case 'GET shards': return state.shards;
    case 'GET listeners': return state.listeners;
    case 'GET clients': return clients(state, query);
    case 'GET clients/': return client();
    case 'DELETE clients/': {
      const one = client();
      if (query.get('session') === 'forget') state.clients = state.clients.filter((other) => other !== one);
      else Object.assign(one, { connected: false, address: null, listener: null, connected_at_ms: null });
      return undefined;
    }
    case 'GET subscriptions': {
      const [topic, search] = [query.get('topic'), query.get('search') ?? ''];
      const rows = state.subscriptions().filter((row) => (topic === null ? `${row.filter}\n${row.client_id}`.includes(search) : matches(row.filter, topic)));
      const [subscriptions, next_cursor] = part(rows, query);
      return { subscriptions, next_cursor };
    }
    case 'GET retained': {
      const filter = query.get('filter') ?? '#';
      const rows = [...state.retained.values()].filter((row) => matches(filter, row.topic));
      const [found, next_cursor] = part(rows, query);
      return { retained: found.map(({ topic, qos, content }) => ({ topic, qos, bytes: content.length, payload_preview: content.subarray(0, 100).toString('utf8') })), next_cursor };
    }
    case 'GET retained/': {
      const { topic, qos, content } = state.retained.get(name) ?? lost('message');
      return { topic, qos, bytes: content.length, payload_base64: content.toString('base64') };
    }
    case 'DELETE retained/': return void (state.retained.delete(name) || lost('message'));
    case 'POST publish': return publish(state, body, watchers);
    case 'GET bans': return state.bans;
    case 'POST bans':
      if (!/^[0-9a-f.:]+$/i.test(body.address)) throw new Refusal(400, 'bad_address', `"${body.address}" is no IP address`);
      state.bans.push({ address: body.address, until_ms: Date.now() + body.seconds * 1000, why: body.why });
      return state.bans.at(-1);
    case 'DELETE bans/': return void (state.bans = state.bans.filter((ban) => ban.address !== name));
    case 'GET config': return { values: CONFIG };
    case 'POST reload': return { applied: ['mqtt.queue_messages_max'], restart_needed: ['shards'], error: null };
    case 'GET log': return state.shards.map(({ shard, log }) => ({ shard, ...log }));
    case 'POST explain': return explain(body);
    default: return lost('address');
  }
}

function lost(what) {
  throw new Refusal(404, 'not_found', `there is no such ${what}`);
}

function clients(state, query) {
  const [search, wanted] = [(query.get('search') ?? '').toLowerCase(), query.get('state')];
  const rows = state.clients.filter((client) => (!wanted || client.connected === (wanted === 'connected'))
    && `${client.client_id}\n${client.user ?? ''}\n${client.address ?? ''}`.toLowerCase().includes(search));
  const [found, next_cursor] = part(rows, query);
  return { clients: found.map(({ subscriptions_list, will, ...client }) => client), next_cursor, total: rows.length };
}

function publish(state, { topic, payload, payload_base64, qos, retain }, watchers) {
  if (/[+#]/.test(topic)) throw new Refusal(400, 'bad_topic', `"${topic}" has a wildcard`);
  const content = payload_base64 !== undefined ? Buffer.from(payload_base64, 'base64') : Buffer.from(payload ?? '');
  if (retain && content.length === 0) state.retained.delete(topic);
  else if (retain) state.retained.set(topic, { topic, qos, content });
  for (const tell of watchers) tell({ topic, payload: content.toString('utf8'), payload_base64: content.toString('base64'), qos, retain: false });
  return watchers.size > 0 ? { reason: 'success', reason_code: 0 } : { reason: 'no matching subscribers', reason_code: 0x10 };
}

function explain({ topic }) {
  const allowed = !topic.startsWith('secret/');
  return {
    allowed, rule: allowed ? 'allow publish home/# (auth.rules, 2)' : 'deny publish secret/# (auth.rules, 1)', retained: false,
    subscribers: allowed ? [{ client_id: 'worker/2', filter: '$share/workers/home/+/sensor/#', qos: 1 }] : [],
  };
}

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
  state.role = options.role ?? 'admin';
  const watchers = new Set();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    try {
      if (!url.pathname.startsWith('/api/v1/')) return await page(url.pathname, response);
      if (options.down?.()) throw new Refusal(503, 'not_ready', 'a shard does not answer');
      const ticket = /^\/api\/v1\/backups\/(.+)$/.exec(url.pathname);
      if (ticket) return fetched(state.backups, ticket[1], response);
      if (options.token && request.headers.authorization !== `Bearer ${options.token}`) throw new Refusal(401, 'unauthorized', 'a token is needed');
      if (request.method !== 'GET' && !request.headers['x-hawker']) throw new Refusal(403, 'guard_missing', 'a request that changes something needs the header X-Hawker: 1');
      if (options.role === 'viewer' && (request.method !== 'GET' || /config$/.test(url.pathname)) && !/explain$/.test(url.pathname)) throw new Refusal(403, 'role_too_low', 'this needs a token of the role admin; guest is viewer');
      const body = await read(request);
      const place = url.pathname.slice('/api/v1'.length);
      if (place === '/subscribe') return watch(url, request, response, watchers);
      const stream = /^\/traces\/(\d+)\/(events|log)$/.exec(place);
      if (stream) return follow(state.trace(Number(stream[1])) ?? lost('trace'), stream[2], request, response);
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
  if (filter === '' || /#./.test(filter)) throw new Refusal(422, 'unprocessable', `"${filter}" is no topic filter`);
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write(': watching\n\n');
  const tell = (message) => matches(filter, message.topic) && response.write(`data: ${JSON.stringify(message)}\n\n`);
  watchers.add(tell);
  request.on('close', () => watchers.delete(tell));
}

/** What a trace has seen, and what is still to come. */
function follow(trace, what, request, response) {
  if (what === 'log') {
    response.writeHead(200, { 'content-type': 'application/jsonl', 'content-disposition': `attachment; filename="trace-${trace.id}.jsonl"` });
    return response.end(trace.seen.map((event) => `${JSON.stringify(event)}\n`).join(''));
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write(': following\n\n');
  const tell = (event) => {
    response.write(`id: ${event.number}\ndata: ${JSON.stringify(event)}\n\n`);
    if (event.event === 'ended') response.end();
  };
  trace.seen.forEach(tell);
  trace.readers.add(tell);
  request.on('close', () => trace.readers.delete(tell));
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
    case 'GET overview': return state.overview({ who: state.role === 'admin' ? 'local' : 'guest', role: state.role });
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
      const away = (row) => !state.clients.find((one) => one.client_id === row.client_id).connected;
      return { subscriptions: topic === null ? subscriptions : subscriptions.map((row) => ({ ...row, connected: !away(row) })), next_cursor, total: rows.length };
    }
    case 'GET retained': {
      const filter = query.get('filter') ?? '#';
      const search = query.get('search') ?? '';
      const rows = [...state.retained.values()].filter((row) => matches(filter, row.topic) && row.topic.includes(search));
      const [found, next_cursor] = part(rows, query);
      return { retained: found.map(({ topic, qos, content }) => ({ topic, qos, bytes: content.length, payload_preview: topic === 'firmware/image' ? undefined : content.subarray(0, 100).toString('utf8') })), next_cursor, total: rows.length };
    }
    case 'GET retained/': {
      const { topic, qos, content } = state.retained.get(name) ?? lost('message');
      return { topic, qos, bytes: content.length, payload_base64: content.toString('base64') };
    }
    case 'DELETE retained/': return void (state.retained.delete(name) || lost('message'));
    case 'POST publish': return publish(state, body, watchers);
    case 'GET bans': return state.bans;
    case 'POST bans': {
      const kind = ['address', 'user', 'client_id'].find((kind) => kind in body);
      if (kind === 'address' && !/^[0-9a-f.:/]+$/i.test(body.address)) throw new Refusal(422, 'unprocessable', `"${body.address}" is no address and no network`);
      state.bans.push({ kind, name: body[kind], until_ms: Date.now() + body.seconds * 1000, why: body.why });
      return state.bans.at(-1);
    }
    case 'DELETE bans/': return void (state.bans = state.bans.filter((ban) => ban.name !== name));
    case 'GET traces': return { traces: [...state.traces].reverse().map(({ seen, readers, ...trace }) => ({ ...trace, events: seen.length })) };
    case 'POST traces': {
      if (body.filter !== undefined && /#./.test(body.filter)) throw new Refusal(422, 'unprocessable', `filter "${body.filter}" is no topic filter`);
      return state.follow(body);
    }
    case 'DELETE traces/': {
      const trace = state.trace(Number(name)) ?? lost('trace');
      if (trace.state === 'running') state.end(trace, 'it was stopped');
      else state.traces = state.traces.filter((other) => other !== trace);
      return { id: trace.id };
    }
    case 'GET drops': {
      const [search, why] = [(query.get('search') ?? '').toLowerCase(), query.get('why') ?? ''];
      const asked = (row) => why ? row.why === why : search !== '' || row.why !== 'away';
      const rows = state.drops.filter((row) => asked(row) && `${row.topic}\n${row.publisher ?? ''}\n${row.receiver ?? ''}`.toLowerCase().includes(search));
      const [drops, next_cursor] = part(rows, query);
      return { drops, next_cursor, total: rows.length };
    }
    case 'GET backups': return state.backups.shown();
    case 'POST backups': return state.backups.begin() ?? busy();
    case 'GET config': return { settings: CONFIG };
    case 'POST reload': return { applied: true, restart_needed: ['shards'] };
    case 'GET log': return { durability: 'fsync', damages: 0, shards: state.shards.map(({ shard, log }) => ({ shard, ...log, commits_total: 81_004 + shard })) };
    case 'POST explain': return explain(body);
    default: return lost('address');
  }
}

/** The first half at once, the other once it is told to go on; that it left ends it early. */
function fetched(backups, ticket, response) {
  const begun = backups.fetch(ticket) ?? lost('ticket');
  response.writeHead(200, { 'content-type': 'application/x-tar', 'content-length': begun.bytes, 'content-disposition': `attachment; filename="${begun.file}"` });
  const half = Buffer.alloc(begun.bytes / 2, 'hawker');
  response.write(half, () => backups.sent(half.length));
  backups.goOn = () => response.end(half, () => backups.done());
  response.on('close', () => response.writableFinished || backups.leave());
}

function busy() {
  throw new Refusal(409, 'backup_running', 'a backup is being taken; wait for its end, or end its reader');
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
  if (/[+#]/.test(topic)) throw new Refusal(422, 'unprocessable', `"${topic}" has a wildcard`);
  const content = payload_base64 !== undefined ? Buffer.from(payload_base64, 'base64') : Buffer.from(payload ?? '');
  if (retain && content.length === 0) state.retained.delete(topic);
  else if (retain) state.retained.set(topic, { topic, qos, content });
  for (const tell of watchers) tell({ topic, payload: content.toString('utf8'), payload_base64: content.toString('base64'), qos, retain: false });
  return watchers.size > 0 ? { reason: 'success', reason_code: 0 } : { reason: 'no matching subscribers', reason_code: 0x10 };
}

function explain({ client_id, topic, qos, retain }) {
  const allowed = !topic.startsWith('secret/');
  const matches = [
    { client_id: 'worker/2', filter: 'home/+/sensor/#', qos: 1, group: 'workers', what: 'one member of the group gets it; 0 wait for the group' },
    { client_id: 'panel-hall-007', filter: 'home/hall/#', qos: 0, what: 'sent at once' },
  ];
  return {
    client_id, topic, qos, retain, log_full: false, outcome: allowed ? 'delivered' : 'refused', total: matches.length, matches,
    publish: { allowed, by: allowed ? 'auth.rules, 2: allow publish home/#' : 'auth.rules, 1: deny publish secret/#', judged: 'as it is connected' },
  };
}

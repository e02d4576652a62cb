// The browser tests. `node test/main.mjs` drives the mock; with BROKER=http://HOST:PORT, and WS=URL
// for its WebSocket listener, a real one; VIA=URL leads there by a proxy, CERTIFICATE=FILE is taken
// of either though nobody vouches for it. SHOTS=FOLDER keeps pictures, LOOK=390-dark
// takes one width and theme, ONLY=TEXT the tests that have it in their name.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { listen } from '../mock/broker.mjs';
import { serve } from '../mock/server.mjs';
import { executable, open, start } from './browser.mjs';
import { FLOWS } from './flows.mjs';
import { PAGES, check, shoot, visit } from './pages.mjs';
import { STATES } from './states.mjs';
import { REAL } from './real.mjs';

/** Browsers complain of each answer that is an error, also of one that a test asks for. */
const REFUSED = [/status of 4\d\d.*\/api\/v1\//];

const LOOKS = [[1280, 'light'], [1280, 'dark'], [390, 'light'], [390, 'dark']].filter(([width, theme]) => !process.env.LOOK || process.env.LOOK === `${width}-${theme}`);

async function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

let failed = 0;
let passed = 0;

/** One test in a page of its own, which nothing may have gone wrong in. */
async function test(name, browser, origin, look, body) {
  if (process.env.ONLY && !name.includes(process.env.ONLY)) return;
  const start = Date.now();
  const { page, context, wrong } = await open(browser, origin, look);
  try {
    await body(page);
    assert.deepEqual(wrong, [], 'nothing goes wrong in the page');
    passed += 1;
    console.log(`ok ${name} (${Date.now() - start} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${name}\n${error.stack ?? error}\n${wrong.join('\n')}`);
    await shoot(page, `failed-${name.replace(/[^a-z0-9]+/gi, '-')}`).catch(() => {});
  }
  await context.close();
}

/** Runs each test on a mock of its own. */
async function onMock(options, body) {
  const [port, web] = [await freePort(), await freePort()];
  const sockets = listen(web);
  const { server, state } = serve(port, { websocket: web, ...options });
  await body(`http://127.0.0.1:${port}`, state);
  for (const socket of sockets.clients) socket.terminate();
  sockets.close();
  server.closeAllConnections();
  server.close();
}

async function mock(browser) {
  for (const [width, theme] of LOOKS) {
    const label = `${width}-${theme}`;
    await onMock({}, async (origin) => {
      for (const [name, heading] of PAGES) {
        await test(`${label} ${name}`, browser, origin, { width, theme }, async (page) => {
          await visit(page, origin, name);
          await page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
          await check(page, `${label} ${name}`);
          await shoot(page, `${label}-page-${name}`);
        });
      }
      await test(`${label} menu`, browser, origin, { width, theme }, async (page) => {
        await visit(page, origin, 'overview');
        if (width > 860) return;
        await page.getByRole('button', { name: 'Open the menu' }).click();
        await page.getByRole('link', { name: 'Storage' }).waitFor();
        await check(page, `${label} menu`);
        await shoot(page, `${label}-menu`);
        await page.keyboard.press('Escape');
        await page.getByRole('link', { name: 'Storage' }).waitFor({ state: 'hidden' });
      });
    });
    for (const [name, flow] of Object.entries(FLOWS)) {
      await onMock({}, (origin, state) => test(`${label} ${name}`, browser, origin, { width, theme, allow: REFUSED }, (page) => flow({ page, origin, label, state, width })));
    }
    for (const [name, { options, allow, run }] of Object.entries(STATES)) {
      const made = options();
      await onMock(made, (origin, state) => test(`${label} ${name}`, browser, origin, { width, theme, allow }, (page) => run({ page, origin, label, state, options: made })));
    }
  }
}

async function real(browser, origin) {
  for (const [width, theme] of LOOKS) {
    const label = `${width}-${theme}`;
    for (const [name, flow] of Object.entries(REAL)) {
      await test(`real ${label} ${name}`, browser, origin, { width, theme, token: process.env.TOKEN, allow: REFUSED }, (page) => flow({ page, origin, label: `real-${label}`, width, ws: process.env.WS }));
    }
  }
}

if (!executable()) {
  console.error('chromium is missing: make clients');
  process.exit(1);
}
const browser = await start();
if (process.env.BROKER) await real(browser, process.env.BROKER);
else await mock(browser);
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);

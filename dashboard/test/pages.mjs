// Every page at each width and in each theme: it has its heading, fits, and is accessible.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

export const PAGES = [
  ['overview', 'Overview'], ['clients', 'Clients'], ['subscriptions', 'Subscriptions'], ['retained', 'Retained messages'],
  ['messages', 'Watch and publish'], ['tool', 'MQTT client'], ['trace', 'Trace'], ['listeners', 'Listeners'], ['shards', 'Shards'], ['storage', 'Storage'],
  ['security', 'Security'], ['config', 'Configuration'], ['nowhere', 'No such page'],
];

export async function visit(page, origin, name) {
  await page.goto(`${origin}/#/${name}`);
  await page.locator('main h1').waitFor();
  await page.locator('.loading').first().waitFor({ state: 'detached' });
}

export async function check(page, label) {
  // What the bar at the top hides of a page that is scrolled is not hidden for good.
  await page.evaluate(() => scrollTo(0, 0));
  const [wide, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(wide <= shown, `${label}: ${wide} px wide on ${shown}`);
  const cut = await page.locator('.hint + .code').evaluateAll((blocks) => blocks.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent));
  assert.deepEqual(cut, [], `${label}: commands are seen whole`);
  // Playwright's own evaluation is not subject to the page's policy.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(await source());
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  const said = violations.map((one) => `${one.id}: ${one.help}\n    ${one.nodes.map((node) => `${node.target} ${node.html.slice(0, 160)}\n      ${node.failureSummary}`).join('\n    ')}`);
  assert.equal(violations.length, 0, `${label}:\n  ${said.join('\n  ')}`);
}

let text;
async function source() {
  const { readFile } = await import('node:fs/promises');
  text ??= await readFile(AXE, 'utf8');
  return text;
}

/** A picture for people, where SHOTS names a folder. */
export async function shoot(page, name) {
  if (!process.env.SHOTS) return;
  await mkdir(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true });
}

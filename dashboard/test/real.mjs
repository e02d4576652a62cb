// Against a real broker, which nobody else uses meanwhile.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { FLOWS, tool } from './flows.mjs';
import { PAGES, check, shoot, visit } from './pages.mjs';

const row = (page, text) => page.getByRole('row').filter({ hasText: text });

export const REAL = {
  async every_page_is_there({ page, origin, label }) {
    for (const [name, heading] of PAGES) {
      await visit(page, origin, name);
      await page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
      assert.equal(await page.locator('main .notice.bad').count(), 0, `${name} has no error`);
      await check(page, `${label} ${name}`);
      await shoot(page, `${label}-page-${name}`);
    }
  },

  async the_client_tool_speaks_mqtt({ page, origin, label, ws }) {
    await visit(page, origin, 'tool');
    assert.equal(await page.getByLabel('URL').inputValue(), ws, 'the listener is found');
    if (process.env.VIA) await page.getByLabel('URL').fill(process.env.VIA);
    await tool(page, origin, label);
  },

  async messages_are_watched_and_published({ page, origin, label }) {
    await FLOWS.messages_are_watched_and_published({ page, origin, label });
  },

  async a_client_is_found_explained_and_ended({ page, origin, label }) {
    const id = `browser ${label} ü`;
    await visit(page, origin, 'tool');
    await page.getByLabel('Client id').fill(id);
    await page.getByRole('checkbox', { name: 'Start with a clean session' }).uncheck();
    await page.getByRole('button', { name: 'Connect', exact: true }).click();
    await page.getByLabel('Filter').fill('house/+/light');
    await page.getByRole('button', { name: 'Subscribe', exact: true }).last().click();
    await page.getByRole('button', { name: 'Unsubscribe from house/+/light' }).waitFor();
    await page.evaluate(() => (location.hash = '#/subscriptions?topic=house/1/light'));
    await row(page, id).getByText('connected').waitFor();
    await page.evaluate(() => (location.hash = '#/clients'));
    await page.getByRole('searchbox').fill(label);
    await page.getByText('1 of 1 clients').waitFor();
    await page.getByRole('link', { name: id }).click();
    await page.getByText('house/+/light').waitFor();
    await page.getByLabel('Topic').fill('house/2/light');
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText('It is allowed. One session or group is subscribed to it.').waitFor();
    await page.getByText('sent at once').waitFor();
    await check(page, label);
    await shoot(page, `${label}-client`);
    await page.getByRole('button', { name: 'Disconnect' }).click();
    await page.getByRole('button', { name: 'Disconnect and forget' }).click();
    await page.getByRole('heading', { level: 1, name: 'Clients' }).waitFor();
    await page.getByRole('searchbox').fill(label);
    await page.getByText('No client is like that.').waitFor();
    await page.evaluate(() => (location.hash = '#/tool'));
    await page.getByText('not connected').waitFor();
  },

  async a_retained_message_comes_and_goes({ page, origin, label }) {
    const topic = `kept/${label}/value`;
    await visit(page, origin, 'messages');
    await page.getByLabel('Topic').fill(topic);
    await page.locator('textarea').fill('{"kept": true}');
    await page.getByRole('checkbox', { name: 'Retain' }).check();
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.getByText('Published.').first().waitFor();
    await visit(page, origin, 'retained');
    await page.getByRole('searchbox').fill('kept/+/value');
    await page.getByRole('button', { name: `Read ${topic}` }).click();
    await page.getByRole('dialog').getByText('"kept": true').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: `Delete ${topic}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByText('No retained message matches.').waitFor();
  },

  async bans_are_made_and_lifted({ page, origin }) {
    await visit(page, origin, 'security');
    await page.getByRole('button', { name: 'Ban somebody' }).click();
    await page.getByLabel('Name', { exact: true }).fill('192.0.2.7');
    await page.getByRole('dialog').getByRole('button', { name: 'Ban', exact: true }).click();
    await row(page, '192.0.2.7').waitFor();
    await page.getByRole('button', { name: 'Lift the ban of 192.0.2.7' }).click();
    await page.getByRole('button', { name: 'Lift the ban', exact: true }).click();
    await row(page, '192.0.2.7').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Read the configuration again' }).click();
    await page.getByText('The configuration was read').waitFor();
  },

  async a_backup_is_downloaded({ page, origin, label }) {
    await visit(page, origin, 'storage');
    for (const round of ['first', 'next']) {
      const begun = page.waitForEvent('download');
      await page.getByRole('button', { name: 'Download a backup' }).click();
      const download = await begun;
      await page.getByText(`of ${download.suggestedFilename()} were sent.`).waitFor();
      const names = execFileSync('tar', ['-tf', await download.path()], { encoding: 'utf8' }).trim().split('\n');
      assert.equal(names.at(-1), 'format', `${round}: ${names}`);
    }
    await check(page, label);
    await shoot(page, `${label}-backup`);
  },

  async rates_are_of_what_passes({ page, origin }) {
    await visit(page, origin, 'overview');
    // The broker's own figures pass, and what this page asks costs turns.
    await page.getByRole('img', { name: /^Messages a second: in [0-9.]+/ }).waitFor();
    await page.getByText(/[1-9][0-9.]* turns\/s/).first().waitFor();
  },
};

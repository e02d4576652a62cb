// What is shown when there is nothing, no token, or no answer.
import assert from 'node:assert/strict';
import { check, shoot, visit } from './pages.mjs';

export const STATES = {
  nothing_there_yet: {
    options: () => ({ empty: true, websocket: null }),
    async run({ page, origin, label }) {
      const said = {
        overview: 'No listener is open', clients: 'No client has connected yet.', subscriptions: 'Nobody has subscribed yet.', retained: 'Nothing is retained.',
        tool: 'No WebSocket listener is configured.', listeners: 'No listener is open: no client can connect.', trace: 'Nothing is followed.', security: 'Nobody is banned.',
      };
      for (const [name, text] of Object.entries(said)) {
        await visit(page, origin, name);
        await page.getByText(text).first().waitFor();
        await check(page, `${label}, empty ${name}`);
        await shoot(page, `${label}-empty-${name}`);
      }
      assert.ok((await page.evaluate(() => document.querySelector('main').innerText)).includes('auth.ban_failures'));
    },
  },

  a_token_is_asked_for: {
    options: () => ({ token: 'open sesame' }),
    allow: [/401/],
    async run({ page, origin, label, state }) {
      await page.goto(`${origin}/#/clients`);
      const dialog = page.getByRole('dialog', { name: 'This broker asks for a token' });
      await dialog.waitFor();
      await page.waitForFunction(() => document.activeElement?.tagName === 'INPUT');
      await check(page, `${label}, token`);
      await shoot(page, `${label}-token`);
      await page.getByLabel('Token', { exact: true }).fill('wrong');
      await page.keyboard.press('Enter');
      await page.getByText('The broker did not accept that token.').waitFor();
      await page.getByLabel('Token', { exact: true }).fill('open sesame');
      await page.keyboard.press('Enter');
      await dialog.waitFor({ state: 'detached' });
      await page.getByText('50 of 127 clients').waitFor();
      assert.equal(await page.evaluate(() => JSON.stringify(localStorage)), '{}');
      await page.reload();
      await page.getByText('50 of 127 clients').waitFor();
      await visit(page, origin, 'storage');
      const begun = page.waitForEvent('download');
      await page.getByRole('button', { name: 'Download a backup' }).click();
      const download = await begun;
      await page.getByText('3 MiB of 6 MiB').waitFor();
      assert.ok(!download.url().includes('sesame'), 'the token stays in the page');
      state.backups.goOn();
      await page.getByText(/^All 6 MiB/).waitFor();
    },
  },

  a_viewer_sees_and_changes_nothing: {
    options: () => ({ role: 'viewer' }),
    allow: [/403/],
    async run({ page, origin, label }) {
      await visit(page, origin, 'clients');
      await page.getByText('50 of 127 clients').waitFor();
      assert.equal(await page.getByRole('button', { name: /^Disconnect/ }).count(), 0);
      await visit(page, origin, 'security');
      await page.getByText('This needs a token of an administrator.').waitFor();
      await visit(page, origin, 'storage');
      await page.getByText('Taking one needs a token of an administrator.').waitFor();
      await visit(page, origin, 'config');
      await page.getByText('Your role does not allow this.').waitFor();
      await check(page, `${label}, viewer`);
      await shoot(page, `${label}-viewer`);
    },
  },

  the_broker_is_gone_and_back: {
    options() {
      const made = { gone: false, down: () => made.gone };
      return made;
    },
    allow: [/503/],
    async run({ page, origin, label, options }) {
      await visit(page, origin, 'overview');
      await page.locator('.tile-value').first().waitFor();
      options.gone = true;
      await page.getByText('The figures below are the last that came.').waitFor();
      await check(page, `${label}, gone`);
      await shoot(page, `${label}-gone`);
      options.gone = false;
      await page.getByText('The figures below are the last that came.').waitFor({ state: 'detached' });
    },
  },

  the_client_tool_says_what_went_wrong: {
    options: () => ({}),
    allow: [/WebSocket connection to/],
    async run({ page, origin, label }) {
      await visit(page, origin, 'tool');
      const url = page.getByLabel('URL');
      await url.waitFor();
      const right = await url.inputValue();
      await url.fill('ws://127.0.0.1:1/mqtt');
      await page.getByRole('button', { name: 'Connect', exact: true }).click();
      await page.getByText('No connection.').waitFor();
      await url.fill(right);
      await page.getByLabel('User').fill('nobody');
      await page.getByLabel('Password').fill('secret');
      await page.getByRole('button', { name: 'Connect', exact: true }).click();
      await page.getByText(/The broker refused: wrong user or password/).waitFor();
      await check(page, `${label}, refused`);
      await shoot(page, `${label}-refused`);
      await page.getByLabel('User').fill('');
      await page.getByRole('button', { name: 'Connect', exact: true }).click();
      await page.getByLabel('Filter').fill('forbidden');
      await page.getByRole('button', { name: 'Subscribe', exact: true }).last().click();
      await page.getByText('The broker refused the subscription').waitFor();
      assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('secret')), false);
    },
  },
};

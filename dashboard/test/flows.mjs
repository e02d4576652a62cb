// What people do on the pages, by keyboard and pointer, against the mock.
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { check, shoot, visit } from './pages.mjs';

const row = (page, text) => page.getByRole('row').filter({ hasText: text });

export const FLOWS = {
  async overview_shows_troubles_and_rates({ page, origin, label }) {
    await visit(page, origin, 'overview');
    await page.getByText(/^\d+ messages dropped in the last minute from full queues/).waitFor();
    await page.getByRole('img', { name: /^Messages a second: in [0-9.,]+k?,/ }).waitFor();
    await page.getByRole('button', { name: '10 min' }).click();
    assert.equal(await page.getByRole('button', { name: '10 min' }).getAttribute('aria-pressed'), 'true');
    await check(page, label);
    await shoot(page, `${label}-overview`);
  },

  async clients_are_found_paged_and_disconnected({ page, origin, label, state }) {
    await visit(page, origin, 'clients');
    await page.getByText('50 of 127 clients').waitFor();
    const first = await page.locator('tbody tr a').first().innerText();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('page 2').waitFor();
    await page.getByRole('link', { name: first, exact: true }).waitFor({ state: 'hidden' });
    assert.equal(await page.locator('tbody tr').count(), 50);
    await page.getByRole('button', { name: 'Back' }).click();
    await page.getByRole('button', { name: 'Away' }).click();
    await page.getByText(/of 20 clients|^20 of 20/).waitFor();
    await page.getByRole('button', { name: 'All', exact: true }).click();
    await page.getByRole('searchbox').fill('worker');
    await page.getByText('2 of 2 clients').waitFor();
    await page.getByRole('button', { name: 'Disconnect worker/2' }).click();
    const dialog = page.getByRole('dialog', { name: 'Disconnect this client?' });
    await check(page, `${label}, disconnect`);
    await shoot(page, `${label}-kick`);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await page.getByRole('button', { name: 'Disconnect worker/2' }).click();
    await dialog.getByRole('button', { name: 'Disconnect', exact: true }).click();
    await row(page, 'worker/2').getByText('away').waitFor();
    await page.getByRole('button', { name: 'Forget worker/2' }).click();
    await page.getByRole('button', { name: 'Forget the session' }).click();
    await page.getByText('1 of 1 clients').waitFor();
    assert.ok(!state.clients.some((client) => client.client_id === 'worker/2'));
    await page.getByRole('searchbox').fill('no such client');
    await page.getByText('No client is like that.').waitFor();
    await check(page, `${label}, none found`);
  },

  async a_client_has_a_page({ page, origin, label }) {
    await visit(page, origin, 'clients?search=worker');
    await page.getByRole('link', { name: 'worker/1 ü & <b>' }).click();
    await page.getByRole('heading', { level: 1, name: 'worker/1 ü & <b>' }).waitFor();
    await page.getByText('$share/workers/home/+/sensor/#').waitFor();
    await page.getByLabel('Topic').fill('secret/door');
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText('It is not allowed: nobody would get it.').waitFor();
    await page.getByText('auth.rules, 1: deny publish secret/#').waitFor();
    await page.getByLabel('Topic').fill('home/hall/sensor/1');
    await page.keyboard.press('Enter');
    await page.getByText('It is allowed. 2 sessions and groups are subscribed to it.').waitFor();
    await row(page, 'panel-hall-007').getByText('sent at once').waitFor();
    await check(page, label);
    await shoot(page, `${label}-client`);
    await visit(page, origin, 'clients/nobody');
    await page.getByText('There is no such session.').waitFor();
  },

  async topics_find_their_subscribers({ page, origin, label }) {
    await visit(page, origin, 'subscriptions');
    await page.getByRole('searchbox').fill('alarm');
    await page.getByText('1 of 1 subscriptions').waitFor();
    await page.getByRole('button', { name: 'Who gets a topic' }).click();
    await page.getByRole('searchbox').fill('home/kitchen/sensor/7');
    await page.getByText(/gets? a message to/).waitFor();
    await check(page, label);
    await shoot(page, `${label}-topic`);
    await page.getByRole('searchbox').fill('nobody/wants/this');
    await page.getByText('Nobody gets it.').waitFor();
    await page.getByRole('searchbox').fill('home/#');
    await page.getByText('A topic has no + and no #.').waitFor();
  },

  async retained_messages_are_read_and_deleted({ page, origin, label, state }) {
    await visit(page, origin, 'retained');
    await page.getByRole('searchbox').fill('home/+/temperature');
    await page.getByText('6 of 6 messages').waitFor();
    await page.getByRole('button', { name: 'Read home/hall/temperature' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('"celsius": 18.7').waitFor();
    await dialog.getByRole('button', { name: 'Hex' }).click();
    await dialog.getByText('000000  7b 22 63 65').waitFor();
    await check(page, `${label}, read`);
    await shoot(page, `${label}-read`);
    await dialog.getByRole('button', { name: 'Close' }).click();
    await page.getByRole('button', { name: 'Delete home/hall/temperature' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByText('5 of 5 messages').waitFor();
    assert.ok(!state.retained.has('home/hall/temperature'));
    await page.getByRole('searchbox').fill('firmware/image');
    await page.getByRole('button', { name: 'Read firmware/image' }).click();
    assert.equal(await dialog.getByRole('button', { name: 'Hex' }).getAttribute('aria-pressed'), 'true');
  },

  async messages_are_watched_and_published({ page, origin, label }) {
    await visit(page, origin, 'messages');
    await page.getByLabel('Filter').fill('hello/#');
    await page.getByRole('button', { name: 'Watch', exact: true }).click();
    await page.getByText('Waiting for a message.').waitFor();
    await page.getByLabel('Topic').fill('hello/world');
    await page.getByLabel('Payload').fill('{"hi": ["there", 1]}');
    await page.getByLabel('Written as').selectOption('json');
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.getByRole('button', { name: /hello\/world/ }).click();
    await page.locator('.messages pre').getByText('"there"').waitFor();
    await page.getByLabel('Written as').selectOption('hex');
    await page.getByLabel('Payload', { exact: true }).and(page.locator('textarea')).fill('zz');
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.getByText('Hex is pairs of digits').waitFor();
    await page.getByLabel('Payload', { exact: true }).and(page.locator('textarea')).fill('00 ff 80');
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.locator('.message-preview').getByText('00 ff 80').waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.getByText('Paused, 1 newer').waitFor();
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.getByText('3 messages, newest first').waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.getByText('Waiting for a message.').waitFor();
    await page.getByRole('button', { name: 'Publish', exact: true }).click();
    await page.getByText('1 message, newest first').waitFor();
    await check(page, label);
    await shoot(page, `${label}-messages`);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByRole('button', { name: 'Watch', exact: true }).waitFor();
  },

  async the_client_tool_speaks_mqtt({ page, origin, label }) {
    await tool(page, origin, label);
  },

  async a_client_is_followed_stopped_and_forgotten({ page, origin, label, state, width }) {
    await visit(page, origin, 'clients/panel-hall-007');
    await page.getByRole('link', { name: 'Trace', exact: true }).and(page.locator('main a')).click();
    await page.getByRole('heading', { level: 1, name: 'Trace', exact: true }).waitFor();
    assert.equal(await page.getByLabel('Client id').inputValue(), 'panel-hall-007');
    await page.getByLabel('Payloads').selectOption('64');
    await page.getByLabel('Client id').press('Enter');
    const events = page.getByRole('table', { name: 'Events' });
    const event = (text) => events.getByRole('row').filter({ hasText: text });
    await event('session taken over').waitFor();
    await event('home/hall/panel/set').getByText('{"on": true}').waitFor();
    await page.getByText('6 events').waitFor();
    state.note(state.traces[0], { direction: 'broker', event: 'session_ended', client_id: 'panel-hall-007' });
    await event('session ended').waitFor();
    await check(page, `${label}, live`);
    await shoot(page, `${label}-trace`);
    await page.getByRole('searchbox', { name: 'Search events' }).fill('DROPPED');
    await page.getByText('1 event', { exact: true }).waitFor();
    await event('mqtt.queue_qos0').waitFor();
    await page.getByRole('searchbox', { name: 'Search events' }).fill('');
    const saving = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download panel-hall-007' }).first().click();
    assert.equal((await saving).suggestedFilename(), 'trace-1.jsonl');
    await page.getByRole('button', { name: 'Stop panel-hall-007' }).first().click();
    await page.getByText('It ended: it was stopped.').waitFor();
    await page.getByRole('button', { name: 'Forget panel-hall-007' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Forget', exact: true }).click();
    await page.getByText('Nothing is followed.').waitFor();
    await page.getByLabel('What', { exact: true }).selectOption('filter');
    await page.getByLabel('Topic filter').fill('home/#/x');
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByText('is no topic filter').waitFor();
    await page.getByText('25 of 40 losses').waitFor();
    await page.getByText("the receiver's queue is full", { exact: false }).waitFor();
    if (width > 860) {
      const heights = await page.getByRole('table', { name: 'Lost lately' }).locator('tbody tr').evaluateAll((rows) => rows.filter((row) => !/\d{4}-/.test(row.textContent)).map((row) => row.offsetHeight));
      assert.ok(Math.max(0, ...heights) < 50, `each loss is a line: ${heights}`);
    }
    await page.getByRole('button', { name: 'QoS 0 while away' }).click();
    await page.getByText('21 of 21 losses').waitFor();
    await page.getByRole('button', { name: 'Losses', exact: true }).click();
    await page.getByRole('searchbox', { name: 'Search what was lost' }).fill('secret');
    await page.getByText('20 of 20 losses').waitFor();
    await row(page, 'auth.rules[0] denies').first().waitFor();
    await check(page, `${label}, lost`);
  },

  async bans_are_made_and_lifted({ page, origin, label }) {
    await visit(page, origin, 'security');
    await page.getByRole('button', { name: 'Ban somebody' }).click();
    await page.getByLabel('Name', { exact: true }).fill('not an address');
    await page.getByRole('dialog').getByRole('button', { name: 'Ban', exact: true }).click();
    await page.getByText('is no address and no network').waitFor();
    await page.getByLabel('Name', { exact: true }).fill('192.0.2.7');
    await page.getByLabel('Why').fill('guesses');
    await check(page, `${label}, ban`);
    await shoot(page, `${label}-ban`);
    await page.getByRole('dialog').getByRole('button', { name: 'Ban', exact: true }).click();
    await row(page, '192.0.2.7').waitFor();
    await page.getByRole('button', { name: 'Lift the ban of 192.0.2.7' }).click();
    await page.getByRole('button', { name: 'Lift the ban', exact: true }).click();
    await row(page, '192.0.2.7').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Read the configuration again' }).click();
    await page.getByText('Some changes wait for a restart.').waitFor();
    await check(page, label);
  },

  async a_backup_is_downloaded_and_ends_early_and_is_refused({ page, origin, label, state }) {
    await visit(page, origin, 'storage');
    await page.getByText('none since the broker started').waitFor();
    const card = page.getByRole('region', { name: 'Backup' });
    const take = card.getByRole('button', { name: 'Download a backup' });
    const begin = async () => {
      const begun = page.waitForEvent('download');
      await take.focus();
      await page.keyboard.press('Enter');
      await card.getByText('hawker-20260504-101502.tar: 3 MiB of 6 MiB, 50 %').waitFor();
      return begun;
    };
    const download = await begin();
    assert.equal(download.suggestedFilename(), 'hawker-20260504-101502.tar');
    assert.equal(await card.getByRole('progressbar').getAttribute('aria-valuenow'), '50');
    assert.ok(await take.isDisabled());
    await check(page, `${label}, running`);
    await shoot(page, `${label}-backup-running`);
    // It goes on while one looks elsewhere.
    await page.evaluate(() => (location.hash = '#/overview'));
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await page.evaluate(() => (location.hash = '#/storage'));
    await card.getByText('3 MiB of 6 MiB').waitFor();
    state.backups.goOn();
    await card.getByText('All 6 MiB of hawker-20260504-101502.tar were sent.').waitFor();
    assert.equal((await stat(await download.path())).size, 6 * 2 ** 20);
    await check(page, `${label}, done`);
    await shoot(page, `${label}-backup-done`);
    await (await begin()).cancel();
    await card.getByText('hawker-20260504-101502.tar ended early: its reader left.').waitFor();
    await check(page, `${label}, ended early`);
    await shoot(page, `${label}-backup-early`);
    // Another one, begun between two looks of the page.
    state.backups.shown = () => ({ running: null, last: null, ended_early: null });
    state.backups.begin();
    await take.click();
    await card.getByText('a backup is being taken; wait for its end').waitFor();
    await check(page, `${label}, refused`);
    await shoot(page, `${label}-backup-refused`);
    delete state.backups.shown;
    await card.getByText('Somebody takes a backup: 0 B of 6 MiB').waitFor();
  },

  async the_configuration_is_searched({ page, origin, label }) {
    await visit(page, origin, 'config');
    await page.getByRole('searchbox').fill('queue');
    await page.getByText('2 of 18 values').waitFor();
    await page.getByRole('button', { name: 'Only those set' }).click();
    await page.getByText('1 of 18 values').waitFor();
    await row(page, 'mqtt.queue_messages_max').getByText('file').waitFor();
    await check(page, label);
  },

  async the_theme_is_switched_and_kept({ page, origin, label, width }) {
    await visit(page, origin, 'overview');
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    if (width < 860) await page.getByRole('button', { name: 'Open the menu' }).click();
    await page.getByRole('button', { name: 'Dark theme' }).click();
    const dark = await paper();
    await page.getByRole('button', { name: 'Light theme' }).click();
    assert.notEqual(await paper(), dark);
    await page.getByRole('button', { name: 'Dark theme' }).click();
    await page.reload();
    await page.locator('main h1').waitFor();
    assert.equal(await paper(), dark);
    await check(page, `${label}, dark by the switch`);
  },

  async the_keyboard_is_enough({ page, origin, width }) {
    await visit(page, origin, 'overview');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    if (width < 860) {
      await page.getByRole('button', { name: 'Open the menu' }).focus();
      await page.keyboard.press('Enter');
    }
    await page.getByRole('link', { name: 'Clients', exact: true }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: 'Clients' }).waitFor();
    await page.waitForFunction(() => document.activeElement?.tagName === 'H1');
    assert.equal(await page.title(), 'Clients – Hawker');
  },
};

/** Also asked of the real broker. */
export async function tool(page, origin, label) {
  await visit(page, origin, 'tool');
  await page.getByLabel('URL').waitFor();
  await page.getByRole('button', { name: 'Another connection' }).click();
  const [first, second] = [page.getByRole('region', { name: 'Connection 1' }), page.getByRole('region', { name: 'Connection 2' })];
  await second.getByLabel('Version').selectOption('4');
  await second.getByLabel('Client id').fill('the-second');
  for (const panel of [first, second]) {
    await panel.getByRole('button', { name: 'Connect', exact: true }).click();
    await panel.getByText('connected', { exact: true }).waitFor();
  }
  await second.getByLabel('Filter').fill('room/+/light');
  await second.getByLabel('QoS').selectOption('1');
  await second.getByRole('button', { name: 'Subscribe', exact: true }).last().click();
  await second.getByRole('button', { name: 'Unsubscribe from room/+/light' }).waitFor();
  await first.getByRole('button', { name: 'Publish', exact: true }).first().click();
  await first.getByLabel('Topic').fill('room/7/light');
  await first.locator('textarea').fill('{"on": true, "level": 40}');
  await first.getByLabel('QoS').selectOption('2');
  await first.getByRole('button', { name: 'Publish', exact: true }).last().click();
  const message = second.getByRole('button', { name: /room\/7\/light/ });
  await message.click();
  await second.locator('pre').getByText('"level": 40').waitFor();
  await second.getByRole('button', { name: 'Hex' }).click();
  await second.locator('pre').getByText('000000  7b 22 6f 6e').waitFor();
  await first.getByRole('button', { name: /Sent to.*room\/7\/light/ }).waitFor();
  await check(page, `${label}, two connections`);
  await shoot(page, `${label}-tool`);
  // They stay while one looks elsewhere.
  await visit(page, origin, 'listeners');
  await page.evaluate(() => (location.hash = '#/tool'));
  await second.getByText('connected', { exact: true }).waitFor();
  await second.getByRole('button', { name: 'Unsubscribe from room/+/light' }).click();
  await second.getByRole('button', { name: 'Unsubscribe from room/+/light' }).waitFor({ state: 'detached' });
  await second.getByRole('button', { name: 'Disconnect' }).click();
  await second.getByLabel('URL').waitFor();
  await second.getByRole('button', { name: 'Remove connection 2' }).click();
  await second.waitFor({ state: 'detached' });
}

// A headless Chromium whose every page is watched: what it asks of others, and what it complains of.
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

export function executable() {
  const named = process.env.CHROMIUM;
  if (named) return named;
  return PLACES.find((place) => existsSync(place));
}

export async function start() {
  return chromium.launch({ executablePath: executable(), args: ['--no-sandbox', '--disable-dev-shm-usage', ...trusted()] });
}

/** The one certificate that the browser takes without knowing its issuer: CERTIFICATE=FILE. */
function trusted() {
  const file = process.env.CERTIFICATE;
  if (!file) return [];
  const key = new X509Certificate(readFileSync(file)).publicKey.export({ type: 'spki', format: 'der' });
  return [`--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`];
}

/** A page, and what is wrong with it so far. */
export async function open(browser, origin, { width, theme, token, allow = [] }) {
  const context = await browser.newContext({
    viewport: { width, height: width < 600 ? 844 : 860 }, colorScheme: theme, reducedMotion: 'reduce', deviceScaleFactor: width < 600 ? 2 : 1,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const wrong = [];
  page.on('console', (message) => {
    if (message.type() !== 'error' && message.type() !== 'warning') return;
    const text = `${message.text()} (${message.location().url})`;
    if (!allow.some((pattern) => pattern.test(text))) wrong.push(`console: ${text}`);
  });
  page.on('pageerror', (error) => wrong.push(`error: ${error.stack ?? error}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(origin)) wrong.push(`asked elsewhere: ${request.url()}`);
  });
  if (token) await context.addInitScript((secret) => sessionStorage.setItem('hawker.token', secret), token);
  return { page, context, wrong };
}

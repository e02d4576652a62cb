// Collects the licences of what the dashboard carries of others, for assets/licenses.txt.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Of MQTT.js, what only Node or its command line use. */
const IGNORED = /^@types\/|^(commist|help-me|minimist|socks|smart-buffer|ip-address|ws)$/;

export function licenses(root) {
  const modules = join(root, 'node_modules');
  const found = new Map();
  const visit = (name) => {
    if (found.has(name) || IGNORED.test(name)) return;
    const folder = join(modules, name);
    if (!existsSync(folder)) return;
    const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? readFileSync(join(folder, file), 'utf8').replace(/\r/g, '').trim() : `Licence: ${about.license}`;
    found.set(name, `${name} ${about.version}\n\n${text}\n`);
    for (const needed of Object.keys(about.dependencies ?? {})) visit(needed);
  };
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const name of Object.keys(own.dependencies)) visit(name);
  const texts = [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
  return `The dashboard carries these packages of others.\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

// Whether src/control/dashboard is what the sources make: builds them elsewhere and compares.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const committed = join(root, '../src/control/dashboard');
const made = mkdtempSync(join(tmpdir(), 'hawker-dashboard-'));

function files(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(entries.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort().map((path) => [path.slice(folder.length + 1), readFileSync(path)]));
}

try {
  const run = (...command) => execFileSync('npx', ['--no-install', ...command], { cwd: root, stdio: 'inherit', env: { ...process.env, OUT: made } });
  run('tsc', '--noEmit');
  run('vite', 'build', '--logLevel', 'error');
  const [wanted, found] = [files(made), files(committed)];
  assert.deepEqual(Object.keys(found), Object.keys(wanted), 'the same files');
  for (const [name, content] of Object.entries(wanted)) {
    assert.ok(content.equals(found[name]), `${name} is not what the sources make: make dashboard, and commit it`);
  }
} finally {
  rmSync(made, { recursive: true });
}

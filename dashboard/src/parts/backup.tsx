// A backup as a file of the browser's: how one is taken, how far it is, what it is good for.
import { useState } from 'preact/hooks';
import { ApiError, follow, request, useApi } from '../api';
import { bytes, duration, moment, percent } from '../format';
import { may } from '../live';
import { store, useStore } from '../store';
import { Await, Button, Card, Code, Facts, Failure, Notice } from './parts';

interface Running {
  taken_at_ms: number;
  bytes: number;
  sent_bytes: number;
}

interface Backups {
  running: Running | null;
  last: { taken_at_ms: number; bytes: number; seconds: number } | null;
  ended_early: { taken_at_ms: number; why: string } | null;
}

interface Begun {
  /** What the browser fetches it with, once. */
  ticket: string;
  file: string;
  bytes: number;
  taken_at_ms: number;
}

/** The last that was begun here: it goes on while one looks at other pages. */
const begun = store<Begun | null>(null);

export function BackupPanel() {
  const answer = useApi<Backups>('/backups', 1000);
  return (
    <Card title="Backup" hint="All that is kept, as it is at one instant, while clients go on: a tar archive of a data directory.">
      <Await answer={answer}>{(backups) => <Panel backups={backups} reload={answer.reload} />}</Await>
    </Card>
  );
}

function Panel({ backups, reload }: { backups: Backups; reload: () => void }) {
  const own = useStore(begun);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const { running, last, ended_early } = backups;
  const file = own && own.taken_at_ms !== ended_early?.taken_at_ms ? own.file : 'hawker.tar';
  const take = async () => {
    setBusy(true);
    setError(null);
    try {
      const next = await request<Begun>('POST', '/backups');
      begun.set(next);
      follow(`/backups/${next.ticket}`, next.file);
    } catch (failure) {
      setError(failure instanceof ApiError ? failure : new ApiError(0, 'unreadable', String(failure)));
    }
    setBusy(false);
    reload();
  };
  return (
    <>
      {may('admin')
        ? <Button kind="primary" disabled={busy || running !== null} onClick={take}>{busy ? 'Beginning' : 'Download a backup'}</Button>
        : <p class="muted">Taking one needs a token of an administrator.</p>}
      {running && <Progress of={running} name={running.taken_at_ms === own?.taken_at_ms ? own.file : 'Somebody takes a backup'} />}
      <div role="status" class="result">
        {error && <Failure error={error} />}
        {own && !error && <Outcome of={own} backups={backups} />}
      </div>
      <Facts facts={[['Last whole one', last ? <>{moment(last.taken_at_ms)} <span class="muted">({bytes(last.bytes)} in {duration(last.seconds)})</span></> : 'none since the broker started']]} />
      <p class="hint">A broker starts from the file where nothing else is kept; <code>docs/operations.md</code>, Backups, says how a service does.</p>
      <Code>{`mkdir -m 700 data &&\ntar -xf ${file} -C data &&\nhawker run --data-dir data`}</Code>
    </>
  );
}

function Progress({ of: { bytes: all, sent_bytes }, name }: { of: Running; name: string }) {
  return (
    <div class="progress">
      <div class="meter" role="progressbar" aria-label={name} aria-valuenow={Math.floor((sent_bytes / all) * 100)}>
        <i style={{ width: `${(sent_bytes / all) * 100}%` }} />
      </div>
      <p class="hint">{name}: {bytes(sent_bytes)} of {bytes(all)}, {percent(sent_bytes, all)}</p>
    </div>
  );
}

/** What became of one that was begun here. What the broker says may still be older than it. */
function Outcome({ of: { file, bytes: all, taken_at_ms }, backups: { running, last, ended_early } }: { of: Begun; backups: Backups }) {
  if (running?.taken_at_ms === taken_at_ms) return <p class="hint">The browser saves it, also while you look at other pages.</p>;
  if (last?.taken_at_ms === taken_at_ms) return <Notice level="good" title={`All ${bytes(all)} of ${file} were sent.`}>The browser says where it is.</Notice>;
  if (ended_early?.taken_at_ms !== taken_at_ms) return null;
  return <Notice level="bad" title={`${file} ended early: ${ended_early.why}.`}>What was saved of it is no backup.</Notice>;
}

// Reads the configuration again, as SIGHUP does.
import { useState } from 'preact/hooks';
import { request, type Reload } from '../api';
import { Anything, Button, Notice } from './parts';

export function ReloadPanel({ onDone }: { onDone?: () => void }) {
  const [answer, setAnswer] = useState<Reload | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    setError(null);
    setAnswer(null);
    try {
      setAnswer(await request<Reload>('POST', '/reload'));
      onDone?.();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
    setBusy(false);
  };
  return (
    <div>
      <Button kind="primary" disabled={busy} onClick={run}>{busy ? 'Reading' : 'Read the configuration again'}</Button>
      <div role="status" class="result">
        {error && <Notice level="bad" title={error}>Nothing was changed.</Notice>}
        {answer && <Result answer={answer} />}
      </div>
    </div>
  );
}

function some(value: Reload['applied']): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

function Result({ answer }: { answer: Reload }) {
  if (answer.error) return <Notice level="bad" title="The configuration has an error, and nothing was changed."><Anything value={answer.error} /></Notice>;
  return (
    <>
      {some(answer.applied)
        ? <Notice level="good" title="The configuration was read and is in use.">{Array.isArray(answer.applied) && <Keys of={answer.applied} />}</Notice>
        : <Notice level="good" title="The configuration was read. Nothing in it has changed." />}
      {some(answer.restart_needed) && <Notice level="warn" title="Some changes wait for a restart.">{Array.isArray(answer.restart_needed) && <Keys of={answer.restart_needed} />}</Notice>}
    </>
  );
}

function Keys({ of }: { of: unknown[] }) {
  return <ul class="plain-list">{of.map((key, index) => <li key={index}>{typeof key === 'string' ? <code>{key}</code> : <Anything value={key} />}</li>)}</ul>;
}

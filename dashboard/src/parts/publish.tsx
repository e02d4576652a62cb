// The form that makes a message.
import { useState } from 'preact/hooks';
import { Button, Check, Choice, Field, Notice } from './parts';
import { fromHex } from './payload';

export interface Draft {
  topic: string;
  content: Uint8Array;
  qos: 0 | 1 | 2;
  retain: boolean;
}

export function PublishForm({ publish, disabled, topic: start = '' }: { publish: (draft: Draft) => Promise<unknown>; disabled?: boolean; topic?: string }) {
  const [topic, setTopic] = useState(start);
  const [text, setText] = useState('');
  const [kind, setKind] = useState('text');
  const [qos, setQos] = useState('0');
  const [retain, setRetain] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const send = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      await publish({ topic, content: read(kind, text), qos: Number(qos) as 0 | 1 | 2, retain });
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <form class="form" onSubmit={send}>
      <Field label="Topic" value={topic} onValue={setTopic} required mono placeholder="hello/world" disabled={disabled} />
      <Field label="Payload" value={text} onValue={setText} rows={3} mono disabled={disabled} />
      <div class="form-row">
        <Choice label="Written as" value={kind} onValue={setKind} options={[['text', 'Text'], ['json', 'JSON'], ['hex', 'Hex']]} disabled={disabled} />
        <Choice label="QoS" value={qos} onValue={setQos} options={[['0', '0'], ['1', '1'], ['2', '2']]} disabled={disabled} />
        <Check label="Retain" checked={retain} onValue={setRetain} disabled={disabled} />
        <Button kind="primary" type="submit" disabled={disabled}>Publish</Button>
      </div>
      {error && <Notice level="bad" title={error} />}
    </form>
  );
}

function read(kind: string, text: string): Uint8Array {
  if (kind === 'hex') {
    const content = fromHex(text);
    if (content === null) throw new Error('Hex is pairs of digits from 0 to f, such as 01 ff.');
    return content;
  }
  if (kind === 'json') {
    try {
      JSON.parse(text);
    } catch (error) {
      throw new Error(`This is no JSON: ${error instanceof Error ? error.message : error}`);
    }
  }
  return new TextEncoder().encode(text);
}

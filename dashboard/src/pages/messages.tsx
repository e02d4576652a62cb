// Through the admin API: needs no WebSocket listener and no login of MQTT.
import { useEffect, useRef, useState } from 'preact/hooks';
import { events, path, request, type Message } from '../api';
import { may } from '../live';
import { Button, Card, Choice, Field, Notice, PageHead, say } from '../parts/parts';
import { DRAWN_EVERY_MS, MESSAGES_MAX, Messages as List, type Shown } from '../parts/messages';
import { asText, contentOf, toBase64 } from '../parts/payload';
import { PublishForm, type Draft } from '../parts/publish';
import { link } from '../router';

export function Messages() {
  return (
    <>
      <PageHead title="Watch and publish" lead={<>Through the broker's admin API, without a client. To try a listener and a login, use the <a href={link('tool')}>MQTT client</a>.</>} />
      <div class="columns uneven">
        <Watch />
        <Card title="Publish">{may('operator') ? <PublishForm publish={publish} /> : <p class="muted">Your role reads. To publish, sign in with a token of an operator.</p>}</Card>
      </div>
    </>
  );
}

async function publish(draft: Draft): Promise<void> {
  const text = asText(draft.content);
  const payload = text === null ? { payload_base64: toBase64(draft.content) } : { payload: text };
  const answer = await request<{ reason: string; reason_code: number }>('POST', '/publish', { topic: draft.topic, qos: draft.qos, retain: draft.retain, ...payload });
  const code = answer?.reason_code ?? 0;
  if (code >= 0x80) throw new Error(`The broker refused: ${answer.reason} (0x${code.toString(16)})`);
  say(code === 0x10 ? 'Published. Nobody has subscribed to it.' : 'Published.');
}

let key = 0;

function Watch() {
  const [filter, setFilter] = useState('#');
  const [qos, setQos] = useState('0');
  const [state, setState] = useState<'off' | 'opening' | 'on'>('off');
  const [error, setError] = useState<string | null>(null);
  const [messages, setMessages] = useState<Shown[]>([]);
  const abort = useRef<AbortController | null>(null);
  // However many come, they are drawn together.
  const waiting = useRef<Shown[]>([]);
  useEffect(() => () => abort.current?.abort(), []);

  const take = (data: string) => {
    const message = JSON.parse(data) as Message;
    if (typeof message.topic !== 'string') return;
    if (waiting.current.length === 0) {
      setTimeout(() => {
        const fresh = waiting.current.reverse();
        waiting.current = [];
        setMessages((old) => [...fresh, ...old].slice(0, MESSAGES_MAX));
      }, DRAWN_EVERY_MS);
    }
    waiting.current.push({ key: ++key, ms: Date.now(), topic: message.topic, content: contentOf(message), qos: message.qos, retain: message.retain });
  };

  const start = async (event: Event) => {
    event.preventDefault();
    const own = (abort.current = new AbortController());
    setState('opening');
    setError(null);
    try {
      await events(path('/subscribe', { filter, qos }), own.signal, () => setState('on'), take);
      if (!own.signal.aborted) setError('The broker ended the watch.');
    } catch (failure) {
      if (!own.signal.aborted) setError(failure instanceof Error ? failure.message : String(failure));
    }
    if (abort.current === own) setState('off');
  };
  const stop = () => {
    abort.current?.abort();
    setState('off');
  };

  const on = state !== 'off';
  return (
    <Card title="Watch" hint="Messages as they pass." aside={messages.length > 0 && <Button small kind="quiet" onClick={() => setMessages([])}>Clear</Button>}>
      <form class="form-row" onSubmit={start}>
        <Field label="Filter" value={filter} onValue={setFilter} required mono wide disabled={on} />
        <Choice label="QoS" value={qos} onValue={setQos} options={[['0', '0'], ['1', '1'], ['2', '2']]} disabled={on} />
        {/* Two buttons, not one that changes: it would submit by the click that stopped. */}
        {on ? <Button key="stop" onClick={stop}>Stop</Button> : <Button key="watch" kind="primary" type="submit">Watch</Button>}
      </form>
      {error && <Notice level="bad" title={error} />}
      <p class="visually-hidden" role="status">{state === 'on' ? `Watching ${filter}` : ''}</p>
      <List messages={messages} empty={state === 'on' ? 'Waiting for a message.' : 'Choose a filter and watch.'} />
    </Card>
  );
}

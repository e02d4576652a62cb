// Clients of MQTT in this page, over WebSocket, side by side.
import { useEffect, useState } from 'preact/hooks';
import { useApi, type Listener } from '../api';
import { add, change, close, connections, freshId, open, publish, remove, subscribe, unsubscribe, type Connection, type Settings } from '../connections';
import { plural } from '../format';
import { Badge, Button, Check, Choice, Code, Field, Notice, PageHead, Segments, say } from '../parts/parts';
import { Icon } from '../parts/icons';
import { Messages } from '../parts/messages';
import { PublishForm } from '../parts/publish';
import { link } from '../router';
import { useStore } from '../store';
import { WS_EXAMPLE } from './listeners';

/** Where this page reaches listeners that speak WebSocket. */
export function urls(listeners: Listener[]): string[] {
  const own = location.hostname;
  return listeners.filter((one) => ['ws', 'wss', 'mux'].includes(one.scheme)).flatMap((one) => {
    const found = /^(?:\w+:\/\/)?(.*):(\d+)(\/.*)?$/.exec(one.address);
    if (!found) return [];
    const [, host = '', port, place] = found;
    const everywhere = ['0.0.0.0', '[::]', '::', '*', ''].includes(host);
    const scheme = one.scheme === 'mux' ? (location.protocol === 'https:' ? 'wss' : 'ws') : one.scheme;
    return [`${scheme}://${everywhere ? own : host}:${port}${place ?? '/mqtt'}`];
  });
}

export function Tool() {
  const all = useStore(connections);
  const listeners = useApi<Listener[]>('/listeners');
  const found = listeners.data ? urls(listeners.data) : [];
  const url = found[0] ?? `ws://${location.hostname}:8083/mqtt`;
  const ready = listeners.data !== null || listeners.error !== null;
  useEffect(() => {
    if (ready && connections.get().length === 0) add(url);
  }, [ready]);
  return (
    <>
      <PageHead title="MQTT client" lead="Connections of this browser, over WebSocket. They stay while you look at other pages.">
        <Button kind="primary" onClick={() => add(url)}><Icon name="plus" />Another connection</Button>
      </PageHead>
      {listeners.data && found.length === 0 && (
        <Notice level="note" title="No WebSocket listener is configured.">
          <p>Browsers speak MQTT only over WebSocket. Add a listener to the configuration and restart the broker:</p>
          <Code>{WS_EXAMPLE}</Code>
          <p>Without one, <a href={link('messages')}>Watch and publish</a> works through the API.</p>
        </Notice>
      )}
      <div class="tool">{all.map((one, index) => <Panel key={one.key} one={one} number={index + 1} urls={found} alone={all.length === 1} />)}</div>
    </>
  );
}

const STATES: Record<Connection['state'], ['good' | 'plain' | 'warn', string]> = {
  off: ['plain', 'not connected'], opening: ['warn', 'connecting'], on: ['good', 'connected'], waiting: ['warn', 'waiting'],
};

function Panel({ one, number, urls, alone }: { one: Connection; number: number; urls: string[]; alone: boolean }) {
  const [part, setPart] = useState('subscribe');
  const [kind, name] = STATES[one.state];
  const connected = one.state === 'on';
  return (
    <section class="card panel" aria-label={`Connection ${number}`}>
      <div class="card-head">
        <div class="panel-title"><h2 class="id">{one.settings.clientId || 'no client id'}</h2><Badge kind={kind}><span class="dot" aria-hidden="true" />{name}</Badge></div>
        <div class="panel-actions">
          {one.state === 'off' ? null : <Button small onClick={() => close(one.key)}>Disconnect</Button>}
          {!alone && <Button small kind="quiet" aria-label={`Remove connection ${number}`} onClick={() => remove(one.key)}><Icon name="close" /></Button>}
        </div>
      </div>
      {connected
        ? (
          <>
            <p class="hint panel-url">{one.settings.url}, MQTT {one.settings.version === '5' ? '5.0' : '3.1.1'}{one.settings.user && `, as ${one.settings.user}`}</p>
            <Segments label="What to do" value={part} onValue={setPart} options={[['subscribe', 'Subscribe'], ['publish', 'Publish']]} />
            {part === 'subscribe' ? <Subscribe one={one} /> : <PublishForm publish={(draft) => publish(one.key, draft.topic, draft.content, draft.qos, draft.retain)} />}
          </>
        )
        : <SettingsForm one={one} urls={urls} />}
      {one.error && <Notice level="bad" title={one.error} />}
      {(connected || one.messages.length > 0) && <Log one={one} />}
    </section>
  );
}

function SettingsForm({ one, urls }: { one: Connection; urls: string[] }) {
  const { settings } = one;
  const set = (part: Partial<Settings>) => change(one.key, { settings: { ...settings, ...part } });
  const busy = one.state === 'opening';
  const mixed = location.protocol === 'https:' && settings.url.startsWith('ws:');
  return (
    <form class="form" onSubmit={(event) => { event.preventDefault(); void open(one.key); }}>
      <Field label="URL" value={settings.url} onValue={(url) => set({ url })} required mono disabled={busy} placeholder="ws://127.0.0.1:8083/mqtt" hint={mixed ? 'This page came over https: browsers then allow only wss://.' : undefined} />
      {urls.length > 1 && <Choice label="Listener" value={urls.includes(settings.url) ? settings.url : ''} disabled={busy} onValue={(url) => url && set({ url })} options={[['', 'another address'], ...urls.map((url): [string, string] => [url, url])]} />}
      <div class="form-pair">
        <Field label="Client id" value={settings.clientId} onValue={(clientId) => set({ clientId })} mono disabled={busy} />
        <Choice label="Version" value={settings.version} onValue={(version) => set({ version: version as '4' | '5' })} options={[['5', 'MQTT 5.0'], ['4', 'MQTT 3.1.1']]} disabled={busy} />
        <Field label="User" value={settings.user} onValue={(user) => set({ user })} disabled={busy} autocomplete="off" />
        <Field label="Password" type="password" value={settings.password} onValue={(password) => set({ password })} disabled={busy} autocomplete="off" />
      </div>
      <div class="form-row">
        <Check label="Start with a clean session" checked={settings.clean} onValue={(clean) => set({ clean })} disabled={busy} />
        {!settings.clean && settings.version === '5' && <span class="hint">kept for a day after the connection</span>}
        <span class="grow" />
        <Button kind="quiet" onClick={() => set({ clientId: freshId() })} disabled={busy}>New id</Button>
        <Button kind="primary" type="submit" disabled={busy}>{busy ? 'Connecting' : 'Connect'}</Button>
      </div>
    </form>
  );
}

function Subscribe({ one }: { one: Connection }) {
  const [filter, setFilter] = useState('#');
  const [qos, setQos] = useState('0');
  const [error, setError] = useState<string | null>(null);
  const run = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      await subscribe(one.key, filter, Number(qos) as 0 | 1 | 2);
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  const leave = (filter: string) => unsubscribe(one.key, filter).catch((failure) => say(String(failure), true));
  return (
    <>
      <form class="form-row" onSubmit={run}>
        <Field label="Filter" value={filter} onValue={setFilter} required mono wide />
        <Choice label="QoS" value={qos} onValue={setQos} options={[['0', '0'], ['1', '1'], ['2', '2']]} />
        <Button kind="primary" type="submit">Subscribe</Button>
      </form>
      {error && <Notice level="bad" title={error} />}
      {one.subscriptions.length > 0 && (
        <ul class="chips" aria-label="Subscriptions">
          {one.subscriptions.map((subscribed) => (
            <li key={subscribed.filter}>
              <i style={{ background: subscribed.color }} aria-hidden="true" /><code>{subscribed.filter}</code><small>QoS {subscribed.qos}</small>
              <button type="button" aria-label={`Unsubscribe from ${subscribed.filter}`} onClick={() => leave(subscribed.filter)}><Icon name="close" size={13} /></button>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Log({ one }: { one: Connection }) {
  const [which, setWhich] = useState('all');
  const shown = one.messages.filter((message) => which === 'all' || (which === 'sent') === Boolean(message.sent));
  return (
    <div class="panel-log">
      <div class="panel-log-head">
        <Segments label="Which messages" value={which} onValue={setWhich} options={[['all', 'All'], ['received', `In ${one.received}`], ['sent', `Out ${one.sent}`]]} />
        <span class="visually-hidden" role="status">{plural(one.received, 'message')} received</span>
        {one.messages.length > 0 && <Button small kind="quiet" onClick={() => change(one.key, { messages: [], received: 0, sent: 0 })}>Clear</Button>}
      </div>
      <Messages key={which} messages={shown} empty={one.subscriptions.length > 0 ? 'Waiting for a message.' : 'Subscribe to a filter to see messages.'} />
    </div>
  );
}

import { useState } from 'preact/hooks';
import { request, useApi, type ClientDetail } from '../api';
import { bytes, count, duration, moment } from '../format';
import { may } from '../live';
import { Anything, Await, Badge, Button, Card, Check, Choice, Empty, Facts, Field, Notice, PageHead, State, Table } from '../parts/parts';
import { go, link, route } from '../router';
import { Kick, protocol } from './clients';

export function Client() {
  const id = route.get().argument ?? '';
  const answer = useApi<ClientDetail>(`/clients/${encodeURIComponent(id)}`, 2000);
  const [kick, setKick] = useState(false);
  const client = answer.data;
  return (
    <>
      <nav class="crumbs" aria-label="Where this is"><a href={link('clients')}>Clients</a><span aria-hidden="true"> / </span></nav>
      <PageHead title={<span class="id">{id}</span>} lead={client && <State connected={client.connected} />}>
        {client && may('operator') && <a class="button" href={link('trace', undefined, { client_id: id })}>Trace</a>}
        {client && may('operator') && <Button kind="danger" onClick={() => setKick(true)}>{client.connected ? 'Disconnect' : 'Forget'}</Button>}
      </PageHead>
      {answer.error?.status === 404
        ? <Card><Empty title="There is no such session."><p>It has ended, or it never was. Sessions end when their time runs out or a client starts clean.</p><a class="button" href={link('clients')}>All clients</a></Empty></Card>
        : (
          <Await answer={answer}>
            {(client) => (
              <>
                <div class="columns">
                  <Connection client={client} />
                  <Session client={client} />
                </div>
                <Subscriptions client={client} />
                <Explain id={id} />
              </>
            )}
          </Await>
        )}
      {kick && client && <Kick client={client} onClose={() => setKick(false)} onDone={(forgotten) => (forgotten ? go(link('clients')) : answer.reload())} />}
    </>
  );
}

function Connection({ client }: { client: ClientDetail }) {
  const since = client.connected && client.connected_at_ms != null
    ? `${moment(client.connected_at_ms)} (${duration((Date.now() - client.connected_at_ms) / 1000)})` : null;
  return (
    <Card title="Connection">
      <Facts facts={[
        ['User', client.user ?? 'anonymous'],
        ['Address', client.address && <code>{client.address}</code>],
        ['Listener', client.listener],
        ['Protocol', protocol(client.protocol)],
        client.connected ? ['Connected since', since] : ['Away since', moment(client.disconnected_at_ms)],
        ['Keep-alive', client.keep_alive_s === 0 ? 'off' : client.keep_alive_s != null ? duration(client.keep_alive_s) : null],
      ]} />
    </Card>
  );
}

function expiry(seconds: number | null): string {
  if (seconds === null) return '–';
  if (seconds === 0) return 'ends with the connection';
  return seconds >= 0xffff_ffff ? 'never ends' : `${duration(seconds)} after the connection`;
}

function Session({ client }: { client: ClientDetail }) {
  return (
    <Card title="Session">
      <Facts facts={[
        ['Expiry', expiry(client.session_expiry_s)],
        ['Queued', `${count(client.queued)} messages, ${bytes(client.queued_bytes)}`],
        ['In flight to the client', count(client.inflight)],
        ['In flight from the client', count(client.inflight_in)],
        ['Will', client.will ? <Anything value={client.will} label="Will" /> : 'none'],
      ]} />
    </Card>
  );
}

function Subscriptions({ client }: { client: ClientDetail }) {
  const rows = client.subscriptions_list ?? [];
  return (
    <Card title={`Subscriptions (${count(rows.length)})`}>
      {rows.length === 0
        ? <Empty title="It has subscribed to nothing."><p>It gets no messages until it does.</p></Empty>
        : <Table label="Subscriptions" rows={rows} id={(row) => row.filter} columns={[
            { name: 'Filter', head: true, cell: (row) => <code>{row.filter}</code> },
            { name: 'QoS', cell: (row) => row.qos },
            { name: 'Options', cell: (row) => <Options of={[row.no_local && 'no local', row.retain_as_published && 'retain as published', row.subscription_id != null && `identifier ${row.subscription_id}`]} /> },
          ]} />}
    </Card>
  );
}

function Options({ of }: { of: (string | false | undefined)[] }) {
  const set = of.filter(Boolean);
  return set.length === 0 ? <span class="muted">none</span> : <span class="badges">{set.map((option) => <Badge key={String(option)}>{option}</Badge>)}</span>;
}

/** What would happen to a message that this client published, and why. */
function Explain({ id }: { id: string }) {
  const [topic, setTopic] = useState('');
  const [qos, setQos] = useState('1');
  const [retain, setRetain] = useState(false);
  const [answer, setAnswer] = useState<Explained | null>(null);
  const [error, setError] = useState<string | null>(null);
  const ask = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      setAnswer(await request('POST', '/explain', { client_id: id, topic, qos: Number(qos), retain }));
    } catch (failure) {
      setAnswer(null);
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <Card title="Explain" hint="What would happen if this client published a message, and why. Nothing is sent.">
      <form class="form-row" onSubmit={ask}>
        <Field label="Topic" value={topic} onValue={setTopic} required mono wide placeholder="sensors/kitchen/temperature" />
        <Choice label="QoS" value={qos} onValue={setQos} options={[['0', '0'], ['1', '1'], ['2', '2']]} />
        <Check label="Retain" checked={retain} onValue={setRetain} />
        <Button kind="primary" type="submit">Explain</Button>
      </form>
      <div role="status">
        {error && <Notice level="bad" title={error} />}
        {answer && <Explanation answer={answer} />}
      </div>
    </Card>
  );
}

interface Explained {
  publish?: { allowed: boolean; by?: string | null; judged?: string | null };
  log_full?: boolean;
  outcome?: string;
  matches?: { client_id: string; filter: string; qos: number; what?: string; group?: string | null }[];
  total?: number;
}

function Explanation({ answer }: { answer: Explained }) {
  const { publish, matches = [], total = matches.length } = answer;
  const allowed = publish?.allowed ?? true;
  const reach = matches.length === 0 ? 'Nobody would get it: no subscription matches.' : `${total === 1 ? 'One session or group is' : `${count(total)} sessions and groups are`} subscribed to it.`;
  return (
    <div class="explanation">
      <Notice level={allowed ? 'good' : 'bad'} title={allowed ? `It is allowed. ${reach}` : 'It is not allowed: nobody would get it.'}>
        {publish?.by && <p>Decided by: <code>{publish.by}</code></p>}
        {publish?.judged && <p class="muted">Judged {publish.judged}.</p>}
      </Notice>
      {answer.log_full && <Notice level="bad" title="The log is full: QoS 1 and 2 messages for sessions that are kept would be refused." />}
      {allowed && matches.length > 0 && (
        <Table label="Who would get it" rows={matches} id={(row) => `${row.client_id}\n${row.filter}\n${row.group ?? ''}`} columns={[
          { name: 'Client id', head: true, cell: (row) => <a class="id" href={link('clients', row.client_id)}>{row.client_id}</a> },
          { name: 'Filter', cell: (row) => <code>{row.filter}</code> },
          { name: 'Group', cell: (row) => row.group ? <Badge kind="accent">{row.group}</Badge> : <span class="muted">–</span> },
          { name: 'QoS', cell: (row) => row.qos },
          { name: 'What happens', cell: (row) => row.what ?? '' },
        ]} />
      )}
    </div>
  );
}

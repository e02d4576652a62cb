import { useState } from 'preact/hooks';
import { path, request, usePages, type Client, type Page } from '../api';
import { count, duration } from '../format';
import { may } from '../live';
import { Await, Button, Card, Confirm, Empty, PageHead, Pager, Search, Segments, State, Table, say, useSettled, type Column } from '../parts/parts';
import { link, route } from '../router';

type Answer = Page & { clients: Client[] };

export function Clients() {
  const query = route.get().query;
  const [search, setSearch] = useState(query.get('search') ?? '');
  const [state, setState] = useState(query.get('state') ?? '');
  const [kicked, setKicked] = useState<Client | null>(null);
  const settled = useSettled(search.trim());
  const pages = usePages<Answer>(path('/clients', { search: settled, state, limit: 50 }), 5000);
  return (
    <>
      <PageHead title="Clients" lead="Sessions of this broker, connected and away." />
      <div class="toolbar">
        <Search label="Search clients" placeholder="Client id, user or address" value={search} onValue={setSearch} />
        <Segments label="State" value={state} onValue={setState} options={[['', 'All'], ['connected', 'Connected'], ['away', 'Away']]} />
      </div>
      <Card>
        <Await answer={pages}>
          {(answer) => answer.clients.length === 0
            ? <NoClients filtered={settled !== '' || state !== ''} clear={() => { setSearch(''); setState(''); }} />
            : (
              <>
                <Table label="Clients" rows={answer.clients} id={(client) => client.client_id} columns={columns(setKicked).filter((column) => !column.actions || may('operator'))} />
                <Pager pages={pages} shown={answer.clients.length} what="clients" />
              </>
            )}
        </Await>
      </Card>
      {kicked && <Kick client={kicked} onClose={() => setKicked(null)} onDone={pages.reload} />}
    </>
  );
}

function columns(kick: (client: Client) => void): Column<Client>[] {
  return [
    { name: 'Client id', head: true, cell: (client) => <a class="id" href={link('clients', client.client_id)}>{client.client_id}</a> },
    { name: 'State', cell: (client) => <State connected={client.connected} /> },
    { name: 'User', cell: (client) => client.user ?? <span class="muted">anonymous</span> },
    { name: 'Address', cell: (client) => client.address ? <code>{client.address}</code> : <span class="muted">–</span> },
    { name: 'Protocol', cell: (client) => protocol(client.protocol).replace('MQTT ', '') },
    { name: 'Since', cell: (client) => <span class="nowrap">{since(client)}</span> },
    { name: 'Subscriptions', numeric: true, cell: (client) => count(client.subscriptions) },
    { name: 'Queued', numeric: true, cell: (client) => <span class={client.queued > 0 ? 'strong' : ''}>{count(client.queued)}</span> },
    { name: 'Actions', actions: true, cell: (client) => <Button small kind="quiet" aria-label={`${client.connected ? 'Disconnect' : 'Forget'} ${client.client_id}`} onClick={() => kick(client)}>{client.connected ? 'Disconnect' : 'Forget'}</Button> },
  ];
}

function since(client: Client): string {
  const ms = client.connected ? client.connected_at_ms : client.disconnected_at_ms;
  return ms == null ? '–' : duration((Date.now() - ms) / 1000);
}

/** 4 and "3.1.1" are the same. */
export function protocol(value: string | number | null): string {
  if (value == null) return '–';
  const known: Record<string, string> = { '3': '3.1', '4': '3.1.1', '5': '5.0' };
  const text = String(value).replace(/^MQTT\s*/i, '');
  return `MQTT ${known[text] ?? text}`;
}

function NoClients({ filtered, clear }: { filtered: boolean; clear: () => void }) {
  if (filtered) return <Empty title="No client is like that."><Button onClick={clear}>Show all clients</Button></Empty>;
  return (
    <Empty title="No client has connected yet.">
      <p>Connect one to an address of the <a href={link('listeners')}>listeners</a>, or use the <a href={link('tool')}>MQTT client</a> of this page.</p>
    </Empty>
  );
}

export function Kick({ client, onClose, onDone }: { client: Client; onClose: () => void; onDone: (forgotten: boolean) => void }) {
  const end = (session: 'keep' | 'forget') => async () => {
    await request('DELETE', path(`/clients/${encodeURIComponent(client.client_id)}`, { session }));
    say(session === 'forget' ? `${client.client_id} is forgotten.` : `${client.client_id} is disconnected.`);
    onDone(session === 'forget');
  };
  const actions = [{ label: client.connected ? 'Disconnect and forget' : 'Forget the session', kind: 'danger' as const, act: end('forget') }];
  if (client.connected) actions.unshift({ label: 'Disconnect', kind: 'primary' as never, act: end('keep') });
  return (
    <Confirm title={client.connected ? 'Disconnect this client?' : 'Forget this session?'} actions={actions} onClose={onClose}>
      <p class="id">{client.client_id}</p>
      {client.connected && <p>Disconnect ends the connection and keeps the session; most clients come back at once.</p>}
      <p>Forgetting also deletes its subscriptions and {client.queued > 0 ? `the ${count(client.queued)} messages that wait for it` : 'what waits for it'}. This cannot be taken back.</p>
    </Confirm>
  );
}

import { useState } from 'preact/hooks';
import { path, usePages, type Page, type Subscription } from '../api';
import { count } from '../format';
import { Await, Badge, Button, Card, Empty, PageHead, Pager, Search, Segments, State, Table, useSettled, type Column } from '../parts/parts';
import { link, route } from '../router';

type Answer = Page & { subscriptions: Subscription[] };

const COLUMNS: Column<Subscription>[] = [
  { name: 'Client id', head: true, cell: (row) => <a class="id" href={link('clients', row.client_id)}>{row.client_id}</a> },
  { name: 'Filter', cell: (row) => <Filter text={row.filter} /> },
  { name: 'QoS', cell: (row) => row.qos },
  { name: 'Group', cell: (row) => row.group ? <Badge kind="accent">{row.group}</Badge> : <span class="muted">–</span> },
];

const STATE: Column<Subscription> = { name: 'State', cell: (row) => row.connected === undefined ? <span class="muted">–</span> : <State connected={row.connected} /> };

/** Wildcards stand out. */
export function Filter({ text }: { text: string }) {
  return <code>{text.split(/([+#])/).map((part, index) => (part === '+' || part === '#' ? <b key={index} class="wild">{part}</b> : part))}</code>;
}

export function Subscriptions() {
  const query = route.get().query;
  const [way, setWay] = useState<string>(query.has('topic') ? 'topic' : 'search');
  const [text, setText] = useState(query.get('topic') ?? query.get('search') ?? '');
  const settled = useSettled(text.trim());
  const wild = way === 'topic' && /[+#]/.test(settled);
  const base = way === 'topic' ? (settled === '' || wild ? null : path('/subscriptions', { topic: settled, limit: 100 })) : path('/subscriptions', { search: settled, limit: 100 });
  const pages = usePages<Answer>(base);
  return (
    <>
      <PageHead title="Subscriptions" lead="Who has asked for what, and who gets a message." />
      <div class="toolbar">
        <Segments label="How to look" value={way} onValue={setWay} options={[['search', 'Search filters'], ['topic', 'Who gets a topic']]} />
        <Search label={way === 'topic' ? 'Topic' : 'Search subscriptions'} placeholder={way === 'topic' ? 'sensors/kitchen/temperature' : 'Part of a filter or client id'} value={text} onValue={setText} />
      </div>
      <Card>
        {wild && <Empty title="A topic has no + and no #."><p>These stand in filters. To find filters, choose Search filters.</p></Empty>}
        {way === 'topic' && settled === '' && <Empty title="Which topic?"><p>Enter the topic of a message, and see each client that would get it.</p></Empty>}
        {base !== null && (
          <Await answer={pages}>
            {(answer) => answer.subscriptions.length === 0
              ? <Nobody way={way} text={settled} clear={() => setText('')} />
              : (
                <>
                  {way === 'topic' && <p class="verdict">{reach(answer.subscriptions)} <code>{settled}</code>.</p>}
                  <Table label="Subscriptions" rows={answer.subscriptions} columns={way === 'topic' ? [...COLUMNS, STATE] : COLUMNS} id={(row) => `${row.client_id}\n${row.filter}\n${row.group ?? ''}`} />
                  <Pager pages={pages} shown={answer.subscriptions.length} what="subscriptions" />
                </>
              )}
          </Await>
        )}
      </Card>
    </>
  );
}

function reach(rows: Subscription[]): string {
  const clients = new Set(rows.filter((row) => !row.group).map((row) => row.client_id)).size;
  const groups = new Set(rows.filter((row) => row.group).map((row) => `${row.group}/${row.filter}`)).size;
  const parts = [];
  if (clients > 0) parts.push(`${count(clients)} ${clients === 1 ? 'client' : 'clients'}`);
  if (groups > 0) parts.push(`one member of ${groups === 1 ? 'a group' : `each of ${count(groups)} groups`}`);
  const one = clients + groups === 1;
  return `${parts.join(' and ')} ${one ? 'gets' : 'get'} a message to`.replace(/^./, (letter) => letter.toUpperCase());
}

function Nobody({ way, text, clear }: { way: string; text: string; clear: () => void }) {
  if (way === 'topic') return <Empty title="Nobody gets it."><p>No filter matches <code>{text}</code>. A message to it would be dropped, and retained if it says so.</p></Empty>;
  if (text !== '') return <Empty title="No subscription is like that."><Button onClick={clear}>Show all</Button></Empty>;
  return <Empty title="Nobody has subscribed yet."><p>Subscribe with a client of yours, or with the <a href={link('tool')}>MQTT client</a> of this page.</p></Empty>;
}

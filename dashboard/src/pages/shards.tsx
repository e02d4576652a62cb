import { useState } from 'preact/hooks';
import type { Shard } from '../api';
import { count, rate, words } from '../format';
import { live } from '../live';
import { Card, Empty, Failure, Loading, PageHead, Search, Table, type Column } from '../parts/parts';
import { useStore } from '../store';
import { Balance } from './overview';

export function Shards() {
  const now = useStore(live);
  return (
    <>
      <PageHead title="Shards" lead="Each is one thread with its own clients. The hash of a client id decides where it lives." />
      {!now.shards && (now.error ? <Failure error={now.error} /> : <Loading />)}
      {now.shards && (
        <>
          <Balance now={now} />
          <Card title="Work">
            <Table label="Work of the shards" rows={now.shards} id={(row) => row.shard} columns={[
              { name: 'Shard', head: true, cell: (row) => <b>{row.shard}</b> },
              { name: 'Connections', numeric: true, cell: (row) => count(row.connections) },
              { name: 'Sessions', numeric: true, cell: (row) => count(row.sessions) },
              { name: 'Turns a second', numeric: true, cell: (row) => rate(now.turns[now.shards!.indexOf(row)]) },
              { name: 'Turns', numeric: true, cell: (row) => count(row.turns_total) },
              { name: 'System calls of the ring', numeric: true, cell: (row) => count(row.ring_enters_total) },
            ]} />
          </Card>
          <Counters shards={now.shards} />
        </>
      )}
    </>
  );
}

function Counters({ shards }: { shards: Shard[] }) {
  const [search, setSearch] = useState('');
  const wanted = search.trim().toLowerCase();
  const names = [...new Set(shards.flatMap((shard) => Object.keys(shard.counters ?? {})))].filter((name) => name.endsWith('_total'));
  const rows = names.filter((name) => `${name} ${words(name)}`.toLowerCase().includes(wanted)).map((name) => ({ name }));
  const columns: Column<{ name: string }>[] = [
    { name: 'Counter', head: true, cell: (row) => <>{words(row.name.replace(/_total$/, ''))}</> },
    ...shards.map((shard) => ({ name: `Shard ${shard.shard}`, numeric: true, cell: (row: { name: string }) => count(shard.counters[row.name]) })),
    { name: 'All', numeric: true, cell: (row) => <b>{count(shards.reduce((sum, shard) => sum + (shard.counters[row.name] ?? 0), 0))}</b> },
  ];
  return (
    <Card title="Counters" hint="Since the broker's start. The same as at /metrics." aside={<Search label="Search counters" value={search} onValue={setSearch} />}>
      {rows.length === 0 ? <Empty title="No counter is called that." /> : <Table label="Counters" rows={rows} id={(row) => row.name} columns={columns} />}
    </Card>
  );
}

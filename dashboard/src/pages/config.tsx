import { useState } from 'preact/hooks';
import { useApi, type ConfigValue } from '../api';
import { count } from '../format';
import { may } from '../live';
import { Await, Badge, Button, Card, Empty, PageHead, Search, Segments, Table } from '../parts/parts';
import { ReloadPanel } from '../parts/reload';
import { route } from '../router';

export function Config() {
  const answer = useApi<{ settings: ConfigValue[] }>('/config');
  const [search, setSearch] = useState(route.get().query.get('search') ?? '');
  const [origin, setOrigin] = useState('');
  return (
    <>
      <PageHead title="Configuration" lead="What the broker runs with, and where each value comes from. Flags overrule the environment, which overrules the file." />
      <div class="toolbar">
        <Search label="Search the configuration" placeholder="Key or value" value={search} onValue={setSearch} />
        <Segments label="Which values" value={origin} onValue={setOrigin} options={[['', 'All'], ['set', 'Only those set']]} />
      </div>
      <Card>
        <Await answer={answer}>
          {({ settings: values }) => {
            const wanted = search.trim().toLowerCase();
            const rows = values.filter((row) => (origin === '' || row.origin !== 'default') && `${row.key} ${text(row.value)}`.toLowerCase().includes(wanted));
            return rows.length === 0
              ? <Empty title="No value is like that."><Button onClick={() => { setSearch(''); setOrigin(''); }}>Show all</Button></Empty>
              : (
                <>
                  <Table label="Configuration" rows={rows} id={(row) => row.key} columns={[
                    { name: 'Key', head: true, cell: (row) => <code>{row.key}</code> },
                    { name: 'Value', cell: (row) => row.hidden ? <Badge>hidden</Badge> : <code class="value">{text(row.value)}</code> },
                    { name: 'Origin', cell: (row) => <Badge kind={row.origin === 'default' ? 'plain' : 'accent'}>{row.origin}</Badge> },
                    { name: 'Change', cell: (row) => row.needs_restart === undefined ? '' : <span class="muted">{row.needs_restart ? 'at a restart' : 'at a reload'}</span> },
                  ]} />
                  <div class="pager"><span role="status">{count(rows.length)} of {count(values.length)} values</span></div>
                </>
              );
          }}
        </Await>
      </Card>
      {may('admin') && <Card title="Reload" hint="Change the file, then have it read again. What needs a restart is named.">
        <ReloadPanel onDone={answer.reload} />
      </Card>}
    </>
  );
}

function text(value: unknown): string {
  if (value === null || value === undefined) return 'unset';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

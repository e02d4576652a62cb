import { useApi, type Listener } from '../api';
import { count } from '../format';
import { Await, Badge, Card, Code, Empty, PageHead, Table } from '../parts/parts';
import { link } from '../router';

const SPEAKS: Record<string, string> = {
  tcp: 'MQTT, not encrypted',
  tls: 'MQTT over TLS',
  ws: 'MQTT over WebSocket, not encrypted',
  wss: 'MQTT over WebSocket and TLS',
  mux: 'all of them on one port',
  unix: 'MQTT, on this machine only',
};

export const EXAMPLE = `[[listeners]]
address = "tcp://127.0.0.1:1883"`;
export const WS_EXAMPLE = `[[listeners]]
address = "ws://127.0.0.1:8083"`;

export function Listeners() {
  const answer = useApi<Listener[]>('/listeners', 3000);
  return (
    <>
      <PageHead title="Listeners" lead="Where clients connect." />
      <Card>
        <Await answer={answer}>
          {(listeners) => listeners.length === 0
            ? <Empty title="No listener is open: no client can connect."><p>Add one to the configuration and restart the broker:</p><Code>{EXAMPLE}</Code></Empty>
            : <Table label="Listeners" rows={listeners} id={(row) => row.name + row.address} columns={[
                { name: 'Name', head: true, cell: (row) => <b>{row.name}</b> },
                { name: 'Address', cell: (row) => <code>{row.address}</code> },
                { name: 'Speaks', cell: (row) => SPEAKS[row.scheme] ?? row.scheme },
                { name: 'Encrypted', cell: (row) => ['tls', 'wss'].includes(row.scheme) ? <Badge kind="good">yes</Badge> : row.scheme === 'mux' ? <Badge>if the client does</Badge> : <Badge>no</Badge> },
                { name: 'Connections', numeric: true, cell: (row) => count(row.connections) },
              ]} />}
        </Await>
      </Card>
      {answer.data && answer.data.length > 0 && !answer.data.some((one) => ['ws', 'wss', 'mux'].includes(one.scheme)) && (
        <Card title="Web pages cannot connect yet" hint="They need a listener that speaks WebSocket. This one is for this machine; wss:// is for others.">
          <Code>{WS_EXAMPLE}</Code>
        </Card>
      )}
      <p class="after"><a href={link('config', undefined, { search: 'listeners' })}>Listeners in the configuration</a></p>
    </>
  );
}

import { useState } from 'preact/hooks';
import { path, request, useApi, usePages, type Page, type Retained as Message, type RetainedMessage } from '../api';
import { bytes } from '../format';
import { may } from '../live';
import { Await, Badge, Button, Card, Confirm, Dialog, Empty, PageHead, Pager, Search, Table, say, useSettled } from '../parts/parts';
import { Payload, contentOf } from '../parts/payload';
import { link } from '../router';

type Answer = Page & { retained: Message[] };

/** The API keeps levels of a topic as they are in the path. */
function at(topic: string): string {
  return `/retained/${encodeURIComponent(topic)}`;
}

export function Retained() {
  const [filter, setFilter] = useState('');
  const [read, setRead] = useState<string | null>(null);
  const [deleted, setDeleted] = useState<string | null>(null);
  const settled = useSettled(filter.trim());
  const pages = usePages<Answer>(path('/retained', { filter: settled, limit: 50 }));
  return (
    <>
      <PageHead title="Retained messages" lead="The last value of each topic that was published with retain. New subscribers get it at once.">
        <Button onClick={pages.reload}>Refresh</Button>
      </PageHead>
      <div class="toolbar"><Search label="Topic filter" placeholder="Topic filter, such as sensors/+/temperature" value={filter} onValue={setFilter} /></div>
      <Card>
        <Await answer={pages}>
          {(answer) => answer.retained.length === 0
            ? settled !== ''
              ? <Empty title="No retained message matches."><Button onClick={() => setFilter('')}>Show all</Button></Empty>
              : <Empty title="Nothing is retained."><p>Publish a message with retain set, here under <a href={link('messages')}>Watch and publish</a>.</p></Empty>
            : (
              <>
                <Table label="Retained messages" rows={answer.retained} id={(row) => row.topic} columns={[
                  { name: 'Topic', head: true, cell: (row) => <button type="button" class="linklike id" onClick={() => setRead(row.topic)}>{row.topic}</button> },
                  { name: 'Payload', cell: (row) => row.payload_preview == null ? <Badge>binary</Badge> : <span class="preview">{row.payload_preview}</span> },
                  { name: 'Size', numeric: true, cell: (row) => bytes(row.bytes) },
                  { name: 'QoS', numeric: true, cell: (row) => row.qos },
                  { name: 'Actions', actions: true, cell: (row) => (
                    <>
                      <Button small kind="quiet" aria-label={`Read ${row.topic}`} onClick={() => setRead(row.topic)}>Read</Button>
                      {may('operator') && <Button small kind="quiet" aria-label={`Delete ${row.topic}`} onClick={() => setDeleted(row.topic)}>Delete</Button>}
                    </>
                  ) },
                ]} />
                <Pager pages={pages} shown={answer.retained.length} what="messages" />
              </>
            )}
        </Await>
      </Card>
      {read !== null && <Read topic={read} onClose={() => setRead(null)} />}
      {deleted !== null && (
        <Confirm title="Delete this retained message?" onClose={() => setDeleted(null)} actions={[{ label: 'Delete', act: async () => {
          await request('DELETE', at(deleted));
          say(`${deleted} is no longer retained.`);
          pages.reload();
        } }]}>
          <p class="id">{deleted}</p>
          <p>New subscribers will not get it any more. Clients that have it are not told.</p>
        </Confirm>
      )}
    </>
  );
}

function Read({ topic, onClose }: { topic: string; onClose: () => void }) {
  const answer = useApi<RetainedMessage>(at(topic));
  return (
    <Dialog title={topic} onClose={onClose}>
      <Await answer={answer}>{(message) => <><p class="muted">QoS {message.qos}</p><Payload content={contentOf(message)} /></>}</Await>
    </Dialog>
  );
}

import { useState } from 'preact/hooks';
import { path, request, useApi, usePages, type Page, type Retained as Message, type RetainedMessage } from '../api';
import { bytes } from '../format';
import { may } from '../live';
import { Await, Badge, Button, Card, Confirm, Dialog, Empty, PageHead, Pager, Search, Segments, Table, say, useSettled } from '../parts/parts';
import { Payload, contentOf } from '../parts/payload';
import { link } from '../router';

type Answer = Page & { retained: Message[] };

function at(topic: string): string {
  return `/retained/${encodeURIComponent(topic)}`;
}

export function Retained() {
  const [text, setText] = useState('');
  const [whose, setWhose] = useState('#');
  const [read, setRead] = useState<string | null>(null);
  const [deleted, setDeleted] = useState<string | null>(null);
  const settled = useSettled(text.trim());
  // With a wildcard it is a filter, otherwise a part of a topic.
  const query = /[+#]/.test(settled) ? { filter: settled } : { filter: whose, search: settled };
  const pages = usePages<Answer>(path('/retained', { ...query, limit: 50 }));
  return (
    <>
      <PageHead title="Retained messages" lead="The last value of each topic that was published with retain. New subscribers get it at once.">
        <Button onClick={pages.reload}>Refresh</Button>
      </PageHead>
      <div class="toolbar">
        <Search label="Search retained messages" placeholder="Part of a topic, or a filter: home/+/light" value={text} onValue={setText} />
        <Segments label="Whose" value={whose} onValue={setWhose} options={[['#', 'Of clients'], ['$SYS/#', '$SYS, of the broker']]} />
      </div>
      <Card>
        <Await answer={pages}>
          {(answer) => answer.retained.length === 0
            ? settled !== ''
              ? <Empty title="No retained message matches."><Button onClick={() => setText('')}>Show all</Button></Empty>
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
                      {may('operator') && !row.topic.startsWith('$SYS/') && <Button small kind="quiet" aria-label={`Delete ${row.topic}`} onClick={() => setDeleted(row.topic)}>Delete</Button>}
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

// Following one client, topic or address; and what was lost lately, whoever it was meant for.
import { useEffect, useRef, useState } from 'preact/hooks';
import { download, events, path, request, useApi, usePages, type Dropped, type Page, type Trace as Traced, type TraceEvent } from '../api';
import { bytes, clock, count, lately, moment, plural } from '../format';
import { may } from '../live';
import { Await, Badge, Button, Card, Choice, Confirm, Empty, Facts, Field, Notice, PageHead, Pager, Search, Segments, Table, say, useSettled } from '../parts/parts';
import { asText, contentOf } from '../parts/payload';
import { route } from '../router';

/** So many are kept; the file has all. */
const EVENTS_MAX = 1000;
/** So many of those that match are drawn. */
const DRAWN_MAX = 200;
const DRAWN_EVERY_MS = 200;

const KINDS: [string, string, string][] = [
  ['client_id', 'A client', 'Client id'], ['filter', 'A topic filter', 'Topic filter'], ['address', 'An address', 'Address or network'],
];

export function Trace() {
  const answer = useApi<{ traces: Traced[] }>('/traces', 2000);
  const [followed, setFollowed] = useState<number | null>(null);
  const trace = answer.data?.traces.find((one) => one.id === followed);
  return (
    <>
      <PageHead title="Trace" lead="Follow one client, topic or address: what comes and goes, what the broker decides, and what is lost." />
      {may('operator') && <Start onStart={(id) => { setFollowed(id); answer.reload(); }} />}
      {trace && <Live key={trace.id} trace={trace} onChange={answer.reload} onClose={() => setFollowed(null)} />}
      <Card title="Traces" hint="A file is kept for a day after its trace has ended.">
        <Await answer={answer}>
          {({ traces }) => traces.length === 0
            ? <Empty title="Nothing is followed."><p>A trace ends by itself, and nobody waits for it.</p></Empty>
            : <List traces={traces} followed={followed} onFollow={setFollowed} onChange={answer.reload} />}
        </Await>
      </Card>
      <Drops />
    </>
  );
}

function subject(trace: Traced): string {
  return trace.client_id ?? trace.filter ?? trace.address ?? '';
}

function kind(trace: Traced): string {
  return trace.client_id != null ? 'client' : trace.filter != null ? 'topics' : 'address';
}

function Start({ onStart }: { onStart: (id: number) => void }) {
  const known = route.get().query.get('client_id');
  const [what, setWhat] = useState('client_id');
  const [value, setValue] = useState(known ?? '');
  const [minutes, setMinutes] = useState('10');
  const [payload, setPayload] = useState('0');
  const [error, setError] = useState<string | null>(null);
  const start = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      const trace = await request<Traced>('POST', '/traces', { [what]: value.trim(), minutes: Number(minutes), payload_bytes: Number(payload) });
      say(`Following ${subject(trace)}.`);
      onStart(trace.id);
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <Card title="Follow">
      <form class="form-row" onSubmit={start}>
        <Choice label="What" value={what} onValue={setWhat} options={KINDS.map(([key, text]) => [key, text])} />
        <Field label={KINDS.find(([key]) => key === what)![2]} value={value} onValue={setValue} required mono wide />
        <Choice label="For" value={minutes} onValue={setMinutes} options={[['5', '5 min'], ['10', '10 min'], ['60', '1 hour'], ['480', '8 hours'], ['1440', '1 day']]} />
        <Choice label="Payloads" value={payload} onValue={setPayload} options={[['0', 'left out'], ['64', 'first 64 B'], ['1024', 'first 1 KiB']]} />
        <Button kind="primary" type="submit">Start</Button>
      </form>
      {error && <Notice level="bad" title={error} />}
    </Card>
  );
}

function List({ traces, followed, onFollow, onChange }: { traces: Traced[]; followed: number | null; onFollow: (id: number) => void; onChange: () => void }) {
  const [forgotten, setForgotten] = useState<Traced | null>(null);
  return (
    <>
      <Table label="Traces" rows={traces} id={(trace) => trace.id} columns={[
        { name: 'Followed', head: true, cell: (trace) => <span><span class="id">{subject(trace)}</span> <span class="muted">{kind(trace)}</span></span> },
        { name: 'State', cell: (trace) => trace.state === 'running'
          ? <Badge kind="good"><span class="dot" aria-hidden="true" />until {clock(trace.ends_at_ms)}</Badge>
          : <span>ended {moment(trace.ended_at_ms)} <span class="muted">({trace.ended_by})</span></span> },
        { name: 'Events', numeric: true, cell: (trace) => trace.lost > 0 ? <span>{count(trace.events)} <Badge kind="warn">{count(trace.lost)} lost</Badge></span> : count(trace.events) },
        { name: 'By', cell: (trace) => trace.by },
        { name: 'Actions', actions: true, cell: (trace) => (
          <>
            <Button small kind="quiet" aria-label={`Show ${subject(trace)}`} aria-pressed={trace.id === followed} onClick={() => onFollow(trace.id)}>Show</Button>
            <Save trace={trace} />
            {may('operator') && (trace.state === 'running'
              ? <Stop trace={trace} onDone={onChange} />
              : <Button small kind="quiet" aria-label={`Forget ${subject(trace)}`} onClick={() => setForgotten(trace)}>Forget</Button>)}
          </>
        ) },
      ]} />
      {forgotten && (
        <Confirm title="Forget this trace?" onClose={() => setForgotten(null)} actions={[{ label: 'Forget', act: async () => {
          await request('DELETE', `/traces/${forgotten.id}`);
          say(`The trace of ${subject(forgotten)} is gone.`);
          onChange();
        } }]}>
          <p class="id">{subject(forgotten)}</p>
          <p>Its file is removed.</p>
        </Confirm>
      )}
    </>
  );
}

function Stop({ trace, onDone }: { trace: Traced; onDone: () => void }) {
  const stop = async () => {
    try {
      await request('DELETE', `/traces/${trace.id}`);
    } catch (failure) {
      say(failure instanceof Error ? failure.message : String(failure), true);
    }
    onDone();
  };
  return <Button small aria-label={`Stop ${subject(trace)}`} onClick={stop}>Stop</Button>;
}

function Save({ trace }: { trace: Traced }) {
  const save = () => download(`/traces/${trace.id}/log`, `trace-${trace.id}.jsonl`)
    .catch((failure: unknown) => say(failure instanceof Error ? failure.message : String(failure), true));
  return <Button small kind="quiet" aria-label={`Download ${subject(trace)}`} onClick={save}>Download</Button>;
}

function Live({ trace, onChange, onClose }: { trace: Traced; onChange: () => void; onClose: () => void }) {
  const [seen, setSeen] = useState<TraceEvent[]>([]);
  const [text, setText] = useState('');
  const [error, setError] = useState<string | null>(null);
  const wanted = useSettled(text.trim().toLowerCase());
  // However many come, they are drawn together.
  const waiting = useRef<TraceEvent[]>([]);

  useEffect(() => {
    const own = new AbortController();
    let timer: number | undefined;
    const take = (data: string) => {
      waiting.current.push(JSON.parse(data) as TraceEvent);
      timer ??= window.setTimeout(() => {
        timer = undefined;
        const fresh = waiting.current.reverse();
        waiting.current = [];
        setSeen((old) => [...fresh, ...old].slice(0, EVENTS_MAX));
      }, DRAWN_EVERY_MS);
    };
    events(`/traces/${trace.id}/events`, own.signal, () => {}, take)
      .then(onChange, (failure: unknown) => own.signal.aborted || setError(failure instanceof Error ? failure.message : String(failure)));
    return () => {
      own.abort();
      clearTimeout(timer);
    };
  }, [trace.id]);

  const matching = wanted === '' ? seen : seen.filter((event) => JSON.stringify(Object.values(event)).toLowerCase().includes(wanted));
  const shown = matching.slice(0, DRAWN_MAX);
  return (
    <Card title={<>What happens to <span class="id">{subject(trace)}</span></>} hint={trace.state === 'running' ? 'Newest first.' : `It ended: ${trace.ended_by}.`} aside={<Button small kind="quiet" onClick={onClose}>Close</Button>}>
      <div class="toolbar">
        <Search label="Search events" placeholder="Part of an event: dropped, a topic, a reason" value={text} onValue={setText} />
        <Save trace={trace} />
        {trace.state === 'running' && may('operator') && <Stop trace={trace} onDone={onChange} />}
      </div>
      {error && <Notice level="bad" title={error} />}
      {shown.length === 0
        ? <Empty title={seen.length === 0 ? 'Nothing has happened yet.' : 'No event is like that.'} />
        : (
          <Table label="Events" rows={shown} id={(event) => event.number} columns={[
            { name: 'Event', head: true, cell: (event) => <Badge kind={color(event)}>{arrow(event)}{event.event.replaceAll('_', ' ')}</Badge> },
            { name: 'Time', cell: (event) => <span class="nowrap mono">{time(event.at_us)}</span> },
            { name: 'Client', cell: (event) => event.client_id != null && <span class="id">{event.client_id || '(none yet)'}</span> },
            { name: 'Topic', cell: (event) => event.topic != null && <span class="id">{event.topic}</span> },
            { name: 'More', cell: (event) => <span class="id">{more(event)}</span> },
          ]} />
        )}
      <p class="muted" role="status">{plural(matching.length, 'event')}{matching.length > shown.length ? `, the newest ${shown.length} shown` : ''}{seen.length >= EVENTS_MAX ? '; the file has those before' : ''}</p>
    </Card>
  );
}

function time(us: number): string {
  const ms = Math.floor(us / 1000);
  return `${clock(ms)}.${String(ms % 1000).padStart(3, '0')}`;
}

/** Which way it goes, said to those who do not see the arrow. */
function arrow({ direction }: TraceEvent) {
  if (direction !== 'in' && direction !== 'out') return null;
  const came = direction === 'in';
  return <><span aria-hidden="true">{came ? '→ ' : '← '}</span><span class="visually-hidden">{came ? 'from the client: ' : 'to the client: '}</span></>;
}

function color({ event, direction, reason_code }: TraceEvent): 'bad' | 'warn' | 'accent' | 'plain' {
  if (event === 'dropped' || event === 'refused' || (reason_code ?? 0) >= 0x80) return 'bad';
  if (['paused', 'queued', 'taken_over', 'lost', 'skipped'].includes(event)) return 'warn';
  return direction === 'in' || direction === 'out' ? 'accent' : 'plain';
}

function more(event: TraceEvent): string {
  const payload = event.payload_base64 == null ? null : asText(contentOf({ payload_base64: event.payload_base64 }));
  return [
    event.qos != null && `QoS ${event.qos}`,
    event.retain && 'retain',
    event.dup && 'again',
    event.bytes != null && bytes(event.bytes),
    event.packet_id != null && `identifier ${event.packet_id}`,
    event.reason != null && event.reason,
    event.detail,
    event.payload_base64 != null && (payload ?? 'a payload that is no text'),
  ].filter(Boolean).join(', ');
}

function reason({ why }: Dropped): string {
  return why.replaceAll('_', ' ');
}

type Lost = Page & { drops: Dropped[] };

function Drops() {
  const [text, setText] = useState('');
  const [why, setWhy] = useState('');
  const settled = useSettled(text.trim());
  const pages = usePages<Lost>(path('/drops', { search: settled, why, limit: 25 }), 5000);
  return (
    <Card title="Lost lately" hint="What somebody did not get, and subscriptions that were refused; QoS 0 for clients that are away is apart.">
      <div class="toolbar">
        <Search label="Search what was lost" placeholder="Part of a topic or client id" value={text} onValue={setText} />
        <Segments label="Which losses" value={why} onValue={setWhy} options={[['', 'Losses'], ['away', 'QoS 0 while away']]} />
      </div>
      <Await answer={pages}>
        {(answer) => answer.drops.length === 0
          ? <Empty title={settled === '' ? 'Nothing was lost.' : 'Nothing that was lost is like that.'} />
          : (
            <>
              <Table label="Lost lately" rows={answer.drops} id={(row) => `${row.at_ms} ${row.shard} ${row.number}`} columns={[
                { name: 'Topic', head: true, cell: (row) => row.topic === '' ? <span class="muted">not known</span> : <span class="id">{row.topic}</span> },
                { name: 'Time', cell: (row) => <span class="nowrap">{lately(row.at_ms)}</span> },
                { name: 'Why', cell: (row) => <span><Badge kind="bad">{reason(row)}</Badge> {row.detail != null && <span class="muted">{row.detail}</span>}</span> },
                { name: 'Publisher', cell: (row) => row.publisher != null && <span class="id">{row.publisher}</span> },
                { name: 'Receiver', cell: (row) => row.receiver != null && <span class="id">{row.receiver}</span> },
                { name: 'Size', numeric: true, cell: (row) => bytes(row.bytes) },
              ]} />
              <Pager pages={pages} shown={answer.drops.length} what="losses" />
              <Facts facts={[...new Map(answer.drops.map((row) => [reason(row), row.meaning]))]} />
            </>
          )}
      </Await>
    </Card>
  );
}

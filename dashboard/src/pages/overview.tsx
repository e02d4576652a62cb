import { useMemo } from 'preact/hooks';
import { bytes, count, duration, percent, plural, rate, short } from '../format';
import { live, type Live, type Sample } from '../live';
import { Badge, Card, Empty, Failure, Loading, PageHead } from '../parts/parts';
import { Icon } from '../parts/icons';
import { Plot, Spark } from '../parts/plot';
import { useState } from 'preact/hooks';
import { link } from '../router';
import { useStore } from '../store';
import { troubles } from '../troubles';

const SPANS: [string, number][] = [['2 min', 60], ['10 min', 300], ['30 min', 900]];

export function Overview() {
  const now = useStore(live);
  const { overview, error } = now;
  const lead = overview && <>Version {overview.version}, up {duration(overview.uptime_s)}, {plural(overview.shards, 'shard')}, durability <Badge>{overview.durability}</Badge></>;
  return (
    <>
      <PageHead title="Overview" lead={lead} />
      {!overview && error && <Failure error={error} />}
      {!overview && !error && <Loading />}
      {overview && (
        <>
          <Troubles now={now} />
          <Tiles now={now} />
          <Plots now={now} />
          <div class="columns">
            <Balance now={now} details />
            <Doors now={now} />
          </div>
        </>
      )}
    </>
  );
}

function Troubles({ now }: { now: Live }) {
  const found = troubles(now);
  if (found.length === 0) {
    const away = now.recent.dropped_away_total ?? 0;
    const lost = away > 0 ? `lost but ${plural(away, 'QoS 0 message')} for clients that are away, as it has to be` : 'lost';
    return <div class="allwell" role="status"><Icon name="good" /><span><b>All is well.</b> In the last minute nothing was refused, and nothing was {lost}.</span></div>;
  }
  return (
    <Card title="Right now" class="troubles">
      <p class="visually-hidden" role="status">{plural(found.length, 'thing')} to look at</p>
      <ul>
        {found.map((trouble) => (
          <li key={trouble.what} class={trouble.level}>
            <Icon name={trouble.level === 'note' ? 'note' : 'bad'} />
            <div><b>{trouble.what}</b><p><Keys text={trouble.mend} /></p></div>
            {trouble.page !== 'overview' && <a class="button small" href={`#/${trouble.page}`}>Look<span class="visually-hidden"> at it: {trouble.what}</span></a>}
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** Keys of the configuration look like what one types. */
function Keys({ text }: { text: string }) {
  return <>{text.split(/([a-z]+\.[a-z_]+_[a-z_]+|\[\[listeners\]\])/).map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part))}</>;
}

function Tiles({ now }: { now: Live }) {
  const { overview, samples } = now;
  if (!overview) return null;
  const last = samples.at(-1);
  const of = (name: keyof Sample) => samples.map((sample) => sample[name]);
  const tiles: { name: string; value: string; unit?: string; note?: string; page?: string; spark?: keyof Sample; color?: string }[] = [
    { name: 'Connections', value: count(overview.connections), note: `${count(overview.sessions)} sessions`, page: 'clients', spark: 'connections', color: '--accent' },
    { name: 'Messages in', value: rate(last?.received), unit: '/s', note: `${short(overview.messages_received_total)} in all`, spark: 'received', color: '--in' },
    { name: 'Messages out', value: rate(last?.sent), unit: '/s', note: `${short(overview.messages_sent_total)} in all`, spark: 'sent', color: '--out' },
    { name: 'Dropped', value: rate(last?.dropped), unit: '/s', note: `${short(overview.messages_dropped_total)} in all`, spark: 'dropped', color: '--bad' },
    { name: 'Subscriptions', value: count(overview.subscriptions), note: 'who gets which topic', page: 'subscriptions' },
    { name: 'Retained', value: count(overview.retained), note: 'last values of topics', page: 'retained' },
    { name: 'Queued', value: count(overview.queued), note: 'wait for their clients', page: 'clients?state=away' },
    { name: 'Traffic out', value: last?.bytesOut == null ? '–' : bytes(last.bytesOut), unit: '/s', note: `${bytes(last?.bytesIn)}/s in` },
  ];
  return (
    <ul class="tiles">
      {tiles.map((tile) => {
        const body = (
          <>
            <span class="tile-name">{tile.name}</span>
            <span class="tile-value">{tile.value}{tile.unit && tile.value !== '–' && <small>{tile.unit}</small>}</span>
            {tile.spark && <Spark values={of(tile.spark)} color={tile.color!} />}
            <span class="tile-note">{tile.note ?? ' '}</span>
          </>
        );
        return <li key={tile.name}>{tile.page ? <a class="tile" href={`#/${tile.page}`}>{body}</a> : <div class="tile">{body}</div>}</li>;
      })}
    </ul>
  );
}

function Plots({ now }: { now: Live }) {
  const [span, setSpan] = useState(60);
  const shown = useMemo(() => now.samples.slice(-span), [now.samples, span]);
  const seconds = shown.map((sample) => sample.ms / 1000);
  const messages = useMemo(() => [seconds, shown.map((s) => s.received), shown.map((s) => s.sent), shown.map((s) => s.dropped)], [shown]);
  const traffic = useMemo(() => [seconds, shown.map((s) => s.bytesIn), shown.map((s) => s.bytesOut)], [shown]);
  const connections = useMemo(() => [seconds, shown.map((s) => s.connections)], [shown]);
  return (
    <section aria-label="Plots">
      <div class="plots-head">
        <h2>History</h2>
        <div class="segments" role="group" aria-label="How far back">
          {SPANS.map(([name, samples]) => <button key={name} type="button" aria-pressed={span === samples} onClick={() => setSpan(samples)}>{name}</button>)}
        </div>
      </div>
      <div class="plots">
        <Card title="Messages a second" class="wide">
          <Plot label="Messages a second" data={messages} show={short} seconds={span * 2} least={10} height={210} series={[{ label: 'in', color: '--in', fill: true }, { label: 'out', color: '--out' }, { label: 'dropped', color: '--bad' }]} />
        </Card>
        <Card title="Bytes a second">
          <Plot label="Bytes a second" data={traffic} show={bytes} seconds={span * 2} least={1024} binary series={[{ label: 'in', color: '--in', fill: true }, { label: 'out', color: '--out' }]} />
        </Card>
        <Card title="Connections">
          <Plot label="Connections" data={connections} show={short} seconds={span * 2} least={10} series={[{ label: 'connections', color: '--accent', fill: true }]} />
        </Card>
      </div>
    </section>
  );
}

export function Balance({ now, details }: { now: Live; details?: boolean }) {
  const shards = now.shards ?? [];
  const all = shards.reduce((sum, shard) => sum + shard.connections, 0);
  const most = Math.max(1, ...shards.map((shard) => shard.connections));
  return (
    <Card title="Balance of the shards" hint="Connections of each, and its turns a second." aside={details && <a class="button quiet small" href={link('shards')}>Details</a>}>
      <ul class="bars">
        {shards.map((shard, index) => (
          <li key={shard.shard}>
            <span class="bar-name">Shard {shard.shard}</span>
            <span class="bar" aria-hidden="true"><i style={{ width: `${(shard.connections / most) * 100}%` }} /></span>
            <span class="bar-value">{count(shard.connections)}{all > 0 && <small> {percent(shard.connections, all)}</small>}</span>
            <span class="bar-note">{rate(now.turns[index])} turns/s</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Doors({ now }: { now: Live }) {
  const listeners = now.overview?.listeners ?? [];
  return (
    <Card title="Where clients connect">
      {listeners.length === 0
        ? <Empty title="No listener is open."><p>Add one to the configuration: <a href={link('listeners')}>how</a>.</p></Empty>
        : <ul class="doors">{listeners.map((listener) => <li key={listener.name + listener.address}>{listener.name !== listener.address && <b>{listener.name}</b>}<code>{listener.address}</code></li>)}</ul>}
    </Card>
  );
}

import { useApi, type Shard } from '../api';
import { bytes, count, percent } from '../format';
import { live } from '../live';
import { Anything, Await, Badge, Card, Failure, Facts, Loading, Notice, PageHead } from '../parts/parts';
import { useStore } from '../store';

const PROMISES: Record<string, string> = {
  fsync: 'An acknowledged message survives kill -9 and loss of power.',
  os: 'An acknowledged message survives kill -9. Loss of power may lose the last moments.',
  memory: 'Nothing is written: a stop of the broker forgets sessions and messages.',
};

export function Storage() {
  const now = useStore(live);
  const durability = now.overview?.durability;
  return (
    <>
      <PageHead title="Storage" lead={durability && <>Durability <Badge>{durability}</Badge> {PROMISES[durability]}</>} />
      {!now.shards && (now.error ? <Failure error={now.error} /> : <Loading />)}
      {durability === 'memory' && <Notice level="note" title="This broker keeps no log.">Set <code>durability = "fsync"</code> in the configuration and restart it to keep what is acknowledged.</Notice>}
      {now.shards && durability !== 'memory' && <div class="cards">{now.shards.map((shard) => <ShardLog key={shard.shard} shard={shard} />)}</div>}
      {durability && durability !== 'memory' && <Details />}
    </>
  );
}

function ShardLog({ shard: { shard, log } }: { shard: Shard }) {
  if (!log) return <Card title={`Shard ${shard}`}><p class="muted">It keeps no log.</p></Card>;
  return (
    <Card title={`Shard ${shard}`} aside={log.full ? <Badge kind="bad">full</Badge> : <Badge kind="good">has room</Badge>}>
      <div class="meter" role="img" aria-label={`${percent(log.live_bytes, log.bytes)} of the log is needed`}>
        <i style={{ width: `${log.bytes > 0 ? Math.min(100, (log.live_bytes / log.bytes) * 100) : 0}%` }} />
      </div>
      <p class="hint">{bytes(log.live_bytes)} of {bytes(log.bytes)} are messages that are owed or retained; the rest is freed in time.</p>
      <Facts facts={[['Segments', count(log.segments)], ['Messages', count(log.messages)], ['Needed', percent(log.live_bytes, log.bytes)]]} />
      {log.full && <Notice level="bad" title="QoS 1 and 2 messages are refused.">Make room on the disk, raise <code>storage.log_bytes_max</code>, or end sessions that nobody fetches.</Notice>}
    </Card>
  );
}

function Details() {
  const answer = useApi<unknown>('/log', 5000);
  if (answer.error?.status === 404) return null;
  return <Card title="The log"><Await answer={answer}>{(log) => <Anything value={log} label="Log" />}</Await></Card>;
}

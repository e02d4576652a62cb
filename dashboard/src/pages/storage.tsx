import { useApi, type Shard } from '../api';
import { bytes, count, percent } from '../format';
import { live } from '../live';
import { BackupPanel } from '../parts/backup';
import { Await, Badge, Card, Failure, Facts, Loading, Notice, PageHead } from '../parts/parts';
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
      {durability && durability !== 'memory' && <><BackupPanel /><Details /></>}
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

interface Logs {
  damages?: number;
  shards?: { shard: number; commits_total?: number }[];
}

/** What the shards do not say. */
function Details() {
  const answer = useApi<Logs>('/log', 5000);
  if (answer.error?.status === 404) return null;
  return (
    <Card title="The log as a whole">
      <Await answer={answer}>
        {({ damages = 0, shards = [] }) => (
          <>
            <Facts facts={[
              ['Damaged places left out', count(damages)],
              ...shards.filter((one) => one.commits_total != null).map((one): [string, string] => [`Commits of shard ${one.shard}`, count(one.commits_total)]),
            ]} />
            {damages > 0 && <Notice level="bad" title="A part of the log was damaged."><code>quarantine-*/report.txt</code> in the data directory names what is missing.</Notice>}
          </>
        )}
      </Await>
    </Card>
  );
}

import { useState } from 'preact/hooks';
import { request, setToken, token, useApi, type Ban } from '../api';
import { duration, moment } from '../format';
import { live, may } from '../live';
import { Await, Badge, Button, Card, Choice, Confirm, Dialog, Empty, Facts, Field, Notice, PageHead, Table, say } from '../parts/parts';
import { ReloadPanel } from '../parts/reload';
import { useStore } from '../store';

export function Security() {
  const { overview, recent } = useStore(live);
  return (
    <>
      <PageHead title="Security" lead="Who is kept out, and what you may do here." />
      <Bans />
      <div class="columns">
        <Card title="You">
          <Facts facts={[
            ['Role', overview ? <Badge kind="accent">{overview.admin?.role ?? overview.role}</Badge> : null],
            ['Name', overview?.admin?.who ?? null],
            ['Token', token() ? 'in use until this tab is closed' : 'none is needed from this address'],
            ['Failed logins', `${recent.logins_refused_total ?? 0} in the last minute`],
            ['Refused messages', `${recent.publishes_not_allowed_total ?? 0} in the last minute`],
          ]} />
          {token() && <Button onClick={() => setToken(null)}>Sign out</Button>}
        </Card>
        <Card title="Reload" hint="Certificates, passwords, rules and limits are read again; connections stay.">
          {may('admin') ? <ReloadPanel /> : <p class="muted">This needs a token of an administrator.</p>}
        </Card>
      </div>
    </>
  );
}

const KINDS = { address: 'address', user: 'user', client_id: 'client id' };

function Bans() {
  const answer = useApi<{ bans: Ban[] } | Ban[]>('/bans', 5000);
  const [adding, setAdding] = useState(false);
  const [lifted, setLifted] = useState<Ban | null>(null);
  return (
    <Card title="Bans" hint="Addresses are closed as they come; users and client ids are told." aside={may('operator') && <Button kind="primary" small onClick={() => setAdding(true)}>Ban somebody</Button>}>
      <Await answer={answer}>
        {(data) => {
          const bans = Array.isArray(data) ? data : data.bans;
          return bans.length === 0
            ? <Empty title="Nobody is banned."><p>Addresses that guess passwords are banned by themselves; <code>auth.ban_failures</code> says after how many.</p></Empty>
            : <Table label="Bans" rows={bans} id={(ban) => `${ban.kind} ${ban.name}`} columns={[
                { name: 'Who', head: true, cell: (ban) => <><code>{ban.name}</code> <span class="muted">{KINDS[ban.kind]}</span></> },
                { name: 'Why', cell: (ban) => ban.why },
                { name: 'Until', cell: (ban) => ban.until_ms == null ? 'lifted by hand' : <>{moment(ban.until_ms)} <span class="muted">({duration((ban.until_ms - Date.now()) / 1000)})</span></> },
                ...(may('operator') ? [{ name: 'Actions', actions: true, cell: (ban: Ban) => <Button small kind="quiet" aria-label={`Lift the ban of ${ban.name}`} onClick={() => setLifted(ban)}>Lift</Button> }] : []),
              ]} />;
        }}
      </Await>
      {adding && <Add onClose={() => setAdding(false)} onDone={answer.reload} />}
      {lifted !== null && (
        <Confirm title="Lift this ban?" onClose={() => setLifted(null)} actions={[{ label: 'Lift the ban', kind: 'primary', act: async () => {
          await request('DELETE', `/bans/${encodeURIComponent(lifted.name)}?kind=${lifted.kind}`);
          say(`${lifted.name} may connect again.`);
          answer.reload();
        } }]}>
          <p class="id">{lifted.name}</p>
          <p>Its clients may connect at once.</p>
        </Confirm>
      )}
    </Card>
  );
}

function Add({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [kind, setKind] = useState<Ban['kind']>('address');
  const [name, setName] = useState('');
  const [why, setWhy] = useState('');
  const [seconds, setSeconds] = useState('3600');
  const [error, setError] = useState<string | null>(null);
  const add = async (event: Event) => {
    event.preventDefault();
    try {
      await request('POST', '/bans', { [kind]: kind === 'address' ? name.trim() : name, seconds: Number(seconds), why: why.trim() || 'by hand' });
      say(`${name.trim()} is banned.`);
      onDone();
      onClose();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <Dialog title="Ban somebody" onClose={onClose}>
      <form class="form" onSubmit={add}>
        <Choice label="By" value={kind} onValue={(value) => setKind(value as Ban['kind'])} options={[['address', 'Address or network'], ['user', 'User'], ['client_id', 'Client id']]} />
        <Field label="Name" value={name} onValue={setName} required mono autofocus placeholder={kind === 'address' ? '192.0.2.7 or 10.0.0.0/8' : ''} hint="Whoever is meant is let go and kept out." />
        <Field label="Why" value={why} onValue={setWhy} placeholder="guesses passwords" />
        <Choice label="For" value={seconds} onValue={setSeconds} options={[['600', '10 minutes'], ['3600', '1 hour'], ['86400', '1 day'], ['604800', '1 week']]} />
        {error && <Notice level="bad" title={error} />}
        <div class="dialog-actions"><Button onClick={onClose}>Cancel</Button><Button kind="danger" type="submit">Ban</Button></div>
      </form>
    </Dialog>
  );
}

// The frame around the pages: where one is, where one can go, who one is.
import type { ComponentType } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, setToken, signIn, token, tokenWanted, tokenWhy } from './api';
import { duration } from './format';
import { live } from './live';
import { Client } from './pages/client';
import { Clients } from './pages/clients';
import { Config } from './pages/config';
import { Listeners } from './pages/listeners';
import { Messages } from './pages/messages';
import { Overview } from './pages/overview';
import { Retained } from './pages/retained';
import { Security } from './pages/security';
import { Shards } from './pages/shards';
import { Storage } from './pages/storage';
import { Subscriptions } from './pages/subscriptions';
import { Tool } from './pages/tool';
import { Trace } from './pages/trace';
import { Icon, Logo } from './parts/icons';
import { Button, Dialog, Empty, Field, Notice, PageHead, Segments, Toasts } from './parts/parts';
import { link, route } from './router';
import { useStore } from './store';
import { setTheme, theme, type Theme } from './theme';
import { troubles } from './troubles';

interface Place {
  page: string;
  name: string;
  component: ComponentType;
}

const PLACES: [string, Place[]][] = [
  ['Now', [
    { page: 'overview', name: 'Overview', component: Overview },
    { page: 'clients', name: 'Clients', component: Clients },
    { page: 'subscriptions', name: 'Subscriptions', component: Subscriptions },
    { page: 'retained', name: 'Retained', component: Retained },
  ]],
  ['Try', [
    { page: 'messages', name: 'Watch and publish', component: Messages },
    { page: 'tool', name: 'MQTT client', component: Tool },
    { page: 'trace', name: 'Trace', component: Trace },
  ]],
  ['Broker', [
    { page: 'listeners', name: 'Listeners', component: Listeners },
    { page: 'shards', name: 'Shards', component: Shards },
    { page: 'storage', name: 'Storage', component: Storage },
    { page: 'security', name: 'Security', component: Security },
    { page: 'config', name: 'Configuration', component: Config },
  ]],
];

function NotFound() {
  return (
    <>
      <PageHead title="No such page" />
      <Empty title="There is nothing at this address."><a class="button primary" href={link('overview')}>Go to the overview</a></Empty>
    </>
  );
}

export function App() {
  const { page, argument } = useStore(route);
  const [open, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const place = PLACES.flatMap(([, places]) => places).find((place) => place.page === page);
  const Page = page === 'clients' && argument !== null ? Client : (place?.component ?? NotFound);

  useEffect(() => {
    setOpen(false);
    const name = argument ?? place?.name ?? 'No such page';
    document.title = `${name} – Hawker`;
    if (first.current) {
      first.current = false;
      return;
    }
    window.scrollTo(0, 0);
    // Who cannot see the page change hears its heading.
    main.current?.querySelector('h1')?.focus({ preventScroll: true });
  }, [page, argument]);

  useEffect(() => {
    if (!open) return;
    const close = (event: KeyboardEvent) => event.key === 'Escape' && setOpen(false);
    addEventListener('keydown', close);
    return () => removeEventListener('keydown', close);
  }, [open]);

  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header class="chrome">
        <div class="topbar">
          <Button kind="quiet" aria-label={open ? 'Close the menu' : 'Open the menu'} aria-expanded={open} aria-controls="menu" onClick={() => setOpen(!open)}>
            <Icon name={open ? 'close' : 'menu'} size={22} />
          </Button>
          <Brand />
          <Health />
        </div>
        {open && <div class="shade" onClick={() => setOpen(false)} />}
        <div class={`sidebar ${open ? 'open' : ''}`} id="menu">
          <Brand />
          <nav aria-label="Pages">
            {PLACES.map(([group, places]) => (
              <div key={group} class="nav-group">
                <p class="nav-title" id={`nav-${group}`}>{group}</p>
                <ul aria-labelledby={`nav-${group}`}>
                  {places.map((place) => (
                    <li key={place.page}>
                      <a href={link(place.page)} aria-current={place.page === page ? 'page' : undefined} onClick={() => setOpen(false)}>
                        <Icon name={place.page} />{place.name}
                      </a>
                    </li>
                  ))}
                </ul>
              </div>
            ))}
          </nav>
          <Foot />
        </div>
      </header>
      <main ref={main} id="main" tabIndex={-1}><Page key={`${page}/${argument ?? ''}`} /></main>
      <TokenDialog />
      <Toasts />
    </div>
  );
}

function Brand() {
  const { overview } = useStore(live);
  return (
    <a class="brand" href={link('overview')}>
      <Logo />
      <span><b>Hawker</b><small>{overview?.node ?? 'MQTT broker'}</small></span>
    </a>
  );
}

/** On narrow screens: whether all is well, wherever one is. */
function Health() {
  const found = troubles(useStore(live));
  const worst = found[0]?.level;
  const text = worst === 'bad' || worst === 'warn' ? `${found.length} to look at` : 'all well';
  return <a class={`health ${worst ?? 'good'}`} href={link('overview')}><span class="dot" aria-hidden="true" />{text}</a>;
}

function Foot() {
  const { overview, error } = useStore(live);
  const chosen = useStore(theme);
  const themes: [Theme, string, string][] = [['system', 'system', 'Theme of the system'], ['light', 'sun', 'Light theme'], ['dark', 'moon', 'Dark theme']];
  return (
    <div class="foot">
      <p class="foot-state">
        <span class={`dot ${error ? 'bad' : 'good'}`} aria-hidden="true" />
        {error ? (error.status === 401 ? 'not signed in' : 'no answer') : overview ? `up ${duration(overview.uptime_s)}` : 'connecting'}
        {overview && <span class="muted">· {overview.version.split(' ')[0]}</span>}
      </p>
      <div class="foot-row">
        <Segments
          label="Theme" value={chosen} onValue={(value) => setTheme(value as Theme)}
          options={themes.map(([key, icon, label]) => [key, <><Icon name={icon} size={16} /><span class="visually-hidden">{label}</span></>])}
        />
        {token() && <Button kind="quiet" small onClick={() => setToken(null)}>Sign out</Button>}
      </div>
    </div>
  );
}

function TokenDialog() {
  const wanted = useStore(tokenWanted);
  const why = useStore(tokenWhy);
  const [value, setValue] = useState('');
  const [closed, setClosed] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const enter = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      await signIn(value.trim());
    } catch (failure) {
      // A wrong one is said below.
      if (!(failure instanceof ApiError && failure.status === 401)) setError(failure instanceof Error ? failure.message : String(failure));
    }
    setValue('');
  };
  useEffect(() => setClosed(false), [wanted]);
  if (wanted === 'no') return null;
  if (closed) return <div class="signin"><Button kind="primary" onClick={() => setClosed(false)}>Sign in</Button></div>;
  return (
    <Dialog title="This broker asks for a token" onClose={() => setClosed(true)}>
      <form class="form" onSubmit={enter}>
        <p class="dialog-text">Whoever runs the broker has made one for you. The browser forgets it with this tab.</p>
        {wanted === 'wrong'
          ? <Notice level="bad" title="The broker did not accept that token.">{why}</Notice>
          : <p class="hint">The broker says: {why}</p>}
        {error && <Notice level="bad" title={error} />}
        <Field label="Token" type="password" value={value} onValue={setValue} required mono autofocus autocomplete="off" />
        <div class="dialog-actions"><Button kind="primary" type="submit">Sign in</Button></div>
      </form>
    </Dialog>
  );
}

// What every page is put together from.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { ApiError, Paged } from '../api';
import { count, words } from '../format';
import { store, useStore } from '../store';
import { Icon } from './icons';

export function PageHead({ title, children, lead }: { title: ComponentChildren; lead?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="page-head">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        {lead && <p class="lead">{lead}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export function Card({ title, hint, aside, children, class: extra = '' }: { title?: ComponentChildren; hint?: ComponentChildren; aside?: ComponentChildren; children: ComponentChildren; class?: string }) {
  const id = useId();
  return (
    <section class={`card ${extra}`} aria-labelledby={title ? id : undefined}>
      {title && (
        <div class="card-head">
          <div>
            <h2 id={id}>{title}</h2>
            {hint && <p class="hint">{hint}</p>}
          </div>
          {aside}
        </div>
      )}
      {children}
    </section>
  );
}

export function Badge({ kind = 'plain', children }: { kind?: 'plain' | 'good' | 'warn' | 'bad' | 'accent'; children: ComponentChildren }) {
  return <span class={`badge ${kind}`}>{children}</span>;
}

export function State({ connected }: { connected: boolean }) {
  return <Badge kind={connected ? 'good' : 'plain'}><span class="dot" aria-hidden="true" />{connected ? 'connected' : 'away'}</Badge>;
}

type ButtonProps = Omit<JSX.IntrinsicElements['button'], 'size'> & { kind?: 'primary' | 'danger' | 'plain' | 'quiet'; small?: boolean };

export function Button({ kind = 'plain', small, class: extra, ...rest }: ButtonProps) {
  return <button type="button" {...rest} class={`button ${kind} ${small ? 'small' : ''} ${extra ?? ''}`} />;
}

/** What there is none of, and what makes some. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

export function Loading() {
  return <div class="loading" role="status"><span class="visually-hidden">Loading</span><i /><i /><i /></div>;
}

export function Notice({ level, title, children }: { level: 'bad' | 'warn' | 'note' | 'good'; title: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class={`notice ${level}`} role={level === 'bad' ? 'alert' : undefined}>
      <Icon name={level === 'warn' ? 'bad' : level} />
      <div><strong>{title}</strong>{children && <div class="notice-text">{children}</div>}</div>
    </div>
  );
}

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  if (error.status === 401) return <Notice level="note" title="The broker asks for a token." />;
  const low = error.code === 'role_too_low';
  const title = low ? 'Your role does not allow this.' : error.message;
  return (
    <Notice level="bad" title={title}>
      {low && <p>The broker says: {error.message}.</p>}
      {retry && <Button small onClick={retry}>Try again</Button>}
    </Notice>
  );
}

/** What was asked for, or why it is not there yet. */
export function Await<T>({ answer, children }: { answer: { data: T | null; error: ApiError | null; loading: boolean; reload: () => void }; children: (data: T) => ComponentChildren }) {
  return (
    <>
      {answer.error && <Failure error={answer.error} retry={answer.reload} />}
      {answer.data !== null ? children(answer.data) : !answer.error && <Loading />}
    </>
  );
}

export interface Column<T> {
  name: string;
  cell: (row: T) => ComponentChildren;
  numeric?: boolean;
  /** The first column of a row names it. */
  head?: boolean;
  /** A column of buttons, whose heading nobody needs to see. */
  actions?: boolean;
}

/** A table that is a list of cards where it is narrow; the roles keep it a table for readers. */
export function Table<T>({ label, columns, rows, id }: { label: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string | number }) {
  return (
    <div class="table-frame">
      <table role="table" aria-label={label}>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th key={column.name} role="columnheader" scope="col" class={column.numeric ? 'numeric' : ''}>
                <span class={column.actions ? 'visually-hidden' : ''}>{column.name}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr role="row" key={id(row)}>
              {columns.map((column) => column.head
                ? <th key={column.name} role="rowheader" scope="row">{column.cell(row)}</th>
                : <td key={column.name} role="cell" data-label={column.actions ? undefined : column.name} class={`${column.numeric ? 'numeric' : ''} ${column.actions ? 'row-actions' : ''}`}>{column.cell(row)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Pager({ pages, shown, what }: { pages: Paged<{ next_cursor: string | null; total?: number }>; shown: number; what: string }) {
  const total = pages.data?.total;
  return (
    <div class="pager">
      <span role="status">{count(shown)} {total != null ? `of ${count(total)} ` : ''}{what}{pages.page > 1 || pages.next ? `, page ${pages.page}` : ''}</span>
      {(pages.back || pages.next) && (
        <span class="pager-buttons">
          <Button small disabled={!pages.back} onClick={() => pages.back?.()}>Back</Button>
          <Button small disabled={!pages.next} onClick={() => pages.next?.()}>Next</Button>
        </span>
      )}
    </div>
  );
}

export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return <dl class="facts">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value ?? '–'}</dd></div>)}</dl>;
}

interface FieldProps {
  label: string;
  value: string;
  onValue: (value: string) => void;
  hint?: string;
  type?: string;
  placeholder?: string;
  required?: boolean;
  mono?: boolean;
  rows?: number;
  wide?: boolean;
  disabled?: boolean;
  autocomplete?: string;
  /** Where a dialog begins. */
  autofocus?: boolean;
}

export function Field({ label, value, onValue, hint, type = 'text', mono, rows, wide, ...rest }: FieldProps) {
  const id = useId();
  const shared = {
    id, value, spellcheck: false, class: mono ? 'mono' : '', 'aria-describedby': hint ? `${id}-hint` : undefined,
    onInput: (event: { currentTarget: { value: string } }) => onValue(event.currentTarget.value),
  };
  return (
    <div class={`field ${wide ? 'wide' : ''}`}>
      <label for={id}>{label}</label>
      {rows ? <textarea {...shared} rows={rows} {...(rest as object)} /> : <input {...({ ...shared, type, ...rest } as JSX.IntrinsicElements['input'])} />}
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
    </div>
  );
}

export function Choice({ label, value, options, onValue, disabled }: { label: string; value: string; options: [string, string][]; onValue: (value: string) => void; disabled?: boolean }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} disabled={disabled} onChange={(event) => onValue(event.currentTarget.value)}>
        {options.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
      </select>
    </div>
  );
}

export function Check({ label, checked, onValue, disabled }: { label: string; checked: boolean; onValue: (value: boolean) => void; disabled?: boolean }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} disabled={disabled} onChange={(event) => onValue(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

/** A few that exclude each other, all in sight. */
export function Segments({ label, value, options, onValue }: { label: string; value: string; options: [string, ComponentChildren][]; onValue: (value: string) => void }) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {options.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={value === key} onClick={() => onValue(key)}>{text}</button>
      ))}
    </div>
  );
}

export function Search({ label, value, onValue, placeholder }: { label: string; value: string; onValue: (value: string) => void; placeholder?: string }) {
  return (
    <div class="search" role="search" aria-label={label}>
      <Icon name="search" />
      <input type="search" aria-label={label} placeholder={placeholder ?? label} value={value} spellcheck={false} onInput={(event) => onValue(event.currentTarget.value)} />
    </div>
  );
}

/** A value once it has stayed the same for a moment: what is typed is not asked letter by letter. */
export function useSettled<T>(value: T, ms = 250): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement;
    element.current?.showModal();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog ref={element} aria-labelledby={id} onCancel={(event) => { event.preventDefault(); onClose(); }} onClick={(event) => event.target === element.current && onClose()}>
      <div class="dialog-body">
        <div class="dialog-head">
          <h2 id={id}>{title}</h2>
          <Button kind="quiet" small aria-label="Close" onClick={onClose}><Icon name="close" /></Button>
        </div>
        {children}
      </div>
    </dialog>
  );
}

/** Asks before something that cannot be taken back. */
export function Confirm({ title, children, actions, onClose }: { title: string; children: ComponentChildren; actions: { label: string; kind?: 'danger' | 'primary'; act: () => Promise<unknown> }[]; onClose: () => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const run = async (act: () => Promise<unknown>) => {
    setBusy(true);
    setError(null);
    try {
      await act();
      onClose();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <div class="dialog-text">{children}</div>
      {error && <Notice level="bad" title={error} />}
      <div class="dialog-actions">
        <Button onClick={onClose}>Cancel</Button>
        {actions.map(({ label, kind, act }) => <Button key={label} kind={kind ?? 'danger'} disabled={busy} onClick={() => run(act)}>{label}</Button>)}
      </div>
    </Dialog>
  );
}

const toasts = store<{ key: number; text: string; bad: boolean }[]>([]);
let toastKey = 0;

/** Says what has been done, for a moment. */
export function say(text: string, bad = false): void {
  const key = ++toastKey;
  toasts.set([...toasts.get(), { key, text, bad }]);
  setTimeout(() => toasts.set(toasts.get().filter((toast) => toast.key !== key)), bad ? 8000 : 4000);
}

export function Toasts() {
  const shown = useStore(toasts);
  return <div class="toasts" role="status" aria-live="polite">{shown.map((toast) => <div key={toast.key} class={`toast ${toast.bad ? 'bad' : ''}`}>{toast.text}</div>)}</div>;
}

/** Whatever the API answers where its shape is not known: facts, tables and texts. */
export function Anything({ value, label = 'Answer' }: { value: unknown; label?: string }) {
  if (value === null || value === undefined) return <span class="muted">–</span>;
  if (typeof value === 'boolean') return <>{value ? 'yes' : 'no'}</>;
  if (typeof value === 'number') return <>{count(value)}</>;
  if (typeof value !== 'object') return <>{String(value)}</>;
  if (Array.isArray(value)) {
    if (value.length === 0) return <span class="muted">none</span>;
    const rows = value.filter((row): row is Record<string, unknown> => typeof row === 'object' && row !== null && !Array.isArray(row));
    if (rows.length < value.length) return <ul class="plain-list">{value.map((item, index) => <li key={index}><Anything value={item} /></li>)}</ul>;
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const columns = names.map((name) => ({ name: words(name), numeric: rows.every((row) => typeof row[name] === 'number'), cell: (row: { of: Record<string, unknown> }) => <Anything value={row.of[name]} label={words(name)} /> }));
    return <Table label={label} columns={columns} rows={rows.map((of, index) => ({ of, index }))} id={(row) => row.index} />;
  }
  const entries = Object.entries(value as object);
  return entries.length === 0 ? <span class="muted">none</span> : <Facts facts={entries.map(([name, inner]) => [words(name), <Anything value={inner} label={words(name)} />])} />;
}

export function Code({ children }: { children: string }) {
  return <pre class="code" tabIndex={0}>{children}</pre>;
}

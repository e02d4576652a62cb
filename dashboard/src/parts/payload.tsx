// A message's content as text, JSON or hexadecimal.
import { useState } from 'preact/hooks';
import { bytes as size } from '../format';
import { Segments } from './parts';

/** More than this is cut for show. */
const SHOWN_BYTES_MAX = 64 * 1024;

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export function toBase64(content: Uint8Array): string {
  let text = '';
  for (const byte of content) text += String.fromCharCode(byte);
  return btoa(text);
}

/** `01 ff`, with or without spaces. */
export function fromHex(text: string): Uint8Array | null {
  const digits = text.replace(/[\s:]|0x/g, '');
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Of the API, which has one or the other. */
export function contentOf(message: { payload?: string | null; payload_base64?: string | null }): Uint8Array {
  if (message.payload_base64 != null) return fromBase64(message.payload_base64);
  return new TextEncoder().encode(message.payload ?? '');
}

/** Nothing if it is no UTF-8. */
export function asText(content: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    return null;
  }
}

function asJson(text: string | null): string | null {
  if (text === null || !/^\s*[[{"]/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

function asHex(content: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < content.length; at += 16) {
    const row = [...content.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const letters = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex.padEnd(47)}  ${letters}`);
  }
  return lines.join('\n');
}

/** One line for a list. */
export function preview(content: Uint8Array, length = 120): string {
  const text = asText(content.subarray(0, length * 4));
  if (text === null) return [...content.subarray(0, 24)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

export function Payload({ content }: { content: Uint8Array }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const shown = content.length > SHOWN_BYTES_MAX ? content.subarray(0, SHOWN_BYTES_MAX) : content;
  const text = asText(content);
  const json = asJson(text);
  const view = chosen ?? (json !== null ? 'json' : text !== null ? 'text' : 'hex');
  const body = view === 'json' ? (json ?? 'This is no JSON.')
    : view === 'text' ? (text ?? 'This is no text: it is not UTF-8.').slice(0, SHOWN_BYTES_MAX)
    : asHex(shown);
  return (
    <div class="payload">
      <div class="payload-head">
        <Segments label="Show the payload as" value={view} onValue={setChosen} options={[['text', 'Text'], ['json', 'JSON'], ['hex', 'Hex']]} />
        <span class="muted">{size(content.length)}{content.length > SHOWN_BYTES_MAX ? `, the first ${size(SHOWN_BYTES_MAX)} shown` : ''}</span>
      </div>
      {content.length === 0 ? <p class="muted">The payload is empty.</p> : <pre class="code" tabIndex={0} aria-label="Payload">{body}</pre>}
    </div>
  );
}

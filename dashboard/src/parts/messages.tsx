// A list of messages as they come, newest first, each opened for its payload.
import { useEffect, useState } from 'preact/hooks';
import { bytes, clock, plural } from '../format';
import { Badge, Button, Empty } from './parts';
import { Payload, preview } from './payload';

export interface Shown {
  key: number;
  ms: number;
  topic: string;
  content: Uint8Array;
  qos: number;
  retain: boolean;
  /** Of the client tool: what it published itself. */
  sent?: boolean;
  color?: string;
}

/** So many are kept; older ones go. */
export const MESSAGES_MAX = 500;

/** Drawn at once are those that come within this. */
export const DRAWN_EVERY_MS = 100;

export function Messages({ messages: coming, empty }: { messages: Shown[]; empty: string }) {
  const [open, setOpen] = useState<number | null>(null);
  // Where many come, nobody can read one that does not stay.
  const [held, setHeld] = useState<Shown[] | null>(null);
  const cleared = coming.length === 0;
  useEffect(() => {
    if (cleared) setHeld(null);
  }, [cleared]);
  const messages = held && !cleared ? held : coming;
  const newer = held ? coming.findIndex((message) => message.key === held[0]?.key) : 0;
  if (messages.length === 0) return <Empty title={empty} />;
  return (
    <>
      <div class="messages-head">
        <span class="muted">{held ? `Paused, ${newer < 0 ? `${MESSAGES_MAX} or more` : newer} newer` : `${plural(coming.length, 'message')}, newest first`}</span>
        <Button small kind="quiet" onClick={() => setHeld(held ? null : coming)}>{held ? 'Go on' : 'Pause'}</Button>
      </div>
      <ol class="messages">
        {messages.slice(0, 200).map((message) => (
          <li key={message.key} class={message.sent ? 'sent' : ''} style={message.color ? { borderLeftColor: message.color } : undefined}>
            <button type="button" class="message" aria-expanded={open === message.key} onClick={() => setOpen(open === message.key ? null : message.key)}>
              <span class="message-head">
                <span class="message-topic"><span class="visually-hidden">{message.sent ? 'Sent to ' : 'Came on '}</span><span aria-hidden="true" class="direction">{message.sent ? '↑' : '↓'}</span> {message.topic}</span>
                <span class="badges"><Badge>QoS {message.qos}</Badge>{message.retain && <Badge kind="accent">retain</Badge>}</span>
                <time class="muted">{clock(message.ms)}</time>
              </span>
              <span class="message-preview">{message.content.length === 0 ? <i>empty</i> : preview(message.content)}<small> {bytes(message.content.length)}</small></span>
            </button>
            {open === message.key && <Payload content={message.content} />}
          </li>
        ))}
      </ol>
    </>
  );
}

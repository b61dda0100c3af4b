import { type RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { KERNEL_STOPPED, sentences } from "../format";
import { composerKey } from "../keys";
import type { ConnectionView } from "../protocol.gen";
import { useConversation } from "./context";
import { Icon } from "./icons";

const MAX_LINES = 8;

function fit(element: HTMLTextAreaElement): void {
  element.style.height = "";
  const full = element.scrollHeight;
  // Hosts render into an element first and attach it later: until then everything measures 0.
  if (full === 0) return;
  const most = Math.ceil((Number.parseFloat(getComputedStyle(element).lineHeight) || 20) * MAX_LINES);
  element.style.height = `${Math.min(full, most)}px`;
  element.style.overflowY = full > most ? "auto" : "hidden";
}

/** As tall as the text, up to eight lines. Measured, because not every engine knows `field-sizing`. */
function useAutosize(field: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    if (field.current) fit(field.current);
  }, [field, text]);
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return undefined;
    let width = 0;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth === width) return;
      width = element.clientWidth;
      requestAnimationFrame(() => fit(element));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [field]);
}

const waiting = (queued: number) => (queued === 1 ? "1 message waits" : `${queued} messages wait`);

function Waiting() {
  const { store, gone } = useConversation();
  const queued = store.queued.value;
  const { state, notice, offer } = store.connection.value;
  if (gone.value) {
    return (
      <p class="strip bad" role="alert">
        <Icon name="off" />
        {KERNEL_STOPPED} Your text is kept.
      </p>
    );
  }
  if (offer) return <Offer connection={store.connection.value} waits={queued} />;
  if (state === "disconnected") {
    const { reason, hint } = store.connection.value;
    const waits = queued > 0 ? `${waiting(queued)} until then` : null;
    return (
      <p class="strip bad">
        <Icon name="off" />
        {sentences(reason ?? "There is no connection to the server", hint ?? "Press Retry to try again", waits)}
      </p>
    );
  }
  if (state === "connected" || state === "fallback") {
    return notice ? (
      <p class="strip plain">
        <Icon name="here" />
        {notice}
      </p>
    ) : null;
  }
  if (queued === 0) return null;
  return (
    <p class="strip">
      <Icon name="clock" />
      {waiting(queued)} for the connection and will go out in order.
    </p>
  );
}

/** What the kernel cannot decide alone: which server the conversation goes on with. */
function Offer({ connection, waits }: { connection: ConnectionView; waits: number }) {
  const conversation = useConversation();
  const { offer, state, reason } = connection;
  const away = offer?.kind === "failover";
  const words = away
    ? sentences(state === "disconnected" ? reason : null, waits > 0 ? waiting(waits) : null, offer?.text)
    : offer?.text;
  return (
    <div class={away ? "strip bad" : "strip good"} role="group" aria-label={offer?.text}>
      <Icon name={away ? "off" : "check"} />
      <span>{words}</span>
      <button
        type="button"
        class="small primary"
        onClick={() => (away ? conversation.failover() : conversation.failback())}
      >
        {away ? "Go on here" : "Return"}
      </button>
    </div>
  );
}

function StopButton({ stop }: { stop: () => void }) {
  const { store, stopping } = useConversation();
  if (!store.streaming.value && !store.awaited.value) return null;
  const asked = stopping.value !== null;
  return (
    <button
      type="button"
      class="round stop"
      title={asked ? "Stopping…" : "Stop"}
      aria-label={asked ? "Stopping" : "Stop"}
      aria-disabled={asked}
      onClick={() => !asked && stop()}
    >
      <span class="square" aria-hidden="true" />
    </button>
  );
}

export function Composer({ field }: { field: RefObject<HTMLTextAreaElement | null> }) {
  const conversation = useConversation();
  const { draft, notice } = conversation;
  const text = draft.value;
  const empty = text.trim() === "";
  useAutosize(field, text);

  const send = () => {
    conversation.submit(text);
    field.current?.focus();
  };
  const stop = () => {
    conversation.stop();
    field.current?.focus();
  };
  const onBoxDown = (event: MouseEvent) => {
    if ((event.target as Element).closest("textarea, button")) return;
    event.preventDefault();
    field.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const action = composerKey(event, text === "");
    if (!action) return;
    event.preventDefault();
    if (action === "send") send();
    else conversation.write(conversation.lastSent());
  };

  return (
    <footer>
      <Waiting />
      {notice.value && (
        <p class="strip bad" role="alert">
          <Icon name="alert" />
          {notice.value}
        </p>
      )}
      <div class="composer" onMouseDown={onBoxDown}>
        <textarea
          ref={field}
          rows={1}
          value={text}
          placeholder="Describe a story, or ask…"
          aria-label="Message"
          aria-describedby="edchat-keys"
          autocomplete="off"
          onInput={(event) => conversation.write(event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        <StopButton stop={stop} />
        <button type="button" class="round primary" title="Send" aria-label="Send" aria-disabled={empty} onClick={send}>
          <Icon name="send" />
        </button>
      </div>
      <p class="keys" id="edchat-keys">
        <kbd>Enter</kbd> to send · <kbd>Shift</kbd>+<kbd>Enter</kbd> for a new line
      </p>
    </footer>
  );
}

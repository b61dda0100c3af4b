import { type RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { composerKey } from "../keys";
import { useConversation } from "./context";
import { Icon } from "./icons";

const MAX_LINES = 8;

/** As tall as the text, up to eight lines. Measured, because not every engine knows `field-sizing`. */
function useAutosize(field: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = "auto";
    const line = Number.parseFloat(getComputedStyle(element).lineHeight) || 20;
    const most = Math.ceil(line * MAX_LINES);
    element.style.height = `${Math.min(element.scrollHeight, most)}px`;
    element.style.overflowY = element.scrollHeight > most ? "auto" : "hidden";
  }, [field, text]);
}

const waiting = (queued: number) => (queued === 1 ? "1 message waits" : `${queued} messages wait`);

const sentence = (words: string) => (/[.!?]$/.test(words) ? words : `${words}.`);

function Waiting() {
  const { store, gone } = useConversation();
  const queued = store.queued.value;
  const { state } = store.connection.value;
  if (gone.value) {
    return (
      <p class="strip bad" role="alert">
        <Icon name="off" />
        The kernel is gone. Your text stays here; run the cell again to go on.
      </p>
    );
  }
  if (state === "disconnected") {
    const { reason, hint } = store.connection.value;
    const waits = queued > 0 ? `${waiting(queued)} until then.` : "";
    return (
      <p class="strip bad">
        <Icon name="off" />
        {[sentence(reason ?? "There is no connection to the server"), sentence(hint ?? "Press Retry to try again"), waits].join(" ")}
      </p>
    );
  }
  if (queued === 0 || state === "connected" || state === "fallback") return null;
  return (
    <p class="strip">
      <Icon name="clock" />
      {waiting(queued)} for the connection and will go out in order.
    </p>
  );
}

function StopButton() {
  const { store, stopping } = useConversation();
  const conversation = useConversation();
  if (!store.streaming.value && !store.awaited.value) return null;
  const asked = stopping.value !== null;
  return (
    <button
      type="button"
      class="round stop"
      title={asked ? "Stopping…" : "Stop"}
      aria-label={asked ? "Stopping" : "Stop"}
      aria-disabled={asked}
      onClick={() => !asked && conversation.stop()}
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
      <div class="composer">
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
        <StopButton />
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

import { useEffect, useRef } from "preact/hooks";
import type { Conversation } from "../conversation";
import { isLetter } from "../keys";
import { Composer } from "./composer";
import { ConversationProvider } from "./context";
import { useKeptFocus } from "./hooks";
import { Header } from "./header";
import { Thread } from "./thread";

function Spoken({ conversation }: { conversation: Conversation }) {
  return (
    <div class="sr-only" role="status" aria-live="polite">
      {conversation.spoken.value}
    </div>
  );
}

export function Panel({ conversation }: { conversation: Conversation }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const write = (text: string) => {
    conversation.write(text);
    requestAnimationFrame(() => {
      field.current?.focus();
      field.current?.setSelectionRange(text.length, text.length);
    });
  };
  const panel = useRef<HTMLElement>(null);
  useEffect(() => conversation.seen(), [conversation]);
  useKeptFocus(panel, field);
  // Who clicks beside the field and types means the field.
  const onKeyDown = (event: KeyboardEvent) => {
    if (isLetter(event) && !(event.target as Element).closest("a, button, summary, textarea")) field.current?.focus();
  };
  return (
    <ConversationProvider value={conversation}>
      {/* It takes the focus of a click on no control: otherwise the notebook has it, and letters act on cells. */}
      <section class="panel" aria-label="Story chat" ref={panel} tabIndex={-1} onKeyDown={onKeyDown}>
        <Header field={field} />
        <Thread write={write} />
        <Composer field={field} />
        <Spoken conversation={conversation} />
      </section>
    </ConversationProvider>
  );
}

import { useEffect, useRef } from "preact/hooks";
import type { Conversation } from "../conversation";
import { Composer } from "./composer";
import { ConversationProvider } from "./context";
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
  useEffect(() => conversation.seen(), [conversation]);
  return (
    <ConversationProvider value={conversation}>
      <section class="panel" aria-label="Story chat">
        <Header />
        <Thread write={write} />
        <Composer field={field} />
        <Spoken conversation={conversation} />
      </section>
    </ConversationProvider>
  );
}

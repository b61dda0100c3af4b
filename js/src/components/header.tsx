import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Badge } from "./badge";
import { useConversation } from "./context";
import { Icon } from "./icons";

function ConfirmClear({ done }: { done: (cleared: boolean) => void }) {
  const conversation = useConversation();
  const first = useRef<HTMLButtonElement>(null);
  useEffect(() => first.current?.focus(), []);
  const again = `Chat(session=${JSON.stringify(conversation.store.session.value)}) opens it again`;
  return (
    <div
      class="confirm"
      role="alertdialog"
      aria-label="Start a new chat?"
      onKeyDown={(event) => event.key === "Escape" && done(false)}
    >
      <span class="question" title={again}>
        Start a new chat? This conversation stays on the server.
      </span>
      <button type="button" class="small" onClick={() => done(false)}>
        Cancel
      </button>
      <button
        ref={first}
        type="button"
        class="small primary"
        title={again}
        onClick={() => {
          conversation.clear();
          done(true);
        }}
      >
        New chat
      </button>
    </div>
  );
}

export function Header({ field }: { field: RefObject<HTMLTextAreaElement | null> }) {
  const { store } = useConversation();
  const [asking, setAsking] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const agent = store.agent.value;
  if (asking) {
    return (
      <header>
        <ConfirmClear
          done={(cleared) => {
            setAsking(false);
            requestAnimationFrame(() => (cleared ? field : button).current?.focus());
          }}
        />
      </header>
    );
  }
  return (
    <header>
      <span class="mark">
        <Icon name="spark" />
      </span>
      <h2>Story chat</h2>
      {agent && (
        <span class={agent.offline ? "agent-name offline" : "agent-name"} title={agent.offline ? `${agent.name}: works by rules, without a language model` : agent.name}>
          {agent.offline ? "Offline" : agent.name}
          {agent.offline && <span class="wide"> planner</span>}
        </span>
      )}
      <span class="gap" />
      <Badge />
      <button
        ref={button}
        type="button"
        class="ghost"
        title="New chat"
        aria-label="New chat"
        onClick={() => setAsking(true)}
      >
        <Icon name="plus" />
      </button>
    </header>
  );
}

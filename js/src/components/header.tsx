import { useEffect, useRef, useState } from "preact/hooks";
import { Badge } from "./badge";
import { useConversation } from "./context";
import { Icon } from "./icons";

function ConfirmClear({ done }: { done: () => void }) {
  const conversation = useConversation();
  const first = useRef<HTMLButtonElement>(null);
  useEffect(() => first.current?.focus(), []);
  return (
    <div
      class="confirm"
      role="alertdialog"
      aria-label="Start a new chat?"
      onKeyDown={(event) => event.key === "Escape" && done()}
    >
      <span class="question">Start a new chat? This one leaves the panel.</span>
      <button type="button" class="small" onClick={done}>
        Cancel
      </button>
      <button
        ref={first}
        type="button"
        class="small primary"
        onClick={() => {
          conversation.clear();
          done();
        }}
      >
        New chat
      </button>
    </div>
  );
}

export function Header() {
  const { store } = useConversation();
  const [asking, setAsking] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const agent = store.agent.value;
  if (asking) {
    return (
      <header>
        <ConfirmClear
          done={() => {
            setAsking(false);
            requestAnimationFrame(() => button.current?.focus());
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
        <span class="agent-name" title={agent.offline ? `${agent.name}: works by rules, without a language model` : agent.name}>
          {agent.offline ? "Offline planner" : agent.name}
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

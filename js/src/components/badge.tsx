import { useEffect, useState } from "preact/hooks";
import { badgeLook } from "../format";
import type { ConnectionView } from "../protocol.gen";
import { useConversation } from "./context";
import { useNow } from "./hooks";
import { Icon, Spinner } from "./icons";

/** The wait before the next attempt, counted down from the moment the patch came. */
function useCountdown(connection: ConnectionView): ConnectionView {
  const waiting = connection.state === "reconnecting" && connection.retry_in_ms != null;
  const now = useNow(waiting, 1000);
  const [since, setSince] = useState(now);
  useEffect(() => setSince(Date.now()), [connection]);
  if (!waiting) return connection;
  return { ...connection, retry_in_ms: Math.max(0, (connection.retry_in_ms ?? 0) - Math.max(0, now - since)) };
}

export function Badge() {
  const conversation = useConversation();
  const connection = useCountdown(conversation.store.connection.value);
  const gone = conversation.gone.value;
  const { tone, text, detail, wait } = badgeLook(connection, gone);
  const retry = connection.state === "disconnected" && !gone;
  return (
    <div class="connection">
      <span class={`badge ${tone}`} title={detail || undefined} data-state={gone ? "gone" : connection.state}>
        {tone === "busy" ? <Spinner /> : <Icon name={tone === "good" ? "check" : "off"} />}
        <span>{text}</span>
        {wait !== undefined && (
          <span class="next">
            <span class="wide">next try in </span>
            {wait} s
          </span>
        )}
      </span>
      {detail && <span class="sr-only">{detail}</span>}
      {retry && (
        <button type="button" class="small" onClick={() => conversation.reconnect()}>
          Retry
        </button>
      )}
    </div>
  );
}

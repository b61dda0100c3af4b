// What a screen reader hears: beginnings and ends, never tokens.
import type { AnyOp } from "./protocol.gen";
import type { Store } from "./store";

const CONNECTION: Readonly<Record<string, string>> = {
  connected: "Connected",
  fallback: "Connected over HTTP",
  reconnecting: "Connection lost, reconnecting",
  disconnected: "Disconnected",
};

/** The words for `op`, or null. Ask before `op` is applied. */
export function announcement(op: AnyOp, store: Store): string | null {
  switch (op.op) {
    case "connection": {
      const { state, notice, offer } = op.connection;
      const before = store.connection.peek();
      const words = [
        state === before.state ? null : CONNECTION[state],
        notice === before.notice ? null : notice,
        offer?.text === before.offer?.text ? null : offer?.text,
      ];
      return words.filter((some) => some).join(". ") || null;
    }
    case "put": {
      const { id, role, state } = op.message;
      const before = store.cell(id)?.head.peek().state;
      if (role === "note") return null;
      if (role === "user") return state === "queued" && before !== state ? "Message queued" : null;
      return state === before ? null : ofAnswer(state);
    }
    case "state": {
      const head = store.cell(op.id)?.head.peek();
      if (!head || head.state === op.state) return null;
      if (head.role === "assistant") return ofAnswer(op.state);
      if (op.state === "queued") return "Message queued";
      if (op.state === "in_doubt") return `It is not known whether a message arrived. ${op.detail ?? ""}`.trim();
      // With a run the server has taken it: what failed is the answer, which says so itself.
      return op.state === "failed" && !op.run && !head.run ? `Message not sent. ${op.detail ?? ""}`.trim() : null;
    }
    case "part":
      return op.part.kind === "error" && !store.cell(op.id)?.find(op.part.id)
        ? `Error: ${op.part.message}`
        : null;
    default:
      return null;
  }
}

function ofAnswer(state: string): string | null {
  if (state === "streaming") return "Answer started";
  if (state === "complete") return "Answer complete";
  if (state === "incomplete") return "Answer stopped before its end";
  return null;
}

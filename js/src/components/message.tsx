import { ErrorCard } from "../cards/error";
import { ArtifactCard } from "../cards/artifact";
import { ToolCard } from "../cards/tool";
import { UnknownCard } from "../cards/unknown";
import type { Pending } from "../conversation";
import { clock, exactTime } from "../format";
import { hasFailed, type MessageCell, type MessageHead, type PartCell } from "../store";
import { Boundary } from "./boundary";
import { useConversation } from "./context";
import { Icon, type IconName, Spinner } from "./icons";
import { useState } from "preact/hooks";
import { Markdown } from "./text";

export function MessageView({ cell }: { cell: MessageCell }) {
  const { role } = cell.head.value;
  if (role === "note") return <Note cell={cell} />;
  return role === "user" ? <UserMessage cell={cell} /> : <Answer cell={cell} />;
}

// -------------------------------------------------------------------------------------- the reader's own

interface Delivery {
  readonly icon: IconName | null;
  readonly text: string;
  readonly retry?: string;
}

function delivery({ state, detail }: MessageHead, online: boolean): Delivery | null {
  switch (state) {
    case "queued":
      return { icon: "clock", text: online ? "Sending…" : "Queued until the connection is back" };
    case "sent":
      return { icon: "clock", text: online ? "Sending…" : "Sent, not yet confirmed: it is offered again, and answered once" };
    case "accepted":
      return { icon: "check", text: "Sent" };
    case "failed":
      return { icon: "alert", text: detail ? `Not sent: ${detail}` : "Not sent", retry: "Retry" };
    default:
      return null;
  }
}

function Bubble({ text, time }: { text: string; time?: string | null | undefined }) {
  return (
    <div class="bubble" title={exactTime(time)}>
      {text}
    </div>
  );
}

function textOf(parts: readonly PartCell[]): string {
  return parts
    .map((one) => one.part.value)
    .flatMap((part) => (part.kind === "text" ? [part.text] : []))
    .join("\n\n");
}

function UserMessage({ cell }: { cell: MessageCell }) {
  const conversation = useConversation();
  const head = cell.head.value;
  const { state: link } = conversation.store.connection.value;
  // "failed" is also what a run is that the agent could not finish: then its answer says so.
  const taken = head.state === "failed" && conversation.store.isAnswered(head.run);
  const note = taken ? null : delivery(head, link === "connected" || link === "fallback");
  const failed = note?.icon === "alert";
  return (
    <article class="message user" data-state={head.state} aria-label={`You, ${clock(head.created_at)}`}>
      <Bubble text={textOf(cell.parts.value)} time={head.created_at} />
      {head.state === "in_doubt" && <Doubt cell={cell} />}
      {note && (
        <div class={failed ? "delivery bad" : "delivery"}>
          {note.icon && <Icon name={note.icon} />}
          <span>{note.text}</span>
          {note.retry && (
            <button type="button" class="link" onClick={() => conversation.retry(cell.id)}>
              {note.retry}
            </button>
          )}
        </div>
      )}
    </article>
  );
}

/** Written to a server that cannot say now whether it has it: the reader decides. */
function Doubt({ cell }: { cell: MessageCell }) {
  const conversation = useConversation();
  const [waits, setWaits] = useState(false);
  const words = cell.head.value.detail ?? "The connection broke; this may not have arrived.";
  return (
    <div class="delivery doubt">
      <p>
        <Icon name={waits ? "clock" : "alert"} />
        <span>{words}</span>
      </p>
      <div class="choices">
        {!waits && (
          <button type="button" class="small" onClick={() => setWaits(true)}>
            Wait
          </button>
        )}
        <button type="button" class={waits ? "link" : "small"} onClick={() => conversation.retry(cell.id)}>
          Ask again as a new message (it may run twice)
        </button>
      </div>
    </div>
  );
}

/** A remark between messages: from here on another server answers. */
function Note({ cell }: { cell: MessageCell }) {
  return (
    <div class="note" role="note" title={exactTime(cell.head.value.created_at)}>
      <span>{textOf(cell.parts.value)}</span>
    </div>
  );
}

const WAITING_WORDS: Readonly<Record<Pending["wait"], string>> = {
  short: "Sending…",
  late: "Queued until the cell finishes",
  long: "Queued until the cell finishes, or run the cell again if the kernel was restarted",
};

/** Submitted in this browser; the kernel has not shown it yet. */
export function PendingView({ entry }: { entry: Pending }) {
  return (
    <article class="message user" data-state="pending" aria-label="You">
      <Bubble text={entry.text} time={new Date(entry.at).toISOString()} />
      <div class="delivery">
        <Icon name="clock" />
        <span>{WAITING_WORDS[entry.wait]}</span>
      </div>
    </article>
  );
}

// ------------------------------------------------------------------------------------------ the agent's

function PartView({ cell, message }: { cell: PartCell; message: MessageCell }) {
  const part = cell.part.value;
  switch (part.kind) {
    case "text":
      return part.text ? (
        <div class="said">
          <Markdown text={part.text} open={part.open ?? false} />
        </div>
      ) : null;
    case "reasoning":
      return (
        <details class="reasoning">
          <summary>
            {part.open ? <Spinner /> : <Icon name="spark" />}
            {part.open ? "Thinking…" : "Thoughts"}
          </summary>
          <Markdown text={part.text} open={part.open ?? false} />
        </details>
      );
    case "tool_call":
      return <ToolCard part={part} seen={cell.seen} answer={message} />;
    case "artifact":
      return <ArtifactCard part={part} />;
    case "error":
      return <ErrorCard part={part} answer={message} />;
    default:
      return <UnknownCard kind={String((part as { kind?: unknown }).kind)} data={part} />;
  }
}

function Ending({ head }: { head: MessageHead }) {
  if (head.state === "requires_action") return <p class="ending">Waiting for your decision</p>;
  if (head.state !== "incomplete") return null;
  const bare = !head.detail || /^(stopped|cancell?ed)\W*$/i.test(head.detail);
  const words = bare ? "Stopped" : /^stopped/i.test(head.detail ?? "") ? head.detail : `Stopped: ${head.detail}`;
  return <p class="ending">{words}</p>;
}

function Answer({ cell }: { cell: MessageCell }) {
  const head = cell.head.value;
  const parts = cell.parts.value;
  const failed = hasFailed(cell);
  if (parts.length === 0 && head.state === "streaming") return null;
  return (
    <article
      class="message agent"
      data-state={head.state}
      aria-label={`Answer, ${clock(head.created_at)}`}
      aria-busy={head.state === "streaming"}
      title={exactTime(head.created_at)}
    >
      {parts.map((one) => (
        <Boundary key={one.id} label="This part" source={() => JSON.stringify(one.part.peek(), null, 2)}>
          <PartView cell={one} message={cell} />
        </Boundary>
      ))}
      {!failed && <Ending head={head} />}
    </article>
  );
}

/** Between a message that the agent has and the first sign of its answer. */
export function Typing() {
  const { store } = useConversation();
  const cell = store.streaming.value;
  const waits = cell ? cell.parts.value.every((one) => isBlank(one)) : store.working.value;
  if (!waits) return null;
  return (
    <div class="typing" role="img" aria-label="The agent is working">
      <i />
      <i />
      <i />
    </div>
  );
}

function isBlank(cell: PartCell): boolean {
  const part = cell.part.value;
  return part.kind === "text" && !part.text;
}

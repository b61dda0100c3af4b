// The view as signals: one per message and per part, so that a token redraws one component.
import { batch, computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { AgentView, AnyOp, AnyPart, ConnectionView, Message, Patch, View } from "./protocol.gen";

export type MessageHead = Omit<Message, "parts">;

export class PartCell {
  readonly id: string;
  readonly part: Signal<AnyPart>;
  /** When this browser first saw it: the clock of last resort for a running tool. */
  readonly seen = Date.now();

  constructor(part: AnyPart) {
    this.id = part.id;
    this.part = signal(part);
  }
}

export class MessageCell {
  readonly id: string;
  readonly head: Signal<MessageHead>;
  readonly parts: Signal<readonly PartCell[]>;

  constructor(message: Message) {
    const { parts, ...head } = message;
    this.id = message.id;
    this.head = signal(head);
    this.parts = signal((parts ?? []).map((part) => new PartCell(part)));
  }

  /** Takes the message's new content and keeps the cells of parts that go on, with what is open in them. */
  replace(message: Message): void {
    const { parts, ...head } = message;
    this.head.value = head;
    const old = new Map(this.parts.peek().map((cell) => [cell.id, cell]));
    this.parts.value = (parts ?? []).map((part) => {
      const cell = old.get(part.id);
      if (!cell) return new PartCell(part);
      cell.part.value = part;
      return cell;
    });
  }

  find(id: string): PartCell | undefined {
    return this.parts.peek().find((cell) => cell.id === id);
  }

  toMessage(): Message {
    return { ...this.head.peek(), parts: this.parts.peek().map((cell) => cell.part.peek()) };
  }
}

/** Whether the answer holds an error of its own. */
export function hasFailed(answer: MessageCell): boolean {
  return answer.parts.value.some((cell) => cell.part.value.kind === "error");
}

/** `gap`: the patch is not for the revision at hand. `old`: it is in the snapshot already. */
export type Applied = "applied" | "old" | "gap";

const CONNECTING: ConnectionView = { state: "connecting" };

export class Store {
  /** null until the first snapshot. */
  readonly session = signal<string | null>(null);
  readonly connection = signal<ConnectionView>(CONNECTING);
  readonly agent = signal<AgentView | null>(null);
  readonly queued = signal(0);
  readonly queueLimit = signal(100);
  readonly messages = signal<readonly MessageCell[]>([]);
  rev = -1;

  /** The answer that is being written, if any. */
  readonly streaming: ReadonlySignal<MessageCell | null> = computed(
    () => this.messages.value.findLast((cell) => cell.head.value.state === "streaming") ?? null,
  );

  /** A message that has left and whose answer has not begun. */
  readonly awaited: ReadonlySignal<MessageCell | null> = computed(() => {
    const last = this.messages.value.at(-1);
    const { role, state } = last?.head.value ?? {};
    return role === "user" && (state === "sent" || state === "accepted") ? (last ?? null) : null;
  });

  /** Whether an answer is surely on its way though nothing of it is there: not while a message may not have arrived. */
  readonly working: ReadonlySignal<boolean> = computed(() => {
    const awaited = this.awaited.value?.head.value.state;
    const { state } = this.connection.value;
    return awaited === "accepted" || (awaited === "sent" && (state === "connected" || state === "fallback"));
  });

  /** Whether the agent has answered in `run`, be it with an error. */
  isAnswered(run: string | null | undefined): boolean {
    return this.messages.value.some(({ head }) => head.value.role === "assistant" && head.value.run === run);
  }

  has(id: string): boolean {
    return this.cell(id) !== undefined;
  }

  cell(id: string): MessageCell | undefined {
    return this.messages.peek().find((cell) => cell.id === id);
  }

  load(view: View): void {
    batch(() => {
      const same = this.session.peek() === view.session;
      this.session.value = view.session;
      this.connection.value = view.connection;
      this.agent.value = view.agent ?? null;
      this.queued.value = view.queued ?? 0;
      this.queueLimit.value = view.queue_limit ?? 100;
      const old = new Map(same ? this.messages.peek().map((cell) => [cell.id, cell]) : []);
      this.messages.value = (view.messages ?? []).map((message) => {
        const cell = old.get(message.id);
        if (!cell) return new MessageCell(message);
        cell.replace(message);
        return cell;
      });
      this.rev = view.rev;
    });
  }

  apply(patch: Patch): Applied {
    if (this.session.peek() === null || patch.rev > this.rev + 1) return "gap";
    if (patch.rev <= this.rev) return "old";
    batch(() => {
      for (const op of patch.ops) this.applyOp(op);
      this.rev = patch.rev;
    });
    return "applied";
  }

  private applyOp(op: AnyOp): void {
    switch (op.op) {
      case "connection":
        this.connection.value = op.connection;
        return;
      case "agent":
        this.agent.value = op.agent;
        return;
      case "queue":
        this.queued.value = op.queued;
        return;
      case "put":
        this.put(op.message, op.before ?? null);
        return;
      case "drop":
        this.messages.value = this.messages.peek().filter((cell) => cell.id !== op.id);
        return;
      case "state":
      case "part":
      case "drop_part":
      case "text":
      case "close": {
        const cell = this.cell(op.id);
        if (cell) applyToMessage(cell, op);
        return;
      }
      default:
        // An op of a newer kernel: the rest of the patch still holds.
        return;
    }
  }

  private put(message: Message, before: string | null): void {
    const known = this.cell(message.id);
    if (known) known.replace(message);
    const cell = known ?? new MessageCell(message);
    const rest = this.messages.peek().filter((other) => other !== cell);
    const found = before === null ? -1 : rest.findIndex((other) => other.id === before);
    const at = found < 0 ? rest.length : found;
    if (this.messages.peek()[at] !== cell) this.messages.value = rest.toSpliced(at, 0, cell);
  }

  toView(): View | null {
    const session = this.session.peek();
    if (session === null) return null;
    return {
      rev: this.rev,
      session,
      connection: this.connection.peek(),
      messages: this.messages.peek().map((cell) => cell.toMessage()),
      queued: this.queued.peek(),
      queue_limit: this.queueLimit.peek(),
      agent: this.agent.peek(),
    };
  }
}

type MessageOp = Extract<AnyOp, { op: "state" | "part" | "drop_part" | "text" | "close" }>;

function applyToMessage(cell: MessageCell, op: MessageOp): void {
  switch (op.op) {
    case "state":
      cell.head.value = {
        ...cell.head.peek(),
        state: op.state,
        detail: op.detail ?? null,
        run: op.run || (cell.head.peek().run ?? null),
      };
      return;
    case "part": {
      const known = cell.find(op.part.id);
      if (known) known.part.value = op.part;
      else cell.parts.value = [...cell.parts.peek(), new PartCell(op.part)];
      return;
    }
    case "drop_part":
      cell.parts.value = cell.parts.peek().filter((part) => part.id !== op.part);
      return;
    case "text":
    case "close": {
      const known = cell.find(op.part);
      const part = known?.part.peek();
      if (!known || part?.kind !== "text") return;
      known.part.value =
        op.op === "text" ? { ...part, text: part.text + op.text } : { ...part, open: false };
    }
  }
}

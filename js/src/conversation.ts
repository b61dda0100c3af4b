// One chat as this page sees it: the store, what was submitted and not yet confirmed, and every intent.
// It knows neither anywidget nor the DOM; time, storage and ids come in.
import { batch, signal } from "@preact/signals";
import { announcement } from "./announce";
import { newId } from "./ids";
import type { Keep, Outgoing } from "./keep";
import type { AnyIntent, Patch, Refusal, SnapshotMessage } from "./protocol.gen";
import { type MessageCell, Store } from "./store";

export const MAX_BYTES = 64 * 1024;
/** After this long without the kernel's word the page says that the message waits. */
const LATE_MS = 700;
/** After this long it may be that nobody is there any more: hosts do not tell of every restarted kernel. */
const LONG_MS = 15_000;
/** An older unconfirmed text is not sent by surprise: it becomes the draft. */
const STALE_MS = 60 * 60 * 1000;
const FIRST_ASK_MS = 1000;
const LAST_ASK_MS = 16_000;
/** A message of the reader's in one of these states will still be answered by itself. */
const UNDER_WAY: ReadonlySet<string> = new Set(["queued", "sent", "accepted"]);
/** Asks without an answer after which the panel says that nobody is there. */
const SILENT_ASKS = 3;

export interface Timers {
  now(): number;
  after(ms: number, action: () => void): () => void;
}

export const realTimers: Timers = {
  now: () => Date.now(),
  after(ms, action) {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
};

export interface Surroundings {
  readonly send: (intent: AnyIntent) => void;
  readonly keep: Keep;
  readonly timers?: Timers;
  readonly mint?: () => string;
}

export interface Pending extends Outgoing {
  readonly wait: "short" | "late" | "long";
}

type Incoming = SnapshotMessage | Patch | Refusal;

export class Conversation {
  readonly store = new Store();
  /** Submitted here and not yet in the kernel's view. */
  readonly pending = signal<readonly Pending[]>([]);
  readonly draft = signal("");
  /** Why the composer still holds the text. */
  readonly notice = signal<string | null>(null);
  /** The kernel behind this panel has ended. */
  readonly gone = signal(false);
  /** Nobody has answered for a while: no kernel, or a long cell before the first snapshot. */
  readonly silent = signal(false);
  readonly spoken = signal("");
  /** Stop was asked for this answer. */
  readonly stopping = signal<string | null>(null);

  private readonly timers: Timers;
  private readonly mint: () => string;
  private readonly keep: Keep;
  private readonly rawSend: (intent: AnyIntent) => void;
  private cancelAsk: (() => void) | null = null;
  private asks = 0;
  private kept: string | null = null;
  /** Which message was asked again as which. */
  private readonly again = new Map<string, string>();
  /** What was unconfirmed when the session changed: the kernel may have taken it into the new one. */
  private left: { readonly session: string; readonly id: string }[] = [];

  constructor(around: Surroundings) {
    this.rawSend = around.send;
    this.keep = around.keep;
    this.timers = around.timers ?? realTimers;
    this.mint = around.mint ?? newId;
  }

  // ---------------------------------------------------------------- kernel -> page

  /** Asks for the snapshot, again and again (ever more rarely) until it is there. */
  open(): void {
    this.ask();
  }

  /** A view of this chat has been mounted: without a snapshot it asks again soon, however long ago the last ask was. */
  seen(): void {
    if (this.store.session.peek() !== null) return;
    this.close();
    this.asks = 0;
    this.cancelAsk = this.timers.after(FIRST_ASK_MS, () => this.ask());
  }

  close(): void {
    this.cancelAsk?.();
    this.cancelAsk = null;
  }

  receive(message: unknown): void {
    if (typeof message !== "object" || message === null) return;
    const incoming = message as Incoming;
    switch (incoming.type) {
      case "snapshot":
        this.takeSnapshot(incoming);
        return;
      case "patch":
        this.takePatch(incoming);
        return;
      case "refusal":
        this.takeRefusal(incoming);
        return;
      default:
        return;
    }
  }

  /** The host says that the line to the kernel changed: find out by using it. */
  probe(): void {
    this.send({ intent: "ready", rev: this.store.rev < 0 ? null : this.store.rev });
  }

  private takeSnapshot({ view }: SnapshotMessage): void {
    batch(() => {
      this.close();
      this.asks = 0;
      this.silent.value = false;
      this.gone.value = false;
      this.store.load(view);
      this.adopt(view.session);
      this.confirm();
      this.settle();
    });
    for (const { id, text } of this.pending.peek()) this.send({ intent: "submit", id, text });
  }

  private takePatch(patch: Patch): void {
    batch(() => {
      const words =
        patch.rev === this.store.rev + 1
          ? patch.ops.map((op) => announcement(op, this.store)).filter((word) => word !== null)
          : [];
      if (this.store.apply(patch) === "gap") {
        if (!this.cancelAsk) this.ask();
        return;
      }
      if (words.length > 0) this.spoken.value = words.join(". ");
      this.confirm();
      this.settle();
    });
  }

  private takeRefusal({ id, message }: Refusal): void {
    const refused = this.pending.peek().find((entry) => entry.id === id);
    // The kernel tells all pages, and the text is in one of them.
    if (id != null && !refused) return;
    batch(() => {
      if (refused) {
        this.forget(refused.id);
        // What was to be asked again still stands in the thread.
        if (![...this.again.values()].includes(refused.id)) this.giveBack(refused.text);
      }
      this.stopping.value = null;
      this.notice.value = message;
    });
  }

  private ask(): void {
    this.send({ intent: "ready", rev: this.store.rev < 0 ? null : this.store.rev });
    const wait = Math.min(FIRST_ASK_MS * 2 ** this.asks, LAST_ASK_MS);
    this.asks += 1;
    this.silent.value = this.asks > SILENT_ASKS;
    this.cancelAsk = this.timers.after(wait, () => this.ask());
  }

  /** Texts that were submitted before a reload, and the draft, belong to the session just learnt. */
  private adopt(session: string): void {
    if (this.kept === session) return;
    if (this.kept !== null) {
      for (const { id } of this.pending.peek()) this.left.push({ session: this.kept, id });
      this.pending.value = [];
    }
    this.kept = session;
    for (const message of this.pending.peek()) this.keep.put(session, message);
    const known = new Set(this.pending.peek().map((entry) => entry.id));
    const stale: string[] = [];
    for (const message of this.keep.outgoing(session)) {
      if (known.has(message.id)) continue;
      if (this.timers.now() - message.at < STALE_MS) this.hold(message);
      else {
        this.keep.drop(session, message.id);
        if (!this.store.has(message.id)) stale.push(message.text);
      }
    }
    const draft = this.keep.draft(session);
    if (!this.draft.peek() && draft) this.draft.value = draft;
    for (const text of stale) this.giveBack(text);
  }

  private confirm(): void {
    for (const entry of this.pending.peek()) if (this.store.has(entry.id)) this.forget(entry.id);
    this.left = this.left.filter(({ session, id }) => {
      const taken = this.store.has(id);
      if (taken) this.keep.drop(session, id);
      return !taken;
    });
  }

  private settle(): void {
    const stopping = this.stopping.peek();
    if (stopping !== null && this.store.cell(stopping)?.head.peek().state !== "streaming") {
      this.stopping.value = null;
    }
  }

  // ---------------------------------------------------------------- page -> kernel

  /** Sends `text` as a new message; false where it stays in the composer: `notice` or `gone` says why. */
  submit(text: string): boolean {
    const content = text.trim();
    if (!content) return false;
    const problem = this.problemWith(content);
    if (problem) {
      this.notice.value = problem;
      return false;
    }
    const message: Outgoing = { id: this.mint(), text: content, at: this.timers.now() };
    return batch(() => {
      if (!this.send({ intent: "submit", id: message.id, text: content })) return false;
      this.hold(message);
      this.write("");
      return true;
    });
  }

  private problemWith(text: string): string | null {
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > MAX_BYTES) {
      const size = Math.ceil(bytes / 1024);
      return `This message has ${size} KiB; a message may have 64 KiB at most. Shorten or split it.`;
    }
    const limit = this.store.queueLimit.peek();
    if (this.store.queued.peek() + this.pending.peek().length >= limit) {
      return `${limit} messages are waiting already, which is the limit. Your text is kept here; send it when the connection is back.`;
    }
    return null;
  }

  /** The composer's text, as typed. */
  write(text: string): void {
    batch(() => {
      this.draft.value = text;
      this.notice.value = null;
    });
    if (this.kept !== null) this.keep.setDraft(this.kept, text);
  }

  /** Asks the reader's message `id` again, as a new one; asked for twice, it happens once. */
  retry(id: string): void {
    const cell = this.store.cell(id);
    if (!cell || this.isAskedAgain(id)) return;
    const message: Outgoing = { id: this.mint(), text: textOf(cell), at: this.timers.now() };
    batch(() => {
      if (!this.send({ intent: "retry", id, new_id: message.id })) return;
      this.again.set(id, message.id);
      this.hold(message);
    });
  }

  private isAskedAgain(id: string): boolean {
    const fresh = this.again.get(id);
    if (fresh === undefined) return false;
    const state = this.store.cell(fresh)?.head.peek().state ?? "";
    return UNDER_WAY.has(state) || this.pending.peek().some((entry) => entry.id === fresh);
  }

  /** Retries the user's message that the answer `answerId` belongs to. */
  retryAnswer(answerId: string): void {
    const cells = this.store.messages.peek();
    const at = cells.findIndex((cell) => cell.id === answerId);
    const run = cells[at]?.head.peek().run ?? answerId;
    const question =
      cells.find((cell) => cell.head.peek().role === "user" && cell.head.peek().run === run) ??
      cells.slice(0, Math.max(at, 0)).findLast((cell) => cell.head.peek().role === "user");
    if (question) this.retry(question.id);
  }

  stop(): void {
    const cell = this.store.streaming.peek();
    const asked = this.send({ intent: "cancel", run: cell ? (cell.head.peek().run ?? cell.id) : null });
    this.stopping.value = asked ? (cell?.id ?? null) : null;
  }

  reconnect(): void {
    this.send({ intent: "reconnect" });
  }

  failover(): void {
    this.send({ intent: "failover" });
  }

  failback(): void {
    this.send({ intent: "failback" });
  }

  clear(): void {
    this.send({ intent: "clear" });
  }

  /** The last text that the reader sent, for the up-arrow. */
  lastSent(): string {
    const waiting = this.pending.peek().at(-1);
    if (waiting) return waiting.text;
    const cell = this.store.messages.peek().findLast((one) => one.head.peek().role === "user");
    return cell ? textOf(cell) : "";
  }

  private send(intent: AnyIntent): boolean {
    try {
      this.rawSend(intent);
    } catch {
      // The host's comm throws once its kernel has ended; that is the news.
      this.markGone();
      return false;
    }
    this.gone.value = false;
    return true;
  }

  private markGone(): void {
    batch(() => {
      this.gone.value = true;
      // They may have arrived before the end. The panel of the next kernel offers them under the same ids, so
      // that each is asked once; in the composer, they would be asked twice.
      this.pending.value = this.pending.peek().map((entry) => ({ ...entry, wait: "long" }));
    });
  }

  private hold(message: Outgoing): void {
    if (this.kept !== null) this.keep.put(this.kept, message);
    this.pending.value = [...this.pending.peek(), { ...message, wait: "short" }];
    const becomes = (wait: Pending["wait"]) => () => {
      this.pending.value = this.pending
        .peek()
        .map((entry) => (entry.id === message.id ? { ...entry, wait } : entry));
    };
    this.timers.after(LATE_MS, becomes("late"));
    this.timers.after(LONG_MS, becomes("long"));
  }

  private forget(id: string): void {
    this.pending.value = this.pending.peek().filter((entry) => entry.id !== id);
    if (this.kept !== null) this.keep.drop(this.kept, id);
  }

  private giveBack(text: string): void {
    const draft = this.draft.peek();
    this.write(draft ? `${text}\n${draft}` : text);
  }
}

function textOf(cell: MessageCell): string {
  const parts = cell.parts.peek().map((one) => one.part.peek());
  return parts.flatMap((part) => (part.kind === "text" ? [part.text] : [])).join("\n\n");
}

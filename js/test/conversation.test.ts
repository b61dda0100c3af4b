import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation, MAX_BYTES, type Timers } from "../src/conversation";
import { type Keep, keepIn } from "../src/keep";
import type { AnyIntent, AnyOp, ConnectionView, View } from "../src/protocol.gen";

class Clock implements Timers {
  time = 1_000_000;
  private waiting: { at: number; action: () => void }[] = [];

  now() {
    return this.time;
  }

  after(ms: number, action: () => void) {
    const entry = { at: this.time + ms, action };
    this.waiting.push(entry);
    return () => {
      this.waiting = this.waiting.filter((other) => other !== entry);
    };
  }

  pass(ms: number) {
    const end = this.time + ms;
    for (;;) {
      const next = this.waiting.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.waiting = this.waiting.filter((other) => other !== next);
      this.time = next.at;
      next.action();
    }
    this.time = end;
  }
}

class Area {
  private readonly map = new Map<string, string>();
  get length() {
    return this.map.size;
  }
  key = (i: number) => [...this.map.keys()][i] ?? null;
  getItem = (key: string) => this.map.get(key) ?? null;
  setItem = (key: string, value: string) => void this.map.set(key, value);
  removeItem = (key: string) => void this.map.delete(key);
}

function setUp(keep: Keep = keepIn(new Area(), new Area()), clock = new Clock()) {
  const sent: AnyIntent[] = [];
  const line = { dead: false };
  let minted = 0;
  const conversation = new Conversation({
    send: (intent) => {
      if (line.dead) throw new Error("Cannot send");
      sent.push(intent);
    },
    keep,
    timers: clock,
    mint: () => `id-${++minted}`,
  });
  return { conversation, sent, clock, line, keep };
}

const connection: ConnectionView = { state: "connected" };
const snapshot = (view: Partial<View> = {}) => ({
  type: "snapshot",
  view: { rev: 5, session: "s1", connection, ...view },
});
const patch = (rev: number, ...ops: AnyOp[]) => ({ type: "patch", rev, ops });
const userMessage = (id: string, text: string) => ({
  id,
  role: "user" as const,
  state: "accepted" as const,
  parts: [{ kind: "text" as const, id: "t", text }],
});
const asks = (sent: readonly AnyIntent[]) => sent.filter((intent) => intent.intent === "ready");

test("a loaded page asks for the snapshot, ever more rarely, until it has one", () => {
  const { conversation, sent, clock } = setUp();
  conversation.open();
  assert.deepEqual(sent, [{ intent: "ready", rev: null }]);
  clock.pass(7_500);
  assert.equal(asks(sent).length, 4);
  assert.equal(conversation.silent.value, true);
  conversation.receive(snapshot());
  assert.equal(conversation.silent.value, false);
  clock.pass(600_000);
  assert.equal(asks(sent).length, 4);
});

test("a view that is mounted long after asks again within a second", () => {
  const { conversation, sent, clock } = setUp();
  conversation.open();
  clock.pass(100_000);
  const before = asks(sent).length;
  conversation.seen();
  clock.pass(1000);
  assert.equal(asks(sent).length, before + 1);
});

test("a lost patch is healed by one request, not by one for each later patch", () => {
  const { conversation, sent } = setUp();
  conversation.receive(snapshot());
  conversation.receive(patch(7, { op: "queue", queued: 1 }));
  conversation.receive(patch(8, { op: "queue", queued: 2 }));
  assert.deepEqual(asks(sent), [{ intent: "ready", rev: 5 }]);
  assert.equal(conversation.store.queued.value, 0);
  conversation.receive(snapshot({ rev: 8, queued: 2 }));
  conversation.receive(patch(9, { op: "queue", queued: 3 }));
  assert.equal(conversation.store.queued.value, 3);
  assert.equal(asks(sent).length, 1);
});

test("a patch that the snapshot contains already is not applied twice", () => {
  const { conversation } = setUp();
  const part = { kind: "text" as const, id: "t", text: "ab", open: true };
  conversation.receive(snapshot({ messages: [{ id: "r", role: "assistant", state: "streaming", parts: [part] }] }));
  conversation.receive(patch(5, { op: "text", id: "r", part: "t", text: "b" }));
  assert.deepEqual(conversation.store.toView()?.messages?.[0]?.parts?.[0], part);
});

test("a submitted text shows at once, is late after 700 ms, doubtful after 15 s, and leaves when the kernel shows it", () => {
  const { conversation, sent, clock, keep } = setUp();
  conversation.receive(snapshot());
  conversation.write("  Create a story ");
  assert.equal(conversation.submit(conversation.draft.value), true);
  assert.deepEqual(sent, [{ intent: "submit", id: "id-1", text: "Create a story" }]);
  assert.equal(conversation.draft.value, "");
  assert.equal(conversation.pending.value[0]?.wait, "short");
  clock.pass(700);
  assert.equal(conversation.pending.value[0]?.wait, "late");
  clock.pass(14_300);
  assert.equal(conversation.pending.value[0]?.wait, "long");
  assert.equal(keep.outgoing("s1").length, 1);
  conversation.receive(patch(6, { op: "put", message: userMessage("id-1", "Create a story") }));
  assert.deepEqual(conversation.pending.value, []);
  assert.equal(keep.outgoing("s1").length, 0);
});

test("after a page reload an unconfirmed text is offered again under its own id", () => {
  const first = setUp();
  first.conversation.receive(snapshot());
  first.conversation.submit("Create a story");
  const second = setUp(first.keep, first.clock);
  second.conversation.receive(snapshot());
  assert.deepEqual(second.sent, [{ intent: "submit", id: "id-1", text: "Create a story" }]);
  assert.equal(second.conversation.pending.value.length, 1);
  const third = setUp(first.keep, first.clock);
  third.conversation.receive(snapshot({ messages: [userMessage("id-1", "Create a story")] }));
  assert.deepEqual(third.sent, []);
});

test("a text from yesterday is not sent by surprise: it becomes the draft", () => {
  const first = setUp();
  first.conversation.receive(snapshot());
  first.conversation.submit("Delete everything");
  first.clock.pass(86_400_000);
  const second = setUp(first.keep, first.clock);
  second.conversation.receive(snapshot());
  assert.deepEqual(second.sent, []);
  assert.equal(second.conversation.draft.value, "Delete everything");
});

test("another session's unconfirmed texts stay with that session", () => {
  const { conversation, sent } = setUp();
  conversation.receive(snapshot());
  conversation.submit("one");
  conversation.receive(snapshot({ session: "s2", rev: 1 }));
  assert.deepEqual(conversation.pending.value, []);
  assert.equal(sent.length, 1);
});

test("a refused text comes back into the composer with the reason", () => {
  const { conversation } = setUp();
  conversation.receive(snapshot());
  conversation.submit("one");
  conversation.write("two");
  conversation.receive({ type: "refusal", code: "queue_full", message: "The queue is full.", id: "id-1" });
  assert.equal(conversation.draft.value, "one\ntwo");
  assert.equal(conversation.notice.value, "The queue is full.");
  assert.deepEqual(conversation.pending.value, []);
});

test("when the kernel is gone nothing is lost: the text stays in the composer", () => {
  const { conversation, line } = setUp();
  conversation.receive(snapshot());
  line.dead = true;
  conversation.write("second");
  assert.equal(conversation.submit("second"), false);
  assert.equal(conversation.gone.value, true);
  assert.equal(conversation.draft.value, "second");
  line.dead = false;
  conversation.probe();
  assert.equal(conversation.gone.value, false);
});

test("what a kernel had not confirmed when it ended is offered to the next one under its own id, once", () => {
  const first = setUp();
  first.conversation.receive(snapshot());
  first.conversation.submit("Create a story");
  first.line.dead = true;
  first.conversation.probe();
  assert.equal(first.conversation.pending.value[0]?.wait, "long");
  assert.equal(first.conversation.draft.value, "");
  const again = setUp(first.keep, first.clock);
  again.conversation.receive(snapshot({ rev: 1 }));
  assert.deepEqual(again.sent, [{ intent: "submit", id: "id-1", text: "Create a story" }]);
  const stored = setUp(first.keep, first.clock);
  stored.conversation.receive(snapshot({ rev: 1, messages: [userMessage("id-1", "Create a story")] }));
  assert.deepEqual(stored.sent, []);
  assert.deepEqual(stored.conversation.pending.value, []);
});

test("two tabs offer an unconfirmed text under one id, and both forget it when the kernel has it", () => {
  const tabs = [setUp()];
  tabs.push(setUp(tabs[0]?.keep, tabs[0]?.clock));
  const [one, two] = tabs.map((tab) => tab.conversation);
  one?.receive(snapshot());
  one?.submit("Create a story");
  two?.receive(snapshot());
  assert.deepEqual(tabs[1]?.sent, [{ intent: "submit", id: "id-1", text: "Create a story" }]);
  for (const tab of [one, two]) {
    tab?.receive(patch(6, { op: "put", message: userMessage("id-1", "Create a story") }));
    assert.deepEqual(tab?.pending.value, []);
  }
  assert.deepEqual(tabs[0]?.keep.outgoing("s1"), []);
});

test("empty, oversized and one-too-many messages are not sent", () => {
  const { conversation, sent } = setUp();
  conversation.receive(snapshot({ queued: 0 }));
  assert.equal(conversation.submit(" \n\t"), false);
  assert.equal(conversation.notice.value, null);
  conversation.write("é".repeat(MAX_BYTES / 2 + 1));
  assert.equal(conversation.submit(conversation.draft.value), false);
  assert.match(conversation.notice.value ?? "", /64 KiB/);
  assert.equal(conversation.draft.value.length, MAX_BYTES / 2 + 1);
  assert.equal(conversation.submit("é".repeat(MAX_BYTES / 2)), true);
  conversation.receive(patch(6, { op: "queue", queued: 99 }));
  assert.equal(conversation.submit("the hundred and first"), false);
  assert.match(conversation.notice.value ?? "", /100 messages/);
  assert.equal(sent.length, 1);
});

test("retry of a failed answer sends the question it belongs to", () => {
  const { conversation, sent } = setUp();
  conversation.receive(
    snapshot({
      messages: [
        { ...userMessage("u1", "one"), run: "r1" },
        { id: "r1", role: "assistant", state: "incomplete", run: "r1" },
        { ...userMessage("u2", "two"), run: null },
      ],
    }),
  );
  conversation.retryAnswer("r1");
  assert.deepEqual(sent, [{ intent: "retry", id: "u1", new_id: "id-1" }]);
});

test("stop names the run and shows as asked for until the answer ends", () => {
  const { conversation, sent } = setUp();
  conversation.receive(snapshot({ messages: [{ id: "r1", role: "assistant", state: "streaming", run: "r1" }] }));
  conversation.stop();
  assert.deepEqual(sent, [{ intent: "cancel", run: "r1" }]);
  assert.equal(conversation.stopping.value, "r1");
  conversation.receive(patch(6, { op: "state", id: "r1", state: "incomplete", detail: "cancelled" }));
  assert.equal(conversation.stopping.value, null);
});

test("a screen reader hears beginnings and ends, and no token", () => {
  const { conversation } = setUp();
  conversation.receive(snapshot());
  const heard: string[] = [];
  conversation.spoken.subscribe((words) => words && heard.push(words));
  conversation.receive(patch(6, { op: "put", message: { id: "r", role: "assistant", state: "streaming" } }));
  conversation.receive(patch(7, { op: "part", id: "r", part: { kind: "text", id: "t", text: "", open: true } }));
  for (let rev = 8; rev < 20; rev++) conversation.receive(patch(rev, { op: "text", id: "r", part: "t", text: "x" }));
  conversation.receive(patch(20, { op: "state", id: "r", state: "complete" }));
  assert.deepEqual(heard, ["Answer started", "Answer complete"]);
});

test("a message that was sent and whose run failed is not announced as not sent", () => {
  const { conversation } = setUp();
  conversation.receive(snapshot({ messages: [userMessage("u1", "one"), userMessage("u2", "two")] }));
  conversation.receive(patch(6, { op: "state", id: "u1", state: "failed", run: "r1" }));
  assert.equal(conversation.spoken.value, "");
  conversation.receive(patch(7, { op: "state", id: "u2", state: "failed", detail: "Too long." }));
  assert.equal(conversation.spoken.value, "Message not sent. Too long.");
});

test("what is no message of the contract is dropped", () => {
  const { conversation } = setUp();
  for (const junk of [null, 7, "snapshot", [], {}, { type: "hologram" }]) conversation.receive(junk);
  conversation.receive(snapshot());
  conversation.receive(patch(6, { op: "levitate" } as unknown as AnyOp, { op: "queue", queued: 2 }));
  assert.equal(conversation.store.queued.value, 2);
});

test("storage that throws costs the reload, nothing else", () => {
  const broken = new Proxy({} as Storage, {
    get() {
      throw new Error("denied");
    },
  });
  const { conversation, sent } = setUp(keepIn(broken, broken));
  conversation.receive(snapshot());
  conversation.write("a");
  assert.equal(conversation.submit("a"), true);
  assert.equal(sent.length, 1);
});

test("a Retry that is pressed twice asks once, shows at once, and survives the page", () => {
  const { conversation, sent, keep, clock } = setUp();
  const failed = { ...userMessage("u1", "one"), state: "failed" as const, run: "r1" };
  conversation.receive(snapshot({ messages: [failed, { id: "r1", role: "assistant", state: "incomplete", run: "r1" }] }));
  conversation.retry("u1");
  conversation.retryAnswer("r1");
  assert.deepEqual(sent, [{ intent: "retry", id: "u1", new_id: "id-1" }]);
  assert.deepEqual(conversation.pending.value.map(({ id, text }) => [id, text]), [["id-1", "one"]]);
  const next = setUp(keep, clock);
  next.conversation.receive(snapshot({ messages: [failed] }));
  assert.deepEqual(next.sent, [{ intent: "submit", id: "id-1", text: "one" }]);
  conversation.receive(patch(6, { op: "put", message: userMessage("id-1", "one") }));
  conversation.retry("u1");
  assert.equal(sent.length, 1);
  conversation.receive(patch(7, { op: "state", id: "id-1", state: "failed", run: "r2" }));
  conversation.retry("u1");
  assert.deepEqual(sent.at(-1), { intent: "retry", id: "u1", new_id: "id-2" });
});

test("a Retry that is refused leaves the composer alone and may be pressed again", () => {
  const { conversation, sent } = setUp();
  conversation.receive(snapshot({ messages: [{ ...userMessage("u1", "one"), state: "failed" }] }));
  conversation.retry("u1");
  conversation.receive({ type: "refusal", code: "outbox_full", message: "The queue is full.", id: "id-1" });
  assert.deepEqual([conversation.pending.value, conversation.draft.value], [[], ""]);
  assert.equal(conversation.notice.value, "The queue is full.");
  conversation.retry("u1");
  assert.equal(sent.length, 2);
});

test("what the kernel took into a new session is not offered to the old one again", () => {
  const { conversation, keep, clock } = setUp();
  conversation.receive(snapshot());
  conversation.submit("before");
  conversation.clear();
  conversation.submit("after");
  conversation.receive(snapshot({ session: "s2", rev: 1 }));
  conversation.receive(patch(2, { op: "put", message: userMessage("id-2", "after") }));
  const old = setUp(keep, clock);
  old.conversation.receive(snapshot());
  assert.deepEqual(old.sent, [{ intent: "submit", id: "id-1", text: "before" }]);
});

test("a stop that nobody took may be asked for again", () => {
  const { conversation, line } = setUp();
  conversation.receive(snapshot({ messages: [{ id: "r1", role: "assistant", state: "streaming", run: "r1" }] }));
  conversation.stop();
  conversation.receive({ type: "refusal", code: "storage", message: "The disk is full." });
  assert.equal(conversation.stopping.value, null);
  line.dead = true;
  conversation.stop();
  assert.equal(conversation.stopping.value, null);
});

test("nobody is said to be at work on a message that may not have arrived", () => {
  const { conversation } = setUp();
  const { store } = conversation;
  conversation.receive(snapshot({ messages: [{ ...userMessage("u1", "one"), state: "sent" }] }));
  assert.equal(store.working.value, true);
  conversation.receive(patch(6, { op: "connection", connection: { state: "reconnecting" } }));
  assert.equal(store.working.value, false);
  conversation.receive(patch(7, { op: "state", id: "u1", state: "accepted" }));
  assert.equal(store.working.value, true);
});

test("what a page left in storage that cannot be a message is left alone", () => {
  const area = new Area();
  area.setItem("edchat:sent:s1:x", JSON.stringify({ id: "x", text: "one", at: 1e20 }));
  area.setItem("edchat:sent:s1:y", "{");
  const { conversation } = setUp(keepIn(area, new Area()));
  conversation.receive(snapshot());
  assert.deepEqual(conversation.pending.value, []);
});

test("what another page's message is refused for is no news here", () => {
  const { conversation } = setUp();
  conversation.receive(snapshot());
  conversation.receive({ type: "refusal", code: "outbox_full", message: "The queue is full.", id: "elsewhere" });
  assert.equal(conversation.notice.value, null);
});

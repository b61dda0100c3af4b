import assert from "node:assert/strict";
import { test } from "node:test";
import { badgeLook, duration, storiesMarkdown, storyMarkdown, toolTitle } from "../src/format";
import { newId } from "../src/ids";
import { composerKey, type KeyPress } from "../src/keys";
import { storiesOf, storyOf } from "../src/stories";
import { themeSaidBy } from "../src/theme";

const UUID = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

test("ids are version 4 UUIDs on secure pages, on plain http, and with no crypto at all", () => {
  for (const source of [globalThis.crypto, { getRandomValues: crypto.getRandomValues.bind(crypto) }, {}]) {
    const ids = Array.from({ length: 100 }, () => newId(source));
    for (const id of ids) assert.match(id, UUID);
    assert.equal(new Set(ids).size, 100);
  }
});

const press = (key: string, more: Partial<KeyPress> = {}): KeyPress => ({
  key,
  keyCode: 0,
  isComposing: false,
  shiftKey: false,
  altKey: false,
  ctrlKey: false,
  metaKey: false,
  ...more,
});

test("Enter sends; Shift+Enter, a composition's Enter and Safari's do not", () => {
  assert.equal(composerKey(press("Enter"), false), "send");
  assert.equal(composerKey(press("Enter", { ctrlKey: true }), false), "send");
  assert.equal(composerKey(press("Enter", { shiftKey: true }), false), null);
  assert.equal(composerKey(press("Enter", { isComposing: true }), false), null);
  assert.equal(composerKey(press("Enter", { keyCode: 229 }), false), null);
});

test("the up-arrow recalls the last message, in an empty composer only", () => {
  assert.equal(composerKey(press("ArrowUp"), true), "recall");
  assert.equal(composerKey(press("ArrowUp"), false), null);
  assert.equal(composerKey(press("ArrowUp", { shiftKey: true }), true), null);
});

test("the badge says what the origin's said, and never by colour alone", () => {
  const look = (...args: Parameters<typeof badgeLook>) => {
    const { tone, text } = badgeLook(...args);
    return [tone, text];
  };
  assert.deepEqual(look({ state: "connecting" }, false), ["busy", "Connecting..."]);
  assert.deepEqual(look({ state: "connected", carrier: "ws", latency_ms: 45.4 }, false), ["good", "Connected (45ms)"]);
  assert.deepEqual(look({ state: "fallback", carrier: "http" }, false), ["good", "Connected · HTTP"]);
  assert.deepEqual(look({ state: "connected", carrier: "http", latency_ms: 3 }, false), ["good", "Connected (3ms) · HTTP"]);
  assert.deepEqual(look({ state: "fallback", carrier: "poll", latency_ms: 210 }, false), ["good", "Connected (210ms) · HTTP, polling"]);
  assert.deepEqual(look({ state: "reconnecting", attempt: 2 }, false), ["busy", "Reconnecting (attempt 2)..."]);
  assert.deepEqual(look({ state: "disconnected" }, false), ["bad", "Disconnected"]);
  assert.deepEqual(look({ state: "connected" }, true), ["bad", "Disconnected"]);
  const { detail } = badgeLook(
    { state: "reconnecting", attempt: 2, max_attempts: 10, retry_in_ms: 3200, reason: "Closed by the server" },
    false,
  );
  assert.equal(detail, "Closed by the server. Attempt 2 of 10. Next try in 4 s.");
  assert.equal(badgeLook({ state: "reconnecting", attempt: 2, retry_in_ms: 3200 }, false).wait, 4);
  assert.equal(badgeLook({ state: "reconnecting", attempt: 2, retry_in_ms: 0 }, false).wait, undefined);
  assert.match(badgeLook({ state: "connected", notice: "Another server answers." }, false).detail, /Another server answers\.$/);
  const cut = badgeLook({ state: "reconnecting", attempt: 1, retry_in_ms: 900, reason: "The connection was cut." }, false);
  assert.equal(cut.detail, "The connection was cut. Next try in 1 s.");
  assert.equal(badgeLook({ state: "connected" }, true).detail, "This notebook's kernel has stopped. Run the cell again.");
});

test("each host's way to say dark is understood", () => {
  const element = (classes: string, attributes: Record<string, string> = {}) => ({
    classList: { contains: (name: string) => classes.split(" ").includes(name) },
    getAttribute: (name: string) => attributes[name] ?? null,
  });
  assert.equal(themeSaidBy(element("", { "data-jp-theme-light": "false" })), "dark");
  assert.equal(themeSaidBy(element("", { "data-jp-theme-light": "true" })), "light");
  assert.equal(themeSaidBy(element("vscode-dark")), "dark");
  assert.equal(themeSaidBy(element("vscode-high-contrast")), "dark");
  assert.equal(themeSaidBy(element("vscode-high-contrast vscode-high-contrast-light")), "light");
  assert.equal(themeSaidBy(element("vscode-light")), "light");
  assert.equal(themeSaidBy(element("dark dark-theme")), "dark");
  assert.equal(themeSaidBy(element("anything")), null);
});

test("stories are read as far as they go; a story of the origin's four fields is enough", () => {
  const story = storyOf({ id: "S-1", title: "Login", epic: "Security", priority: "P9", acceptanceCriteria: ["a", 7] });
  assert.equal(story?.priority, "P2");
  assert.deepEqual(story?.acceptanceCriteria, ["a"]);
  assert.equal(storyOf({ title: "no id" }), null);
  assert.equal(storyOf("text"), null);
  assert.equal(storiesOf({ stories: [{ id: "S-1", title: "Login" }, 7] })?.length, 1);
  assert.equal(storiesOf({ stories: "many" }), null);
});

test("copied Markdown holds all of a story, and a table survives a pipe in a title", () => {
  const story = storyOf({
    id: "S-1", title: "A | B", epic: "Security", priority: "P1", points: 5,
    acceptanceCriteria: ["works"], definitionOfDone: ["reviewed"], labels: ["x"], userStory: "As a user",
  });
  assert.ok(story);
  const text = storyMarkdown(story);
  for (const piece of ["### S-1: A | B", "**P1** High", "Epic: Security", "5 points", "- [ ] works", "- [ ] reviewed", "> As a user"]) {
    assert.ok(text.includes(piece), piece);
  }
  assert.ok(storiesMarkdown([story]).includes("| S-1 | A \\| B | P1 | Backlog | Security | 5 |"));
});

test("durations and tool names read like words", () => {
  assert.deepEqual([12.4, 1500, 61_000].map(duration), ["12 ms", "1.5 s", "1 min 1 s"]);
  assert.equal(toolTitle("", "create_story"), "Create story");
  assert.equal(toolTitle("Story", "create_story"), "Story");
});

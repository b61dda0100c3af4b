import assert from "node:assert/strict";
import { test } from "node:test";
import { type ComponentChildren, Fragment, type VNode } from "preact";
import { type Block, decodeEntities, GrowingBlocks, lex, safeHref, vnode } from "../src/markdown";

interface Element {
  readonly tag: string;
  readonly props: Record<string, unknown>;
}

interface Seen {
  elements: Element[];
  text: string;
  deepest: number;
}

/** Every element and every text in a tree of vnodes; components count as elements named after them. */
function walk(node: ComponentChildren, into: Seen, depth = 0): Seen {
  into.deepest = Math.max(into.deepest, depth);
  if (Array.isArray(node)) for (const child of node) walk(child, into, depth);
  else if (typeof node === "string" || typeof node === "number") into.text += node;
  else if (node && typeof node === "object") {
    const { type, props } = node as VNode<Record<string, unknown>>;
    const tag = typeof type === "string" ? type : type === Fragment ? "Fragment" : type.name;
    into.elements.push({ tag, props });
    if (tag === "CodeBlock") into.text += String(props["code"]);
    walk(props["children"] as ComponentChildren, into, depth + 1);
  }
  return into;
}

const render = (markdown: string) =>
  walk(lex(markdown).map((token) => vnode(token)), { elements: [], text: "", deepest: 0 });
const tags = (markdown: string) => render(markdown).elements.map(({ tag }) => tag);

const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "a <b onclick=alert(1)>b</b>",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](java\tscript:alert(1))",
  "[x](&#106;avascript:alert(1))",
  "[x](data:text/html,<script>alert(1)</script>)",
  "[x](vbscript:msgbox)",
  "[x](//evil.example/x)",
  "![x](javascript:alert(1))",
  "![x](https://tracker.example/pixel.png)",
  "<javascript:alert(1)>",
  "[r]\n\n[r]: javascript:alert(1)",
  "<iframe src=https://evil.example>",
  "<style>*{display:none}</style>",
];

test("hostile Markdown makes no element but ours, and no link outside the allow-list", () => {
  const known = new Set(["p", "a", "span", "Fragment"]);
  for (const source of HOSTILE) {
    for (const { tag, props } of render(source).elements) {
      assert.ok(known.has(tag), `${source} made <${tag}>`);
      assert.ok(!("dangerouslySetInnerHTML" in props));
      for (const name of Object.keys(props)) assert.ok(!/^on|^src/i.test(name), `${source} made ${name}`);
      if (tag === "a") {
        assert.match(String(props["href"]), /^(https?:|mailto:)/);
        assert.equal(props["rel"], "noopener noreferrer");
        assert.equal(props["target"], "_blank");
      }
    }
  }
});

test("raw HTML shows as the text that it is", () => {
  assert.match(render("<script>alert(1)</script>").text, /<script>alert\(1\)<\/script>/);
  assert.equal(render("a <b>c</b>").text, "a <b>c</b>");
});

test("links: http, https and mailto only, and absolute", () => {
  assert.equal(safeHref("https://example.org/a"), "https://example.org/a");
  assert.equal(safeHref("mailto:a@example.org"), "mailto:a@example.org");
  for (const href of ["javascript:alert(1)", " javascript:1", "/relative", "#x", "file:///etc/passwd", "", null, 7]) {
    assert.equal(safeHref(href), null);
  }
});

test("tables, task lists, code with its language, entities", () => {
  assert.ok(tags("|a|b|\n|-|-:|\n|1|2|").includes("table"));
  assert.ok(render("- [x] a\n- [ ] b").elements.some(({ props }) => props["aria-label"] === "done"));
  const code = render("```python title=x\na < b && c\n```").elements.find(({ tag }) => tag === "CodeBlock");
  assert.deepEqual([code?.props["language"], code?.props["code"]], ["python", "a < b && c"]);
  assert.equal(render("a &amp; b &lt;c&gt; &#8364; &#x20AC; &bogus;").text, "a & b <c> € € &bogus;");
  assert.equal(decodeEntities("&#1114112;&#0;"), "&#1114112;&#0;");
});

for (const [name, source] of [
  ["one line of a megabyte", "x".repeat(1_000_000)],
  ["many emphasis marks", "_a_".repeat(30_000)],
  ["many brackets", "[a](".repeat(30_000)],
  ["deep quotes", "> ".repeat(5_000) + "x"],
  ["very deep quotes", ">".repeat(100_000)],
  ["deep lists in one line", "- ".repeat(5_000) + "x"],
  ["deep lists in many lines", Array.from({ length: 500 }, (_, i) => `${"  ".repeat(i)}- a`).join("\n")],
  ["deep emphasis", `${"**a *b ".repeat(300)}${"* **".repeat(300)}`],
  ["a wide table", `${"|".repeat(20_000)}\n${"|-".repeat(20_000)}|`],
] as const) {
  test(`nothing is lost and nothing overflows: ${name}`, { timeout: 10_000 }, () => {
    const { text, deepest } = render(source);
    if (source.includes("x")) assert.ok(text.includes("x"));
    assert.ok(deepest <= 70, `${deepest} levels`);
  });
}

test("a block too long for inline rules shows as plain text", () => {
  assert.ok(!tags("_a_ ".repeat(10_000)).includes("em"));
  assert.ok(tags("_a_ ".repeat(100)).includes("em"));
});

test("nesting ends at a depth that no renderer minds, and its content is still there", () => {
  const nested = render(`${Array.from({ length: 28 }, (_, i) => `${"  ".repeat(i)}- a`).join("\n")}z`);
  assert.ok(nested.deepest <= 70, `${nested.deepest} levels`);
  assert.match(nested.text, /z$/);
});

test("the guard against recursion leaves rules and ordinary lists alone", () => {
  assert.deepEqual(tags("-".repeat(80)), ["hr"]);
  assert.ok(tags("- a\n  - b\n    - c").includes("ul"));
  for (const deep of ["> ".repeat(25) + "x", "- ".repeat(25) + "x", `${" ".repeat(64)}- x`]) {
    assert.deepEqual(tags(`a\n\n${deep}`), ["p"], deep);
  }
});

const ANSWER = `# Plan

First **bold** and a [link](https://example.org).

1. one
2. two

   still two
3. three

| a | b |
|---|---|
| 1 | 2 |

\`\`\`js
const a = 1;

const b = 2;
\`\`\`

> quote
> goes on

- [ ] todo
- [x] done

Last line`;

const shape = (blocks: readonly Block[]) => blocks.map(({ token }) => [token.type, token.raw.trimEnd()]);

test("however the text is cut, the streamed blocks end as the whole text's blocks", () => {
  const whole = shape(new GrowingBlocks().update(ANSWER));
  for (const step of [1, 2, 3, 7, 20, 100]) {
    const growing = new GrowingBlocks();
    let blocks: readonly Block[] = [];
    for (let end = 0; end <= ANSWER.length + step; end += step) blocks = growing.update(ANSWER.slice(0, end));
    assert.deepEqual(shape(blocks), whole, `cut every ${step}`);
  }
});

test("a finished block is never parsed again: its token stays the same object", () => {
  const growing = new GrowingBlocks();
  const before = growing.update("one\n\ntwo\n\nthr");
  const after = growing.update("one\n\ntwo\n\nthree and more");
  assert.equal(after[0]?.token, before[0]?.token);
  assert.equal(after[1]?.token, before[1]?.token);
  assert.notEqual(after[2]?.token, before[2]?.token);
  assert.deepEqual(after.map(({ key }) => key), before.map(({ key }) => key));
});

test("a text that was replaced, not continued, is parsed afresh", () => {
  const growing = new GrowingBlocks();
  growing.update("one\n\ntwo");
  assert.deepEqual(shape(growing.update("three\n\nfour")), [["paragraph", "three"], ["paragraph", "four"]]);
});

test("carriage returns cut in half change nothing", () => {
  const growing = new GrowingBlocks();
  for (const text of ["a\r", "a\r\n", "a\r\n\r", "a\r\n\r\nb"]) growing.update(text);
  assert.deepEqual(shape(growing.update("a\r\n\r\nb")), [["paragraph", "a"], ["paragraph", "b"]]);
});

test("a bare address ends before the quotes and stops behind it", () => {
  const seen = (markdown: string) => {
    const { elements, text } = render(markdown);
    return [elements.find(({ tag }) => tag === "a")?.props["href"], text];
  };
  const cases: readonly [string, string][] = [
    ['say `x` http://evil.example","x" now', "http://evil.example/"],
    ["“http://a.example/b”, he said", "http://a.example/b"],
    ["'http://a.example/b'. Next", "http://a.example/b"],
    ["http://a.example/it's?q=1,2", "http://a.example/it's?q=1,2"],
    ["(http://a.example/b)", "http://a.example/b"],
    ["[http://a.example/b\"c](http://a.example/b)", "http://a.example/b"],
  ];
  for (const [markdown, href] of cases) assert.equal(seen(markdown)[0], href, markdown);
  assert.equal(seen('http://evil.example","x" now')[1], 'http://evil.example","x" now');
  assert.equal(seen("mail a@b.example, please")[0], "mailto:a@b.example");
});

test("an id is one piece, and its text is unchanged", () => {
  const { elements, text } = render("See STORY-14 and **EPIC-2**, not x-1 or UTF-8a.");
  assert.equal(elements.filter(({ props }) => props["class"] === "whole").length, 2);
  assert.equal(text, "See STORY-14 and EPIC-2, not x-1 or UTF-8a.");
});

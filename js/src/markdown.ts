// Markdown to vnodes: marked's lexer makes tokens, tokens become elements. No HTML string exists anywhere,
// so there is nothing to sanitise: raw HTML shows as the text that it is.
import { Lexer, type Token, type Tokens } from "marked";
import { type ComponentChildren, createElement as h, Fragment } from "preact";
import { CodeBlock } from "./components/code";
import { Sideways } from "./components/sideways";

/** Longer blocks than this show as plain text: inline rules cost more than linear time. */
const MAX_INLINE = 20_000;
const MAX_DEPTH = 20;
/** Many quote or list markers in one line, or a very deep indentation: the lexer recurses on each. */
const TOO_DEEP = /^(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))){20}|^(?:[ \t]{60})[ \t]*(?:[-*+>]|\d{1,9}[.)])/m;

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** `href` as an absolute address that is safe to follow, or null. */
export function safeHref(href: unknown): string | null {
  if (typeof href !== "string") return null;
  try {
    const url = new URL(href);
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A finished block never changes again; `key` is its offset in the text. */
export interface Block {
  readonly key: number;
  readonly token: Token;
}

function plain(text: string): Token {
  return { type: "plain", raw: text, text };
}

/** The blocks of `text`; whatever the lexer cannot take shows as plain text. */
export function lex(text: string): Token[] {
  if (TOO_DEEP.test(text)) return [plain(text)];
  try {
    const lexer = new Lexer({ gfm: true });
    const tokens = lexer.blockTokens(text, lexer.tokens);
    for (const { src, tokens: into } of lexer.inlineQueue) {
      if (src.length > MAX_INLINE) into.push(plain(src));
      else lexer.inlineTokens(src, into);
    }
    return tokens;
  } catch {
    return [plain(text)];
  }
}

/** The blocks of a text that grows: all but the last are kept as they are and never parsed again. */
export class GrowingBlocks {
  private text = "";
  private done: Block[] = [];
  private end = 0;

  update(raw: string): readonly Block[] {
    const text = raw.replace(/\r\n?/g, "\n");
    if (!text.startsWith(this.text)) {
      this.done = [];
      this.end = 0;
    }
    this.text = text;
    const tail = lex(text.slice(this.end));
    const last = tail.findLastIndex((token) => token.type !== "space");
    for (const token of tail.slice(0, Math.max(last, 0))) this.freeze(token);
    const open: Block[] = [];
    let key = this.end;
    for (const token of tail.slice(Math.max(last, 0))) {
      if (token.type !== "space") open.push({ key, token });
      key += token.raw.length;
    }
    return [...this.done, ...open];
  }

  private freeze(token: Token): void {
    if (token.type !== "space") this.done.push({ key: this.end, token });
    this.end += token.raw.length;
  }
}

// ------------------------------------------------------------------------------------------- tokens -> vnodes

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", hellip: "…", mdash: "—", ndash: "–", copy: "©",
  rarr: "→", larr: "←", times: "×", bull: "•", middot: "·", le: "≤", ge: "≥", ne: "≠", check: "✓", deg: "°",
};

export function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([a-zA-Z]{2,8}));/g, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const point = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}

function children(tokens: readonly Token[] | undefined, depth: number): ComponentChildren {
  return tokens?.map((token, i) => h(Fragment, { key: i }, vnode(token, depth + 1)));
}

function link(href: unknown, content: ComponentChildren, title?: string | null): ComponentChildren {
  const safe = safeHref(href);
  if (!safe) return h("span", { class: "dead-link", title: String(href ?? "") }, content);
  return h("a", { href: safe, target: "_blank", rel: "noopener noreferrer", title: title || undefined }, content);
}

/** An address in the middle of a text: the lexer takes the quotes and brackets behind it for a part of it. */
function bareLink({ raw, href }: Tokens.Link): ComponentChildren {
  const stop = raw.search(/[\s"“”„«»<>`]/);
  let end = stop < 0 ? raw.length : stop;
  // Not by one expression: on a long row of dots it would take the square of its length.
  while ("'’.,;:!?".includes(raw.charAt(end - 1)) && end > 0) end -= 1;
  const rest = raw.slice(end);
  return [link(rest ? href.slice(0, href.length - rest.length) : href, raw.slice(0, end)), rest];
}

const ID = /\b([A-Z][A-Z\d]{1,9}-\d+)\b/;

/** Text in which an id like STORY-14 is never broken at its hyphen. */
function words(text: string): ComponentChildren {
  const pieces = text.split(ID);
  if (pieces.length === 1) return text;
  return pieces.map((piece, i) => (i % 2 ? h("span", { key: i, class: "whole" }, piece) : piece));
}

function table(token: Tokens.Table, depth: number): ComponentChildren {
  const cell = (tag: "th" | "td") => (one: Tokens.TableCell, i: number) =>
    h(tag, { key: i, style: one.align ? { textAlign: one.align } : undefined }, children(one.tokens, depth));
  const rows = h(
    "table",
    null,
    h("thead", null, h("tr", null, token.header.map(cell("th")))),
    h("tbody", null, token.rows.map((row, i) => h("tr", { key: i }, row.map(cell("td"))))),
  );
  return h(Sideways, { label: "Table", children: rows });
}

function list(token: Tokens.List, depth: number): ComponentChildren {
  const items = token.items.map((item, i) =>
    h("li", { key: i, class: item.task ? "task" : undefined }, children(item.tokens, depth)),
  );
  return token.ordered ? h("ol", { start: Number(token.start) || 1 }, items) : h("ul", null, items);
}

/** The element for one token. Unknown tokens show their source. */
export function vnode(token: Token, depth = 0): ComponentChildren {
  if (depth > MAX_DEPTH) return token.raw;
  const t = token as Tokens.Generic;
  const inside = () => children(t.tokens, depth);
  switch (t.type) {
    case "space":
    case "def":
      return null;
    case "paragraph":
      return h("p", null, inside());
    case "heading":
      return h(`h${Math.min(Math.max(Number(t["depth"]), 1), 6)}`, null, inside());
    case "text":
      return t.tokens ? inside() : words(t["escaped"] ? String(t["text"]) : decodeEntities(String(t["text"])));
    case "strong":
    case "em":
    case "del":
      return h(t.type, null, inside());
    case "codespan":
      return h("code", null, String(t["text"]));
    case "code":
      return h(CodeBlock, { code: String(t["text"]), language: String(t["lang"] ?? "").split(/\s/)[0] ?? "" });
    case "br":
      return h("br", null);
    case "hr":
      return h("hr", null);
    case "blockquote":
      return h("blockquote", null, inside());
    case "list":
      return list(t as Tokens.List, depth);
    case "checkbox":
      return h("span", { class: t["checked"] ? "tick on" : "tick", role: "img", "aria-label": t["checked"] ? "done" : "to do" });
    case "table":
      return table(t as Tokens.Table, depth);
    case "link":
      return t.raw.startsWith("[") || t.raw.startsWith("<")
        ? link(t["href"], inside(), t["title"] as string | null)
        : bareLink(t as Tokens.Link);
    case "image":
      return link(t["href"], `🖼 ${String(t["text"] || t["href"])}`);
    case "escape":
      return String(t["text"]);
    case "plain":
      return h("p", { class: "plain" }, t.raw);
    case "html":
      return t["block"] ? h("p", { class: "plain" }, t.raw.trimEnd()) : t.raw;
    default:
      return t.raw;
  }
}

export type { Token };

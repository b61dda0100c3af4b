// What outlives a page reload: submitted texts that the kernel has not shown yet, and the draft.
// One storage key per text, so that two tabs of one session never overwrite each other.

export interface Outgoing {
  readonly id: string;
  readonly text: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface Keep {
  outgoing(session: string): Outgoing[];
  put(session: string, message: Outgoing): void;
  drop(session: string, id: string): void;
  draft(session: string): string;
  setDraft(session: string, text: string): void;
}

type Area = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

const sent = (session: string) => `edchat:sent:${session}:`;
const draftOf = (session: string) => `edchat:draft:${session}`;

/** Storage may be absent, full or forbidden (sandboxed frames): then texts last as long as the page. */
function tolerant<T>(action: () => T, otherwise: T): T {
  try {
    return action();
  } catch {
    return otherwise;
  }
}

function parse(raw: string | null): Outgoing | null {
  const value = tolerant<unknown>(() => JSON.parse(raw ?? "null"), null);
  if (typeof value !== "object" || value === null) return null;
  const { id, text, at } = value as Partial<Outgoing>;
  if (typeof id !== "string" || typeof text !== "string" || typeof at !== "number") return null;
  return Number.isNaN(new Date(at).getTime()) ? null : { id, text, at };
}

export function keepIn(lasting: Area | null, page: Area | null): Keep {
  return {
    outgoing: (session) =>
      tolerant(() => {
        const keys = Array.from({ length: lasting?.length ?? 0 }, (_, i) => lasting?.key(i) ?? "");
        return keys
          .filter((key) => key.startsWith(sent(session)))
          .map((key) => parse(lasting?.getItem(key) ?? null))
          .filter((message) => message !== null)
          .sort((a, b) => a.at - b.at);
      }, []),
    put: (session, message) =>
      tolerant(() => lasting?.setItem(sent(session) + message.id, JSON.stringify(message)), undefined),
    drop: (session, id) => tolerant(() => lasting?.removeItem(sent(session) + id), undefined),
    draft: (session) => tolerant(() => page?.getItem(draftOf(session)) ?? "", ""),
    setDraft: (session, text) =>
      tolerant(
        () => (text ? page?.setItem(draftOf(session), text) : page?.removeItem(draftOf(session))),
        undefined,
      ),
  };
}

export function browserKeep(): Keep {
  return keepIn(
    tolerant(() => globalThis.localStorage ?? null, null),
    tolerant(() => globalThis.sessionStorage ?? null, null),
  );
}

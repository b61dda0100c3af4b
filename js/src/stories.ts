// Artifact data is JSON from a peer that may be older or newer: read what is there, invent nothing.
import { PRIORITIES, type Priority, type Story } from "./protocol.gen";

type Data = Readonly<Record<string, unknown>>;

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];

/** The story in `data`, or null where id or title is missing. */
export function storyOf(data: unknown): Story | null {
  if (typeof data !== "object" || data === null) return null;
  const d = data as Data;
  const id = typeof d["id"] === "number" ? String(d["id"]) : text(d["id"]);
  const title = text(d["title"]);
  if (!id || !title) return null;
  const points = d["points"];
  return {
    id,
    title,
    epic: text(d["epic"]),
    priority: PRIORITIES.find((p) => p === d["priority"]) ?? ("P2" satisfies Priority),
    status: (text(d["status"]) || "Backlog") as NonNullable<Story["status"]>,
    type: (text(d["type"]) || "story") as NonNullable<Story["type"]>,
    userStory: text(d["userStory"]),
    description: text(d["description"]),
    acceptanceCriteria: texts(d["acceptanceCriteria"]),
    definitionOfDone: texts(d["definitionOfDone"]),
    points: typeof points === "number" ? points : null,
    labels: texts(d["labels"]),
    assignee: text(d["assignee"]) || null,
    technicalDetails: text(d["technicalDetails"]),
    url: text(d["url"]) || null,
  };
}

/** The stories in a `stories` artifact; null where it holds none of that shape. */
export function storiesOf(data: Data): Story[] | null {
  const list = data["stories"];
  if (!Array.isArray(list)) return null;
  return list.map(storyOf).filter((story) => story !== null);
}

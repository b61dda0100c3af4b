// Small texts for people.
import type { ConnectionView, Priority, Story } from "./protocol.gen";

export const PRIORITY_WORDS: Readonly<Record<Priority, string>> = {
  P0: "Critical",
  P1: "High",
  P2: "Normal",
  P3: "Low",
};

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function exactTime(iso: string | null | undefined): string | undefined {
  const date = new Date(iso ?? Number.NaN);
  if (Number.isNaN(date.getTime())) return undefined;
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function clock(iso: string | null | undefined): string {
  const date = new Date(iso ?? Number.NaN);
  if (Number.isNaN(date.getTime())) return "";
  return date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

export const KERNEL_STOPPED = "This notebook's kernel has stopped. Run the cell again.";

/** The words as sentences, each with its one stop. */
export function sentences(...words: readonly (string | null | undefined)[]): string {
  return words
    .filter((some) => some)
    .map((some) => (/[.!?…]$/.test(some ?? "") ? some : `${some}.`))
    .join(" ");
}

export interface BadgeLook {
  readonly tone: "good" | "busy" | "bad";
  readonly text: string;
  readonly detail: string;
  /** Seconds to the next try. */
  readonly wait?: number;
}

/** How frames travel, where it is not by the WebSocket. */
const CARRIED: Readonly<Record<string, readonly [short: string, why: string]>> = {
  http: ["HTTP", "Carried over HTTP, since the WebSocket cannot be had or is switched off"],
  poll: ["HTTP, polling", "Asked for over HTTP again and again, since something on the way holds streams up: answers may come in pieces"],
};

/** The badge's words. `tone` is a colour and an icon; the text says the same. */
export function badgeLook(connection: ConnectionView, gone: boolean): BadgeLook {
  if (gone) return { tone: "bad", text: "Disconnected", detail: KERNEL_STOPPED };
  const { state, latency_ms: latency, attempt = 0, max_attempts: most, retry_in_ms: wait } = connection;
  const why = [connection.reason, connection.hint];
  switch (state) {
    case "connected":
    case "fallback": {
      const by = CARRIED[connection.carrier ?? (state === "fallback" ? "http" : "")];
      const ms = latency == null ? "" : ` (${latency < 1 ? "<1" : Math.round(latency)}ms)`;
      const facts = [
        connection.server ? `Server: ${connection.server}` : "",
        by?.[1],
        connection.guaranteed === false ? "This server does not confirm messages" : "",
        connection.notice,
      ];
      return { tone: "good", text: `Connected${ms}${by ? ` · ${by[0]}` : ""}`, detail: sentences(...facts, ...why) };
    }
    case "reconnecting": {
      const seconds = wait == null ? 0 : Math.max(0, Math.ceil(wait / 1000));
      const next = seconds > 0 ? `Next try in ${seconds} s` : "";
      const count = most ? `Attempt ${attempt} of ${most}` : "";
      return {
        tone: "busy",
        text: attempt > 0 ? `Reconnecting (attempt ${attempt})...` : "Reconnecting...",
        detail: sentences(...why, count, next),
        ...(seconds > 0 ? { wait: seconds } : {}),
      };
    }
    case "disconnected":
      return { tone: "bad", text: "Disconnected", detail: sentences(...why) };
    default:
      return { tone: "busy", text: "Connecting...", detail: sentences(...why) };
  }
}

/** `create_story` as a person would say it. */
export function toolTitle(title: string | undefined, tool: string): string {
  if (title) return title;
  const words = tool.replace(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function section(title: string, items: readonly string[] | undefined, mark: string): string[] {
  return items?.length ? ["", `**${title}**`, "", ...items.map((item) => `${mark} ${item}`)] : [];
}

export function storyMarkdown(story: Story): string {
  const facts = [
    `**${story.priority}** ${PRIORITY_WORDS[story.priority] ?? ""}`.trim(),
    story.status ?? "",
    story.epic ? `Epic: ${story.epic}` : "",
    story.points == null ? "" : `${story.points} points`,
    story.assignee ? `@${story.assignee}` : "",
  ];
  return [
    `### ${story.id}: ${story.title}`,
    "",
    facts.filter(Boolean).join(" · "),
    ...(story.userStory ? ["", `> ${story.userStory}`] : []),
    ...(story.description ? ["", story.description] : []),
    ...section("Acceptance criteria", story.acceptanceCriteria, "- [ ]"),
    ...section("Definition of done", story.definitionOfDone, "- [ ]"),
    ...(story.technicalDetails ? ["", "**Technical details**", "", story.technicalDetails] : []),
    ...(story.labels?.length ? ["", `Labels: ${story.labels.join(", ")}`] : []),
    ...(story.url ? ["", story.url] : []),
    "",
  ].join("\n");
}

export function storiesMarkdown(stories: readonly Story[]): string {
  const cell = (value: unknown) => String(value ?? "").replaceAll("|", "\\|").replaceAll("\n", " ");
  const rows = stories.map(
    (s) => `| ${[s.id, s.title, s.priority, s.status, s.epic, s.points].map(cell).join(" | ")} |`,
  );
  return ["| ID | Title | Priority | Status | Epic | Points |", "|---|---|---|---|---|---:|", ...rows, ""].join("\n");
}

import { Icon, type IconName } from "../components/icons";
import { PRIORITY_WORDS } from "../format";
import type { Story } from "../protocol.gen";

export function PriorityMark({ priority, short = false }: { priority: Story["priority"]; short?: boolean }) {
  const word = PRIORITY_WORDS[priority];
  return (
    <span class={`priority ${priority.toLowerCase()}`} title={`Priority ${priority}: ${word}`}>
      {priority}
      {!short && <span class="word">{word}</span>}
    </span>
  );
}

export function StatusMark({ status }: { status: string }) {
  return (
    <span class={`status ${status.toLowerCase().replace(/\s+/g, "-")}`}>
      <i aria-hidden="true" />
      {status}
    </span>
  );
}

const TYPE_ICONS: Readonly<Record<string, IconName>> = { story: "story", bug: "bug", task: "task", spike: "spike" };

export function TypeMark({ type }: { type: string }) {
  return (
    <span class={`type ${type}`} title={type} role="img" aria-label={type}>
      <Icon name={TYPE_ICONS[type] ?? "story"} />
    </span>
  );
}

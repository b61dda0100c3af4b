import { useState } from "preact/hooks";
import { CopyButton } from "../components/copy";
import { Icon } from "../components/icons";
import { Markdown } from "../components/text";
import { storyMarkdown } from "../format";
import { safeHref } from "../markdown";
import type { Story } from "../protocol.gen";
import { PriorityMark, StatusMark, TypeMark } from "./marks";

/** Longer lists fold after this many. */
const MOST_SHOWN = 5;

function Criteria({ items }: { items: readonly string[] }) {
  const [all, setAll] = useState(false);
  const folded = !all && items.length > MOST_SHOWN + 1;
  const shown = folded ? items.slice(0, MOST_SHOWN) : items;
  return (
    <section>
      <h4>
        Acceptance criteria <span class="count">{items.length}</span>
      </h4>
      <ul class="criteria">
        {shown.map((item, i) => (
          <li key={i}>{item}</li>
        ))}
      </ul>
      {folded && (
        <button type="button" class="link" onClick={() => setAll(true)}>
          Show all {items.length}
        </button>
      )}
    </section>
  );
}

function Folded({ title, count, children }: { title: string; count?: number; children: preact.ComponentChildren }) {
  return (
    <details>
      <summary>
        {title}
        {count !== undefined && <span class="count">{count}</span>}
      </summary>
      {children}
    </details>
  );
}

function Facts({ story }: { story: Story }) {
  return (
    <div class="facts">
      {story.epic && (
        <span title={`Epic: ${story.epic}`}>
          <Icon name="folder" />
          <span class="sr-only">Epic: </span>
          {story.epic}
        </span>
      )}
      {story.points != null && <span>{story.points === 1 ? "1 point" : `${story.points} points`}</span>}
      {story.assignee && (
        <span title={`Assignee: ${story.assignee}`}>
          <Icon name="person" />
          <span class="sr-only">Assignee: </span>
          {story.assignee}
        </span>
      )}
    </div>
  );
}

export function StoryCard({ story }: { story: Story }) {
  const href = safeHref(story.url);
  const { acceptanceCriteria: criteria = [], definitionOfDone: done = [], labels = [] } = story;
  return (
    <section class="card story" aria-label={`Story ${story.id}: ${story.title}`} data-id={story.id}>
      <div class="card-head">
        <TypeMark type={story.type ?? "story"} />
        <span class="id">{story.id}</span>
        <PriorityMark priority={story.priority} />
        <StatusMark status={story.status ?? "Backlog"} />
        <span class="gap" />
        {href && (
          <a class="ghost" href={href} target="_blank" rel="noopener noreferrer" title="Open" aria-label="Open">
            <Icon name="open" />
          </a>
        )}
        <CopyButton text={() => storyMarkdown(story)} label="Copy as Markdown" />
      </div>
      <h3>{story.title}</h3>
      <Facts story={story} />
      {story.userStory && <p class="user-story">{story.userStory}</p>}
      {story.description && <Markdown text={story.description} />}
      {criteria.length > 0 && <Criteria items={criteria} />}
      {done.length > 0 && (
        <Folded title="Definition of done" count={done.length}>
          <ul class="criteria">
            {done.map((item, i) => (
              <li key={i}>{item}</li>
            ))}
          </ul>
        </Folded>
      )}
      {story.technicalDetails && (
        <Folded title="Technical details">
          <Markdown text={story.technicalDetails} />
        </Folded>
      )}
      {labels.length > 0 && (
        <ul class="labels" aria-label="Labels">
          {labels.map((label) => (
            <li key={label}>{label}</li>
          ))}
        </ul>
      )}
    </section>
  );
}

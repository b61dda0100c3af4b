import { CopyButton } from "../components/copy";
import { Icon } from "../components/icons";
import { storiesMarkdown } from "../format";
import type { Story } from "../protocol.gen";
import { PriorityMark, StatusMark } from "./marks";

export function StoriesCard({ stories }: { stories: readonly Story[] }) {
  const title = stories.length === 1 ? "1 story" : `${stories.length} stories`;
  return (
    <section class="card stories" aria-label={title}>
      <div class="card-head">
        <span class="type">
          <Icon name="list" />
        </span>
        <strong>{title}</strong>
        <span class="gap" />
        {stories.length > 0 && <CopyButton text={() => storiesMarkdown(stories)} label="Copy as Markdown" />}
      </div>
      {stories.length > 0 && (
        <div class="scroll-x tall" tabIndex={0} role="group" aria-label="Table of stories">
          <table>
            <thead>
              <tr>
                <th>ID</th>
                <th>Title</th>
                <th>Priority</th>
                <th>Status</th>
                <th>Epic</th>
                <th class="number">Points</th>
              </tr>
            </thead>
            <tbody>
              {stories.map((story) => (
                <tr key={story.id}>
                  <td class="id">{story.id}</td>
                  <td class="title">{story.title}</td>
                  <td>
                    <PriorityMark priority={story.priority} short />
                  </td>
                  <td>
                    <StatusMark status={story.status ?? "Backlog"} />
                  </td>
                  <td>{story.epic}</td>
                  <td class="number">{story.points ?? "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

import { CopyButton } from "../components/copy";
import { Icon } from "../components/icons";
import { Sideways } from "../components/sideways";
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
        <Sideways label="Table of stories" tall>
          <table>
            <thead>
              <tr>
                <th>ID</th>
                <th>Priority</th>
                <th>Status</th>
                <th>Title</th>
                <th>Epic</th>
                <th class="number">Points</th>
              </tr>
            </thead>
            <tbody>
              {stories.map((story) => (
                <tr key={story.id}>
                  <td class="id">{story.id}</td>
                  <td>
                    <PriorityMark priority={story.priority} short />
                  </td>
                  <td>
                    <StatusMark status={story.status ?? "Backlog"} />
                  </td>
                  <td class="title">
                    <span class="clamp" title={story.title}>
                      {story.title}
                    </span>
                  </td>
                  <td class="epic">
                    <span class="clamp" title={story.epic}>
                      {story.epic}
                    </span>
                  </td>
                  <td class="number">{story.points ?? "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Sideways>
      )}
    </section>
  );
}

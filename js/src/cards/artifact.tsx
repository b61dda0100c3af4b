import type { ArtifactPart } from "../protocol.gen";
import { storiesOf, storyOf } from "../stories";
import { StoriesCard } from "./stories";
import { StoryCard } from "./story";
import { UnknownCard } from "./unknown";

/** The card for what a tool made; what this panel does not know shows as its fields. */
export function ArtifactCard({ part }: { part: ArtifactPart }) {
  if (part.artifact === "story") {
    const story = storyOf(part.data);
    if (story) return <StoryCard story={story} />;
  }
  if (part.artifact === "stories") {
    const stories = storiesOf(part.data);
    if (stories) return <StoriesCard stories={stories} />;
  }
  return <UnknownCard kind={part.artifact} data={part.data} />;
}

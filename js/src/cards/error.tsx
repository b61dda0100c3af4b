import { useConversation } from "../components/context";
import { Icon } from "../components/icons";
import type { ErrorPart } from "../protocol.gen";
import type { MessageCell } from "../store";

export function ErrorCard({ part, answer }: { part: ErrorPart; answer: MessageCell }) {
  const conversation = useConversation();
  return (
    <section class="card error" aria-label="Error">
      <div class="card-head">
        <Icon name="alert" />
        <strong>{part.message}</strong>
      </div>
      {part.hint && <p>{part.hint}</p>}
      <div class="error-foot">
        <code>{part.code}</code>
        {part.retryable !== false && (
          <button type="button" class="small" onClick={() => conversation.retryAnswer(answer.id)}>
            Retry
          </button>
        )}
      </div>
    </section>
  );
}

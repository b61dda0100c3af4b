import { useConversation } from "./context";
import { Icon } from "./icons";

const STARTERS = [
  "Create a P1 story for user authentication in the Security epic",
  "Which P0 and P1 stories are in the backlog?",
  "File a P0 bug: checkout fails for large carts, Payments epic",
];

/** What the thread shows before the first message. */
export function Empty({ write }: { write: (text: string) => void }) {
  const { store, silent } = useConversation();
  const waiting = store.session.value === null;
  return (
    <div class="empty">
      <span class="mark large">
        <Icon name="spark" />
      </span>
      <h3>Say what you need. It becomes a story.</h3>
      {waiting ? (
        <p>
          {silent.value
            ? "No answer from the kernel yet. If no cell is running, run this cell again."
            : "Waiting for the kernel…"}
        </p>
      ) : (
        <p>One sentence is enough; priority, epic and criteria are understood.</p>
      )}
      <ul class="starters" aria-label="Examples">
        {STARTERS.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => write(text)}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

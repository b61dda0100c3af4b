import { useConversation } from "../components/context";
import { useNow } from "../components/hooks";
import { Icon, type IconName, Spinner } from "../components/icons";
import { duration, toolTitle } from "../format";
import type { Progress, ToolCallPart } from "../protocol.gen";
import { hasFailed, type MessageCell } from "../store";

const HOUR_MS = 3_600_000;

type Phase = "running" | "done" | "failed" | "waiting";

function phaseOf(part: ToolCallPart, over: boolean): Phase {
  switch (part.state ?? "input-available") {
    case "output-available":
      return "done";
    case "output-error":
    case "output-denied":
      return "failed";
    case "approval-requested":
      return "waiting";
    default:
      return over ? "failed" : "running";
  }
}

/** When it began, by this page's clock: the server's word where the two clocks roughly agree. */
function startOf(part: ToolCallPart, seen: number): number {
  const said = Date.parse(part.started_at ?? "");
  return seen - said >= 0 && seen - said < HOUR_MS ? said : seen;
}

function Elapsed({ start }: { start: number }) {
  const now = useNow(true, 100);
  return <>{duration(Math.max(0, now - start))}</>;
}

function ProgressBar({ progress }: { progress: Progress }) {
  const { percent, step, seconds_left: left } = progress;
  const words = [step, left == null ? null : `about ${Math.ceil(left)} s left`].filter(Boolean).join(" · ");
  return (
    <div class="progress">
      {percent != null && <progress max={100} value={percent} aria-label={step ?? "Progress"} />}
      {words && <span>{words}</span>}
    </div>
  );
}

const STATE_WORDS: Readonly<Record<Phase, string>> = {
  running: "Running",
  done: "Done",
  failed: "Failed",
  waiting: "Waiting for your decision",
};

const STATE_ICONS: Readonly<Record<Exclude<Phase, "running">, IconName>> = {
  done: "check",
  failed: "alert",
  waiting: "clock",
};

/** What went in and what came out. */
function Exchange({ part }: { part: ToolCallPart }) {
  return (
    <div class="exchange">
      <p class="caption">Tool</p>
      <code>{part.tool}</code>
      {Object.keys(part.input ?? {}).length > 0 && (
        <>
          <p class="caption">Asked for</p>
          <pre tabIndex={0}>{JSON.stringify(part.input, null, 2)}</pre>
        </>
      )}
      {part.output && (
        <>
          <p class="caption">Result</p>
          <pre tabIndex={0}>{part.output}</pre>
        </>
      )}
    </div>
  );
}

/** One Retry for one answer: the error's own, or else that of the last tool that failed. */
function isLastFailure(part: ToolCallPart, answer: MessageCell): boolean {
  if (hasFailed(answer)) return false;
  const calls = answer.parts.value.map((cell) => cell.part.value).filter((other) => other.kind === "tool_call");
  return calls.findLast((call) => phaseOf(call, true) === "failed")?.id === part.id;
}

export function ToolCard({ part, seen, answer }: { part: ToolCallPart; seen: number; answer: MessageCell }) {
  const conversation = useConversation();
  const over = answer.head.value.state === "incomplete" || answer.head.value.state === "complete";
  const phase = phaseOf(part, over);
  const title = toolTitle(part.title, part.tool);
  const reason = part.error ?? (part.state === "output-denied" ? "Declined" : over ? "Not finished" : "The tool failed");
  return (
    <section class={`card tool ${phase}`} aria-label={`${title}: ${STATE_WORDS[phase]}`} data-tool={part.tool}>
      <details>
        <summary class="card-head">
          <span class="tool-state">
            {phase === "running" ? <Spinner /> : <Icon name={STATE_ICONS[phase]} />}
          </span>
          <strong>{title}</strong>
          <span class="gap" />
          <span class="took">
            {STATE_WORDS[phase]}
            {phase === "running" && <span> · <Elapsed start={startOf(part, seen)} /></span>}
            {phase !== "running" && part.duration_ms != null && ` · ${duration(part.duration_ms)}`}
          </span>
        </summary>
        <Exchange part={part} />
      </details>
      {phase === "running" && part.progress && <ProgressBar progress={part.progress} />}
      {phase === "failed" && (
        <p class="reason">
          <span>{reason}</span>
          {over && isLastFailure(part, answer) && (
            <button type="button" class="small" onClick={() => conversation.retryAnswer(answer.id)}>
              Retry
            </button>
          )}
        </p>
      )}
    </section>
  );
}

import { type RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useConversation } from "./context";
import { Empty } from "./empty";
import { Icon } from "./icons";
import { MessageView, PendingView, Typing } from "./message";

/** Closer to the bottom than this counts as being there. */
const NEAR_PX = 24;
/** How many of the last messages are drawn at first, and how many more each time the reader goes up. */
const PAGE = 60;
/** While the reader follows the end, the top is taken off again beyond this many. */
const MOST = 3 * PAGE;

interface Follow {
  /** Not at the bottom. */
  readonly away: boolean;
  readonly toBottom: () => void;
}

const UPWARDS = new Set(["ArrowUp", "PageUp", "Home", "Tab"]);

/** Keeps the end in sight while the reader is there, and lets go as soon as they scroll up. */
function useFollow(scroller: RefObject<HTMLElement | null>, content: RefObject<HTMLElement | null>): Follow {
  const follows = useRef(true);
  const [away, setAway] = useState(false);
  const toBottom = () => {
    follows.current = true;
    setAway(false);
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  };
  useLayoutEffect(() => {
    const element = scroller.current;
    const inner = content.current;
    if (!element || !inner) return undefined;
    /** What the last look found: the browser moves the view by itself when content or panel shrink. */
    let was = { top: 0, height: 0, room: 0 };
    let byHand = false;
    const settle = () => {
      if (follows.current) element.scrollTop = element.scrollHeight;
      const { scrollTop: top, scrollHeight: height, clientHeight: room } = element;
      was = { top, height, room };
      setAway(!follows.current && height - top - room >= NEAR_PX);
    };
    const onScroll = () => {
      const { scrollTop: top, scrollHeight: height, clientHeight: room } = element;
      const below = height - top - room;
      const unchanged = height === was.height && room === was.room;
      if (below < 2) {
        follows.current = true;
        byHand = false;
      } else if (top < was.top && (byHand || unchanged)) follows.current = false;
      else if (top > was.top && below < NEAR_PX) follows.current = true;
      settle();
    };
    const onWheel = (event: WheelEvent) => (byHand ||= event.deltaY < 0);
    const onKeyDown = (event: KeyboardEvent) => (byHand ||= UPWARDS.has(event.key));
    const onTouch = () => (byHand = true);
    // On the element itself there is nothing to press but its scrollbar.
    const onPointerDown = (event: PointerEvent) => (byHand ||= event.target === element);
    const observer = new ResizeObserver(settle);
    observer.observe(inner);
    observer.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    element.addEventListener("wheel", onWheel, { passive: true });
    element.addEventListener("touchmove", onTouch, { passive: true });
    element.addEventListener("keydown", onKeyDown);
    element.addEventListener("pointerdown", onPointerDown);
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", onScroll);
      element.removeEventListener("wheel", onWheel);
      element.removeEventListener("touchmove", onTouch);
      element.removeEventListener("keydown", onKeyDown);
      element.removeEventListener("pointerdown", onPointerDown);
    };
  }, [scroller, content]);
  return { away, toBottom };
}

/** How many messages came while the reader was away from the bottom. */
function useUnseen(away: boolean, count: number): number {
  const seen = useRef(count);
  useEffect(() => {
    if (!away) seen.current = count;
  }, [away, count]);
  return away ? Math.max(0, count - seen.current) : 0;
}

/** From which message on the thread is drawn. It moves only when nobody can see it move. */
function useStart(session: string | null, count: number, away: boolean): [start: number, earlier: () => void] {
  const [, redraw] = useState(0);
  const window = useRef({ session, start: 0 }).current;
  if (window.session !== session || (!away && count - window.start > MOST)) {
    window.start = Math.max(0, count - PAGE);
  }
  window.session = session;
  const start = Math.min(window.start, count);
  const earlier = () => {
    window.start = Math.max(0, start - PAGE);
    redraw((times) => times + 1);
  };
  return [start, earlier];
}

export function Thread({ write }: { write: (text: string) => void }) {
  const conversation = useConversation();
  const { store } = conversation;
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const messages = store.messages.value;
  const pending = conversation.pending.value;
  const { away, toBottom } = useFollow(scroller, content);
  const unseen = useUnseen(away, messages.length + pending.length);
  const session = store.session.value;
  const [start, drawEarlier] = useStart(session, messages.length, away);

  useLayoutEffect(toBottom, [session]);
  const submitted = pending.at(-1)?.id;
  useLayoutEffect(() => {
    if (submitted) toBottom();
  }, [submitted]);

  const earlier = () => {
    const element = scroller.current;
    const before = element ? element.scrollHeight - element.scrollTop : 0;
    drawEarlier();
    requestAnimationFrame(() => {
      if (element) element.scrollTop = element.scrollHeight - before;
    });
  };

  return (
    <div class="thread">
      <div class="scroller" ref={scroller} tabIndex={0} role="log" aria-live="off" aria-label="Conversation">
        <div class="messages" ref={content}>
          {messages.length + pending.length === 0 && <Empty write={write} />}
          {start > 0 && (
            <button type="button" class="small earlier" onClick={earlier}>
              Show earlier messages ({start})
            </button>
          )}
          {messages.slice(start).map((cell) => (
            <MessageView key={cell.id} cell={cell} />
          ))}
          {pending.map((entry) => (
            <PendingView key={entry.id} entry={entry} />
          ))}
          <Typing />
        </div>
      </div>
      {away && (
        <button type="button" class="jump" onClick={toBottom}>
          <Icon name="down" />
          Jump to latest{unseen > 0 ? ` · ${unseen} new` : ""}
        </button>
      )}
    </div>
  );
}

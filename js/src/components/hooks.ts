import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** The time, again every `ms` while `active`. */
export function useNow(active: boolean, ms: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!active) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [active, ms]);
  return now;
}

/** Moves the focus to `field` when the control that had it goes: else the page has it, and keys leave the panel. */
export function useKeptFocus(
  panel: RefObject<HTMLElement | null>,
  field: RefObject<HTMLTextAreaElement | null>,
): void {
  useLayoutEffect(() => {
    const element = panel.current;
    if (!element) return undefined;
    let last: EventTarget | null = null;
    const onFocusIn = (event: FocusEvent) => (last = event.target);
    // Some engines tell of the focus that a removal takes away, others do not.
    const onFocusOut = (event: FocusEvent) => {
      const left = event.target as Element;
      requestAnimationFrame(() => left.isConnected && last === left && (last = null));
    };
    const observer = new MutationObserver(() => {
      if (!(last instanceof Element) || last.isConnected) return;
      last = null;
      if (document.activeElement === document.body || document.activeElement === null) field.current?.focus();
    });
    element.addEventListener("focusin", onFocusIn);
    element.addEventListener("focusout", onFocusOut);
    observer.observe(element, { childList: true, subtree: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("focusin", onFocusIn);
      element.removeEventListener("focusout", onFocusOut);
    };
  }, [panel, field]);
}

/** Tells by `data-more` on `box` at which ends there is more to see in what scrolls sideways. */
export function useEdges(scroller: RefObject<HTMLElement | null>): string {
  const [more, setMore] = useState("");
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    const look = () => {
      const rest = element.scrollWidth - element.clientWidth - element.scrollLeft;
      setMore([element.scrollLeft > 1 ? "before" : "", rest > 1 ? "after" : ""].join(" ").trim());
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    if (element.firstElementChild) observer.observe(element.firstElementChild);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [scroller]);
  return more;
}

async function toClipboard(text: string, near: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http and some webviews have no clipboard API: the old way needs a selected field.
    const field = document.createElement("textarea");
    field.value = text;
    field.style.cssText = "position:fixed;opacity:0";
    near.after(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    near.focus();
    return done;
  }
}

/** Whether the last copy went well (for two seconds), and the action. */
export function useCopy(): [copied: boolean, copy: (text: string, near: HTMLElement) => void] {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = (text: string, near: HTMLElement) => {
    void toClipboard(text, near).then((done) => {
      setCopied(done);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setCopied(false), 2000);
    });
  };
  return [copied, copy];
}

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { useEdges } from "./hooks";

/** A table that may be wider than its place: it scrolls, and fades out where there is more. */
export function Sideways({ label, tall = false, children }: { label: string; tall?: boolean; children: ComponentChildren }) {
  const scroller = useRef<HTMLDivElement>(null);
  const more = useEdges(scroller);
  return (
    <div class="sideways" data-more={more}>
      <div class={tall ? "scroll-x tall" : "scroll-x"} ref={scroller} tabIndex={0} role="group" aria-label={label}>
        {children}
      </div>
    </div>
  );
}

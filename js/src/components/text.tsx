import { createElement as h } from "preact";
import { useRef } from "preact/hooks";
import { type Block, GrowingBlocks, vnode } from "../markdown";
import { Boundary } from "./boundary";

/** One block; the same token is the same output, so finished blocks are never rendered again. */
function BlockView({ block }: { block: Block }) {
  const last = useRef<{ token: unknown; output: ReturnType<typeof vnode> } | null>(null);
  if (last.current?.token !== block.token) last.current = { token: block.token, output: vnode(block.token) };
  return <>{last.current.output}</>;
}

/** Markdown that may still be growing. */
export function Markdown({ text, open = false }: { text: string; open?: boolean }) {
  const blocks = useRef<GrowingBlocks>(null);
  blocks.current ??= new GrowingBlocks();
  return (
    <div class={open ? "md open" : "md"}>
      {blocks.current.update(text).map((block) => (
        <Boundary key={block.key} label="This passage" source={() => block.token.raw}>
          {h(BlockView, { block })}
        </Boundary>
      ))}
    </div>
  );
}

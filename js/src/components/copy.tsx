import { useCopy } from "./hooks";
import { Icon } from "./icons";

export function CopyButton({ text, label }: { text: () => string; label: string }) {
  const [copied, copy] = useCopy();
  return (
    <button
      type="button"
      class={copied ? "ghost copied" : "ghost"}
      title={copied ? "Copied" : label}
      aria-label={copied ? "Copied" : label}
      onClick={(event) => copy(text(), event.currentTarget)}
    >
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}

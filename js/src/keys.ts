// What keys mean in the composer, and which events the notebook around us must not see.

export type KeyPress = Pick<
  KeyboardEvent,
  "key" | "keyCode" | "isComposing" | "shiftKey" | "altKey" | "ctrlKey" | "metaKey"
>;

/** What a key press asks the composer to do; null: nothing special. `empty`: there is no text. */
export function composerKey(press: KeyPress, empty: boolean): "send" | "recall" | null {
  // 229 is what Safari reports for the Enter that ends an input method's composition.
  if (press.isComposing || press.keyCode === 229) return null;
  if (press.key === "Enter" && !press.shiftKey && !press.altKey) return "send";
  const plain = !press.shiftKey && !press.altKey && !press.ctrlKey && !press.metaKey;
  return press.key === "ArrowUp" && plain && empty ? "recall" : null;
}

const PRIVATE = ["keydown", "keyup", "keypress", "beforeinput", "input", "paste", "copy", "cut", "dblclick", "contextmenu"];

/** Keeps keys and clipboard events inside `root`, and tells the host's own listeners to leave `host` alone. */
export function keepKeysIn(root: HTMLElement, host: HTMLElement): () => void {
  const stop = (event: Event) => event.stopPropagation();
  for (const name of PRIVATE) root.addEventListener(name, stop);
  // JupyterLab matches shortcuts in the capture phase, before any listener of ours: it looks for this mark.
  host.dataset["lmSuppressShortcuts"] = "true";
  host.dataset["jpSuppressContextMenu"] = "true";
  return () => {
    for (const name of PRIVATE) root.removeEventListener(name, stop);
    delete host.dataset["lmSuppressShortcuts"];
    delete host.dataset["jpSuppressContextMenu"];
  };
}

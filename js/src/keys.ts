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

/** A key that writes something. The space bar does not count: beside the field it scrolls. */
export function isLetter(press: KeyPress): boolean {
  return press.key.length === 1 && press.key !== " " && !press.ctrlKey && !press.altKey && !press.metaKey;
}

const PRIVATE = ["keyup", "keypress", "beforeinput", "input", "paste", "copy", "cut", "dblclick", "contextmenu"];

/** Saving the notebook is the one shortcut of the host that people also press while they write to us. */
export function isSave(press: KeyPress): boolean {
  return (press.ctrlKey || press.metaKey) && !press.shiftKey && !press.altKey && press.key.toLowerCase() === "s";
}

/** Presses the same key once more where the host listens; what it takes, the browser does not get. */
function passOn(event: KeyboardEvent, host: HTMLElement): void {
  const { key, code, keyCode, ctrlKey, metaKey } = event;
  const init = { key, code, keyCode, ctrlKey, metaKey, bubbles: true, composed: true, cancelable: true };
  if (host.parentElement?.dispatchEvent(new KeyboardEvent("keydown", init)) === false) event.preventDefault();
}

/** Keeps keys and clipboard events inside `root`, and tells the host's own listeners to leave `host` alone. */
export function keepKeysIn(root: HTMLElement, host: HTMLElement): () => void {
  const stop = (event: Event) => event.stopPropagation();
  const onKeyDown = (event: KeyboardEvent) => {
    event.stopPropagation();
    if (isSave(event)) passOn(event, host);
  };
  root.addEventListener("keydown", onKeyDown);
  for (const name of PRIVATE) root.addEventListener(name, stop);
  // JupyterLab matches shortcuts in the capture phase, before any listener of ours: it looks for this mark.
  host.dataset["lmSuppressShortcuts"] = "true";
  host.dataset["jpSuppressContextMenu"] = "true";
  return () => {
    root.removeEventListener("keydown", onKeyDown);
    for (const name of PRIVATE) root.removeEventListener(name, stop);
    delete host.dataset["lmSuppressShortcuts"];
    delete host.dataset["jpSuppressContextMenu"];
  };
}

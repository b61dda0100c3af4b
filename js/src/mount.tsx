// One view: a shadow root with our styles, the panel in it, and what undoes both.
import { render } from "preact";
import { Boundary } from "./components/boundary";
import { Panel } from "./components/panel";
import type { Conversation } from "./conversation";
import { keepKeysIn } from "./keys";
import css from "./style.css";
import { watchTheme } from "./theme";

let shared: CSSStyleSheet | null = null;

function adoptStyle(shadow: ShadowRoot): void {
  try {
    if (!shared) {
      shared = new CSSStyleSheet();
      shared.replaceSync(css);
    }
    shadow.adoptedStyleSheets = [shared];
  } catch {
    // Older engines, and sheets made in another document than the shadow root's.
    const style = document.createElement("style");
    style.textContent = css;
    shadow.append(style);
  }
}

/** Shows the conversation in `el`; returns the cleanup. */
export function mount(conversation: Conversation, el: HTMLElement): () => void {
  const host = document.createElement("div");
  host.className = "edchat-host";
  el.replaceChildren(host);
  const shadow = host.attachShadow({ mode: "open" });
  adoptStyle(shadow);
  const root = document.createElement("div");
  root.className = "root";
  shadow.append(root);
  const showKeys = keepKeysIn(root, host);
  const endTheme = watchTheme(el, (theme) => (host.dataset["theme"] = theme));
  render(
    <Boundary label="The chat panel">
      <Panel conversation={conversation} />
    </Boundary>,
    root,
  );
  return () => {
    render(null, root);
    endTheme();
    showKeys();
    host.remove();
  };
}

// Light or dark, as the host has it. Every host says so in its own way.

export type Theme = "light" | "dark";

interface Marked {
  readonly classList: { contains(name: string): boolean };
  getAttribute(name: string): string | null;
}

/** What one element says about the theme, or null. */
export function themeSaidBy(element: Marked): Theme | null {
  const jupyter = element.getAttribute("data-jp-theme-light");
  if (jupyter !== null) return jupyter === "false" ? "dark" : "light";
  const has = (name: string) => element.classList.contains(name);
  if (has("vscode-high-contrast-light") || has("vscode-light")) return "light";
  if (has("vscode-dark") || has("vscode-high-contrast")) return "dark";
  const named = element.getAttribute("data-theme") ?? element.getAttribute("theme");
  if (has("dark") || named === "dark") return "dark";
  if (has("light") || named === "light") return "light";
  return null;
}

/** The elements around `el`, innermost first, out of every shadow root that it stands in, and the page's own. */
function* around(el: Element): Generator<Element> {
  for (let at: Element | null = el; at; ) {
    yield at;
    const root = at.getRootNode();
    at = at.parentElement ?? (root instanceof ShadowRoot ? root.host : null);
  }
  // Hosts render into an element first and attach it later.
  yield document.body;
  yield document.documentElement;
}

export function themeOf(el: Element): Theme {
  for (const element of around(el)) {
    const said = themeSaidBy(element);
    if (said) return said;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Calls `change` now and whenever the host's theme changes; returns what ends it. */
export function watchTheme(el: Element, change: (theme: Theme) => void): () => void {
  let now: Theme | null = null;
  const look = () => {
    const theme = themeOf(el);
    if (theme !== now) change((now = theme));
  };
  const observer = new MutationObserver(look);
  const attributeFilter = ["class", "data-jp-theme-light", "data-theme", "theme"];
  for (const element of [document.documentElement, document.body]) {
    observer.observe(element, { attributes: true, attributeFilter });
  }
  const attached = new ResizeObserver(look);
  attached.observe(el);
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", look);
  look();
  return () => {
    observer.disconnect();
    attached.disconnect();
    media.removeEventListener("change", look);
  };
}

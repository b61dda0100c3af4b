import { Component, type ComponentChildren } from "preact";

interface Props {
  readonly label: string;
  /** What to show of the broken thing, as text. */
  readonly source?: () => string;
  readonly children: ComponentChildren;
}

/** One broken part shows as itself, in words, and takes nothing else with it. */
export class Boundary extends Component<Props, { failed: boolean }> {
  override state = { failed: false };

  static override getDerivedStateFromError() {
    return { failed: true };
  }

  override render({ label, source, children }: Props) {
    if (!this.state.failed) return children;
    return (
      <div class="card broken">
        <p>{label} cannot be shown.</p>
        {source && (
          <details>
            <summary>Its content</summary>
            <pre>{source()}</pre>
          </details>
        )}
      </div>
    );
  }
}

import { safeHref } from "../markdown";

function Value({ value }: { value: unknown }) {
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return <>{value.map(String).join(", ")}</>;
  if (typeof value === "object" && value !== null) return <pre tabIndex={0}>{JSON.stringify(value, null, 2)}</pre>;
  const href = safeHref(value);
  if (href) {
    return (
      <a href={href} target="_blank" rel="noopener noreferrer">
        {String(value)}
      </a>
    );
  }
  return <>{String(value)}</>;
}

/** A kind that a newer peer knows: its fields, in words. */
export function UnknownCard({ kind, data }: { kind: string; data: object }) {
  const rows = Object.entries(data).filter(([key, value]) => key !== "kind" && value !== null && value !== "");
  return (
    <section class="card unknown" aria-label={kind}>
      <div class="card-head">
        <strong>{kind}</strong>
      </div>
      <dl>
        {rows.map(([key, value]) => (
          <div key={key}>
            <dt>{key}</dt>
            <dd>
              <Value value={value} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

// Line icons, drawn on a grid of 16.
const PATHS = {
  plus: "M8 3.5v9M3.5 8h9",
  send: "M8 13V3.5M3.75 7.5 8 3.25l4.25 4.25",
  down: "M8 3v9.5M3.75 8.5 8 12.75l4.25-4.25",
  copy: "M5.75 5.75h7.5v7.5h-7.5zM10.25 5.5V2.75h-7.5v7.5H5.5",
  check: "m3.25 8.5 3.25 3.25 6.25-7",
  alert: "M8 5v3.5M8 11v.25M8 1.75 15 14H1z",
  off: "m4.5 4.5 7 7M11.5 4.5l-7 7",
  retry: "M13 8a5 5 0 1 1-1.6-3.67M13 2.5v2.75h-2.75",
  clock: "M8 2.25a5.75 5.75 0 1 0 0 11.5 5.75 5.75 0 0 0 0-11.5M8 5v3.25l2 1.5",
  here: "M2.5 3.25h11v7.5h-11zM5.5 13.25h5M8 10.75v2.5",
  open: "M6.5 3.25H3.25v9.5h9.5V9.5M9.25 3.25h3.5v3.5M12.5 3.5 7.5 8.5",
  person: "M8 8.25a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M3.25 13.25c.6-2.2 2.4-3.25 4.75-3.25s4.15 1.05 4.75 3.25",
  folder: "M2 4.25h4l1.5 1.75H14v7H2z",
  story: "M4.25 2.5h7.5v11L8 10.75 4.25 13.5z",
  bug: "M5.25 7.5a2.75 2.75 0 0 1 5.5 0v2.75a2.75 2.75 0 0 1-5.5 0zM2.5 9h2.75M10.75 9h2.75M3 5l2.4 1.6M13 5l-2.4 1.6M3 13l2.5-1.5M13 13l-2.5-1.5",
  task: "M3 3h10v10H3zM5.5 8.25l1.75 1.75 3.25-3.75",
  spike: "M9 1.75 3.75 9H8l-1 5.25L12.25 7H8z",
  list: "M5.5 4.25h8M5.5 8h8M5.5 11.75h8M2.5 4.25h.01M2.5 8h.01M2.5 11.75h.01",
  spark: "M8 2.25 9.5 6.5 13.75 8 9.5 9.5 8 13.75 6.5 9.5 2.25 8 6.5 6.5z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Spinner() {
  return <span class="spinner" aria-hidden="true" />;
}

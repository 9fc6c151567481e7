// The colours of the charts, from the style sheet: it alone knows dark from light.

const SERIES = 8;

export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The colour of the nth of several things that have none of their own. */
export const nth = (index) => `series-${(index % SERIES) + 1}`;

/** Things that mean the same everywhere look the same everywhere. */
export const MEANING = {
  answered: "good",
  cached: "cached",
  degraded: "warn",
  failed: "bad",
  blocked: "blocked",
  cancelled: "quiet",
  p50: "series-1",
  p95: "series-3",
  p99: "series-5",
  queue: "queue",
  work: "work",
};

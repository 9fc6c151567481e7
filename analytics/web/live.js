// The pipeline now: what waits, what is in flight, what has been put aside.

import { tiles } from "./content.js";
import { count, seconds, words } from "./format.js";

const EVERY_S = 5;
const SLOW_S = 60;

export const live = {
  id: "live",
  title: "The pipeline now",
  size: "full",
  everyS: EVERY_S,
  optional: true,
  asks: () => ({ now: { path: "/v1/analytics/live" } }),
  show: ({ now }) => ({
    nodes: [tiles(figures(now))],
    note: [...new Set(Object.values(now.faults ?? {}))].join(". "),
    folded: true,
    table: now.topics && topicsTable(now.topics),
  }),
};

const topicsTable = (topics) => ({
  caption: "Topics and their readers",
  columns: COLUMNS,
  rows: topics.map((each) => ({ ...each, oldest: seconds(each.oldest_s) })),
});

const COLUMNS = [
  { name: "stage", title: "Stage" },
  { name: "topic", title: "Topic" },
  { name: "group", title: "Consumer group" },
  { name: "lag", title: "Waiting", kind: "count" },
  { name: "oldest", title: "Oldest" },
  { name: "members", title: "Readers", kind: "count" },
];

const late = (seconds_) => (seconds_ > SLOW_S ? "warn" : null);

/** What the answer has: what is not for this key's eyes is not in it, and what cannot be read now is null. */
function figures(now) {
  const told = Object.entries(PARTS).filter(([part]) => part in now);
  return told.flatMap(([part, figuresOf]) => figuresOf(now[part] ?? {}));
}

const PARTS = {
  in_flight: ({ requests, put_aside: aside }) => [
    {
      name: "In flight",
      figure: "in_flight",
      value: requests,
      text: count(requests),
      more: aside ? `${count(aside)} put aside for a retry` : "requests without a reply yet",
    },
  ],
  topics: (topics) => [waiting(Array.isArray(topics) ? topics : [])],
  dead_letters: ({ waiting: letters }) => [
    {
      name: "Dead letters",
      figure: "dead_letters",
      value: letters,
      text: count(letters),
      more: "put aside, to be looked at",
      tone: letters > 0 ? "warn" : null,
    },
  ],
  sink: ({ lag, state, oldest_s: oldest, freshness_s: fresh }) => [
    {
      name: "Log to ClickHouse",
      figure: "sink_lag",
      value: lag,
      text: count(lag),
      more: `records behind; ${words(state)}`,
      tone: late(oldest),
    },
    {
      name: "Newest row",
      figure: "freshness_s",
      value: fresh,
      text: seconds(fresh),
      more: "since its request was accepted",
    },
  ],
  rollups: ({ behind_s: behind }) => [
    {
      name: "Rollups",
      figure: "rollups_behind_s",
      value: behind,
      text: seconds(behind),
      more: "since they were last computed",
      tone: late(behind),
    },
  ],
};

function waiting(topics) {
  const known = topics.filter(({ lag }) => lag !== null && lag !== undefined);
  const lag = known.length ? known.reduce((sum, each) => sum + each.lag, 0) : null;
  const oldest = Math.max(0, ...topics.map(({ oldest_s: age }) => age ?? 0));
  return {
    name: "Waiting",
    figure: "waiting",
    value: lag,
    text: count(lag),
    more: oldest ? `records; the oldest for ${seconds(oldest)}` : "records in topics",
    tone: late(oldest),
  };
}

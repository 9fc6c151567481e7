// The overview: how much, how dear, how fast, how well; the pipeline now; the latest requests.

import { apart, listed, overTime, tiles } from "./content.js";
import { brief, count, ms, share, usd } from "./format.js";
import { latestColumns } from "./requests.js";
import { MEANING } from "./palette.js";
import { live } from "./live.js";
import { stages } from "./stages.js";

export const ALL = ["model", "prompt_template", "prompt_version", "experiment"];
export const OUTCOMES = ["answered", "cached", "degraded", "failed", "blocked", "cancelled"];
const series = { query: "traffic_series", filters: ALL, bucket: true };

/** A panel of numbers of requests over time, upon one another. `counts`: {column, name, color}. */
export const counted = (id, title, counts) => ({
  id,
  title,
  asks: () => ({ rows: series }),
  show: ({ rows }, { window }) => overTime({ title, rows, window, unit: "count", kind: "bars", series: counts }),
});
/** A column that is called, and drawn, as what it counts. */
export const outcome = (name) => ({ column: name, name, color: MEANING[name] });

const totals = {
  id: "totals",
  title: "In this time",
  size: "full",
  asks: () => ({ totals: { query: "traffic_totals", filters: ALL } }),
  show({ totals: [all] }) {
    if (!all || !all.requests)
      return { empty: 'No requests in this time. Choose a longer time, or send one: headrace send "your question".' };
    return { nodes: [tiles(headline(all))] };
  },
};

function headline(all) {
  const tone = (value, limit) => (value > limit ? "warn" : null);
  return [
    {
      name: "Requests",
      figure: "requests",
      value: all.requests,
      text: brief(all.requests),
      more: `${count(all.successful)} with an answer`,
    },
    {
      name: "Cost",
      figure: "cost_usd",
      value: all.cost_usd,
      text: usd(all.cost_usd),
      more: `${usd(all.mean_cost_usd)} a request`,
    },
    {
      name: "Latency p95",
      figure: "p95_latency_ms",
      value: all.p95_latency_ms,
      text: ms(all.p95_latency_ms),
      more: `p50 ${ms(all.p50_latency_ms)}, p99 ${ms(all.p99_latency_ms)}`,
    },
    {
      name: "Errors",
      figure: "error_share",
      value: all.error_share,
      text: share(all.error_share),
      more: `${count(all.failed)} failed, ${count(all.degraded)} degraded`,
      tone: tone(all.error_share, 0.05),
    },
    {
      name: "Blocked",
      figure: "block_share",
      value: all.block_share,
      text: share(all.block_share),
      more: `${count(all.blocked)} by guardrails`,
    },
    {
      name: "Cache hits",
      figure: "hit_share",
      value: all.hit_share,
      text: share(all.hit_share),
      more:
        all.saved_usd === null
          ? `${count(all.cache_hits)} of ${count(all.cache_lookups)} lookups`
          : `some ${usd(all.saved_usd)} saved`,
    },
    {
      name: "Fallbacks",
      figure: "fallback_share",
      value: all.fallback_share,
      text: share(all.fallback_share),
      more: `${count(all.fallbacks)} to another model`,
      tone: tone(all.fallback_share, 0.1),
    },
    {
      name: "Tokens",
      figure: "tokens",
      value: all.input_tokens + all.output_tokens,
      text: brief(all.input_tokens + all.output_tokens),
      more: `${brief(all.input_tokens)} in, ${brief(all.output_tokens)} out`,
    },
  ];
}

const volume = counted("volume", "Requests by outcome", OUTCOMES.map(outcome));

export const latency = {
  id: "latency",
  title: "Latency",
  note: "From acceptance to the reply.",
  asks: () => ({ series }),
  show: ({ series: rows }, { window }) =>
    overTime({
      title: "Latency",
      rows,
      window,
      unit: "ms",
      series: ["p50", "p95", "p99"].map((name) => ({ column: `${name}_latency_ms`, name, color: MEANING[name] })),
    }),
};

const cost = {
  id: "cost",
  title: "Cost by model",
  asks: () => ({ rows: { query: "cost_series", filters: ALL, bucket: true, more: { by: "model" } } }),
  show: ({ rows }, { window }) =>
    apart({
      title: "Cost by model",
      rows,
      window,
      key: (row) => row.key || "no model",
      column: "cost_usd",
      unit: "usd",
    }),
};

const latest = {
  id: "latest",
  title: "Latest requests",
  size: "full",
  everyS: 10,
  asks: () => ({ rows: { query: "latest_requests", more: { limit: 10 } } }),
  show: ({ rows }, context) => listed({ title: "Latest requests", rows, columns: latestColumns(context) }),
};

export const overview = {
  id: "overview",
  title: "Overview",
  panels: [totals, live, volume, latency, cost, stages, latest],
};

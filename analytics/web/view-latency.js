// How fast: in all, by stage (waiting and working), by provider and model.

import { apart, ranked } from "./content.js";
import { el } from "./dom.js";
import { nth } from "./palette.js";
import { stages } from "./stages.js";
import { latency as inAll } from "./view-overview.js";

const MODEL = ["model"];
const MEASURES = {
  p50_work_ms: "p50 work",
  p95_work_ms: "p95 work",
  p99_work_ms: "p99 work",
  p50_queue_ms: "p50 waiting",
  p95_queue_ms: "p95 waiting",
  p99_queue_ms: "p99 waiting",
};
const measured = (state) => (state.stage in MEASURES ? state.stage : "p95_work_ms");

function chooser({ state, go }) {
  const options = Object.entries(MEASURES).map(([value, name]) =>
    el("option", { value, selected: value === measured(state) }, name),
  );
  return [
    el("select", { change: (event) => go({ stage: event.target.value }), "aria-label": "What of the stages" }, options),
  ];
}

const overTimeByStage = {
  id: "stage-series",
  title: "Stages over time",
  tools: chooser,
  asks: () => ({ rows: { query: "stage_series", filters: MODEL, bucket: true } }),
  show: ({ rows }, { state, window }) =>
    apart({
      title: `Stages over time, ${MEASURES[measured(state)]}`,
      rows,
      window,
      key: (row) => row.stage,
      column: measured(state),
      unit: "ms",
      kind: "lines",
      colors: Object.fromEntries(
        ["guardrail", "cache", "llm", "output", "cost"].map((name, index) => [name, nth(index)]),
      ),
    }),
};

const calls = {
  id: "calls",
  title: "Calls of providers at p95",
  asks: () => ({ rows: { query: "provider_calls", filters: MODEL } }),
  show: ({ rows }) =>
    ranked({
      title: "Calls of providers",
      rows,
      name: (row) => row.model,
      unit: "ms",
      parts: [{ column: "p95_duration_ms", name: "p95 duration", color: "series-1" }],
      columns: [
        { name: "provider", title: "Provider" },
        { name: "model", title: "Model" },
        { name: "calls", title: "Calls", kind: "count" },
        { name: "error_share", title: "Failed", kind: "share" },
        { name: "retries", title: "Retries", kind: "count" },
        { name: "p50_duration_ms", title: "p50", kind: "ms" },
        { name: "p95_duration_ms", title: "p95", kind: "ms" },
        { name: "p50_first_token_ms", title: "p50 first token", kind: "ms" },
        { name: "p95_first_token_ms", title: "p95 first token", kind: "ms" },
        { name: "cost_usd", title: "Cost", kind: "usd" },
      ],
    }),
};

export const latency = {
  id: "latency",
  title: "Latency",
  panels: [{ ...inAll, size: "full" }, stages, overTimeByStage, { ...calls, size: "full" }],
};

// What the cache saves, and what the guardrails stop.

import { ALL, counted, outcome } from "./view-overview.js";
import { ranked } from "./content.js";

const hits = counted("hits", "Cache hits", [{ column: "cache_hits", name: "hits", color: "cached" }]);

const kinds = {
  id: "cache",
  title: "Cache by kind",
  note: "Saved: what an answered miss of the same prompt cost on average, for each hit. An estimate.",
  asks: () => ({ rows: { query: "cache_outcomes", filters: ALL } }),
  show: ({ rows }) =>
    ranked({
      title: "Cache by kind",
      rows: rows.map((row) => ({ ...row, kind: row.kind || "not asked" })),
      name: (row) => row.kind,
      parts: [{ column: "requests", name: "requests", color: "cached" }],
      unit: "count",
      columns: [
        { name: "kind", title: "Kind" },
        { name: "requests", title: "Requests", kind: "count" },
        { name: "request_share", title: "Share", kind: "share" },
        { name: "cost_usd", title: "Cost", kind: "usd" },
        { name: "saved_usd", title: "Saved", kind: "usd" },
        { name: "p50_latency_ms", title: "p50", kind: "ms" },
        { name: "p95_latency_ms", title: "p95", kind: "ms" },
      ],
    }),
};

const blocked = counted("blocked", "Blocked by guardrails", [outcome("blocked")]);

const verdicts = {
  id: "guardrails",
  title: "Verdicts by rule",
  note: "Input: before any model has seen it. Output: an answer that was withheld.",
  asks: () => ({ rows: { query: "blocks_by_rule", filters: ALL } }),
  show: ({ rows }) =>
    ranked({
      title: "Guardrail verdicts",
      rows,
      name: (row) => `${row.side} · ${row.rule}`,
      parts: [{ column: "blocked", name: "blocked", color: "blocked" }],
      unit: "count",
      columns: [
        { name: "side", title: "Side" },
        { name: "rule", title: "Rule" },
        { name: "blocked", title: "Blocked", kind: "count" },
        { name: "request_share", title: "Of all", kind: "share" },
      ],
    }),
};

export const cache = { id: "cache", title: "Cache and guardrails", panels: [hits, kinds, blocked, verdicts] };

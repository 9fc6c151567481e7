// Prompt versions, experiments' arms, and how good their answers are.

import { ALL } from "./view-overview.js";
import { listed, ranked } from "./content.js";

const HOW = [
  { name: "requests", title: "Requests", kind: "count" },
  { name: "successful", title: "Answered", kind: "count" },
  { name: "error_share", title: "Errors", kind: "share" },
  { name: "blocked", title: "Blocked", kind: "count" },
  { name: "hit_share", title: "Cache hits", kind: "share" },
  { name: "cost_usd", title: "Cost", kind: "usd" },
  { name: "mean_cost_usd", title: "Per request", kind: "usd" },
  { name: "p50_latency_ms", title: "p50", kind: "ms" },
  { name: "p95_latency_ms", title: "p95", kind: "ms" },
];
const VERSIONS = [
  { name: "prompt_template", title: "Template" },
  { name: "prompt_version", title: "Version" },
  ...HOW,
];
const asks = () => ({ rows: { query: "prompt_versions", filters: ALL } });
const version = (row) => [row.prompt_template || "own messages", row.prompt_version].filter(Boolean).join(" · ");

const prompts = {
  id: "prompts",
  title: "Prompt versions",
  size: "full",
  note: "Requests that brought their own messages have no template.",
  asks,
  show: ({ rows }) =>
    listed({
      title: "Prompt versions",
      rows,
      columns: VERSIONS,
    }),
};

const dear = {
  id: "prompt-cost",
  title: "Cost of a request, by version",
  asks,
  show: ({ rows }) =>
    ranked({
      title: "Cost of a request, by prompt version",
      rows,
      name: version,
      parts: [{ column: "mean_cost_usd", name: "Per request", color: "series-1" }],
      unit: "usd",
      columns: VERSIONS,
    }),
};

const slow = {
  id: "prompt-latency",
  title: "Latency p95, by version",
  asks,
  show: ({ rows }) =>
    ranked({
      title: "Latency p95, by prompt version",
      rows,
      name: version,
      parts: [{ column: "p95_latency_ms", name: "p95", color: "series-3" }],
      unit: "ms",
      columns: VERSIONS,
    }),
};

const experiments = {
  id: "experiments",
  title: "Experiments",
  size: "full",
  asks: () => ({ rows: { query: "experiment_outcomes", filters: ALL } }),
  show: ({ rows }) =>
    listed({
      title: "Arms of experiments",
      rows,
      columns: [{ name: "experiment", title: "Experiment" }, { name: "arm", title: "Arm" }, ...HOW],
      empty: "No request of this time was in an experiment.",
    }),
};

const quality = {
  id: "quality",
  title: "Scores",
  size: "full",
  asks: () => ({ rows: { query: "scores_by_arm", filters: ALL } }),
  show: ({ rows }) =>
    listed({
      title: "Scores",
      rows: rows.map((row) => ({
        ...row,
        ...Object.fromEntries(
          ["mean", "least", "most"].map((name) => [name, row[name] === null ? null : Number(row[name]).toFixed(3)]),
        ),
      })),
      columns: [
        { name: "score", title: "Score" },
        { name: "source", title: "From" },
        { name: "prompt_template", title: "Template" },
        { name: "prompt_version", title: "Version" },
        { name: "experiment", title: "Experiment" },
        { name: "arm", title: "Arm" },
        { name: "scores", title: "Scores", kind: "count" },
        { name: "mean", title: "Mean" },
        { name: "least", title: "Least" },
        { name: "most", title: "Most" },
      ],
      empty: "Nobody has scored an answer of this time.",
    }),
};

export const promptsView = {
  id: "prompts",
  title: "Prompts and experiments",
  panels: [prompts, dear, slow, experiments, quality],
};

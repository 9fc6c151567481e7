// How long each stage lets a request wait, and works on it.

import { ranked } from "./content.js";

const PERCENTILES = ["p50", "p95", "p99"];
const columnsOf = (sort) =>
  PERCENTILES.map((each) => ({ name: `${each}_${sort}_ms`, title: `${each} ${sort}`, kind: "ms" }));

export const stages = {
  id: "stages",
  title: "Stages at p95",
  note: "Waiting for the stage, and its work. Percentiles do not add up to a percentile.",
  asks: () => ({ rows: { query: "latency_by_stage", filters: ["model"] } }),
  show: ({ rows }) =>
    ranked({
      title: "Latency of stages",
      rows,
      name: (row) => row.stage,
      unit: "ms",
      parts: [
        { column: "p95_queue_ms", name: "p95 waiting", color: "queue" },
        { column: "p95_work_ms", name: "p95 work", color: "work" },
      ],
      columns: [
        { name: "stage", title: "Stage" },
        { name: "executions", title: "Executions", kind: "count" },
        { name: "repeats", title: "Repeats", kind: "count" },
        ...columnsOf("queue"),
        ...columnsOf("work"),
      ],
    }),
};

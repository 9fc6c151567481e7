// A request in a list: what it was, how it ended, and the way to its story.

import { MEANING } from "./palette.js";

export const statusMark = (status) => MEANING[status] ?? "quiet";

export function latestColumns({ state, link }) {
  return [
    {
      name: "accepted_at",
      title: "Accepted (UTC)",
      kind: "instant",
      link: (row) => link({ ...state, view: "request", request: row.request_id }),
    },
    { name: "status", title: "Status", mark: statusMark },
    { name: "tenant", title: "Tenant" },
    { name: "user_id", title: "User" },
    { name: "model", title: "Model" },
    { name: "prompt_template", title: "Prompt" },
    { name: "prompt_version", title: "Version" },
    { name: "cache_kind", title: "Cache" },
    { name: "latency_ms", title: "Latency", kind: "ms" },
    { name: "cost_usd", title: "Cost", kind: "usd" },
    { name: "error_code", title: "Error" },
  ];
}

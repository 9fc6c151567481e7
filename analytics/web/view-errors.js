// What goes wrong: requests without an answer, providers' errors, fallbacks, alerts.

import { ALL, counted, outcome } from "./view-overview.js";
import { listed, ranked } from "./content.js";
import { instant, seconds } from "./format.js";
import { statusMark } from "./requests.js";

const over = counted(
  "errors-series",
  "Requests without a proper answer",
  ["failed", "degraded", "cancelled"].map(outcome),
);
const fallbacksOver = counted("fallbacks-series", "Fallbacks to another model", [
  { column: "fallbacks", name: "fallbacks", color: "warn" },
]);

const errors = {
  id: "errors",
  title: "Why requests were not answered",
  asks: () => ({ rows: { query: "failures", filters: ALL, more: { source: "rollups", limit: 1000 } } }),
  show: ({ rows }) =>
    ranked({
      title: "Errors by code",
      rows,
      name: (row) => row.error_code || row.status,
      parts: [{ column: "requests", name: "requests", color: "bad" }],
      unit: "count",
      columns: [
        { name: "status", title: "Status", mark: statusMark },
        { name: "error_code", title: "Error" },
        { name: "requests", title: "Requests", kind: "count" },
        { name: "request_share", title: "Of all", kind: "share" },
      ],
    }),
};

const callErrors = {
  id: "call-errors",
  title: "Errors of providers",
  note: "Attempts, those that were tried again too.",
  asks: () => ({ rows: { query: "errors_by_provider", filters: ["model"], more: { source: "rollups" } } }),
  show: ({ rows }) =>
    ranked({
      title: "Errors of providers",
      rows,
      name: (row) => `${row.model} · ${row.error}`,
      parts: [{ column: "failed", name: "failed calls", color: "warn" }],
      unit: "count",
      columns: [
        { name: "provider", title: "Provider" },
        { name: "model", title: "Model" },
        { name: "error", title: "Error" },
        { name: "failed", title: "Failed", kind: "count" },
        { name: "calls", title: "Calls", kind: "count" },
        { name: "error_share", title: "Share", kind: "share" },
      ],
    }),
};

const fallbacks = {
  id: "fallbacks",
  title: "Fallbacks by the model that answered",
  asks: () => ({ rows: { query: "fallbacks_by_model", filters: ALL } }),
  show: ({ rows }) =>
    listed({
      title: "Fallbacks",
      rows,
      columns: [
        { name: "model", title: "Model" },
        { name: "requests", title: "Requests", kind: "count" },
        { name: "fallbacks", title: "Fallbacks", kind: "count" },
        { name: "fallback_share", title: "Share", kind: "share" },
        { name: "cost_usd", title: "Cost", kind: "usd" },
      ],
    }),
};

const SEVERITY = { warning: "warn", critical: "bad" };
const alerts = {
  id: "alerts",
  title: "Alerts",
  size: "full",
  note: "Those that stood at some time of the window; filtered by tenant alone.",
  optional: true,
  asks: () => ({ rows: { query: "alerts", more: { limit: 100 }, deaf: true } }),
  show: ({ rows }) =>
    listed({
      title: "Alerts",
      rows: rows.map((row) => ({
        ...row,
        tenant: row.tenant || "all",
        over: row.resolved_at ? instant(row.resolved_at) : "stands",
        lasted: seconds(row.duration_s),
      })),
      columns: [
        { name: "raised_at", title: "Raised (UTC)", kind: "instant" },
        { name: "severity", title: "Severity", mark: (severity) => SEVERITY[severity] ?? "quiet" },
        { name: "rule", title: "Rule" },
        { name: "tenant", title: "Tenant" },
        { name: "message", title: "What" },
        { name: "lasted", title: "For" },
        { name: "over", title: "Over (UTC)" },
      ],
      empty: "No alert stood in this time.",
    }),
};

export const errorsView = {
  id: "errors",
  title: "Errors",
  panels: [over, fallbacksOver, errors, callErrors, { ...fallbacks, size: "full" }, alerts],
};

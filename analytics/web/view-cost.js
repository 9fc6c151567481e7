// What it costs: over time, by whatever it can be divided by, by user, by day, against the budgets.

import { ALL } from "./view-overview.js";
import { apart, listed, overTime, ranked } from "./content.js";
import { el } from "./dom.js";
import { share, usd } from "./format.js";

const DIMENSIONS = {
  model: "model",
  tenant: "tenant",
  provider: "provider",
  prompt: "prompt version",
  experiment: "experiment arm",
};
const by = (state) => (state.by in DIMENSIONS ? state.by : "model");
const nameOf = (row) =>
  [row.key || "none", ["prompt", "experiment"].includes(row.by) ? row.detail : ""].filter(Boolean).join(" · ");
const told = (rows, state) =>
  rows.map((row) => ({ ...row, by: by(state) })).map((row) => ({ ...row, name: nameOf(row) }));

/** The name of the budget of all tenants together. */
const EVERYBODY = "*";
const COST = [
  { name: "requests", title: "Requests", kind: "count" },
  { name: "cost_usd", title: "Cost", kind: "usd" },
  { name: "mean_cost_usd", title: "Per request", kind: "usd" },
  { name: "input_tokens", title: "Input tokens", kind: "count" },
  { name: "output_tokens", title: "Output tokens", kind: "count" },
];

function chooser({ state, go }) {
  const options = Object.entries(DIMENSIONS).map(([value, name]) =>
    el("option", { value, selected: value === by(state) }, name),
  );
  const change = (event) => go({ by: event.target.value });
  return [
    el("label", { class: "choice" }, "by ", el("select", { change, "aria-label": "Divide the cost by" }, options)),
  ];
}

const overtime = {
  id: "cost-series",
  title: "Cost over time",
  size: "full",
  tools: chooser,
  asks: (state) => ({ rows: { query: "cost_series", filters: ALL, bucket: true, more: { by: by(state) } } }),
  show: ({ rows }, { state, window }) =>
    apart({
      title: `Cost by ${DIMENSIONS[by(state)]}`,
      rows: told(rows, state),
      window,
      key: (row) => row.name,
      column: "cost_usd",
      unit: "usd",
    }),
};

const divided = {
  id: "cost-by",
  title: "Dearest",
  asks: (state) => ({ rows: { query: "cost_by", filters: ALL, more: { by: by(state), limit: 50 } } }),
  show({ rows }, { state }) {
    const title = `Cost by ${DIMENSIONS[by(state)]}`;
    const columns = [{ name: "name", title: DIMENSIONS[by(state)] }, ...COST];
    return ranked({
      title,
      rows: told(rows, state),
      name: (row) => row.name,
      parts: [{ column: "cost_usd", name: "Cost", color: "series-1" }],
      unit: "usd",
      columns,
    });
  },
};

const days = {
  id: "cost-by-day",
  title: "Cost by day",
  note: "Whole days of the time chosen, UTC.",
  asks: () => ({
    rows: { query: "cost_by", filters: ALL, wholeDays: true, more: { by: "day", limit: 100 } },
    budgets: { path: "/v1/analytics/budgets", orElse: { budgets: [] } },
  }),
  show({ rows, budgets: { budgets } }, { window, state }) {
    const perDay = rows.map((row) => ({ ...row, time: `${row.key}T00:00:00Z` }));
    const daily = { ...window, sinceS: Date.parse(`${window.since.slice(0, 10)}T00:00:00Z`) / 1_000, bucketS: 86_400 };
    const series = [{ column: "cost_usd", name: "Cost", color: "series-1" }];
    const own = budgets.filter(({ tenant }) => !state.tenant || tenant === state.tenant);
    // A line is drawn of the one budget that what is drawn counts against.
    const whole = state.tenant || budgets.length === 1 ? own[0] : own.find(({ tenant }) => tenant === EVERYBODY);
    const limit = whole && { name: "Daily budget", value: whole.daily_usd };
    return {
      ...overTime({ title: "Cost by day", rows: perDay, window: daily, unit: "usd", kind: "bars", series, limit }),
      nodes: [budgetLines(own)],
    };
  },
};

function budgetLines(budgets) {
  if (!budgets.length) return el("p", { class: "note" }, "No daily budget is set.");
  return el(
    "ul",
    { class: "budgets" },
    budgets.map(({ tenant, daily_usd: daily, spent_usd: spent, share: used, day }) => {
      const name = tenant === EVERYBODY ? "All tenants" : tenant;
      const says = `${usd(spent)} of ${usd(daily)} (${share(used)}) on ${day}`;
      const meter = el("meter", {
        min: 0,
        max: 1,
        low: 0.8,
        high: 0.999,
        optimum: 0,
        value: Math.min(used ?? 0, 1),
        "aria-label": `${name}: ${says}`,
      });
      return el("li", {}, el("b", {}, name), meter, el("span", {}, says));
    }),
  );
}

const users = {
  id: "cost-by-user",
  title: "Users who cost most",
  size: "full",
  asks: () => ({ rows: { query: "cost_by_user", more: { source: "rollups", limit: 20 } } }),
  show: ({ rows }) =>
    ranked({
      title: "Users who cost most",
      rows,
      name: (row) =>
        rows.some(({ tenant }) => tenant !== row.tenant) ? `${row.user_id} (${row.tenant})` : row.user_id,
      parts: [{ column: "cost_usd", name: "Cost", color: "series-2" }],
      unit: "usd",
      columns: [
        { name: "tenant", title: "Tenant" },
        { name: "user_id", title: "User" },
        { name: "successful", title: "Answered", kind: "count" },
        { name: "errors", title: "Errors", kind: "count" },
        ...COST,
      ],
    }),
};

const prompts = {
  id: "cost-by-prompt",
  title: "By prompt version",
  size: "full",
  asks: () => ({ rows: { query: "cost_by", filters: ALL, more: { by: "prompt", limit: 50 } } }),
  show: ({ rows }) =>
    listed({
      title: "Cost by prompt version",
      rows,
      columns: [{ name: "key", title: "Template" }, { name: "detail", title: "Version" }, ...COST],
    }),
};

export const cost = { id: "cost", title: "Cost", panels: [overtime, divided, days, users, prompts] };

// The story of one request: what it was, where its time went, the calls and what they cost.

import { tiles } from "./content.js";
import { el } from "./dom.js";
import { count, instant, ms, usd, words } from "./format.js";
import { statusMark } from "./requests.js";
import { timeStory } from "./timestory.js";

const NANO = 1e9;

/** Requests are kept for 13 months, and until the month of the last of them is over. */
const KEPT = "450d";
/** Stages and calls. */
const KEPT_DETAILS_DAYS = 90;
const DAY_MS = 86_400_000;

const one = (query) => (state) => ({ query, anyTime: true, more: { request_id: state.request } });
const about = {
  asks: (state) => ({
    facts: { query: "request", anyTime: true, more: { request_id: state.request, since: KEPT } },
    stages: one("request_stages")(state),
    calls: one("request_calls")(state),
  }),
};
const UNKNOWN =
  "There is no request of this id, or it is not yours to see. What was sent a moment ago may take a second.";
/** Two tenants may use the same id: the story is told of the first, and the tenant's filter chooses. */
const mine = (facts, rows) => rows.filter(({ tenant }) => tenant === facts.tenant);

const facts = {
  ...about,
  id: "facts",
  title: "One request",
  size: "full",
  show({ facts: [all, other], stages }, { state, link }) {
    const back = el(
      "p",
      {},
      el("a", { href: link({ ...state, view: "requests", request: "" }), "data-go": true }, "All requests"),
    );
    if (!all) return { nodes: [back], empty: UNKNOWN };
    const notes = other
      ? [
          el(
            "p",
            { class: "notice" },
            `Another tenant has used the same id. This is ${all.tenant}'s; choose the tenant above for the other one.`,
          ),
        ]
      : [];
    return { nodes: [back, ...notes, tiles(heads(all)), pairs(details(all, mine(all, stages)))] };
  },
};

const heads = (all) => [
  {
    name: "Status",
    figure: "status",
    value: all.status,
    text: all.status,
    more: words(all.error_code),
    tone: ["failed", "degraded"].includes(all.status) ? "warn" : null,
  },
  {
    name: "Latency",
    figure: "latency_ms",
    value: all.latency_ms,
    text: ms(all.latency_ms),
    more: "acceptance to reply",
  },
  {
    name: "Cost",
    figure: "cost_usd",
    value: all.cost_usd,
    text: usd(all.cost_usd),
    more: `prices ${words(all.price_version)}, ${words(all.service_tier)}${all.long_context ? ", long prompt" : ""}`,
  },
  {
    name: "Tokens",
    figure: "tokens",
    value: all.input_tokens + all.output_tokens,
    text: count(all.input_tokens + all.output_tokens),
    more:
      `${count(all.input_tokens)} in, ${count(all.output_tokens)} out, ${count(all.cached_tokens)} cached, ` +
      `${count(all.cache_write_tokens)} put into the cache${all.usage_estimated ? "; estimated" : ""}`,
  },
];

/** What a guardrail said; of requests whose stages are not kept any more, only what it stopped is known. */
function verdict(rule, stage, stages) {
  if (rule) return `stopped by ${rule}`;
  if (!stages.length) return "";
  return stages.some((each) => each.stage === stage) ? "passed" : "not asked";
}

const details = (all, stages) => [
  ["Request", all.request_id],
  ["Accepted", `${instant(all.accepted_at)} UTC`],
  ["Tenant", all.tenant],
  ["User", all.user_id],
  ["Session", all.session_id],
  ["Tier", all.tier],
  ["Model", all.model],
  ["Provider", all.provider],
  ["Finish reason", all.finish_reason],
  ["Fallback", all.fallback ? "yes" : "no"],
  ["Streamed", all.stream ? "yes" : "no"],
  ["Prompt", [all.prompt_template, all.prompt_version].filter(Boolean).join(" · ")],
  ["Experiment", [all.experiment, all.arm].filter(Boolean).join(" · ")],
  [
    "Cache",
    [all.cache_kind, all.cache_similarity === null ? "" : `similarity ${Number(all.cache_similarity).toFixed(3)}`]
      .filter(Boolean)
      .join(", "),
  ],
  ["Guardrail, input", verdict(all.guardrail_input_rule, "guardrail", stages)],
  ["Guardrail, output", verdict(all.guardrail_output_rule, "output", stages)],
  ["Personal data redacted", all.pii_types?.join(", ")],
  ["Output flags", all.output_flags?.join(", ")],
  ["Tools", all.tools_used?.join(", ")],
  ["Error", all.error],
];

function pairs(given) {
  const told = given.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    { class: "pairs" },
    told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
  );
}

const waterfall = {
  ...about,
  id: "waterfall",
  title: "Where the time went",
  size: "full",
  show({ facts: [all], stages, calls: made }) {
    if (!all) return { empty: UNKNOWN };
    const own = mine(all, stages);
    if (!own.length) return { empty: `No stage of this request is stored: stages are kept for ${KEPT_DETAILS_DAYS} days.` };
    return timeStory(own, mine(all, made), all.latency_ms);
  },
};

const calls = {
  ...about,
  id: "request-calls",
  title: "Calls of providers",
  size: "full",
  show({ facts: [all], calls: made }) {
    if (!all) return { empty: UNKNOWN };
    const own = mine(all, made);
    if (!own.length) return { empty: detailsGone(all) ? CALLS_GONE : "No model was asked for it." };
    return {
      nodes: [el("p", { class: "sum" }, booked(own, all.cost_usd))],
      table: { caption: "Calls of providers", columns: CALLS, rows: own.map(called) },
    };
  },
};

const CALLS_GONE = `No call of this request is stored: calls are kept for ${KEPT_DETAILS_DAYS} days.`;
const detailsGone = ({ accepted_at: at }) => Date.now() - Date.parse(at) > KEPT_DETAILS_DAYS * DAY_MS;
const CALLS = [
  { name: "attempt", title: "Attempt", kind: "count" },
  { name: "provider", title: "Provider" },
  { name: "model", title: "Model" },
  { name: "started_ms", title: "Began at", kind: "ms" },
  { name: "duration_ms", title: "Took", kind: "ms" },
  { name: "first_token_ms", title: "First token", kind: "ms" },
  { name: "input_tokens", title: "In", kind: "count" },
  { name: "output_tokens", title: "Out", kind: "count" },
  { name: "cost_usd", title: "Cost", kind: "usd" },
  { name: "ended", title: "End", mark: (text) => statusMark(text === "stop" ? "answered" : "degraded") },
  { name: "kind", title: "Note" },
];
const called = (call) => ({
  ...call,
  ended: call.error ?? call.finish_reason,
  kind: [call.shadow && "shadow: not shown, not charged", call.orphaned && "lost with its worker: estimated"]
    .filter(Boolean)
    .join("; "),
});

/** Whether the calls that are charged add up to what the request cost, to the nano-dollar. */
function booked(calls, costUsd) {
  const nano = (value) => Math.round(Number(value) * NANO);
  const sum = calls.filter(({ shadow }) => !shadow).reduce((total, call) => total + nano(call.cost_usd), 0);
  const rest = nano(costUsd) - sum;
  const says = `${calls.length === 1 ? "One call" : `${calls.length} calls`}, ${usd(sum / NANO)} together`;
  return rest === 0
    ? `${says}: the cost of the request.`
    : `${says}; the request cost ${usd(costUsd)}, so ${usd(rest / NANO)} are from elsewhere (embeddings, retrieval, checks).`;
}

export const request = { id: "request", title: "One request", panels: [facts, waterfall, calls] };

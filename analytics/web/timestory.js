// Where a request's time went, in words, as a waterfall and as a table: all three add up to its latency.

import { BarChart } from "./barchart.js";
import { el } from "./dom.js";
import { exactMs, ms } from "./format.js";
import { divide } from "./waterfall.js";

const COLUMNS = [
  { name: "name", title: "Stage" },
  { name: "way", title: "On the way", kind: "exactMs" },
  { name: "queue", title: "Waited", kind: "exactMs" },
  { name: "work", title: "Worked", kind: "exactMs" },
  { name: "ended", title: "Done at", kind: "exactMs" },
  { name: "outcome", title: "Outcome" },
];
/** Half a microsecond: times are stored in whole ones. */
const EXACT_MS = 0.0005;

/** What the panel shows of a request's stages and calls, and of its latency in milliseconds. */
export function timeStory(stages, calls, latencyMs) {
  const divided = divide(stages, latencyMs);
  const bars = [
    ...divided.pieces.flatMap((piece) => [ofStage(piece), ...callsIn(piece.stage, calls)]),
    { name: "the reply", way: divided.after },
  ];
  const shown = PARTS.filter(({ key }) => bars.some((bar) => bar[key]?.to > bar[key]?.from));
  const parts = shown.map(({ key, name, color }) => ({
    name,
    color,
    from: bars.map((bar) => bar[key]?.from ?? null),
    to: bars.map((bar) => bar[key]?.to ?? null),
  }));
  const label = `Waterfall of ${exactMs(latencyMs)}: ${divided.pieces.map(({ stage, queue, work }) => `${stage.stage} waited ${ms(queue.length)} and worked ${ms(work.length)}`).join(", ")}.`;
  return {
    nodes: [el("p", { class: "sum", id: "waterfall-sum" }, sentence(divided, latencyMs))],
    chart: (host) => new BarChart(host, { names: bars.map(({ name }) => name), parts, unit: "ms", label }),
    table: { caption: "Where the time went", columns: COLUMNS, ...lines(divided) },
  };
}

const PARTS = [
  { key: "way", name: "on the way", color: "way" },
  { key: "queue", name: "waited", color: "queue" },
  { key: "work", name: "worked", color: "work" },
  { key: "call", name: "a provider's call, within the work", color: "call" },
];
const called = ({ stage, attempt }) => (attempt > 1 ? `${stage} (${attempt})` : stage);
const ofStage = ({ stage, way, queue, work }) => ({ name: called(stage), way, queue, work });

/** The calls that began while a stage worked. */
function callsIn(stage, calls) {
  const inside = calls.filter(({ started_ms: at }) => at >= stage.started_ms && at < stage.ended_ms);
  return inside.map((call) => ({
    name: `↳ ${call.model}`,
    call: { from: call.started_ms, to: call.started_ms + call.duration_ms },
  }));
}

function lines({ pieces, after, sums }) {
  const rows = pieces.map(({ stage, way, queue, work }) => ({
    name: called(stage),
    way: way.length,
    queue: queue.length,
    work: work.length,
    ended: work.to,
    outcome: stage.outcome,
  }));
  rows.push({ name: "the reply", way: after.length, queue: 0, work: 0, ended: after.to });
  return {
    rows,
    foot: { name: "All", way: sums.way + sums.after, queue: sums.queue, work: sums.work, ended: sums.all },
  };
}

function sentence({ sums, overlap }, latencyMs) {
  const twice =
    overlap > 0
      ? ` ${exactMs(overlap)} were claimed by two stages (records are stamped in whole milliseconds) and count once.`
      : "";
  const missing =
    Math.abs(sums.all - latencyMs) < EXACT_MS ? "" : ` ${exactMs(latencyMs - sums.all)} are unaccounted for.`;
  return `Worked ${exactMs(sums.work)} + waited ${exactMs(sums.queue)} + on the way ${exactMs(sums.way + sums.after)} = ${exactMs(sums.all)}, the latency.${missing}${twice}`;
}

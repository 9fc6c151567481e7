// Figures as people read them, each with its unit.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const NONE = "–";
/** A figure and its unit stay on one line. */
const GAP = "\u00a0";

const known = (show) => (value) =>
  value === null || value === undefined || Number.isNaN(value) ? NONE : show(Number(value));

/** Digits after the point that leave a sum of money its meaning: a call costs fractions of a cent. */
function digitsOf(usd) {
  const size = Math.abs(usd);
  if (size === 0 || size >= 1) return 2;
  if (size >= 0.01) return 4;
  return size >= 1e-6 ? 6 : 9;
}

const dollars = (value, digits) =>
  `${value < 0 ? "−" : ""}$${Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;

export const count = known((value) => WHOLE.format(value));
export const brief = known((value) => (Math.abs(value) < 100_000 ? WHOLE.format(value) : COMPACT.format(value)));
export const usd = known((value) => (value === 0 ? "$0" : dollars(value, digitsOf(value))));
export const share = known((value) => {
  const percent = value * 100;
  if (percent === 0 || percent === 100) return `${percent} %`;
  return `${percent.toFixed(percent < 0.1 ? 3 : percent < 10 ? 2 : 1)} %`;
});

export const ms = known((value) => {
  const size = Math.abs(value);
  if (size < 10) return `${Number(value.toFixed(size < 1 ? 2 : 1))}${GAP}ms`;
  if (size < 1_000) return `${Math.round(value)}${GAP}ms`;
  return size < 10_000 ? `${(value / 1_000).toFixed(2)}${GAP}s` : seconds(value / 1_000);
});
/** To the microsecond, as it is stored: for sums that shall add up. */
export const exactMs = known(
  (value) => `${value.toLocaleString("en-US", { minimumFractionDigits: 3, maximumFractionDigits: 3 })} ms`,
);
export const seconds = known((value) => {
  if (value < 10) return `${Number(value.toFixed(1))}${GAP}s`;
  if (value < 120) return `${Math.round(value)}${GAP}s`;
  if (value < 7_200) return `${Math.round(value / 60)}${GAP}min`;
  return value < 172_800 ? `${Math.round(value / 3_600)}${GAP}h` : `${Math.round(value / 86_400)}${GAP}days`;
});

/** A moment, in UTC as all days and hours here. */
export function instant(text) {
  if (!text) return NONE;
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? String(text) : at.toISOString().slice(0, 19).replace("T", " ");
}

export const moment = (epochS, bucketS) => {
  const text = new Date(epochS * 1_000).toISOString();
  return bucketS >= 86_400 ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
};

export const words = (value) => (value === null || value === undefined || value === "" ? NONE : String(value));

/** Digits after the point that tell the marks of an axis apart: steps are 1, 2, 2.5 or 5 times a power of ten. */
function digitsFor(step) {
  const power = Math.floor(Math.log10(step) + 1e-9);
  const halves = Math.abs(step / 10 ** power - 2.5) < 0.01;
  return Math.min(Math.max(0, -power + (halves ? 1 : 0)), 9);
}
const marked = (divisor, unit, step) => (value) =>
  value === 0 ? `0${unit}` : `${(value / divisor).toFixed(digitsFor(step / divisor))}${unit}`;

const usdMarks = (step) => (value) => {
  if (value === 0) return "$0";
  return Math.abs(value) >= 10_000 ? `$${COMPACT.format(value)}` : dollars(value, digitsFor(step));
};
/** All marks of an axis in one unit. */
function msMarks(step, top) {
  if (top >= 120_000) return marked(60_000, " min", step);
  return top >= 1_000 ? marked(1_000, " s", step) : marked(1, " ms", step);
}

/** How a unit is shown: in full, and on an axis (for the step between marks, and the last one). */
export const UNITS = {
  count: { show: count, marks: () => brief, name: "requests", whole: true },
  usd: { show: usd, marks: usdMarks, name: "US dollars" },
  ms: { show: ms, marks: msMarks, name: "milliseconds" },
  share: { show: share, marks: () => share, name: "share" },
};

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const DAY_S = 86_400;

/** A mark on the axis of time: the hour, and at midnight the day. */
export function timeMark(epochS, stepS) {
  const at = new Date(epochS * 1_000);
  const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  return stepS >= DAY_S || epochS % DAY_S === 0 ? day : at.toISOString().slice(11, 16);
}

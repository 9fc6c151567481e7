// From rows of the catalogue to what a panel shows: a chart and its table.

import { BarChart } from "./barchart.js";
import { el } from "./dom.js";
import { UNITS, moment } from "./format.js";
import { nth } from "./palette.js";
import { TimeChart, grid, onGrid } from "./timechart.js";

const MOST_SERIES = 7;
const MOST_BARS = 12;
const NOTHING = "Nothing in this time.";

/** Columns of rows over time. `series`: {column, name, color}; `limit`: {name, value} is a line across. */
export function overTime({ title, rows, window, series, unit, kind = "lines", limit }) {
  if (!rows.some((row) => series.some(({ column }) => row[column]))) return { empty: NOTHING };
  const times = grid(window);
  const missing = kind === "bars" ? 0 : null;
  const drawn = series.map(({ column, name, color }) => ({
    name,
    color,
    values: onGrid(times, rows, column, missing),
  }));
  return timeContent({ title, times, series: drawn, unit, kind, limit, bucketS: window.bucketS });
}

/** One column of rows over time, apart by what they are about; the smallest ones together. */
export function apart({ title, rows, window, key, column, unit, kind = "bars", colors = {} }) {
  const sums = new Map();
  for (const row of rows) sums.set(key(row), (sums.get(key(row)) ?? 0) + Number(row[column] ?? 0));
  const names = [...sums.keys()]
    .filter((name) => sums.get(name) > 0)
    .sort((one, other) => sums.get(other) - sums.get(one));
  if (!names.length) return { empty: NOTHING };
  const times = grid(window);
  // Several rows may have one name: what is counted adds up.
  const values = (own) => (kind === "bars" ? summed(times, own, column) : onGrid(times, own, column, null));
  const own = names.slice(0, MOST_SERIES);
  const series = own.map((name, index) => ({
    name,
    color: colors[name] ?? nth(index),
    values: values(rows.filter((row) => key(row) === name)),
  }));
  if (names.length > MOST_SERIES && kind === "bars") {
    const rest = rows.filter((row) => !own.includes(key(row)));
    series.push({ name: `${names.length - MOST_SERIES} others`, color: "quiet", values: values(rest) });
  }
  return timeContent({ title, times, series, unit, kind, bucketS: window.bucketS });
}

function summed(times, rows, column) {
  const sums = new Map();
  for (const row of rows) {
    const at = Date.parse(row.time) / 1_000;
    sums.set(at, (sums.get(at) ?? 0) + Number(row[column] ?? 0));
  }
  return times.map((time) => sums.get(time) ?? 0);
}

function timeContent({ title, times, series, unit, kind, bucketS, limit }) {
  const columns = [
    { name: "when", title: "From (UTC)" },
    ...series.map(({ name }, index) => ({ name: `c${index}`, title: name, kind: unit })),
  ];
  const rows = times
    .map((time, at) => ({
      when: moment(time, bucketS),
      ...Object.fromEntries(series.map(({ values }, index) => [`c${index}`, values[at]])),
    }))
    .filter((_, at) => series.some(({ values }) => values[at]));
  const label = `${title}: ${UNITS[unit].name} over time, ${series.map(({ name }) => name).join(", ")}. Left and right arrows read the values.`;
  return {
    chart: (host) => new TimeChart(host, { times, series, unit, kind, bucketS, label, limit }),
    table: { caption: title, columns, rows },
  };
}

/**
 * Rows beside one another. `name(row)` is what a bar is called; `parts`: {column, name, color} are its pieces,
 * upon one another; the table has `columns`.
 */
export function ranked({ title, rows, name, parts, unit, columns }) {
  if (!rows.length) return { empty: NOTHING };
  const shown = rows.filter((row) => parts.some(({ column }) => Number(row[column]) > 0)).slice(0, MOST_BARS);
  const pieces = parts.map(({ column, name: called, color }) => ({
    name: called,
    color,
    to: shown.map((row) => Number(row[column] ?? 0)),
  }));
  const figures = { caption: title, columns, rows };
  if (!shown.length) return { table: figures };
  const label = `${title}: ${UNITS[unit].name}. ${shown.map((row) => `${name(row)} ${UNITS[unit].show(Number(row[parts[0].column]))}`).join(", ")}.`;
  return {
    chart: (host) => new BarChart(host, { names: shown.map(name), parts: pieces, unit, label }),
    table: figures,
    note:
      rows.length > shown.length && shown.length === MOST_BARS
        ? `The first ${MOST_BARS} of ${rows.length}; all of them in the table.`
        : "",
  };
}

/** Rows as a table alone. */
export function listed({ title, rows, columns, empty = NOTHING }) {
  return rows.length ? { table: { caption: title, columns, rows } } : { empty };
}

/** Single figures: {name, figure, value, text, more, tone}. */
export function tiles(figures) {
  const tile = ({ name, figure, value, text, more, tone }) =>
    el(
      "div",
      { class: "tile", "data-figure": figure, "data-tone": tone },
      el("dt", {}, name),
      el("dd", { class: "main" }, el("data", { value: String(value ?? "") }, text)),
      el("dd", { class: "more" }, more ?? ""),
    );
  return el("dl", { class: "tiles" }, figures.map(tile));
}

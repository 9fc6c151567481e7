// Figures over time: lines, or bars upon one another.

import { append, el } from "./dom.js";
import { UNITS, moment, timeMark } from "./format.js";
import { color } from "./palette.js";
import { Plot, WHOLE_STEPS, axis, bars } from "./plot.js";

const HEIGHT = 220;
const UTC = (epochS) => globalThis.uPlot.tzDate(new Date(epochS * 1_000), "Etc/UTC");
const FADE = "26";
const FEW = 24;
const LIMIT = "bad";
const FAR = 4;

/** Every step of the window, whether or not anything happened in it. */
export function grid({ sinceS, untilS, bucketS }) {
  const times = [];
  for (let at = Math.floor(sinceS / bucketS) * bucketS; at < untilS; at += bucketS) times.push(at);
  return times;
}

/** The rows' column on the grid: what is not there is `missing` (0 for counts, null for what needs a value). */
export function onGrid(times, rows, column, missing) {
  const found = new Map(rows.map((row) => [Date.parse(row.time) / 1_000, row[column]]));
  return times.map((time) => (found.has(time) ? found.get(time) : missing));
}

/**
 * A chart of `series` ({name, color, values}) at `times`, a step of `bucketS` each.
 *
 * Lines show each figure; bars stand upon one another, the first series at the bottom. `limit` ({name, value}) is
 * a line across, where it is not far above everything else.
 */
export class TimeChart {
  #hidden = new Set();

  constructor(host, { times, series, unit, kind, bucketS, label, limit = null }) {
    Object.assign(this, { times, series, unit: UNITS[unit], kind, bucketS, limit });
    this.said = el("p", { class: "unseen", role: "status" });
    this.legend = el("div", { class: "legend" });
    this.when = el("span", { class: "when" }, "");
    host.append(this.legend, this.said);
    this.#buildLegend();
    this.plot = new Plot(host, {
      height: HEIGHT,
      label,
      make: () => this.#make(),
      moved: (index) => this.#read(index),
    });
  }

  destroy() {
    this.plot.destroy();
    this.legend.remove();
    this.said.remove();
  }

  #buildLegend() {
    this.values = this.series.map(() => el("span", { class: "value" }));
    const keys = this.series.map((each, index) => {
      const swatch = el("span", { class: "swatch", "data-color": each.color, "aria-hidden": "true" });
      const click = (event) => this.#toggle(index, event.currentTarget);
      return el(
        "button",
        { type: "button", "aria-pressed": "true", click },
        swatch,
        el("span", {}, each.name),
        this.values[index],
      );
    });
    const limit =
      this.limit &&
      el(
        "span",
        { class: "key" },
        el("span", { class: "swatch", "data-color": LIMIT, "aria-hidden": "true" }),
        `${this.limit.name}: ${this.unit.show(this.limit.value)}`,
      );
    append(this.legend, [keys, limit, this.when]);
  }

  #toggle(index, button) {
    if (this.#hidden.has(index)) this.#hidden.delete(index);
    else this.#hidden.add(index);
    button.setAttribute("aria-pressed", String(!this.#hidden.has(index)));
    this.plot.draw();
  }

  #read(index) {
    this.when.textContent = index === null ? "" : `${moment(this.times[index], this.bucketS)} UTC`;
    this.series.forEach((each, at) => {
      this.values[at].textContent = index === null ? "" : this.unit.show(each.values[index]);
    });
    if (index !== null && document.activeElement === this.plot.frame) this.#say(index);
  }

  /** For those who walk through the values with the keyboard. */
  #say(index) {
    const values = this.series.map(({ name, values: all }) => `${name} ${this.unit.show(all[index])}`);
    this.said.textContent = `${moment(this.times[index], this.bucketS)} UTC: ${values.join(", ")}`;
  }

  #make() {
    const shown = this.series.map((each, index) => ({ ...each, show: !this.#hidden.has(index) }));
    const stacked = this.kind === "bars" ? stack(shown) : null;
    const heights = stacked
      ? stacked.flatMap(({ y1 }) => y1)
      : shown.filter(({ show }) => show).flatMap(({ values }) => values);
    const most = Math.max(0, ...heights.map((value) => value ?? 0));
    const limit = this.limit && this.limit.value <= most * FAR ? this.limit.value : null;
    const top = Math.max(most, limit ?? 0);
    const first = this.times[0];
    const options = {
      tzDate: UTC,
      padding: [8, 24, 0, 4],
      legend: { show: false },
      cursor: { y: false, points: this.kind === "lines" ? {} : { show: false }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: () => [first, this.times.at(-1) + this.bucketS] },
        y: { range: () => [0, top > 0 ? top * 1.06 : 1] },
      },
      axes: [this.#timeAxis(), axis(this.unit.marks, this.unit.whole && { incrs: WHOLE_STEPS })],
      series: [{}, ...shown.map((each, index) => (stacked ? this.#bar(each, stacked[index]) : this.#line(each)))],
    };
    const data = [this.times, ...shown.map(({ values }) => values)];
    if (limit !== null) {
      options.series.push(across());
      data.push(this.times.map(() => limit));
    }
    return { options, data };
  }

  #timeAxis() {
    const last = this.times.at(-1);
    return axis((step) => (at) => (at > last ? "" : timeMark(at, step)), { size: 30, space: 64 });
  }

  #line({ color: name, show }) {
    const stroke = color(name);
    return {
      show,
      stroke,
      width: 2,
      fill: this.series.length === 1 ? stroke + FADE : undefined,
      points: { show: true, size: 5, fill: stroke, filter: marked },
      spanGaps: false,
    };
  }

  #bar({ color: name, show }, { y0, y1 }) {
    const side = (values) => ({ unit: 1, values: () => values });
    const paths = bars({ size: [0.84, 60], align: 1, disp: { y0: side(y0), y1: side(y1) } });
    return { show, fill: color(name), stroke: color(name), width: 0, paths, points: { show: false } };
  }
}

const across = () => ({
  stroke: color(LIMIT),
  width: 2,
  dash: [6, 4],
  points: { show: false },
  paths: globalThis.uPlot.paths.stepped({ align: 1, extend: true }),
});

/** The values that get a point of their own: all where there are few, or else those that no line joins. */
function marked(plot, index) {
  const values = plot.data[index];
  const known = (value) => value !== null && value !== undefined;
  const all = values.filter(known).length <= FEW;
  return values.flatMap((value, at) =>
    known(value) && (all || (!known(values[at - 1]) && !known(values[at + 1]))) ? [at] : [],
  );
}

/** Where each series' bars begin and end, upon those before. */
function stack(series) {
  let ground = series[0]?.values.map(() => 0) ?? [];
  return series.map(({ values, show }) => {
    const y0 = ground;
    const y1 = show ? values.map((value, index) => y0[index] + (value ?? 0)) : y0;
    ground = y1;
    return { y0, y1 };
  });
}

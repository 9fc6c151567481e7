// Things beside one another: a bar each, lying, the name on its left. Also the waterfall's.

import { el } from "./dom.js";
import { UNITS } from "./format.js";
import { color } from "./palette.js";
import { Plot, WHOLE_STEPS, axis, bars } from "./plot.js";

const ROW_PX = 30;
const FRAME_PX = 44;
const NAME_PX = 22;
const SHORT = 18;
const LONG = 48;
const THINNEST_PX = 2;
/** Of the width, what is left of names and figures on a phone. */
const BARS_SHARE = 0.4;

/**
 * A chart of one bar a name. `parts` ({name, color, from, to}) are pieces of each bar: from where to where,
 * a value a name; pieces without `from` follow upon one another from zero.
 */
export class BarChart {
  constructor(host, { names, parts, unit, label }) {
    Object.assign(this, { host, names, unit: UNITS[unit] });
    this.parts = placed(parts);
    this.totals = names.map((_, index) =>
      this.parts.reduce((sum, { from, to }) => sum + (to[index] ?? 0) - (from[index] ?? 0), 0),
    );
    this.legend = this.#legend(parts);
    if (parts.length > 1) host.append(this.legend);
    const height = names.length * ROW_PX + FRAME_PX;
    this.plot = new Plot(host, { height, label, make: () => this.#make(), steps: false });
  }

  destroy() {
    this.plot.destroy();
    this.legend.remove();
  }

  #legend(parts) {
    const swatch = (own) => el("span", { class: "swatch", "data-color": own, "aria-hidden": "true" });
    return el(
      "div",
      { class: "legend" },
      parts.map(({ name, color: own }) => el("span", { class: "key" }, swatch(own), name)),
    );
  }

  #make() {
    const places = this.names.map((_, index) => index);
    const top = Math.max(0, ...this.parts.flatMap(({ to }) => to.map((value) => value ?? 0)));
    const options = {
      padding: [4, 4, 0, 4],
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { time: false, ori: 1, dir: -1, range: () => [-0.5, this.names.length - 0.5] },
        y: { ori: 0, range: () => [0, top > 0 ? top * 1.02 : 1] },
      },
      axes: [
        this.#nameAxis(places),
        axis(this.unit.marks, { side: 2, size: 30, space: 70, ...(this.unit.whole && { incrs: WHOLE_STEPS }) }),
        this.#valueAxis(places),
      ],
      series: [
        {},
        ...this.parts.map((part) => this.#bar(part, (top * THINNEST_PX) / (this.host.clientWidth * BARS_SHARE))),
      ],
    };
    return { options, data: [places, ...this.parts.map(({ to }) => to)] };
  }

  #nameAxis(places) {
    // A third of the width at most.
    const longest = Math.min(Math.max(Math.floor(this.host.clientWidth / NAME_PX), SHORT), LONG);
    const mark = (index) => shortened(this.names[index] ?? "", longest);
    return axis(() => mark, {
      side: 3,
      splits: () => places,
      grid: { show: false },
      ticks: { show: false },
      stroke: color("text"),
    });
  }

  /** What each bar is in all, written at its end of the row. */
  #valueAxis(places) {
    const mark = (index) => this.unit.show(this.totals[index]);
    return axis(() => mark, {
      scale: "x",
      side: 1,
      splits: () => places,
      grid: { show: false },
      ticks: { show: false },
    });
  }

  /** However little it is, it is seen: at least so `thin`. */
  #bar({ color: name, from, to }, thin) {
    const seen = to.map((value, index) =>
      value > (from[index] ?? 0) ? Math.max(value, (from[index] ?? 0) + thin) : value,
    );
    const side = (values) => ({ unit: 1, values: () => values });
    const paths = bars({ size: [0.62, 18], disp: { y0: side(from), y1: side(seen) } });
    return { fill: color(name), stroke: color(name), width: 0, paths, points: { show: false } };
  }
}

function placed(parts) {
  let ground = parts[0]?.to.map(() => 0) ?? [];
  return parts.map(({ name, color: own, from, to }) => {
    if (from) return { name, color: own, from, to };
    const begin = ground;
    ground = to.map((value, index) => begin[index] + (value ?? 0));
    return { name, color: own, from: begin, to: ground };
  });
}

function shortened(name, longest) {
  return name.length <= longest ? name : `${name.slice(0, longest - 1)}…`;
}

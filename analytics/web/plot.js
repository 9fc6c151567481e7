// What all charts share: uPlot in a frame that follows its width, the theme and the keyboard.

import { el } from "./dom.js";
import { color } from "./palette.js";

/** uPlot comes as a script of its own. Where it has not come, figures are shown as tables. */
export const canDraw = () => typeof globalThis.uPlot === "function";
export const bars = (options) => globalThis.uPlot.paths.bars(options);

/** Steps of what comes in whole ones. */
export const WHOLE_STEPS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((each) => each * 10 ** power)).flat();

const FONT = "12px system-ui, sans-serif";
const CHAR_PX = 7;
const drawn = new Set();

/** Draw every chart anew: the colours have changed. */
export function redrawAll() {
  for (const plot of drawn) plot.draw();
}

/**
 * A chart in `host`.
 *
 * `make()` returns uPlot's options without a size, and the data; it is asked again when the colours change.
 * `moved(index)` hears which value is pointed at: null where none is.
 */
export class Plot {
  #plot = null;
  #at = null;

  constructor(host, { height, label, make, moved, steps = true }) {
    Object.assign(this, { host, height, make, moved });
    this.frame = el("div", { class: "plot", role: "img", tabindex: steps ? "0" : false, "aria-label": label });
    if (steps) {
      this.frame.addEventListener("keydown", (event) => this.#step(event));
      this.frame.addEventListener("blur", () => this.#point(null));
    }
    host.append(this.frame);
    this.draw();
    this.watch = new ResizeObserver(() => this.#fit());
    this.watch.observe(this.frame);
    drawn.add(this);
  }

  draw() {
    this.#plot?.destroy();
    const { options, data } = this.make();
    const hooks = { ...options.hooks, setCursor: [(plot) => this.#pointed(plot.cursor.idx)] };
    this.#plot = new globalThis.uPlot({ ...options, hooks, ...this.#size() }, data, this.frame);
    this.length = data[0].length;
  }

  destroy() {
    drawn.delete(this);
    this.watch.disconnect();
    this.#plot.destroy();
    this.frame.remove();
  }

  #size() {
    return { width: Math.max(this.frame.clientWidth, 160), height: this.height };
  }

  #fit() {
    const size = this.#size();
    if (size.width !== this.#plot.width && this.frame.clientWidth > 0) this.#plot.setSize(size);
  }

  #pointed(index) {
    if (index === this.#at) return;
    this.#at = index ?? null;
    this.moved?.(this.#at);
  }

  /** Left and right walk from value to value, as the mouse does. */
  #step(event) {
    const last = this.length - 1;
    const at = this.#at ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.#point(to === null ? null : Math.min(Math.max(to, 0), last));
  }

  #point(index) {
    if (index === null) {
      this.#plot.setCursor({ left: -10, top: -10 });
      this.#pointed(null);
      return;
    }
    const left = this.#plot.valToPos(this.#plot.data[0][index], "x");
    this.#plot.setCursor({ left, top: this.#plot.over.clientHeight / 2 });
    this.#pointed(index);
  }
}

/** An axis in the page's colours. `marks(step, top)` returns what writes its figures. */
export function axis(marks, more = {}) {
  const grid = { stroke: color("grid"), width: 1 };
  return {
    stroke: color("dim"),
    font: FONT,
    gap: 6,
    grid,
    ticks: { ...grid, size: 4 },
    values: (_, splits, __, ___, step) => splits.map(marks(step, splits.at(-1))),
    size: (_, texts) => 14 + CHAR_PX * Math.max(2, ...(texts ?? []).map((text) => String(text ?? "").length)),
    ...more,
  };
}

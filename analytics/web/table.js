// Figures in rows: what every chart also is.

import { el } from "./dom.js";
import { count, exactMs, instant, ms, share, usd, words } from "./format.js";

const SHOW = { words, count, usd, ms, exactMs, share, instant };
const FIGURES = new Set(["count", "usd", "ms", "exactMs", "share"]);

/**
 * A table. `columns`: {name, title, kind (a name in SHOW), link(row) → address of the row, if any}.
 * `foot` is a row below all others.
 */
export function table({ caption, columns, rows, foot }) {
  const head = el(
    "tr",
    {},
    columns.map(({ title, kind }) => el("th", { scope: "col", class: FIGURES.has(kind) && "figure" }, title)),
  );
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, head),
      el(
        "tbody",
        {},
        rows.map((row) => line(columns, row)),
      ),
      foot && el("tfoot", {}, line(columns, foot)),
    ),
  );
}

function line(columns, row) {
  return el(
    "tr",
    {},
    columns.map((column) => cell(column, row)),
  );
}

function cell({ name, kind = "words", link, mark }, row) {
  const value = row[name];
  const text = SHOW[kind](value);
  const address = link?.(row);
  const inside = address ? el("a", { href: address, "data-go": true }, text) : text;
  const badge = mark && value ? el("span", { class: "badge", "data-color": mark(value) }, inside) : inside;
  return el("td", { class: FIGURES.has(kind) && "figure" }, badge);
}

// A part of the page: a title, figures as a chart or as a table, and what there is to say where there are none.

import { append, el } from "./dom.js";
import { canDraw } from "./plot.js";
import { table } from "./table.js";

/** Which panels show their table, or have unfolded it, over reloads of their figures. */
const asTable = new Set();

export class Panel {
  #chart = null;
  #content = null;

  constructor({ id, title, note = "", size = "half" }) {
    this.id = id;
    this.toggle = el("button", { type: "button", class: "small", hidden: true, click: () => this.#turn() }, "Table");
    this.own = el("div", { class: "tools" });
    this.tools = el("div", { class: "tools" }, this.own, this.toggle);
    this.note = el("p", { class: "note" }, note);
    this.said = note;
    this.body = el("div", { class: "body" });
    this.root = el(
      "section",
      {
        class: "panel",
        id: `panel-${id}`,
        "data-size": size,
        "data-state": "loading",
        "aria-busy": "true",
        "aria-labelledby": `title-${id}`,
      },
      el("header", {}, el("h2", { id: `title-${id}` }, title), this.tools),
      this.note,
      this.body,
    );
    this.toggle.setAttribute("aria-label", `${title}: as a table`);
    this.body.append(el("p", { class: "state" }, "Loading …"));
  }

  /** Put the panel's own controls in place of those of before; who was in one of them stays there. */
  offer(controls) {
    const fields = () => [...this.own.querySelectorAll("select, input, button")];
    const focused = fields().indexOf(document.activeElement);
    this.own.replaceChildren(...controls);
    fields()[focused]?.focus();
  }

  loading() {
    this.root.setAttribute("aria-busy", "true");
  }

  /**
   * Show figures. `content`: {chart(host) → something to destroy, table, folded, nodes, empty, note}; any may be
   * missing. A table that is `folded` is there for those who unfold it.
   */
  show(content) {
    this.#content = content;
    this.#said(content.note);
    this.#state(content.empty ? "empty" : "shown");
    this.#fill();
  }

  fault(fault, again) {
    this.#content = null;
    this.#state("fault");
    this.#clear();
    const retry = el("button", { type: "button", class: "small", click: again }, "Try again");
    this.body.append(el("p", { class: "state", role: "alert" }, fault.message), retry);
    this.toggle.hidden = true;
  }

  hide() {
    this.#state("hidden");
    this.root.hidden = true;
  }

  get hidden() {
    return this.root.hidden;
  }

  close() {
    this.#clear();
    this.root.remove();
  }

  #said(note) {
    this.note.textContent = [this.said, note].filter(Boolean).join(" ");
  }

  #state(state) {
    this.root.dataset.state = state;
    this.root.hidden = false;
    this.root.setAttribute("aria-busy", "false");
  }

  #turn() {
    if (asTable.has(this.id)) asTable.delete(this.id);
    else asTable.add(this.id);
    this.#fill();
  }

  #fill() {
    this.#clear();
    const { chart, table: figures, folded, nodes = [], empty } = this.#content;
    append(this.body, nodes);
    if (empty) {
      this.toggle.hidden = true;
      this.body.append(el("p", { class: "state" }, empty));
      return;
    }
    const drawing = Boolean(chart) && canDraw();
    this.toggle.hidden = !(drawing && figures);
    this.toggle.setAttribute("aria-pressed", String(asTable.has(this.id)));
    if (drawing && !asTable.has(this.id)) this.#chart = chart(this.body);
    else if (figures) this.body.append(folded ? this.#fold(figures) : table(figures));
  }

  #fold(figures) {
    const toggle = (event) => (event.target.open ? asTable.add(this.id) : asTable.delete(this.id));
    return el("details", { open: asTable.has(this.id), toggle }, el("summary", {}, figures.caption), table(figures));
  }

  #clear() {
    this.#chart?.destroy();
    this.#chart = null;
    this.body.replaceChildren();
  }
}

// The bar of filters: time, and whatever the requests of that time can be told apart by.

import { Fault, rowsOf } from "./api.js";
import { FILTERS, RANGES, windowOf } from "./address.js";
import { byId, el } from "./dom.js";

const ALL = {
  tenant: "All tenants",
  model: "All models",
  prompt_template: "All prompts",
  prompt_version: "All versions",
  experiment: "All experiments",
};
const OWN = "own";
const FRESH_MS = 60_000;

export class Filters {
  #loading = new AbortController();
  #known = {};
  #asked = null;
  #askedAt = 0;

  /** `change(part of a state)` is told what was chosen. */
  constructor(change) {
    this.change = change;
    this.range = byId("range");
    this.range.append(
      ...Object.entries(RANGES).map(([value, { name }]) => el("option", { value }, name)),
      el("option", { value: OWN }, "From … to …"),
    );
    this.range.addEventListener("change", () => this.#rangeChosen());
    byId("own-range").addEventListener("submit", (event) => this.#ownRange(event));
    for (const name of FILTERS)
      this.select(name).addEventListener("change", (event) => this.#chosen(name, event.target.value));
    byId("clear").addEventListener("click", () => change({ ...Object.fromEntries(FILTERS.map((name) => [name, ""])) }));
  }

  /** Another key sees other tenants: what was asked for with the one before must not come any more either. */
  forget() {
    this.#loading.abort(new Fault(0, "newer"));
    this.#known = {};
    this.#asked = null;
  }

  select(name) {
    return byId(`filter-${name}`);
  }

  /** Show what a state says; the lists themselves come later. */
  show(state) {
    this.state = state;
    this.range.value = state.since ? OWN : state.range;
    byId("own-range").hidden = !state.since;
    const window = windowOf(state);
    byId("since").value = window.since.slice(0, 16);
    byId("until").value = window.until.slice(0, 16);
    this.#fillAll();
    byId("clear").hidden = !FILTERS.some((name) => state[name]);
  }

  /**
   * Ask what there is to choose from, unless it has been asked for the same time a moment ago. Without an answer the
   * lists stay as they are.
   */
  async load(key, state) {
    const asked = [key, state.range, state.since, state.until, state.tenant].join(" ");
    if (asked === this.#asked && Date.now() - this.#askedAt < FRESH_MS) return;
    this.#loading.abort(new Fault(0, "newer"));
    this.#loading = new AbortController();
    const { since, until } = windowOf(state);
    try {
      const rows = await rowsOf(
        key,
        "filter_values",
        { since, until, ...(state.tenant && { tenant: state.tenant }) },
        this.#loading.signal,
      );
      const known = Object.groupBy(rows, ({ kind }) => kind);
      // Of one tenant alone, the list of tenants would be that one: those of before stay.
      this.#known = { ...known, tenant: state.tenant && this.#known.tenant ? this.#known.tenant : known.tenant };
      [this.#asked, this.#askedAt] = [asked, Date.now()];
      this.#fillAll();
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
    }
  }

  #fillAll() {
    for (const name of FILTERS) this.#fill(name);
  }

  #fill(name) {
    const chosen = this.state[name];
    const ofTemplate = ({ detail }) =>
      name !== "prompt_version" || !this.state.prompt_template || detail === this.state.prompt_template;
    const values = new Set(
      (this.#known[name] ?? [])
        .filter(ofTemplate)
        .map(({ value }) => value)
        .filter(Boolean),
    );
    if (chosen) values.add(chosen);
    const select = this.select(name);
    const listed = ["", ...values];
    // An open list would close: only where it has changed.
    const shown = [...select.options].map(({ value }) => value);
    if (JSON.stringify(listed) !== JSON.stringify(shown))
      select.replaceChildren(...listed.map((value) => el("option", { value }, value || ALL[name])));
    select.value = chosen;
    select.dataset.set = String(Boolean(chosen));
  }

  #chosen(name, value) {
    // A version belongs to its template.
    this.change(name === "prompt_template" ? { prompt_template: value, prompt_version: "" } : { [name]: value });
  }

  #rangeChosen() {
    const chosen = this.range.value;
    byId("own-range").hidden = chosen !== OWN;
    if (chosen === OWN) byId("since").focus();
    else this.change({ range: chosen, since: "", until: "" });
  }

  #ownRange(event) {
    event.preventDefault();
    const [since, until] = ["since", "until"].map((name) => `${byId(name).value}:00Z`);
    const wrong = !(since < until);
    byId("until").setCustomValidity(wrong ? "The end must be after the beginning." : "");
    if (wrong) byId("until").reportValidity();
    else this.change({ since, until });
  }
}

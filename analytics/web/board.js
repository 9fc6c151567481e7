// The panels of a view: asked for from the top, filled as their answers come, broken off when left.

import { Fault, rowsOf, tell } from "./api.js";
import { FILTERS, windowOf } from "./address.js";
import { Panel } from "./panel.js";

const NOT_FOR_US = new Set([403, 404]);

export class Board {
  #panels = [];
  #view = null;
  #leaving = new AbortController();
  #timers = [];

  /** `ports`: the key, links of states, and what to tell of faults. */
  constructor(host, ports) {
    Object.assign(this, { host, ports });
  }

  /** Show a view. The same view again keeps its panels, and their figures until there are new ones. */
  open(view, state) {
    this.#leave();
    this.context = { state, window: windowOf(state), link: this.ports.link, go: this.ports.go };
    if (this.#view !== view.id) this.#build(view);
    this.#view = view.id;
    for (const { panel, spec } of this.#panels) panel.offer(spec.tools?.(this.context) ?? []);
    const asked = new Map();
    const all = this.#panels.map(({ panel, spec }) => this.#load(panel, spec, asked));
    for (const each of this.#panels.filter(({ spec }) => spec.everyS)) this.#repeat(each);
    return Promise.all(all);
  }

  close() {
    this.#leave();
    for (const { panel } of this.#panels) panel.close();
    this.#panels = [];
    this.#view = null;
  }

  #leave() {
    this.#leaving.abort(new Fault(0, "left"));
    this.#leaving = new AbortController();
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  #build(view) {
    for (const { panel } of this.#panels) panel.close();
    this.#panels = view.panels.map((spec) => ({ spec, panel: new Panel(spec) }));
    this.host.replaceChildren(...this.#panels.map(({ panel }) => panel.root));
  }

  /** Only while somebody looks. */
  #repeat({ panel, spec }) {
    let busy = false;
    const again = async () => {
      if (busy || document.hidden || panel.hidden) return;
      busy = true;
      this.context.window = windowOf(this.context.state);
      await this.#load(panel, spec, new Map());
      busy = false;
    };
    this.#timers.push(setInterval(again, spec.everyS * 1_000));
  }

  async #load(panel, spec, asked) {
    const { signal } = this.#leaving;
    panel.loading();
    try {
      const asks = Object.entries(spec.asks(this.context.state));
      const answers = await Promise.all(asks.map(([, ask]) => this.#ask(ask, asked, signal)));
      if (signal.aborted) return;
      const content = spec.show(Object.fromEntries(asks.map(([name], index) => [name, answers[index]])), this.context);
      panel.show({ ...content, note: [content.note, this.#unfiltered(asks)].filter(Boolean).join(" ") });
      this.ports.answered();
    } catch (fault) {
      if (signal.aborted) return;
      if (!(fault instanceof Fault)) throw fault;
      if (spec.optional && NOT_FOR_US.has(fault.status)) panel.hide();
      else panel.fault(fault, () => this.#load(panel, spec, new Map()));
      this.ports.fault(fault);
    }
  }

  /** One request, though several panels want it. */
  async #ask(ask, asked, signal) {
    const request = ask.path ? { path: ask.path } : this.#query(ask);
    const name = JSON.stringify(request);
    if (!asked.has(name))
      asked.set(
        name,
        request.path
          ? tell(this.ports.key(), request.path, signal)
          : rowsOf(this.ports.key(), request.query, request.parameters, signal),
      );
    try {
      return await asked.get(name);
    } catch (fault) {
      if (ask.orElse !== undefined && NOT_FOR_US.has(fault.status)) return ask.orElse;
      throw fault;
    }
  }

  #query({ query, filters = [], bucket = false, more = {}, wholeDays = false, anyTime = false }) {
    const { state, window } = this.context;
    const parameters = anyTime
      ? {}
      : { since: wholeDays ? `${window.since.slice(0, 10)}T00:00:00Z` : window.since, until: window.until };
    for (const name of ["tenant", ...filters]) if (state[name]) parameters[name] = state[name];
    if (bucket) parameters.bucket_s = window.bucketS;
    return { query, parameters: { ...parameters, ...more } };
  }

  /** What the filters say and this panel's figures cannot follow. */
  #unfiltered(asks) {
    const unheard = FILTERS.filter(
      (name) =>
        name !== "tenant" &&
        this.context.state[name] &&
        asks.some(
          ([, { query, filters = [], anyTime, deaf }]) => query && !anyTime && !deaf && !filters.includes(name),
        ),
    );
    return unheard.length ? `Not filtered by ${unheard.map((name) => name.replace("_", " ")).join(", ")}.` : "";
  }
}

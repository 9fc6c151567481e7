// The page: what the address says is shown, and what is chosen goes into the address.

import { addressOf, goTo, readAddress, windowOf } from "./address.js";
import { Board } from "./board.js";
import { byId, el } from "./dom.js";
import { Filters } from "./filters.js";
import { instant } from "./format.js";
import { KeyDialog } from "./keydialog.js";
import { key } from "./memory.js";
import { redrawAll } from "./plot.js";
import { followTheme } from "./theme.js";
import { cache } from "./view-cache.js";
import { cost } from "./view-cost.js";
import { errorsView } from "./view-errors.js";
import { latency } from "./view-latency.js";
import { overview } from "./view-overview.js";
import { promptsView } from "./view-prompts.js";
import { request } from "./view-request.js";
import { requests } from "./view-requests.js";

const TABS = [overview, cost, latency, errorsView, cache, promptsView, requests];
const VIEWS = Object.fromEntries([...TABS, request].map((view) => [view.id, view]));
const AGAIN_MS = 10_000;

class Page {
  #again = null;

  constructor() {
    this.keys = new KeyDialog(() => this.#keyGiven());
    this.keys.takeFromAddress();
    this.filters = new Filters((changes) => this.go(changes));
    const link = (state) => addressOf(state);
    this.board = new Board(byId("panels"), {
      key: () => key.get(),
      link,
      go: (changes) => this.go(changes),
      fault: (fault) => this.#fault(fault),
      answered: () => this.#answered(),
    });
    followTheme(redrawAll);
    byId("refresh").addEventListener("click", () => this.open());
    addEventListener("popstate", () => this.open());
    document.addEventListener("click", (event) => this.#follow(event));
    this.open();
  }

  /** Go to the state that is this one but for `changes`; the way back leads here. */
  go(changes) {
    goTo({ ...this.state, ...changes });
    this.open();
  }

  /** Show what the address says. */
  open() {
    clearTimeout(this.#again);
    const before = this.state;
    this.state = readAddress();
    const view = VIEWS[this.state.view] ?? overview;
    this.#tabs(view);
    this.filters.show(this.state);
    document.title = `${view.title} · Headrace analytics`;
    const { since, until } = windowOf(this.state);
    byId("window").textContent =
      view === request ? "" : `${instant(since).slice(0, 16)} to ${instant(until).slice(0, 16)} UTC`;
    byId("filters").hidden = view === request;
    if (before && before.view !== this.state.view) scrollTo(0, 0);
    if (!key.get()) {
      this.keys.ask("");
      return;
    }
    const shown = this.board.open(view, this.state);
    // After the figures: they are what the page is there for.
    if (view !== request) shown.then(() => this.filters.load(key.get(), this.state));
  }

  #tabs(view) {
    const tab = ({ id, title }) => {
      const here = id === view.id || (view === request && id === "requests");
      return el(
        "a",
        { href: addressOf({ ...this.state, view: id, request: "" }), "data-go": true, "aria-current": here && "page" },
        title,
      );
    };
    const focused = document.activeElement?.closest?.("#tabs a")?.textContent;
    byId("tabs").replaceChildren(...TABS.map(tab));
    if (focused) [...byId("tabs").children].find(({ textContent }) => textContent === focused)?.focus();
  }

  /** Links within the page do not load it anew. */
  #follow(event) {
    const link = event.target.closest?.("a[data-go]");
    if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    this.open();
  }

  #keyGiven() {
    this.board.close();
    this.filters.forget();
    this.open();
  }

  #answered() {
    this.#say("");
  }

  #fault(fault) {
    if (fault.status === 401) {
      this.board.close();
      this.keys.ask("This key is not known here. `headrace up` keeps its keys in .headrace/endpoints.json.");
    } else if (fault.passing) {
      this.#say(`${fault.message} It is tried again in ${AGAIN_MS / 1_000} seconds.`);
      clearTimeout(this.#again);
      this.#again = setTimeout(() => this.open(), AGAIN_MS);
    }
  }

  #say(words) {
    byId("banner").hidden = words === "";
    if (byId("banner").textContent !== words) byId("banner").textContent = words;
  }
}

new Page();

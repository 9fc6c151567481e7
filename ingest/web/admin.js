// The page of control records: read them, change them with a reason, see their history, take a change back.

import { call } from "./api.js";

const BY_ID = (id) => document.getElementById(id);
const KEYS = "key";
/** What a new record says at first; a key is made by its own route, because it is shown once. */
const BLANK = {
  limit: { per_user: { requests_per_minute: 10 } },
  key: { tenant: "default", tier: "standard", scopes: ["chat", "read"] },
  provider: { protocol: "openai", base_url: "its address" },
  model: {
    provider: "openai",
    context_window_tokens: 128000,
    max_output_tokens: 4096,
    price: { input_usd_per_million: 0, output_usd_per_million: 0 },
  },
  issuer: { url: "its address", audiences: ["headrace"], tenant: "default" },
};

class Page {
  constructor() {
    this.key = sessionStorage.getItem("admin-key") ?? "";
    this.kind = "limit";
    this.records = [];
    this.edited = null;
    BY_ID("new").addEventListener("click", () => this.edit(null));
    BY_ID("reload").addEventListener("click", () => this.load());
    BY_ID("key-button").addEventListener("click", () => this.askForKey());
    BY_ID("key-form").addEventListener("submit", (event) => this.useKey(event));
    BY_ID("edit-form").addEventListener("submit", (event) => this.save(event));
    BY_ID("rollback").addEventListener("click", () => this.rollBack());
    for (const button of document.querySelectorAll("[data-close]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
    BY_ID("made-dialog").addEventListener("close", () => (BY_ID("made").textContent = ""));
    if (this.key) this.load();
    else this.askForKey();
  }

  askForKey() {
    BY_ID("key").value = "";
    BY_ID("key-dialog").showModal();
  }

  useKey(event) {
    event.preventDefault();
    this.key = BY_ID("key").value.trim();
    sessionStorage.setItem("admin-key", this.key);
    BY_ID("key-dialog").close();
    this.load();
  }

  /** Ask the server; what it refuses is told in `place`. */
  async ask(place, method, path, body) {
    tell(place, "");
    try {
      return await call(this.key, method, path, body);
    } catch (fault) {
      tell(place, fault.message);
      return null;
    }
  }

  async load() {
    const found = await this.ask("error", "GET", "/v1/admin/control");
    if (!found) return;
    this.kinds = found.kinds;
    this.records = found.records;
    this.show();
  }

  show() {
    BY_ID("kinds").replaceChildren(
      ...this.kinds.map((kind) => {
        const button = element("button", kind);
        button.type = "button";
        button.setAttribute("aria-pressed", String(kind === this.kind));
        button.addEventListener("click", () => {
          this.kind = kind;
          this.show();
        });
        return button;
      }),
    );
    const shown = this.records.filter((record) => record.kind === this.kind);
    BY_ID("records").replaceChildren(...shown.map((record) => this.row(record)));
    BY_ID("none").hidden = shown.length > 0;
    BY_ID("new").textContent = `New ${this.kind}`;
  }

  row(record) {
    const row = element("tr");
    row.dataset.name = record.name;
    const actions = element("div");
    actions.className = "row";
    const add = (label, act) => {
      const button = element("button", label);
      button.type = "button";
      button.addEventListener("click", act);
      actions.append(button);
    };
    add("Change", () => this.edit(record));
    if (record.version) {
      add("History", () => this.showHistory(record));
      add("Remove", () => this.remove(record));
    }
    const says = element("td");
    says.append(element("pre", JSON.stringify(record.spec, null, 1)));
    const last = element("td");
    last.append(actions);
    const by = record.version ? `${record.author}, ${record.at.slice(0, 16).replace("T", " ")}` : "comes with Headrace";
    row.append(element("td", record.name), says, element("td", String(record.version)), element("td", by), last);
    return row;
  }

  edit(record) {
    this.edited = record;
    const isNewKey = !record && this.kind === KEYS;
    BY_ID("edit-title").textContent = record ? `Change ${record.kind} ${record.name}` : `New ${this.kind}`;
    BY_ID("name").value = record?.name ?? (isNewKey ? "its id is made" : "");
    BY_ID("name").readOnly = Boolean(record) || isNewKey;
    BY_ID("spec").value = JSON.stringify(record?.spec ?? BLANK[this.kind] ?? {}, null, 2);
    BY_ID("reason").value = "";
    tell("edit-error", "");
    BY_ID("edit-dialog").showModal();
  }

  async save(event) {
    event.preventDefault();
    let spec;
    try {
      spec = JSON.parse(BY_ID("spec").value);
    } catch (fault) {
      return tell("edit-error", `This is no JSON: ${fault.message}`);
    }
    const reason = BY_ID("reason").value;
    BY_ID("save").disabled = true;
    if (!this.edited && this.kind === KEYS) {
      const made = await this.ask("edit-error", "POST", "/v1/admin/keys", { ...spec, reason });
      if (made) {
        BY_ID("edit-dialog").close();
        BY_ID("made").textContent = made.key;
        BY_ID("made-dialog").showModal();
      }
    } else {
      const kind = this.edited?.kind ?? this.kind;
      const changed = await this.ask("edit-error", "PUT", address("control", kind, BY_ID("name").value), {
        spec,
        reason,
        version: this.edited?.version ?? 0,
      });
      if (changed) BY_ID("edit-dialog").close();
    }
    BY_ID("save").disabled = false;
    if (!BY_ID("edit-dialog").open) await this.load();
  }

  async remove(record) {
    if (!confirm(`Take away ${record.kind} ${record.name}? Its history stays.`)) return;
    if (await this.ask("error", "DELETE", address("control", record.kind, record.name))) await this.load();
  }

  async showHistory(record) {
    const found = await this.ask("error", "GET", address("control", record.kind, record.name));
    if (!found) return;
    this.edited = record;
    BY_ID("history-title").textContent = `History of ${record.kind} ${record.name}`;
    BY_ID("versions").replaceChildren(
      ...found.history.map((version) => {
        const item = element("li");
        const why = version.reason ? `: ${version.reason}` : "";
        item.append(
          element("p", `Version ${version.version}, ${version.at.slice(0, 19).replace("T", " ")}, ${version.author}${why}`),
          element("pre", version.spec ? JSON.stringify(version.spec, null, 1) : "taken away"),
        );
        return item;
      }),
    );
    tell("history-error", "");
    if (!BY_ID("history-dialog").open) BY_ID("history-dialog").showModal();
  }

  async rollBack() {
    const record = this.edited;
    const changed = await this.ask("history-error", "POST", address("rollback", record.kind, record.name), {});
    if (!changed) return;
    BY_ID("history-dialog").close();
    await this.load();
    BY_ID("announce").textContent = `${record.kind} ${record.name} says what it said before`;
  }
}

function address(what, kind, name) {
  return `/v1/admin/${what}/${encodeURIComponent(kind)}/${name.split("/").map(encodeURIComponent).join("/")}`;
}

function element(tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function tell(place, message) {
  BY_ID(place).textContent = message;
  BY_ID(place).hidden = !message;
}

new Page();

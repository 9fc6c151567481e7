// One question and its answer on the page. Texts become text nodes, never markup.

import { sentence } from "./api.js";

/** The stages in the order of the pipeline. */
const STAGES = ["guardrail", "cache", "llm", "output", "cost"];
const FENCE = /^\s*```/;

/** Cut a text into prose and fenced code: `[{code, text}]`. The fences themselves are left out. */
export function parts(text) {
  const found = [{ code: false, lines: [] }];
  for (const line of text.split("\n")) {
    const last = found.at(-1);
    if (FENCE.test(line)) found.push({ code: !last.code, lines: [] });
    else last.lines.push(line);
  }
  return found
    .map((part) => ({ code: part.code, text: part.lines.join("\n") }))
    .filter((part) => part.code || part.text !== "");
}

/** Make `box` show `text`; what it shows already of a text that grows is left alone. */
export function show(box, text) {
  const wanted = parts(text);
  while (box.childElementCount > wanted.length) box.lastElementChild.remove();
  wanted.forEach((part, index) => {
    const tag = part.code ? "PRE" : "P";
    let element = box.children[index];
    if (element?.tagName !== tag) {
      const made = document.createElement(tag);
      made.append("");
      if (element) element.replaceWith(made);
      else box.append(made);
      element = made;
    }
    const node = element.firstChild;
    if (part.text.startsWith(node.data)) node.appendData(part.text.slice(node.length));
    else node.data = part.text;
  });
}

export function isBusy(state) {
  return ["sending", "waiting", "streaming"].includes(state);
}

export class TurnView {
  #root;
  #text = "";
  #frame = 0;
  #stages = new Map();

  constructor(template, list, question, actions) {
    this.#root = template.content.firstElementChild.cloneNode(true);
    for (const button of this.#root.querySelectorAll("button")) {
      button.addEventListener("click", () => actions[button.dataset.do](button));
    }
    for (const name of STAGES) this.#addStage(name);
    show(this.#find(".question"), question);
    list.append(this.#root);
  }

  get text() {
    return this.#text;
  }

  remove() {
    cancelAnimationFrame(this.#frame);
    this.#root.remove();
  }

  /** The state of the turn: `sending`, `waiting`, `streaming`, or how it ended. */
  set state(state) {
    if (this.#root.dataset.state === state) return;
    this.#root.dataset.state = state;
    const busy = isBusy(state);
    this.#find(".answer").setAttribute("aria-busy", String(busy));
    this.#offer("stop", state === "waiting" || state === "streaming");
    this.#offer("drop", state === "waiting" || state === "streaming");
    this.#offer("copy", !busy && this.#text !== "");
    this.#offer("again", ["failed", "unsent", "cancelled", "degraded"].includes(state));
  }

  append(text) {
    this.#text += text;
    this.#frame ||= requestAnimationFrame(() => this.#render());
  }

  replace(text) {
    this.#text = text;
    this.#render();
  }

  #render() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    show(this.#find(".answer"), this.#text);
  }

  /** What the user should know about this answer. */
  notice(text) {
    put(this.#find(".notice"), text);
  }

  /** What happens to the connection. */
  link(text, state) {
    const line = this.#find(".link");
    put(line, text);
    line.dataset.state = state;
  }

  /** Light a stage up: it works now, so those before it have let the request pass. */
  active(name) {
    for (const [each, chip] of this.#stages) {
      if (each === name) {
        chip.dataset.state ||= "active";
        return;
      }
      if (chip.dataset.state === "done") continue;
      chip.dataset.state = "passed";
      chip.querySelector("span").textContent = "passed";
    }
  }

  stage({ stage: name, outcome, work_us: work, queue_us: queue }) {
    const chip = this.#stages.get(name) ?? this.#addStage(name);
    chip.dataset.state = "done";
    chip.querySelector("span").textContent = `${milliseconds(work)} · ${outcome}`;
    chip.title = `waited ${milliseconds(queue)}, worked ${milliseconds(work)}`;
  }

  /** Stages that have not spoken by the end were not needed. */
  closeStages() {
    for (const chip of this.#stages.values()) {
      if (chip.dataset.state === "done") continue;
      chip.dataset.state = "skipped";
      chip.querySelector("span").textContent = "not needed";
    }
  }

  #addStage(name) {
    const chip = document.createElement("li");
    chip.dataset.stage = name;
    chip.append(element("b", name), element("span", ""));
    this.#find(".stages").append(chip);
    this.#stages.set(name, chip);
    return chip;
  }

  facts(pairs) {
    const list = pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => {
        const pair = document.createElement("div");
        pair.append(element("dt", name), element("dd", String(value)));
        pair.dataset.fact = name;
        return pair;
      });
    this.#find(".facts").replaceChildren(...list);
  }

  #offer(action, offered) {
    this.#find(`[data-do=${action}]`).hidden = !offered;
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }
}

/** How a reply ended, in words; empty where the answer says it all. */
export function explain(reply) {
  const why = reply.error ? sentence(reply.error.message) : "";
  const code = reply.error?.code ? ` (${reply.error.code})` : "";
  switch (reply.status) {
    case "blocked":
      return reply.finish_reason === "content_filter"
        ? "The output check has withdrawn the answer: it must not be shown."
        : `Blocked by a guardrail${code}: ${why} Nothing was sent to a model.`;
    case "degraded":
      return "No model could be reached: this is a stand-in, not an answer. Try again later.";
    case "failed":
      return `Failed${code}: ${why || "the server's log has the reason."}`;
    case "cancelled":
      return "Stopped: what is above is not the whole answer. What was spent until then is booked.";
    default:
      return { length: "Cut off: the answer reached its limit of tokens.", content_filter: "The provider's own filter ended the answer." }[reply.finish_reason] ?? "";
  }
}

export function milliseconds(us) {
  const ms = us / 1000;
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function put(line, text) {
  line.textContent = text;
  line.hidden = text === "";
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

// The page: takes questions, follows their answers, and remembers the conversation for as long as the tab is open.

import { Fault } from "./api.js";
import { Turn, dollars, randomName } from "./turn.js";

/** The server takes 100 messages; each turn is two. */
const MAX_TURNS_SENT = 49;
const SAID = new Set(["answered", "cached"]);
/** What an HTTP header can carry. */
const KEY = /^[\x21-\x7e]+$/;
const BY_ID = (id) => document.getElementById(id);

/** Kept for this tab; where the browser keeps nothing, for as long as the page is open. */
const memory = {
  get(name, otherwise) {
    try {
      return JSON.parse(sessionStorage.getItem(name)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      sessionStorage.setItem(name, JSON.stringify(value));
    } catch {
      // Full or forbidden: a reload will not find it.
    }
  },
};

class Page {
  constructor() {
    this.key = this.keyFromAddress() ?? memory.get("key", "");
    this.session = memory.get("session", null) ?? randomName();
    memory.set("key", this.key);
    memory.set("session", this.session);
    this.turns = [];
    this.restore(memory.get("turns", []));
    this.listen();
    this.update();
    if (!this.key) this.askForKey("");
  }

  /** After a reload: what was said, and what still runs, from its beginning. */
  restore(kept) {
    this.turns = kept.map((each) => new Turn(this, each));
    kept.forEach(({ reply, requestId }, index) => {
      const turn = this.turns[index];
      if (reply) turn.show(reply);
      else if (requestId) turn.follow();
      else turn.gone(new Fault(0, "The page was left before this was sent."), "unsent");
    });
  }

  /** `#key=…` as `headrace up` prints it: taken, and out of the address bar before anybody sees it. */
  keyFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get("key");
    if (given) history.replaceState(null, "", location.pathname);
    return given || null;
  }

  listen() {
    const question = BY_ID("question");
    BY_ID("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(question.value.trim());
    });
    question.addEventListener("keydown", (event) => {
      const enter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
      if (enter && !matchMedia("(pointer: coarse)").matches) {
        event.preventDefault();
        BY_ID("composer").requestSubmit();
      }
    });
    question.addEventListener("input", () => this.update());
    BY_ID("new").addEventListener("click", () => this.begin());
    BY_ID("key-button").addEventListener("click", () => this.askForKey(""));
    BY_ID("key-cancel").addEventListener("click", () => BY_ID("key-dialog").close());
    BY_ID("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.useKey(BY_ID("key").value.trim());
    });
    addEventListener("hashchange", () => this.useKey(this.keyFromAddress() ?? this.key));
  }

  useKey(key) {
    if (!KEY.test(key)) {
      this.askForKey("That is no API key: it has characters that no key has, or none at all.");
      return;
    }
    this.key = key;
    memory.set("key", key);
    BY_ID("key").value = "";
    BY_ID("key-dialog").close();
    BY_ID("question").focus();
    const last = this.turns.at(-1);
    if (last && !last.reply) this.again(last);
  }

  ask(question) {
    if (!question || this.busy) return;
    if (!this.key) {
      this.askForKey("");
      return;
    }
    BY_ID("question").value = "";
    this.start(new Turn(this, { question }));
  }

  /** Send a turn that has not worked once more: the same request if nobody has its answer, or else a new one. */
  again(turn) {
    if (this.busy) return;
    if (turn.reply) {
      this.start(new Turn(this, { question: turn.question }));
      return;
    }
    if (turn.requestId) turn.follow();
    else turn.send();
    this.update();
  }

  start(turn) {
    this.turns.push(turn);
    turn.send();
    this.keep();
    this.update();
    this.toEnd();
  }

  begin() {
    for (const turn of this.turns) turn.remove();
    this.turns = [];
    this.session = randomName();
    memory.set("session", this.session);
    this.keep();
    this.update();
    BY_ID("question").focus();
  }

  /** The conversation that a turn goes on from. */
  saidBefore(turn) {
    const before = this.turns.slice(0, this.turns.indexOf(turn));
    const told = before.filter(({ reply }) => SAID.has(reply?.status) && reply.content);
    return told.slice(-MAX_TURNS_SENT).flatMap(({ question, reply }) => [
      { role: "user", content: question },
      { role: "assistant", content: reply.content },
    ]);
  }

  get busy() {
    return this.turns.some((turn) => turn.busy);
  }

  finished(words) {
    this.announce(words);
    this.keep();
    this.update();
  }

  keep() {
    memory.set("turns", this.turns.map((turn) => turn.kept));
  }

  update() {
    const nano = this.turns.reduce((sum, turn) => sum + Math.round((turn.reply?.cost_usd ?? 0) * 1e9), 0);
    BY_ID("total").textContent = dollars(nano / 1e9);
    BY_ID("empty").hidden = this.turns.length > 0;
    BY_ID("send").disabled = this.busy || BY_ID("question").value.trim() === "";
    BY_ID("hint").textContent = this.busy ? "One answer at a time: wait for it, or stop it." : "Enter sends, Shift+Enter begins a new line.";
  }

  askForKey(why) {
    BY_ID("key-error").textContent = why;
    if (!BY_ID("key-dialog").open) BY_ID("key-dialog").showModal();
    BY_ID("key").focus();
  }

  announce(words) {
    if (BY_ID("announce").textContent !== words) BY_ID("announce").textContent = words;
  }

  /** Stay at the end of the page where it was looked at before `change`. */
  scrolling(change) {
    const page = document.scrollingElement;
    const atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
    change();
    if (atEnd) requestAnimationFrame(() => this.toEnd());
  }

  toEnd() {
    document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
  }
}

new Page();

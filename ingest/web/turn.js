// One question of the conversation: sent, followed, shown.

import { cancel, submit } from "./api.js";
import { AnswerStream } from "./stream.js";
import { TurnView, explain, isBusy, milliseconds } from "./view.js";

/** How long "Drop the connection" stays away. */
const DROP_MS = 2_000;
const BY_ID = (id) => document.getElementById(id);

export class Turn {
  reply = null;
  busy = false;
  #stream = null;
  #sentAt = null;
  #firstTextAt = null;
  #dropped = false;

  constructor(page, { question, idempotencyKey = randomName(), requestId = null }) {
    Object.assign(this, { page, question, idempotencyKey, requestId });
    this.view = new TurnView(BY_ID("turn"), BY_ID("turns"), question, {
      stop: () => this.stop(),
      drop: () => this.#stream?.drop(DROP_MS),
      copy: (button) => this.copy(button),
      again: () => page.again(this),
    });
  }

  get kept() {
    const { question, idempotencyKey, requestId, reply } = this;
    return { question, idempotencyKey, requestId, reply };
  }

  set state(state) {
    this.busy = isBusy(state);
    this.view.state = state;
  }

  /** Send the question. Under the same idempotency key it is asked and charged once, however often it is sent. */
  async send() {
    this.#sentAt = performance.now();
    this.state = "sending";
    this.view.notice("");
    const body = {
      messages: [...this.page.saidBefore(this), { role: "user", content: this.question }],
      user_id: "chat-page",
      session_id: this.page.session,
      stream: true,
    };
    try {
      const answer = await submit(this.page.key, body, this.idempotencyKey);
      this.requestId = answer.request_id;
      this.page.keep();
      if (answer.stream_token) this.follow(answer);
      else this.done(answer);
    } catch (fault) {
      this.gone(fault, "unsent");
    }
  }

  follow(access = null) {
    this.state = "waiting";
    this.view.notice("");
    this.view.replace("");
    this.view.active("guardrail");
    this.#stream = new AnswerStream(this.page.key, this.requestId, access, this);
  }

  connection(state, chars) {
    if (state === "open") {
      this.#dropped = false;
      if (chars === 0) this.view.link("", state);
      return;
    }
    this.#dropped ||= state === "dropped";
    let says = this.#dropped ? "Connection dropped for two seconds" : "Connection lost; connecting again";
    says = state === "resumed" ? `Resumed after character ${chars}: nothing lost, nothing twice.` : `${says}. The answer goes on without us.`;
    this.view.link(says, state);
    this.page.announce(says);
  }

  text(more) {
    this.#firstTextAt ??= performance.now();
    this.state = "streaming";
    this.view.active("llm");
    this.page.scrolling(() => this.view.append(more));
  }

  reset() {
    this.view.replace("");
    this.view.notice("The answer begins anew: what was here does not count.");
  }

  stage(timing) {
    this.view.stage(timing);
  }

  done(reply) {
    this.page.scrolling(() => this.show(reply));
    this.page.finished(`${reply.status}. ${explain(reply) || reply.content}`);
  }

  /** Show a reply. Of one that was stopped, what has come until then stays. */
  show(reply) {
    this.reply = reply;
    if (reply.content || reply.status !== "cancelled") this.view.replace(reply.content);
    for (const timing of reply.timings) this.view.stage(timing);
    this.view.closeStages();
    this.view.facts(this.facts(reply));
    this.view.notice(explain(reply));
    this.state = reply.status;
  }

  facts({ status, cache_hit: hit, repeat, model, cost_usd: usd, usage, request_id: id }) {
    const tokens = usage.input_tokens + usage.output_tokens > 0;
    return [
      ["status", status + (hit ? ", from the cache" : "") + (repeat ? ", asked before" : "")],
      ["model", model],
      ["cost", dollars(usd)],
      ["tokens", tokens ? `${usage.input_tokens} in, ${usage.output_tokens} out` : null],
      ["first text", this.#sinceSent(this.#firstTextAt)],
      ["in all", this.#sinceSent(performance.now())],
      ["request", id],
    ];
  }

  #sinceSent(at) {
    return at && this.#sentAt ? milliseconds((at - this.#sentAt) * 1000) : null;
  }

  /** It could not be sent, or can be followed no more. */
  gone(fault, state = "failed") {
    this.view.notice(fault.message);
    this.state = state;
    this.page.finished(fault.message);
    if (fault.status === 401) this.page.askForKey(fault.message);
  }

  async stop() {
    this.view.notice("Stopping …");
    try {
      await cancel(this.page.key, this.requestId);
    } catch (fault) {
      // Where it has ended already, the stream says how.
      if (fault.status !== 409) this.view.notice(`It could not be stopped. ${fault.message}`);
    }
  }

  async copy(button) {
    try {
      await navigator.clipboard.writeText(this.view.text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow it: select the text";
    }
    setTimeout(() => (button.textContent = "Copy"), DROP_MS);
  }

  remove() {
    this.#stream?.close();
    this.view.remove();
  }
}

export function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function dollars(usd) {
  return `$${usd.toFixed(usd && usd < 1e-6 ? 9 : 6)}`;
}

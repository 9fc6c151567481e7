// Follows one answer over any number of connections, and never shows a character twice or not at all.
//
// Every event with text has an id: how many characters (code points) of the answer we have after it, and their
// digest. The browser sends the last one back when it connects again by itself; where it gives up, and after a
// drop on purpose, we open the stream anew and say it ourselves.

import { Fault, newStreamToken } from "./api.js";

const DELAYS_MS = [300, 1_000, 2_000, 4_000, 8_000];
const HOPELESS = new Set([400, 401, 403, 404]);

export class AnswerStream {
  #listener;
  #key;
  #requestId;
  #access;
  #source = null;
  #lastId = "";
  #chars = 0;
  #resuming = false;
  #failures = 0;
  #attempt = 0;
  #timer = null;
  #error = null;
  #ended = false;

  /**
   * @param access `{events_url, stream_token}`, or null: they are asked for.
   * @param listener told of everything: `connection(state, chars)`, with the state `open`, `lost`, `dropped` or
   *   `resumed` at so many characters; `text(more)`, `reset()`, `stage(timing)`, `done(reply)`, `gone(fault)`.
   */
  constructor(key, requestId, access, listener) {
    this.#key = key;
    this.#requestId = requestId;
    this.#access = access;
    this.#listener = listener;
    this.#open();
  }

  /** Leave the server for a while, as a train in a tunnel does. */
  drop(forMs) {
    if (this.#ended) return;
    this.#disconnect();
    this.#listener.connection("dropped", this.#chars);
    this.#later(forMs);
  }

  close() {
    this.#ended = true;
    this.#disconnect();
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#attempt += 1;
    this.#source?.close();
    this.#source = null;
  }

  #later(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  async #open() {
    this.#disconnect();
    const attempt = this.#attempt;
    try {
      this.#access ??= await newStreamToken(this.#key, this.#requestId);
    } catch (fault) {
      if (attempt === this.#attempt) this.#refused(fault);
      return;
    }
    if (attempt !== this.#attempt) return; // dropped or closed meanwhile
    const url = new URL(this.#access.events_url, location.origin);
    url.searchParams.set("token", this.#access.stream_token);
    if (this.#lastId) url.searchParams.set("last_event_id", this.#lastId);
    this.#resuming = this.#lastId !== "";
    this.#listen(new EventSource(url));
  }

  #listen(source) {
    this.#source = source;
    const on = (name, act) =>
      source.addEventListener(name, (event) => {
        if (this.#source === source) act(event);
      });
    on("open", () => {
      this.#failures = 0;
      this.#listener.connection("open", this.#chars);
    });
    on("delta", (event) => this.#delta(JSON.parse(event.data).token, event.lastEventId));
    on("reset", (event) => this.#reset(event.lastEventId));
    on("stage", (event) => this.#listener.stage(JSON.parse(event.data)));
    on("done", (event) => {
      this.close();
      this.#resumed();
      this.#listener.done(JSON.parse(event.data));
    });
    // The server's event "error" has data; the browser's own, about the connection, has none.
    on("error", (event) => {
      if (event.data) this.#error = JSON.parse(event.data).error;
      else this.#lost(source);
    });
  }

  #delta(token, id) {
    const chars = this.#chars + [...token].length;
    if (id && Number.parseInt(id, 10) !== chars) {
      this.#beginAnew();
      return;
    }
    this.#resumed();
    this.#chars = chars;
    this.#lastId = id;
    this.#listener.text(token);
  }

  /** Say so once what was missed has come, and has joined where we were. */
  #resumed() {
    if (this.#resuming) this.#listener.connection("resumed", this.#chars);
    this.#resuming = false;
  }

  #reset(id) {
    this.#resuming = false;
    this.#chars = 0;
    this.#lastId = id;
    this.#listener.reset();
  }

  /** A gap, which the server should never leave: take the whole answer again rather than show it. */
  #beginAnew() {
    this.#disconnect();
    this.#reset("");
    this.#later(DELAYS_MS[0]);
  }

  #lost(source) {
    if (this.#error) {
      this.close();
      this.#listener.gone(new Fault(502, this.#error.message, this.#error.code));
      return;
    }
    this.#listener.connection("lost", this.#chars);
    if (source.readyState === EventSource.CLOSED) {
      // It was refused: the token may have run out, or the server is starting.
      this.#disconnect();
      this.#access = null;
      this.#again();
    } else {
      this.#resuming = this.#lastId !== ""; // the browser connects again by itself
    }
  }

  #refused(fault) {
    if (HOPELESS.has(fault.status)) {
      this.close();
      this.#listener.gone(fault);
    } else {
      this.#listener.connection("lost", this.#chars);
      this.#again();
    }
  }

  #again() {
    this.#later(DELAYS_MS[Math.min(this.#failures, DELAYS_MS.length - 1)]);
    this.#failures += 1;
  }
}

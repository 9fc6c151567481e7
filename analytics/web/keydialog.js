// The key: asked for once a tab, or taken from the address, where `headrace up` may put it.

import { byId } from "./dom.js";
import { key } from "./memory.js";

/** What an HTTP header can carry. */
const KEY = /^[\x21-\x7e]+$/;

export class KeyDialog {
  /** `used()` is told that there is a key to try. */
  constructor(used) {
    this.used = used;
    this.dialog = byId("key-dialog");
    byId("key-button").addEventListener("click", () => this.ask(""));
    byId("key-cancel").addEventListener("click", () => this.dialog.close());
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use(byId("key").value.trim());
    });
  }

  /** `#key=…`: taken, and out of the address bar before anybody sees it. */
  takeFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get("key");
    if (!given) return;
    history.replaceState(null, "", location.pathname + location.search);
    if (KEY.test(given)) key.set(given);
  }

  ask(why) {
    byId("key-error").textContent = why;
    if (!this.dialog.open) this.dialog.showModal();
    byId("key").focus();
  }

  #use(given) {
    if (!KEY.test(given)) {
      this.ask("That is no key: it has characters that no key has, or none at all.");
      return;
    }
    key.set(given);
    byId("key").value = "";
    this.dialog.close();
    this.used();
  }
}

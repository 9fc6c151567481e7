// What a tab remembers. Where the browser keeps nothing, for as long as the page is open.

const kept = new Map();

function stored(storage, name) {
  try {
    return storage.getItem(name);
  } catch {
    return null;
  }
}

/** The key stays in this tab and ends with it. */
export const key = {
  get: () => kept.get("key") ?? stored(sessionStorage, "headrace.key") ?? "",
  set(value) {
    kept.set("key", value);
    try {
      sessionStorage.setItem("headrace.key", value);
    } catch {
      // Full or forbidden: a reload asks again.
    }
  },
};

/** Dark or light, as the user chose; empty: as the system says. */
export const theme = {
  get: () => kept.get("theme") ?? stored(localStorage, "headrace.theme") ?? "",
  set(value) {
    kept.set("theme", value);
    try {
      if (value) localStorage.setItem("headrace.theme", value);
      else localStorage.removeItem("headrace.theme");
    } catch {
      // The next visit begins as the system says.
    }
  },
};

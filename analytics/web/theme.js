// Dark and light: as the system says, until the user says otherwise.

import { byId } from "./dom.js";
import { theme } from "./memory.js";

const SYSTEM = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (theme.get() || (SYSTEM.matches ? "dark" : "light")) === "dark";

/** Dress the page, now and whenever that changes; `changed` draws anew what does not follow the style sheet. */
export function followTheme(changed) {
  const button = byId("theme");
  const dress = () => {
    const chosen = theme.get();
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.addEventListener("click", () => {
    const wanted = isDark() ? "light" : "dark";
    theme.set(wanted === (SYSTEM.matches ? "dark" : "light") ? "" : wanted);
    dress();
    changed();
  });
  SYSTEM.addEventListener("change", () => {
    dress();
    changed();
  });
  dress();
}

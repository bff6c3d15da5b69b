// @ts-check
// The colour theme: light, dark, or the system's.

import { find } from "./dom.js";

const STORE = "inkhorn-theme";
/** @type {Record<string, string>} */
const NEXT = { system: "light", light: "dark", dark: "system" };

export function initTheme() {
  const toggle = find("#theme");
  let theme = "system";
  try {
    theme = localStorage.getItem(STORE) ?? theme;
  } catch {
    // storage is blocked
  }
  const show = () => {
    document.documentElement.dataset.theme = theme;
    toggle.textContent = `Theme: ${theme}`;
  };
  toggle.addEventListener("click", () => {
    theme = NEXT[theme] ?? "system";
    show();
    dispatchEvent(new Event("themechange")); // canvases are repainted
    try {
      localStorage.setItem(STORE, theme);
    } catch {
      // the theme lasts until the page is closed
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
  show();
}

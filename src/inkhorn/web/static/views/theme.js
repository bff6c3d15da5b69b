// Light, dark, or as the system has it.

import { find } from "./dom.js";

const STORE = "inkhorn-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

export function startTheme() {
  const button = find("#theme");
  let theme = "system";
  try {
    theme = localStorage.getItem(STORE) ?? theme;
  } catch {
    // nothing is kept here
  }
  const show = () => {
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme] ?? "system";
    show();
    dispatchEvent(new Event("themechange")); // pictures on canvas are painted anew
    try {
      localStorage.setItem(STORE, theme);
    } catch {
      // then it lasts as long as the page
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
  show();
}

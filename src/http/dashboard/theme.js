// Light and dark: as the system has it, until somebody switches.

const KEY = "broadcastd theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const dark = matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set();
let chosen = "auto";

try {
  chosen = localStorage.getItem(KEY) ?? "auto";
} catch {
  // Without a memory it is as the system has it.
}
if (!(chosen in NEXT)) chosen = "auto";

function apply() {
  const isDark = chosen === "auto" ? dark.matches : chosen === "dark";
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  for (const watcher of watchers) watcher();
}

dark.addEventListener("change", apply);
apply();

/** What is chosen now: auto, light or dark. */
export const theme = () => chosen;

export function switchTheme() {
  chosen = NEXT[chosen];
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // It holds until the page goes.
  }
  apply();
  return chosen;
}

/** Calls after each switch: what is drawn on a canvas has its colours from here. Returns what ends it. */
export function onTheme(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** A colour of the style sheet. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

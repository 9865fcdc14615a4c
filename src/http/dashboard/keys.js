// Keyboard shortcuts: one list, which the help shows as it is. Single keys can be switched off, for those who dictate.

import { el } from "./dom.js";

const KEY = "broadcastd shortcuts";
const shortcuts = [];

const isOn = () => {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
};

const isTyping = (target) => target instanceof Element && target.closest("input, select, textarea, [contenteditable]") !== null;

/** Adds a shortcut. `run` may return false: then the key is somebody else's. */
export function shortcut(key, says, run) {
  shortcuts.push({ key, says, run });
}

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && isTyping(event.target)) return void event.target.blur();
    if (isTyping(event.target) || !isOn()) return;
    const found = shortcuts.find(({ key }) => key === event.key);
    if (found && found.run() !== false) event.preventDefault();
  });
}

/** The help: what keys there are. */
export function showHelp() {
  const rows = shortcuts.map(({ key, says }) => el("tr", {}, el("td", {}, el("kbd", { text: key })), el("td", { text: says })));
  const more = [["Tab", "through everything that can be used"], ["↑ ↓ Home End", "through a list of events"], ["Enter", "opens what is chosen"], ["Esc", "closes, or leaves a field"]]
    .map(([key, says]) => el("tr", {}, el("td", {}, el("kbd", { text: key })), el("td", { text: says })));
  const toggle = el("input", { type: "checkbox", onchange: () => localStorage.setItem(KEY, toggle.checked ? "on" : "off") });
  toggle.checked = isOn();
  const dialog = el("dialog", { class: "dialog help", "aria-labelledby": "help-title" },
    el("form", { method: "dialog" },
      el("h2", { id: "help-title", text: "Keyboard shortcuts" }),
      el("table", {}, el("tbody", {}, ...rows, ...more)),
      el("label", { class: "check" }, toggle, "Single keys do something"),
      el("div", { class: "actions" }, el("button", { type: "submit", text: "Close", autofocus: true }))));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
